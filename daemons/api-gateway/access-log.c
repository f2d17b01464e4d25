/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/access-log.h"

#include <assert.h>
#include <string.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"

struct AccessLog {
        unsigned rate;
        uint64_t second; /* the one that is being counted */
        unsigned written;
        uint64_t left_out; /* since the last entry that was written */
};

int access_log_new(AccessLog **ret, unsigned rate) {
        AccessLog *l;

        assert(ret);

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->rate = rate;

        *ret = l;
        return 0;
}

AccessLog *access_log_free(AccessLog *l) {
        free(l);
        return NULL;
}

bool access_log_admit(AccessLog *l, uint64_t now_usec) {
        uint64_t second = now_usec / MAM_USEC_PER_SEC;

        if (second != l->second) {
                l->second = second;
                l->written = 0;
        }
        if (l->written >= l->rate) {
                l->left_out++;
                return false;
        }
        l->written++;
        return true;
}

static void hex(char *ret, const uint8_t *data, size_t size) {
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < size; i++) {
                *ret++ = digits[data[i] >> 4];
                *ret++ = digits[data[i] & 15];
        }
        *ret = '\0';
}

void access_log_write(AccessLog *l, const AccessEntry *entry, uint64_t now_usec) {
        char method[32], route[300], status[32], bytes[48], duration[48], replica[96], request[160],
                        trace[64], subject[300];
        char retries[32], left_out[48], took[48], trace_id[33];
        const char *fields[12];
        size_t n = 0;

        assert(l);
        assert(entry);

        if (!mam_log_enabled(LOG_INFO) || l->rate == 0 || !access_log_admit(l, now_usec))
                return;

#define FIELD(buffer, ...)                                            \
        do {                                                          \
                (void) snprintf(buffer, sizeof(buffer), __VA_ARGS__); \
                fields[n++] = buffer;                                 \
        } while (0)

        hex(trace_id, entry->trace->trace_id, sizeof(entry->trace->trace_id));
        FIELD(method, "MAM_METHOD=%s", entry->method);
        FIELD(route, "MAM_ROUTE=%s", entry->route);
        FIELD(status, "MAM_STATUS=%u", entry->status);
        FIELD(bytes, "MAM_BYTES=%llu", (unsigned long long) entry->bytes);
        FIELD(duration, "MAM_DURATION_USEC=%llu", (unsigned long long) entry->duration_usec);
        FIELD(request, "MAM_REQUEST_ID=%s", entry->request_id);
        FIELD(trace, "MAM_TRACE_ID=%s", trace_id);
        if (entry->replica)
                FIELD(replica, "MAM_UPSTREAM=%s", entry->replica);
        if (entry->subject)
                FIELD(subject, "MAM_SUBJECT=%s", entry->subject);
        if (entry->retries > 0)
                FIELD(retries, "MAM_RETRIES=%u", entry->retries);
        if (l->left_out > 0)
                FIELD(left_out, "MAM_LEFT_OUT=%llu", (unsigned long long) l->left_out);
#undef FIELD
        l->left_out = 0;
        fields[n] = NULL;

        mam_format_timespan(took, entry->duration_usec);
        mam_log_full(LOG_INFO,
                     MAM_MESSAGE_GATEWAY_REQUEST,
                     fields,
                     "%s %s %u %llu bytes %s %s",
                     entry->method,
                     entry->route,
                     entry->status,
                     (unsigned long long) entry->bytes,
                     took,
                     entry->replica ? entry->replica : "-");
}

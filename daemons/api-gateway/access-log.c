/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/access-log.h"

#include <assert.h>
#include <string.h>

#include "libmam/json/json.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"

struct AccessLog {
        MamGatewayLogFormat format;
        unsigned rate;
        uint64_t second; /* the one that is being counted */
        unsigned written;
        uint64_t left_out; /* since the last entry that was written */
};

int access_log_new(AccessLog **ret) {
        AccessLog *l;

        assert(ret);

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;

        *ret = l;
        return 0;
}

void access_log_configure(AccessLog *l, const MamGatewayAccessLog *c) {
        assert(l);
        assert(c);

        l->format = c->format;
        l->rate = c->rate;
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

static int add(json_object *o, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(o, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

int access_log_format_json(char **ret, const AccessEntry *entry, uint64_t left_out) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        char trace_id[33];
        int r;

        assert(ret);
        assert(entry);

        if (!o)
                return -ENOMEM;
        hex(trace_id, entry->trace->trace_id, sizeof(entry->trace->trace_id));
        r = add(o, "method", json_object_new_string(entry->method));
        if (r >= 0)
                r = add(o, "route", json_object_new_string(entry->route));
        if (r >= 0)
                r = add(o, "status", json_object_new_int((int) entry->status));
        if (r >= 0)
                r = add(o, "bytes", json_object_new_uint64(entry->bytes));
        if (r >= 0)
                r = add(o, "duration_usec", json_object_new_uint64(entry->duration_usec));
        if (r >= 0)
                r = add(o, "request_id", json_object_new_string(entry->request_id));
        if (r >= 0)
                r = add(o, "trace_id", json_object_new_string(trace_id));
        if (r >= 0 && entry->replica)
                r = add(o, "upstream", json_object_new_string(entry->replica));
        if (r >= 0 && entry->subject)
                r = add(o, "subject", json_object_new_string(entry->subject));
        if (r >= 0 && entry->retries > 0)
                r = add(o, "retries", json_object_new_int((int) entry->retries));
        if (r >= 0 && left_out > 0)
                r = add(o, "left_out", json_object_new_uint64(left_out));
        if (r < 0)
                return r;
        *ret = strdup(mam_json_to_string(o));
        return *ret ? 0 : -ENOMEM;
}

void access_log_write(AccessLog *l, const AccessEntry *entry, uint64_t now_usec) {
        char method[32], route[300], status[32], bytes[48], duration[48], replica[96], request[160],
                        trace[64], subject[300];
        char retries[32], left_out[48], took[48], trace_id[33];
        _cleanup_(mam_freep) char *json = NULL;
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
        fields[n] = NULL;
        if (l->format == MAM_GATEWAY_LOG_JSON && access_log_format_json(&json, entry, l->left_out) < 0)
                return; /* it is left out; the next one goes on counting */
        l->left_out = 0;
        if (json) {
                mam_log_full(LOG_INFO, MAM_MESSAGE_GATEWAY_REQUEST, fields, "%s", json);
                return;
        }

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

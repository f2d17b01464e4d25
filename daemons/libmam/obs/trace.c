/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * W3C Trace Context
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "libmam/obs/trace.h"
#include "libmam/util/macro.h"

#define TRACESTATE_MEMBERS_MAX 32U

static bool all_zero(const uint8_t *bytes, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (bytes[i] != 0)
                        return false;
        return true;
}

/* Three ids per request would be three system calls: a pool makes it one for fifty requests. Daemons do not
 * fork without exec, so no two processes ever share what is left in it. */
static void random_bytes(void *ret, size_t size) {
        static uint8_t pool[2048];
        static size_t left;

        assert(size <= sizeof(pool));
        if (left < size) {
                /* Blocks only before the kernel's own pool was first seeded; a signal may cut it short. */
                for (size_t n = 0; n < sizeof(pool);) {
                        ssize_t k = getrandom(pool + n, sizeof(pool) - n, 0);

                        assert(k > 0 || errno == EINTR);
                        n += k > 0 ? (size_t) k : 0;
                }
                left = sizeof(pool);
        }
        left -= size;
        memcpy(ret, pool + left, size);
}

static void random_id(uint8_t *ret, size_t size) {
        do
                random_bytes(ret, size);
        while (all_zero(ret, size)); /* zero means "no id" */
}

void mam_trace_start(MamTrace *ret, bool sampled) {
        assert(ret);

        random_id(ret->trace_id, sizeof(ret->trace_id));
        random_id(ret->span_id, sizeof(ret->span_id));
        ret->flags = sampled ? 1 : 0;
}

void mam_trace_child(MamTrace *ret, const MamTrace *parent) {
        assert(ret);
        assert(parent);

        if (ret != parent)
                *ret = *parent;
        random_id(ret->span_id, sizeof(ret->span_id));
}

/* Lower case only, as the recommendation demands. */
static int unhex(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -EINVAL;
}

static int unhex_bytes(uint8_t *ret, const char *text, size_t n) {
        for (size_t i = 0; i < n; i++) {
                int high = unhex(text[2 * i]), low = unhex(text[2 * i + 1]);

                if (high < 0 || low < 0)
                        return -EINVAL;
                ret[i] = (uint8_t) (high << 4 | low);
        }
        return 0;
}

int mam_trace_parse(MamTrace *ret, const char *traceparent, size_t length) {
        uint8_t version, flags;
        MamTrace t;

        assert(ret);
        assert(traceparent || length == 0);

        if (length < MAM_TRACEPARENT_SIZE - 1)
                return -EINVAL;
        if (unhex_bytes(&version, traceparent, 1) < 0 || version == 0xff)
                return -EINVAL;
        if (version == 0 && length != MAM_TRACEPARENT_SIZE - 1)
                return -EINVAL;
        if (length > MAM_TRACEPARENT_SIZE - 1 && traceparent[MAM_TRACEPARENT_SIZE - 1] != '-')
                return -EINVAL;
        if (traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-')
                return -EINVAL;
        if (unhex_bytes(t.trace_id, traceparent + 3, sizeof(t.trace_id)) < 0 ||
            unhex_bytes(t.span_id, traceparent + 36, sizeof(t.span_id)) < 0 ||
            unhex_bytes(&flags, traceparent + 53, 1) < 0)
                return -EINVAL;
        if (all_zero(t.trace_id, sizeof(t.trace_id)) || all_zero(t.span_id, sizeof(t.span_id)))
                return -EINVAL;

        /* Flags without a meaning in version 00 must not be handed on. */
        t.flags = flags & 1;
        *ret = t;
        return 0;
}

static char *hex_bytes(char *p, const uint8_t *bytes, size_t n) {
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < n; i++) {
                *p++ = digits[bytes[i] >> 4];
                *p++ = digits[bytes[i] & 0xf];
        }
        return p;
}

void mam_trace_format(char ret[static MAM_TRACEPARENT_SIZE], const MamTrace *t) {
        char *p = ret;

        assert(t);

        *p++ = '0';
        *p++ = '0';
        *p++ = '-';
        p = hex_bytes(p, t->trace_id, sizeof(t->trace_id));
        *p++ = '-';
        p = hex_bytes(p, t->span_id, sizeof(t->span_id));
        *p++ = '-';
        p = hex_bytes(p, &t->flags, 1);
        *p = '\0';
}

static bool is_lower(char c) {
        return c >= 'a' && c <= 'z';
}

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static bool key_part_is_valid(const char *s, size_t length, size_t max, bool digit_first) {
        if (length == 0 || length > max || !(is_lower(s[0]) || (digit_first && is_digit(s[0]))))
                return false;
        for (size_t i = 1; i < length; i++)
                if (!is_lower(s[i]) && !is_digit(s[i]) && (s[i] == '\0' || !strchr("_-*/", s[i])))
                        return false;
        return true;
}

/* "vendor" or "tenant@system" */
static bool key_is_valid(const char *s, size_t length) {
        const char *at = memchr(s, '@', length);

        if (!at)
                return key_part_is_valid(s, length, 256, false);
        return key_part_is_valid(s, (size_t) (at - s), 241, true) &&
               key_part_is_valid(at + 1, length - (size_t) (at - s) - 1, 14, false);
}

static bool value_is_valid(const char *s, size_t length) {
        if (length == 0 || length > 256 || s[length - 1] == ' ')
                return false;
        for (size_t i = 0; i < length; i++)
                if (s[i] < 0x20 || s[i] > 0x7e || s[i] == ',' || s[i] == '=')
                        return false;
        return true;
}

bool mam_tracestate_is_valid(const char *value, size_t length) {
        struct {
                const char *data;
                size_t length;
        } keys[TRACESTATE_MEMBERS_MAX];
        size_t n = 0, start = 0;

        assert(value || length == 0);

        for (size_t i = 0; i <= length; i++) {
                const char *member = value + start, *equals;
                size_t size = i - start, key_size;

                if (i < length && value[i] != ',')
                        continue;
                start = i + 1;

                while (size > 0 && (*member == ' ' || *member == '\t')) {
                        member++;
                        size--;
                }
                while (size > 0 && (member[size - 1] == ' ' || member[size - 1] == '\t'))
                        size--;
                if (size == 0)
                        continue; /* empty members are allowed */

                equals = memchr(member, '=', size);
                if (!equals || n >= TRACESTATE_MEMBERS_MAX)
                        return false;
                key_size = (size_t) (equals - member);
                if (!key_is_valid(member, key_size) || !value_is_valid(equals + 1, size - key_size - 1))
                        return false;

                for (size_t k = 0; k < n; k++)
                        if (keys[k].length == key_size && memcmp(keys[k].data, member, key_size) == 0)
                                return false;
                keys[n].data = member;
                keys[n++].length = key_size;
        }
        return true;
}

void mam_request_id_new(char ret[static 33]) {
        uint8_t id[16];

        random_id(id, sizeof(id));
        *hex_bytes(ret, id, sizeof(id)) = '\0';
}

bool mam_request_id_is_valid(const char *value, size_t length) {
        if (length == 0 || length > 128)
                return false;
        for (size_t i = 0; i < length; i++) {
                char c = value[i];

                if (!is_lower(c) && !(c >= 'A' && c <= 'Z') && !is_digit(c) && c != '.' && c != '_' &&
                    c != '-')
                        return false;
        }
        return true;
}

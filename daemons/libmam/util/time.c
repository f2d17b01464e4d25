/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Time in microseconds
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libmam/util/macro.h"
#include "libmam/util/time.h"

static uint64_t now(clockid_t id) {
        struct timespec ts;

        (void) clock_gettime(id, &ts); /* cannot fail for the two clocks asked here */
        return (uint64_t) ts.tv_sec * MAM_USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000U;
}

uint64_t mam_now_monotonic(void) {
        return now(CLOCK_MONOTONIC);
}

uint64_t mam_now_realtime(void) {
        return now(CLOCK_REALTIME);
}

void mam_format_timespan(char ret[static 48], uint64_t usec) {
        static const struct {
                const char *suffix;
                uint64_t usec;
        } units[] = {
                { "d", 86400 * MAM_USEC_PER_SEC },
                { "h", 3600 * MAM_USEC_PER_SEC },
                { "min", 60 * MAM_USEC_PER_SEC },
                { "s", MAM_USEC_PER_SEC },
        };

        if (usec == MAM_USEC_INFINITY) {
                snprintf(ret, 48, "infinity");
                return;
        }
        if (usec < MAM_USEC_PER_MSEC) {
                snprintf(ret, 48, "%" PRIu64 "us", usec);
                return;
        }
        if (usec < MAM_USEC_PER_SEC) {
                snprintf(ret, 48, "%" PRIu64 "ms", usec / MAM_USEC_PER_MSEC);
                return;
        }
        if (usec < 10 * MAM_USEC_PER_SEC && usec % MAM_USEC_PER_SEC >= 100 * MAM_USEC_PER_MSEC) {
                snprintf(ret,
                         48,
                         "%" PRIu64 ".%" PRIu64 "s",
                         usec / MAM_USEC_PER_SEC,
                         usec % MAM_USEC_PER_SEC / (100 * MAM_USEC_PER_MSEC));
                return;
        }

        for (size_t i = 0; i < MAM_ELEMENTSOF(units); i++) {
                uint64_t rest;

                if (usec < units[i].usec)
                        continue;
                rest = i + 1 < MAM_ELEMENTSOF(units) ? usec % units[i].usec / units[i + 1].usec : 0;
                if (rest > 0)
                        snprintf(ret,
                                 48,
                                 "%" PRIu64 "%s %" PRIu64 "%s",
                                 usec / units[i].usec,
                                 units[i].suffix,
                                 rest,
                                 units[i + 1].suffix);
                else
                        snprintf(ret, 48, "%" PRIu64 "%s", usec / units[i].usec, units[i].suffix);
                return;
        }
}

void mam_format_rfc3339(char ret[static 40], uint64_t realtime_usec) {
        time_t sec = (time_t) (realtime_usec / MAM_USEC_PER_SEC);
        unsigned usec = (unsigned) (realtime_usec % MAM_USEC_PER_SEC);
        struct tm tm;
        char date[24];

        /* Beyond the year 9999 RFC 3339 has no text; the last it has stands for it. */
        if (!gmtime_r(&sec, &tm) || tm.tm_year > 9999 - 1900) {
                snprintf(ret, 40, "9999-12-31T23:59:59Z");
                return;
        }

        if (strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
                date[0] = '\0';
        if (usec > 0)
                snprintf(ret, 40, "%s.%06uZ", date, usec);
        else
                snprintf(ret, 40, "%sZ", date);
}

int mam_parse_timespan(const char *text, uint64_t *ret_usec) {
        static const struct {
                const char *suffix;
                uint64_t usec;
        } units[] = {
                { "us", 1 },
                { "ms", MAM_USEC_PER_MSEC },
                { "", MAM_USEC_PER_SEC },
                { "s", MAM_USEC_PER_SEC },
                { "m", 60 * MAM_USEC_PER_SEC },
                { "min", 60 * MAM_USEC_PER_SEC },
                { "h", 3600 * MAM_USEC_PER_SEC },
                { "d", 86400 * MAM_USEC_PER_SEC },
        };
        unsigned long long n;
        uint64_t usec;
        char *end;

        assert(text);
        assert(ret_usec);

        if (*text < '0' || *text > '9')
                return -EINVAL;

        errno = 0;
        n = strtoull(text, &end, 10);
        if (errno == ERANGE)
                return -ERANGE;

        for (size_t i = 0; i < MAM_ELEMENTSOF(units); i++) {
                if (strcmp(end, units[i].suffix) != 0)
                        continue;
                if (__builtin_mul_overflow(n, units[i].usec, &usec))
                        return -ERANGE;
                *ret_usec = usec;
                return 0;
        }
        return -EINVAL;
}

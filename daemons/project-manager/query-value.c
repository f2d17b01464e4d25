/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Values of a query: days, times, numbers
 *
 * Days are counted from 1970-01-01 in the proleptic Gregorian calendar (the algorithms of E. Richards,
 * "Mapping Time", by way of timegm()).
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libmam/util/time.h"
#include "project-manager/query-internal.h"

#define USEC_PER_DAY ((int64_t) 86400 * 1000000)
#define YEAR_MIN     1
#define YEAR_MAX     9999

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

/* Exactly n digits. */
static bool digits(const char *s, size_t n, int *ret) {
        int value = 0;

        for (size_t i = 0; i < n; i++) {
                if (!is_digit(s[i]))
                        return false;
                value = value * 10 + (s[i] - '0');
        }
        *ret = value;
        return true;
}

static bool is_leap(int year) {
        return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_in_month(int year, int month) {
        static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

        return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

static int64_t day_from_civil(int year, int month, int day) {
        struct tm t = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day };

        return (int64_t) timegm(&t) / 86400;
}

static bool day_format(char ret[static 40], int64_t day) {
        time_t seconds = (time_t) (day * 86400);
        struct tm t;

        if (!gmtime_r(&seconds, &t) || t.tm_year + 1900 < YEAR_MIN || t.tm_year + 1900 > YEAR_MAX)
                return false;
        (void) snprintf(ret, 40, "%04d-%02d-%02d", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday);
        return true;
}

/* "YYYY-MM-DD" at the beginning of a text. */
static bool date_parse(const char *text, int64_t *ret_day) {
        int year, month, day;

        if (!digits(text, 4, &year) || text[4] != '-' || !digits(text + 5, 2, &month) || text[7] != '-' ||
            !digits(text + 8, 2, &day))
                return false;
        if (year < YEAR_MIN || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
                return false;
        *ret_day = day_from_civil(year, month, day);
        return true;
}

/* Months have different lengths: the 31st becomes the last day where there is none. */
static int64_t add_months(int64_t from, int64_t months) {
        time_t seconds = (time_t) (from * 86400);
        struct tm t;
        int64_t month;
        int year, in_year, day;

        if (!gmtime_r(&seconds, &t))
                return from;
        month = (int64_t) (t.tm_year + 1900) * 12 + t.tm_mon + months;
        year = (int) (month / 12);
        in_year = (int) (month % 12) + 1;
        day = t.tm_mday;
        if (day > days_in_month(year, in_year))
                day = days_in_month(year, in_year);
        return day_from_civil(year, in_year, day);
}

/* "+3d", "-2w", "1m": from today. */
static bool relative_parse(const char *text, int64_t today, int64_t *ret_day) {
        bool back = *text == '-';
        const char *p = text + (*text == '-' || *text == '+');
        int64_t n = 0;
        size_t n_digits = 0;

        for (; is_digit(*p); p++, n_digits++)
                n = n * 10 + (*p - '0');
        if (n_digits < 1 || n_digits > 5 || *p == '\0' || p[1] != '\0')
                return false;
        n = back ? -n : n;
        switch (*p) {
        case 'd':
                *ret_day = today + n;
                return true;
        case 'w':
                *ret_day = today + n * 7;
                return true;
        case 'm':
        case 'y':
                n *= *p == 'y' ? 12 : 1;
                /* within the calendar */
                if (n < -(int64_t) 1900 * 12 || n > (int64_t) 7900 * 12)
                        return false;
                *ret_day = add_months(today, n);
                return true;
        default:
                return false;
        }
}

static bool day_parse(const char *text, int64_t today, int64_t *ret_day) {
        static const struct {
                const char *name;
                int days;
        } names[] = { { "today", 0 }, { "yesterday", -1 }, { "tomorrow", 1 } };

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                if (strcmp(text, names[i].name) == 0) {
                        *ret_day = today + names[i].days;
                        return true;
                }
        }
        if (date_parse(text, ret_day))
                return text[10] == '\0';
        return relative_parse(text, today, ret_day);
}

/* RFC 3339: microseconds since the epoch. */
static bool time_parse(const char *text, int64_t *ret_usec) {
        int hour, minute, second, offset_hour = 0, offset_minute = 0;
        int64_t day, fraction = 0, scale = 100000;
        const char *p = text + 11;
        bool west;

        if (!date_parse(text, &day) || (text[10] != 'T' && text[10] != 't'))
                return false;
        if (!digits(p, 2, &hour) || p[2] != ':' || !digits(p + 3, 2, &minute) || p[5] != ':' ||
            !digits(p + 6, 2, &second) || hour > 23 || minute > 59 || second > 59)
                return false;
        p += 8;
        if (*p == '.') {
                if (!is_digit(*++p))
                        return false;
                for (; is_digit(*p); p++, scale /= 10)
                        fraction += (*p - '0') * scale;
        }
        if (*p == 'Z' || *p == 'z') {
                if (p[1] != '\0')
                        return false;
                west = false;
        } else {
                west = *p == '-';
                if ((*p != '+' && *p != '-') || !digits(p + 1, 2, &offset_hour) || p[3] != ':' ||
                    !digits(p + 4, 2, &offset_minute) || p[6] != '\0' || offset_hour > 23 ||
                    offset_minute > 59)
                        return false;
        }
        *ret_usec = day * USEC_PER_DAY + ((int64_t) hour * 3600 + minute * 60 + second) * 1000000 +
                    fraction - ((int64_t) offset_hour * 60 + offset_minute) * 60 * 1000000 * (west ? -1 : 1);
        return true;
}

static bool time_format(char ret[static 40], int64_t usec) {
        int64_t day = usec / USEC_PER_DAY - (usec % USEC_PER_DAY < 0 ? 1 : 0);
        int64_t rest = usec - day * USEC_PER_DAY;
        char date[40];

        if (!day_format(date, day))
                return false;
        (void) snprintf(ret,
                        40,
                        "%.10sT%02d:%02d:%02d.%06dZ",
                        date,
                        (int) (rest / 3600000000),
                        (int) (rest / 60000000 % 60),
                        (int) (rest / 1000000 % 60),
                        (int) (rest % 1000000));
        return true;
}

int query_moment_parse(
                QueryMoment *ret,
                const char *text,
                bool may_be_time,
                uint64_t now_usec,
                char message[static 200]) {
        int64_t today = (int64_t) now_usec / USEC_PER_DAY, day, usec;

        if (day_parse(text, today, &day)) {
                if (day_format(ret->low, day) && day_format(ret->high, day + 1)) {
                        if (may_be_time) { /* days are days in UTC, whatever the session's time zone is */
                                strcat(ret->low, "T00:00:00Z");
                                strcat(ret->high, "T00:00:00Z");
                        }
                        return 0;
                }
        } else if (may_be_time && time_parse(text, &usec)) {
                if (time_format(ret->low, usec) && time_format(ret->high, usec + 1))
                        return 0;
        } else {
                (void) snprintf(message,
                                200,
                                "\"%.40s\" is not a date: write YYYY-MM-DD%s, today, yesterday, tomorrow, or +3d, -2w, 1m",
                                text,
                                may_be_time ? ", a time such as 2026-01-31T08:00:00Z" : "");
                return -EINVAL;
        }
        (void) snprintf(message, 200, "\"%.40s\" is outside the years 1 to 9999", text);
        return -EINVAL;
}

bool query_number_is_valid(const char *text) {
        const char *p = text + (*text == '-');
        size_t n = 0;

        for (; is_digit(*p); p++)
                n++;
        if (n == 0)
                return false;
        if (*p == '.') {
                if (!is_digit(*++p))
                        return false;
                for (; is_digit(*p); p++)
                        n++;
        }
        return *p == '\0' && n <= 18;
}

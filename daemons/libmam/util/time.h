/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Time in microseconds; names end in _usec. Decisions get "now" handed in; only the edges read a clock.
 */

#include <stddef.h>
#include <stdint.h>

#define MAM_USEC_PER_MSEC ((uint64_t) 1000)
#define MAM_USEC_PER_SEC  ((uint64_t) 1000000)
#define MAM_USEC_INFINITY UINT64_MAX

uint64_t mam_now_monotonic(void);
uint64_t mam_now_realtime(void);

/* "350ms", "4.2s", "3min 5s", "2h 10min", "3d 4h": two units at most. */
void mam_format_timespan(char ret[static 48], uint64_t usec);
/* RFC 3339 in UTC with microseconds as needed: "2026-01-02T03:04:05Z", "…05.123456Z". */
void mam_format_rfc3339(char ret[static 40], uint64_t realtime_usec);
/* "30s", "5min", "1h", "2d", "500ms", plain number = seconds. -EINVAL, -ERANGE. */
int mam_parse_timespan(const char *text, uint64_t *ret_usec);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Access log: one structured journal entry per request at level info
 *
 * Never more than so many a second, as an entry costs as much as forwarding a request; what was left out is
 * counted in the next entry that is written. Neither paths nor queries nor tokens: the route is what is
 * logged.
 */

#include <stdint.h>

#include "libmam/http/http-server.h"
#include "libmam/util/macro.h"

typedef struct AccessLog AccessLog;
typedef struct AccessEntry AccessEntry;

#define ACCESS_LOG_RATE_DEFAULT 500U

struct AccessEntry {
        const char *method, *route, *replica, *request_id,
                        *subject; /* replica, subject: NULL where there is none */
        const MamTrace *trace;
        unsigned status; /* 499: the client left before */
        uint64_t bytes;
        uint64_t duration_usec;
        unsigned retries;
};

/* rate: entries a second; 0: none. */
int access_log_new(AccessLog **ret, unsigned rate);
AccessLog *access_log_free(AccessLog *l);
MAM_DEFINE_CLEANUP(AccessLog, access_log_free);
void access_log_write(AccessLog *l, const AccessEntry *entry, uint64_t now_usec);
/* Whether an entry may be written now; counts it, written or left out. Pure but for *l. */
bool access_log_admit(AccessLog *l, uint64_t now_usec);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Access log: one structured journal entry per request at level info
 *
 * The line is for people ("GET /api/v1/projects 200 …") or, with "format": "json", one JSON object with the
 * same members as the fields, so that `journalctl -o cat` gives JSON lines to whoever collects them.
 * Never more than so many a second, as an entry costs as much as forwarding a request; what was left out is
 * counted in the next entry that is written. Neither paths nor queries nor tokens: the route is what is
 * logged.
 */

#include <stdint.h>

#include "libmam/config/gateway.h"
#include "libmam/http/http-server.h"
#include "libmam/util/macro.h"

typedef struct AccessLog AccessLog;
typedef struct AccessEntry AccessEntry;

struct AccessEntry {
        const char *method, *route, *replica, *request_id,
                        *subject; /* replica, subject: NULL where there is none */
        const MamTrace *trace;
        unsigned status; /* 499: the client left before */
        uint64_t bytes;
        uint64_t duration_usec;
        unsigned retries;
};

/* Nothing is logged before it is configured. */
int access_log_new(AccessLog **ret);
void access_log_configure(AccessLog *l, const MamGatewayAccessLog *c);
AccessLog *access_log_free(AccessLog *l);
MAM_DEFINE_CLEANUP(AccessLog, access_log_free);
void access_log_write(AccessLog *l, const AccessEntry *entry, uint64_t now_usec);
/* The line as JSON. Pure. Caller frees. */
int access_log_format_json(char **ret, const AccessEntry *entry, uint64_t left_out);
/* Whether an entry may be written now; counts it, written or left out. Pure but for *l. */
bool access_log_admit(AccessLog *l, uint64_t now_usec);

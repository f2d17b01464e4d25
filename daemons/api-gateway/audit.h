/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Audit: who was permitted or refused what, in the journal
 *
 * Each record is one message with its own MESSAGE_ID and the facts as fields (MAM_SUBJECT, MAM_KIND,
 * MAM_DECISION, MAM_REASON, MAM_METHOD, MAM_PATH, MAM_PEER, MAM_REQUEST_ID, …). So many a second are written
 * as are configured; how many were left out is said in the next one that is written. No record has a
 * credential in it.
 */

#include "api-gateway/caller.h"
#include "libmam/config/gateway-auth.h"
#include "libmam/http/http-server.h"

typedef struct Audit Audit;

typedef struct AuditRecord {
        const char *message_id;
        const char *what;     /* "refused", "permitted", "issued", "ended", "reuse" */
        const Caller *caller; /* or NULL */
        const char *service;  /* whose route it is; or NULL */
        const char *reason;   /* or NULL */
        const char *object;   /* session or token that it is about; or NULL */
        MamHttpExchange *x;   /* or NULL */
} AuditRecord;

int audit_new(Audit **ret);
Audit *audit_free(Audit *a);
MAM_DEFINE_CLEANUP(Audit, audit_free);
void audit_configure(Audit *a, MamAuditLevel level, unsigned rate);
/* Whether what was permitted is written too. */
bool audit_wants_all(const Audit *a);
void audit_write(Audit *a, const AuditRecord *r, uint64_t now_usec);
/* For tests: written, left out. */
void audit_counts(const Audit *a, uint64_t *ret_written, uint64_t *ret_left_out);

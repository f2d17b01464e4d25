/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Appending by SQL: a batch as the parameters of one statement, and what became of it
 *
 * A batch holds requests, each of one or more entries that are stored all or none. It is for one topic,
 * which is named when it is sent; sending it again finds everything there. What cannot be decided by one
 * statement for all of them at once is kept apart here: a request goes to a later batch (-EBUSY) when this
 * one is full, holds one of its events already, or has its expected version hang on another request's
 * outcome.
 *
 * The statement is idempotent. It holds the topic's head row until its transaction ends; who appends to
 * several topics in one transaction does so in the order of their names.
 */

#include "event-bus/log/log.h"

typedef struct LogBatch LogBatch;

#define LOG_BATCH_PARAMETERS 9U
#define LOG_BATCH_BYTES_MAX  ((size_t) 2 * 1024 * 1024) /* one request may be larger */

extern const MamPgStatement log_append_statement;

int log_batch_new(LogBatch **ret);
LogBatch *log_batch_free(LogBatch *b);
MAM_DEFINE_CLEANUP(LogBatch, log_batch_free);
/* What is wrong with entries by themselves: 0; -EINVAL. */
int log_entries_check(const LogEntry *entries, size_t n);
/* The n entries, checked and at most LOG_APPEND_MAX, as one request: 0 (it is number log_batch_requests() -
 * 1); -EBUSY: another batch after this one. Copied. */
int log_batch_add(LogBatch *b, const LogEntry *entries, size_t n);
size_t log_batch_requests(const LogBatch *b);
size_t log_batch_bytes(const LogBatch *b); /* of memory, about */
/* The statement's parameters, for the topic with this id; valid until the batch changes. NULL: -ENOMEM. */
const char *const *log_batch_parameters(LogBatch *b, int64_t topic);
/* Takes in the statement's result. 0; -ENOENT: there is no such topic; -EBADMSG. */
int log_batch_read(LogBatch *b, const MamPgResult *result);
/* The last position that was stored, 0: nothing new was. */
int64_t log_batch_last(const LogBatch *b);
/* The topic's version. */
int64_t log_batch_settings(const LogBatch *b);
/* After log_batch_read(): 0 or -ESTALE (then *ret_at) for that request; *ret_appended are its entries in the
 * order they were added, borrowed. */
int log_batch_outcome(
                const LogBatch *b,
                size_t request,
                const LogAppended **ret_appended,
                size_t *ret_n,
                size_t *ret_at);

/* Somebody else in this process committed an append. */
void log_appended_elsewhere(Log *l, const char *topic, int64_t last);

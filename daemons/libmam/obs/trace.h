/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * W3C Trace Context (https://www.w3.org/TR/trace-context/)
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct MamTrace {
        uint8_t trace_id[16];
        uint8_t span_id[8];
        uint8_t flags; /* bit 0: sampled */
} MamTrace;

#define MAM_TRACEPARENT_SIZE 56 /* 55 characters and the NUL */

/* A new random trace. */
void mam_trace_start(MamTrace *ret, bool sampled);
/* A child span of parent: same trace, new span id. */
void mam_trace_child(MamTrace *ret, const MamTrace *parent);
/* -EINVAL: to be ignored as the recommendation says, and a new trace started. Versions above 00 are read as
 * 00 with more behind. */
int mam_trace_parse(MamTrace *ret, const char *traceparent, size_t length);
void mam_trace_format(char ret[static MAM_TRACEPARENT_SIZE], const MamTrace *t);
/* Strict per section 3.3: at most 32 members, valid keys and values, no duplicates. false: drop the header.
 */
bool mam_tracestate_is_valid(const char *value, size_t length);
/* 32 lower-case hex digits: X-Request-Id when the client sent none. */
void mam_request_id_new(char ret[static 33]);
/* A client's request id is kept if it is 1 to 128 characters of [A-Za-z0-9._-]. */
bool mam_request_id_is_valid(const char *value, size_t length);

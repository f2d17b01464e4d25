/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Insides of an exchange (internal to the server side of libmam/http; carriers use http-carrier.h)
 */

#include "libmam/http/http-carrier.h"
#include "libmam/http/http-connection.h"

typedef enum HttpBodyMode {
        HTTP_BODY_UNASKED,
        HTTP_BODY_COLLECT,
        HTTP_BODY_STREAM,
        HTTP_BODY_ENDED, /* the callback was told, or nobody wants it */
} HttpBodyMode;

struct MamHttpExchange {
        HttpCarrier *carrier; /* weak: it owns us */
        void *userdata;
        void *frame; /* of libmam/service, which frames every handler */
        MamHttpDone on_done, on_frame_done, on_writable, on_hangup, on_drain;
        void *on_done_userdata, *on_writable_userdata, *on_hangup_userdata, *on_drain_userdata;
        LIST_ENTRY(MamHttpExchange) drain_watchers; /* with on_drain */

        HttpBodyMode body_mode;
        bool body_paused;
        bool body_failed; /* where it ends is not known, or too far away */
        uint64_t body_max;
        uint64_t body_seen;
        MamBuffer body;
        MamHttpCollected on_collected;
        MamHttpBodyCallback on_body;
        void *body_userdata;
        MamHttpField *trailers; /* owned, with what they point into; of the request */
        size_t n_trailers;

        MamBuffer fields; /* "Name: value\r\n"… of the answer; once started, of its trailers */
        unsigned status;
        bool started, ended, aborted, upgraded, want_writable;
        bool head_request, no_body;
        bool has_trace;
        bool is_small;          /* of HTTP_SPARE_SIZE */
        int64_t content_length; /* announced; -1: none */
        uint64_t bytes_sent;
        uint64_t started_usec;
        MamTrace trace;
        char request_id[129];
        const char *method, *path; /* in bytes */
        MamHttpHead head;          /* its ranges point into bytes */
        char bytes[];
};

/* http-answer.c */
/* The handler or a callback of it failed: an answer, or the exchange's abortion if one has begun. */
void http_exchange_fail(MamHttpExchange *x, unsigned status, const char *reason);

/* http-drain.c */
void http_drain_forget(MamHttpExchange *x);
sd_event *http_exchange_event(const MamHttpExchange *x);

/* http-problem.c */
int http_problem_format(MamBuffer *ret, unsigned status, const char *pointer, const char *detail);

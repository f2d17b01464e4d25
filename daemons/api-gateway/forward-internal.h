/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of a forward: forward.c is its life, its tries and the request's way out; forward-answer.c the
 * answer's way back
 */

#include "api-gateway/forward.h"
#include "libmam/util/buffer.h"

/* How the request's body travels. */
typedef enum ForwardBody {
        FORWARD_BODY_NONE,
        FORWARD_BODY_WHOLE,    /* small: read first, sent with the head, kept for another try */
        FORWARD_BODY_STREAMED, /* its beginning is kept for another try, up to GATEWAY_BODY_KEPT */
} ForwardBody;

struct Forward {
        Gateway *gateway;            /* weak */
        const Route *route;          /* borrowed */
        Upstream *upstream;          /* weak */
        MamHttpExchange *x;          /* weak: it owns us */
        const MamIdentity *identity; /* borrowed from the exchange */
        Endpoint *endpoint;          /* reference, as of endpoint_begin(); NULL: none works for us */
        char replica[64];            /* its id, for the log */
        MamHttpCall *call;           /* owned */

        TAILQ_ENTRY(Forward) forwards; /* of the gateway */
        TAILQ_ENTRY(Forward) waiting;  /* of the upstream */
        bool is_waiting;
        uint64_t waiting_since_usec; /* 0: never waited */
        uint64_t progress_usec;      /* when something last moved */
        uint64_t sent_usec;          /* of this try */
        uint64_t first_byte_usec;    /* of this try, how long it took; MAM_USEC_INFINITY: none came */
        unsigned answer_status;      /* of this try */

        uint64_t tried[UPSTREAM_TRIED_MAX];
        size_t n_tried;
        unsigned n_retries; /* of any kind */
        bool repeated;      /* what may have reached a replica was sent again */
        bool idempotent;
        bool counted; /* as the load of a replica */
        bool blocked; /* the client does not take the answer */

        ForwardBody body;
        int64_t body_size; /* -1: unknown */
        MamBuffer kept;    /* of the body */
        bool body_asked;   /* the client's body is being read */
        bool body_ended;   /* all of it was */
        bool body_lost;    /* more than is kept went to a replica */
        bool body_refused; /* the replica does not take the rest */
        bool elsewhere; /* this replica does not take the request: the call is being ended for another try */
        bool got_head;  /* of the answer */
        bool finished;  /* answered, or aborted: nothing to be done but to end */
};

/* How a try ended. */
typedef enum TryEnd {
        TRY_UNTOUCHED, /* it did not reach the replica, or was handed back unprocessed: not its load */
        TRY_ANSWERED,
        TRY_FAILED, /* no answer, or a broken one */
        TRY_LEFT,   /* the client has left, or the gateway could not go on: load, but no error */
} TryEnd;

void forward_progress(Forward *f);
bool forward_can_repeat(const Forward *f);

int forward_on_call_head(MamHttpCall *call, const MamHttpHead *head, void *userdata);
int forward_on_call_data(MamHttpCall *call, const char *data, size_t size, void *userdata);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of a forward
 *
 *   forward.c         its life: from start to the log
 *   forward-wish.c    what its fields say of how it is to be forwarded
 *   forward-try.c     one replica after the other
 *   forward-body.c    the request's way out
 *   forward-answer.c  the answer's way back
 *   forward-compress.c  compressed, if the client asks for it
 *   forward-queue.c   waiting, and what has waited for too long
 *   forward-lasting.c WebSockets and streams of events, once they have begun
 */

#include "api-gateway/compress.h"
#include "api-gateway/forward.h"
#include "api-gateway/lasting.h"
#include "api-gateway/sse.h"
#include "api-gateway/tunnel.h"
#include "libmam/util/buffer.h"
#include "libmam/util/time.h"

/* How the request's body travels. */
typedef enum ForwardBody {
        FORWARD_BODY_NONE,
        FORWARD_BODY_WHOLE,    /* small: read first, sent with the head, kept for another try */
        FORWARD_BODY_STREAMED, /* its beginning is kept for another try, up to GATEWAY_BODY_KEPT */
} ForwardBody;

typedef enum ForwardWait {
        FORWARD_WAIT_NOT,
        FORWARD_WAIT_READY, /* for a replica */
        FORWARD_WAIT_ROOM,  /* all are at their limit */
} ForwardWait;

/* How a try ended. */
typedef enum TryEnd {
        TRY_UNTOUCHED, /* it did not reach the replica, or was handed back unprocessed: not its load */
        TRY_ANSWERED,
        TRY_FAILED, /* no answer, or a broken one */
        TRY_LEFT,   /* the client has left, or the gateway could not go on: load, but no error */
} TryEnd;

struct Forward {
        Gateway *gateway;            /* weak */
        const Route *route;          /* reference */
        Upstream *upstream;          /* weak */
        MamHttpExchange *x;          /* weak: it owns us */
        Caller *caller;              /* reference */
        const MamIdentity *identity; /* the caller's */
        Endpoint *endpoint;          /* reference, as of endpoint_begin(); NULL: none works for us */
        MamHttpCall *call;           /* owned */

        TAILQ_ENTRY(Forward) forwards; /* of the gateway */
        TAILQ_ENTRY(Forward) waiting;  /* of the upstream */
        ForwardWait waits;
        uint64_t waiting_since_usec; /* 0: never waited */
        uint64_t progress_usec;      /* when something last moved */
        uint64_t sent_usec;          /* of this try */
        uint64_t asked_usec;         /* of this try: the request is complete; 0: it is not */
        uint64_t first_byte_usec;    /* of this try, how long it took; MAM_USEC_INFINITY: none came */
        unsigned answer_status;      /* of this try */
        Deadline deadline;           /* in the gateway's, if there is one */
        bool deadline_is_clients;    /* not the route's */

        BalancerChoice how;
        bool sticky;
        uint64_t tried[UPSTREAM_TRIED_MAX];
        size_t n_tried;
        char replica[64];   /* the last one's id, for the log */
        unsigned n_retries; /* of any kind */
        unsigned repeats;   /* how often what may have reached a replica may be sent again */
        bool idempotent;
        bool safe;    /* nothing is lost if nobody wants the answer any more */
        bool probe;   /* of the circuit breaker, and has not told yet */
        bool working; /* counted at the endpoint */
        bool counted; /* as the load of a replica */
        bool blocked; /* the client does not take the answer */
        uint64_t blocked_since_usec;
        uint64_t blocked_usec; /* in all, before */

        ForwardBody body;
        int64_t body_size;         /* -1: unknown */
        uint64_t body_bytes;       /* came so far */
        uint64_t body_since_usec;  /* when it was asked for; later by what we made it wait */
        uint64_t body_paused_usec; /* since when we do; 0: we do not */
        MamBuffer kept;            /* of the body */
        bool body_asked;           /* the client's body is being read */
        bool body_ended;           /* all of it was */
        bool body_lost;            /* more than is kept went to a replica */
        bool body_refused;         /* the replica does not take the rest */
        Tunnel *tunnel;            /* owned; the client asks for WebSocket */
        uint64_t lasts_since_usec; /* it lasts, and is not in the gateway's list any more; 0: it does not */
        Lasting lasting;           /* of a stream of events */
        SseTrack events;
        bool is_events;
        bool events_opaque; /* compressed */
        bool events_ending;
        Compressor *compressor; /* owned; of the answer */
        bool compressor_blocked;
        bool flush;         /* each piece of the answer is to be readable at once */
        MamTrace try_trace; /* of this try, where spans are wanted */
        bool traced;        /* they are */
        bool elsewhere; /* this replica does not take the request: the call is being ended for another try */
        bool got_head;  /* of the answer */
        bool finished;  /* answered, or aborted: nothing to be done but to end */
};

/* The time of this turn of the loop: no system call. */
static inline uint64_t gateway_now(const Gateway *g) {
        uint64_t now;

        return sd_event_now(g->event, CLOCK_MONOTONIC, &now) >= 0 ? now : mam_now_monotonic();
}

/* The same where there is a request: within a batch of them it is not asked again. */
static inline uint64_t forward_now(const Forward *f) {
        return mam_http_exchange_now(f->x);
}

/* forward.c */
void forward_progress(Forward *f);
/* An answer of our own. With one already begun there is only the abrupt end left. */
void forward_answer(Forward *f, unsigned status, const char *detail);
/* 503 with a Retry-After, counted under this reason. */
void forward_shed(Forward *f, const char *reason, uint64_t retry_usec, const char *detail);

/* forward-compress.c */
/* COMPRESS_YES: there is a compressor now. size: of the answer's body, -1: unknown. */
CompressVerdict forward_judge_compression(Forward *f, const MamHttpHead *head, int64_t size);
/* As mam_http_exchange_write(). */
int forward_write_compressed(Forward *f, const void *data, size_t size);
int forward_end_compressed(Forward *f);
void forward_drop_compressor(Forward *f);

/* forward-wish.c */
/* Idempotent, deadline, balancing. false: its time is over already. */
bool forward_read_wishes(Forward *f, uint64_t now_usec);
/* What is left for the replica to answer: fields for the call. */
int forward_tell_deadline(Forward *f, uint64_t now_usec);

/* forward-try.c */
void forward_dispatch(Forward *f);
/* Another replica may get it: nothing of it, or of an answer, is beyond recall. */
bool forward_can_repeat(const Forward *f);
/* Lets go of the replica; a call in progress is cancelled. */
void forward_drop_call(Forward *f, TryEnd end);
/* What a try is that ends before its time. */
TryEnd forward_left(const Forward *f);
void forward_count_retry(Forward *f, const char *reason);
/* The request is with the replica, all of it. */
void forward_asked(Forward *f);
/* It does not work on it any more. */
void forward_rest(Forward *f);

/* forward-body.c */
/* Begins with what can be done before a replica is known. */
int forward_begin_body(Forward *f);
int forward_add_body(Forward *f);
int forward_send_body(Forward *f);
void forward_pause_body(Forward *f);
void forward_on_call_writable(MamHttpCall *call, void *userdata);

/* forward-answer.c */
int forward_on_call_head(MamHttpCall *call, const MamHttpHead *head, void *userdata);
int forward_on_call_data(MamHttpCall *call, const char *data, size_t size, void *userdata);
void forward_on_call_trailers(MamHttpCall *call, const MamHttpField *fields, size_t n, void *userdata);

/* forward-lasting.c */
/* 1: go on; 0: it is answered, as it can be no tunnel. */
int forward_begin_tunnel(Forward *f);
/* The replica has agreed, and its fields are added to the answer. */
int forward_open_tunnel(Forward *f, MamHttpCall *call, const MamHttpHead *head);
/* An answer has begun; is it a stream of events? */
void forward_begin_events(Forward *f, const MamHttpHead *head);
/* Whether who it is for may still have it. */
void forward_check_lasting(Forward *f);
/* A piece of it. As mam_http_exchange_write(); -ECANCELED: it has ended with this. */
int forward_pass_events(Forward *f, const char *data, size_t size);

/* forward-queue.c */
void forward_wait(Forward *f, ForwardWait what);
void forward_leave_queue(Forward *f, bool served);

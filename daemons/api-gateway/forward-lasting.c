/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Answers that last: tunnels, and streams of events
 *
 * They leave the gateway's list of what has to make progress, and have no deadline any more, but the one of
 * silence (lasting.h). When the gateway drains, a stream of events ends behind an event: its client asks
 * again, and is told where it stood by its Last-Event-ID.
 *
 * Who was admitted is asked about again and again, as what lasts would outlive tokens and what was revoked.
 */

#include <string.h>

#include "api-gateway/access.h"
#include "api-gateway/fields.h"
#include "api-gateway/forward-internal.h"
#include "api-gateway/key-hash.h"

#define CHECK_USEC (10 * MAM_USEC_PER_SEC) /* between two looks at who it is for */

/* Whose places a WebSocket counts among: of who is nobody, those of the address. */
static uint64_t who(const Forward *f) {
        static const KeyHashKey any = { 0 };
        const char *address = mam_http_exchange_address(f->x);

        if (f->caller->kind != CALLER_NOBODY)
                return f->caller->hash;
        return key_hash(&any, address, strlen(address));
}

int forward_begin_tunnel(Forward *f) {
        int r;

        if (!tunnel_is_wanted(f->x))
                return 1;
        r = tunnel_new(&f->tunnel, f->gateway->tunnels, f->x, who(f), f->upstream->service);
        if (r == 0)
                f->finished = true;
        return r;
}

/* At whole seconds, so that thousands are one turn of the loop. */
static void check_later(Forward *f) {
        Gateway *g = f->gateway;
        uint64_t now = gateway_now(g);

        if (f->caller->kind == CALLER_NOBODY || f->caller->kind == CALLER_SERVICE)
                return;
        f->deadline.usec = (now + CHECK_USEC) / MAM_USEC_PER_SEC * MAM_USEC_PER_SEC;
        if (deadlines_add(&g->deadlines, &f->deadline) >= 0)
                gateway_arm(g, f->deadline.usec - now);
}

static void last(Forward *f) {
        deadlines_remove(&f->gateway->deadlines, &f->deadline);
        TAILQ_REMOVE(&f->gateway->forwards, f, forwards);
        f->lasts_since_usec = forward_now(f);
        check_later(f);
}

int forward_open_tunnel(Forward *f, MamHttpCall *call, const MamHttpHead *head) {
        int r;

        r = tunnel_open(f->tunnel, call, head, f->endpoint);
        if (r < 0)
                return r;
        last(f);
        return 0;
}

static int end_events(Forward *f) {
        f->finished = true;
        lasting_remove(&f->lasting);
        if ((f->compressor && forward_end_compressed(f) < 0) || mam_http_exchange_end(f->x) < 0)
                mam_http_exchange_abort(f->x);
        return -ECANCELED;
}

/* At the next opportunity; soon. */
static void ask_events_to_end(Forward *f) {
        if (f->finished || f->events_ending)
                return;
        f->events_ending = true;
        lasting_close(&f->lasting);
        if (!sse_at_boundary(&f->events))
                return;
        (void) end_events(f);
        forward_drop_call(f, TRY_ANSWERED);
}

void forward_check_lasting(Forward *f) {
        if (access_still_stands(f->gateway->access, f->caller, mam_now_realtime()))
                check_later(f);
        else if (f->tunnel)
                tunnel_forbid(f->tunnel);
        else
                ask_events_to_end(f);
}

static void on_drain(MamHttpExchange *x, void *userdata) {
        ask_events_to_end(userdata);
}

static void on_expire(Lasting *l, LastingEnd why) {
        Forward *f = (Forward *) ((char *) l - offsetof(Forward, lasting));

        if (why != LASTING_OVERDUE) {
                ask_events_to_end(f);
                return;
        }
        f->finished = true; /* the next event does not come, or is not taken: its half is worth nothing */
        forward_drop_call(f, TRY_LEFT);
        mam_http_exchange_abort(f->x);
}

void forward_begin_events(Forward *f, const MamHttpHead *head) {
        const MamHttpField *type = mam_http_find(head, "Content-Type");

        if (head->status != 200 || head->framing == MAM_HTTP_BODY_LENGTH ||
            head->framing == MAM_HTTP_BODY_NONE || !type || !sse_is_type(type->value.data, type->value.size))
                return;
        f->is_events = true;
        f->events_opaque = mam_http_find(head, "Content-Encoding"); /* where an event ends is not seen */
        last(f);
        lasting_add(f->gateway->lasting, &f->lasting, f->endpoint, on_expire);
        mam_http_exchange_set_on_drain(f->x, on_drain, f);
}

static int put(Forward *f, const char *data, size_t size) {
        return f->compressor ? forward_write_compressed(f, data, size)
                             : mam_http_exchange_write(f->x, data, size);
}

int forward_pass_events(Forward *f, const char *data, size_t size) {
        size_t end;

        if (f->events_opaque)
                return put(f, data, size);
        if (f->events_ending) {
                end = sse_first_end(f->events, data, size);
                if (end != SIZE_MAX) {
                        (void) put(f, data, end);
                        return end_events(f);
                }
        }
        (void) sse_track(&f->events, data, size);
        return put(f, data, size);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>

#include "api-gateway/forward-internal.h"

#define TICK_USEC         MAM_USEC_PER_SEC
#define TICK_WAITING_USEC (100 * MAM_USEC_PER_MSEC)
#define TICK_WAKING_USEC  (5 * MAM_USEC_PER_MSEC)

void forward_leave_queue(Forward *f, bool served) {
        Upstream *u = f->upstream;

        if (f->waits == FORWARD_WAIT_NOT)
                return;

        TAILQ_REMOVE(&u->waiting, f, waiting);
        u->n_waiting--;
        f->waits = FORWARD_WAIT_NOT;
        f->gateway->n_waiting--;
        mam_metric_set(f->gateway->metric_waiting, f->gateway->n_waiting);
        queue_policy_left(&u->queue, served, u->n_waiting, forward_now(f));
}

static void give_up(Forward *f) {
        if (f->waits == FORWARD_WAIT_ROOM)
                forward_shed(f, "late", MAM_USEC_PER_SEC, "The service has more to do than it can");
        else
                forward_answer(f, 503, "No replica of the service can take the request at the moment");
}

static uint64_t waiting_delay(const Upstream *u) {
        return upstream_is_waking(u) ? TICK_WAKING_USEC : TICK_WAITING_USEC;
}

/* Whether there is room to wait; if not, it is answered. */
static bool may_wait(Forward *f, ForwardWait what, uint64_t now) {
        uint64_t left = f->deadline.place == 0   ? MAM_USEC_INFINITY
                        : f->deadline.usec > now ? f->deadline.usec - now
                                                 : 0;
        unsigned max = f->gateway->protection.queue_max;
        Gateway *g = f->gateway;

        if (what == FORWARD_WAIT_ROOM &&
            !queue_policy_admits(&f->upstream->queue, f->upstream->n_waiting, max, left)) {
                forward_shed(f,
                             f->upstream->n_waiting >= max ? "full" : "deadline",
                             MAM_USEC_PER_SEC,
                             "The service has more to do than it can");
                return false;
        }
        if (g->n_waiting >= g->waiting_max || now >= f->waiting_since_usec + g->wait_usec) {
                forward_answer(f, 503, "No replica of the service can take the request at the moment");
                return false;
        }
        return true;
}

void forward_wait(Forward *f, ForwardWait what) {
        uint64_t now = forward_now(f);
        Gateway *g = f->gateway;
        Upstream *u = f->upstream;

        if (f->waiting_since_usec == 0)
                f->waiting_since_usec = now;
        if (!may_wait(f, what, now))
                return;

        forward_pause_body(f);
        f->n_tried = 0; /* when it goes on, all are worth another try */
        f->waits = what;
        TAILQ_INSERT_TAIL(&u->waiting, f, waiting);
        u->n_waiting++;
        g->n_waiting++;
        mam_metric_set(g->metric_waiting, g->n_waiting);
        if (what == FORWARD_WAIT_ROOM)
                queue_policy_entered(&u->queue, now);
        gateway_arm(g, waiting_delay(u));
}

static bool is_over(const Forward *f, uint64_t now) {
        if (now >= f->waiting_since_usec + f->gateway->wait_usec)
                return true;
        return f->waits == FORWARD_WAIT_ROOM && !queue_policy_keeps(
                                                                &f->upstream->queue,
                                                                now - f->waiting_since_usec,
                                                                (uint64_t) f->upstream->usual_usec,
                                                                now);
}

void forwards_wake(Upstream *u, uint64_t now_usec) {
        Forward *last = TAILQ_LAST(&u->waiting, ForwardQueue), *f, *next;

        /* Whoever has to wait again goes behind last, and is not looked at twice. */
        for (f = TAILQ_FIRST(&u->waiting); f; f = next) {
                next = f == last ? NULL : TAILQ_NEXT(f, waiting);
                if (is_over(f, now_usec)) {
                        give_up(f);
                        continue;
                }
                if (!upstream_has_endpoint(u, NULL, 0, now_usec))
                        continue;
                forward_leave_queue(f, true);
                forward_progress(f);
                forward_dispatch(f);
        }
}

static int on_kick(sd_event_source *source, void *userdata) {
        Upstream *u = userdata;
        uint64_t now = gateway_now(u->gateway);
        Forward *f;

        /* First in, first out, as many as there is room for. */
        while ((f = TAILQ_FIRST(&u->waiting))) {
                if (is_over(f, now)) {
                        give_up(f);
                        continue;
                }
                if (!upstream_has_endpoint(u, NULL, 0, now))
                        break;
                forward_leave_queue(f, true);
                forward_progress(f);
                forward_dispatch(f);
        }
        return 0;
}

void forwards_kick(Upstream *u) {
        if (u->n_waiting == 0)
                return;
        if (!u->kick && sd_event_add_defer(u->gateway->event, &u->kick, on_kick, u) < 0)
                return; /* the tick comes in any case */
        (void) sd_event_source_set_enabled(u->kick, SD_EVENT_ONESHOT);
}

/* Nothing has moved for too long: 504, or the end of an answer that has begun. */
static void expire(Forward *f) {
        forward_progress(f);
        if (f->finished) /* now it is between the server and the client */
                return;
        if (f->body != FORWARD_BODY_NONE && !f->body_ended && !f->got_head) {
                forward_answer(f, 408, "The request's body did not arrive in time");
                return;
        }
        if (f->endpoint && !f->got_head)
                endpoint_struggled(f->endpoint, 0, forward_now(f));
        if (f->endpoint && !f->blocked)
                forward_drop_call(f, TRY_FAILED);
        forward_answer(f, 504, "The service did not answer in time");
}

/* How short a time a client gives is no fault of the replica's; the route's time is another matter. */
static void pass_deadline(Forward *f) {
        Gateway *g = f->gateway;

        deadlines_remove(&g->deadlines, &f->deadline);
        if (f->finished)
                return;
        if (f->lasts_since_usec > 0) {
                forward_check_lasting(f);
                return;
        }
        if (f->deadline_is_clients) {
                protection_count_shed(g, f->upstream->service, "deadline");
                forward_answer(f, 504, "The request's deadline has passed");
                return;
        }
        if (f->working) {
                endpoint_struggled(f->endpoint, 0, forward_now(f));
                forward_drop_call(f, TRY_FAILED);
        }
        forward_answer(f, 504, "The service did not answer in time");
}

uint64_t forwards_tick(Gateway *g, uint64_t now_usec) {
        uint64_t delay = MAM_USEC_INFINITY;
        Deadline *d;
        Forward *f;

        for (size_t i = 0; i < g->n_upstreams; i++)
                if (g->upstreams[i]->n_waiting > 0)
                        forwards_wake(g->upstreams[i], now_usec);
        while ((d = deadlines_first(&g->deadlines)) && now_usec >= d->usec)
                pass_deadline((Forward *) (void *) ((char *) d - offsetof(Forward, deadline)));
        /* An expired one is answered and, until it is gone, stands behind the others. */
        while ((f = TAILQ_FIRST(&g->forwards)) && now_usec >= f->progress_usec + g->progress_usec)
                expire(f);

        if (!TAILQ_EMPTY(&g->forwards))
                delay = TICK_USEC;
        for (size_t i = 0; i < g->n_upstreams && g->n_waiting > 0; i++)
                if (g->upstreams[i]->n_waiting > 0 && waiting_delay(g->upstreams[i]) < delay)
                        delay = waiting_delay(g->upstreams[i]);
        d = deadlines_first(&g->deadlines);
        if (d && d->usec - now_usec < delay)
                delay = d->usec - now_usec;
        return delay;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/forward.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/access-log.h"
#include "api-gateway/forward-internal.h"
#include "api-gateway/mirror.h"
#include "api-gateway/see.h"

#define CODES_KNOWN 16U

/* The series of a route's metrics that it uses, so that a request looks up no labels. */
typedef struct RouteMetrics {
        MamMetric *duration; /* borrowed, as all of them */
        struct {
                const char *method; /* as of mam_method_label() */
                unsigned status;
                MamMetric *requests;
        } codes[CODES_KNOWN];
        size_t n_codes;
} RouteMetrics;

void forward_progress(Forward *f) {
        Gateway *g = f->gateway;

        f->progress_usec = forward_now(f);
        if (f->lasts_since_usec > 0) {
                lasting_touch(&f->lasting);
                return;
        }
        if (TAILQ_NEXT(f, forwards)) {
                TAILQ_REMOVE(&g->forwards, f, forwards);
                TAILQ_INSERT_TAIL(&g->forwards, f, forwards);
        }
}

static Forward *forward_free(Forward *f) {
        if (!f)
                return NULL;

        forward_leave_queue(f, false);
        forward_drop_call(f, forward_left(f));
        if (f->probe)
                breaker_abandon(&f->upstream->breaker);
        deadlines_remove(&f->gateway->deadlines, &f->deadline);
        if (f->lasts_since_usec == 0)
                TAILQ_REMOVE(&f->gateway->forwards, f, forwards);
        lasting_remove(&f->lasting);
        tunnel_free(f->tunnel);
        forward_drop_compressor(f);
        mam_buffer_done(&f->kept);
        route_unref(f->route);
        caller_unref(f->caller);
        mam_spares_give(&f->gateway->spares, f);
        return NULL;
}

static RouteMetrics *route_metrics(Gateway *g, const Route *route) {
        RouteState *s = route->state;
        RouteMetrics *m;

        if (!s)
                return NULL;
        if (!s->forward) {
                m = calloc(1, sizeof(*m));
                if (!m)
                        return NULL;
                m->duration = mam_metric_get(g->metric_duration, (const char *[]){ route->config->label });
                s->forward = m;
                s->forward_free = free;
        }
        return s->forward;
}

static MamMetric *request_metric(Gateway *g, const Route *route, const char *method, unsigned status) {
        RouteMetrics *m = route_metrics(g, route);
        MamMetric *metric;
        char code[4];

        for (size_t i = 0; m && i < m->n_codes; i++)
                if (m->codes[i].status == status && m->codes[i].method == method)
                        return m->codes[i].requests;

        (void) snprintf(code, sizeof(code), "%u", status % 1000);
        metric = mam_metric_get(g->metric_requests, (const char *[]){ route->config->label, method, code });
        if (m && metric && m->n_codes < CODES_KNOWN) {
                m->codes[m->n_codes].method = method;
                m->codes[m->n_codes].status = status;
                m->codes[m->n_codes++].requests = metric;
        }
        return metric;
}

/* Runs exactly once per forward, as the last thing. */
static void on_exchange_done(MamHttpExchange *x, void *userdata) {
        Forward *f = userdata;
        Gateway *g = f->gateway;
        uint64_t now = forward_now(f), started = mam_http_exchange_started_usec(x);
        uint64_t duration = now > started ? now - started : 0; /* a turn of the loop has one time */
        /* What lasts would say nothing about how long requests take. */
        uint64_t until_head = f->lasts_since_usec > started ? f->lasts_since_usec - started : 0;
        uint64_t measured = f->lasts_since_usec > 0 ? until_head : duration;
        unsigned status = mam_http_exchange_status(x) > 0 ? mam_http_exchange_status(x) : 499;
        const char *method = mam_method_label(x);
        RouteMetrics *m;

        mam_metric_add(request_metric(g, f->route, method, status), 1);
        m = route_metrics(g, f->route);
        mam_metric_observe_traced(
                        m ? m->duration : NULL,
                        (double) measured / (double) MAM_USEC_PER_SEC,
                        mam_http_exchange_trace(x));
        access_log_write(
                        g->access_log,
                        &(AccessEntry){
                                        .method = method,
                                        .route = f->route->config->label,
                                        .replica = f->replica[0] ? f->replica : NULL,
                                        .request_id = mam_http_exchange_request_id(x),
                                        .subject = f->identity->subject,
                                        .trace = mam_http_exchange_trace(x),
                                        .status = status,
                                        .bytes = mam_http_exchange_bytes_sent(x),
                                        .duration_usec = duration,
                                        .retries = f->n_retries,
                        },
                        now);
        if (f->traced)
                see_request(g->see,
                            &(SeeRequest){
                                            .x = x,
                                            .method = method,
                                            .route = f->route->config->label,
                                            .subject = f->identity->subject,
                                            .replica = f->replica[0] ? f->replica : NULL,
                                            .status = status,
                                            .retries = f->n_retries,
                                            .duration_usec = duration,
                            });
        route_count(f->route, status, measured, mam_http_exchange_bytes_sent(x));
        forward_free(f);
}

static void answer(Forward *f, unsigned status, uint64_t retry_usec, const char *detail) {
        char text[24];

        if (f->finished)
                return;

        f->finished = true;
        forward_leave_queue(f, false);
        forward_drop_call(f, forward_left(f));
        deadlines_remove(&f->gateway->deadlines, &f->deadline);
        if (status >= 500 && !f->counted)
                f->upstream->unserved++;
        if (mam_http_exchange_is_started(f->x)) {
                mam_http_exchange_abort(f->x);
                return;
        }
        if (status == 503) {
                uint64_t seconds = (retry_usec + MAM_USEC_PER_SEC - 1) / MAM_USEC_PER_SEC;

                (void) snprintf(text,
                                sizeof(text),
                                "%llu",
                                (unsigned long long) (seconds > 0 ? seconds : 1));
                (void) mam_http_exchange_add_field(f->x, "Retry-After", text);
        }
        if (mam_http_exchange_problem(f->x, status, NULL, "%s", detail) < 0)
                mam_http_exchange_abort(f->x);
}

void forward_answer(Forward *f, unsigned status, const char *detail) {
        answer(f, status, MAM_USEC_PER_SEC, detail);
}

void forward_shed(Forward *f, const char *reason, uint64_t retry_usec, const char *detail) {
        if (f->finished)
                return;
        protection_count_shed(f->gateway, f->upstream->service, reason);
        answer(f, 503, retry_usec, detail);
}

/* The client has sent its last byte. One that only closed its half still reads, but that is rare, and
 * whoever waits behind it is not: what is safe to drop is dropped. */
static void on_hangup(MamHttpExchange *x, void *userdata) {
        Forward *f = userdata;

        if (f->finished || f->got_head || (f->waits == FORWARD_WAIT_NOT && !f->safe))
                return;
        f->finished = true;
        forward_leave_queue(f, false);
        forward_drop_call(f, forward_left(f));
        mam_http_exchange_abort(x);
}

static bool breaker_refuses(Forward *f, uint64_t now) {
        uint64_t wait = 0;

        switch (breaker_admit(&f->upstream->breaker, now, &wait)) {
        case BREAKER_PROBE:
                f->probe = true;
                return false;
        case BREAKER_REFUSE:
                forward_shed(f,
                             "open",
                             wait,
                             "The service has failed too often, and is left alone for a moment");
                return true;
        case BREAKER_GO:
        default:
                return false;
        }
}

int forward_start(Gateway *g, const Route *route, MamHttpExchange *x, Caller *caller) {
        uint64_t now;
        Forward *f;
        int r;

        assert(g);
        assert(route);
        assert(x);
        assert(caller);

        f = mam_spares_take_zeroed(&g->spares, sizeof(*f));
        if (!f)
                return -ENOMEM;
        now = mam_http_exchange_now(x);
        f->gateway = g;
        f->route = route_ref(route);
        f->upstream = route->upstream;
        f->x = x;
        f->caller = caller_ref(caller);
        f->identity = &caller->identity;
        f->progress_usec = now;
        TAILQ_INSERT_TAIL(&g->forwards, f, forwards);
        mam_http_exchange_set_on_done(x, on_exchange_done, f); /* frees f, whatever happens from here on */
        mam_http_exchange_set_on_hangup(x, on_hangup, f);
        gateway_arm(g, MAM_USEC_PER_SEC);
        upstream_earn_retry(f->upstream);
        share_poke(g->share);

        if (!forward_read_wishes(f, now)) {
                forward_answer(f, 504, "The request's deadline has passed");
                return 0;
        }
        if (breaker_refuses(f, now))
                return 0;
        r = forward_begin_tunnel(f);
        if (r <= 0)
                return r;
        return forward_begin_body(f);
}

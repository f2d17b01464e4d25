/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <string.h>

#include "api-gateway/fields.h"
#include "api-gateway/forward-internal.h"
#include "api-gateway/mirror.h"
#include "api-gateway/see.h"

bool forward_can_repeat(const Forward *f) {
        return !f->body_lost && !f->got_head;
}

TryEnd forward_left(const Forward *f) {
        return f->call && mam_http_call_is_sent(f->call) ? TRY_LEFT : TRY_UNTOUCHED;
}

void forward_asked(Forward *f) {
        if (!f->endpoint || f->asked_usec > 0)
                return;
        f->asked_usec = forward_now(f);
        if (f->got_head) /* it has answered before it had all */
                return;
        f->working = true;
        endpoint_work(f->endpoint);
}

void forward_rest(Forward *f) {
        if (!f->working)
                return;
        f->working = false;
        endpoint_rest(f->endpoint);
        forwards_kick(f->upstream);
}

/* What a try says of the service as a whole. */
static void tell_breaker(Forward *f, TryEnd end) {
        Upstream *u = f->upstream;
        bool failed = end == TRY_FAILED || (f->answer_status >= 502 && f->answer_status <= 504);

        if (end != TRY_ANSWERED && end != TRY_FAILED)
                return;
        (void) breaker_count(&u->breaker, failed, f->probe, forward_now(f));
        f->probe = false;
        if (u->breaker.open == u->breaker_shown)
                return;
        u->breaker_shown = u->breaker.open;
        mam_metric_set(mam_metric_get(f->gateway->protection.metric_breaker, (const char *[]){ u->service }),
                       u->breaker.open);
}

static void tell_try(Forward *f, const Endpoint *e, TryEnd end) {
        static const char *const errors[] = {
                [TRY_UNTOUCHED] = "refused",
                [TRY_ANSWERED] = NULL,
                [TRY_FAILED] = "no answer",
                [TRY_LEFT] = "left",
        };
        uint64_t now = forward_now(f);

        see_try(f->gateway->see,
                &(SeeTry){
                                .trace = &f->try_trace,
                                .parent = mam_http_exchange_trace(f->x),
                                .method = mam_method_label(f->x),
                                .service = f->upstream->service,
                                .replica = e->id,
                                .status = f->answer_status,
                                .error = errors[end],
                                .duration_usec = now > f->sent_usec ? now - f->sent_usec : 0,
                });
}

void forward_drop_call(Forward *f, TryEnd end) {
        MamHttpCall *call = MAM_TAKE(f->call);
        Endpoint *e;

        forward_rest(f);
        e = MAM_TAKE(f->endpoint);
        if (e && end != TRY_UNTOUCHED) {
                load_count(e->load,
                           end == TRY_FAILED || (end == TRY_ANSWERED && f->answer_status >= 500),
                           f->first_byte_usec);
                f->counted = true;
                tell_breaker(f, end);
        }
        if (e && f->traced)
                tell_try(f, e, end);
        mam_http_call_free(call);
        if (e)
                endpoint_end(e);
}

void forward_count_retry(Forward *f, const char *reason) {
        f->n_retries++;
        mam_metric_add(mam_metric_get(f->gateway->metric_retries,
                                      (const char *[]){ f->upstream->service, reason }),
                       1);
}

/* A try has failed with no answer: another one, or the problem that it is. */
static void forward_failed(Forward *f, int error, bool sent) {
        Upstream *u = f->upstream;

        if (!sent && forward_can_repeat(f)) {
                /* Nothing has happened there: any method may go elsewhere, as often as there are replicas.
                 */
                forward_count_retry(f, error == -EAGAIN ? "busy" : "refused");
                forward_dispatch(f);
                return;
        }

        if (error == -ETIMEDOUT)
                forward_answer(f, 504, "The service did not answer in time");
        else if (error == -EBADMSG || error == -EOPNOTSUPP || error == -EMSGSIZE)
                forward_answer(f, 502, "The service's answer is not valid HTTP");
        else if (f->repeats > 0 && forward_can_repeat(f) && upstream_spend_retry(u)) {
                f->repeats--;
                forward_count_retry(f, "broken");
                forward_dispatch(f);
        } else
                forward_answer(f, 502, "The connection to the service broke before it answered");
}

static void on_call_end(MamHttpCall *call, int error, void *userdata) {
        Forward *f = userdata;
        bool sent = mam_http_call_is_sent(call);
        uint64_t now = forward_now(f);
        TryEnd end;

        if (f->finished) {
                forward_drop_call(f, sent ? TRY_LEFT : TRY_UNTOUCHED);
                return;
        }
        if (tunnel_is_open(f->tunnel)) {
                tunnel_on_end(f->tunnel, error);
                forward_drop_call(f, TRY_ANSWERED);
                return;
        }
        if (error >= 0) {
                f->finished = true;
                forward_drop_call(f, TRY_ANSWERED);
                if ((f->compressor && forward_end_compressed(f) < 0) || mam_http_exchange_end(f->x) < 0)
                        mam_http_exchange_abort(f->x);
                return;
        }

        if (f->elsewhere) {
                f->elsewhere = false;
                forward_drop_call(f, f->first_byte_usec == MAM_USEC_INFINITY ? TRY_UNTOUCHED : TRY_ANSWERED);
                forward_count_retry(f, "unready");
                forward_dispatch(f);
                return;
        }

        /* Not the replica's fault: it is full for the moment, or it is our own doing. */
        end = sent ? TRY_LEFT : TRY_UNTOUCHED;
        if (error != -EAGAIN && error != -ENOMEM && error != -ECANCELED && error != -EPIPE) {
                end = sent ? TRY_FAILED : TRY_UNTOUCHED;
                if (sent)
                        endpoint_struggled(f->endpoint, 0, now);
                if (error != -ETIMEDOUT || !sent)
                        endpoint_failed(f->endpoint, now);
        }
        forward_drop_call(f, end);
        if (f->got_head || mam_http_exchange_is_started(f->x)) {
                forward_answer(f, 502, "The service's answer broke off");
                return;
        }
        forward_failed(f, error, sent);
}

static int forward_make_call(Forward *f, const char *target, uint64_t now) {
        static const MamHttpCallbacks callbacks = {
                .on_head = forward_on_call_head,
                .on_data = forward_on_call_data,
                .on_writable = forward_on_call_writable,
                .on_trailers = forward_on_call_trailers,
                .on_end = on_call_end,
        };
        int r;

        r = mam_http_call_new(
                        &f->call,
                        f->endpoint->client,
                        f->tunnel ? "GET" : mam_http_exchange_method(f->x),
                        target,
                        &callbacks,
                        f);
        if (r >= 0 && f->tunnel)
                r = tunnel_prepare(f->tunnel, f->call);
        if (r < 0)
                return r;
        r = fields_add_for_upstream(
                        f->call,
                        f->x,
                        mam_http_exchange_tls(f->x) ? "https" : "http",
                        f->caller,
                        f->route,
                        f->traced ? &f->try_trace : NULL);
        if (r < 0)
                return r;
        r = forward_tell_deadline(f, now);
        if (r < 0)
                return r;
        r = forward_add_body(f);
        if (r < 0)
                return r;
        mam_http_call_set_timeout(f->call, MAM_USEC_INFINITY); /* the gateway watches progress itself */
        return 0;
}

static int forward_try(Forward *f, Endpoint *e, uint64_t now) {
        char target[ROUTE_TARGET_MAX];
        int r;

        assert(!f->call);

        r = (int) route_target(f->route, mam_http_exchange_head(f->x), target, sizeof(target));
        if (r < 0)
                return r;
        endpoint_begin(e);
        f->endpoint = e;
        f->first_byte_usec = MAM_USEC_INFINITY;
        f->answer_status = 0;
        f->asked_usec = 0;
        f->body_refused = false;
        f->sent_usec = now;
        f->traced = see_wants(f->gateway->see, f->x);
        if (f->traced)
                mam_trace_child(&f->try_trace, mam_http_exchange_trace(f->x));
        r = forward_make_call(f, target, now);
        if (r < 0)
                return r;
        r = mam_http_call_start(f->call);
        if (r < 0)
                return r;
        if (f->body == FORWARD_BODY_STREAMED)
                return forward_send_body(f);
        forward_asked(f);
        if (f->n_tried == 1 && f->route->config->mirror_service)
                mirror_request(f->gateway, f->route, f->x, f->caller, &f->kept, target);
        return 0;
}

void forward_dispatch(Forward *f) {
        uint64_t now = forward_now(f);
        UpstreamWish wish = { .tried = f->tried, .n_tried = f->n_tried, .how = f->how, .sticky = f->sticky };
        bool is_full = false;
        Endpoint *e;
        int r;

        /* Where so many have refused, a better moment is worth more than one more try. */
        e = f->n_tried < UPSTREAM_TRIED_MAX ? upstream_pick(f->upstream, &wish, now, &is_full) : NULL;
        if (!e) {
                forward_wait(f, is_full ? FORWARD_WAIT_ROOM : FORWARD_WAIT_READY);
                return;
        }

        f->tried[f->n_tried++] = e->serial;
        (void) strncpy(f->replica, e->id, sizeof(f->replica) - 1);
        r = forward_try(f, e, now);
        if (r == -ENOMEM)
                forward_answer(f, 503, "The gateway is out of memory");
        else if (r == -EMSGSIZE || r == -ENOBUFS)
                forward_answer(f, 431, "The request's header is too large to be forwarded");
        else if (r < 0)
                forward_answer(f, 502, "The request cannot be forwarded");
}

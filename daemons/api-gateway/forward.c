/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <string.h>

#include "api-gateway/access-log.h"
#include "api-gateway/fields.h"
#include "api-gateway/forward-internal.h"
#include "libmam/util/time.h"

uint64_t forward_waiting_since(const Forward *f) {
        return f->waiting_since_usec;
}

uint64_t forward_progress_usec(const Forward *f) {
        return f->progress_usec;
}

Forward *forward_next_waiting(const Forward *f) {
        return TAILQ_NEXT(f, waiting);
}

void forward_progress(Forward *f) {
        Gateway *g = f->gateway;

        f->progress_usec = mam_now_monotonic();
        if (TAILQ_NEXT(f, forwards)) {
                TAILQ_REMOVE(&g->forwards, f, forwards);
                TAILQ_INSERT_TAIL(&g->forwards, f, forwards);
        }
}

static void forward_leave_queue(Forward *f) {
        if (!f->is_waiting)
                return;

        TAILQ_REMOVE(&f->upstream->waiting, f, waiting);
        f->upstream->n_waiting--;
        f->is_waiting = false;
        f->gateway->n_waiting--;
        mam_metric_set(f->gateway->metric_waiting, f->gateway->n_waiting);
}

/* Lets go of the replica; a call in progress is cancelled. */
static void forward_drop_call(Forward *f, TryEnd end) {
        MamHttpCall *call = MAM_TAKE(f->call);
        Endpoint *e = MAM_TAKE(f->endpoint);

        if (e && end != TRY_UNTOUCHED) {
                load_count(e->load,
                           end == TRY_FAILED || (end == TRY_ANSWERED && f->answer_status >= 500),
                           f->first_byte_usec);
                f->counted = true;
        }
        mam_http_call_free(call);
        if (e)
                endpoint_end(e);
}

/* What a try is that ends before its time. */
static TryEnd forward_left(const Forward *f) {
        return f->call && mam_http_call_is_sent(f->call) ? TRY_LEFT : TRY_UNTOUCHED;
}

static Forward *forward_free(Forward *f) {
        if (!f)
                return NULL;

        forward_leave_queue(f);
        forward_drop_call(f, forward_left(f));
        TAILQ_REMOVE(&f->gateway->forwards, f, forwards);
        mam_buffer_done(&f->kept);
        free(f);
        return NULL;
}

/* Runs exactly once per forward, as the last thing. */
static void on_exchange_done(MamHttpExchange *x, void *userdata) {
        Forward *f = userdata;
        Gateway *g = f->gateway;
        uint64_t now = mam_now_monotonic(), duration = now - mam_http_exchange_started_usec(x);
        unsigned status = mam_http_exchange_status(x) > 0 ? mam_http_exchange_status(x) : 499;
        const char *method = mam_method_label(x);
        const char *route = f->route->prefix_size > 0 ? f->route->prefix : "/";
        char code[4] = { (char) ('0' + status / 100),
                         (char) ('0' + status / 10 % 10),
                         (char) ('0' + status % 10),
                         '\0' };

        mam_metric_add(mam_metric_get(g->metric_requests, (const char *[]){ route, method, code }), 1);
        mam_metric_observe(
                        mam_metric_get(g->metric_duration, (const char *[]){ route }),
                        (double) duration / (double) MAM_USEC_PER_SEC);
        access_log_write(
                        g->access_log,
                        &(AccessEntry){
                                        .method = method,
                                        .route = route,
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
        forward_free(f);
}

/* An answer of our own. With one already begun there is only the abrupt end left. */
static void forward_answer(Forward *f, unsigned status, const char *detail) {
        if (f->finished)
                return;

        f->finished = true;
        forward_leave_queue(f);
        forward_drop_call(f, forward_left(f));
        if (status >= 500 && !f->counted)
                f->upstream->unserved++;
        if (mam_http_exchange_is_started(f->x)) {
                mam_http_exchange_abort(f->x);
                return;
        }
        if (status == 503)
                (void) mam_http_exchange_add_field(f->x, "Retry-After", "1");
        if (mam_http_exchange_problem(f->x, status, NULL, "%s", detail) < 0)
                mam_http_exchange_abort(f->x);
}

void forward_give_up(Forward *f) {
        forward_answer(f, 503, "No replica of the service can take the request at the moment");
}

void forward_expire(Forward *f) {
        forward_progress(f);
        if (f->finished) /* now it is between the server and the client */
                return;
        if (f->body != FORWARD_BODY_NONE && !f->body_ended && !f->got_head) {
                forward_answer(f, 408, "The request's body did not arrive in time");
                return;
        }
        if (f->endpoint && !f->got_head)
                endpoint_struggled(f->endpoint, mam_now_monotonic());
        if (f->endpoint && !f->blocked)
                forward_drop_call(f, TRY_FAILED);
        forward_answer(f, 504, "The service did not answer in time");
}

static void forward_count_retry(Forward *f, const char *reason) {
        f->n_retries++;
        mam_metric_add(mam_metric_get(f->gateway->metric_retries,
                                      (const char *[]){ f->upstream->service, reason }),
                       1);
}

bool forward_can_repeat(const Forward *f) {
        return !f->body_lost && !f->got_head;
}

static void forward_wait(Forward *f) {
        Gateway *g = f->gateway;
        uint64_t now = mam_now_monotonic();

        if (f->waiting_since_usec == 0)
                f->waiting_since_usec = now;
        if (g->n_waiting >= GATEWAY_WAITING_MAX || now >= f->waiting_since_usec + g->wait_usec) {
                forward_give_up(f);
                return;
        }

        if (f->body_asked && !f->body_ended)
                mam_http_exchange_pause_body(f->x);
        f->n_tried = 0; /* when it goes on, all are worth another try */
        f->is_waiting = true;
        TAILQ_INSERT_TAIL(&f->upstream->waiting, f, waiting);
        f->upstream->n_waiting++;
        g->n_waiting++;
        mam_metric_set(g->metric_waiting, g->n_waiting);
        gateway_wait(g);
}

static int on_client_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Forward *f = userdata;
        int r;

        if (error < 0) { /* the server answers, or the client is gone */
                f->finished = true;
                forward_drop_call(f, forward_left(f));
                return 0;
        }
        if (f->finished)
                return 0;

        forward_progress(f);
        if (size == 0) {
                f->body_ended = true;
                if (f->call && !f->body_refused)
                        (void) mam_http_call_end_body(f->call);
                return 0;
        }

        if (!f->body_lost &&
            (f->kept.size + size > GATEWAY_BODY_KEPT || mam_buffer_append(&f->kept, data, size) < 0)) {
                if (!f->call) { /* between two tries; it was paused, and this piece was under way: it cannot
                                   be kept */
                        forward_answer(f,
                                       502,
                                       "The connection to the service broke while the request was sent");
                        return 0;
                }
                f->body_lost = true;
                mam_buffer_reset(&f->kept);
        }
        if (!f->call || f->body_refused)
                return 0;

        r = mam_http_call_write(f->call, data, size);
        if (r == 0)
                mam_http_exchange_pause_body(x);
        else if (r < 0)
                f->body_refused = true; /* it may have answered early; on_end tells */
        return 0;
}

static void on_call_writable(MamHttpCall *call, void *userdata) {
        Forward *f = userdata;

        forward_progress(f);
        mam_http_exchange_resume_body(f->x);
}

static void forward_dispatch(Forward *f);

/* A try has failed with no answer: another one, or the problem that it is. */
static void forward_failed(Forward *f, int error, bool sent) {
        Upstream *u = f->upstream;
        const char *reason;

        if (!sent && forward_can_repeat(f)) {
                /* Nothing has happened there: any method may go elsewhere, as often as there are replicas.
                 */
                reason = error == -EAGAIN ? "busy" : "refused";
                forward_count_retry(f, reason);
                forward_dispatch(f);
                return;
        }

        if (error == -ETIMEDOUT)
                forward_answer(f, 504, "The service did not answer in time");
        else if (error == -EBADMSG || error == -EOPNOTSUPP || error == -EMSGSIZE)
                forward_answer(f, 502, "The service's answer is not valid HTTP");
        else if (f->idempotent && !f->repeated && forward_can_repeat(f) && upstream_spend_retry(u)) {
                f->repeated = true;
                forward_count_retry(f, "broken");
                forward_dispatch(f);
        } else
                forward_answer(f, 502, "The connection to the service broke before it answered");
}

static void on_call_end(MamHttpCall *call, int error, void *userdata) {
        Forward *f = userdata;
        bool sent = mam_http_call_is_sent(call);
        uint64_t now = mam_now_monotonic();
        TryEnd end;

        if (f->finished) {
                forward_drop_call(f, sent ? TRY_LEFT : TRY_UNTOUCHED);
                return;
        }
        if (error >= 0) {
                f->finished = true;
                forward_drop_call(f, TRY_ANSWERED);
                if (mam_http_exchange_end(f->x) < 0)
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
                        endpoint_struggled(f->endpoint, now);
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

static int forward_add_body(Forward *f) {
        switch (f->body) {
        case FORWARD_BODY_WHOLE:
                return mam_http_call_set_body(f->call, mam_buffer_bytes(&f->kept), f->kept.size);
        case FORWARD_BODY_STREAMED:
                return mam_http_call_set_streaming(f->call, f->body_size);
        case FORWARD_BODY_NONE:
        default:
                return 0;
        }
}

/* What was read already, then the rest as it comes. */
static int forward_send_body(Forward *f) {
        int r = 1;

        if (f->kept.size > 0) {
                r = mam_http_call_write(f->call, mam_buffer_bytes(&f->kept), f->kept.size);
                if (r < 0)
                        return r;
        }
        if (f->body_ended)
                return mam_http_call_end_body(f->call);
        if (!f->body_asked) {
                f->body_asked = true;
                return mam_http_exchange_stream_body(f->x, on_client_body, f);
        }
        if (r > 0)
                mam_http_exchange_resume_body(f->x);
        return 0;
}

/* path and query, also where the client sent a whole URL. */
static int request_target(const MamHttpHead *head, char *ret, size_t size) {
        size_t n = head->path.size + (head->query.data ? 1 + head->query.size : 0);
        char *p;

        if (n >= size || head->path.size == 0)
                return -EMSGSIZE;
        p = mempcpy(ret, head->path.data, head->path.size);
        if (head->query.data) {
                *p++ = '?';
                p = mempcpy(p, head->query.data, head->query.size);
        }
        *p = '\0';
        return 0;
}

static int forward_try(Forward *f, Endpoint *e) {
        static const MamHttpCallbacks callbacks = {
                .on_head = forward_on_call_head,
                .on_data = forward_on_call_data,
                .on_writable = on_call_writable,
                .on_end = on_call_end,
        };
        char target[32 * 1024];
        int r;

        assert(!f->call);

        r = request_target(mam_http_exchange_head(f->x), target, sizeof(target));
        if (r < 0)
                return r;
        endpoint_begin(e);
        f->endpoint = e;
        f->first_byte_usec = MAM_USEC_INFINITY;
        r = mam_http_call_new(&f->call, e->client, mam_http_exchange_method(f->x), target, &callbacks, f);
        if (r < 0)
                return r;
        r = fields_add_for_upstream(
                        f->call,
                        f->x,
                        "http",
                        f->identity->subject,
                        f->identity->roles,
                        f->identity->n_roles);
        if (r < 0)
                return r;
        r = forward_add_body(f);
        if (r < 0)
                return r;

        mam_http_call_set_timeout(f->call, MAM_USEC_INFINITY); /* the gateway watches progress itself */
        f->body_refused = false;
        f->sent_usec = mam_now_monotonic();
        r = mam_http_call_start(f->call);
        if (r < 0)
                return r;
        return f->body == FORWARD_BODY_STREAMED ? forward_send_body(f) : 0;
}

static void forward_dispatch(Forward *f) {
        uint64_t now = mam_now_monotonic();
        Endpoint *e;
        int r;

        /* Where so many have refused, a better moment is worth more than one more try. */
        e = f->n_tried < UPSTREAM_TRIED_MAX ? upstream_pick(f->upstream, f->tried, f->n_tried, now) : NULL;
        if (!e) {
                forward_wait(f);
                return;
        }

        f->tried[f->n_tried++] = e->serial;
        (void) snprintf(f->replica, sizeof(f->replica), "%s", e->id);
        r = forward_try(f, e);
        if (r == -ENOMEM)
                forward_answer(f, 503, "The gateway is out of memory");
        else if (r == -EMSGSIZE || r == -ENOBUFS)
                forward_answer(f, 431, "The request's header is too large to be forwarded");
        else if (r < 0)
                forward_answer(f, 502, "The request cannot be forwarded");
}

bool forward_wake(Forward *f, uint64_t now_usec) {
        assert(f->is_waiting);

        if (!upstream_has_endpoint(f->upstream, NULL, 0, now_usec))
                return false;
        forward_leave_queue(f);
        forward_progress(f);
        forward_dispatch(f);
        return true;
}

static int on_body_collected(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Forward *f = userdata;
        int r;

        if (error < 0) {
                f->finished = true;
                return 0;
        }
        r = mam_buffer_append(&f->kept, data, size);
        if (r < 0)
                return r;

        forward_progress(f);
        f->body_ended = true;
        forward_dispatch(f);
        return 0;
}

static bool is_idempotent(MamHttpExchange *x) {
        static const char *const methods[] = { "GET", "HEAD", "OPTIONS", "PUT", "DELETE" };

        for (size_t i = 0; i < MAM_ELEMENTSOF(methods); i++)
                if (strcmp(mam_http_exchange_method(x), methods[i]) == 0)
                        return true;
        return mam_http_exchange_header(x, "Idempotency-Key") != NULL;
}

int forward_start(Gateway *g, const Route *route, MamHttpExchange *x, const MamIdentity *identity) {
        const MamHttpHead *head = mam_http_exchange_head(x);
        Forward *f;

        assert(g);
        assert(route);
        assert(x);
        assert(identity && identity->authenticated);

        f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        f->gateway = g;
        f->route = route;
        f->upstream = route->userdata;
        f->x = x;
        f->identity = identity;
        f->idempotent = is_idempotent(x);
        f->progress_usec = mam_now_monotonic();
        TAILQ_INSERT_TAIL(&g->forwards, f, forwards);
        mam_http_exchange_set_on_done(x, on_exchange_done, f); /* frees f, whatever happens from here on */
        gateway_arm(g, MAM_USEC_PER_SEC);
        upstream_earn_retry(f->upstream);

        if (head->framing == MAM_HTTP_BODY_LENGTH && head->content_length <= GATEWAY_BODY_KEPT) {
                f->body = FORWARD_BODY_WHOLE;
                if (head->content_length > 0)
                        return mam_http_exchange_read_body(x, GATEWAY_BODY_KEPT, on_body_collected, f);
        } else if (head->framing != MAM_HTTP_BODY_NONE) {
                f->body = FORWARD_BODY_STREAMED;
                f->body_size = head->framing == MAM_HTTP_BODY_LENGTH ? (int64_t) head->content_length : -1;
        }
        forward_dispatch(f);
        return 0;
}

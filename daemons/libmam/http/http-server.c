/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * HTTP/1.1 server: the object, its deadlines, its end
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "libmam/http/http-connection.h"
#include "libmam/util/time.h"

#define LINGER_USEC         (2 * MAM_USEC_PER_SEC)
#define GRACE_USEC          (2 * MAM_USEC_PER_SEC)
#define TIMER_ACCURACY_USEC (50 * MAM_USEC_PER_MSEC)

static void or_default(uint64_t *value, uint64_t otherwise) {
        if (*value == 0)
                *value = otherwise;
}

static void set_options(MamHttpServer *s, const MamHttpServerOptions *options) {
        MamHttpServerOptions *o = &s->options;

        if (options)
                *o = *options;
        if (o->head_max == 0)
                o->head_max = 16384;
        if (o->connections_max == 0)
                o->connections_max = 10000;
        or_default(&o->body_max, 1048576);
        or_default(&o->handshake_timeout_usec, 10 * MAM_USEC_PER_SEC);
        or_default(&o->head_timeout_usec, 10 * MAM_USEC_PER_SEC);
        or_default(&o->body_timeout_usec, 30 * MAM_USEC_PER_SEC);
        or_default(&o->idle_timeout_usec, 75 * MAM_USEC_PER_SEC);
        or_default(&o->write_timeout_usec, 30 * MAM_USEC_PER_SEC);

        s->durations[HTTP_DEADLINE_HANDSHAKE] = o->handshake_timeout_usec;
        s->durations[HTTP_DEADLINE_HEAD] = o->head_timeout_usec;
        s->durations[HTTP_DEADLINE_BODY] = o->body_timeout_usec;
        s->durations[HTTP_DEADLINE_IDLE] = o->idle_timeout_usec;
        s->durations[HTTP_DEADLINE_WRITE] = o->write_timeout_usec;
        s->durations[HTTP_DEADLINE_LINGER] = LINGER_USEC;
        s->durations[HTTP_DEADLINE_GRACE] = GRACE_USEC;
}

static uint64_t now(const MamHttpServer *s) {
        return http_poll_now(s->poll);
}

/* The timer is only ever moved forward here; when it fires too early it finds nothing and is set again. */
static void arm(MamHttpServer *s, uint64_t usec) {
        if (usec >= s->timer_usec)
                return;
        s->timer_usec = usec;
        (void) sd_event_source_set_time(s->timer, usec);
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

void http_server_deadline(HttpConnection *c, HttpDeadline kind, bool renew) {
        MamHttpServer *s = c->server;

        if (kind == c->deadline && (kind == HTTP_DEADLINE_NONE || !renew))
                return;
        if (c->deadline != HTTP_DEADLINE_NONE)
                TAILQ_REMOVE(&s->deadlines[c->deadline], c, in_deadline);
        c->deadline = kind;
        if (kind == HTTP_DEADLINE_NONE)
                return;

        if (__builtin_add_overflow(now(s), s->durations[kind], &c->deadline_usec))
                c->deadline_usec = MAM_USEC_INFINITY;
        TAILQ_INSERT_TAIL(&s->deadlines[kind], c, in_deadline);
        arm(s, c->deadline_usec);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        MamHttpServer *s = userdata;
        uint64_t t, next = MAM_USEC_INFINITY;

        assert(s);

        t = now(s);
        s->timer_usec = 0; /* nothing that expiring leads to needs to arm it: that is done below */
        for (HttpDeadline kind = 0; kind < _HTTP_DEADLINE_MAX; kind++) {
                HttpConnection *c;

                while ((c = TAILQ_FIRST(&s->deadlines[kind])) && c->deadline_usec <= t) {
                        http_server_deadline(c, HTTP_DEADLINE_NONE, false);
                        http_connection_expire(c, kind);
                }
        }
        if (s->accept_resume_usec <= t) {
                s->accept_resume_usec = MAM_USEC_INFINITY;
                http_poll_defer(s->poll, &s->item);
        }

        for (HttpDeadline kind = 0; kind < _HTTP_DEADLINE_MAX; kind++) {
                const HttpConnection *c = TAILQ_FIRST(&s->deadlines[kind]);

                if (c && c->deadline_usec < next)
                        next = c->deadline_usec;
        }
        if (s->accept_resume_usec < next)
                next = s->accept_resume_usec;
        s->timer_usec = MAM_USEC_INFINITY;
        arm(s, next);
        return 0;
}

static void set_accepting(MamHttpServer *s, bool on) {
        HttpListener *l;

        s->accepting = on;
        LIST_FOREACH(l, &s->listeners, listeners)
                (void) http_listener_enable(l, on);
}

void http_server_pause_accepting(MamHttpServer *s, uint64_t resume_usec) {
        assert(s);

        s->accept_resume_usec = resume_usec;
        arm(s, resume_usec);
        set_accepting(s, false);
}

/* Runs when draining begins and when connections have ended, outside of them. */
static void on_deferred(HttpPollItem *item, uint32_t events) {
        MamHttpServer *s = (MamHttpServer *) ((char *) item - offsetof(MamHttpServer, item));

        if (s->draining) {
                http_drain_tell(s);
                if (s->n_connections > 0 || s->drained)
                        return;
                s->drained = true;
                if (s->on_drained)
                        s->on_drained(s, s->on_drained_userdata); /* may free s */
                return;
        }
        if (!s->accepting && s->n_connections < s->options.connections_max &&
            s->accept_resume_usec == MAM_USEC_INFINITY)
                set_accepting(s, true);
}

void http_server_connection_gone(MamHttpServer *s) {
        assert(s->n_connections > 0);

        s->n_connections--;
        if (s->draining || !s->accepting)
                http_poll_defer(s->poll, &s->item);
}

const char *http_server_date(MamHttpServer *s) {
        time_t second = time(NULL);
        struct tm tm;

        if (second != s->date_second && gmtime_r(&second, &tm) &&
            strftime(s->date, sizeof(s->date), "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0)
                s->date_second = second;
        return s->date;
}

int mam_http_server_new(
                MamHttpServer **ret,
                sd_event *event,
                const MamHttpServerOptions *options,
                MamHttpHandler handler,
                void *userdata) {
        _cleanup_(mam_http_server_freep) MamHttpServer *s = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(handler);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->event = sd_event_ref(event);
        s->handler = handler;
        s->userdata = userdata;
        s->accepting = true;
        s->item.on_event = on_deferred;
        s->timer_usec = s->accept_resume_usec = MAM_USEC_INFINITY;
        LIST_INIT(&s->listeners);
        LIST_INIT(&s->connections);
        for (HttpDeadline kind = 0; kind < _HTTP_DEADLINE_MAX; kind++)
                TAILQ_INIT(&s->deadlines[kind]);
        set_options(s, options);

        r = http_poll_acquire(&s->poll, event);
        if (r < 0)
                return r;
        r = sd_event_add_time(
                        event,
                        &s->timer,
                        CLOCK_MONOTONIC,
                        UINT64_MAX,
                        TIMER_ACCURACY_USEC,
                        on_timer,
                        s);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(s->timer, "http-deadlines");
        r = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(s);
        return 0;
}

MamHttpServer *mam_http_server_free(MamHttpServer *s) {
        HttpListener *l;
        HttpConnection *c;

        if (!s)
                return NULL;

        s->on_drained = NULL;
        while ((l = LIST_FIRST(&s->listeners)))
                http_listener_free(l);
        while ((c = LIST_FIRST(&s->connections)))
                http_connection_free(c);
        mam_spares_done(&s->spares);
        if (s->poll)
                http_poll_forget(s->poll, &s->item);
        sd_event_source_disable_unref(s->timer);
        http_poll_release(s->poll);
        sd_event_unref(s->event);
        free(s);
        return NULL;
}

int mam_http_server_drain(
                MamHttpServer *s,
                void (*on_drained)(MamHttpServer *s, void *userdata),
                void *userdata) {
        HttpListener *l;
        HttpConnection *c;

        assert(s);

        if (s->draining)
                return -EALREADY;

        s->draining = true;
        s->on_drained = on_drained;
        s->on_drained_userdata = userdata;
        while ((l = LIST_FIRST(&s->listeners))) {
                http_listener_drain(l);
                http_listener_free(l);
        }

        /* Idle ones are looked at once more before they are closed: a request may have arrived already. */
        LIST_FOREACH(c, &s->connections, connections) {
                c->readable = true;
                http_connection_defer(c);
        }
        http_poll_defer(s->poll, &s->item);
        return 0;
}

unsigned mam_http_server_connections(const MamHttpServer *s) {
        assert(s);

        return s->n_connections;
}

unsigned mam_http_server_in_flight(const MamHttpServer *s) {
        assert(s);

        return s->n_exchanges;
}

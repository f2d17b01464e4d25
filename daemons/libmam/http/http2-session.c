/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * HTTP/2 as a protocol of a connection
 *
 * What was received goes through the guard to nghttp2, whose callbacks note what is to be done with which
 * stream; then steps do it; then the frames that nghttp2 has by now are gathered for one send.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "libmam/http/http2-session.h"
#include "libmam/util/time.h"

#define PREFACE_SIZE        24U
#define SEND_HEAD_MAX       131072U                 /* of an answer's fields: twice what an exchange takes */
#define BLOCK_MAX(head_max) (2 * (head_max) + 1024) /* compressed fields are not larger than plain ones */

static uint64_t now(const HttpConnection *c) {
        uint64_t usec;

        if (sd_event_now(c->server->event, CLOCK_MONOTONIC, &usec) < 0)
                usec = mam_now_monotonic();
        return usec;
}

static int make_nghttp2(Http2Session *s) {
        nghttp2_session_callbacks *callbacks = NULL;
        nghttp2_option *option = NULL;
        int r;

        r = nghttp2_session_callbacks_new(&callbacks);
        if (r >= 0)
                r = nghttp2_option_new(&option);
        if (r >= 0) {
                http2_receive_callbacks(callbacks);
                http2_answer_callbacks(callbacks);
                nghttp2_option_set_no_auto_window_update(option, 1);
                nghttp2_option_set_no_closed_streams(option, 1);
                nghttp2_option_set_max_send_header_block_length(option, SEND_HEAD_MAX);
                r = nghttp2_session_server_new2(&s->nghttp2, callbacks, s, option);
        }
        nghttp2_option_del(option);
        nghttp2_session_callbacks_del(callbacks);
        return r < 0 ? -ENOMEM : 0;
}

static int submit_settings(Http2Session *s) {
        const nghttp2_settings_entry settings[] = {
                { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, HTTP2_STREAMS_MAX },
                { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
                  (uint32_t) s->connection->server->options.head_max },
                { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
                { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
        };
        int r;

        r = nghttp2_submit_settings(s->nghttp2, NGHTTP2_FLAG_NONE, settings, MAM_ELEMENTSOF(settings));
        if (r >= 0) {
                r = nghttp2_session_set_local_window_size(
                                s->nghttp2,
                                NGHTTP2_FLAG_NONE,
                                0,
                                HTTP2_WINDOW_CONNECTION);
        }
        return r < 0 ? -ENOMEM : 0;
}

static void stop(HttpConnection *c) {
        Http2Session *s = c->state;
        Http2Stream *st;

        if (!s)
                return;
        while ((st = TAILQ_FIRST(&s->streams)))
                http2_stream_free(st);
        nghttp2_session_del(s->nghttp2);
        http2_guard_done(&s->guard);
        http2_fields_done(s->fields);
        free(s->fields);
        free(s);
        c->state = NULL;
}

static int start(HttpConnection *c) {
        Http2Session *s;
        int r;

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->connection = c;
        s->preface_left = PREFACE_SIZE;
        s->now_usec = now(c);
        TAILQ_INIT(&s->streams);
        TAILQ_INIT(&s->dirty);
        http2_guard_init(&s->guard, BLOCK_MAX(c->server->options.head_max), s->now_usec);
        c->state = s;

        r = make_nghttp2(s);
        return r < 0 ? r : submit_settings(s);
}

void http2_session_end(Http2Session *s, uint32_t error) {
        assert(s);

        if (s->ending)
                return;
        s->ending = true;
        if (nghttp2_session_terminate_session(s->nghttp2, error) < 0)
                s->connection->failed = true;
        http_connection_defer(s->connection);
}

/* Nothing more is to be said: closes when all is sent. */
static void give_up(Http2Session *s) {
        HttpConnection *c = s->connection;
        Http2Stream *st;

        s->ending = c->closing = c->linger = true;
        while ((st = TAILQ_FIRST(&s->streams)))
                http2_stream_free(st);
}

/* nghttp2 has given up and cannot say it any more. */
static void fail(Http2Session *s, uint8_t error) {
        const uint8_t goaway[HTTP2_FRAME_HEAD_SIZE + 8] = { [2] = 8, [3] = NGHTTP2_GOAWAY, [16] = error };

        (void) mam_buffer_append(&s->connection->out, goaway, sizeof(goaway));
        give_up(s);
}

/* What the guard lets through goes to nghttp2. */
static void receive(Http2Session *s) {
        HttpConnection *c = s->connection;
        const uint8_t *data = (const uint8_t *) c->input.view;
        size_t size = c->input.size, preface;
        const char *reason = NULL;
        uint32_t error = 0;
        ssize_t n;

        s->now_usec = now(c);
        preface = s->preface_left < size ? s->preface_left : size;
        n = http2_guard_scan(&s->guard, data + preface, size - preface, s->now_usec, &error, &reason);
        if (n < 0) {
                c->failed = true;
                return;
        }
        s->preface_left -= preface;
        if (!s->ending) {
                n = nghttp2_session_mem_recv(s->nghttp2, data, preface + (size_t) n);
                if (n < 0)
                        fail(s, n == NGHTTP2_ERR_NOMEM ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_PROTOCOL_ERROR);
        }
        if (error != 0)
                http2_session_end(s, error);
        http_input_consume(&c->input, size);
}

/* Frames for one send. */
static void gather(Http2Session *s) {
        HttpConnection *c = s->connection;

        while (!c->failed && !c->closing && http_connection_unsent(c) <= HTTP2_GATHER_MAX) {
                const uint8_t *data;
                ssize_t n;

                n = nghttp2_session_mem_send(s->nghttp2, &data);
                if (n == 0)
                        break;
                if (n < 0 || mam_buffer_append(&c->out, data, (size_t) n) < 0)
                        c->failed = true;
        }
        s->more = http_connection_unsent(c) > HTTP2_GATHER_MAX;
}

static void say_goodbye(Http2Session *s) {
        s->drain = HTTP2_DRAIN_NOTICE;
        if (nghttp2_submit_shutdown_notice(s->nghttp2) < 0)
                s->connection->failed = true;
}

int http2_session_tell_last(Http2Session *s) {
        int r;

        assert(s);

        if (s->drain != HTTP2_DRAIN_NOTICE || s->ending)
                return 0;
        s->drain = HTTP2_DRAIN_FINAL;
        r = nghttp2_submit_goaway(
                        s->nghttp2,
                        NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(s->nghttp2),
                        NGHTTP2_NO_ERROR,
                        NULL,
                        0);
        return r < 0 ? -ENOMEM : 0;
}

void http2_session_goaway_sent(Http2Session *s) {
        assert(s);

        if (s->drain == HTTP2_DRAIN_NOTICE && !s->ending &&
            nghttp2_submit_ping(s->nghttp2, NGHTTP2_FLAG_NONE, NULL) < 0)
                s->connection->failed = true;
}

/* The client will send nothing more: answers may still be read, bodies will never end. */
static bool note_end_of_input(Http2Session *s) {
        HttpConnection *c = s->connection;
        Http2Stream *st, *next;

        if (c->rdhup && !s->told_hangup) {
                s->told_hangup = true;
                for (st = TAILQ_FIRST(&s->streams); st; st = next) {
                        next = TAILQ_NEXT(st, streams);
                        if (st->carrier.exchange)
                                (void) http_exchange_hangup(st->carrier.exchange);
                }
                return true;
        }
        if (c->eof && !s->told_eof) {
                s->told_eof = true;
                for (st = TAILQ_FIRST(&s->streams); st; st = next) {
                        next = TAILQ_NEXT(st, streams);
                        if (!st->remote_ended)
                                http2_stream_reset(st, NGHTTP2_CANCEL);
                }
                return true;
        }
        return false;
}

/* All is said, or nghttp2 has given up on the client. */
static void consider_ending(Http2Session *s) {
        HttpConnection *c = s->connection;
        Http2Stream *st;

        if (c->closing || nghttp2_session_want_write(s->nghttp2))
                return;
        if (!nghttp2_session_want_read(s->nghttp2) || (s->drain == HTTP2_DRAIN_FINAL && s->n_streams == 0)) {
                s->ending = c->closing = c->linger = true;
                while ((st = TAILQ_FIRST(&s->streams)))
                        http2_stream_free(st);
        }
}

static bool step(HttpConnection *c) {
        Http2Session *s = c->state;
        Http2Stream *st;

        if (c->input.size > 0) {
                receive(s);
                return true;
        }
        if (note_end_of_input(s))
                return true;
        st = TAILQ_FIRST(&s->dirty);
        if (st) {
                http2_stream_run(st);
                return true;
        }
        if (c->server->draining && s->drain == HTTP2_DRAIN_NONE && !s->ending)
                say_goodbye(s);
        gather(s);
        if (!TAILQ_EMPTY(&s->dirty))
                return true; /* what was sent has ended streams */
        consider_ending(s);
        if (s->n_streams == 0 && s->fields && !http2_guard_is_in_head(&s->guard)) {
                http2_fields_done(s->fields);
                free(s->fields);
                s->fields = NULL;
        }
        return false;
}

static bool refill(HttpConnection *c) {
        Http2Session *s = c->state;
        Http2Stream *st, *next;
        bool done = false;

        if (http_connection_unsent(c) > HTTP2_GATHER_MAX / 2)
                return false;
        if (s->waiting <= HTTP2_OUT_HIGH / 2) {
                for (st = TAILQ_FIRST(&s->streams); st; st = next) {
                        MamHttpExchange *x = st->carrier.exchange;

                        next = TAILQ_NEXT(st, streams);
                        if (x && st->out.size <= HTTP2_STREAM_OUT_LOW && http_exchange_writable(x))
                                done = true;
                }
        }
        return done || s->more;
}

static bool wants_bytes(const HttpConnection *c) {
        return !c->closing && http_connection_unsent(c) <= HTTP2_GATHER_MAX;
}

static bool is_busy(const HttpConnection *c) {
        const Http2Session *s = c->state;

        return s->n_streams > 0;
}

static bool is_idle(const HttpConnection *c) {
        return false;
}

static HttpDeadline deadline(const HttpConnection *c, bool *renew) {
        Http2Session *s = c->state;
        bool draining = c->server->draining, waits = false, half = false;
        const Http2Stream *st;

        if (s->preface_left > 0 || http2_guard_is_in_head(&s->guard)) {
                *renew = c->got_request;
                return HTTP_DEADLINE_HEAD;
        }
        TAILQ_FOREACH(st, &s->streams, streams) {
                waits |= http2_stream_waits_for_client(st);
                half |= http2_stream_is_half_open(st);
        }
        if (draining && (s->n_streams == 0 || s->drain == HTTP2_DRAIN_NOTICE || half))
                return HTTP_DEADLINE_GRACE;
        /* Not renewed: which stream it is that waits too long is found when the time is up. */
        if (waits)
                return HTTP_DEADLINE_BODY;
        if (s->n_streams > 0)
                return HTTP_DEADLINE_NONE;
        *renew = s->worked;
        s->worked = false;
        return HTTP_DEADLINE_IDLE;
}

/* The client does not answer PING, or does not end what we have ended: some do not once they were told that
 * we go. */
static void end_grace(Http2Session *s) {
        Http2Stream *st;

        if (http2_session_tell_last(s) < 0)
                s->connection->failed = true;
        TAILQ_FOREACH(st, &s->streams, streams) {
                if (http2_stream_is_half_open(st))
                        http2_stream_expire(st);
        }
        if (s->n_streams == 0)
                http2_session_end(s, NGHTTP2_NO_ERROR);
}

static void expire(HttpConnection *c, HttpDeadline kind) {
        Http2Session *s = c->state;
        Http2Stream *st;

        s->now_usec = now(c);
        if (kind == HTTP_DEADLINE_GRACE) {
                end_grace(s);
                return;
        }
        if (kind != HTTP_DEADLINE_BODY) {
                http2_session_end(s, kind == HTTP_DEADLINE_HEAD ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_NO_ERROR);
                return;
        }
        TAILQ_FOREACH(st, &s->streams, streams) {
                uint64_t limit = st->out.size > 0 ? c->server->options.write_timeout_usec
                                                  : c->server->options.body_timeout_usec;

                if (http2_stream_waits_for_client(st) && s->now_usec - st->moved_usec >= limit)
                        http2_stream_expire(st);
        }
}

const HttpProtocol http2_protocol = {
        .name = "h2",
        .start = start,
        .stop = stop,
        .step = step,
        .refill = refill,
        .wants_bytes = wants_bytes,
        .is_busy = is_busy,
        .is_idle = is_idle,
        .deadline = deadline,
        .expire = expire,
};

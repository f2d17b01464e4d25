/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One session
 *
 * OPEN until one side sends Close. CLOSING: ours is sent, the client's is awaited until close_usec are over.
 * ENDED: our last byte is given to the exchange, which ends when it is sent.
 *
 * One timer per session that is only ever set forward: what comes notes the time, and the timer looks when
 * it fires whether it was really silent for so long.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <systemd/sd-event.h>

#include "libmam/http/http-exchange.h"
#include "libmam/http/websocket-handshake.h"
#include "libmam/http/websocket-message.h"
#include "libmam/http/websocket.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

#define TIMER_ACCURACY_USEC (100 * MAM_USEC_PER_MSEC)

typedef enum State {
        STATE_OPEN,
        STATE_CLOSING,
        STATE_ENDED,
} State;

struct MamWebsocket {
        MamHttpExchange *x; /* weak: it owns us */
        MamWebsocketCallbacks callbacks;
        void *userdata;
        uint64_t ping_usec, pong_usec, close_usec;
        const char *protocol; /* borrowed from the options */
        State state;
        MamWebsocketReader reader;
        sd_event *event;        /* weak */
        sd_event_source *timer; /* owned */
        uint64_t heard_usec;    /* when the client was heard last */
        uint64_t waiting_usec;  /* for its Close, since then */
        bool pinged;            /* since it was heard last */
        bool paused, blocked;   /* by the owner; because pongs do not go out */
        bool want_writable;     /* the owner waits for on_writable */
        unsigned code;          /* for on_close; 0: none yet */
        char reason[MAM_WEBSOCKET_CONTROL_MAX];
};

static MamWebsocket *websocket_free(MamWebsocket *w) {
        if (!w)
                return NULL;

        sd_event_source_disable_unref(w->timer);
        mam_websocket_reader_done(&w->reader);
        free(w);
        return NULL;
}

MAM_DEFINE_CLEANUP(MamWebsocket, websocket_free);

static uint64_t now_of(MamWebsocket *w) {
        uint64_t usec;

        if (sd_event_now(w->event, CLOCK_MONOTONIC, &usec) < 0)
                usec = mam_now_monotonic();
        return usec;
}

static void note_code(MamWebsocket *w, unsigned code, const char *reason) {
        w->code = code;
        (void) snprintf(w->reason, sizeof(w->reason), "%s", reason ? reason : "");
}

/* Runs exactly once per session, as the last thing. */
static void on_done(MamHttpExchange *x, void *userdata) {
        MamWebsocket *w = userdata;

        w->state = STATE_ENDED;
        if (w->callbacks.on_close)
                w->callbacks.on_close(
                                w,
                                w->code > 0 ? w->code : MAM_WEBSOCKET_ABNORMAL,
                                w->reason,
                                w->userdata);
        websocket_free(w);
}

/* The timer is due at this time or earlier. */
static void arm(MamWebsocket *w, uint64_t usec) {
        (void) sd_event_source_set_time(w->timer, usec);
        (void) sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

/* Nothing more is said. The client is to close its side as well, and not take all time for it. */
static void end(MamWebsocket *w) {
        w->state = STATE_ENDED;
        arm(w, now_of(w) + w->close_usec);
        if (mam_http_exchange_end(w->x) < 0)
                mam_http_exchange_abort(w->x);
        mam_http_exchange_resume_body(w->x); /* what still comes is read and dropped */
}

static int send_frame(MamWebsocket *w, MamWebsocketOpcode opcode, const void *data, size_t size) {
        uint8_t head[MAM_WEBSOCKET_HEAD_MAX];
        size_t n = mam_websocket_format_head(head, opcode, true, size, NULL);
        int r;

        r = mam_http_exchange_write(w->x, head, n);
        if (r >= 0 && size > 0)
                r = mam_http_exchange_write(w->x, data, size);
        return r;
}

static void send_close(MamWebsocket *w, unsigned code, const char *reason) {
        uint8_t bytes[MAM_WEBSOCKET_HEAD_MAX + MAM_WEBSOCKET_CONTROL_MAX];

        (void) mam_http_exchange_write(w->x, bytes, mam_websocket_format_close(bytes, code, reason, NULL));
}

static void begin_closing(MamWebsocket *w, unsigned code, const char *reason) {
        send_close(w, code, reason);
        note_code(w, code, reason);
        w->state = STATE_CLOSING;
        w->waiting_usec = now_of(w);
        w->paused = w->blocked = false;
        mam_http_exchange_resume_body(w->x); /* the client's Close is to be read */
        arm(w, w->waiting_usec + w->close_usec);
}

/* The client broke the protocol: what it sends has no meaning any more. */
static void fail(MamWebsocket *w, unsigned code) {
        if (w->state == STATE_OPEN) {
                send_close(w, code, NULL);
                note_code(w, code, NULL);
        }
        end(w);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        MamWebsocket *w = userdata;
        uint64_t now = now_of(w), silent = now - w->heard_usec;

        if (w->state == STATE_CLOSING) {
                end(w); /* it had its time */
                return 0;
        }
        if (w->state == STATE_ENDED) {
                mam_http_exchange_abort(w->x);
                return 0;
        }
        if (silent < w->ping_usec) {
                arm(w, w->heard_usec + w->ping_usec);
                return 0;
        }
        /* Who is told to wait cannot be heard. */
        if (w->paused || w->blocked) {
                arm(w, now + w->ping_usec);
                return 0;
        }
        if (!w->pinged) {
                w->pinged = true;
                (void) send_frame(w, MAM_WEBSOCKET_PING, NULL, 0);
                arm(w, now + w->pong_usec);
                return 0;
        }
        w->state = STATE_ENDED;
        mam_http_exchange_abort(w->x);
        return 0;
}

static void on_peer_close(MamWebsocket *w, const MamWebsocketEvent *e) {
        if (w->state == STATE_OPEN)
                send_close(w, e->code == MAM_WEBSOCKET_NO_STATUS ? 0 : e->code, NULL);
        note_code(w, e->code, e->data);
        end(w);
}

static void on_ping(MamWebsocket *w, const MamWebsocketEvent *e) {
        if (w->state != STATE_OPEN || send_frame(w, MAM_WEBSOCKET_PONG, e->data, e->size) != 0)
                return;
        /* A client that sends pings and reads no pongs makes nothing grow: it is not read either. */
        w->blocked = true;
        mam_http_exchange_pause_body(w->x);
}

static void on_event(MamWebsocket *w, const MamWebsocketEvent *e) {
        switch (e->kind) {
        case MAM_WEBSOCKET_EVENT_MESSAGE:
                if (w->state == STATE_OPEN &&
                    w->callbacks.on_message(w, e->text, e->data, e->size, w->userdata) < 0)
                        mam_websocket_close(w, MAM_WEBSOCKET_INTERNAL, NULL);
                return;
        case MAM_WEBSOCKET_EVENT_PING:
                on_ping(w, e);
                return;
        case MAM_WEBSOCKET_EVENT_CLOSE:
                on_peer_close(w, e);
                return;
        default:
                return;
        }
}

/* A piece may hold many messages: it is read to its end also where the owner has paused meanwhile, as it
 * lies in memory already and is bounded by one receive. */
static int on_bytes(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        MamWebsocket *w = userdata;
        MamWebsocketEvent e;
        ssize_t n;

        if (w->state == STATE_ENDED || error < 0)
                return 0; /* on_done tells */
        if (size == 0) {
                end(w); /* without Close */
                return 0;
        }

        w->heard_usec = now_of(w);
        w->pinged = false;
        for (size_t at = 0; w->state != STATE_ENDED;) {
                n = mam_websocket_reader_read(&w->reader, data + at, size - at, &e);
                if (n < 0) {
                        fail(w, n == -EPROTO ? w->reader.error : MAM_WEBSOCKET_INTERNAL);
                        break;
                }
                at += (size_t) n;
                if (e.kind == MAM_WEBSOCKET_EVENT_NONE)
                        break;
                on_event(w, &e);
        }
        return 0;
}

static void on_writable(MamHttpExchange *x, void *userdata) {
        MamWebsocket *w = userdata;

        if (w->state == STATE_ENDED)
                return;
        if (w->blocked) {
                w->blocked = false;
                if (!w->paused)
                        mam_http_exchange_resume_body(x);
        }
        if (w->want_writable) {
                w->want_writable = false;
                if (w->state == STATE_OPEN && w->callbacks.on_writable)
                        w->callbacks.on_writable(w, w->userdata);
        }
}

static void on_drain(MamHttpExchange *x, void *userdata) {
        mam_websocket_close(userdata, MAM_WEBSOCKET_GOING_AWAY, "the server is going away");
}

static int refuse(MamHttpExchange *x, unsigned status, const char *detail) {
        int r;

        if (status == 426) {
                if (mam_http_exchange_version(x) ==
                    11) /* a word for one connection: others do not carry it */
                        (void) mam_http_exchange_add_field(x, "Upgrade", "websocket");
                (void) mam_http_exchange_add_field(x, "Sec-WebSocket-Version", "13");
        }
        r = mam_http_exchange_problem(x, status, NULL, "%s", detail);
        return r < 0 ? r : 0;
}

/* 1: rightly asked; 0: answered. */
static int check_request(MamHttpExchange *x) {
        const char *protocol = mam_http_exchange_upgrade_protocol(x);
        const char *version = mam_http_exchange_header(x, "Sec-WebSocket-Version");

        if (!protocol || strcasecmp(protocol, "websocket") != 0)
                return refuse(x, 426, "This resource talks WebSocket");
        if (!version || strcmp(version, "13") != 0)
                return refuse(x, 426, "This resource talks WebSocket in version 13");
        if (mam_http_exchange_version(x) == 20)
                return 1; /* the stream itself is the proof that was the key's */
        if (strcmp(mam_http_exchange_method(x), "GET") != 0)
                return refuse(x, 400, "WebSocket begins with GET");
        if (!mam_websocket_key_is_valid(mam_http_exchange_header(x, "Sec-WebSocket-Key")))
                return refuse(x, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
        return 1;
}

static int add_fields(MamWebsocket *w, const MamWebsocketOptions *o) {
        char accept[MAM_WEBSOCKET_ACCEPT_SIZE];
        int r;

        if (mam_http_exchange_version(w->x) != 20) {
                r = mam_websocket_accept_value(accept, mam_http_exchange_header(w->x, "Sec-WebSocket-Key"));
                if (r >= 0)
                        r = mam_http_exchange_add_field(w->x, "Sec-WebSocket-Accept", accept);
                if (r < 0)
                        return r;
        }
        w->protocol = mam_websocket_choose_protocol(
                        mam_http_exchange_header(w->x, "Sec-WebSocket-Protocol"),
                        o ? o->protocols : NULL);
        return w->protocol ? mam_http_exchange_add_field(w->x, "Sec-WebSocket-Protocol", w->protocol) : 0;
}

static int websocket_new(
                MamWebsocket **ret,
                MamHttpExchange *x,
                const MamWebsocketOptions *o,
                const MamWebsocketCallbacks *callbacks,
                void *userdata) {
        static const MamWebsocketOptions defaults;
        _cleanup_(websocket_freep) MamWebsocket *w = NULL;
        int r;

        if (!o)
                o = &defaults;
        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->x = x;
        w->callbacks = *callbacks;
        w->userdata = userdata;
        w->ping_usec = o->ping_usec > 0 ? o->ping_usec : 30 * MAM_USEC_PER_SEC;
        w->pong_usec = o->pong_usec > 0 ? o->pong_usec : 20 * MAM_USEC_PER_SEC;
        w->close_usec = o->close_usec > 0 ? o->close_usec : 5 * MAM_USEC_PER_SEC;
        mam_websocket_reader_init(&w->reader, true, o->message_max > 0 ? o->message_max : 1024U * 1024U);
        w->event = http_exchange_event(x);
        w->heard_usec = now_of(w);
        r = sd_event_add_time(
                        w->event,
                        &w->timer,
                        CLOCK_MONOTONIC,
                        w->ping_usec < MAM_USEC_INFINITY - w->heard_usec ? w->heard_usec + w->ping_usec
                                                                         : MAM_USEC_INFINITY,
                        TIMER_ACCURACY_USEC,
                        on_timer,
                        w);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(w->timer, "websocket");

        *ret = MAM_TAKE(w);
        return 0;
}

int mam_websocket_accept(
                MamWebsocket **ret,
                MamHttpExchange *x,
                const MamWebsocketOptions *options,
                const MamWebsocketCallbacks *callbacks,
                void *userdata) {
        _cleanup_(websocket_freep) MamWebsocket *w = NULL;
        int r;

        assert(ret);
        assert(x);
        assert(callbacks && callbacks->on_message);

        r = check_request(x);
        if (r <= 0)
                return r;
        r = websocket_new(&w, x, options, callbacks, userdata);
        if (r < 0)
                return r;
        r = add_fields(w, options);
        if (r < 0)
                return r;
        r = mam_http_exchange_upgrade(x);
        if (r < 0)
                return r;
        r = mam_http_exchange_stream_body(x, on_bytes, w);
        if (r < 0)
                return r;

        mam_http_exchange_set_userdata(x, w);
        mam_http_exchange_set_on_writable(x, on_writable, w);
        mam_http_exchange_set_on_drain(x, on_drain, w);
        mam_http_exchange_set_on_done(x, on_done, w);
        *ret = MAM_TAKE(w);
        return 1;
}

MamHttpExchange *mam_websocket_exchange(const MamWebsocket *w) {
        assert(w);

        return w->x;
}

const char *mam_websocket_protocol(const MamWebsocket *w) {
        assert(w);

        return w->protocol;
}

int mam_websocket_send(MamWebsocket *w, bool text, const void *data, size_t size) {
        MamUtf8 utf8 = { 0 };
        int r;

        assert(w);
        assert(data || size == 0);

        if (w->state != STATE_OPEN)
                return -EPIPE;
        if (text && (!mam_utf8_feed(&utf8, data, size) || utf8.left > 0))
                return -EINVAL;
        r = send_frame(w, text ? MAM_WEBSOCKET_TEXT : MAM_WEBSOCKET_BINARY, data, size);
        if (r == 0)
                w->want_writable = true;
        return r;
}

void mam_websocket_pause(MamWebsocket *w) {
        assert(w);

        if (w->state != STATE_OPEN)
                return;
        w->paused = true;
        mam_http_exchange_pause_body(w->x);
}

void mam_websocket_resume(MamWebsocket *w) {
        assert(w);

        if (w->state != STATE_OPEN || !w->paused)
                return;
        w->paused = false;
        if (!w->blocked)
                mam_http_exchange_resume_body(w->x);
}

void mam_websocket_close(MamWebsocket *w, unsigned code, const char *reason) {
        assert(w);
        assert(code == 0 || mam_websocket_code_is_legal(code));

        if (w->state == STATE_OPEN)
                begin_closing(w, code, reason);
}

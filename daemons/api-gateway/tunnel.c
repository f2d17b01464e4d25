/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Two ways make a tunnel: up, from the client to the replica, and down. A way passes frames on until its
 * source has said Close, or until a Close of the gateway's own was put into it; what comes after that is
 * only looked at, for the source's own Close. When both sources have ended, the connections are.
 */

#include "api-gateway/tunnel.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <sys/random.h>

#include "libmam/http/websocket-frame.h"
#include "libmam/http/websocket-handshake.h"
#include "libmam/util/time.h"

typedef struct Way {
        MamWebsocketTrack track;
        unsigned code; /* of a Close that is to be put in; 0: none */
        bool said;     /* it was: nothing else passes any more */
        bool ended;    /* its source has said its last */
} Way;

/* Why a tunnel ended, for the metrics. */
typedef enum TunnelEnd {
        TUNNEL_END_CLIENT, /* the client has gone without Close, or is ending now */
        TUNNEL_END_CLOSED, /* one of both sides has said Close */
        TUNNEL_END_SERVICE,
        TUNNEL_END_DRAINED,
        TUNNEL_END_IDLE,
        TUNNEL_END_FORBIDDEN,
        TUNNEL_END_BROKEN, /* what came was no legal frame */
        _TUNNEL_END_MAX,
} TunnelEnd;

struct TunnelTable {
        LastingTable *lasting;         /* borrowed */
        MamMetricFamily *metric_open;  /* service */
        MamMetricFamily *metric_total; /* service, end */
        MamMetricFamily *metric_bytes; /* service, direction */
};

struct Tunnel {
        Lasting lasting;
        TunnelTable *table;  /* weak */
        MamHttpExchange *x;  /* weak */
        MamHttpCall *call;   /* weak; NULL: not open, or ended */
        const char *service; /* borrowed */
        uint64_t caller;
        char key[MAM_WEBSOCKET_KEY_SIZE]; /* of ours, for a client that came with none; else "" */
        Way up, down;
        bool open;
        bool closing;  /* it was asked to end */
        bool finished; /* both connections were */
        TunnelEnd end;
        uint64_t bytes_up, bytes_down;
};

static const char *end_to_string(TunnelEnd end) {
        static const char *const names[] = {
                [TUNNEL_END_CLIENT] = "client",   [TUNNEL_END_CLOSED] = "closed",
                [TUNNEL_END_SERVICE] = "service", [TUNNEL_END_DRAINED] = "drained",
                [TUNNEL_END_IDLE] = "idle",       [TUNNEL_END_FORBIDDEN] = "forbidden",
                [TUNNEL_END_BROKEN] = "broken",
        };

        return names[end];
}

int tunnel_table_new(TunnelTable **ret, LastingTable *lasting, MamMetrics *metrics) {
        _cleanup_(tunnel_table_freep) TunnelTable *t = NULL;
        int r;

        assert(ret);
        assert(lasting);
        assert(metrics);

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->lasting = lasting;
        r =
                        mam_metrics_add(metrics,
                                        &t->metric_open,
                                        MAM_METRIC_GAUGE,
                                        "mam_gateway_websockets",
                                        "WebSockets that are open.",
                                        (const char *[]){ "service", NULL });
        if (r < 0)
                return r;
        r = mam_metrics_add(
                        metrics,
                        &t->metric_total,
                        MAM_METRIC_COUNTER,
                        "mam_gateway_websockets_ended_total",
                        "WebSockets that ended; end: closed (by one of both sides), client, service (gone without a word), drained, idle, forbidden (the token has expired or was revoked), broken (no legal frames).",
                        (const char *[]){ "service", "end", NULL });
        if (r < 0)
                return r;
        r = mam_metrics_add(
                        metrics,
                        &t->metric_bytes,
                        MAM_METRIC_COUNTER,
                        "mam_gateway_websocket_bytes_total",
                        "Bytes of WebSockets that ended; direction: up (from the client), down.",
                        (const char *[]){ "service", "direction", NULL });
        if (r < 0)
                return r;

        *ret = MAM_TAKE(t);
        return 0;
}

TunnelTable *tunnel_table_free(TunnelTable *t) {
        free(t);
        return NULL;
}

bool tunnel_is_wanted(const MamHttpExchange *x) {
        const char *protocol = mam_http_exchange_upgrade_protocol(x);

        return protocol && strcasecmp(protocol, "websocket") == 0;
}

static int refuse(MamHttpExchange *x, unsigned status, const char *detail) {
        int r;

        if (status == 426) {
                if (mam_http_exchange_version(x) ==
                    11) /* a word for one connection: others do not carry it */
                        (void) mam_http_exchange_add_field(x, "Upgrade", "websocket");
                (void) mam_http_exchange_add_field(x, "Sec-WebSocket-Version", "13");
        } else if (status == 429 || status == 503)
                (void) mam_http_exchange_add_field(x, "Retry-After", "10");
        r = mam_http_exchange_problem(x, status, NULL, "%s", detail);
        return r < 0 ? r : 0;
}

static int check_request(MamHttpExchange *x) {
        const char *version = mam_http_exchange_header(x, "Sec-WebSocket-Version");
        const char *key = mam_http_exchange_header(x, "Sec-WebSocket-Key");

        if (!version || strcmp(version, "13") != 0)
                return refuse(x, 426, "WebSocket is spoken in version 13");
        if (mam_http_exchange_version(x) == 20 && !key)
                return 1;
        if (mam_http_exchange_version(x) != 20 && strcmp(mam_http_exchange_method(x), "GET") != 0)
                return refuse(x, 400, "WebSocket begins with GET");
        if (!mam_websocket_key_is_valid(key))
                return refuse(x, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
        return 1;
}

int tunnel_new(Tunnel **ret, TunnelTable *table, MamHttpExchange *x, uint64_t caller, const char *service) {
        Tunnel *t;
        int r;

        assert(ret);
        assert(table);
        assert(x);
        assert(service);

        r = check_request(x);
        if (r <= 0)
                return r;
        r = lasting_admit(table->lasting, caller);
        if (r == LASTING_ADMIT_FULL)
                return refuse(x, 503, "The gateway has no room for another WebSocket");
        if (r == LASTING_ADMIT_CALLER_FULL)
                return refuse(x, 429, "You have too many WebSockets open");
        if (r < 0)
                return r;

        t = calloc(1, sizeof(*t));
        if (!t) {
                lasting_release(table->lasting, caller);
                return -ENOMEM;
        }
        t->table = table;
        t->x = x;
        t->service = service;
        t->caller = caller;
        t->up.track.from_client = true;
        *ret = t;
        return 1;
}

Tunnel *tunnel_free(Tunnel *t) {
        TunnelTable *table;

        if (!t)
                return NULL;

        table = t->table;
        lasting_remove(&t->lasting);
        lasting_release(table->lasting, t->caller);
        if (t->open) {
                const char *end = end_to_string(t->end);

                mam_metric_add(mam_metric_get(table->metric_open, (const char *[]){ t->service }), -1);
                mam_metric_add(mam_metric_get(table->metric_total, (const char *[]){ t->service, end }), 1);
                mam_metric_add(mam_metric_get(table->metric_bytes, (const char *[]){ t->service, "up" }),
                               (double) t->bytes_up);
                mam_metric_add(mam_metric_get(table->metric_bytes, (const char *[]){ t->service, "down" }),
                               (double) t->bytes_down);
        }
        free(t);
        return NULL;
}

bool tunnel_is_open(const Tunnel *t) {
        return t && t->open;
}

int tunnel_prepare(Tunnel *t, MamHttpCall *call) {
        int r;

        assert(t);
        assert(call);

        r = mam_http_call_set_upgrade(call, "websocket");
        if (r < 0 || mam_http_exchange_header(t->x, "Sec-WebSocket-Key"))
                return r;
        if (t->key[0] == '\0') {
                r = mam_websocket_key_new(t->key);
                if (r < 0)
                        return r;
        }
        return mam_http_call_add_field(call, "Sec-WebSocket-Key", t->key);
}

bool tunnel_passes_field(const Tunnel *t, const MamHttpField *f) {
        return t->key[0] == '\0' || !mam_http_range_equal_fold(f->name, "Sec-WebSocket-Accept");
}

/* ---- ending ---- */

/* Both sources have ended, or had their time. */
static void finish(Tunnel *t) {
        if (t->finished)
                return;
        t->finished = true;
        lasting_close(&t->lasting); /* the client's connection has its time to end */
        if (t->call)
                (void) mam_http_call_end_body(t->call);
        if (mam_http_exchange_end(t->x) < 0)
                mam_http_exchange_abort(t->x);
        mam_http_exchange_resume_body(t->x);
}

static void consider_finishing(Tunnel *t) {
        if (t->up.ended && t->down.ended)
                finish(t);
}

/* Of both sides one has ended: the other is to follow soon. */
static void note_end(Tunnel *t, Way *w, TunnelEnd end) {
        if (!w->ended && !t->closing && !t->up.ended && !t->down.ended)
                t->end = end;
        if (!w->ended)
                lasting_close(&t->lasting);
        w->ended = true;
}

static int way_write(Tunnel *t, const Way *w, const void *data, size_t size) {
        if (size == 0)
                return 1;
        if (w == &t->up)
                return t->call ? mam_http_call_write(t->call, data, size) : 1;
        return mam_http_exchange_write(t->x, data, size);
}

/* Puts our Close in, if it is wanted and nothing is in its way. */
static void put_close(Tunnel *t, Way *w) {
        uint8_t bytes[MAM_WEBSOCKET_HEAD_MAX + MAM_WEBSOCKET_CONTROL_MAX], mask[4];
        size_t n;

        if (w->code == 0 || w->said || w->track.closed || !mam_websocket_track_at_boundary(&w->track))
                return;
        w->said = true;
        if (w == &t->up && getrandom(mask, sizeof(mask), 0) != (ssize_t) sizeof(mask))
                memset(mask, 0, sizeof(mask)); /* masks are no secret of ours: the text is fixed */
        n = mam_websocket_format_close(bytes, w->code, NULL, w == &t->up ? mask : NULL);
        (void) way_write(t, w, bytes, n);
}

/* code: for each side's Close; 0: it gets none. */
static void tunnel_close(Tunnel *t, TunnelEnd end, unsigned code_for_service, unsigned code_for_client) {
        if (t->closing || t->finished)
                return;
        /* Where Close was said already, the conversation is ending by itself. */
        if (!t->up.ended && !t->down.ended)
                t->end = end;
        if (!t->up.track.closed && !t->down.track.closed) {
                t->up.code = code_for_service;
                t->down.code = code_for_client;
        }
        t->closing = true;
        lasting_close(&t->lasting);
        put_close(t, &t->up);
        put_close(t, &t->down);
        mam_http_exchange_resume_body(t->x); /* to hear their Close */
        if (t->call)
                mam_http_call_resume(t->call);
}

static void on_expire(Lasting *l, LastingEnd why) {
        Tunnel *t = (Tunnel *) ((char *) l - offsetof(Tunnel, lasting));

        if (why != LASTING_OVERDUE)
                tunnel_close(t,
                             why == LASTING_IDLE ? TUNNEL_END_IDLE : TUNNEL_END_DRAINED,
                             MAM_WEBSOCKET_GOING_AWAY,
                             MAM_WEBSOCKET_GOING_AWAY);
        else if (!t->finished)
                finish(t);
        else
                mam_http_exchange_abort(t->x);
}

void tunnel_forbid(Tunnel *t) {
        tunnel_close(t, TUNNEL_END_FORBIDDEN, MAM_WEBSOCKET_GOING_AWAY, MAM_WEBSOCKET_POLICY);
}

static void on_drain(MamHttpExchange *x, void *userdata) {
        tunnel_close(userdata, TUNNEL_END_DRAINED, MAM_WEBSOCKET_GOING_AWAY, MAM_WEBSOCKET_GOING_AWAY);
}

/* ---- passing ---- */

/* What is no frame ends it: its source learns that it broke the protocol, the other side that it is over. */
static void broken(Tunnel *t, const Way *w) {
        if (w == &t->up)
                tunnel_close(t, TUNNEL_END_BROKEN, MAM_WEBSOCKET_GOING_AWAY, MAM_WEBSOCKET_PROTOCOL_ERROR);
        else
                tunnel_close(t, TUNNEL_END_BROKEN, MAM_WEBSOCKET_PROTOCOL_ERROR, MAM_WEBSOCKET_INTERNAL);
}

/* 1: go on; 0: the source is to wait; -EPIPE. */
static int pass(Tunnel *t, Way *w, const char *data, size_t size) {
        const char *end = data + size;
        MamWebsocketPass p;
        int r = 1, k;

        if (w->ended)
                return 1;
        if (!w->said) {
                k = mam_websocket_track(&w->track, data, size, w->code != 0, &p);
                r = way_write(t, w, p.head, p.head_size);
                if (r >= 0 && p.size > 0)
                        r = way_write(t, w, p.data, p.size);
                data = p.data + p.size;
                if (k < 0) {
                        broken(t, w);
                        w->ended = true; /* what follows has no meaning */
                        consider_finishing(t);
                        return r;
                }
                put_close(t, w);
        }
        /* Behind our Close: looked at, not passed on. */
        if (w->said && mam_websocket_track(&w->track, data, (size_t) (end - data), false, &p) < 0)
                w->ended = true;
        if (w->track.closed)
                note_end(t, w, TUNNEL_END_CLOSED);
        consider_finishing(t);
        return r;
}

static int on_client_bytes(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Tunnel *t = userdata;
        int r;

        if (error < 0) {
                if (!t->closing && !t->down.ended)
                        t->end = TUNNEL_END_CLIENT;
                return 0; /* the exchange is ending, and the tunnel with it */
        }
        if (t->finished)
                return 0;
        if (size == 0) {
                if (!t->up.ended)
                        tunnel_close(t, TUNNEL_END_CLIENT, MAM_WEBSOCKET_GOING_AWAY, 0);
                t->up.ended = true;
                if (t->call)
                        (void) mam_http_call_end_body(t->call);
                consider_finishing(t);
                return 0;
        }

        t->bytes_up += size;
        lasting_touch(&t->lasting);
        r = pass(t, &t->up, data, size);
        if (r == 0 && !t->closing)
                mam_http_exchange_pause_body(x);
        return 0;
}

static void on_client_writable(MamHttpExchange *x, void *userdata) {
        Tunnel *t = userdata;

        lasting_touch(&t->lasting);
        if (t->call)
                mam_http_call_resume(t->call);
}

int tunnel_on_data(Tunnel *t, const char *data, size_t size) {
        int r;

        assert(t->open);

        if (t->finished)
                return 0;
        t->bytes_down += size;
        lasting_touch(&t->lasting);
        r = pass(t, &t->down, data, size);
        if (r == 0 && t->call && !t->closing)
                mam_http_call_pause(t->call);
        return 0;
}

void tunnel_on_writable(Tunnel *t) {
        lasting_touch(&t->lasting);
        mam_http_exchange_resume_body(t->x);
}

void tunnel_on_end(Tunnel *t, int error) {
        t->call = NULL;
        if (t->finished)
                return;
        if (!t->down.ended)
                tunnel_close(t, TUNNEL_END_SERVICE, 0, MAM_WEBSOCKET_INTERNAL);
        t->down.ended = true;
        /* In the middle of a frame there is no place for a word: the client is to see that it is cut. */
        if (!mam_websocket_track_at_boundary(&t->down.track)) {
                t->finished = true;
                mam_http_exchange_abort(t->x);
                return;
        }
        if (t->down.track.closed)
                finish(t);
        else
                consider_finishing(t);
}

/* ---- opening ---- */

bool tunnel_is_agreed(const Tunnel *t, const MamHttpHead *head) {
        const char *key = t->key[0] != '\0' ? t->key : mam_http_exchange_header(t->x, "Sec-WebSocket-Key");
        const MamHttpField *f = mam_http_find(head, "Sec-WebSocket-Accept");
        char accept[MAM_WEBSOCKET_ACCEPT_SIZE];

        return f && mam_websocket_accept_value(accept, key) >= 0 && mam_http_range_equal(f->value, accept);
}

int tunnel_open(Tunnel *t, MamHttpCall *call, const MamHttpHead *head, const void *server) {
        int r;

        assert(t && !t->open);
        assert(call);
        assert(head && head->status == 101);

        r = mam_http_exchange_upgrade(t->x);
        if (r < 0)
                return r;
        r = mam_http_exchange_stream_body(t->x, on_client_bytes, t);
        if (r < 0)
                return r;

        t->open = true;
        t->call = call;
        t->up.track.extended = t->down.track.extended = mam_http_find(head, "Sec-WebSocket-Extensions");
        mam_http_exchange_set_on_writable(t->x, on_client_writable, t);
        mam_http_exchange_set_on_drain(t->x, on_drain, t);
        lasting_add(t->table->lasting, &t->lasting, server, on_expire);
        mam_metric_add(mam_metric_get(t->table->metric_open, (const char *[]){ t->service }), 1);
        return 0;
}

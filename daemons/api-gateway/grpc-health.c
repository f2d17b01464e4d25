/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/grpc-health.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/access.h"
#include "api-gateway/gateway.h"

#define REQUEST_MAX 512U
#define PREFIX_SIZE 5U /* of a message: a flag, and its length in 32 bits */

/* Of gRPC, as text. */
#define STATUS_OK               "0"
#define STATUS_INVALID_ARGUMENT "3"
#define STATUS_NOT_FOUND        "5"
#define STATUS_EXHAUSTED        "8"
#define STATUS_UNIMPLEMENTED    "12"
#define STATUS_UNAVAILABLE      "14"
#define STATUS_UNAUTHENTICATED  "16"

typedef enum Serving { /* HealthCheckResponse.ServingStatus */
        SERVING_UNKNOWN,
        SERVING,
        NOT_SERVING,
        SERVICE_UNKNOWN,
} Serving;

typedef struct Watcher Watcher;

struct GrpcHealth {
        Gateway *gateway;              /* weak: it owns us */
        LIST_HEAD(, Watcher) watchers; /* weak: their exchanges own them */
        unsigned n_watchers;
};

/* One request, also one that is answered at once. */
struct Watcher {
        GrpcHealth *health; /* weak */
        MamHttpExchange *x; /* weak: it owns us */
        bool watch, listed;
        Serving told;
        char service[64];
        LIST_ENTRY(Watcher) watchers;
};

/* ---- messages ---- */

static int read_varint(const unsigned char **p, const unsigned char *end, uint64_t *ret) {
        uint64_t n = 0;

        for (unsigned shift = 0; shift < 64 && *p < end; shift += 7) {
                unsigned char c = *(*p)++;

                n |= (uint64_t) (c & 0x7f) << shift;
                if (!(c & 0x80)) {
                        *ret = n;
                        return 0;
                }
        }
        return -EBADMSG;
}

static int skip_field(const unsigned char **p, const unsigned char *end, uint64_t type) {
        uint64_t n = 0;

        if (type == 0)
                return read_varint(p, end, &n);
        if (type == 2 && read_varint(p, end, &n) < 0)
                return -EBADMSG;
        if (type == 1 || type == 5)
                n = type == 1 ? 8 : 4;
        else if (type != 2)
                return -EBADMSG;
        if (n > (uint64_t) (end - *p))
                return -EBADMSG;
        *p += n;
        return 0;
}

int grpc_health_parse(const char *data, size_t data_size, char *ret_service, size_t size) {
        const unsigned char *p = (const unsigned char *) data, *end = p + data_size;
        uint64_t key = 0, n = 0;

        if (data_size < PREFIX_SIZE)
                return -EBADMSG;
        if (p[0] == 1)
                return -EOPNOTSUPP;
        n = (uint64_t) p[1] << 24 | (uint64_t) p[2] << 16 | (uint64_t) p[3] << 8 | p[4];
        if (p[0] != 0 || n != data_size - PREFIX_SIZE)
                return -EBADMSG;
        p += PREFIX_SIZE;

        ret_service[0] = '\0';
        while (p < end) {
                if (read_varint(&p, end, &key) < 0)
                        return -EBADMSG;
                if (key != (1U << 3 | 2U)) { /* a field that we do not know */
                        if (key >> 3 == 0 || skip_field(&p, end, key & 7) < 0)
                                return -EBADMSG;
                        continue;
                }
                if (read_varint(&p, end, &n) < 0 || n > (uint64_t) (end - p) || memchr(p, '\0', n))
                        return -EBADMSG;
                if (n >= size)
                        return -ENOBUFS;
                memcpy(ret_service, p, n);
                ret_service[n] = '\0';
                p += n;
        }
        return 0;
}

/* ---- answers ---- */

static int refuse(MamHttpExchange *x, const char *status, const char *message) {
        (void) mam_http_exchange_add_field(x, "grpc-status", status);
        (void) mam_http_exchange_add_field(x, "grpc-message", message);
        return mam_http_exchange_respond(x, 200, "application/grpc", "", 0);
}

static Serving serving(const GrpcHealth *h, const char *service) {
        const Upstream *u;

        if (!*service)
                return SERVING;
        u = gateway_find_upstream(h->gateway, service);
        if (!u)
                return SERVICE_UNKNOWN;
        return upstream_ready(u) > 0 ? SERVING : NOT_SERVING;
}

static int tell(Watcher *w, Serving s) {
        const char message[] = { 0, 0, 0, 0, 2, 1 << 3, (char) s };

        w->told = s;
        return mam_http_exchange_write(w->x, message, sizeof(message));
}

static int finish(Watcher *w, const char *status) {
        int r;

        r = mam_http_exchange_add_trailer(w->x, "grpc-status", status);
        return r < 0 ? r : mam_http_exchange_end(w->x);
}

static void on_drain(MamHttpExchange *x, void *userdata) {
        Watcher *w = userdata;

        if (w->listed)
                LIST_REMOVE(w, watchers);
        w->health->n_watchers -= w->listed;
        w->listed = false;
        (void) tell(w, NOT_SERVING);
        if (finish(w, STATUS_UNAVAILABLE) < 0)
                mam_http_exchange_abort(x);
}

static int answer(Watcher *w) {
        Serving s = serving(w->health, w->service);
        int r;

        if (!w->watch && s == SERVICE_UNKNOWN)
                return refuse(w->x, STATUS_NOT_FOUND, "unknown service");
        if (w->watch && w->health->n_watchers >= GRPC_HEALTH_WATCHERS_MAX)
                return refuse(w->x, STATUS_EXHAUSTED, "too many watch already");
        (void) mam_http_exchange_add_field(w->x, "Content-Type", "application/grpc");
        r = mam_http_exchange_start(w->x, 200, -1);
        if (r >= 0)
                r = tell(w, s);
        if (r < 0)
                return r;
        if (!w->watch)
                return finish(w, STATUS_OK);
        LIST_INSERT_HEAD(&w->health->watchers, w, watchers);
        w->listed = true;
        w->health->n_watchers++;
        mam_http_exchange_set_on_drain(w->x, on_drain, w);
        return 0;
}

void grpc_health_changed(GrpcHealth *h) {
        Watcher *w;

        if (!h)
                return;
        LIST_FOREACH(w, &h->watchers, watchers) {
                Serving s = serving(h, w->service);

                if (s != w->told)
                        (void) tell(w, s);
        }
}

/* ---- requests ---- */

static void on_done(MamHttpExchange *x, void *userdata) {
        Watcher *w = userdata;

        if (w->listed) {
                LIST_REMOVE(w, watchers);
                w->health->n_watchers--;
        }
        free(w);
}

static int on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        _cleanup_(caller_unrefp) Caller *caller = NULL;
        Watcher *w = userdata;
        int r;

        if (error < 0)
                return 0;
        r = grpc_health_parse(data, size, w->service, sizeof(w->service));
        if (r == -EOPNOTSUPP)
                return refuse(x, STATUS_UNIMPLEMENTED, "compressed messages are not taken");
        if (r == -EBADMSG)
                return refuse(x, STATUS_INVALID_ARGUMENT, "not a HealthCheckRequest");
        if (r == -ENOBUFS) /* no service is called like this */
                return refuse(x, STATUS_NOT_FOUND, "unknown service");
        if (*w->service) {
                r = access_identify(w->health->gateway->access, x, &caller);
                if (r <= 0)
                        return r;
                if (caller->kind == CALLER_NOBODY)
                        return refuse(x, STATUS_UNAUTHENTICATED, "an access token is needed");
        }
        return answer(w);
}

int grpc_health_on_request(GrpcHealth *h, MamHttpExchange *x) {
        static const char prefix[] = "/grpc.health.v1.Health/";
        const char *path = mam_http_exchange_path(x), *type;
        Watcher *w;

        if (!h || strncmp(path, prefix, sizeof(prefix) - 1) != 0 || mam_http_exchange_version(x) != 20)
                return 1;
        type = mam_http_exchange_header(x, "content-type");
        if (strcmp(mam_http_exchange_method(x), "POST") != 0 || !type ||
            strncmp(type, "application/grpc", 16) != 0)
                return 1;
        path += sizeof(prefix) - 1;
        if (strcmp(path, "Check") != 0 && strcmp(path, "Watch") != 0)
                return refuse(x, STATUS_UNIMPLEMENTED, "unknown method");

        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->health = h;
        w->x = x;
        w->watch = path[0] == 'W';
        mam_http_exchange_set_on_done(x, on_done, w);
        return mam_http_exchange_read_body(x, REQUEST_MAX, on_body, w);
}

int grpc_health_new(GrpcHealth **ret, Gateway *g) {
        GrpcHealth *h;

        assert(ret);
        assert(g);

        h = calloc(1, sizeof(*h));
        if (!h)
                return -ENOMEM;
        h->gateway = g;
        LIST_INIT(&h->watchers);
        *ret = h;
        return 0;
}

GrpcHealth *grpc_health_free(GrpcHealth *h) {
        if (!h)
                return NULL;

        assert(LIST_EMPTY(&h->watchers)); /* the server, which owns the requests, goes first */
        free(h);
        return NULL;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>
#include <sys/random.h>

#include "api-gateway/fields.h"
#include "api-gateway/forward-internal.h"
#include "api-gateway/key-hash.h"

#define COOKIE      "mam-sticky"
#define COOKIE_SIZE 16U
#define TIMEOUT_MAX (24ULL * 3600 * MAM_USEC_PER_SEC)

/* The fields that matter here; of each the first. */
typedef struct Wishes {
        MamHttpRange timeout, grpc_timeout, idempotency, accept, cookie;
} Wishes;

static bool is_field(const MamHttpField *f, const char *name, MamHttpRange *ret) {
        if (ret->data || !mam_http_range_equal_fold(f->name, name))
                return false;
        *ret = f->value;
        return true;
}

/* One look at each field: most have another size. */
static void find_wishes(const MamHttpHead *head, Wishes *ret) {
        for (size_t i = 0; i < head->n_fields; i++) {
                const MamHttpField *f = &head->fields[i];

                switch (f->name.size) {
                case sizeof("Accept") - 1: /* and Cookie */
                        if (!is_field(f, "Accept", &ret->accept))
                                (void) is_field(f, "Cookie", &ret->cookie);
                        break;
                case sizeof("grpc-timeout") - 1:
                        (void) is_field(f, "grpc-timeout", &ret->grpc_timeout);
                        break;
                case sizeof("Idempotency-Key") - 1:
                        (void) is_field(f, "Idempotency-Key", &ret->idempotency);
                        break;
                case sizeof("X-Request-Timeout-Ms") - 1:
                        (void) is_field(f, "X-Request-Timeout-Ms", &ret->timeout);
                        break;
                default:
                        break;
                }
        }
}

/* Up to 8 digits; the rest is what follows. */
static bool parse_digits(MamHttpRange r, uint64_t *ret, MamHttpRange *ret_rest) {
        uint64_t n = 0;
        size_t i;

        for (i = 0; i < r.size && i < 8 && r.data[i] >= '0' && r.data[i] <= '9'; i++)
                n = n * 10 + (uint64_t) (r.data[i] - '0');
        *ret = n;
        *ret_rest = (MamHttpRange){ r.data + i, r.size - i };
        return i > 0;
}

/* What the client says that it waits; MAM_USEC_INFINITY: nothing, or nothing that can be read. */
static uint64_t client_timeout(const Wishes *w) {
        static const struct {
                char unit;
                uint64_t nsec;
        } units[] = { { 'n', 1 },          { 'u', 1000 },           { 'm', 1000000 },
                      { 'S', 1000000000 }, { 'M', 60000000000ULL }, { 'H', 3600000000000ULL } };
        MamHttpRange rest;
        uint64_t n, usec;

        if (w->timeout.data && parse_digits(w->timeout, &n, &rest) && rest.size == 0)
                return n * MAM_USEC_PER_MSEC;
        if (!w->grpc_timeout.data || !parse_digits(w->grpc_timeout, &n, &rest) || rest.size != 1)
                return MAM_USEC_INFINITY;
        for (size_t i = 0; i < MAM_ELEMENTSOF(units); i++)
                if (units[i].unit == rest.data[0]) {
                        usec = units[i].nsec >= 1000 ? n * (units[i].nsec / 1000) : n / 1000;
                        return usec < TIMEOUT_MAX ? usec : TIMEOUT_MAX;
                }
        return MAM_USEC_INFINITY;
}

static bool set_deadline(Forward *f, const Wishes *w, uint64_t now) {
        uint64_t route = f->route->config->timeout_usec, client = MAM_USEC_INFINITY, usec;
        Gateway *g = f->gateway;

        if (g->protection.client_deadlines && (w->timeout.data || w->grpc_timeout.data))
                client = client_timeout(w);
        if (route == 0 && client == MAM_USEC_INFINITY)
                return true;

        f->deadline_is_clients = route == 0 || client < route;
        usec = f->deadline_is_clients ? client : route;
        if (usec == 0)
                return false;
        f->deadline.usec = now + usec;
        if (deadlines_add(&g->deadlines, &f->deadline) < 0)
                return true; /* progress is watched in any case */
        gateway_arm(g, usec);
        return true;
}

static uint64_t hash_text(const char *text, size_t size) {
        static const KeyHashKey same_in_all_gateways = { 0 };

        return key_hash(&same_in_all_gateways, text, size);
}

static uint64_t hash_address(Forward *f) {
        const char *address = mam_http_exchange_address(f->x);

        return hash_text(address, strlen(address));
}

/* The value of our cookie in the field, or nothing. */
static MamHttpRange find_cookie(MamHttpRange field) {
        const char *p = field.data, *end = p ? p + field.size : NULL;
        static const char name[] = COOKIE "=";

        while (p && p < end) {
                const char *next = memchr(p, ';', (size_t) (end - p));
                size_t n;

                while (p < end && (*p == ' ' || *p == '\t'))
                        p++;
                n = (size_t) ((next ? next : end) - p);
                if (p < end && n == sizeof(name) - 1 + COOKIE_SIZE && memcmp(p, name, sizeof(name) - 1) == 0)
                        return (MamHttpRange){ p + sizeof(name) - 1, COOKIE_SIZE };
                p = next ? next + 1 : NULL;
        }
        return (MamHttpRange){ 0 };
}

static uint64_t hash_cookie(Forward *f, const Wishes *w) {
        MamHttpRange had = find_cookie(w->cookie);
        char text[COOKIE_SIZE + 1], field[128];
        uint64_t lot = 0;

        if (had.data)
                return hash_text(had.data, had.size);
        if (getrandom(&lot, sizeof(lot), GRND_NONBLOCK) != (ssize_t) sizeof(lot))
                return hash_address(f);
        (void) snprintf(text, sizeof(text), "%016llx", (unsigned long long) lot);
        (void) snprintf(field,
                        sizeof(field),
                        COOKIE "=%s; Path=/; HttpOnly; SameSite=Lax%s",
                        text,
                        mam_http_exchange_tls(f->x) ? "; Secure" : "");
        (void) mam_http_exchange_add_field(f->x, "Set-Cookie", field);
        return hash_text(text, COOKIE_SIZE);
}

static void choose_balancing(Forward *f, const MamHttpHead *head, const Wishes *w) {
        f->how.kind = f->upstream->balancing;
        /* What stays open says nothing by its first byte. */
        if (mam_http_exchange_upgrade_protocol(f->x) ||
            (w->accept.data && mam_http_range_equal_fold(w->accept, "text/event-stream")))
                f->how.kind = BALANCER_LEAST;

        switch (f->route->config->sticky) {
        case MAM_ROUTE_STICKY_SUBJECT:
                f->how.affinity = f->identity->subject ? hash_text(f->identity->subject,
                                                                   strlen(f->identity->subject))
                                                       : hash_address(f);
                break;
        case MAM_ROUTE_STICKY_ADDRESS:
                f->how.affinity = hash_address(f);
                break;
        case MAM_ROUTE_STICKY_COOKIE:
                f->how.affinity = hash_cookie(f, w);
                break;
        case MAM_ROUTE_STICKY_PATH:
                f->how.affinity = hash_text(head->path.data, head->path.size);
                break;
        default:
                return;
        }
        f->how.kind = BALANCER_AFFINITY;
        f->sticky = f->route->config->sticky != MAM_ROUTE_STICKY_PATH;
}

static void read_method(Forward *f, const MamHttpHead *head, const Wishes *w) {
        static const char *const safe[] = { "GET", "HEAD", "OPTIONS" };
        int retries = f->route->config->retries;

        for (size_t i = 0; i < MAM_ELEMENTSOF(safe) && !f->safe; i++)
                f->safe = mam_http_range_equal(head->method, safe[i]);
        f->idempotent = f->safe || mam_http_range_equal(head->method, "PUT") ||
                        mam_http_range_equal(head->method, "DELETE") || w->idempotency.data;
        f->repeats = !f->idempotent ? 0 : retries >= 0 ? (unsigned) retries : 1;
}

bool forward_read_wishes(Forward *f, uint64_t now_usec) {
        const MamHttpHead *head = mam_http_exchange_head(f->x);
        Wishes w = { 0 };

        find_wishes(head, &w);
        read_method(f, head, &w);
        choose_balancing(f, head, &w);
        return set_deadline(f, &w, now_usec);
}

int forward_tell_deadline(Forward *f, uint64_t now_usec) {
        uint64_t left = f->deadline.usec > now_usec ? f->deadline.usec - now_usec : 0;
        char text[24];
        int r;

        if (f->deadline.place == 0)
                return 0;
        left = (left + MAM_USEC_PER_MSEC - 1) / MAM_USEC_PER_MSEC;
        (void) snprintf(text, sizeof(text), "%llu", (unsigned long long) left);
        r = mam_http_call_add_field(f->call, "Mam-Timeout-Ms", text);
        if (r < 0 || f->upstream->protocol != MAM_SERVICE_PROTOCOL_H2C)
                return r;
        (void) snprintf(text,
                        sizeof(text),
                        "%llum",
                        (unsigned long long) (left < 99999999 ? left : 99999999));
        return mam_http_call_add_field(f->call, "grpc-timeout", text);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Routes: which service a request belongs to, and what is done to it on the way
 *
 * A RouteTable is made as a whole from one configuration and never changed. The gateway swaps it for the
 * next one between two requests; a request under way holds a reference to the route that it began with, and
 * so to its table and configuration.
 *
 * Of all routes that match a request the most specific one is taken. What is compared, in this order:
 *   1. host: a name before "*.example.com", a longer wildcard before a shorter one, any host last;
 *   2. path, segment by segment from the left: text before {param}; where the path ends there, a path that
 *      ends before {rest...} before a prefix;
 *   3. methods: a route that names methods before one for all;
 *   4. header fields: more conditions before fewer;
 *   5. version: the one that Accept asks for before a route without; where none is asked for, a route
 *      without before the lowest.
 * Two routes of which neither is more specific, and that some request matches both, are a conflict: the
 * table refuses the second.
 *
 * Paths are compared by what they mean: an encoded character that need not be is the same as itself
 * ("/%61" is "/a"). What means another place to whoever decodes or resolves it (".", "..", "//", encoded
 * slashes) is refused before (route_path_check).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "libmam/config/gateway.h"
#include "libmam/http/http-codec.h"
#include "libmam/util/macro.h"

typedef struct Route Route;
typedef struct RouteState RouteState;
typedef struct RouteTable RouteTable;
typedef struct LimitRule LimitRule;
typedef struct Upstream Upstream;

#define ROUTES_MAX          8192U /* in one table */
#define ROUTES_PER_PATH_MAX 64U   /* with the same host and path */
#define ROUTE_TARGET_MAX    (32U * 1024U)

/* One way through the gateway: what to match, and what to do (both in config). */
struct Route {
        RouteTable *table;            /* weak: it owns us; route_ref() keeps it */
        const MamRouteConfig *config; /* borrowed from the table's configuration; never NULL */
        const char *service;          /* borrowed from there; id */
        Upstream *upstream;           /* counted in its n_routes, so it is there; NULL in tests only */
        RouteState *state;            /* reference; what outlives this configuration */
        LimitRule *limit;             /* reference; or NULL */
};

/* What is kept of a route over changes of the configuration, as long as there is one with the same label. */
struct RouteState {
        unsigned n_ref;
        char *label;              /* owned; as in MamRouteConfig */
        uint64_t requests;        /* ended */
        uint64_t errors;          /* of those: 5xx */
        uint64_t refused;         /* of those: 4xx */
        uint64_t duration_usec;   /* sum */
        uint64_t bytes;           /* of answers' bodies */
        uint32_t fault_credit[2]; /* delay, abort: taken in turn, so that shares are exact */
        uint32_t mirror_credit;   /* likewise */
        void *forward;            /* of forward.c: what it need not look up per request; NULL at first */
        void (*forward_free)(void *p); /* frees it */
};

/* Why there is no route. */
typedef enum RouteMiss {
        ROUTE_MISS_PATH,    /* none has this host and path: 404 */
        ROUTE_MISS_METHOD,  /* those that have do not take the method: 405, see route_table_allow() */
        ROUTE_MISS_FIELDS,  /* nor want these header fields: 404 */
        ROUTE_MISS_VERSION, /* nor serve this version: 406 */
} RouteMiss;

/* Holds a reference to config. */
int route_table_new(RouteTable **ret, MamGatewayConfig *config);
RouteTable *route_table_ref(RouteTable *t);
RouteTable *route_table_unref(RouteTable *t);
MAM_DEFINE_CLEANUP(RouteTable, route_table_unref);

/* config and service must belong to the table's configuration; the route counts in upstream and takes a
 * reference to limit (each may be NULL), and the state that a route with the same label has in previous (may
 * be NULL). -EINVAL: not a path template; -EEXIST: in conflict with *ret_other (borrowed; may be NULL);
 * -EDQUOT: ROUTES_MAX or ROUTES_PER_PATH_MAX. */
int route_table_add(
                RouteTable *t,
                const MamRouteConfig *config,
                const char *service,
                Upstream *upstream,
                LimitRule *limit,
                const RouteTable *previous,
                const Route **ret_other);
/* In the order in which they were added; borrowed, or NULL. */
const Route *route_table_get(const RouteTable *t, size_t i);
/* By label; borrowed, or NULL. */
const Route *route_table_find(const RouteTable *t, const char *label);
size_t route_table_size(const RouteTable *t);

/* The route of a request: borrowed, or NULL with *ret_miss (may be NULL). Allocates nothing. */
const Route *route_table_match(const RouteTable *t, const MamHttpHead *head, RouteMiss *ret_miss);
/* The value of Allow: methods that some route with this host and path takes. */
void route_table_allow(const RouteTable *t, const MamHttpHead *head, char ret[static 256]);

/* Keeps the route, and its table, until _unref. */
const Route *route_ref(const Route *route);
const Route *route_unref(const Route *route);
MAM_DEFINE_CLEANUP(const Route, route_unref);

/* A request of the route has ended; status 499: the client left before. */
void route_count(const Route *route, unsigned status, uint64_t duration_usec, uint64_t bytes);
/* true for ppm of each million calls, evenly spread. *credit is the caller's, 0 at first. */
bool route_share(uint32_t *credit, uint32_t ppm);

typedef enum RoutePath {
        ROUTE_PATH_PLAIN,
        ROUTE_PATH_ENCODED_SLASH, /* %2F or %5C: only where the route permits it */
        ROUTE_PATH_DOTS,          /* a segment "." or "..", also encoded */
        ROUTE_PATH_EMPTY_SEGMENT, /* "//" */
        ROUTE_PATH_BAD_ENCODING,  /* "%" without two hexadecimal digits, or %00 */
        ROUTE_PATH_BACKSLASH,
} RoutePath;
/* path as sent, without query. */
RoutePath route_path_check(const char *path, size_t size);

/* What goes to the replica as the request's target: the path, rewritten if the route says so, and the query
 * as sent. NUL-terminated. Returns its size; -EMSGSIZE. */
ssize_t route_target(const Route *route, const MamHttpHead *head, char *ret, size_t size);

/* The version of the API that Accept asks for: "application/json; version=2", "application/vnd.x.v2+json";
 * 0: none. */
uint32_t route_accept_version(const MamHttpHead *head);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/routes.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

struct RouteTable {
        Route *routes; /* owned; longest prefix first */
        size_t n_routes;
};

int route_table_new(RouteTable **ret) {
        RouteTable *t;

        assert(ret);

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;

        *ret = t;
        return 0;
}

RouteTable *route_table_free(RouteTable *t) {
        if (!t)
                return NULL;

        for (size_t i = 0; i < t->n_routes; i++) {
                free(t->routes[i].prefix);
                free(t->routes[i].service);
        }
        free(t->routes);
        free(t);
        return NULL;
}

static bool prefix_is_valid(const char *prefix, size_t size) {
        if (size > ROUTE_PREFIX_MAX || (size > 0 && prefix[0] != '/'))
                return false;
        for (size_t i = 0; i < size; i++)
                if (prefix[i] <= ' ' || prefix[i] > '~' || strchr("?#%", prefix[i]) ||
                    (prefix[i] == '/' && prefix[i + 1] == '/'))
                        return false;
        return route_path_is_plain(prefix, size);
}

int route_table_add(RouteTable *t, const char *prefix, const char *service, void *userdata) {
        _cleanup_(mam_freep) char *own_prefix = NULL, *own_service = NULL;
        size_t size = strlen(prefix), i;
        Route *routes;

        assert(t);
        assert(service);

        if (prefix[0] != '/' || !prefix_is_valid(prefix, size))
                return -EINVAL;
        if (prefix[size - 1] == '/')
                size--;
        if (t->n_routes >= ROUTES_MAX)
                return -EDQUOT;
        for (i = 0; i < t->n_routes; i++)
                if (t->routes[i].prefix_size == size && memcmp(t->routes[i].prefix, prefix, size) == 0)
                        return -EEXIST;

        own_prefix = strndup(prefix, size);
        own_service = strdup(service);
        routes = reallocarray(t->routes, t->n_routes + 1, sizeof(*routes));
        if (routes)
                t->routes = routes;
        if (!own_prefix || !own_service || !routes)
                return -ENOMEM;

        for (i = 0; i < t->n_routes && routes[i].prefix_size >= size; i++)
                ;
        memmove(routes + i + 1, routes + i, (t->n_routes - i) * sizeof(*routes));
        routes[i] = (Route){
                .prefix = MAM_TAKE(own_prefix),
                .prefix_size = size,
                .service = MAM_TAKE(own_service),
                .userdata = userdata,
        };
        t->n_routes++;
        return 0;
}

const Route *route_table_get(const RouteTable *t, size_t i) {
        return i < t->n_routes ? &t->routes[i] : NULL;
}

size_t route_table_size(const RouteTable *t) {
        return t->n_routes;
}

const Route *route_table_match(const RouteTable *t, const char *path, size_t size) {
        assert(t);

        for (size_t i = 0; i < t->n_routes; i++) {
                const Route *r = &t->routes[i];

                if (r->prefix_size <= size && memcmp(r->prefix, path, r->prefix_size) == 0 &&
                    (r->prefix_size == size || path[r->prefix_size] == '/'))
                        return r;
        }
        return NULL;
}

/* Takes one "." or "%2e" off the front; 0 if there is none. */
static size_t dot_size(const char *s, size_t size) {
        if (size >= 1 && s[0] == '.')
                return 1;
        return size >= 3 && strncasecmp(s, "%2e", 3) == 0 ? 3 : 0;
}

bool route_path_is_plain(const char *path, size_t size) {
        for (size_t i = 0; i < size; i++) {
                size_t n, at = i + 1;

                /* Some take an encoded slash, or a backslash, for a divider as well. */
                if (path[i] == '%' && i + 2 < size && strncasecmp(path + i, "%2f", 3) == 0)
                        at = i + 3;
                else if (path[i] == '%' && i + 2 < size && strncasecmp(path + i, "%5c", 3) == 0)
                        at = i + 3;
                else if (path[i] != '/' && path[i] != '\\')
                        continue;

                n = dot_size(path + at, size - at);
                if (n == 0)
                        continue;
                at += n;
                at += dot_size(path + at, size - at);
                if (at >= size || path[at] == '/' || path[at] == '\\' || path[at] == ';' ||
                    (at + 2 < size &&
                     (strncasecmp(path + at, "%2f", 3) == 0 || strncasecmp(path + at, "%5c", 3) == 0)))
                        return false;
        }
        return true;
}

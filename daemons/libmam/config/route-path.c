/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Routes: templates of paths, what two routes are to each other, lists
 */

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "libmam/config/config-gateway.h"

static bool name_is_valid(const char *s, size_t n) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";

        if (n == 0 || n > 32 || (s[0] >= '0' && s[0] <= '9'))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!strchr(letters, s[i]))
                        return false;
        return true;
}

/* *ret_name: the range of a parameter's name, or NULL; *ret_rest: it is {name...}. */
static const char *segment_problem(
                const char *s,
                size_t n,
                bool last,
                const char **ret_name,
                size_t *ret_size) {
        bool rest;

        *ret_name = NULL;
        if (n == 0)
                return "must not have empty segments (\"//\", or '/' at its end)";
        if ((n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
                return "must not have segments \".\" or \"..\"";
        for (size_t i = 0; i < n; i++)
                if (s[i] <= ' ' || s[i] > '~' || strchr("?#%\\\"", s[i]))
                        return "must be plain ASCII without spaces and without any of ? # % \\ \"";
        if (!memchr(s, '{', n) && !memchr(s, '}', n))
                return NULL;

        rest = n > 5 && strncmp(s + n - 4, "...}", 4) == 0;
        *ret_name = s + 1;
        *ret_size = n - (rest ? 5 : 2);
        if (n < 3 || s[0] != '{' || s[n - 1] != '}' || !name_is_valid(s + 1, *ret_size))
                return "must have {name} as a whole segment only";
        return rest && !last ? "must have {name...} as its last segment only" : NULL;
}

const char *mam_route_path_problem(const char *path) {
        const char *names[MAM_ROUTE_SEGMENTS_MAX], *problem;
        size_t sizes[MAM_ROUTE_SEGMENTS_MAX], n_names = 0, n = 0;

        assert(path);

        if (path[0] != '/')
                return "must begin with '/'";
        if (strlen(path) > MAM_ROUTE_PATH_MAX)
                return "must not be longer than 256 bytes";
        if (path[1] == '\0')
                return NULL;
        for (const char *s = path; *s;) {
                size_t size = strcspn(++s, "/");

                if (n++ >= MAM_ROUTE_SEGMENTS_MAX)
                        return "must not have more than 32 segments";
                problem = segment_problem(s, size, s[size] == '\0', &names[n_names], &sizes[n_names]);
                if (problem)
                        return problem;
                for (size_t i = 0; names[n_names] && i < n_names; i++)
                        if (sizes[i] == sizes[n_names] && memcmp(names[i], names[n_names], sizes[i]) == 0)
                                return "must not have the same {name} twice";
                n_names += names[n_names] != NULL;
                s += size;
        }
        return NULL;
}

/* Parameters are the same whatever their names; {a...} is not {a}. */
static bool segments_equal(const char *a, size_t na, const char *b, size_t nb) {
        bool rest_a = na > 5 && strncmp(a + na - 4, "...}", 4) == 0;
        bool rest_b = nb > 5 && strncmp(b + nb - 4, "...}", 4) == 0;

        if (na > 0 && nb > 0 && a[0] == '{' && b[0] == '{')
                return rest_a == rest_b;
        return na == nb && memcmp(a, b, na) == 0;
}

static bool paths_equal(const char *a, const char *b) {
        while (*a && *b) {
                size_t na = strcspn(++a, "/"), nb = strcspn(++b, "/");

                if (!segments_equal(a, na, b, nb))
                        return false;
                a += na;
                b += nb;
        }
        return !*a && !*b;
}

static bool has_method(char **list, const char *method) {
        for (; *list; list++)
                if (strcmp(*list, method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(*list, "GET") == 0))
                        return true;
        return false;
}

static bool methods_overlap(char **a, char **b) {
        for (char **m = a; *m; m++)
                if (has_method(b, *m))
                        return true;
        for (char **m = b; *m; m++)
                if (has_method(a, *m))
                        return true;
        return false;
}

/* A field that both want with another value. */
static bool fields_exclude(const MamRouteConfig *a, const MamRouteConfig *b) {
        for (size_t i = 0; i < a->n_match; i++)
                for (size_t j = 0; j < b->n_match; j++)
                        if (a->match[i].value && b->match[j].value &&
                            strcasecmp(a->match[i].name, b->match[j].name) == 0 &&
                            strcmp(a->match[i].value, b->match[j].value) != 0)
                                return true;
        return false;
}

bool mam_route_conflicts(const MamRouteConfig *a, const MamRouteConfig *b) {
        assert(a);
        assert(b);

        if (strcmp(a->host ? a->host : "", b->host ? b->host : "") != 0 || a->is_prefix != b->is_prefix ||
            a->version != b->version || a->n_match != b->n_match || !a->methods != !b->methods)
                return false;
        if (!paths_equal(a->path, b->path))
                return false;
        return (!a->methods || methods_overlap(a->methods, b->methods)) && !fields_exclude(a, b);
}

static void free_fields(MamRouteField *fields, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(fields[i].name);
                free(fields[i].value);
        }
        free(fields);
}

static void route_done(MamRouteConfig *c) {
        free(c->host);
        free(c->path);
        mam_config_free_strings(c->methods);
        free_fields(c->match, c->n_match);
        free(c->label);
        free(c->rate_limit);
        mam_route_auth_done(&c->auth);
        free(c->mirror_service);
        free(c->rewrite);
        free_fields(c->request_set, c->n_request_set);
        mam_config_free_strings(c->request_remove);
        free_fields(c->response_set, c->n_response_set);
        mam_config_free_strings(c->response_remove);
        free(c->successor);
        free(c->maintenance_message);
        mam_config_free_strings(c->maintenance_roles);
}

void mam_route_list_drop_last(MamRouteList *l) {
        assert(l->n > 0);

        route_done(&l->routes[--l->n]);
        l->routes[l->n] = (MamRouteConfig){ 0 };
}

MamRouteList *mam_route_list_ref(MamRouteList *l) {
        assert(l->n_ref > 0);

        l->n_ref++;
        return l;
}

MamRouteList *mam_route_list_unref(MamRouteList *l) {
        if (!l || --l->n_ref > 0)
                return NULL;

        for (size_t i = 0; i < l->n; i++)
                route_done(&l->routes[i]);
        free(l->routes);
        free(l);
        return NULL;
}

const char *mam_service_protocol_to_string(MamServiceProtocol p) {
        static const char *const names[] = {
                [MAM_SERVICE_PROTOCOL_HTTP1] = "http1",
                [MAM_SERVICE_PROTOCOL_NATIVE] = "native",
                [MAM_SERVICE_PROTOCOL_H2C] = "h2c",
        };

        return p >= 0 && p < _MAM_SERVICE_PROTOCOL_MAX ? names[p] : NULL;
}

static const char *const sticky_names[] = {
        [MAM_ROUTE_STICKY_OFF] = "off",         [MAM_ROUTE_STICKY_SUBJECT] = "subject",
        [MAM_ROUTE_STICKY_ADDRESS] = "address", [MAM_ROUTE_STICKY_COOKIE] = "cookie",
        [MAM_ROUTE_STICKY_PATH] = "path",       [_MAM_ROUTE_STICKY_MAX] = NULL,
};

const char *mam_route_sticky_to_string(MamRouteSticky s) {
        return s >= 0 && s < _MAM_ROUTE_STICKY_MAX ? sticky_names[s] : NULL;
}

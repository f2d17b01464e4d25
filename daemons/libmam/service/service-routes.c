/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Router
 *
 * A path is cut at '/' first and decoded after, segment by segment, so that an encoded slash stays inside
 * its segment. Tables are small (tens of routes), and a comparison mostly ends at the number of segments: a
 * scan is quicker than a tree.
 */

#include <assert.h>
#include <string.h>

#include "libmam/service/service-internal.h"

typedef struct Template {
        const MamRoute *route; /* borrowed */
        char *text;            /* owned; the segments point into it */
        size_t n_segments;
        struct {
                const char *text; /* the literal, or the parameter's name */
                bool parameter;
        } segments[MAM_ROUTER_SEGMENTS_MAX];
        uint32_t literals; /* bit 31: the first segment is a literal, and so on */
} Template;

struct MamRouter {
        uint32_t sizes; /* bit n: there is a template of n segments */
        size_t n_templates;
        Template templates[MAM_ROUTER_ROUTES_MAX];
};

MamRouter *mam_router_free(MamRouter *r) {
        if (!r)
                return NULL;

        for (size_t i = 0; i < r->n_templates; i++)
                free(r->templates[i].text);
        free(r);
        return NULL;
}

static int template_init(Template *t, const MamRoute *route) {
        size_t n_parameters = 0;
        char *p;

        assert(route->path[0] == '/');

        t->route = route;
        t->text = strdup(route->path + 1);
        if (!t->text)
                return -ENOMEM;

        p = t->text;
        for (;;) {
                char *end = strchrnul(p, '/');
                bool last = *end == '\0';
                size_t i = t->n_segments;

                assert(i < MAM_ROUTER_SEGMENTS_MAX);
                *end = '\0';
                t->segments[i].parameter = *p == '{';
                if (t->segments[i].parameter) {
                        assert(end - p > 2 && end[-1] == '}');
                        assert(n_parameters < MAM_ROUTER_PARAMETERS_MAX);
                        n_parameters++;
                        end[-1] = '\0';
                        p++;
                } else
                        t->literals |= 1U << (31 - i);
                t->segments[i].text = p;
                t->n_segments++;
                if (last)
                        return 0;
                p = end + 1;
        }
}

int mam_router_new(MamRouter **ret, const MamRoute *const *tables, size_t n_tables) {
        _cleanup_(mam_router_freep) MamRouter *router = NULL;
        int r;

        assert(ret);
        assert(tables);

        router = calloc(1, sizeof(*router));
        if (!router)
                return -ENOMEM;

        for (size_t i = 0; i < n_tables; i++)
                for (const MamRoute *route = tables[i]; route && route->method; route++) {
                        assert(router->n_templates < MAM_ROUTER_ROUTES_MAX);
                        assert(route->handler);
                        r = template_init(&router->templates[router->n_templates++], route);
                        if (r < 0)
                                return r;
                        router->sizes |= UINT32_C(1)
                                         << router->templates[router->n_templates - 1].n_segments;
                }

        *ret = MAM_TAKE(router);
        return 0;
}

void mam_route_match_done(MamRouteMatch *m) {
        assert(m);

        free(m->text);
        *m = (MamRouteMatch){ 0 };
}

/* MAM_ROUTER_FOUND with the decoded segments, which point into *ret_text; else as mam_router_match(). */
static int path_split(
                const char *path,
                char **ret_text,
                const char *segments[static MAM_ROUTER_SEGMENTS_MAX],
                size_t *ret_n) {
        _cleanup_(mam_freep) char *text = NULL;
        size_t size = strlen(path), n = 0;
        const char *p;

        if (path[0] != '/')
                return MAM_ROUTER_NO_PATH;

        text = malloc(size + 1);
        if (!text)
                return -ENOMEM;

        p = path + 1;
        for (;;) {
                const char *end = strchrnul(p, '/');
                char *place = text + (p - path);

                if (n >= MAM_ROUTER_SEGMENTS_MAX)
                        return MAM_ROUTER_NO_PATH;
                if (mam_http_percent_decode(place, (size_t) (end - p) + 1, p, (size_t) (end - p)) < 0)
                        return MAM_ROUTER_BAD_PATH;
                segments[n++] = place;
                if (*end == '\0')
                        break;
                p = end + 1;
        }

        *ret_text = MAM_TAKE(text);
        *ret_n = n;
        return MAM_ROUTER_FOUND;
}

static bool template_matches(const Template *t, const char *const *segments, size_t n) {
        if (t->n_segments != n)
                return false;
        for (size_t i = 0; i < n; i++)
                if (t->segments[i].parameter ? *segments[i] == '\0'
                                             : strcmp(t->segments[i].text, segments[i]) != 0)
                        return false;
        return true;
}

static bool method_fits(const char *want, const char *method) {
        return strcmp(want, method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(want, "GET") == 0);
}

static void allow_add(MamRouteMatch *m, const char *method) {
        size_t used = strlen(m->allow);

        (void) snprintf(m->allow + used, sizeof(m->allow) - used, "%s%s", used > 0 ? ", " : "", method);
        if (strcmp(method, "GET") == 0)
                allow_add(m, "HEAD");
}

static void match_parameters(MamRouteMatch *m, const Template *t, const char *const *segments) {
        for (size_t i = 0; i < t->n_segments; i++)
                if (t->segments[i].parameter) {
                        m->parameters[m->n_parameters].name = t->segments[i].text;
                        m->parameters[m->n_parameters++].value = segments[i];
                }
}

/* Whether some template is as long as the path: a look at each of its bytes, and no more. In the gateway all
 * requests come through here that are for others. */
static bool has_size(const MamRouter *router, const char *path) {
        unsigned n = 0;

        for (const char *p = path; *p; p++)
                n += *p == '/';
        return n <= MAM_ROUTER_SEGMENTS_MAX && (router->sizes & UINT32_C(1) << n) != 0;
}

int mam_router_match(const MamRouter *router, const char *method, const char *path, MamRouteMatch *m) {
        const char *segments[MAM_ROUTER_SEGMENTS_MAX];
        const Template *best = NULL;
        size_t n = 0;
        int r;

        assert(router);
        assert(method);
        assert(path);
        assert(m);

        *m = (MamRouteMatch){ 0 };
        if (!has_size(router, path))
                return MAM_ROUTER_NO_PATH;
        r = path_split(path, &m->text, segments, &n);
        if (r != MAM_ROUTER_FOUND)
                return r;

        for (size_t i = 0; i < router->n_templates; i++) {
                const Template *t = &router->templates[i];

                if ((!best || t->literals > best->literals) && template_matches(t, segments, n))
                        best = t;
        }
        if (!best)
                return MAM_ROUTER_NO_PATH;
        m->pattern = best->route->path;

        for (size_t i = 0; i < router->n_templates; i++) {
                const Template *t = &router->templates[i];

                if (t->literals != best->literals || !template_matches(t, segments, n))
                        continue;
                if (method_fits(t->route->method, method)) {
                        m->route = t->route;
                        m->allow[0] = '\0';
                        match_parameters(m, t, segments);
                        return MAM_ROUTER_FOUND;
                }
                allow_add(m, t->route->method);
        }
        allow_add(m, "OPTIONS");
        return strcmp(method, "OPTIONS") == 0 ? MAM_ROUTER_OPTIONS : MAM_ROUTER_NO_METHOD;
}

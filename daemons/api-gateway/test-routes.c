/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The table of routes
 */

#include <string.h>

#include "api-gateway/routes.h"
#include "libmam/config/config.h"
#include "libmam/util/test.h"

/* A table with the routes of service "s", as JSON. */
static RouteTable *table(const char *routes) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *c = NULL;
        _cleanup_(mam_freep) char *text = NULL, *problem = NULL;
        RouteTable *t = NULL;

        ASSERT_TRUE(asprintf(&text, "{\"services\":{\"s\":{\"routes\":%s}}}", routes) > 0);
        if (mam_gateway_config_parse(&c, text, strlen(text), &problem) < 0)
                (void) fprintf(stderr, "# %s\n", problem ? problem : "?");
        ASSERT_TRUE(c);
        ASSERT_OK(route_table_new(&t, c));
        for (size_t i = 0; i < c->services[0].routes->n; i++)
                ASSERT_OK(
                                route_table_add(t,
                                                &c->services[0].routes->routes[i],
                                                "s",
                                                NULL,
                                                NULL,
                                                NULL,
                                                NULL));
        return t;
}

/* "GET", "example.com", "/path?query", and fields one a line. */
static void parse(
                MamHttpHead *ret,
                char buffer[static 4096],
                const char *method,
                const char *host,
                const char *target,
                const char *fields) {
        const char *reason = NULL;
        unsigned status;
        int n = snprintf(buffer, 4096, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method, target, host, fields);

        ASSERT_TRUE(mam_http_parse_request(ret, buffer, (size_t) n, &status, &reason) == n);
}

static const char *match_full(
                const RouteTable *t,
                const char *method,
                const char *host,
                const char *target,
                const char *fields) {
        static const char *const misses[] = { "path", "method", "fields", "version" };
        RouteMiss miss = ROUTE_MISS_PATH;
        char buffer[4096];
        MamHttpHead head;
        const Route *r;

        parse(&head, buffer, method, host, target, fields);
        r = route_table_match(t, &head, &miss);
        return r ? r->config->label : misses[miss];
}

static const char *match(const RouteTable *t, const char *target) {
        return match_full(t, "GET", "localhost", target, "");
}

TEST(the_longest_prefix_wins_at_segment_ends) {
        _cleanup_(route_table_unrefp) RouteTable *t =
                        table("[\"/api/v1/projects\",\"/api/v1/projects/stats\",\"/api/v1\"]");

        ASSERT_EQ(route_table_size(t), 3);
        ASSERT_STREQ(match(t, "/api/v1/projects"), "/api/v1/projects");
        ASSERT_STREQ(match(t, "/api/v1/projects/"), "/api/v1/projects");
        ASSERT_STREQ(match(t, "/api/v1/projects/1?x=/y"), "/api/v1/projects");
        ASSERT_STREQ(match(t, "/api/v1/projects/stats"), "/api/v1/projects/stats");
        ASSERT_STREQ(match(t, "/api/v1/projects/stats/x"), "/api/v1/projects/stats");
        ASSERT_STREQ(match(t, "/api/v1/projects/statsx"), "/api/v1/projects");
        ASSERT_STREQ(match(t, "/api/v1/projects-old"), "/api/v1");
        ASSERT_STREQ(match(t, "/api/v1"), "/api/v1");
        ASSERT_STREQ(match(t, "/api/v10"), "path");
        ASSERT_STREQ(match(t, "/"), "path");
}

TEST(slash_is_the_prefix_of_everything_but_the_asterisk) {
        _cleanup_(route_table_unrefp) RouteTable *t =
                        table("[\"/\",{\"path\":\"/\",\"methods\":[\"PUT\"]}]");
        char buffer[4096];
        MamHttpHead head;

        ASSERT_STREQ(match(t, "/"), "/");
        ASSERT_STREQ(match(t, "/x/y"), "/");
        ASSERT_STREQ(match_full(t, "PUT", "a", "/", ""), "PUT =/");
        ASSERT_STREQ(match_full(t, "OPTIONS", "a", "*", ""), "path");
        parse(&head, buffer, "GET", "a", "/", "");
        head.path.size = 0;
        ASSERT_TRUE(!route_table_match(t, &head, NULL));
}

TEST(text_goes_before_parameters_and_parameters_before_the_rest) {
        _cleanup_(route_table_unrefp) RouteTable *t = table(
                        "[{\"path\":\"/u/{id}\"},{\"path\":\"/u/me\"},{\"path\":\"/u/{id}/files/{rest...}\"},"
                        "{\"path\":\"/u/{id}/files/new\"},{\"prefix\":\"/u\"},{\"path\":\"/u/me/{what}\"}]");

        ASSERT_STREQ(match(t, "/u/me"), "=/u/me");
        ASSERT_STREQ(match(t, "/u/7"), "=/u/{id}");
        ASSERT_STREQ(match(t, "/u/"), "/u"); /* a parameter is never empty */
        ASSERT_STREQ(match(t, "/u/7/"), "/u");
        ASSERT_STREQ(match(t, "/u/7/files/new"), "=/u/{id}/files/new");
        ASSERT_STREQ(match(t, "/u/7/files/a/b"), "/u/{id}/files/{rest...}");
        ASSERT_STREQ(match(t, "/u/7/files/"), "/u/{id}/files/{rest...}");
        ASSERT_STREQ(match(t, "/u/7/files"), "/u");
        ASSERT_STREQ(match(t, "/u/me/x"), "=/u/me/{what}");
        ASSERT_STREQ(match(t, "/u/me/files/x"), "/u/{id}/files/{rest...}"); /* back, and the other way */
}

TEST(hosts_are_matched_with_any_case_and_port_and_wildcards_behind_names) {
        _cleanup_(route_table_unrefp) RouteTable *t = table(
                        "[{\"prefix\":\"/\",\"host\":\"API.example.com\"},{\"prefix\":\"/\",\"host\":\"*.example.com\"},"
                        "{\"prefix\":\"/\",\"host\":\"*.eu.example.com\"},{\"prefix\":\"/any\"},"
                        "{\"path\":\"/only\",\"host\":\"*.example.com\"}]");

        ASSERT_STREQ(match_full(t, "GET", "api.EXAMPLE.com:3000", "/x", ""), "api.example.com/");
        ASSERT_STREQ(match_full(t, "GET", "api.example.com.", "/x", ""), "api.example.com/");
        ASSERT_STREQ(match_full(t, "GET", "a.b.example.com", "/x", ""), "*.example.com/");
        ASSERT_STREQ(match_full(t, "GET", "a.eu.example.com", "/x", ""), "*.eu.example.com/");
        ASSERT_STREQ(match_full(t, "GET", "example.com", "/x", ""), "path");
        ASSERT_STREQ(match_full(t, "GET", "[::1]:80", "/any/x", ""), "/any");
        ASSERT_STREQ(match_full(t, "GET", "notexample.com", "/any", ""), "/any");
        ASSERT_STREQ(match_full(t, "GET", "b.example.com", "/only", ""), "*.example.com=/only");
        ASSERT_STREQ(match_full(t, "GET", "api.example.com", "/only", ""), "api.example.com/");
}

TEST(methods_and_fields_choose_and_say_what_was_missing) {
        _cleanup_(route_table_unrefp) RouteTable *t = table(
                        "[{\"path\":\"/a\",\"methods\":[\"GET\"]},{\"path\":\"/a\",\"methods\":[\"PUT\",\"DELETE\"]},"
                        "{\"path\":\"/a\",\"methods\":[\"GET\"],\"headers\":{\"X-Canary\":\"1\"}},"
                        "{\"path\":\"/b\",\"headers\":{\"X-Any\":true}}]");
        char buffer[4096], allow[256];
        MamHttpHead head;

        ASSERT_STREQ(match_full(t, "HEAD", "a", "/a", ""), "GET =/a");
        ASSERT_STREQ(match_full(t, "DELETE", "a", "/a", "X-Canary: 1\r\n"), "PUT,DELETE =/a");
        ASSERT_STREQ(match_full(t, "GET", "a", "/a", "x-canary: 1\r\n"), "GET =/a X-Canary=1");
        ASSERT_STREQ(match_full(t, "GET", "a", "/a", "x-canary: 2\r\nx-canary: 1\r\n"),
                     "GET =/a X-Canary=1");
        ASSERT_STREQ(match_full(t, "GET", "a", "/a", "x-canary: 2\r\n"), "GET =/a");
        ASSERT_STREQ(match_full(t, "POST", "a", "/a", ""), "method");
        ASSERT_STREQ(match_full(t, "GET", "a", "/b", ""), "fields");
        ASSERT_STREQ(match_full(t, "GET", "a", "/b", "x-any:\r\n"), "=/b X-Any");

        parse(&head, buffer, "POST", "a", "/a", "");
        route_table_allow(t, &head, allow);
        ASSERT_STREQ(allow, "GET, PUT, DELETE");
}

TEST(versions_are_asked_for_in_accept) {
        _cleanup_(route_table_unrefp) RouteTable *both =
                        table("[{\"prefix\":\"/a\",\"version\":2},{\"prefix\":\"/a\",\"version\":1}]");
        _cleanup_(route_table_unrefp) RouteTable *other =
                        table("[{\"prefix\":\"/a\",\"version\":2},\"/a\"]");

        ASSERT_STREQ(match(both, "/a"), "/a v1");
        ASSERT_STREQ(match_full(both, "GET", "a", "/a", "Accept: application/json; version=2\r\n"), "/a v2");
        ASSERT_STREQ(match_full(both,
                                "GET",
                                "a",
                                "/a",
                                "Accept: text/html;q=1 , application/json ;q=0.5;Version=\"2\"\r\n"),
                     "/a v2");
        ASSERT_STREQ(match_full(both, "GET", "a", "/a", "Accept: application/vnd.mam.project.v2+json\r\n"),
                     "/a v2");
        ASSERT_STREQ(match_full(both, "GET", "a", "/a", "Accept: application/json;version=3\r\n"),
                     "version");
        ASSERT_STREQ(match_full(other, "GET", "a", "/a", "Accept: application/json;version=3\r\n"), "/a");
        ASSERT_STREQ(match(other, "/a"), "/a");
        ASSERT_STREQ(match_full(both,
                                "GET",
                                "a",
                                "/a",
                                "Accept: a/b;version=99999999999, c/d;version=x, e/f;version=\r\n"),
                     "/a v1");
}

TEST(an_encoded_character_is_the_same_as_itself) {
        _cleanup_(route_table_unrefp) RouteTable *t = table("[\"/admin\",\"/\",{\"path\":\"/x/{id}\"}]");

        ASSERT_STREQ(match(t, "/%61dmin"), "/admin");
        ASSERT_STREQ(match(t, "/%61%64%6D%69n/x"), "/admin");
        ASSERT_STREQ(match(t, "/%61dmin%2fx"), "/"); /* which the gateway refuses before */
        ASSERT_STREQ(match(t, "/x/%41"), "=/x/{id}");
}

static const struct {
        const char *path;
        RoutePath expected;
} paths[] = {
        { "/", ROUTE_PATH_PLAIN },
        { "*", ROUTE_PATH_PLAIN },
        { "", ROUTE_PATH_PLAIN },
        { "/a.b", ROUTE_PATH_PLAIN },
        { "/.well-known/x", ROUTE_PATH_PLAIN },
        { "/a/...", ROUTE_PATH_PLAIN },
        { "/a/..b", ROUTE_PATH_PLAIN },
        { "/a/%2e%2e%2e", ROUTE_PATH_PLAIN },
        { "/a/.%2eb", ROUTE_PATH_PLAIN },
        { "/a/", ROUTE_PATH_PLAIN },
        { "/a%20b", ROUTE_PATH_PLAIN },
        { "/..", ROUTE_PATH_DOTS },
        { "/.", ROUTE_PATH_DOTS },
        { "/a/../b", ROUTE_PATH_DOTS },
        { "/a/./b", ROUTE_PATH_DOTS },
        { "/a/..", ROUTE_PATH_DOTS },
        { "/a/%2e%2e/b", ROUTE_PATH_DOTS },
        { "/a/.%2E", ROUTE_PATH_DOTS },
        { "/a/%2e", ROUTE_PATH_DOTS },
        { "/a%2f..%2fb", ROUTE_PATH_DOTS },
        { "/a%2F%2e%2e", ROUTE_PATH_DOTS },
        { "/a/..%2fb", ROUTE_PATH_DOTS },
        { "/a/..;x/b", ROUTE_PATH_DOTS },
        { "/a%5c..", ROUTE_PATH_DOTS },
        { "/a/..%5Cb", ROUTE_PATH_DOTS },
        { "/a\\b", ROUTE_PATH_BACKSLASH },
        { "//a", ROUTE_PATH_EMPTY_SEGMENT },
        { "/a//", ROUTE_PATH_EMPTY_SEGMENT },
        { "/a%2Fb", ROUTE_PATH_ENCODED_SLASH },
        { "/a%5cb", ROUTE_PATH_ENCODED_SLASH },
        { "/a%", ROUTE_PATH_BAD_ENCODING },
        { "/a%4", ROUTE_PATH_BAD_ENCODING },
        { "/a%4g", ROUTE_PATH_BAD_ENCODING },
        { "/a%00", ROUTE_PATH_BAD_ENCODING },
};

TEST(paths_that_may_mean_another_place_are_found_in_every_spelling) {
        for (size_t i = 0; i < MAM_ELEMENTSOF(paths); i++)
                if (route_path_check(paths[i].path, strlen(paths[i].path)) != paths[i].expected)
                        mam_test_fail(__FILE__, __LINE__, paths[i].path, (long long) i);
}

static const struct {
        const char *route, *target, *expected;
} targets[] = {
        { "{\"prefix\":\"/a\"}", "/a/b?c=/d", "/a/b?c=/d" },
        { "{\"prefix\":\"/a\"}", "http://localhost/a?", "/a?" },
        { "{\"prefix\":\"/a\",\"rewrite\":\"/\"}", "/a", "/" },
        { "{\"prefix\":\"/a\",\"rewrite\":\"/\"}", "/a/", "/" },
        { "{\"prefix\":\"/a\",\"rewrite\":\"/\"}", "/a/b/c/?x", "/b/c/?x" },
        { "{\"prefix\":\"/a/b\",\"rewrite\":\"/v2/x\"}", "/a/b", "/v2/x" },
        { "{\"prefix\":\"/a/b\",\"rewrite\":\"/v2/x\"}", "/a/b/", "/v2/x/" },
        { "{\"prefix\":\"/a/b\",\"rewrite\":\"/v2/x\"}", "/a/b/c%2Ad", "/v2/x/c%2Ad" },
        { "{\"prefix\":\"/\",\"rewrite\":\"/v2\"}", "/c", "/v2/c" },
        { "{\"prefix\":\"/o/{org}/p\",\"rewrite\":\"/p/{org}\"}", "/o/7/p/x", "/p/7/x" },
        { "{\"path\":\"/u/{id}/f/{rest...}\",\"rewrite\":\"/files/{id}/{rest...}\"}",
          "/u/7/f/a/b?q",
          "/files/7/a/b?q" },
        { "{\"path\":\"/u/{id}/f/{rest...}\",\"rewrite\":\"/files/{rest...}\"}", "/u/7/f/", "/files/" },
        { "{\"path\":\"/u/{id}/{name}\",\"rewrite\":\"/{name}/{id}\"}", "/u/a%20b/c", "/c/a%20b" },
        { "{\"path\":\"/u\",\"rewrite\":\"/v\"}", "/u?", "/v?" },
};

TEST(targets_are_rewritten_as_the_template_says) {
        for (size_t i = 0; i < MAM_ELEMENTSOF(targets); i++) {
                _cleanup_(route_table_unrefp) RouteTable *t = NULL;
                _cleanup_(mam_freep) char *list = NULL;
                char buffer[4096], target[256];
                MamHttpHead head;
                const Route *r;

                ASSERT_TRUE(asprintf(&list, "[%s]", targets[i].route) > 0);
                t = table(list);
                parse(&head, buffer, "GET", "localhost", targets[i].target, "");
                r = route_table_match(t, &head, NULL);
                ASSERT_TRUE(r);
                ASSERT_EQ(route_target(r, &head, target, sizeof(target)),
                          (ssize_t) strlen(targets[i].expected));
                ASSERT_STREQ(target, targets[i].expected);
                ASSERT_EQ(route_target(r, &head, target, strlen(targets[i].expected)), -EMSGSIZE);
        }
}

TEST(shares_are_exact_and_evenly_spread) {
        uint32_t credit = 0;
        unsigned n = 0, last = 0;

        for (unsigned i = 1; i <= 1000; i++)
                if (route_share(&credit, 25000)) {
                        ASSERT_EQ(i - last, 40);
                        last = i;
                        n++;
                }
        ASSERT_EQ(n, 25);
        credit = 0;
        ASSERT_TRUE(!route_share(&credit, 0));
        ASSERT_TRUE(route_share(&credit, MAM_PPM));
}

TEST(the_next_table_keeps_what_was_counted) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *c = NULL;
        _cleanup_(route_table_unrefp) RouteTable *old = table("[\"/a\",\"/b\"]"), *new = NULL;
        static const char text[] = "{\"services\":{\"s\":{\"routes\":[\"/b\",\"/c\"]}}}";

        route_count(route_table_find(old, "/b"), 200, 5, 7);
        route_count(route_table_find(old, "/b"), 503, 5, 7);
        route_count(route_table_find(old, "/b"), 404, 5, 7);
        route_count(route_table_find(old, "/b"), 499, 5, 7);
        ASSERT_OK(mam_gateway_config_parse(&c, text, sizeof(text) - 1, NULL));
        ASSERT_OK(route_table_new(&new, c));
        for (size_t i = 0; i < 2; i++)
                ASSERT_OK(
                                route_table_add(new,
                                                &c->services[0].routes->routes[i],
                                                "s",
                                                NULL,
                                                NULL,
                                                old,
                                                NULL));
        old = route_table_unref(old);
        ASSERT_EQ(route_table_find(new, "/b")->state->requests, 4);
        ASSERT_EQ(route_table_find(new, "/b")->state->errors, 1);
        ASSERT_EQ(route_table_find(new, "/b")->state->refused, 1);
        ASSERT_EQ(route_table_find(new, "/b")->state->bytes, 28);
        ASSERT_EQ(route_table_find(new, "/c")->state->requests, 0);
        ASSERT_TRUE(!route_table_find(new, "/a"));
}

/*
 * The tree against the definition: all routes are compared with each other, segment by segment
 */

typedef struct Split {
        char text[512];
        const char *segments[64];
        size_t n;
} Split;

static void split(Split *s, const char *path) {
        (void) snprintf(s->text, sizeof(s->text), "%s", path);
        s->n = 0;
        for (char *p = s->text; *p;) {
                *p++ = '\0';
                s->segments[s->n++] = p;
                p += strcspn(p, "/");
        }
}

static bool is_rest(const char *segment) {
        return segment[0] == '{' && strstr(segment, "...}");
}

static bool naive_path(const MamRouteConfig *c, const Split *p) {
        Split t;

        split(&t, c->path);
        for (size_t i = 0; i < t.n; i++) {
                if (i >= p->n)
                        return false;
                if (is_rest(t.segments[i]))
                        return true;
                if (t.segments[i][0] == '{' ? p->segments[i][0] == '\0'
                                            : strcmp(t.segments[i], p->segments[i]) != 0)
                        return false;
        }
        return c->is_prefix || p->n == t.n;
}

/* 0: text, 1: {param}, 2: ends and so does the path, 3: {rest...}, 4: a prefix ends */
static int naive_kind(const MamRouteConfig *c, const Split *t, size_t i) {
        if (i >= t->n)
                return c->is_prefix ? 4 : 2;
        return is_rest(t->segments[i]) ? 3 : t->segments[i][0] == '{' ? 1 : 0;
}

/* Both match the path: whether a is more specific. */
static bool naive_before(const MamRouteConfig *a, const MamRouteConfig *b) {
        Split x, y;

        split(&x, a->path);
        split(&y, b->path);
        for (size_t i = 0; i <= x.n || i <= y.n; i++) {
                int ka = naive_kind(a, &x, i), kb = naive_kind(b, &y, i);

                if (ka != kb)
                        return ka < kb;
                if (ka >= 2)
                        break;
        }
        return a->methods && !b->methods;
}

static const char *naive_match(const RouteTable *t, const char *method, const char *path) {
        const MamRouteConfig *best = NULL;
        Split p;

        split(&p, path);
        for (size_t i = 0; i < route_table_size(t); i++) {
                const MamRouteConfig *c = route_table_get(t, i)->config;

                if (naive_path(c, &p) && (!c->methods || strcmp(c->methods[0], method) == 0) &&
                    (!best || naive_before(c, best)))
                        best = c;
        }
        return best ? best->label : "none";
}

static uint64_t seed;

static unsigned draw(unsigned n) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        return (unsigned) (seed >> 33) % n;
}

static void draw_path(char ret[static 128], bool template, bool prefix) {
        static const char *const words[] = { "a", "b", "c", "" };
        unsigned n = 1 + draw(5);

        ret[0] = '\0';
        for (unsigned i = 0; i < n; i++) {
                unsigned kind = draw(6);
                size_t at = strlen(ret);

                if (template && kind < 2)
                        (void) snprintf(ret + at, 128 - at, "/{p%u}", i);
                else if (template && !prefix && i + 1 == n && kind == 2)
                        (void) snprintf(ret + at, 128 - at, "/{rest...}");
                else
                        (void) snprintf(ret + at,
                                        128 - at,
                                        "/%s",
                                        words[draw(!template && i + 1 == n ? 4 : 3)]);
        }
}

/* {a} is {b}; "PUT" only, or all methods. */
static bool naive_conflict(const MamRouteConfig *a, const MamRouteConfig *b) {
        Split x, y;

        split(&x, a->path);
        split(&y, b->path);
        if (x.n != y.n || a->is_prefix != b->is_prefix || !a->methods != !b->methods)
                return false;
        for (size_t i = 0; i < x.n; i++)
                if (naive_kind(a, &x, i) != naive_kind(b, &y, i) ||
                    (naive_kind(a, &x, i) == 0 && strcmp(x.segments[i], y.segments[i]) != 0))
                        return false;
        return true;
}

/* Each route in a service of its own, as those of one are compared when they are read. */
static MamGatewayConfig *draw_services(unsigned n) {
        _cleanup_(mam_freep) char *problem = NULL;
        char text[16384] = "{\"services\":{", path[128];
        MamGatewayConfig *c = NULL;

        for (unsigned i = 0; i < n; i++) {
                bool prefix = draw(3) == 0;
                size_t at = strlen(text);

                draw_path(path, true, prefix);
                (void) snprintf(text + at,
                                sizeof(text) - at,
                                "%s\"s%u\":{\"routes\":[{\"%s\":\"%s\"%s}]}",
                                i > 0 ? "," : "",
                                i,
                                prefix ? "prefix" : "path",
                                path,
                                draw(3) == 0 ? ",\"methods\":[\"PUT\"]" : "");
        }
        (void) strcat(text, "}}");
        if (mam_gateway_config_parse(&c, text, strlen(text), &problem) < 0)
                (void) fprintf(stderr, "# %s\n", problem ? problem : "?");
        ASSERT_TRUE(c);
        return c;
}

static void add_all(RouteTable *t, const MamGatewayConfig *c) {
        for (size_t i = 0; i < c->n_services; i++) {
                const MamRouteConfig *route = &c->services[i].routes->routes[0];
                const Route *other = NULL;
                bool conflict = false;

                for (size_t j = 0; j < route_table_size(t); j++)
                        conflict |= naive_conflict(route_table_get(t, j)->config, route);
                ASSERT_EQ(route_table_add(t, route, c->services[i].id, NULL, NULL, NULL, &other),
                          conflict ? -EEXIST : 0);
                ASSERT_EQ(other != NULL, conflict);
        }
}

TEST(the_tree_says_what_comparing_all_routes_says) {
        static const char *const methods[] = { "GET", "PUT", "POST" };
        unsigned hits = 0;

        for (unsigned round = 0; round < 60; round++) {
                _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *c = NULL;
                _cleanup_(route_table_unrefp) RouteTable *t = NULL;

                seed = round + 1;
                c = draw_services(1 + draw(MAM_CONFIG_SERVICES_MAX - 1));
                ASSERT_OK(route_table_new(&t, c));
                add_all(t, c);
                for (unsigned i = 0; i < 300; i++) {
                        const char *method = methods[draw(3)];
                        char buffer[4096], path[128];
                        const Route *r;
                        MamHttpHead head;

                        draw_path(path, false, false);
                        parse(&head, buffer, method, "h", path, "");
                        r = route_table_match(t, &head, NULL);
                        ASSERT_STREQ(r ? r->config->label : "none", naive_match(t, method, path));
                        hits += r != NULL;
                }
        }
        ASSERT_TRUE(hits > 1000);
}

TEST(there_is_room_for_thousands_and_no_more) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *c = NULL;
        _cleanup_(route_table_unrefp) RouteTable *t = NULL;
        static MamRouteConfig configs[ROUTES_MAX + 1];
        static char names[ROUTES_MAX + 1][48];

        ASSERT_OK(mam_gateway_config_new(&c));
        ASSERT_OK(route_table_new(&t, c));
        for (unsigned i = 0; i <= ROUTES_MAX; i++) {
                (void) snprintf(names[i], sizeof(names[i]), "/api/v%u/things%u/{id}", i % 7, i);
                configs[i] = (MamRouteConfig){ .path = names[i], .label = names[i], .retries = -1 };
                ASSERT_EQ(route_table_add(t, &configs[i], "s", NULL, NULL, NULL, NULL),
                          i < ROUTES_MAX ? 0 : -EDQUOT);
        }
        for (unsigned i = 0; i < ROUTES_MAX; i += 97)
                ASSERT_STREQ(match(t, names[i]), names[i]);
        ASSERT_STREQ(match(t, "/api/v1/things0/x"), "path");
}

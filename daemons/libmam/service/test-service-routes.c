/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "libmam/service/service-internal.h"
#include "libmam/util/test.h"

static int handler(MamHttpExchange *x, void *userdata) {
        return 0;
}

static const MamRoute routes[] = {
        { .method = "GET", .path = "/", .handler = handler },
        { .method = "GET", .path = "/a", .handler = handler },
        { .method = "POST", .path = "/a", .handler = handler },
        { .method = "GET", .path = "/a/{x}", .handler = handler },
        { .method = "PATCH", .path = "/a/{x}", .handler = handler },
        { .method = "GET", .path = "/a/special", .handler = handler },
        { .method = "GET", .path = "/a/{x}/b/{y}", .handler = handler },
        { .method = "DELETE", .path = "/{any}/last", .handler = handler },
        { 0 },
};

static MamRouter *router(void) {
        const MamRoute *const tables[] = { routes, NULL };
        MamRouter *r = NULL;

        ASSERT_OK(mam_router_new(&r, tables, MAM_ELEMENTSOF(tables)));
        return r;
}

/* Matches and says "RESULT PATTERN allow name=value…" in one string. */
static const char *match(const char *method, const char *path) {
        static const char *const results[] = { "found", "no-path", "no-method", "options", "bad" };
        _cleanup_(mam_router_freep) MamRouter *r = router();
        static char text[1024];
        MamRouteMatch m;
        int result;

        result = mam_router_match(r, method, path, &m);
        ASSERT_OK(result);
        ASSERT_EQ(!!m.route, result == MAM_ROUTER_FOUND);
        snprintf(text, sizeof(text), "%s %s %s", results[result], m.pattern ? m.pattern : "-", m.allow);
        for (size_t i = 0; i < m.n_parameters; i++)
                snprintf(text + strlen(text),
                         sizeof(text) - strlen(text),
                         " %s=%s",
                         m.parameters[i].name,
                         m.parameters[i].value);
        mam_route_match_done(&m);
        return text;
}

TEST(literals_and_parameters) {
        ASSERT_STREQ(match("GET", "/"), "found / ");
        ASSERT_STREQ(match("GET", "/a"), "found /a ");
        ASSERT_STREQ(match("POST", "/a"), "found /a ");
        ASSERT_STREQ(match("GET", "/a/7"), "found /a/{x}  x=7");
        ASSERT_STREQ(match("GET", "/a/7/b/8"), "found /a/{x}/b/{y}  x=7 y=8");
}

TEST(paths_outside_the_table) {
        ASSERT_STREQ(match("GET", "/b"), "no-path - ");
        ASSERT_STREQ(match("GET", "/a/"), "no-path - ");
        ASSERT_STREQ(match("GET", "//a"), "no-path - ");
        ASSERT_STREQ(match("GET", "/a//b/8"), "no-path - ");
        ASSERT_STREQ(match("GET", "/A"), "no-path - ");
        ASSERT_STREQ(match("GET", "*"), "no-path - ");
        ASSERT_STREQ(match("GET", ""), "no-path - ");
        ASSERT_STREQ(match("GET", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18"), "no-path - ");
}

TEST(the_more_literal_template_wins) {
        ASSERT_STREQ(match("GET", "/a/special"), "found /a/special ");
        ASSERT_STREQ(match("PATCH", "/a/special"), "no-method /a/special GET, HEAD, OPTIONS");
        ASSERT_STREQ(match("DELETE", "/b/last"), "found /{any}/last  any=b");
        ASSERT_STREQ(match("DELETE", "/a/last"), "no-method /a/{x} GET, HEAD, PATCH, OPTIONS");
}

TEST(methods) {
        ASSERT_STREQ(match("HEAD", "/a"), "found /a ");
        ASSERT_STREQ(match("PUT", "/a"), "no-method /a GET, HEAD, POST, OPTIONS");
        ASSERT_STREQ(match("get", "/a"), "no-method /a GET, HEAD, POST, OPTIONS");
        ASSERT_STREQ(match("OPTIONS", "/a/7"), "options /a/{x} GET, HEAD, PATCH, OPTIONS");
        ASSERT_STREQ(match("HEAD", "/b/last"), "no-method /{any}/last DELETE, OPTIONS");
}

TEST(percent_encoding_is_decoded_within_its_segment) {
        ASSERT_STREQ(match("GET", "/%61/7"), "found /a/{x}  x=7");
        ASSERT_STREQ(match("GET", "/a/x%2Fb%2F8"), "found /a/{x}  x=x/b/8");
        ASSERT_STREQ(match("GET", "/a/%7Bx%7D"), "found /a/{x}  x={x}");
        ASSERT_STREQ(match("GET", "/a/p+q%20r"), "found /a/{x}  x=p+q r");
        ASSERT_STREQ(match("GET", "/a/.."), "found /a/{x}  x=..");
        ASSERT_STREQ(match("GET", "/a/%"), "bad - ");
        ASSERT_STREQ(match("GET", "/a/%4"), "bad - ");
        ASSERT_STREQ(match("GET", "/a/%zz"), "bad - ");
        ASSERT_STREQ(match("GET", "/a/%00"), "bad - ");
        ASSERT_STREQ(match("GET", "/%/nowhere"), "bad - ");
}

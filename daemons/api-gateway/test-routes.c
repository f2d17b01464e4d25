/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The table of routes
 */

#include <string.h>

#include "api-gateway/routes.h"
#include "libmam/util/test.h"

static const char *service_of(const RouteTable *t, const char *path) {
        const Route *r = route_table_match(t, path, strlen(path));

        return r ? r->service : "none";
}

TEST(the_longest_prefix_wins_at_segment_ends) {
        _cleanup_(route_table_freep) RouteTable *t = NULL;

        ASSERT_OK(route_table_new(&t));
        ASSERT_OK(route_table_add(t, "/api/v1/projects", "a", NULL));
        ASSERT_OK(route_table_add(t, "/api/v1/projects/stats/", "b", NULL));
        ASSERT_OK(route_table_add(t, "/api/v1", "c", NULL));
        ASSERT_EQ(route_table_size(t), 3);

        ASSERT_STREQ(service_of(t, "/api/v1/projects"), "a");
        ASSERT_STREQ(service_of(t, "/api/v1/projects/"), "a");
        ASSERT_STREQ(service_of(t, "/api/v1/projects/1"), "a");
        ASSERT_STREQ(service_of(t, "/api/v1/projects/stats"), "b");
        ASSERT_STREQ(service_of(t, "/api/v1/projects/stats/x"), "b");
        ASSERT_STREQ(service_of(t, "/api/v1/projects/statsx"), "a");
        ASSERT_STREQ(service_of(t, "/api/v1/projects-old"), "c");
        ASSERT_STREQ(service_of(t, "/api/v1"), "c");
        ASSERT_STREQ(service_of(t, "/api/v10"), "none");
        ASSERT_STREQ(service_of(t, "/"), "none");
        ASSERT_STREQ(service_of(t, "*"), "none");
        ASSERT_STREQ(service_of(t, ""), "none");

        ASSERT_OK(route_table_add(t, "/", "all", NULL));
        ASSERT_STREQ(service_of(t, "/"), "all");
        ASSERT_STREQ(service_of(t, "/x"), "all");
        ASSERT_STREQ(service_of(t, "*"), "none");
}

TEST(bad_prefixes_are_refused) {
        static const char *const bad[] = { "",      "api",     "/a b", "/a?b",      "/a#b", "/a%20",
                                           "/a//b", "/a/../b", "/a/.", "/\xc3\xa4", "/a\n" };
        _cleanup_(route_table_freep) RouteTable *t = NULL;
        char name[32];

        ASSERT_OK(route_table_new(&t));
        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++)
                ASSERT_EQ(route_table_add(t, bad[i], "a", NULL), -EINVAL);
        ASSERT_OK(route_table_add(t, "/a", "a", NULL));
        ASSERT_EQ(route_table_add(t, "/a/", "b", NULL), -EEXIST);
        for (unsigned i = 1; i < ROUTES_MAX; i++) {
                (void) snprintf(name, sizeof(name), "/r%u", i);
                ASSERT_OK(route_table_add(t, name, "a", NULL));
        }
        ASSERT_EQ(route_table_add(t, "/more", "a", NULL), -EDQUOT);
}

TEST(dot_segments_are_found_in_every_spelling) {
        static const char *const plain[] = { "/",        "/a.b",   "/.well-known/x",
                                             "/a/...",   "/a/..b", "/a/%2e%2e%2e",
                                             "/a/.%2eb", "*",      "" };
        static const char *const dotted[] = {
                "/..",         "/.",        "/a/../b",   "/a/./b",      "/a/..",
                "/a/%2e%2e/b", "/a/.%2E",   "/a/%2e",    "/a%2f..%2fb", "/a%2F%2e%2e",
                "/a/..%2fb",   "/a\\..\\b", "/a/..;x/b", "/a%5c..",     "/a/..%5Cb",
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(plain); i++)
                ASSERT_TRUE(route_path_is_plain(plain[i], strlen(plain[i])));
        for (size_t i = 0; i < MAM_ELEMENTSOF(dotted); i++)
                ASSERT_TRUE(!route_path_is_plain(dotted[i], strlen(dotted[i])));
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Labels and queries, as the database understands them
 */

#include <stdio.h>
#include <stdlib.h>

#include "project-manager/test-project.h"

TEST(labels_are_a_set_of_short_texts) {
        _cleanup_(answer_freep) Answer *made = NULL, *cleared = NULL, *wrong = NULL;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "LA");
        made = call(&f,
                    "POST",
                    PROJECTS "/LA/tasks",
                    "",
                    "{\"title\":\"x\",\"labels\":[\"a \\\"b\\\" \\\\ {c}\",\"release\"]}");
        CHECK(made, 201);
        ASSERT_STREQ(answer_string(made, "labels"), "[ \"a \\\"b\\\" \\\\ {c}\", \"release\" ]");
        cleared = call(&f, "PATCH", PROJECTS "/LA/tasks/LA-1", "If-Match: *\r\n", "{\"labels\":null}");
        CHECK(cleared, 200);
        ASSERT_STREQ(answer_string(cleared, "labels"), "[ ]");
        wrong = call(&f,
                     "POST",
                     PROJECTS "/LA/tasks",
                     "",
                     "{\"title\":\"x\",\"labels\":[\"a\",1,\"\",\"b\",\"a\"]}");
        CHECK(wrong, 422);
        ASSERT_TRUE(strstr(wrong->text, "must hold strings only"));
        ASSERT_TRUE(strstr(wrong->text, "element 3 must have 1 to 64 characters"));
        ASSERT_TRUE(strstr(wrong->text, "element 5 is there twice"));
        ASSERT_EQ(call_status(&f, "POST", PROJECTS "/LA/tasks", "", "{\"title\":\"x\",\"labels\":\"a\"}"),
                  422);
        fixture_teardown(&f);
}

/* Tasks that a query finds, among those that the test below makes. */
static size_t count_found(Fixture *f, const char *query) {
        char path[2048] = PROJECTS "/QU/tasks?query=";
        size_t n = strlen(path);

        for (; *query; query++)
                n += (size_t) snprintf(path + n, sizeof(path) - n, "%%%02x", (unsigned char) *query);
        return count_items(f, path);
}

TEST(a_query_finds_what_it_says) {
        static const char *const tasks[] = {
                "{\"title\":\"Rolling back a release\",\"labels\":[\"release\"],\"assignee\":\"erin\",\"due\":\"2026-02-28\"}",
                "{\"title\":\"The gateway drops headers\",\"priority\":\"urgent\",\"due\":\"2026-03-01\",\"labels\":[\"bug\",\"release\"]}",
                "{\"title\":\"Write the manual\",\"description\":\"About the gateway's headers\",\"status\":\"in_progress\"}",
                "{\"title\":\"Paint it blue\",\"status\":\"done\",\"priority\":\"low\",\"assignee\":\"ann\"}",
        };
        static const struct {
                const char *query;
                size_t n;
        } cases[] = {
                { "", 4 },
                { "status:open", 3 },
                { "status:open -label:bug", 2 },
                { "assignee:me", 1 },
                { "assignee:none", 2 },
                { "-assignee:ann", 3 },
                { "assignee!=ann", 3 },
                { "due<2026-03-01", 1 },
                { "due<=2026-03-01", 2 },
                { "due>2026-02-28", 1 },
                { "due:2026-02-01..2026-02-28", 1 },
                { "label:release,bug", 2 },
                { "label:release label:bug", 1 },
                { "label:\"release\" OR status:done", 3 },
                { "priority>normal", 1 },
                { "priority<=normal", 3 },
                { "headers", 2 },
                { "header gateway", 2 },
                { "\"gateway drops\"", 1 },
                { "manua*", 1 },
                { "the", 4 }, /* says nothing */
                { "-headers", 2 },
                { "(blue OR manual) -status:done", 1 },
                { "author:me", 4 },
                { "created:today OR created:yesterday", 4 },
                { "updated>tomorrow", 0 },
                { "number:2..3", 2 },
                { "\"'; DROP TABLE tasks; --\"", 0 },
        };
        _cleanup_(answer_freep) Answer *wrong = NULL;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "QU");
        for (size_t i = 0; i < MAM_ELEMENTSOF(tasks); i++)
                ASSERT_EQ(call_status(&f, "POST", PROJECTS "/QU/tasks", "", tasks[i]), 201);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                printf("# %s\n", cases[i].query);
                ASSERT_EQ(count_found(&f, cases[i].query), cases[i].n);
        }

        wrong = call(&f, "GET", PROJECTS "/QU/tasks?query=due:2026-02..", "", NULL);
        CHECK(wrong, 400);
        ASSERT_TRUE(strstr(wrong->text, "at character 5: due: \\\"2026-02\\\" is not a date"));
        fixture_teardown(&f);
}

/* Only where the database has the extension; what finds words with typos in titles. */
TEST(words_with_typos_are_found_where_the_database_can) {
        char command[512];
        Fixture f;

        need_cluster();
        snprintf(command,
                 sizeof(command),
                 "%s/psql -h %s -U postgres -d postgres -qc 'CREATE SCHEMA IF NOT EXISTS extensions; "
                 "CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA extensions' >/dev/null 2>&1",
                 mam_test_postgres_bin(),
                 cluster.folder);
        if (system(command) != 0)
                mam_test_skip("this PostgreSQL comes without pg_trgm");
        fixture_setup(&f);
        make_project(&f, "QU");
        ASSERT_EQ(call_status(&f, "POST", PROJECTS "/QU/tasks", "", "{\"title\":\"Upgrade the scheduler\"}"),
                  201);
        ASSERT_EQ(call_status(&f, "POST", PROJECTS "/QU/tasks", "", "{\"title\":\"Something else\"}"), 201);
        ASSERT_EQ(count_found(&f, "schedular"), 1);
        ASSERT_EQ(count_found(&f, "-schedular"), 1);
        fixture_teardown(&f);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Every change is an event, in the outbox of the event bus, which its own migrations make here
 */

#include <stdio.h>
#include <stdlib.h>

#include "project-manager/test-project.h"

/* The first line that psql prints; fails the test if it cannot be asked. */
static const char *ask(const char *sql) {
        static char line[8192];
        _cleanup_(mam_freep) char *command = NULL;
        FILE *pipe;

        ASSERT_TRUE(asprintf(&command,
                             "PGOPTIONS='-c client_min_messages=error' %s/psql -h %s -U postgres -d postgres -v ON_ERROR_STOP=1 -Atqc \"%s\" 2>&1",
                             mam_test_postgres_bin(),
                             cluster.folder,
                             sql) > 0);
        pipe = popen(command, "r");
        ASSERT_TRUE(pipe);
        if (!fgets(line, sizeof(line), pipe))
                *line = '\0';
        line[strcspn(line, "\n")] = '\0';
        if (pclose(pipe) != 0)
                mam_test_fail_string(__FILE__, __LINE__, sql, line);
        return line;
}

static void make_event_bus(void) {
        const char *root = getenv("MAM_SOURCE_ROOT");
        _cleanup_(mam_freep) char *command = NULL;

        (void) ask("DROP SCHEMA IF EXISTS event_bus CASCADE; CREATE SCHEMA event_bus");
        ASSERT_TRUE(asprintf(&command,
                             "cat %s/daemons/event-bus/migrations/*.sql | PGOPTIONS='-c search_path=event_bus' %s/psql -h %s "
                             "-U postgres -d postgres -v ON_ERROR_STOP=1 -q >/dev/null",
                             root,
                             mam_test_postgres_bin(),
                             cluster.folder) > 0);
        ASSERT_EQ(system(command), 0);
}

#define EVENTS "FROM (SELECT number, event::json AS e FROM event_bus.outbox) o"

TEST(each_change_is_an_event_that_says_what_and_who) {
        Fixture f;

        need_cluster();
        make_event_bus();
        fixture_setup(&f);
        make_project(&f, "EV");
        ASSERT_EQ(call_status(&f,
                              "POST",
                              PROJECTS "/EV/tasks",
                              "",
                              "{\"title\":\"one\",\"labels\":[\"a\"]}"),
                  201);
        ASSERT_EQ(call_status(&f,
                              "PATCH",
                              PROJECTS "/EV/tasks/EV-1",
                              "If-Match: *\r\n",
                              "{\"title\":\"two\",\"due\":\"2026-01-01\"}"),
                  200);
        ASSERT_EQ(call_status(&f, "PATCH", PROJECTS "/EV", "If-Match: *\r\n", "{\"name\":\"new\"}"), 200);
        ASSERT_EQ(call_status(&f, "DELETE", PROJECTS "/EV/tasks/EV-1", "If-Match: *\r\n", NULL), 204);
        ASSERT_EQ(call_status(&f, "POST", PROJECTS "/EV/tasks", "", "{\"title\":\"goes with its project\"}"),
                  201);
        ASSERT_EQ(call_status(&f, "DELETE", PROJECTS "/EV", "If-Match: *\r\n", NULL), 204);

        ASSERT_STREQ(ask("SELECT string_agg(concat_ws(' ', e->>'type', e->>'subject', e->>'actor', e->'data'->>'changed'), '; ' "
                         "ORDER BY number) " EVENTS),
                     "mam.project.created EV erin; mam.task.created EV-1 erin; mam.task.updated EV-1 erin [\"due\", \"title\"]; "
                     "mam.project.updated EV erin [\"name\"]; mam.task.deleted EV-1 erin; mam.task.created EV-2 erin; "
                     "mam.project.deleted EV erin");
        ASSERT_STREQ(ask("SELECT string_agg(DISTINCT concat_ws(' ', e->>'source', e->>'partitionkey', e->>'specversion'), ';') " EVENTS),
                     "/api/v1/projects/EV EV 1.0");
        ASSERT_STREQ(ask("SELECT concat_ws(' ', e->'data'->>'key', e->'data'->>'title', e->'data'->>'labels') " EVENTS
                         " ORDER BY number OFFSET 1 LIMIT 1"),
                     "EV-1 one [\"a\"]");
        fixture_teardown(&f);
}

/* Neither without the other: what is refused tells nothing. */
TEST(what_did_not_happen_is_no_event) {
        Fixture f;

        need_cluster();
        make_event_bus();
        fixture_setup(&f);
        make_project(&f, "EV");
        ASSERT_EQ(call_status(&f, "POST", PROJECTS, "", "{\"key\":\"EV\",\"name\":\"again\"}"), 409);
        ASSERT_EQ(call_status(&f, "PATCH", PROJECTS "/EV", "If-Match: \"7\"\r\n", "{\"name\":\"x\"}"), 412);
        ASSERT_EQ(call_status(&f, "POST", PROJECTS "/EV/tasks", "", "{\"title\":\"\"}"), 422);
        ASSERT_STREQ(ask("SELECT count(*) " EVENTS), "1");
        fixture_teardown(&f);
}

/* 65,536 characters of four bytes are more than an event may have. */
TEST(what_is_too_large_for_an_event_goes_without_its_description) {
        _cleanup_(mam_freep) char *body = NULL;
        size_t size;
        FILE *out = open_memstream(&body, &size);
        Fixture f;

        need_cluster();
        make_event_bus();
        ASSERT_TRUE(out);
        fprintf(out, "{\"title\":\"large\",\"description\":\"");
        for (unsigned i = 0; i < 65536; i++)
                fputs("\xf0\x9f\x98\x80", out);
        fprintf(out, "\"}");
        ASSERT_EQ(fclose(out), 0);

        fixture_setup(&f);
        make_project(&f, "EV");
        ASSERT_EQ(call_status(&f, "POST", PROJECTS "/EV/tasks", "", body), 201);
        ASSERT_STREQ(ask("SELECT concat_ws(' ', e->'data'->>'title', e->'data'->>'truncated', length(e->'data'->>'description')) " EVENTS
                         " ORDER BY number DESC LIMIT 1"),
                     "large true");
        fixture_teardown(&f);
}

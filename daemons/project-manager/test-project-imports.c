/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Files of other trackers: what becomes of their rows, and what of an import that was interrupted
 */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "libmam/util/file.h"
#include "project-manager/test-project.h"

#define IMPORT "/imports/01920000-0000-7000-8000-000000000001"
#define CSV    "Content-Type: text/csv\r\n"

static int64_t number_of(const Answer *a, const char *key) {
        json_object *o = NULL;

        ASSERT_TRUE(a->json && json_object_object_get_ex(a->json, key, &o));
        return json_object_get_int64(o);
}

static const char sample[] =
                "Issue key,Summary,Status,Priority,Story Points,Due Date,Labels,Labels,Sprint\r\n"
                "OLD-1,First,Done,Blocker,3,2026-05-01T10:00,a b,c,12\r\n"
                "OLD-2,\"Second, with \"\"quotes\"\"\nand a line\",,,,,,,\r\n"
                "OLD-3,Third,To Do,Medium,0.5,,\"x, y\",x,\r\n"
                "OLD-4,Fourth,Somewhere,,,,,,\r\n"
                "OLD-1,First again,,,,,,,\r\n"
                ",No key,In Progress,,many,31.12.2026,,,\r\n"
                ",Nameless is fine,,,,,,,\r\n";

TEST(rows_become_tasks_and_each_other_says_why) {
        _cleanup_(answer_freep) Answer *import = NULL, *first = NULL, *second = NULL, *third = NULL,
                                       *rows = NULL;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "IM");
        import = call(&f, "PUT", PROJECTS "/IM" IMPORT, CSV, sample);
        CHECK(import, 200);
        ASSERT_STREQ(answer_string(import, "state"), "finished");
        ASSERT_EQ(number_of(import, "rows"), 7);
        ASSERT_EQ(number_of(import, "imported"), 4);
        ASSERT_EQ(number_of(import, "present"), 1);
        ASSERT_EQ(number_of(import, "rejected"), 2);
        ASSERT_TRUE(strstr(import->text, "status: \\\"Somewhere\\\" is not known"));
        ASSERT_TRUE(strstr(import->text, "due: must be a date as 2026-12-31"));
        ASSERT_TRUE(strstr(import->text, "estimate: must be a number"));
        ASSERT_TRUE(strstr(import->text, "\"Sprint\":null"));
        ASSERT_TRUE(strstr(import->text, "\"Story Points\":\"estimate\""));

        first = call(&f, "GET", PROJECTS "/IM/tasks/IM-1", "", NULL);
        CHECK(first, 200);
        ASSERT_STREQ(answer_string(first, "title"), "First");
        ASSERT_STREQ(answer_string(first, "external"), "OLD-1");
        ASSERT_STREQ(answer_string(first, "status"), "done");
        ASSERT_STREQ(answer_string(first, "priority"), "urgent");
        ASSERT_STREQ(answer_string(first, "due"), "2026-05-01");
        ASSERT_STREQ(answer_string(first, "estimate"), "3");
        ASSERT_STREQ(answer_string(first, "labels"), "[ \"a\", \"b\", \"c\" ]");
        second = call(&f, "GET", PROJECTS "/IM/tasks/IM-2", "", NULL);
        CHECK(second, 200);
        ASSERT_STREQ(answer_string(second, "title"), "Second, with \"quotes\" and a line");
        third = call(&f, "GET", PROJECTS "/IM/tasks/IM-3", "", NULL);
        CHECK(third, 200);
        ASSERT_STREQ(answer_string(third, "title"), "Third");
        ASSERT_STREQ(answer_string(third, "estimate"), "0.5");
        ASSERT_STREQ(answer_string(third, "labels"), "[ \"x\", \"y\" ]");

        rows = call(&f, "GET", PROJECTS "/IM" IMPORT "/rows?outcome=imported", "", NULL);
        CHECK(rows, 200);
        ASSERT_TRUE(strstr(rows->text, "\"IM-4\""));
        fixture_teardown(&f);
}

TEST(a_dry_run_tells_the_same_and_changes_nothing) {
        _cleanup_(answer_freep) Answer *dry = NULL;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "IM");
        dry = call(&f, "PUT", PROJECTS "/IM" IMPORT "?dry_run=true", CSV, sample);
        CHECK(dry, 200);
        ASSERT_EQ(number_of(dry, "rows"), 7);
        ASSERT_EQ(number_of(dry, "valid"), 5);
        ASSERT_EQ(number_of(dry, "rejected"), 2);
        ASSERT_EQ(count_items(&f, PROJECTS "/IM/tasks"), 0);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/IM" IMPORT, "", NULL), 404);
        fixture_teardown(&f);
}

TEST(the_same_file_again_changes_nothing_and_a_revert_takes_all_back) {
        _cleanup_(answer_freep) Answer *again = NULL, *other = NULL, *reverted = NULL;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "IM");
        ASSERT_EQ(call_status(&f, "PUT", PROJECTS "/IM" IMPORT, CSV, sample), 200);
        again = call(&f, "PUT", PROJECTS "/IM" IMPORT, CSV, sample);
        CHECK(again, 200);
        ASSERT_EQ(number_of(again, "imported"), 4);
        ASSERT_EQ(count_items(&f, PROJECTS "/IM/tasks"), 4);

        /* another import of the same: what has a key is there */
        other = call(&f,
                     "PUT",
                     PROJECTS "/IM/imports/01920000-0000-7000-8000-000000000002",
                     CSV,
                     "key,title\nOLD-1,x\nOLD-3,x\nOLD-9,New\n");
        CHECK(other, 200);
        ASSERT_EQ(number_of(other, "present"), 2);
        ASSERT_EQ(number_of(other, "imported"), 1);

        /* one that somebody has changed since stays */
        ASSERT_EQ(call_status(&f,
                              "PATCH",
                              PROJECTS "/IM/tasks/IM-2",
                              "If-Match: *\r\n",
                              "{\"title\":\"mine\"}"),
                  200);
        reverted = call(&f, "DELETE", PROJECTS "/IM" IMPORT, "", NULL);
        CHECK(reverted, 200);
        ASSERT_STREQ(answer_string(reverted, "state"), "reverted");
        ASSERT_EQ(number_of(reverted, "tasks"), 1);
        ASSERT_EQ(count_items(&f, PROJECTS "/IM/tasks"), 2);
        ASSERT_EQ(call_status(&f, "PUT", PROJECTS "/IM" IMPORT, CSV, sample), 409);
        fixture_teardown(&f);
}

TEST(what_is_no_import_gets_its_problem) {
        static const struct {
                const char *path, *type, *body, *message;
                int status;
        } cases[] = {
                { "/IM/imports/1", CSV, "title\nx\n", "an import's id is a UUID", 404 },
                { "/NO" IMPORT, CSV, "title\nx\n", "There is no such project", 404 },
                { "/IM" IMPORT,
                  "Content-Type: application/json\r\n",
                  "{}",
                  "The body must be text/csv",
                  415 },
                { "/IM" IMPORT, CSV, "", "The file is empty", 400 },
                { "/IM" IMPORT, CSV, "a,b\n1,2\n", "Line 1: No column is called title", 400 },
                { "/IM" IMPORT, CSV, "title,Summary\n1,2\n", "Two columns may be the title", 400 },
                { "/IM" IMPORT "?column.title=Head",
                  CSV,
                  "title\n1\n",
                  "There is no column \\\"Head\\\"",
                  400 },
                { "/IM" IMPORT "?dry_run=perhaps", CSV, "title\n1\n", "must be true or false", 400 },
        };
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "IM");
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(answer_freep) Answer *a = NULL;
                char path[256];

                snprintf(path, sizeof(path), PROJECTS "%s", cases[i].path);
                a = call(&f, "PUT", path, cases[i].type, cases[i].body);
                CHECK(a, cases[i].status);
                if (!strstr(a->text, cases[i].message))
                        mam_test_fail_string(__FILE__, __LINE__, cases[i].message, a->text);
        }
        ASSERT_EQ(count_items(&f, PROJECTS "/IM/tasks"), 0);
        fixture_teardown(&f);
}

/* A file of so many rows; caller frees. wrong_line: text to put in the place of one row, or 0. */
static char *make_file(unsigned n, unsigned wrong_row) {
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);

        ASSERT_TRUE(out);
        fprintf(out, "key,title\n");
        for (unsigned i = 1; i <= n; i++)
                fprintf(out, i == wrong_row ? "K-%u,a\"b\n" : "K-%u,Task\n", i);
        ASSERT_EQ(fclose(out), 0);
        return text;
}

TEST(a_file_that_breaks_off_goes_on_when_it_is_mended) {
        _cleanup_(mam_freep) char *broken = make_file(1000, 701), *whole = make_file(1000, 0);
        _cleanup_(answer_freep) Answer *wrong = NULL, *mended = NULL;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "IM");
        wrong = call(&f, "PUT", PROJECTS "/IM" IMPORT, CSV, broken);
        CHECK(wrong, 400);
        ASSERT_TRUE(strstr(wrong->text, "Line 702: A quotation mark stands within a field"));
        ASSERT_TRUE(strstr(wrong->text, "The 700 rows before are done"));
        mended = call(&f, "PUT", PROJECTS "/IM" IMPORT, CSV, whole);
        CHECK(mended, 200);
        ASSERT_EQ(number_of(mended, "imported"), 1000);
        ASSERT_EQ(number_of(mended, "rows"), 1000);
        fixture_teardown(&f);
}

/* The replica is killed while the rows come in; another goes on. */
TEST(a_killed_replica_loses_and_doubles_no_row) {
        _cleanup_(mam_freep) char *file = make_file(20000, 0), *request = NULL;
        _cleanup_(answer_freep) Answer *done = NULL;
        Fixture f;
        int fd;

        fixture_setup(&f);
        make_project(&f, "IM");
        for (unsigned round = 1; round <= 3; round++) {
                size_t part = strlen(file) * round / 4, sent = 0;

                ASSERT_TRUE(asprintf(&request,
                                     "PUT " PROJECTS "/IM" IMPORT " HTTP/1.1\r\nHost: test\r\n%s" CSV
                                     "Content-Length: %zu\r\n\r\n",
                                     f.editor,
                                     strlen(file)) > 0);
                fd = client_connect_port(f.w.port);
                ASSERT_OK(fd);
                ASSERT_EQ(write(fd, request, strlen(request)), (ssize_t) strlen(request));
                /* it is read as fast as rows are stored, so most of this part is stored when all of it is
                 * sent */
                while (sent < part) {
                        ssize_t n = write(fd, file + sent, part - sent);

                        ASSERT_TRUE(n > 0);
                        sent += (size_t) n;
                }
                ASSERT_OK(kill(f.pid, SIGKILL));
                (void) world_wait(f.pid);
                close(fd);
                free(request);
                request = NULL;
                f.pid = fixture_start_replica(&f);
                world_expect_notify(&f.w, "READY=1");
        }
        done = call(&f, "PUT", PROJECTS "/IM" IMPORT, CSV, file);
        CHECK(done, 200);
        ASSERT_EQ(number_of(done, "imported"), 20000);
        ASSERT_EQ(number_of(done, "present"), 0);
        ASSERT_EQ(number_of(done, "rejected"), 0);
        fixture_teardown(&f);
}

/* More than one page, and the same filters. */
TEST(an_export_is_the_whole_list_line_by_line) {
        _cleanup_(mam_freep) char *file = make_file(1234, 0);
        _cleanup_(answer_freep) Answer *all = NULL, *some = NULL, *none = NULL;
        size_t n = 0;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "EX");
        ASSERT_EQ(call_status(&f, "PUT", PROJECTS "/EX" IMPORT, CSV, file), 200);
        all = call(&f,
                   "GET",
                   PROJECTS "/EX/tasks?query=number:1..1100",
                   "Accept: application/x-ndjson\r\n",
                   NULL);
        CHECK(all, 200);
        ASSERT_STREQ(answer_field(all, "Content-Type"), "application/x-ndjson");
        for (const char *p = answer_body(all); (p = strstr(p, "\"title\":\"Task\"")); p++)
                n++;
        ASSERT_EQ(n, 1100);
        some = call(&f, "GET", PROJECTS "/EX/tasks?status=done", "Accept: application/x-ndjson\r\n", NULL);
        CHECK(some, 200);
        ASSERT_TRUE(!strstr(some->text, "Task"));
        none = call(&f, "GET", PROJECTS "/NONE/tasks", "Accept: application/x-ndjson\r\n", NULL);
        CHECK(none, 404);
        fixture_teardown(&f);
}

/* Tens of thousands of real issues. */
TEST(real_backlogs_are_imported_completely) {
        static const struct {
                const char *file;
                unsigned rows;
        } backlogs[] = {
                { "aptanastudio", 829 }, { "bamboo", 521 },
                { "clover", 384 },       { "datamanagement", 4667 },
                { "duracloud", 666 },    { "jirasoftware", 352 },
                { "mesos", 1680 },       { "mulestudio", 732 },
                { "springxd", 3526 },    { "talenddataquality", 1381 },
                { "talendesb", 868 },
        };
        const char *data = mam_test_shared_data();
        Fixture f;

        if (!data)
                mam_test_skip("the public data sets are not here");
        fixture_setup(&f);
        for (size_t i = 0; i < MAM_ELEMENTSOF(backlogs); i++) {
                _cleanup_(mam_freep) char *text = NULL;
                _cleanup_(answer_freep) Answer *a = NULL;
                char key[8], path[512];

                snprintf(path, sizeof(path), "%s/backlogs/%s.csv", data, backlogs[i].file);
                ASSERT_OK(mam_file_read(&text, NULL, path, 64U * 1024U * 1024U));
                snprintf(key, sizeof(key), "B%c", (char) ('A' + i));
                make_project(&f, key);
                snprintf(path,
                         sizeof(path),
                         PROJECTS "/%s/imports/01920000-0000-7000-8000-0000000001%02zu",
                         key,
                         i);
                a = call(&f, "PUT", path, CSV, text);
                CHECK(a, 200);
                printf("# %s: %s\n", backlogs[i].file, answer_string(a, "problems"));
                ASSERT_EQ(number_of(a, "rows"), backlogs[i].rows);
                ASSERT_EQ(number_of(a, "imported"), backlogs[i].rows);
        }
        fixture_teardown(&f);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The API from outside: the real daemon, real PostgreSQL, real HTTP, real tokens
 */

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "project-manager/test-project.h"

/* ---- the life of things ---- */

TEST(a_project_from_creation_to_deletion) {
        _cleanup_(answer_freep) Answer *created = NULL, *read = NULL, *by_key = NULL, *changed = NULL,
                                       *gone = NULL;
        char path[128];
        Fixture f;

        fixture_setup(&f);
        created = call(&f,
                       "POST",
                       PROJECTS,
                       "",
                       "{\"key\":\"ALPHA\",\"name\":\"Größe \\u20ac\",\"description\":\"a\\nb\"}");
        CHECK(created, 201);
        ASSERT_STREQ(answer_field(created, "ETag"), "\"1\"");
        snprintf(path, sizeof(path), PROJECTS "/%s", answer_string(created, "id"));
        ASSERT_STREQ(answer_field(created, "Location"), path);
        ASSERT_STREQ(answer_string(created, "key"), "ALPHA");
        ASSERT_STREQ(answer_string(created, "name"), "Größe €");
        ASSERT_STREQ(answer_string(created, "description"), "a\nb");
        ASSERT_STREQ(answer_string(created, "state"), "active");
        ASSERT_STREQ(answer_string(created, "created_by"), "erin");
        ASSERT_STREQ(answer_string(created, "version"), "1");
        ASSERT_EQ(strlen(answer_string(created, "created_at")), strlen("2026-01-02T03:04:05.123456Z"));

        read = call(&f, "GET", path, "", NULL);
        CHECK(read, 200);
        ASSERT_STREQ(answer_body(read), answer_body(created));
        by_key = call(&f, "GET", PROJECTS "/ALPHA", "", NULL);
        CHECK(by_key, 200);
        ASSERT_STREQ(answer_body(by_key), answer_body(created));

        changed = call(&f,
                       "PATCH",
                       path,
                       "If-Match: \"1\"\r\nContent-Type: application/merge-patch+json\r\n",
                       "{\"name\":\"Beta\",\"description\":null,\"state\":\"archived\"}");
        CHECK(changed, 200);
        ASSERT_STREQ(answer_field(changed, "ETag"), "\"2\"");
        ASSERT_STREQ(answer_string(changed, "name"), "Beta");
        ASSERT_STREQ(answer_string(changed, "description"), "");
        ASSERT_STREQ(answer_string(changed, "state"), "archived");
        ASSERT_STREQ(answer_string(changed, "created_at"), answer_string(created, "created_at"));
        ASSERT_TRUE(strcmp(answer_string(changed, "updated_at"), answer_string(created, "updated_at")) > 0);

        ASSERT_EQ(call_status(&f, "DELETE", PROJECTS "/ALPHA", "If-Match: \"2\"\r\n", NULL), 204);
        gone = call(&f, "GET", path, "", NULL);
        CHECK(gone, 404);
        ASSERT_EQ(call_status(&f, "DELETE", path, "If-Match: \"2\"\r\n", NULL), 404);
        fixture_teardown(&f);
}

TEST(a_task_from_creation_to_deletion) {
        _cleanup_(answer_freep) Answer *a = NULL, *b = NULL, *read = NULL, *by_key = NULL, *changed = NULL,
                                       *cleared = NULL;
        char path[192];
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "TASKS");
        make_project(&f, "OTHER");
        a = call(&f,
                 "POST",
                 PROJECTS "/TASKS/tasks",
                 "",
                 "{\"title\":\"first\",\"due\":\"2028-02-29\",\"assignee\":\"ann\"}");
        CHECK(a, 201);
        ASSERT_STREQ(answer_string(a, "key"), "TASKS-1");
        ASSERT_STREQ(answer_string(a, "number"), "1");
        ASSERT_STREQ(answer_string(a, "status"), "todo");
        ASSERT_STREQ(answer_string(a, "priority"), "normal");
        ASSERT_STREQ(answer_string(a, "due"), "2028-02-29");
        ASSERT_STREQ(answer_field(a, "ETag"), "\"1\"");
        snprintf(path, sizeof(path), PROJECTS "/TASKS/tasks/%s", answer_string(a, "id"));
        ASSERT_STREQ(answer_field(a, "Location"), path);
        b = call(&f,
                 "POST",
                 PROJECTS "/TASKS/tasks",
                 "",
                 "{\"title\":\"second\",\"priority\":\"urgent\",\"due\":null}");
        CHECK(b, 201);
        ASSERT_STREQ(answer_string(b, "key"), "TASKS-2");

        read = call(&f, "GET", path, "", NULL);
        CHECK(read, 200);
        by_key = call(&f, "GET", PROJECTS "/TASKS/tasks/TASKS-1", "", NULL);
        CHECK(by_key, 200);
        ASSERT_STREQ(answer_body(by_key), answer_body(read));
        ASSERT_STREQ(answer_body(by_key), answer_body(a));

        /* not under another project, nor under another project's name for it */
        snprintf(path, sizeof(path), PROJECTS "/OTHER/tasks/%s", answer_string(a, "id"));
        ASSERT_EQ(call_status(&f, "GET", path, "", NULL), 404);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/OTHER/tasks/TASKS-1", "", NULL), 404);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/TASKS/tasks/OTHER-1", "", NULL), 404);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/TASKS/tasks/TASKS-3", "", NULL), 404);

        changed = call(&f,
                       "PATCH",
                       PROJECTS "/TASKS/tasks/TASKS-1",
                       "If-Match: \"1\"\r\n",
                       "{\"status\":\"in_progress\"}");
        CHECK(changed, 200);
        ASSERT_STREQ(answer_string(changed, "status"), "in_progress");
        ASSERT_STREQ(answer_string(changed, "assignee"), "ann");
        ASSERT_STREQ(answer_string(changed, "due"), "2028-02-29");
        cleared = call(&f,
                       "PATCH",
                       PROJECTS "/TASKS/tasks/TASKS-1",
                       "If-Match: \"2\"\r\n",
                       "{\"assignee\":null,\"due\":null,\"title\":\"renamed\"}");
        CHECK(cleared, 200);
        ASSERT_STREQ(answer_string(cleared, "assignee"), "(none)");
        ASSERT_STREQ(answer_string(cleared, "due"), "(none)");
        ASSERT_STREQ(answer_string(cleared, "title"), "renamed");
        ASSERT_STREQ(answer_string(cleared, "status"), "in_progress");

        ASSERT_EQ(call_status(&f, "DELETE", PROJECTS "/TASKS/tasks/TASKS-1", "If-Match: \"3\"\r\n", NULL),
                  204);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/TASKS/tasks/TASKS-1", "", NULL), 404);
        /* a number is never given twice */
        answer_free(a);
        a = call(&f, "POST", PROJECTS "/TASKS/tasks", "", "{\"title\":\"third\"}");
        ASSERT_STREQ(answer_string(a, "key"), "TASKS-3");

        /* an archived project takes no new tasks; deleting it takes its tasks along */
        ASSERT_EQ(call_status(&f, "PATCH", PROJECTS "/TASKS", "If-Match: *\r\n", "{\"state\":\"archived\"}"),
                  200);
        ASSERT_EQ(call_status(&f, "POST", PROJECTS "/TASKS/tasks", "", "{\"title\":\"x\"}"), 409);
        ASSERT_EQ(call_status(&f,
                              "POST",
                              PROJECTS "/TASKS/tasks",
                              "Idempotency-Key: k\r\n",
                              "{\"title\":\"x\"}"),
                  409);
        ASSERT_EQ(call_status(&f, "DELETE", PROJECTS "/TASKS", "If-Match: *\r\n", NULL), 204);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/TASKS/tasks", "", NULL), 404);
        ASSERT_EQ(call_status(&f,
                              "POST",
                              PROJECTS "/TASKS/tasks",
                              "Idempotency-Key: k\r\n",
                              "{\"title\":\"x\"}"),
                  404);
        fixture_teardown(&f);
}

/* ---- errors ---- */

#define LONG_200                                                                                               \
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define UUID "01234567-89ab-4cde-8f01-23456789abcd"

static const struct {
        const char *method, *path, *fields, *body;
        int status;
        const char *pointer; /* of an error, or NULL */
} errors[] = {
        { "POST", PROJECTS, "", "{", 400, NULL },
        { "POST", PROJECTS, "", "", 400, NULL },
        { "POST", PROJECTS, "", "{\"key\":\"A1\",\"key\":\"A2\",\"name\":\"x\"}", 400, "/key" },
        { "POST", PROJECTS, "", "[]", 422, "" },
        { "POST", PROJECTS, "", "null", 422, "" },
        { "POST", PROJECTS, "", "{}", 422, "/key" },
        { "POST", PROJECTS, "", "{}", 422, "/name" },
        { "POST", PROJECTS, "", "{\"key\":\"a\",\"name\":\"x\"}", 422, "/key" },
        { "POST", PROJECTS, "", "{\"key\":\"1A\",\"name\":\"x\"}", 422, "/key" },
        { "POST", PROJECTS, "", "{\"key\":\"ABCDEFGHIJK\",\"name\":\"x\"}", 422, "/key" },
        { "POST", PROJECTS, "", "{\"key\":7,\"name\":\"x\"}", 422, "/key" },
        { "POST", PROJECTS, "", "{\"key\":null,\"name\":\"x\"}", 422, "/key" },
        { "POST", PROJECTS, "", "{\"key\":\"AB\",\"name\":\"\"}", 422, "/name" },
        { "POST", PROJECTS, "", "{\"key\":\"AB\",\"name\":\"  \"}", 422, "/name" },
        { "POST", PROJECTS, "", "{\"key\":\"AB\",\"name\":\"a\\nb\"}", 422, "/name" },
        { "POST", PROJECTS, "", "{\"key\":\"AB\",\"name\":\"a\\u0000b\"}", 422, "/name" },
        { "POST", PROJECTS, "", "{\"key\":\"AB\",\"name\":\"a\\u0085b\"}", 422, "/name" },
        { "POST", PROJECTS, "", "{\"key\":\"AB\",\"name\":\"" LONG_200 "a\"}", 422, "/name" },
        { "POST", PROJECTS, "", "{\"key\":\"AB\",\"name\":\"x\",\"state\":\"gone\"}", 422, "/state" },
        { "POST", PROJECTS, "", "{\"key\":\"AB\",\"name\":\"x\",\"colour\":1}", 422, "/colour" },
        { "POST", PROJECTS, "", "{\"key\":\"AB\",\"name\":\"x\",\"a/b~c\":1}", 422, "/a~1b~0c" },
        { "POST", PROJECTS, "", "{\"key\":\"AB\",\"name\":\"x\",\"id\":\"" UUID "\"}", 422, "/id" },
        { "POST", PROJECTS, "Content-Type: text/plain\r\n", "{\"key\":\"AB\",\"name\":\"x\"}", 415, NULL },
        { "POST", PROJECTS, "Content-Type: application/jsonp\r\n", "{}", 415, NULL },
        { "POST", PROJECTS, "Content-Type: application/merge-patch+json\r\n", "{}", 415, NULL },
        { "POST", PROJECTS, "Idempotency-Key: a b\r\n", "{}", 400, NULL },
        { "POST", PROJECTS, "", "{\"key\":\"TAKEN\",\"name\":\"x\"}", 409, NULL },
        { "POST", PROJECTS, "", "{\"key\":\"AB\",\"name\":\"\xff\"}", 400, NULL },
        { "GET", PROJECTS "/nothing", "", NULL, 404, NULL },
        { "GET", PROJECTS "/NOTHERE", "", NULL, 404, NULL },
        { "GET", PROJECTS "/" UUID, "", NULL, 404, NULL },
        { "GET", PROJECTS "/01234567-89ab-4cde-8f01-23456789abcg", "", NULL, 404, NULL },
        { "GET", PROJECTS "/%27%3B--", "", NULL, 404, NULL },
        { "GET", PROJECTS "/%00", "", NULL, 400, NULL },
        { "GET", PROJECTS "/TAKEN/tasks/TAKEN-01", "", NULL, 404, NULL },
        { "GET", PROJECTS "/TAKEN/tasks/TAKEN-0", "", NULL, 404, NULL },
        { "GET", PROJECTS "/TAKEN/tasks/TAKEN-99999999999", "", NULL, 404, NULL },
        { "GET", PROJECTS "/TAKEN/tasks/TAKEN-2147483648", "", NULL, 404, NULL },
        { "GET", PROJECTS "/TAKEN/tasks/x", "", NULL, 404, NULL },
        { "GET", PROJECTS "/TAKEN/tasks/" UUID, "", NULL, 404, NULL },
        { "GET", PROJECTS "?limit=0", "", NULL, 400, NULL },
        { "GET", PROJECTS "?limit=201", "", NULL, 400, NULL },
        { "GET", PROJECTS "?limit=-1", "", NULL, 400, NULL },
        { "GET", PROJECTS "?limit=5x", "", NULL, 400, NULL },
        { "GET", PROJECTS "?cursor=", "", NULL, 400, NULL },
        { "GET", PROJECTS "?cursor=AAAA", "", NULL, 400, NULL },
        { "GET", PROJECTS "?cursor=%zz", "", NULL, 400, NULL },
        { "GET", PROJECTS "?state=gone", "", NULL, 400, NULL },
        { "GET", PROJECTS "?q=%ff", "", NULL, 400, NULL },
        { "GET", PROJECTS "?q=a%00b", "", NULL, 400, NULL },
        { "GET", PROJECTS "/TAKEN/tasks?status=gone", "", NULL, 400, NULL },
        { "GET", PROJECTS "/NOTHERE/tasks", "", NULL, 404, NULL },
        { "PUT", PROJECTS "/TAKEN", "", "{}", 405, NULL },
        { "PATCH", PROJECTS "/TAKEN", "", "{}", 428, NULL },
        { "PATCH", PROJECTS "/TAKEN", "If-Match: 1\r\n", "{}", 400, NULL },
        { "PATCH", PROJECTS "/TAKEN", "If-Match: \"1\r\n", "{}", 400, NULL },
        { "PATCH", PROJECTS "/TAKEN", "If-Match: W/\"1\"\r\n", "{}", 412, NULL },
        { "PATCH", PROJECTS "/TAKEN", "If-Match: \"2\"\r\n", "{}", 412, NULL },
        { "PATCH", PROJECTS "/TAKEN", "If-Match: \"01\"\r\n", "{}", 412, NULL },
        { "PATCH", PROJECTS "/TAKEN", "If-Match: \"99999999999999999999\"\r\n", "{}", 412, NULL },
        { "PATCH", PROJECTS "/NOTHERE", "If-Match: *\r\n", "{}", 404, NULL },
        { "PATCH", PROJECTS "/TAKEN", "If-Match: *\r\n", "{\"name\":null}", 422, "/name" },
        { "PATCH", PROJECTS "/TAKEN", "If-Match: *\r\n", "{\"key\":\"NEW\"}", 422, "/key" },
        { "PATCH", PROJECTS "/TAKEN", "If-Match: *\r\n", "{\"version\":9}", 422, "/version" },
        { "PATCH", PROJECTS "/TAKEN", "If-Match: *\r\nContent-Type: text/json\r\n", "{}", 415, NULL },
        { "DELETE", PROJECTS "/TAKEN", "", NULL, 428, NULL },
        { "DELETE", PROJECTS "/TAKEN", "If-Match: \"7\"\r\n", NULL, 412, NULL },
        { "POST", PROJECTS "/TAKEN/tasks", "", "{}", 422, "/title" },
        { "POST", PROJECTS "/TAKEN/tasks", "", "{\"title\":\"x\",\"status\":\"doing\"}", 422, "/status" },
        { "POST", PROJECTS "/TAKEN/tasks", "", "{\"title\":\"x\",\"priority\":3}", 422, "/priority" },
        { "POST", PROJECTS "/TAKEN/tasks", "", "{\"title\":\"x\",\"due\":\"2027-02-29\"}", 422, "/due" },
        { "POST", PROJECTS "/TAKEN/tasks", "", "{\"title\":\"x\",\"due\":\"tomorrow\"}", 422, "/due" },
        { "POST", PROJECTS "/TAKEN/tasks", "", "{\"title\":\"x\",\"due\":\"0000-01-01\"}", 422, "/due" },
        { "POST", PROJECTS "/TAKEN/tasks", "", "{\"title\":\"x\",\"assignee\":\"\"}", 422, "/assignee" },
        { "POST", PROJECTS "/TAKEN/tasks", "", "{\"title\":\"x\",\"key\":\"TAKEN-9\"}", 422, "/key" },
        { "POST", PROJECTS "/NOTHERE/tasks", "", "{\"title\":\"x\"}", 404, NULL },
        { "POST", PROJECTS "/bad key/tasks", "", "{\"title\":\"x\"}", 400, NULL },
        { "DELETE", PROJECTS "/TAKEN/tasks/TAKEN-1", "If-Match: *\r\n", NULL, 404, NULL },
        { "GET", "/api/v1/nothing", "", NULL, 404, NULL },
};

static bool has_pointer(const Answer *a, const char *pointer) {
        json_object *list = NULL;

        if (!json_object_object_get_ex(a->json, "errors", &list))
                return false;
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                json_object *o = NULL;

                if (json_object_object_get_ex(json_object_array_get_idx(list, i), "pointer", &o) &&
                    strcmp(json_object_get_string(o), pointer) == 0)
                        return true;
        }
        return false;
}

TEST(every_wrong_request_gets_its_problem) {
        _cleanup_(answer_freep) Answer *still = NULL;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "TAKEN");
        for (size_t i = 0; i < MAM_ELEMENTSOF(errors); i++) {
                _cleanup_(answer_freep) Answer *a =
                                call(&f, errors[i].method, errors[i].path, errors[i].fields, errors[i].body);

                if (a->status != errors[i].status ||
                    (errors[i].pointer && !has_pointer(a, errors[i].pointer))) {
                        printf("# %s %s %s %s\n",
                               errors[i].method,
                               errors[i].path,
                               errors[i].fields,
                               errors[i].body);
                        mam_test_fail_string(__FILE__, __LINE__, "the expected problem", a->text);
                }
                CHECK(a, errors[i].status);
        }
        still = call(&f, "GET", PROJECTS "/TAKEN", "", NULL);
        ASSERT_STREQ(answer_field(still, "ETag"), "\"1\"");
        fixture_teardown(&f);
}

TEST(all_errors_of_a_body_are_named_at_once) {
        _cleanup_(answer_freep) Answer *a = NULL;
        Fixture f;

        fixture_setup(&f);
        a = call(&f, "POST", PROJECTS, "", "{\"key\":\"x\",\"name\":\"\",\"state\":1,\"zip\":2}");
        CHECK(a, 422);
        ASSERT_TRUE(has_pointer(a, "/key") && has_pointer(a, "/name") && has_pointer(a, "/state") &&
                    has_pointer(a, "/zip"));
        fixture_teardown(&f);
}

TEST(reading_needs_an_identity_and_writing_a_role) {
        _cleanup_(answer_freep) Answer *none = NULL, *forbidden = NULL, *read = NULL, *removed = NULL;
        char fields[2048];
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "ROLES");
        none = call_port(f.w.port, "GET", PROJECTS, "", NULL);
        CHECK(none, 401);
        read = call_port(f.w.port, "GET", PROJECTS "/ROLES", f.viewer, NULL);
        CHECK(read, 200);
        snprintf(fields, sizeof(fields), "%sContent-Type: application/json\r\n", f.viewer);
        forbidden = call_port(f.w.port, "POST", PROJECTS, fields, "{\"key\":\"NOPE\",\"name\":\"x\"}");
        CHECK(forbidden, 403);
        snprintf(fields, sizeof(fields), "%sIf-Match: *\r\n", f.viewer);
        removed = call_port(f.w.port, "DELETE", PROJECTS "/ROLES", fields, NULL);
        CHECK(removed, 403);
        fixture_teardown(&f);
}

TEST(conditional_requests) {
        _cleanup_(answer_freep) Answer *fresh = NULL, *head = NULL;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "COND");
        fresh = call(&f, "GET", PROJECTS "/COND", "If-None-Match: \"1\"\r\n", NULL);
        ASSERT_EQ(fresh->status, 304);
        ASSERT_STREQ(answer_field(fresh, "ETag"), "\"1\"");
        ASSERT_STREQ(answer_body(fresh), "");
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/COND", "If-None-Match: W/\"1\", \"5\"\r\n", NULL), 304);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/COND", "If-None-Match: *\r\n", NULL), 304);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/COND", "If-None-Match: \"2\"\r\n", NULL), 200);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/COND", "If-None-Match: nonsense\r\n", NULL), 200);
        head = call(&f, "HEAD", PROJECTS "/COND", "", NULL);
        ASSERT_EQ(head->status, 200);
        ASSERT_STREQ(answer_field(head, "ETag"), "\"1\"");
        ASSERT_STREQ(answer_body(head), "");

        ASSERT_EQ(call_status(&f,
                              "PATCH",
                              PROJECTS "/COND",
                              "If-Match: \"9\", \"1\"\r\n",
                              "{\"name\":\"b\"}"),
                  200);
        ASSERT_EQ(call_status(&f, "PATCH", PROJECTS "/COND", "If-Match: \"1\"\r\n", "{\"name\":\"c\"}"),
                  412);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/COND", "If-None-Match: \"1\"\r\n", NULL), 200);
        fixture_teardown(&f);
}

/* ---- many at once ---- */

typedef struct Worker {
        Fixture *f;
        unsigned index;
        unsigned done, conflicts;
        atomic_bool *stop;
} Worker;

static void run_workers(Worker *workers, unsigned n, Fixture *f, void *(*fn)(void *) ) {
        pthread_t threads[64];

        ASSERT_TRUE(n <= MAM_ELEMENTSOF(threads));
        for (unsigned i = 0; i < n; i++) {
                workers[i] = (Worker){ .f = f, .index = i };
                ASSERT_EQ(pthread_create(&threads[i], NULL, fn, &workers[i]), 0);
        }
        for (unsigned i = 0; i < n; i++)
                ASSERT_EQ(pthread_join(threads[i], NULL), 0);
}

#define INCREMENTS 4

/* Counts up the number in the description, as a client that respects If-Match does. */
static void *increment(void *userdata) {
        Worker *w = userdata;

        while (w->done < INCREMENTS) {
                _cleanup_(answer_freep) Answer *read = call(w->f, "GET", PROJECTS "/COUNT", "", NULL),
                                               *changed = NULL;
                char body[64], condition[64];

                ASSERT_EQ(read->status, 200);
                snprintf(body,
                         sizeof(body),
                         "{\"description\":\"%d\"}",
                         atoi(answer_string(read, "description")) + 1);
                snprintf(condition, sizeof(condition), "If-Match: %s\r\n", answer_field(read, "ETag"));
                changed = call(w->f, "PATCH", PROJECTS "/COUNT", condition, body);
                if (changed->status == 200)
                        w->done++;
                else {
                        CHECK(changed, 412);
                        w->conflicts++;
                }
        }
        return NULL;
}

TEST(sixty_four_writers_lose_no_update) {
        _cleanup_(answer_freep) Answer *end = NULL;
        unsigned conflicts = 0;
        Worker workers[64];
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "COUNT");
        run_workers(workers, 64, &f, increment);
        for (unsigned i = 0; i < 64; i++)
                conflicts += workers[i].conflicts;
        end = call(&f, "GET", PROJECTS "/COUNT", "", NULL);
        printf("# %u conflicts\n", conflicts);
        ASSERT_EQ(atoi(answer_string(end, "description")), 64 * INCREMENTS);
        ASSERT_EQ(atoi(answer_string(end, "version")), 64 * INCREMENTS + 1);
        ASSERT_TRUE(conflicts > 0); /* else this has shown nothing */
        fixture_teardown(&f);
}

static void *create_tasks(void *userdata) {
        Worker *w = userdata;

        for (unsigned i = 0; i < 10; i++) {
                char body[64];

                snprintf(body, sizeof(body), "{\"title\":\"%u/%u\"}", w->index, i);
                ASSERT_EQ(call_status(w->f, "POST", PROJECTS "/NUM/tasks", "", body), 201);
        }
        return NULL;
}

TEST(task_numbers_have_no_gap_and_no_duplicate) {
        Worker workers[32];
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "NUM");
        run_workers(workers, 32, &f, create_tasks);
        for (unsigned i = 1; i <= 320; i++) {
                char path[64];

                snprintf(path, sizeof(path), PROJECTS "/NUM/tasks/NUM-%u", i);
                ASSERT_EQ(call_status(&f, "GET", path, "", NULL), 200);
        }
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/NUM/tasks/NUM-321", "", NULL), 404);
        fixture_teardown(&f);
}

/* ---- idempotency ---- */

TEST(an_idempotency_key_creates_once) {
        _cleanup_(answer_freep) Answer *a = NULL, *b = NULL, *other = NULL, *task = NULL, *again = NULL,
                                       *list = NULL;
        static const char key[] = "Idempotency-Key: 7f3-a\r\n", key2[] = "Idempotency-Key: 7f3-b\r\n";
        json_object *items = NULL;
        Fixture f;

        fixture_setup(&f);
        a = call(&f, "POST", PROJECTS, key, "{\"key\":\"ONCE\",\"name\":\"x\"}");
        CHECK(a, 201);
        b = call(&f, "POST", PROJECTS, key, "{\"key\":\"ONCE\",\"name\":\"x\"}");
        CHECK(b, 201);
        ASSERT_STREQ(answer_body(b), answer_body(a));
        ASSERT_STREQ(answer_field(b, "ETag"), answer_field(a, "ETag"));
        ASSERT_STREQ(answer_field(b, "Location"), answer_field(a, "Location"));
        other = call(&f, "POST", PROJECTS, key, "{\"key\":\"ONCE\",\"name\":\"y\"}");
        CHECK(other, 422);

        /* a refused request does not use up its key */
        ASSERT_EQ(call_status(&f, "POST", PROJECTS, key2, "{\"key\":\"ONCE\",\"name\":\"x\"}"), 409);
        ASSERT_EQ(call_status(&f, "POST", PROJECTS, key2, "{\"key\":\"TWICE\",\"name\":\"x\"}"), 201);
        ASSERT_EQ(call_status(&f,
                              "POST",
                              PROJECTS "/NONE/tasks",
                              "Idempotency-Key: t\r\n",
                              "{\"title\":\"x\"}"),
                  404);

        task = call(&f, "POST", PROJECTS "/ONCE/tasks", "Idempotency-Key: t\r\n", "{\"title\":\"x\"}");
        CHECK(task, 201);
        again = call(&f, "POST", PROJECTS "/ONCE/tasks", "Idempotency-Key: t\r\n", "{\"title\":\"x\"}");
        CHECK(again, 201);
        ASSERT_STREQ(answer_body(again), answer_body(task));
        list = call(&f, "GET", PROJECTS "/ONCE/tasks", "", NULL);
        ASSERT_TRUE(json_object_object_get_ex(list->json, "items", &items));
        ASSERT_EQ(json_object_array_length(items), 1);
        fixture_teardown(&f);
}

static void *create_same(void *userdata) {
        Worker *w = userdata;
        _cleanup_(answer_freep) Answer *a =
                        call(w->f,
                             "POST",
                             PROJECTS "/RACE/tasks",
                             "Idempotency-Key: r\r\n",
                             "{\"title\":\"x\"}");

        CHECK(a, 201);
        ASSERT_STREQ(answer_string(a, "key"), "RACE-1");
        return NULL;
}

TEST(requests_with_one_key_at_the_same_time_create_once) {
        Worker workers[32];
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "RACE");
        run_workers(workers, 32, &f, create_same);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/RACE/tasks/RACE-2", "", NULL), 404);
        fixture_teardown(&f);
}

/* ---- lists ---- */

#define KEPT 150

/* Makes and removes tasks that are not among those counted. */
static void *disturb(void *userdata) {
        Worker *w = userdata;

        while (!*w->stop) {
                _cleanup_(answer_freep) Answer *a =
                                call(w->f, "POST", PROJECTS "/WALK/tasks", "", "{\"title\":\"passing\"}");
                char path[192];

                ASSERT_EQ(a->status, 201);
                snprintf(path, sizeof(path), PROJECTS "/WALK/tasks/%s", answer_string(a, "id"));
                if (w->done++ % 3 != 0)
                        ASSERT_EQ(call_status(w->f, "DELETE", path, "If-Match: \"1\"\r\n", NULL), 204);
        }
        return NULL;
}

/* Follows the list by Link; counts each kept task in seen, and all rows that came twice in *twice. */
static void walk(Fixture *f, unsigned *seen, unsigned *twice) {
        json_object *met = json_object_new_object();
        char path[1024] = PROJECTS "/WALK/tasks?limit=7";

        for (unsigned page = 0; *path && page < 1000; page++) {
                _cleanup_(answer_freep) Answer *a = call(f, "GET", path, "", NULL);
                json_object *items = NULL;
                const char *link;

                CHECK(a, 200);
                ASSERT_TRUE(json_object_object_get_ex(a->json, "items", &items));
                ASSERT_TRUE(json_object_array_length(items) <= 7);
                for (size_t i = 0; i < json_object_array_length(items); i++) {
                        json_object *o = json_object_array_get_idx(items, i), *id, *title;
                        unsigned n;

                        ASSERT_TRUE(json_object_object_get_ex(o, "id", &id) &&
                                    json_object_object_get_ex(o, "title", &title));
                        if (json_object_object_get_ex(met, json_object_get_string(id), NULL))
                                (*twice)++;
                        json_object_object_add(met, json_object_get_string(id), NULL);
                        if (sscanf(json_object_get_string(title), "kept %u", &n) == 1)
                                seen[n]++;
                }
                link = answer_field(a, "Link");
                ASSERT_EQ(strcmp(answer_string(a, "next"), "(none)") == 0, *link == '\0');
                *path = '\0';
                if (*link)
                        snprintf(path, sizeof(path), "%.*s", (int) strcspn(link + 1, ">"), link + 1);
        }
        json_object_put(met);
}

TEST(cursors_visit_each_row_once_while_others_come_and_go) {
        pthread_t threads[4];
        Worker workers[4];
        atomic_bool stopping = false;
        unsigned seen[KEPT] = { 0 }, twice = 0;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "WALK");
        for (unsigned i = 0; i < KEPT; i++) {
                char body[64];

                snprintf(body, sizeof(body), "{\"title\":\"kept %u\"}", i);
                ASSERT_EQ(call_status(&f, "POST", PROJECTS "/WALK/tasks", "", body), 201);
        }
        for (unsigned i = 0; i < 4; i++) {
                workers[i] = (Worker){ .f = &f, .index = i, .stop = &stopping };
                ASSERT_EQ(pthread_create(&threads[i], NULL, disturb, &workers[i]), 0);
        }
        for (unsigned round = 0; round < 3; round++) {
                memset(seen, 0, sizeof(seen));
                walk(&f, seen, &twice);
                for (unsigned i = 0; i < KEPT; i++)
                        ASSERT_EQ(seen[i], 1);
                ASSERT_EQ(twice, 0);
        }
        stopping = true;
        for (unsigned i = 0; i < 4; i++) {
                ASSERT_EQ(pthread_join(threads[i], NULL), 0);
                ASSERT_TRUE(workers[i].done > 0);
        }
        fixture_teardown(&f);
}

TEST(lists_filter_and_their_links_keep_the_filter) {
        _cleanup_(answer_freep) Answer *page = NULL, *wrong_list = NULL;
        char path[1024];
        Fixture f;

        fixture_setup(&f);
        ASSERT_EQ(count_items(&f, PROJECTS), 0);
        make_project(&f, "FA");
        make_project(&f, "FB");
        ASSERT_EQ(call_status(&f, "PATCH", PROJECTS "/FB", "If-Match: *\r\n", "{\"state\":\"archived\"}"),
                  200);
        ASSERT_EQ(count_items(&f, PROJECTS), 2);
        ASSERT_EQ(count_items(&f, PROJECTS "?state=archived"), 1);
        ASSERT_EQ(count_items(&f, PROJECTS "?q=project+f"), 2);
        ASSERT_EQ(count_items(&f, PROJECTS "?q=fa"), 1);
        ASSERT_EQ(count_items(&f, PROJECTS "?q=%25"), 0); /* not a pattern */

        ASSERT_EQ(count_items(&f, PROJECTS "/FA/tasks"), 0);
        for (unsigned i = 0; i < 9; i++) {
                char body[128];

                snprintf(body,
                         sizeof(body),
                         "{\"title\":\"T%u\",\"status\":\"%s\",\"assignee\":\"%s\"}",
                         i,
                         i % 3 == 0 ? "done" : "todo",
                         i % 2 == 0 ? "ann & co" : "bob");
                ASSERT_EQ(call_status(&f, "POST", PROJECTS "/FA/tasks", "", body), 201);
        }
        ASSERT_EQ(count_items(&f, PROJECTS "/FA/tasks?status=done"), 3);
        ASSERT_EQ(count_items(&f, PROJECTS "/FA/tasks?assignee=bob"), 4);
        ASSERT_EQ(count_items(&f, PROJECTS "/FA/tasks?assignee=ann+%26+co&status=done"), 2);
        ASSERT_EQ(count_items(&f, PROJECTS "/FA/tasks?q=t7"), 1);

        page = call(&f, "GET", PROJECTS "/FA/tasks?assignee=ann+%26+co&limit=3", "", NULL);
        CHECK(page, 200);
        snprintf(path,
                 sizeof(path),
                 "%.*s",
                 (int) strcspn(answer_field(page, "Link") + 1, ">"),
                 answer_field(page, "Link") + 1);
        ASSERT_EQ(count_items(&f, path), 2);
        snprintf(path, sizeof(path), PROJECTS "?cursor=%s", answer_string(page, "next"));
        wrong_list = call(&f, "GET", path, "", NULL);
        CHECK(wrong_list, 400);
        fixture_teardown(&f);
}

/* ---- the database comes and goes ---- */

static int ready_status(Fixture *f) {
        static char text[4096];

        return client_request_unix(f->w.replica_path, "GET", "/ready", "", text, sizeof(text));
}

static void wait_ready(Fixture *f, int status) {
        for (unsigned i = 0; i < 500; i++) {
                if (ready_status(f) == status)
                        return;
                nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
        }
        ASSERT_EQ(ready_status(f), status);
}

TEST(without_the_database_there_are_503s_and_no_restart) {
        _cleanup_(answer_freep) Answer *away = NULL, *written = NULL, *back = NULL;
        struct timespec before, after;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "AWAY");
        mam_test_server_kill(&cluster, SIGQUIT);
        wait_ready(&f, 503);
        written = call(&f, "POST", PROJECTS, "", "{\"key\":\"LOST\",\"name\":\"x\"}");
        CHECK(written, 503);
        ASSERT_STREQ(answer_field(written, "Retry-After"), "1");
        away = call(&f, "GET", PROJECTS "/AWAY", "", NULL);
        CHECK(away, 503);
        world_expect_notify(&f.w, "STATUS=Not ready: postgresql is not reachable");

        /* once it has been away for a while, nobody is kept waiting */
        ASSERT_OK(clock_gettime(CLOCK_MONOTONIC, &before));
        ASSERT_EQ(call_status(&f, "GET", PROJECTS, "", NULL), 503);
        ASSERT_OK(clock_gettime(CLOCK_MONOTONIC, &after));
        ASSERT_TRUE(after.tv_sec - before.tv_sec <= 1);

        need_cluster();
        wait_ready(&f, 200);
        back = call(&f, "GET", PROJECTS "/AWAY", "", NULL);
        CHECK(back, 200);
        ASSERT_EQ(call_status(&f, "GET", PROJECTS "/LOST", "", NULL), 404);
        fixture_teardown(&f);
}

/* Creates tasks with keys, sending each again until it is acknowledged. */
static void *create_until_acknowledged(void *userdata) {
        Worker *w = userdata;

        while (!*w->stop) {
                char body[64], key[64];
                int status;

                snprintf(body, sizeof(body), "{\"title\":\"%u/%u\"}", w->index, w->done);
                snprintf(key, sizeof(key), "Idempotency-Key: %u-%u\r\n", w->index, w->done);
                while ((status = call_status(w->f, "POST", PROJECTS "/CRASH/tasks", key, body)) != 201) {
                        ASSERT_EQ(status, 503);
                        w->conflicts++;
                        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
                }
                w->done++;
        }
        return NULL;
}

TEST(what_was_acknowledged_survives_crashes_of_the_database_once) {
        char path[1024] = PROJECTS "/CRASH/tasks?limit=200";
        json_object *met = json_object_new_object();
        unsigned done = 0, again = 0, found = 0;
        atomic_bool stopping = false;
        pthread_t threads[8];
        Worker workers[8];
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "CRASH");
        for (unsigned i = 0; i < MAM_ELEMENTSOF(threads); i++) {
                workers[i] = (Worker){ .f = &f, .index = i, .stop = &stopping };
                ASSERT_EQ(pthread_create(&threads[i], NULL, create_until_acknowledged, &workers[i]), 0);
        }
        for (unsigned round = 0; round < 3; round++) {
                nanosleep(&(struct timespec){ .tv_nsec = 400000000 }, NULL);
                mam_test_server_kill(
                                &cluster,
                                SIGQUIT); /* at once, without a checkpoint: as after a crash */
                need_cluster();
                wait_ready(&f, 200);
        }
        nanosleep(&(struct timespec){ .tv_nsec = 400000000 }, NULL);
        stopping = true;
        for (unsigned i = 0; i < MAM_ELEMENTSOF(threads); i++) {
                ASSERT_EQ(pthread_join(threads[i], NULL), 0);
                done += workers[i].done;
                again += workers[i].conflicts;
        }

        while (*path) {
                _cleanup_(answer_freep) Answer *a = call(&f, "GET", path, "", NULL);
                json_object *items = NULL;
                const char *link;

                CHECK(a, 200);
                ASSERT_TRUE(json_object_object_get_ex(a->json, "items", &items));
                for (size_t i = 0; i < json_object_array_length(items); i++) {
                        json_object *title;

                        ASSERT_TRUE(json_object_object_get_ex(
                                        json_object_array_get_idx(items, i),
                                        "title",
                                        &title));
                        ASSERT_TRUE(!json_object_object_get_ex(met, json_object_get_string(title), NULL));
                        json_object_object_add(met, json_object_get_string(title), NULL);
                        found++;
                }
                link = answer_field(a, "Link");
                snprintf(path,
                         sizeof(path),
                         "%.*s",
                         *link ? (int) strcspn(link + 1, ">") : 0,
                         *link ? link + 1 : "");
        }
        json_object_put(met);
        printf("# %u acknowledged, %u found, %u sent again\n", done, found, again);
        ASSERT_EQ(found, done);
        ASSERT_TRUE(done > 100);
        fixture_teardown(&f);
}

TEST(a_replica_started_before_the_database_waits_for_it) {
        Fixture f;

        need_cluster();
        mam_test_server_kill(&cluster, SIGINT);
        fixture_init(&f);
        wait_ready(&f, 503);
        need_cluster();
        world_expect_notify(&f.w, "READY=1");
        wait_ready(&f, 200);
        make_project(&f, "LATE");
        fixture_teardown(&f);
}

TEST(replicas_that_start_together_migrate_once) {
        pid_t more[4];
        Fixture f;

        need_cluster();
        fixture_init(&f);
        for (unsigned i = 0; i < MAM_ELEMENTSOF(more); i++)
                more[i] = fixture_start_replica(&f);
        for (unsigned i = 0; i < 1 + MAM_ELEMENTSOF(more); i++)
                world_expect_notify(&f.w, "READY=1");
        make_project(&f, "MANY");
        for (unsigned i = 0; i < MAM_ELEMENTSOF(more); i++) {
                ASSERT_OK(kill(more[i], SIGTERM));
                ASSERT_EQ(world_wait(more[i]), 0);
        }
        fixture_teardown(&f);
}

TEST(no_body_makes_a_500) {
        static const char *const pieces[] = { "{",           "}",
                                              "[",           "]",
                                              "\"key\"",     "\"name\"",
                                              ":",           ",",
                                              "\"A1\"",      "null",
                                              "1e999",       "\"\\ud800\"",
                                              "\"\\u0000\"", "-0",
                                              "true",        "\xf0\x9f\x98\x80",
                                              "\xff",        "\"description\"",
                                              "\"state\"",   "\"active\"",
                                              " ",           "99999999999999999999" };
        unsigned seed = 7;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "FUZZ");
        for (unsigned i = 0; i < 400; i++) {
                _cleanup_(answer_freep) Answer *a = NULL;
                char body[512] = "";
                bool patch = i % 2 == 0;

                if (i % 4 < 2)
                        strcat(body, "{\"name\":");
                for (unsigned k = 0; k < 1 + i % 12; k++)
                        strcat(body, pieces[(unsigned) rand_r(&seed) % MAM_ELEMENTSOF(pieces)]);
                if (i % 4 < 2)
                        strcat(body, "}");
                a = call(&f,
                         patch ? "PATCH" : "POST",
                         patch ? PROJECTS "/FUZZ" : PROJECTS,
                         patch ? "If-Match: *\r\n" : "",
                         body);
                if (a->status >= 500 || a->status < 200)
                        mam_test_fail_string(__FILE__, __LINE__, body, a->text);
        }
        fixture_teardown(&f);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "project-manager/test-openapi.h"
#include "project-manager/test-project.h"

MamTestServer cluster;
static unsigned next_schema;

static void stop_cluster(void) {
        mam_test_server_done(&cluster);
}

void need_cluster(void) {
        if (cluster.pid > 0)
                return;
        (void) mam_test_postgres_bin(); /* skips */
        if (cluster.folder[0] == '\0') {
                mam_test_postgres_init(&cluster);
                /* The daemon has no capability that would let it pass by the folder's mode. */
                ASSERT_OK(chmod(cluster.folder, 0711));
                ASSERT_EQ(atexit(stop_cluster), 0);
        }
        mam_test_postgres_start(&cluster);
}

char *auth_field(TestWorld *w, const char *subject, const char *role) {
        _cleanup_(mam_freep) char *token = world_token(w, subject, role, 3600);
        char *field = NULL;

        ASSERT_TRUE(asprintf(&field, "Authorization: Bearer %s\r\n", token) > 0);
        return field;
}

pid_t fixture_start_replica(Fixture *f) {
        return world_start(&f->w, 0, (const char *[]){ f->conninfo, f->schema, NULL }, NULL);
}

void fixture_init(Fixture *f) {
        *f = (Fixture){ 0 };
        world_init(&f->w);
        f->w.program = "daemons/project-manager/mam-project-manager";
        f->editor = auth_field(&f->w, "erin", "editor");
        f->viewer = auth_field(&f->w, "vic", "viewer");
        snprintf(f->conninfo,
                 sizeof(f->conninfo),
                 "MAM_POSTGRESQL=host=%s dbname=postgres user=postgres",
                 cluster.folder);
        snprintf(f->schema, sizeof(f->schema), "MAM_POSTGRESQL_SCHEMA=test_%u", next_schema++);
        f->pid = fixture_start_replica(f);
}

void fixture_setup(Fixture *f) {
        need_cluster();
        fixture_init(f);
        world_expect_notify(&f->w, "READY=1");
}

void fixture_teardown(Fixture *f) {
        ASSERT_OK(kill(f->pid, SIGTERM));
        ASSERT_EQ(world_wait(f->pid), 0);
        free(f->editor);
        free(f->viewer);
        world_done(&f->w);
}

/* ---- requests ---- */

Answer *answer_free(Answer *a) {
        if (a)
                json_object_put(a->json);
        free(a);
        return NULL;
}

const char *answer_body(const Answer *a) {
        const char *p = strstr(a->text, "\r\n\r\n");

        return p ? p + 4 : "";
}

/* The value of a field in a buffer of its own for each of the last few calls; "" where absent. */
const char *answer_field(const Answer *a, const char *name) {
        static __thread char values[4][1024];
        static __thread unsigned turn;
        char *ret = values[turn++ % 4], needle[64];
        const char *p, *end = strstr(a->text, "\r\n\r\n");

        *ret = '\0';
        snprintf(needle, sizeof(needle), "\r\n%s: ", name);
        p = strcasestr(a->text, needle);
        if (p && p < end) {
                p += strlen(needle);
                snprintf(ret, sizeof(values[0]), "%.*s", (int) strcspn(p, "\r"), p);
        }
        return ret;
}

const char *answer_string(const Answer *a, const char *key) {
        json_object *o = NULL;

        if (!a->json || !json_object_object_get_ex(a->json, key, &o) || !o)
                return "(none)";
        return json_object_get_string(o);
}

Answer *call_port(
                unsigned port,
                const char *method,
                const char *path,
                const char *fields,
                const char *body) {
        _cleanup_(mam_freep) char *request = NULL;
        Answer *a = calloc(1, sizeof(*a));
        char length[64] = "";
        int fd;

        ASSERT_TRUE(a);
        if (body)
                snprintf(length, sizeof(length), "Content-Length: %zu\r\n", strlen(body));
        ASSERT_TRUE(asprintf(&request,
                             "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n%s%s\r\n%s",
                             method,
                             path,
                             fields,
                             length,
                             body ? body : "") > 0);
        fd = client_connect_port(port);
        ASSERT_OK(fd);
        a->status = client_exchange(fd, request, a->text, sizeof(a->text));
        close(fd);
        if (strstr(answer_field(a, "Content-Type"), "json") &&
            !strstr(answer_field(a, "Content-Type"), "ndjson") && *answer_body(a)) /* HEAD has none */
                ASSERT_OK(mam_json_parse(&a->json, answer_body(a), strlen(answer_body(a)), NULL));
        if (a->status > 0)
                openapi_check(method, path, a->status, answer_field(a, "Content-Type"), a->json, a->text);
        return a;
}

/* As the editor. extra: more fields, or "". A body is sent as JSON. */
Answer *call(Fixture *f, const char *method, const char *path, const char *extra, const char *body) {
        _cleanup_(mam_freep) char *fields = NULL;

        ASSERT_TRUE(asprintf(&fields,
                             "%s%s%s",
                             f->editor,
                             body && !strcasestr(extra, "Content-Type")
                                             ? "Content-Type: application/json\r\n"
                                             : "",
                             extra) > 0);
        return call_port(f->w.port, method, path, fields, body);
}

int call_status(Fixture *f, const char *method, const char *path, const char *extra, const char *body) {
        _cleanup_(answer_freep) Answer *a = call(f, method, path, extra, body);

        return a->status;
}

void check_answer(const Answer *a, int status, int line) {
        if (a->status != status)
                mam_test_fail_string(__FILE__, line, "the expected status", a->text);
        if (status >= 400) {
                if (strcmp(answer_field(a, "Content-Type"), "application/problem+json") != 0)
                        mam_test_fail_string(__FILE__, line, "a problem", a->text);
                ASSERT_EQ(atoi(answer_string(a, "status")), status);
        }
}

void make_project(Fixture *f, const char *key) {
        char body[128];

        snprintf(body, sizeof(body), "{\"key\":\"%s\",\"name\":\"Project %s\"}", key, key);
        ASSERT_EQ(call_status(f, "POST", PROJECTS, "", body), 201);
}

size_t count_items(Fixture *f, const char *path) {
        _cleanup_(answer_freep) Answer *a = call(f, "GET", path, "", NULL);
        json_object *items = NULL;

        CHECK(a, 200);
        ASSERT_TRUE(json_object_object_get_ex(a->json, "items", &items));
        return json_object_array_length(items);
}

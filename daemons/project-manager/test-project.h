/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The API from outside, for tests: the real daemon, real PostgreSQL, real HTTP, real tokens
 */

#include <signal.h>
#include <string.h>

#include "libmam/db/test-server.h"
#include "libmam/json/json.h"
#include "libmam/service/test-service-util.h"
#include "libmam/util/test.h"

#define PROJECTS "/api/v1/projects"

/* One cluster for all tests of a program; skips where PostgreSQL is not installed. */
extern MamTestServer cluster;
void need_cluster(void);

/* One daemon on a schema of its own. */
typedef struct Fixture {
        TestWorld w;
        pid_t pid;
        char *editor; /* owned; fields with a token that may write */
        char *viewer; /* owned; one that may only read */
        char conninfo[160], schema[64];
} Fixture;

char *auth_field(TestWorld *w, const char *subject, const char *role);
pid_t fixture_start_replica(Fixture *f);
/* Without waiting for READY. */
void fixture_init(Fixture *f);
void fixture_setup(Fixture *f);
void fixture_teardown(Fixture *f);

typedef struct Answer {
        int status;
        char text[1048576];
        json_object *json; /* owned; NULL if the body is not JSON */
} Answer;

Answer *answer_free(Answer *a);
MAM_DEFINE_CLEANUP(Answer, answer_free);
const char *answer_body(const Answer *a);
/* The value of a field in a buffer of its own for each of the last few calls; "" where absent. */
const char *answer_field(const Answer *a, const char *name);
const char *answer_string(const Answer *a, const char *key); /* "(none)" */

Answer *call_port(unsigned port, const char *method, const char *path, const char *fields, const char *body);
/* As the editor. extra: more fields, or "". A body is sent as JSON if no Content-Type is there. */
Answer *call(Fixture *f, const char *method, const char *path, const char *extra, const char *body);
int call_status(Fixture *f, const char *method, const char *path, const char *extra, const char *body);
/* The status, and that errors are problems. */
void check_answer(const Answer *a, int status, int line);
#define CHECK(a, status) check_answer(a, status, __LINE__)

void make_project(Fixture *f, const char *key);
size_t count_items(Fixture *f, const char *path);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /api/v1/projects/{project}/tasks
 */

#include "project-manager/api.h"

static void on_no_task_made(
                MamPgQuery *query,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Request *q = userdata;

        if (!request_check_result(q, error, message))
                return;
        if (mam_pg_rows(result) == 0)
                request_problem(q, 404, "There is no such project");
        else
                request_problem(q, 409, "The project is archived");
}

static void on_created(
                MamPgQuery *query,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        StoreCall call = request_call(userdata, on_no_task_made);
        Request *q = userdata;

        if (!request_check_result(q, error, message))
                return;
        if (mam_pg_rows(result) == 0)
                request_problem(q, 404, "There is no such project");
        else if (*mam_pg_text(result, 0, STORE_EXTRA) != 't')
                request_problem(q, 422, "This Idempotency-Key was used for another request");
        else if (!mam_pg_is_null(result, 0, STORE_JSON))
                request_answer_row(q, 201, result);
        else if (request_started(q, store_project_get(&call, &q->target)) < 0)
                request_problem(q, 500, "The request failed");
}

static int create(Request *q) {
        const char *subject = mam_service_identity(q->x)->subject;
        StoreOnce once = { .subject = subject, .key = q->once_key, .fingerprint = q->fingerprint };
        StoreCall call = request_call(q, on_created);
        TaskDraft draft = { 0 };

        task_draft_read(&draft, q->body, false, &q->errors);
        if (request_answered_errors(q))
                return 0;
        return request_started(
                        q,
                        store_task_create(&call, &q->target, &draft, subject, q->once ? &once : NULL));
}

int handle_task_create(MamHttpExchange *x, void *userdata) {
        Request *q;
        int r;

        r = request_new(&q, x, userdata, "task");
        if (r < 0)
                return r;
        if (!request_check_database(q) || !request_check_project(q) || !request_check_once(q))
                return 0;
        return request_read_json(q, false, create);
}

static void on_list(
                MamPgQuery *query,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Request *q = userdata;

        if (!request_check_result(q, error, message))
                return;
        if (mam_pg_rows(result) == 0)
                request_problem(q, 404, "There is no such project");
        else
                request_answer_list(q, result, 't');
}

int handle_task_list(MamHttpExchange *x, void *userdata) {
        RequestList list;
        StoreCall call;
        Request *q;
        int r;

        r = request_new(&q, x, userdata, "task");
        if (r < 0)
                return r;
        if (!request_check_database(q) || !request_check_project(q) ||
            !request_check_list(q, &list, 't', "status", task_statuses))
                return 0;
        call = request_call(q, on_list);
        return request_started(q, store_task_list(&call, &q->target, &list.list));
}

static void on_row(
                MamPgQuery *query,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Request *q = userdata;

        if (!request_check_result(q, error, message))
                return;
        if (mam_pg_rows(result) == 0)
                request_problem(q, 404, "There is no such task");
        else
                request_answer_row(q, 200, result);
}

int handle_task_get(MamHttpExchange *x, void *userdata) {
        StoreCall call;
        Request *q;
        int r;

        r = request_new(&q, x, userdata, "task");
        if (r < 0)
                return r;
        if (!request_check_database(q) || !request_check_task(q))
                return 0;
        call = request_call(q, on_row);
        return request_started(q, store_task_get(&call, &q->target));
}

/* Nothing was changed: is it not there, or is it another version? */
static void on_missed(
                MamPgQuery *query,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Request *q = userdata;

        if (!request_check_result(q, error, message))
                return;
        if (mam_pg_rows(result) == 0)
                request_problem(q, 404, "There is no such task");
        else
                request_problem(q, 412, "The task has changed since: read it again");
}

static void look_why(Request *q) {
        StoreCall call = request_call(q, on_missed);

        if (request_started(q, store_task_get(&call, &q->target)) < 0)
                request_problem(q, 500, "The request failed");
}

static void on_changed(
                MamPgQuery *query,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Request *q = userdata;

        if (!request_check_result(q, error, message))
                return;
        if (mam_pg_rows(result) == 0)
                look_why(q);
        else
                request_answer_row(q, 200, result);
}

static int change(Request *q) {
        StoreCall call = request_call(q, on_changed);
        TaskDraft draft = { 0 };

        task_draft_read(&draft, q->body, true, &q->errors);
        if (request_answered_errors(q))
                return 0;
        return request_started(q, store_task_update(&call, &q->target, &q->versions, &draft));
}

int handle_task_patch(MamHttpExchange *x, void *userdata) {
        Request *q;
        int r;

        r = request_new(&q, x, userdata, "task");
        if (r < 0)
                return r;
        if (!request_check_database(q) || !request_check_task(q) || !request_check_if_match(q))
                return 0;
        return request_read_json(q, true, change);
}

static void on_deleted(
                MamPgQuery *query,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Request *q = userdata;

        if (!request_check_result(q, error, message))
                return;
        if (mam_pg_rows(result) == 0)
                look_why(q);
        else
                request_answer_empty(q, 204);
}

int handle_task_delete(MamHttpExchange *x, void *userdata) {
        StoreCall call;
        Request *q;
        int r;

        r = request_new(&q, x, userdata, "task");
        if (r < 0)
                return r;
        if (!request_check_database(q) || !request_check_task(q) || !request_check_if_match(q))
                return 0;
        call = request_call(q, on_deleted);
        return request_started(q, store_task_delete(&call, &q->target, &q->versions));
}

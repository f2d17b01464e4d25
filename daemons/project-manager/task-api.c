/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /api/v1/projects/{project}/tasks
 */

#include "project-manager/api.h"

static int create(Request *q, const StoreCall *c, const StoreOnce *once) {
        _cleanup_(task_draft_done) TaskDraft draft = { 0 };

        task_draft_read(&draft, q->body, false, &q->errors);
        if (request_answered_errors(q))
                return 0;
        return store_task_create(c, &q->target, &draft, mam_service_identity(q->x)->subject, once);
}

static void on_project(Request *q, const MamPgResult *result) {
        if (mam_pg_rows(result) == 0)
                request_problem(q, 404, "There is no such project");
        else
                request_problem(q, 409, "The project is archived");
}

/* A row without a task may mean both: is the project not there, or is it archived? */
static void not_created(Request *q, const MamPgResult *result) {
        StoreCall call = request_call(q, on_project);

        if (mam_pg_rows(result) == 0)
                request_problem(q, 404, "There is no such project");
        else if (request_started(q, store_project_get(&call, &q->target)) < 0)
                request_problem(q, 500, "The request failed");
}

static int update(Request *q, const StoreCall *c) {
        _cleanup_(task_draft_done) TaskDraft draft = { 0 };

        task_draft_read(&draft, q->body, true, &q->errors);
        if (request_answered_errors(q))
                return 0;
        return store_task_update(c, &q->target, &q->versions, &draft, mam_service_identity(q->x)->subject);
}

const Resource task_resource = {
        .name = "task",
        .cursor_kind = 't',
        .filter = "status",
        .filter_values = task_statuses,
        .has_query = true,
        .check_list = request_check_project,
        .check = request_check_task,
        .create = create,
        .not_created = not_created,
        .update = update,
        .list = store_task_list,
        .get = store_task_get,
        .remove = store_task_delete,
};

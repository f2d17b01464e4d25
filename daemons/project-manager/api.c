/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Create, list, get, patch and delete: for projects and tasks alike
 *
 * A handler checks what was asked and starts a statement; the on_… that it names answers.
 */

#include "project-manager/api.h"

/* request_new() and what every request needs. 1: go on; 0: answered. */
static int begin(Request **ret, MamHttpExchange *x, App *app, const Resource *resource) {
        int r;

        r = request_new(ret, x, app, resource);
        if (r < 0)
                return r;
        return request_check_database(*ret);
}

/* The same for what is done to one that others may have changed. */
static int begin_change(Request **ret, MamHttpExchange *x, App *app, const Resource *resource) {
        int r;

        r = begin(ret, x, app, resource);
        if (r <= 0)
                return r;
        return resource->check(*ret) && request_check_if_match(*ret);
}

static bool check_list_path(Request *q) {
        return !q->resource->check_list || q->resource->check_list(q);
}

static void on_created(Request *q, const MamPgResult *result) {
        if (mam_pg_rows(result) > 0 && *mam_pg_text(result, 0, STORE_EXTRA) != 't')
                request_problem(q, 422, "This Idempotency-Key was used for another request");
        else if (mam_pg_rows(result) == 0 || mam_pg_is_null(result, 0, STORE_JSON))
                q->resource->not_created(q, result);
        else
                request_answer_row(q, 201, result);
}

static int create(Request *q) {
        StoreCall call = request_call(q, on_created);
        StoreOnce once = {
                .subject = mam_service_identity(q->x)->subject,
                .key = q->once_key,
                .fingerprint = q->fingerprint,
        };

        return request_started(q, q->resource->create(q, &call, q->once ? &once : NULL));
}

static int handle_create(MamHttpExchange *x, App *app, const Resource *resource) {
        Request *q;
        int r;

        r = begin(&q, x, app, resource);
        if (r <= 0)
                return r;
        if (!check_list_path(q) || !request_check_once(q))
                return 0;
        return request_read_json(q, false, create);
}

static void on_list(Request *q, const MamPgResult *result) {
        if (mam_pg_rows(result) == 0 && q->resource->check_list)
                request_problem(q, 404, "There is no such project");
        else
                request_answer_list(q, result);
}

static int handle_list(MamHttpExchange *x, App *app, const Resource *resource) {
        _cleanup_(request_list_done) RequestList list = { 0 };
        StoreCall call;
        Request *q;
        int r;

        r = begin(&q, x, app, resource);
        if (r <= 0)
                return r;
        if (!check_list_path(q))
                return 0;
        if (export_is_wanted(x))
                return export_list(q);
        if (!request_check_list(q, &list))
                return 0;
        call = request_call(q, on_list);
        return request_started(q, resource->list(&call, &q->target, &list.list));
}

static void on_row(Request *q, const MamPgResult *result) {
        if (mam_pg_rows(result) == 0)
                request_problem(q, 404, "There is no such %s", q->resource->name);
        else
                request_answer_row(q, 200, result);
}

static int handle_get(MamHttpExchange *x, App *app, const Resource *resource) {
        StoreCall call;
        Request *q;
        int r;

        r = begin(&q, x, app, resource);
        if (r <= 0)
                return r;
        if (!resource->check(q))
                return 0;
        call = request_call(q, on_row);
        return request_started(q, resource->get(&call, &q->target));
}

static void on_missed(Request *q, const MamPgResult *result) {
        if (mam_pg_rows(result) == 0)
                request_problem(q, 404, "There is no such %s", q->resource->name);
        else
                request_problem(q, 412, "The %s has changed since: read it again", q->resource->name);
}

/* Nothing was changed: is it not there, or is it another version? */
static void look_why(Request *q) {
        StoreCall call = request_call(q, on_missed);

        if (request_started(q, q->resource->get(&call, &q->target)) < 0)
                request_problem(q, 500, "The request failed");
}

static void on_changed(Request *q, const MamPgResult *result) {
        if (mam_pg_rows(result) == 0)
                look_why(q);
        else
                request_answer_row(q, 200, result);
}

static int change(Request *q) {
        StoreCall call = request_call(q, on_changed);

        return request_started(q, q->resource->update(q, &call));
}

static int handle_patch(MamHttpExchange *x, App *app, const Resource *resource) {
        Request *q;
        int r;

        r = begin_change(&q, x, app, resource);
        if (r <= 0)
                return r;
        return request_read_json(q, true, change);
}

static void on_deleted(Request *q, const MamPgResult *result) {
        if (mam_pg_rows(result) == 0)
                look_why(q);
        else
                request_answer_empty(q, 204);
}

static int handle_delete(MamHttpExchange *x, App *app, const Resource *resource) {
        StoreCall call;
        Request *q;
        int r;

        r = begin_change(&q, x, app, resource);
        if (r <= 0)
                return r;
        call = request_call(q, on_deleted);
        return request_started(
                        q,
                        resource->remove(
                                        &call,
                                        &q->target,
                                        &q->versions,
                                        mam_service_identity(q->x)->subject));
}

/* handle_project_create() and so on */
#define HANDLER(resource, verb)                                              \
        int handle_##resource##_##verb(MamHttpExchange *x, void *userdata) { \
                return handle_##verb(x, userdata, &resource##_resource);     \
        }

HANDLER(project, create)
HANDLER(project, list)
HANDLER(project, get)
HANDLER(project, patch)
HANDLER(project, delete)
HANDLER(task, create)
HANDLER(task, list)
HANDLER(task, get)
HANDLER(task, patch)
HANDLER(task, delete)

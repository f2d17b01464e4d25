/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /api/v1/projects
 */

#include "project-manager/api.h"

static int create(Request *q, const StoreCall *c, const StoreOnce *once) {
        ProjectDraft draft = { 0 };

        project_draft_read(&draft, q->body, false, &q->errors);
        if (request_answered_errors(q))
                return 0;
        return store_project_create(c, &draft, mam_service_identity(q->x)->subject, once);
}

static void not_created(Request *q, const MamPgResult *result) {
        request_problem(q, 500, "The project was not created");
}

static int update(Request *q, const StoreCall *c) {
        ProjectDraft draft = { 0 };

        project_draft_read(&draft, q->body, true, &q->errors);
        if (request_answered_errors(q))
                return 0;
        return store_project_update(
                        c,
                        &q->target,
                        &q->versions,
                        &draft,
                        mam_service_identity(q->x)->subject);
}

const Resource project_resource = {
        .name = "project",
        .cursor_kind = 'p',
        .filter = "state",
        .filter_values = project_states,
        .check = request_check_project,
        .create = create,
        .not_created = not_created,
        .update = update,
        .list = store_project_list,
        .get = store_project_get,
        .remove = store_project_delete,
};

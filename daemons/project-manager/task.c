/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tasks: what of them a client may set
 */

#include <assert.h>

#include "project-manager/project.h"

const char *const task_statuses[] = { "todo", "in_progress", "done", "cancelled", NULL };

void task_draft_read(TaskDraft *ret, json_object *body, bool patch, FieldErrors *e) {
        static const char *const known[] = { "title",    "description", "status", "priority",
                                             "assignee", "due",         NULL };
        static const char *const read_only[] = { "id",         "key",        "project",
                                                 "number",     "version",    "created_at",
                                                 "updated_at", "created_by", NULL };
        static const char *const priorities[] = { "low", "normal", "high", "urgent", NULL };
        static const FieldRule title_rule = { .min = 1, .max = 200 },
                               description_rule = { .max = 20000, .lines = true, .nullable = true },
                               assignee_rule = { .min = 1, .max = 128, .nullable = true };
        TaskDraft d = { 0 };

        assert(ret);
        assert(e);

        if (!json_object_is_type(body, json_type_object)) {
                field_error(e, NULL, "must be an object");
                return;
        }
        field_check_unknown(body, known, read_only, e);

        if (!patch && !json_object_object_get_ex(body, "title", NULL))
                field_error(e, "title", "is required");
        field_read_text(body, "title", &title_rule, &d.title, e);
        field_read_text(body, "description", &description_rule, &d.description, e);
        field_read_choice(body, "status", task_statuses, &d.status, e);
        field_read_choice(body, "priority", priorities, &d.priority, e);
        field_read_text(body, "assignee", &assignee_rule, &d.assignee, e);
        field_read_date(body, "due", &d.due, e);
        if (d.description.set && !d.description.value)
                d.description.value = "";

        *ret = d;
}

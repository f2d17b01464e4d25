/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tasks: what of them a client may set
 */

#include <assert.h>

#include "project-manager/project.h"

const char *const task_statuses[] = { "todo", "in_progress", "done", "cancelled", NULL };

static const char *const task_priorities[] = { "low", "normal", "high", "urgent", NULL };

static const QueryChoice status_choices[] = {
        { "todo", "{todo}" },
        { "in_progress", "{in_progress}" },
        { "done", "{done}" },
        { "cancelled", "{cancelled}" },
        { "open", "{todo,in_progress}" },
        { "closed", "{done,cancelled}" },
        { 0 },
};
static const QueryChoice priority_choices[] = {
        { "low", "{low}" }, { "normal", "{normal}" }, { "high", "{high}" }, { "urgent", "{urgent}" }, { 0 },
};
static const QueryField query_fields[] = {
        { .name = "status", .type = QUERY_CHOICE, .column = "t.status", .choices = status_choices },
        { .name = "priority",
          .type = QUERY_CHOICE,
          .column = "t.priority",
          .choices = priority_choices,
          .order = task_priorities },
        { .name = "assignee",
          .type = QUERY_NAME,
          .column = "t.assignee",
          .is_person = true,
          .nullable = true },
        { .name = "author", .type = QUERY_NAME, .column = "t.created_by", .is_person = true },
        { .name = "label", .type = QUERY_NAME, .column = "t.labels", .is_list = true, .nullable = true },
        { .name = "due", .type = QUERY_DATE, .column = "t.due", .nullable = true },
        { .name = "created", .type = QUERY_TIME, .column = "t.created_at" },
        { .name = "updated", .type = QUERY_TIME, .column = "t.updated_at" },
        { .name = "estimate", .type = QUERY_NUMBER, .column = "t.estimate", .nullable = true },
        { .name = "external", .type = QUERY_NAME, .column = "t.external", .nullable = true },
        { .name = "number", .type = QUERY_NUMBER, .column = "t.number" },
        { 0 },
};
const QuerySchema task_query = { .fields = query_fields, .text_column = "t.search" };
const QuerySchema task_query_fuzzy = { .fields = query_fields,
                                       .text_column = "t.search",
                                       .fuzzy_column = "t.title" };

void task_draft_done(TaskDraft *d) {
        field_set_done(&d->labels);
}

void task_draft_read(TaskDraft *ret, json_object *body, bool patch, FieldErrors *e) {
        static const char *const known[] = { "title", "description", "status",   "priority", "assignee",
                                             "due",   "labels",      "estimate", "external", NULL };
        static const char *const read_only[] = { "id",         "key",        "project",
                                                 "number",     "version",    "created_at",
                                                 "updated_at", "created_by", NULL };
        static const FieldRule title_rule = { .min = 1, .max = 200 },
                               description_rule = { .max = DESCRIPTION_MAX,
                                                    .lines = true,
                                                    .nullable = true },
                               external_rule = { .min = 1, .max = 128, .nullable = true },
                               label_rule = { .min = 1, .max = 64 },
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
        field_read_choice(body, "priority", task_priorities, &d.priority, e);
        field_read_text(body, "assignee", &assignee_rule, &d.assignee, e);
        field_read_date(body, "due", &d.due, e);
        field_read_number(body, "estimate", ESTIMATE_MAX, &d.estimate, e);
        field_read_text(body, "external", &external_rule, &d.external, e);
        field_read_set(body, "labels", &label_rule, &d.labels, e);
        if (d.description.set && !d.description.value)
                d.description.value = "";

        *ret = d;
}

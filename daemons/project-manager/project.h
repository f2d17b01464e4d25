/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Projects and tasks: what they are made of, and what of it a client may set. Pure functions.
 *
 * A draft is what a body asks for; its texts are borrowed from the body, its sets are its own. Members that
 * are not set keep what they are, or get their default when something is created.
 */

#include "project-manager/field.h"
#include "project-manager/query.h"

#define DESCRIPTION_MAX 65536U
#define ESTIMATE_MAX    9999999

typedef struct ProjectDraft {
        FieldText key; /* only when created: tasks are named after it */
        FieldText name;
        FieldText description;
        FieldText state; /* "active", "archived" */
} ProjectDraft;

typedef struct TaskDraft {
        FieldText title;
        FieldText description;
        FieldText status;     /* "todo", "in_progress", "done", "cancelled" */
        FieldText priority;   /* "low", "normal", "high", "urgent" */
        FieldText assignee;   /* null: nobody */
        FieldText due;        /* date, null: none */
        FieldNumber estimate; /* 0 to ESTIMATE_MAX, two decimals; null: none */
        FieldText external;   /* what it is called elsewhere; unique in its project; null: nothing */
        FieldSet labels;      /* owned */
} TaskDraft;

void task_draft_done(TaskDraft *d);

extern const char *const project_states[];
extern const char *const task_statuses[];
extern const QuerySchema task_query, task_query_fuzzy; /* with typos, where the database can */

/* patch: a JSON merge patch (RFC 7396) rather than a whole new object: nothing is required, and null takes a
 * member back to its default. Errors are added to e; the draft is good if there are none. */
void project_draft_read(ProjectDraft *ret, json_object *body, bool patch, FieldErrors *e);
void task_draft_read(TaskDraft *ret, json_object *body, bool patch, FieldErrors *e);

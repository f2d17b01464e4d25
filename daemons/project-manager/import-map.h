/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Rows of other trackers as tasks: which column is what, and what its values mean here. Pure.
 *
 * Columns are found by their names, without regard to case, spaces and signs: "Issue key", "issuekey", and
 * "Summary" or "Title" are what Jira, GitHub and others call them. Columns of the same name are one list
 * (labels). Values that other trackers use for states and priorities are known; what nobody can tell is an
 * error of that row.
 */

#include "project-manager/csv.h"
#include "project-manager/field.h"

typedef enum ImportTarget {
        IMPORT_EXTERNAL,
        IMPORT_TITLE,
        IMPORT_DESCRIPTION,
        IMPORT_STATUS,
        IMPORT_PRIORITY,
        IMPORT_ASSIGNEE,
        IMPORT_DUE,
        IMPORT_ESTIMATE,
        IMPORT_LABELS,
        IMPORT_IGNORED,
} ImportTarget;

typedef struct ImportMap {
        size_t n; /* columns */
        ImportTarget targets[CSV_FIELDS_MAX];
} ImportMap;

/* What a target is called in requests, or NULL where there is no such one: "title". */
const char *import_target_name(ImportTarget t);

/* names[t]: the column that somebody named for a target, or NULL. -EBADMSG with a message: no column for
 * titles, a named one is not there, or two columns for what can be only one. */
int import_map_read(
                ImportMap *ret,
                const CsvRecord *header,
                const char *const names[static IMPORT_IGNORED],
                char message[static 200]);
/* The body that would create the task (see task_draft_read()). What is wrong is added to e, with the value.
 * *ret is the caller's. Empty values and the word NULL are no values. */
int import_map_row(const ImportMap *map, const CsvRecord *row, json_object **ret, FieldErrors *e);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Projects and tasks in PostgreSQL
 *
 * Each function starts one statement or transaction; the callback gets its rows. The database makes the JSON
 * text of a row, so that it is made in one place and never parsed again. All strings are copied before the
 * call returns.
 */

#include "libmam/db/pg.h"
#include "project-manager/project.h"

/* Generated from migrations/. */
extern const MamPgMigration store_migrations[];
extern const size_t store_n_migrations;

/* Who changes it, for the event that tells of it: triggers run in the same transaction. Creations say it
 * themselves. */
#define STORE_ACTOR(subject) "(SELECT set_config('mam.subject', " subject "::text, true)) actor"

/* Says which project, by these first parameters of a statement: id, key. */
#define STORE_IS_PROJECT(p) "(" p ".id = $1::uuid OR " p ".key = $2::text)"

/* The columns of a row that is a project or a task. */
enum {
        STORE_JSON,         /* text; NULL where a function says so */
        STORE_VERSION,      /* integer */
        STORE_ID,           /* text */
        STORE_CREATED_USEC, /* integer */
        STORE_EXTRA,        /* see the function */
};

/* Which project, and in it which task: by id or by key. Texts are borrowed; what is not known is NULL. */
typedef struct StoreTarget {
        const char *project_id, *project_key;
        const char *task_id;
        const char *task_project; /* the project's key within the task's */
        const char *task_number;
} StoreTarget;

/* Makes a creation happen once for all requests with this key (NULL: no such wish). */
typedef struct StoreOnce {
        const char *subject;
        const char *key;
        const char *fingerprint; /* of the request */
} StoreOnce;

typedef struct StoreList {
        const char *status;   /* NULL: all; a project's state, or a task's status */
        const char *assignee; /* NULL: all; tasks only */
        const char *text;     /* NULL: all; within name or title */
        const Query *query;   /* NULL: all; tasks only */
        const Cursor *after;  /* NULL: from the beginning */
        unsigned limit;
} StoreList;

typedef struct StoreCall {
        MamPg *pg;
        MamPgQuery **query; /* where the handle for cancelling goes */
        MamPgCallback callback;
        void *userdata;
} StoreCall;

/* Starts one statement; what the functions below and of import.h are made of. */
int store_run(const StoreCall *c, const MamPgStatement *statement, const char *const *parameters, size_t n);

/* One row. With once: STORE_EXTRA is "t" if the request is the one that made the row; the row may be from an
 * earlier request then. -EEXIST: the key is taken. */
int store_project_create(
                const StoreCall *c,
                const ProjectDraft *d,
                const char *subject,
                const StoreOnce *once);
/* One row, or none. */
int store_project_get(const StoreCall *c, const StoreTarget *t);
/* One row; none: there is no such project, or it is not in one of these versions. */
int store_project_update(
                const StoreCall *c,
                const StoreTarget *t,
                const Condition *versions,
                const ProjectDraft *d,
                const char *subject);
int store_project_delete(
                const StoreCall *c,
                const StoreTarget *t,
                const Condition *versions,
                const char *subject);
/* Up to limit rows; t is empty, as all projects are meant. */
int store_project_list(const StoreCall *c, const StoreTarget *t, const StoreList *l);

/* No row: there is no such project. JSON is NULL: the project is archived, or (with once) one of the two. */
int store_task_create(
                const StoreCall *c,
                const StoreTarget *t,
                const TaskDraft *d,
                const char *subject,
                const StoreOnce *once);
int store_task_get(const StoreCall *c, const StoreTarget *t);
int store_task_update(
                const StoreCall *c,
                const StoreTarget *t,
                const Condition *versions,
                const TaskDraft *d,
                const char *subject);
int store_task_delete(
                const StoreCall *c,
                const StoreTarget *t,
                const Condition *versions,
                const char *subject);
/* No row: there is no such project; one row with JSON NULL: it has no such tasks. */
int store_task_list(const StoreCall *c, const StoreTarget *t, const StoreList *l);

/* One row: "t" if searches may find words with typos. */
int store_look_for_trigrams(const StoreCall *c);
/* Forgets answers that are older than a day. */
int store_purge(const StoreCall *c);

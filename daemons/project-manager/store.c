/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Statements
 *
 * Projects are named by id or key: `id = $1 OR key = $2` with one of them NULL uses either index. A row is
 * locked before what hangs on it (project, then counter, then task), in every statement, so that there is no
 * deadlock. A creation that must happen once is three statements in one transaction: claim the key (waiting
 * for whoever holds it), do the work if the claim is ours, read the answer.
 */

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "project-manager/store.h"

#define TIME(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
#define USEC(column) "(extract(epoch FROM " column ") * 1000000)::bigint"
/* Exact: microseconds of this era fit a double's 53 bits, through which interval multiplication goes. */
#define AFTER(usec, id)                                                                               \
        "(COALESCE(timestamptz 'epoch' + " usec "::bigint * interval '1 microsecond', '-infinity'), " \
        "COALESCE(" id "::uuid, '00000000-0000-0000-0000-000000000000'))"

#define PROJECT_JSON(p)                                                                                    \
        "(SELECT row_to_json(x)::text FROM (SELECT " p ".id, " p ".key, " p ".name, " p ".description, " p \
        ".state, " p                                                                                       \
        ".version, " TIME(p ".created_at") " AS created_at, " TIME(p ".updated_at") " AS updated_at, " p   \
                                                                                    ".created_by) x)"
#define PROJECT_ROW(p) PROJECT_JSON(p) ", " p ".version, " p ".id, " USEC(p ".created_at")

#define TASK_JSON(t, key)                                                                                \
        "(SELECT row_to_json(x)::text FROM (SELECT " t ".id, " key " || '-' || " t ".number AS key, " t  \
        ".project, " t ".number, " t ".title, " t ".description, " t ".status, " t ".priority, " t       \
        ".assignee, " t ".due, " t ".labels, trim_scale(" t ".estimate) AS estimate, " t ".external, " t \
        ".version, " TIME(t ".created_at") " AS created_at, " TIME(t ".updated_at") " AS updated_at, " t \
                                                                                    ".created_by) x)"
#define TASK_ROW(t, key) TASK_JSON(t, key) ", " t ".version, " t ".id, " USEC(t ".created_at")

/* These say which row; they are the first in a statement, with these parameters. */
#define IS_TASK(p, t)                                                                                  \
        STORE_IS_PROJECT(p)                                                                            \
        " AND " t ".project = " p ".id AND (" t ".id = $3::uuid OR (" t ".number = $4::integer AND " p \
        ".key = $5::text))"

#define PROJECT_TARGET(t) (t)->project_id, (t)->project_key
#define TASK_TARGET(t)    PROJECT_TARGET(t), (t)->task_id, (t)->task_number, (t)->task_project

/* Creating: the same with and without an Idempotency-Key. */
#define NEW_PROJECT(from)                                                                                 \
        "new AS (INSERT INTO projects (key, name, description, state, created_by) "                       \
        "SELECT $1::text, $2::text, COALESCE($3::text, ''), COALESCE($4::text, 'active'), $5::text " from \
        " RETURNING *), counter AS (INSERT INTO task_counters (project) SELECT id FROM new) "
#define NEXT_NUMBER                                                        \
        "counter AS (UPDATE task_counters c SET last = c.last + 1 FROM p " \
        "WHERE c.project = p.id AND p.state = 'active' RETURNING c.project, c.last, p.key), "
#define INSERT_TASK                                                                                                                         \
        "INSERT INTO tasks (project, number, title, description, status, priority, assignee, due, created_by, labels, estimate, external) " \
        "SELECT counter.project, counter.last, $3::text, COALESCE($4::text, ''), COALESCE($5::text, 'todo'), "                              \
        "COALESCE($6::text, 'normal'), $7::text, $8::date, $9::text, COALESCE($10::text[], '{}'), $11::numeric, $12::text FROM counter RETURNING *"

#define VERSION_IS(row, versions) \
        "(" versions "::bigint[] IS NULL OR " row ".version = ANY (" versions "::bigint[]))"

static const MamPgStatement project_create = {
        .name = "project-create",
        .sql = "WITH " NEW_PROJECT("") "SELECT " PROJECT_ROW("new") ", true FROM new",
};

static const MamPgStatement project_get = {
        .name = "project-get",
        .sql = "SELECT " PROJECT_ROW("p") " FROM projects p WHERE " STORE_IS_PROJECT("p"),
        .idempotent = true,
};

static const MamPgStatement project_update = {
        .name = "project-update",
        .sql = "UPDATE projects p SET version = version + 1, updated_at = now(), name = COALESCE($4::text, name), "
               "description = COALESCE($5::text, description), state = COALESCE($6::text, state) "
               "FROM " STORE_ACTOR("$7") " "
                                         "WHERE " STORE_IS_PROJECT("p") " AND " VERSION_IS(
                                                         "p",
                                                         "$3") " RETURNING " PROJECT_ROW("p"),
};

static const MamPgStatement project_delete = {
        .name = "project-delete",
        .sql = "DELETE FROM projects p USING " STORE_ACTOR("$4") " WHERE " STORE_IS_PROJECT(
                        "p") " AND " VERSION_IS("p", "$3") " RETURNING NULL, p.version, p.id",
};

static const MamPgStatement project_list = {
        .name = "project-list",
        .sql = "SELECT " PROJECT_ROW(
                        "p") " FROM projects p "
                             "WHERE (p.created_at, p.id) > " AFTER(
                                             "$1",
                                             "$2") " AND ($3::text IS NULL OR p.state = $3::text) "
                                                   "AND ($4::text IS NULL OR strpos(lower(p.name), lower($4::text)) > 0 OR p.key = upper($4::text)) "
                                                   "ORDER BY p.created_at, p.id LIMIT $5::integer",
        .idempotent = true,
};

static const MamPgStatement task_create = {
        .name = "task-create",
        .sql = "WITH p AS (SELECT id, key, state FROM projects p WHERE " STORE_IS_PROJECT(
                        "p") " FOR KEY SHARE), " NEXT_NUMBER "new AS (" INSERT_TASK ") "
                             "SELECT CASE WHEN new.id IS NOT NULL THEN " TASK_JSON(
                                             "new",
                                             "p.key") " END, new.version, new.id, NULL, true FROM p LEFT JOIN new ON true",
};

static const MamPgStatement task_get = {
        .name = "task-get",
        .sql = "SELECT " TASK_ROW("t", "p.key") " FROM projects p, tasks t WHERE " IS_TASK("p", "t"),
        .idempotent = true,
};

static const MamPgStatement task_update = {
        .name = "task-update",
        .sql = "UPDATE tasks t SET version = t.version + 1, updated_at = now(), title = COALESCE($7::text, t.title), "
               "description = COALESCE($8::text, t.description), status = COALESCE($9::text, t.status), "
               "priority = COALESCE($10::text, t.priority), "
               "assignee = CASE WHEN $11::boolean THEN $12::text ELSE t.assignee END, "
               "due = CASE WHEN $13::boolean THEN $14::date ELSE t.due END, labels = COALESCE($15::text[], t.labels), "
               "estimate = CASE WHEN $16::boolean THEN $17::numeric ELSE t.estimate END, "
               "external = CASE WHEN $18::boolean THEN $19::text ELSE t.external END "
               "FROM projects p, " STORE_ACTOR("$20") " WHERE " IS_TASK("p", "t") " AND " VERSION_IS(
                               "t",
                               "$6") " RETURNING " TASK_ROW("t", "p.key"),
};

static const MamPgStatement task_delete = {
        .name = "task-delete",
        .sql = "DELETE FROM tasks t USING projects p, " STORE_ACTOR("$7") " WHERE " IS_TASK(
                        "p",
                        "t") " AND " VERSION_IS("t", "$6") " RETURNING NULL, t.version, t.id",
};

/* A query's condition goes in between, with parameters of its own behind these. */
#define TASK_LIST                                                                                                                                                                       \
        "SELECT l.* FROM projects p LEFT JOIN LATERAL (SELECT " TASK_JSON("t", "p.key") " AS json, t.version, t.id, " USEC(                                                             \
                        "t.created_at") " AS usec FROM tasks t WHERE t.project = p.id AND (t.created_at, t.id) > " AFTER("$3", "$4") " AND ($5::text IS NULL OR t.status = $5::text) "  \
                                                                                                                                     "AND ($6::text IS NULL OR t.assignee = $6::text) " \
                                                                                                                                     "AND ($7::text IS NULL OR strpos(lower(t.title), lower($7::text)) > 0)"
#define TASK_LIST_END                                                                        \
        " ORDER BY t.created_at, t.id LIMIT $8::integer) l ON true WHERE " STORE_IS_PROJECT( \
                        "p") " ORDER BY l.usec, l.id"
#define TASK_LIST_PARAMETERS 8U

static const MamPgStatement task_list = { .name = "task-list",
                                          .sql = TASK_LIST TASK_LIST_END,
                                          .idempotent = true };

/* Waits for a transaction that holds the same key. A key whose request was refused may be used anew. As a
 * whole the three may be sent again when the connection broke: that is what they are for. */
static const MamPgStatement once_claim = {
        .name = "once-claim",
        .sql = "INSERT INTO idempotency AS i (subject, key, fingerprint) VALUES ($1::text, $2::text, $3::text) "
               "ON CONFLICT (subject, key) DO UPDATE SET fingerprint = excluded.fingerprint, created_at = now() "
               "WHERE i.answer IS NULL",
        .idempotent = true,
};

#define ONCE_MINE(subject, key)                                                               \
        "mine AS (SELECT 1 FROM idempotency WHERE subject = " subject "::text AND key = " key \
        "::text AND answer IS NULL)"
#define ONCE_DONE(subject, key, json)                                                          \
        "UPDATE idempotency i SET answer = " json "::json FROM new WHERE i.subject = " subject \
        "::text AND i.key = " key "::text"

static const MamPgStatement once_project = {
        .name = "once-project",
        .sql = "WITH " ONCE_MINE("$6", "$7") ", " NEW_PROJECT("FROM mine")
                        ONCE_DONE("$6", "$7", PROJECT_JSON("new")),
        .idempotent = true,
};

static const MamPgStatement once_task = {
        .name = "once-task",
        .sql = "WITH " ONCE_MINE(
                        "$13",
                        "$14") ", "
                               "p AS (SELECT p.id, p.key, p.state FROM projects p, mine WHERE " STORE_IS_PROJECT(
                                               "p") " FOR KEY SHARE OF p), " NEXT_NUMBER
                                                    "added AS (" INSERT_TASK "), "
                                                    "new AS (SELECT added.*, counter.key AS project_key FROM added, counter) " ONCE_DONE(
                                                                    "$13",
                                                                    "$14",
                                                                    TASK_JSON("new", "new.project_key")),
        .idempotent = true,
};

static const MamPgStatement once_answer = {
        .name = "once-answer",
        .sql = "SELECT answer::text, (answer->>'version')::bigint, answer->>'id', NULL, fingerprint = $3::text "
               "FROM idempotency WHERE subject = $1::text AND key = $2::text",
        .idempotent = true,
};

static const MamPgStatement purge = {
        .name = "purge",
        .sql = "DELETE FROM idempotency WHERE ctid = ANY (ARRAY(SELECT ctid FROM idempotency "
               "WHERE created_at < now() - interval '24 hours' LIMIT 5000 FOR UPDATE SKIP LOCKED))",
        .idempotent = true,
};

static const MamPgStatement trigrams = {
        .name = "trigrams",
        .sql = "SELECT to_regclass('tasks_by_trigram') IS NOT NULL",
        .idempotent = true,
};

/* The text of a member, or NULL where it is not set. */
static const char *value(const FieldText *t) {
        return t->set ? t->value : NULL;
}

static const char *number_value(const FieldNumber *n) {
        return n->set && *n->text ? n->text : NULL;
}

static const char *list_value(const FieldSet *s) {
        return s->set ? mam_buffer_bytes(&s->array) : NULL;
}

static const char *flag(const FieldText *t) {
        return t->set ? "true" : "false";
}

/* The position of a cursor as a parameter; NULL: the beginning. */
static const char *after_usec(const Cursor *after, char buffer[static 24]) {
        if (!after)
                return NULL;
        (void) snprintf(buffer, 24, "%" PRIi64, after->created_usec);
        return buffer;
}

static const char *after_id(const Cursor *after) {
        return after ? after->id : NULL;
}

static const char *limit_text(unsigned limit, char buffer[static 16]) {
        (void) snprintf(buffer, 16, "%u", limit);
        return buffer;
}

int store_run(const StoreCall *c, const MamPgStatement *statement, const char *const *parameters, size_t n) {
        assert(c);

        return mam_pg_query(c->pg, c->query, statement, parameters, n, c->callback, c->userdata);
}

#define RUN(c, statement, ...)                                   \
        ({                                                       \
                const char *const _p[] = { __VA_ARGS__ };        \
                store_run(c, statement, _p, MAM_ELEMENTSOF(_p)); \
        })

static int run_once(
                const StoreCall *c,
                const StoreOnce *once,
                const MamPgStatement *work,
                const char *const *parameters,
                size_t n) {
        const char *const claim[] = { once->subject, once->key, once->fingerprint };
        const MamPgStep steps[] = {
                { &once_claim, claim, MAM_ELEMENTSOF(claim) },
                { work, parameters, n },
                { &once_answer, claim, MAM_ELEMENTSOF(claim) },
        };

        assert(c);

        return mam_pg_run(c->pg, c->query, steps, MAM_ELEMENTSOF(steps), c->callback, c->userdata);
}

int store_project_create(
                const StoreCall *c,
                const ProjectDraft *d,
                const char *subject,
                const StoreOnce *once) {
        /* the last two are for once_project only */
        const char *const p[] = {
                value(&d->key),          value(&d->name), value(&d->description),
                value(&d->state),        subject,         once ? once->subject : NULL,
                once ? once->key : NULL,
        };

        assert(subject);

        return once ? run_once(c, once, &once_project, p, MAM_ELEMENTSOF(p))
                    : store_run(c, &project_create, p, MAM_ELEMENTSOF(p) - 2);
}

int store_project_get(const StoreCall *c, const StoreTarget *t) {
        return RUN(c, &project_get, PROJECT_TARGET(t));
}

int store_project_update(
                const StoreCall *c,
                const StoreTarget *t,
                const Condition *versions,
                const ProjectDraft *d,
                const char *subject) {
        char array[CONDITION_TEXT_SIZE];

        return RUN(c,
                   &project_update,
                   PROJECT_TARGET(t),
                   condition_to_array(versions, array),
                   value(&d->name),
                   value(&d->description),
                   value(&d->state),
                   subject);
}

int store_project_delete(
                const StoreCall *c,
                const StoreTarget *t,
                const Condition *versions,
                const char *subject) {
        char array[CONDITION_TEXT_SIZE];

        return RUN(c, &project_delete, PROJECT_TARGET(t), condition_to_array(versions, array), subject);
}

int store_project_list(const StoreCall *c, const StoreTarget *t, const StoreList *l) {
        char usec[24], limit[16];

        return RUN(c,
                   &project_list,
                   after_usec(l->after, usec),
                   after_id(l->after),
                   l->status,
                   l->text,
                   limit_text(l->limit, limit));
}

int store_task_create(
                const StoreCall *c,
                const StoreTarget *t,
                const TaskDraft *d,
                const char *subject,
                const StoreOnce *once) {
        /* the last two are for once_task only */
        const char *const p[] = {
                PROJECT_TARGET(t),       value(&d->title),
                value(&d->description),  value(&d->status),
                value(&d->priority),     value(&d->assignee),
                value(&d->due),          subject,
                list_value(&d->labels),  number_value(&d->estimate),
                value(&d->external),     once ? once->subject : NULL,
                once ? once->key : NULL,
        };

        assert(subject);

        return once ? run_once(c, once, &once_task, p, MAM_ELEMENTSOF(p))
                    : store_run(c, &task_create, p, MAM_ELEMENTSOF(p) - 2);
}

int store_task_get(const StoreCall *c, const StoreTarget *t) {
        return RUN(c, &task_get, TASK_TARGET(t));
}

int store_task_update(
                const StoreCall *c,
                const StoreTarget *t,
                const Condition *versions,
                const TaskDraft *d,
                const char *subject) {
        char array[CONDITION_TEXT_SIZE];

        return RUN(c,
                   &task_update,
                   TASK_TARGET(t),
                   condition_to_array(versions, array),
                   value(&d->title),
                   value(&d->description),
                   value(&d->status),
                   value(&d->priority),
                   flag(&d->assignee),
                   value(&d->assignee),
                   flag(&d->due),
                   value(&d->due),
                   list_value(&d->labels),
                   d->estimate.set ? "true" : "false",
                   number_value(&d->estimate),
                   flag(&d->external),
                   value(&d->external),
                   subject);
}

int store_task_delete(
                const StoreCall *c,
                const StoreTarget *t,
                const Condition *versions,
                const char *subject) {
        char array[CONDITION_TEXT_SIZE];

        return RUN(c, &task_delete, TASK_TARGET(t), condition_to_array(versions, array), subject);
}

/* Queries are as different as those who ask: such a statement is made each time. */
static int run_query(
                const StoreCall *c,
                const Query *query,
                const char *const list[static TASK_LIST_PARAMETERS]) {
        const char *parameters[TASK_LIST_PARAMETERS + QUERY_PARAMETERS_MAX];
        _cleanup_(mam_buffer_done) MamBuffer sql = MAM_BUFFER_INIT;
        const char *const *more;
        size_t n;
        int r;

        more = query_parameters(query, &n);
        memcpy(parameters, list, TASK_LIST_PARAMETERS * sizeof(*list));
        memcpy(parameters + TASK_LIST_PARAMETERS, more, n * sizeof(*more));
        r = mam_buffer_append_string(&sql, TASK_LIST " AND ");
        if (r >= 0)
                r = query_to_sql(query, TASK_LIST_PARAMETERS + 1, &sql);
        if (r >= 0)
                r = mam_buffer_append_string(&sql, TASK_LIST_END);
        if (r < 0)
                return r;
        return store_run(
                        c,
                        &(MamPgStatement){ .sql = mam_buffer_bytes(&sql), .idempotent = true },
                        parameters,
                        TASK_LIST_PARAMETERS + n);
}

int store_task_list(const StoreCall *c, const StoreTarget *t, const StoreList *l) {
        char usec[24], limit[16];
        const char *const p[TASK_LIST_PARAMETERS] = {
                PROJECT_TARGET(t), after_usec(l->after, usec),  after_id(l->after), l->status, l->assignee,
                l->text,           limit_text(l->limit, limit),
        };

        return l->query ? run_query(c, l->query, p) : store_run(c, &task_list, p, MAM_ELEMENTSOF(p));
}

int store_look_for_trigrams(const StoreCall *c) {
        return store_run(c, &trigrams, NULL, 0);
}

int store_purge(const StoreCall *c) {
        return store_run(c, &purge, NULL, 0);
}

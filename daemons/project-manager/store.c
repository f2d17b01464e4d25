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
        ".assignee, " t ".due, " t                                                                       \
        ".version, " TIME(t ".created_at") " AS created_at, " TIME(t ".updated_at") " AS updated_at, " t \
                                                                                    ".created_by) x)"
#define TASK_ROW(t, key) TASK_JSON(t, key) ", " t ".version, " t ".id, " USEC(t ".created_at")

#define IS_PROJECT(p) "(" p ".id = $1::uuid OR " p ".key = $2::text)"
#define IS_TASK(p, t)                                                                                  \
        IS_PROJECT(p)                                                                                  \
        " AND " t ".project = " p ".id AND (" t ".id = $3::uuid OR (" t ".number = $4::integer AND " p \
        ".key = $5::text))"

#define RUN(c, statement, ...)                            \
        ({                                                \
                const char *const _p[] = { __VA_ARGS__ }; \
                mam_pg_query((c)->pg,                     \
                             (c)->query,                  \
                             statement,                   \
                             _p,                          \
                             MAM_ELEMENTSOF(_p),          \
                             (c)->callback,               \
                             (c)->userdata);              \
        })

static const MamPgStatement project_create = {
        .name = "project-create",
        .sql = "WITH new AS (INSERT INTO projects (key, name, description, state, created_by) "
               "VALUES ($1::text, $2::text, COALESCE($3::text, ''), COALESCE($4::text, 'active'), $5::text) RETURNING *), "
               "counter AS (INSERT INTO task_counters (project) SELECT id FROM new) "
               "SELECT " PROJECT_ROW("new") ", true FROM new",
};

static const MamPgStatement project_get = {
        .name = "project-get",
        .sql = "SELECT " PROJECT_ROW("p") " FROM projects p WHERE " IS_PROJECT("p"),
        .idempotent = true,
};

static const MamPgStatement project_update = {
        .name = "project-update",
        .sql = "UPDATE projects p SET version = version + 1, updated_at = now(), name = COALESCE($4::text, name), "
               "description = COALESCE($5::text, description), state = COALESCE($6::text, state) "
               "WHERE " IS_PROJECT("p") " AND ($3::bigint[] IS NULL OR p.version = ANY ($3::bigint[])) "
                                        "RETURNING " PROJECT_ROW("p"),
};

static const MamPgStatement project_delete = {
        .name = "project-delete",
        .sql = "DELETE FROM projects p WHERE " IS_PROJECT(
                        "p") " AND ($3::bigint[] IS NULL OR p.version = ANY ($3::bigint[])) RETURNING NULL, p.version, p.id",
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
        .sql = "WITH p AS (SELECT id, key, state FROM projects p WHERE " IS_PROJECT(
                        "p") " FOR KEY SHARE), "
                             "counter AS (UPDATE task_counters c SET last = c.last + 1 FROM p "
                             "WHERE c.project = p.id AND p.state = 'active' RETURNING c.project, c.last), "
                             "new AS (INSERT INTO tasks (project, number, title, description, status, priority, assignee, due, created_by) "
                             "SELECT counter.project, counter.last, $3::text, COALESCE($4::text, ''), COALESCE($5::text, 'todo'), "
                             "COALESCE($6::text, 'normal'), $7::text, $8::date, $9::text FROM counter RETURNING *) "
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
               "due = CASE WHEN $13::boolean THEN $14::date ELSE t.due END "
               "FROM projects p WHERE " IS_TASK("p", "t") " AND ($6::bigint[] IS NULL OR t.version = ANY ($6::bigint[])) RETURNING " TASK_ROW(
                               "t",
                               "p.key"),
};

static const MamPgStatement task_delete = {
        .name = "task-delete",
        .sql = "DELETE FROM tasks t USING projects p WHERE " IS_TASK(
                        "p",
                        "t") " AND ($6::bigint[] IS NULL OR t.version = ANY ($6::bigint[])) RETURNING NULL, t.version, t.id",
};

static const MamPgStatement task_list = {
        .name = "task-list",
        .sql = "SELECT l.* FROM projects p LEFT JOIN LATERAL (SELECT " TASK_JSON("t", "p.key") " AS json, t.version, t.id, " USEC(
                        "t.created_at") " AS usec FROM tasks t "
                                        "WHERE t.project = p.id AND (t.created_at, t.id) > " AFTER(
                                                        "$3",
                                                        "$4") " AND ($5::text IS NULL OR t.status = $5::text) AND ($6::text IS NULL OR t.assignee = $6::text) "
                                                              "AND ($7::text IS NULL OR strpos(lower(t.title), lower($7::text)) > 0) "
                                                              "ORDER BY t.created_at, t.id LIMIT $8::integer) l ON true "
                                                              "WHERE " IS_PROJECT(
                                                                              "p") " ORDER BY l.usec, l.id",
        .idempotent = true,
};

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
        .sql = "WITH " ONCE_MINE(
                        "$6",
                        "$7") ", "
                              "new AS (INSERT INTO projects (key, name, description, state, created_by) "
                              "SELECT $1::text, $2::text, COALESCE($3::text, ''), COALESCE($4::text, 'active'), $5::text FROM mine RETURNING *), "
                              "counter AS (INSERT INTO task_counters (project) SELECT id FROM new) " ONCE_DONE(
                                              "$6",
                                              "$7",
                                              PROJECT_JSON("new")),
        .idempotent = true,
};

static const MamPgStatement once_task = {
        .name = "once-task",
        .sql = "WITH " ONCE_MINE(
                        "$10",
                        "$11") ", "
                               "p AS (SELECT p.id, p.key, p.state FROM projects p, mine WHERE " IS_PROJECT(
                                               "p") " FOR KEY SHARE OF p), "
                                                    "counter AS (UPDATE task_counters c SET last = c.last + 1 FROM p "
                                                    "WHERE c.project = p.id AND p.state = 'active' RETURNING c.project, c.last, p.key), "
                                                    "added AS (INSERT INTO tasks (project, number, title, description, status, priority, assignee, due, created_by) "
                                                    "SELECT counter.project, counter.last, $3::text, COALESCE($4::text, ''), COALESCE($5::text, 'todo'), "
                                                    "COALESCE($6::text, 'normal'), $7::text, $8::date, $9::text FROM counter RETURNING *), "
                                                    "new AS (SELECT added.*, counter.key AS project_key FROM added, counter) " ONCE_DONE(
                                                                    "$10",
                                                                    "$11",
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

/* The text of a member, or NULL where it is not set. */
static const char *value(const FieldText *t) {
        return t->set ? t->value : NULL;
}

static const char *flag(const FieldText *t) {
        return t->set ? "true" : "false";
}

static int run_once(
                const StoreCall *c,
                const StoreOnce *once,
                const MamPgStatement *work,
                const char *const *parameters,
                size_t n_parameters) {
        const char *const claim[] = { once->subject, once->key, once->fingerprint };
        const MamPgStep steps[] = {
                { &once_claim, claim, MAM_ELEMENTSOF(claim) },
                { work, parameters, n_parameters },
                { &once_answer, claim, MAM_ELEMENTSOF(claim) },
        };

        return mam_pg_run(c->pg, c->query, steps, MAM_ELEMENTSOF(steps), c->callback, c->userdata);
}

int store_project_create(
                const StoreCall *c,
                const ProjectDraft *d,
                const char *subject,
                const StoreOnce *once) {
        assert(c);
        assert(d);
        assert(subject);

        if (once) {
                const char *const p[] = { value(&d->key),   value(&d->name), value(&d->description),
                                          value(&d->state), subject,         once->subject,
                                          once->key };

                return run_once(c, once, &once_project, p, MAM_ELEMENTSOF(p));
        }
        return RUN(c,
                   &project_create,
                   value(&d->key),
                   value(&d->name),
                   value(&d->description),
                   value(&d->state),
                   subject);
}

int store_project_get(const StoreCall *c, const StoreTarget *t) {
        return RUN(c, &project_get, t->project_id, t->project_key);
}

int store_project_update(
                const StoreCall *c,
                const StoreTarget *t,
                const Condition *versions,
                const ProjectDraft *d) {
        char array[CONDITION_TEXT_SIZE];

        return RUN(c,
                   &project_update,
                   t->project_id,
                   t->project_key,
                   condition_to_array(versions, array),
                   value(&d->name),
                   value(&d->description),
                   value(&d->state));
}

int store_project_delete(const StoreCall *c, const StoreTarget *t, const Condition *versions) {
        char array[CONDITION_TEXT_SIZE];

        return RUN(c, &project_delete, t->project_id, t->project_key, condition_to_array(versions, array));
}

int store_project_list(const StoreCall *c, const StoreList *l) {
        char usec[24] = "", limit[16];

        if (l->after)
                (void) snprintf(usec, sizeof(usec), "%" PRIi64, l->after->created_usec);
        (void) snprintf(limit, sizeof(limit), "%u", l->limit);
        return RUN(c,
                   &project_list,
                   l->after ? usec : NULL,
                   l->after ? l->after->id : NULL,
                   l->status,
                   l->text,
                   limit);
}

int store_task_create(
                const StoreCall *c,
                const StoreTarget *t,
                const TaskDraft *d,
                const char *subject,
                const StoreOnce *once) {
        const char *const p[] = {
                t->project_id,
                t->project_key,
                value(&d->title),
                value(&d->description),
                value(&d->status),
                value(&d->priority),
                value(&d->assignee),
                value(&d->due),
                subject,
                once ? once->subject : NULL,
                once ? once->key : NULL,
        };

        if (once)
                return run_once(c, once, &once_task, p, MAM_ELEMENTSOF(p));
        return mam_pg_query(
                        c->pg,
                        c->query,
                        &task_create,
                        p,
                        MAM_ELEMENTSOF(p) - 2,
                        c->callback,
                        c->userdata);
}

int store_task_get(const StoreCall *c, const StoreTarget *t) {
        return RUN(c, &task_get, t->project_id, t->project_key, t->task_id, t->task_number, t->task_project);
}

int store_task_update(
                const StoreCall *c,
                const StoreTarget *t,
                const Condition *versions,
                const TaskDraft *d) {
        char array[CONDITION_TEXT_SIZE];

        return RUN(c,
                   &task_update,
                   t->project_id,
                   t->project_key,
                   t->task_id,
                   t->task_number,
                   t->task_project,
                   condition_to_array(versions, array),
                   value(&d->title),
                   value(&d->description),
                   value(&d->status),
                   value(&d->priority),
                   flag(&d->assignee),
                   value(&d->assignee),
                   flag(&d->due),
                   value(&d->due));
}

int store_task_delete(const StoreCall *c, const StoreTarget *t, const Condition *versions) {
        char array[CONDITION_TEXT_SIZE];

        return RUN(c,
                   &task_delete,
                   t->project_id,
                   t->project_key,
                   t->task_id,
                   t->task_number,
                   t->task_project,
                   condition_to_array(versions, array));
}

int store_task_list(const StoreCall *c, const StoreTarget *t, const StoreList *l) {
        char usec[24] = "", limit[16];

        if (l->after)
                (void) snprintf(usec, sizeof(usec), "%" PRIi64, l->after->created_usec);
        (void) snprintf(limit, sizeof(limit), "%u", l->limit);
        return RUN(c,
                   &task_list,
                   t->project_id,
                   t->project_key,
                   l->after ? usec : NULL,
                   l->after ? l->after->id : NULL,
                   l->status,
                   l->assignee,
                   l->text,
                   limit);
}

int store_purge(const StoreCall *c) {
        return mam_pg_query(c->pg, c->query, &purge, NULL, 0, c->callback, c->userdata);
}

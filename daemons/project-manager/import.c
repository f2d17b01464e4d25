/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>
#include <stdio.h>

#include "project-manager/import.h"

#define IMPORT_JSON(i)                                                                                           \
        "(SELECT row_to_json(x)::text FROM (SELECT " i ".id, " i ".project, " i ".state, " i                     \
        ".rows_done AS rows, "                                                                                   \
        "(SELECT count(*) FROM import_rows r WHERE r.import = " i                                                \
        ".id AND r.outcome = 'imported') AS imported, "                                                          \
        "(SELECT count(*) FROM import_rows r WHERE r.import = " i                                                \
        ".id AND r.outcome = 'present') AS present, "                                                            \
        "(SELECT count(*) FROM import_rows r WHERE r.import = " i                                                \
        ".id AND r.outcome = 'rejected') AS rejected, "                                                          \
        "(SELECT count(*) FROM import_rows r WHERE r.import = " i ".id AND r.task IS NOT NULL) AS tasks, "       \
        "COALESCE((SELECT json_agg(json_build_object('row', r.row, 'external', r.external, 'reason', r.reason) " \
        "ORDER BY r.row) FROM (SELECT * FROM import_rows r WHERE r.import = " i                                  \
        ".id AND r.outcome = 'rejected' ORDER BY r.row LIMIT 100) r), '[]') AS problems, " i                     \
        ".created_by, "                                                                                          \
        "to_char(" i                                                                                             \
        ".created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS created_at) x)"
#define IMPORT_ROW(i) IMPORT_JSON(i) ", " i ".rows_done, " i ".id"

static const MamPgStatement begin = {
        .name = "import-begin",
        .sql = "INSERT INTO imports (id, project, header, created_by) SELECT $3::uuid, p.id, $4::text, $5::text "
               "FROM projects p WHERE " STORE_IS_PROJECT(
                               "p") " AND p.state = 'active' ON CONFLICT (id) DO NOTHING",
        .idempotent = true,
};

static const MamPgStatement begun = {
        .name = "import-begun",
        .sql = "SELECT i.rows_done, i.state, i.project = p.id AND i.header = $4::text AND i.created_by = $5::text "
               "FROM imports i, projects p WHERE i.id = $3::uuid AND " STORE_IS_PROJECT(
                               "p") " AND p.state = 'active'",
        .idempotent = true,
};

/* May be sent again: the second time nothing matches rows_done, so it is known not to be lost only by
 * looking; the caller begins anew then. */
static const MamPgStatement add = {
        .name = "import-add",
        .sql = "WITH i AS (UPDATE imports SET rows_done = $3::integer, updated_at = now() WHERE id = $1::uuid "
               "AND rows_done = $2::integer AND state = 'running' AND EXISTS (SELECT FROM projects p "
               "WHERE p.id = imports.project AND p.state = 'active') RETURNING id, project), "
               "given AS (SELECT r.*, row_number() OVER (PARTITION BY r.external ORDER BY r.row) AS nth "
               "FROM json_to_recordset($4::json) AS r(row integer, external text, title text, description text, status text, "
               "priority text, assignee text, due date, estimate numeric, labels text[])), "
               "fresh AS (SELECT g.*, row_number() OVER (ORDER BY g.row) AS k FROM given g, i WHERE g.external IS NULL OR "
               "(g.nth = 1 AND NOT EXISTS (SELECT FROM tasks t WHERE t.project = i.project AND t.external = g.external))), "
               "counter AS (UPDATE task_counters c SET last = c.last + (SELECT count(*) FROM fresh) FROM i "
               "WHERE c.project = i.project RETURNING c.project, c.last - (SELECT count(*) FROM fresh) AS base), "
               "made AS (INSERT INTO tasks (project, number, title, description, status, priority, assignee, due, created_by, "
               "labels, estimate, external) SELECT c.project, c.base + f.k, f.title, COALESCE(f.description, ''), "
               "COALESCE(f.status, 'todo'), COALESCE(f.priority, 'normal'), f.assignee, f.due, $6::text, "
               "COALESCE(f.labels, '{}'), f.estimate, f.external FROM fresh f, counter c RETURNING id, number), "
               "noted AS (INSERT INTO import_rows (import, row, external, task, outcome, reason) "
               "SELECT i.id, f.row, f.external, m.id, 'imported', NULL FROM i, counter c, fresh f, made m "
               "WHERE m.number = c.base + f.k "
               "UNION ALL SELECT i.id, g.row, g.external, NULL, 'present', NULL FROM i, given g "
               "WHERE NOT EXISTS (SELECT FROM fresh f WHERE f.row = g.row) "
               "UNION ALL SELECT i.id, r.row, r.external, NULL, 'rejected', r.reason FROM i, "
               "json_to_recordset($5::json) AS r(row integer, external text, reason text)) "
               "SELECT id FROM i",
};

static const MamPgStatement finish = {
        .name = "import-finish",
        .sql = "UPDATE imports SET state = 'finished', updated_at = now() WHERE id = $1::uuid AND state = 'running'",
        .idempotent = true,
};

static const MamPgStatement get = {
        .name = "import-get",
        .sql = "SELECT " IMPORT_ROW("i") " FROM imports i, projects p WHERE i.id = $3::uuid AND i.project = p.id AND " STORE_IS_PROJECT(
                        "p"),
        .idempotent = true,
};

static const MamPgStatement rows = {
        .name = "import-rows",
        .sql = "SELECT json_build_object('row', r.row, 'outcome', r.outcome, 'external', r.external, 'reason', r.reason, "
               "'task', p.key || '-' || t.number)::text, r.row FROM projects p JOIN imports i ON i.project = p.id "
               "JOIN import_rows r ON r.import = i.id LEFT JOIN tasks t ON t.id = r.task "
               "WHERE " STORE_IS_PROJECT(
                               "p") " AND i.id = $3::uuid AND r.row > $5::integer "
                                    "AND ($4::text IS NULL OR r.outcome = $4::text) ORDER BY r.row LIMIT $6::integer",
        .idempotent = true,
};

static const MamPgStatement revert = {
        .name = "import-revert",
        .sql = "WITH i AS (UPDATE imports i SET state = 'reverted', updated_at = now() FROM projects p "
               "WHERE i.id = $3::uuid AND i.project = p.id AND " STORE_IS_PROJECT(
                               "p") " RETURNING i.id) "
                                    "DELETE FROM tasks t USING i, import_rows r, " STORE_ACTOR(
                                                    "$4") " WHERE r.import = i.id AND r.task = t.id AND t.version = 1",
        .idempotent = true,
};

/* One after the other in one transaction; the result is the last one's. */
static int run_two(
                const StoreCall *c,
                const MamPgStatement *first,
                const MamPgStatement *second,
                const char *const *parameters,
                size_t n_first,
                size_t n_second) {
        const MamPgStep steps[] = {
                { .statement = first, .parameters = parameters, .n_parameters = n_first },
                { .statement = second, .parameters = parameters, .n_parameters = n_second },
        };

        return mam_pg_run(c->pg, c->query, steps, MAM_ELEMENTSOF(steps), c->callback, c->userdata);
}

int import_begin(
                const StoreCall *c,
                const StoreTarget *t,
                const char *id,
                const char *header,
                const char *subject) {
        const char *const p[] = { t->project_id, t->project_key, id, header, subject };

        return run_two(c, &begin, &begun, p, MAM_ELEMENTSOF(p), MAM_ELEMENTSOF(p));
}

int import_add(const StoreCall *c, const char *id, const ImportChunk *chunk, const char *subject) {
        char done[16], all_done[16];
        const char *const p[] = { id, done, all_done, chunk->rows, chunk->rejected, subject };

        (void) snprintf(done, sizeof(done), "%" PRIu32, chunk->done);
        (void) snprintf(all_done, sizeof(all_done), "%" PRIu32, chunk->all_done);
        return store_run(c, &add, p, MAM_ELEMENTSOF(p));
}

int import_finish(const StoreCall *c, const char *id) {
        const char *const p[] = { id };

        return store_run(c, &finish, p, MAM_ELEMENTSOF(p));
}

int import_get(const StoreCall *c, const StoreTarget *t, const char *id) {
        const char *const p[] = { t->project_id, t->project_key, id };

        return store_run(c, &get, p, MAM_ELEMENTSOF(p));
}

int import_rows(const StoreCall *c,
                const StoreTarget *t,
                const char *id,
                const char *outcome,
                uint32_t after,
                unsigned limit) {
        char after_text[16], limit_text[16];
        const char *const p[] = { t->project_id, t->project_key, id, outcome, after_text, limit_text };

        (void) snprintf(after_text, sizeof(after_text), "%" PRIu32, after);
        (void) snprintf(limit_text, sizeof(limit_text), "%u", limit);
        return store_run(c, &rows, p, MAM_ELEMENTSOF(p));
}

int import_revert(const StoreCall *c, const StoreTarget *t, const char *id, const char *subject) {
        const char *const p[] = { t->project_id, t->project_key, id, subject };

        return run_two(c, &revert, &get, p, 4, 3);
}

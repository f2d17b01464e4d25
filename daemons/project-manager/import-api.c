/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /api/v1/projects/{project}/imports/{import}
 *
 * A file is read as it comes. Its rows are gathered into chunks; while one is on its way to the database,
 * nothing is read. step() says what is next, from what is there: it is called after each piece of the body
 * and each answer.
 */

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "libmam/auth/digest.h"
#include "project-manager/api.h"
#include "project-manager/csv.h"
#include "project-manager/import-map.h"
#include "project-manager/import.h"

#define FILE_MAX      (64U * 1024U * 1024U)
#define CHUNK_ROWS    250U
#define CHUNK_BYTES   (1024U * 1024U)
#define PROBLEMS_TOLD 100U
#define ROWS_MAX      1000000U

typedef struct Upload {
        Request *request; /* weak: it owns us */
        Csv *csv;
        ImportMap map;
        char header[65];                            /* hash; "": not read yet */
        char names[IMPORT_IGNORED][128];            /* columns that the client named */
        json_object *columns;                       /* the file's names, and what they were taken for */
        json_object *rows, *rejected;               /* the chunk */
        size_t bytes;                               /* of it, about */
        uint32_t n_rows, done, n_valid, n_rejected; /* seen; known to be done by the database */
        bool dry_run, begun, ended, finished, asking;
        char problem[320]; /* why the file ends here */
} Upload;

static void upload_free(void *more) {
        Upload *u = more;

        csv_free(u->csv);
        json_object_put(u->columns);
        json_object_put(u->rows);
        json_object_put(u->rejected);
        free(u);
}

/* ---- rows ---- */

static int read_header(Upload *u, const CsvRecord *record) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        const char *names[IMPORT_IGNORED];
        int r;

        for (unsigned t = 0; t < IMPORT_IGNORED; t++)
                names[t] = *u->names[t] ? u->names[t] : NULL;
        r = import_map_read(&u->map, record, names, u->problem);
        for (size_t i = 0; i < record->n && r >= 0; i++) {
                const char *name = import_target_name(u->map.targets[i]);

                if (!field_text_is_utf8(record->fields[i])) {
                        (void) snprintf(u->problem,
                                        sizeof(u->problem),
                                        "The name of column %zu is not UTF-8",
                                        i + 1);
                        return -EBADMSG;
                }
                r = json_object_object_add(
                                u->columns,
                                record->fields[i],
                                name ? json_object_new_string(name) : NULL);
                if (r >= 0)
                        r = mam_buffer_append(&text, record->fields[i], strlen(record->fields[i]) + 1);
        }
        return r < 0 ? r : mam_sha256_text(u->header, mam_buffer_bytes(&text), text.size);
}

/* "title: must not be empty; due: must be a date" */
static void explain(char *ret, size_t size, const FieldErrors *e) {
        size_t n = 0;

        *ret = '\0';
        for (size_t i = 0; i < e->n && i < FIELD_ERRORS_MAX && n < size; i++)
                n += (size_t) snprintf(
                                ret + n,
                                size - n,
                                "%s%s%s%s",
                                i > 0 ? "; " : "",
                                e->errors[i].pointer + (*e->errors[i].pointer == '/'),
                                *e->errors[i].pointer ? ": " : "",
                                e->errors[i].detail);
}

static int reject(Upload *u, json_object *body, const FieldErrors *e) {
        _cleanup_(json_object_putp) json_object *row = json_object_new_object();
        json_object *external = NULL;
        char reason[1000];
        int r;

        explain(reason, sizeof(reason), e);
        (void) json_object_object_get_ex(body, "external", &external);
        u->n_rejected++;
        if (u->dry_run && json_object_array_length(u->rejected) >= PROBLEMS_TOLD)
                return 0;
        r = row ? field_put(row, "row", json_object_new_int64(u->n_rows)) : -ENOMEM;
        if (r >= 0)
                r = json_object_object_add(row, "external", json_object_get(external)) < 0 ? -ENOMEM : 0;
        if (r >= 0)
                r = field_put(row, "reason", json_object_new_string(reason));
        return r < 0 ? r : field_append(u->rejected, MAM_TAKE(row));
}

static int read_row(Upload *u, const CsvRecord *record) {
        _cleanup_(json_object_putp) json_object *body = NULL;
        FieldErrors errors = { 0 };
        int r;

        if (u->n_rows == ROWS_MAX) {
                (void) snprintf(u->problem, sizeof(u->problem), "There are more than %u rows", ROWS_MAX);
                return -EBADMSG;
        }
        u->n_rows++;
        if (u->n_rows <= u->done)
                return 0;
        r = import_map_row(&u->map, record, &body, &errors);
        if (r < 0)
                return r;
        if (errors.n > 0)
                return reject(u, body, &errors);
        u->n_valid++;
        if (u->dry_run)
                return 0;
        for (size_t i = 0; i < record->n; i++)
                u->bytes += strlen(record->fields[i]);
        r = field_put(body, "row", json_object_new_int64(u->n_rows));
        return r < 0 ? r : field_append(u->rows, MAM_TAKE(body));
}

static int on_record(const CsvRecord *record, void *userdata) {
        Upload *u = userdata;
        int r = *u->header ? read_row(u, record) : read_header(u, record);

        if (r == -EBADMSG) { /* what the parser would say is less */
                char problem[sizeof(u->problem)];

                memcpy(problem, u->problem, sizeof(problem));
                (void) snprintf(u->problem,
                                sizeof(u->problem),
                                "Line %" PRIu64 ": %.250s",
                                record->line,
                                problem);
        }
        return r;
}

/* ---- answers ---- */

/* The import as the database has it, with the columns of this file in front. */
static void on_summary(Request *q, const MamPgResult *result) {
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        const Upload *u = q->more;
        int r;

        if (mam_pg_rows(result) == 0) {
                request_problem(q, 404, "There is no such import");
                return;
        }
        if (u && *u->header) {
                r = mam_buffer_appendf(
                                &body,
                                "{\"columns\":%s,%s",
                                mam_json_to_string(u->columns),
                                mam_pg_text(result, 0, STORE_JSON) + 1);
        } else
                r = mam_buffer_append_string(&body, mam_pg_text(result, 0, STORE_JSON));
        if (r >= 0)
                r = mam_http_exchange_respond(
                                q->x,
                                200,
                                "application/json",
                                mam_buffer_bytes(&body),
                                body.size);
        request_end(q, r);
}

static void answer_summary(Request *q) {
        StoreCall call = request_call(q, on_summary);

        request_end(q,
                    request_started(q, import_get(&call, &q->target, mam_route_parameter(q->x, "import"))));
}

static void answer_dry(Upload *u) {
        Request *q = u->request;
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        int r;

        r = o ? field_put(o, "dry_run", json_object_new_boolean(true)) : -ENOMEM;
        if (r >= 0)
                r = field_put(o, "columns", json_object_get(u->columns));
        if (r >= 0)
                r = field_put(o, "rows", json_object_new_int64(u->n_rows));
        if (r >= 0)
                r = field_put(o, "valid", json_object_new_int64(u->n_valid));
        if (r >= 0)
                r = field_put(o, "rejected", json_object_new_int64(u->n_rejected));
        if (r >= 0)
                r = field_put(o, "problems", json_object_get(u->rejected));
        if (r >= 0) {
                const char *text = mam_json_to_string(o);

                r = text ? mam_http_exchange_respond(q->x, 200, "application/json", text, strlen(text))
                         : -ENOMEM;
        }
        request_end(q, r);
}

static void answer_problem(Upload *u) {
        u->finished = true;
        if (u->done > 0)
                request_problem(u->request,
                                400,
                                "%s. The %" PRIu32
                                " rows before are done: mend the file and send it again with the same id to go on",
                                u->problem,
                                u->done);
        else
                request_problem(u->request, 400, "%s", u->problem);
}

/* ---- what is next ---- */

static void step(Upload *u);

/* Rows that are done. */
static int list_forget(json_object **list, uint32_t done) {
        json_object *left = json_object_new_array(), *number;
        int r = left ? 0 : -ENOMEM;

        for (size_t i = 0; i < json_object_array_length(*list) && r >= 0; i++) {
                json_object *row = json_object_array_get_idx(*list, i);

                if (json_object_object_get_ex(row, "row", &number) && json_object_get_int64(number) > done)
                        r = field_append(left, json_object_get(row));
        }
        if (r < 0) {
                json_object_put(left);
                return r;
        }
        json_object_put(*list);
        *list = left;
        return 0;
}

static int forget_done(Upload *u) {
        int r = list_forget(&u->rows, u->done);

        if (r >= 0)
                r = list_forget(&u->rejected, u->done);
        u->bytes = 0;
        return r;
}

static void go_on(Upload *u) {
        if (forget_done(u) >= 0) {
                step(u);
                return;
        }
        u->finished = true;
        request_problem(u->request, 500, "The request failed");
}

/* Nothing was added where the import is further than was known: somebody else goes on with it, or a replica
 * that was killed had sent more than was seen. Then it is looked at again. */
static void on_added(Request *q, const MamPgResult *result) {
        Upload *u = q->more;

        u->asking = false;
        if (mam_pg_rows(result) > 0)
                u->done = u->n_rows;
        else
                u->begun = false;
        go_on(u);
}

static int add_chunk(Upload *u) {
        StoreCall call = request_call(u->request, on_added);
        const ImportChunk chunk = {
                .rows = mam_json_to_string(u->rows),
                .rejected = mam_json_to_string(u->rejected),
                .done = u->done,
                .all_done = u->n_rows,
        };

        if (!chunk.rows || !chunk.rejected)
                return -ENOMEM;
        u->asking = true;
        return import_add(
                        &call,
                        mam_route_parameter(u->request->x, "import"),
                        &chunk,
                        mam_service_identity(u->request->x)->subject);
}

static void on_begun(Request *q, const MamPgResult *result) {
        Upload *u = q->more;
        const char *state = mam_pg_text(result, 0, IMPORT_STATE);

        u->asking = false;
        u->finished = true;
        if (mam_pg_rows(result) == 0)
                request_problem(q, 404, "There is no such project, or it is archived");
        else if (*mam_pg_text(result, 0, IMPORT_SAME) != 't')
                request_problem(q,
                                409,
                                "An import with this id exists, of another project, file or person: choose a new id");
        else if (strcmp(state, "reverted") == 0)
                request_problem(q, 409, "This import was reverted: choose a new id");
        else if (strcmp(state, "finished") == 0)
                answer_summary(q);
        else {
                u->finished = false;
                u->begun = true;
                u->done = (uint32_t) mam_pg_int(result, 0, IMPORT_ROWS_DONE);
                go_on(u);
        }
}

static int begin_import(Upload *u) {
        StoreCall call = request_call(u->request, on_begun);

        u->asking = true;
        return import_begin(
                        &call,
                        &u->request->target,
                        mam_route_parameter(u->request->x, "import"),
                        u->header,
                        mam_service_identity(u->request->x)->subject);
}

static void on_finished(Request *q, const MamPgResult *result) {
        answer_summary(q);
}

static int finish_import(Upload *u) {
        StoreCall call = request_call(u->request, on_finished);

        u->asking = u->finished = true;
        return import_finish(&call, mam_route_parameter(u->request->x, "import"));
}

static bool chunk_is_full(const Upload *u) {
        return u->n_rows - u->done >= CHUNK_ROWS || u->bytes >= CHUNK_BYTES; /* n_rows is larger */
}

static void step(Upload *u) {
        bool over = u->ended || *u->problem;
        int r = 0;

        if (u->asking || u->finished)
                return;
        if (u->dry_run && over && !*u->problem) {
                u->finished = true;
                answer_dry(u);
                return;
        }
        if (*u->header && !u->begun && !u->dry_run)
                r = begin_import(u);
        else if (u->begun && u->n_rows > u->done && (over || chunk_is_full(u)))
                r = add_chunk(u);
        else if (*u->problem)
                answer_problem(u);
        else if (u->ended)
                r = finish_import(u);
        if (r < 0) {
                u->finished = true;
                if (request_started(u->request, r) < 0)
                        request_problem(u->request, 500, "The request failed");
                return;
        }
        if (u->asking)
                mam_http_exchange_pause_body(u->request->x);
        else if (!u->finished)
                mam_http_exchange_resume_body(u->request->x);
}

static int on_data(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Upload *u = userdata;
        CsvError csv_error;
        int r;

        if (error < 0 || u->finished || *u->problem)
                return 0; /* the server answers, or we have */
        r = csv_feed(u->csv, data, size, &csv_error);
        if (r == -EBADMSG && !*u->problem)
                (void) snprintf(u->problem,
                                sizeof(u->problem),
                                "Line %" PRIu64 ": %s",
                                csv_error.line,
                                csv_error.message);
        if (r < 0 && r != -EBADMSG)
                return r;
        if (size == 0) {
                u->ended = true;
                if (!*u->header && !*u->problem)
                        (void) snprintf(u->problem, sizeof(u->problem), "The file is empty");
        }
        step(u);
        return 0;
}

/* ---- handlers ---- */

static int begin(Request **ret, MamHttpExchange *x, App *app) {
        int r = request_new(ret, x, app, &task_resource);

        if (r < 0)
                return r;
        if (!request_check_database(*ret) || !request_check_project(*ret))
                return 0;
        if (!uuid_is_valid(mam_route_parameter(x, "import"))) {
                request_problem(*ret,
                                404,
                                "There is no such import: an import's id is a UUID that its client chooses");
                return 0;
        }
        return 1;
}

static bool content_is_csv(MamHttpExchange *x) {
        const char *type = mam_http_exchange_header(x, "Content-Type");

        return type && strncasecmp(type, "text/csv", strlen("text/csv")) == 0 &&
               strchr("; \t", type[strlen("text/csv")]);
}

/* dry_run and column.…: -EINVAL after an answer. */
static int read_parameters(Upload *u) {
        Request *q = u->request;
        char name[40], value[8] = "";
        int r;

        r = mam_http_query_get(mam_http_exchange_head(q->x)->query, "dry_run", value, sizeof(value));
        u->dry_run = r > 0 && strcmp(value, "true") == 0;
        if (r < 0 || (r > 0 && !u->dry_run && strcmp(value, "false") != 0)) {
                request_problem(q, 400, "The parameter \"dry_run\" must be true or false");
                return -EINVAL;
        }
        for (unsigned t = 0; t < IMPORT_IGNORED; t++) {
                (void) snprintf(name, sizeof(name), "column.%s", import_target_name(t));
                r = mam_http_query_get(
                                mam_http_exchange_head(q->x)->query,
                                name,
                                u->names[t],
                                sizeof(u->names[t]));
                if (r < 0 || !field_text_is_plain(u->names[t])) {
                        request_problem(q, 400, "The parameter \"%s\" is no name of a column", name);
                        return -EINVAL;
                }
        }
        return 0;
}

int handle_import_put(MamHttpExchange *x, void *userdata) {
        Request *q;
        Upload *u;
        int r;

        r = begin(&q, x, userdata);
        if (r <= 0)
                return r;
        if (!content_is_csv(x)) {
                (void) mam_http_exchange_add_field(x, "Accept", "text/csv");
                request_problem(q, 415, "The body must be text/csv");
                return 0;
        }
        u = calloc(1, sizeof(*u));
        if (!u)
                return -ENOMEM;
        u->request = q;
        q->more = u;
        q->free_more = upload_free;
        u->columns = json_object_new_object();
        u->rows = json_object_new_array();
        u->rejected = json_object_new_array();
        if (!u->columns || !u->rows || !u->rejected)
                return -ENOMEM;
        r = csv_new(&u->csv, on_record, u);
        if (r < 0)
                return r;
        if (read_parameters(u) < 0)
                return 0;
        mam_http_exchange_set_body_max(x, FILE_MAX);
        return mam_http_exchange_stream_body(x, on_data, u);
}

int handle_import_get(MamHttpExchange *x, void *userdata) {
        Request *q;
        int r = begin(&q, x, userdata);

        if (r > 0)
                answer_summary(q);
        return r < 0 ? r : 0;
}

int handle_import_delete(MamHttpExchange *x, void *userdata) {
        StoreCall call;
        Request *q;
        int r = begin(&q, x, userdata);

        if (r <= 0)
                return r;
        call = request_call(q, on_summary);
        return request_started(
                        q,
                        import_revert(&call,
                                      &q->target,
                                      mam_route_parameter(x, "import"),
                                      mam_service_identity(x)->subject));
}

static void on_rows(Request *q, const MamPgResult *result) {
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        size_t n = mam_pg_rows(result) > q->limit ? q->limit : mam_pg_rows(result);
        int r;

        r = mam_buffer_append_string(&body, "{\"items\":[");
        for (size_t i = 0; i < n && r >= 0; i++)
                r = mam_buffer_appendf(&body, "%s%s", i > 0 ? "," : "", mam_pg_text(result, i, 0));
        if (r >= 0)
                r = mam_pg_rows(result) > n ? mam_buffer_appendf(
                                                              &body,
                                                              "],\"next\":\"%s\"}",
                                                              mam_pg_text(result, n - 1, 1))
                                            : mam_buffer_append_string(&body, "],\"next\":null}");
        if (r >= 0)
                r = mam_http_exchange_respond(
                                q->x,
                                200,
                                "application/json",
                                mam_buffer_bytes(&body),
                                body.size);
        request_end(q, r);
}

int handle_import_rows(MamHttpExchange *x, void *userdata) {
        static const char *const outcomes[] = { "imported", "present", "rejected", NULL };
        MamHttpRange query = mam_http_exchange_head(x)->query;
        char outcome[16] = "", cursor[16] = "0";
        StoreCall call;
        uint32_t after;
        Request *q;
        int r;

        r = begin(&q, x, userdata);
        if (r <= 0)
                return r;
        if (mam_http_query_get(query, "outcome", outcome, sizeof(outcome)) < 0 ||
            (*outcome && !field_is_choice(outcome, outcomes))) {
                request_problem(q, 400, "The parameter \"outcome\" must be imported, present or rejected");
                return 0;
        }
        if (mam_http_query_get(query, "cursor", cursor, sizeof(cursor)) < 0 ||
            strspn(cursor, "0123456789") != strlen(cursor) || strlen(cursor) > 9) {
                request_problem(q, 400, "The parameter \"cursor\" is not one that this list gave out");
                return 0;
        }
        after = (uint32_t) strtoul(cursor, NULL, 10);
        q->limit = 1000;
        call = request_call(q, on_rows);
        return request_started(
                        q,
                        import_rows(&call,
                                    &q->target,
                                    mam_route_parameter(x, "import"),
                                    *outcome ? outcome : NULL,
                                    after,
                                    q->limit + 1));
}

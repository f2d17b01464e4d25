/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A whole list as lines of JSON
 *
 * Pages are asked for as the client takes them, each behind the last row of the one before, so that a list
 * of any size takes the memory of one page, here and in the database. What comes and goes meanwhile is seen
 * as by a walk with cursors.
 */

#include <stdio.h>
#include <string.h>

#include "project-manager/api.h"

#define PAGE_ROWS 500U

typedef struct Export {
        Request *request; /* weak: it owns us */
        RequestList list;
} Export;

static void export_free(void *more) {
        Export *e = more;

        request_list_done(&e->list);
        free(e);
}

bool export_is_wanted(MamHttpExchange *x) {
        const char *accept = mam_http_exchange_header(x, "Accept");

        return accept && strstr(accept, "application/x-ndjson");
}

static int next_page(Export *e);

static void on_writable(MamHttpExchange *x, void *userdata) {
        if (next_page(userdata) < 0)
                mam_http_exchange_abort(x);
}

/* 1: go on at once; 0: the client is slower. */
static int write_rows(Export *e, const MamPgResult *result, size_t n) {
        _cleanup_(mam_buffer_done) MamBuffer lines = MAM_BUFFER_INIT;
        int r = 0;

        for (size_t i = 0; i < n && r >= 0; i++) {
                r = mam_buffer_append_string(&lines, mam_pg_text(result, i, STORE_JSON));
                if (r >= 0)
                        r = mam_buffer_append(&lines, "\n", 1);
        }
        if (r < 0)
                return r;
        return lines.size > 0 ? mam_http_exchange_write(e->request->x, mam_buffer_bytes(&lines), lines.size)
                              : 1;
}

static int answer_page(Export *e, const MamPgResult *result, size_t n) {
        MamHttpExchange *x = e->request->x;
        int r = 0;

        if (!mam_http_exchange_is_started(x)) {
                r = mam_http_exchange_add_field(x, "Content-Type", "application/x-ndjson");
                if (r >= 0)
                        r = mam_http_exchange_start(x, 200, -1);
                if (r < 0)
                        return r;
        }
        r = write_rows(e, result, n);
        if (r < 0)
                return r;
        if (n < PAGE_ROWS)
                return mam_http_exchange_end(x);

        e->list.cursor.created_usec = mam_pg_int(result, n - 1, STORE_CREATED_USEC);
        (void) snprintf(e->list.cursor.id,
                        sizeof(e->list.cursor.id),
                        "%s",
                        mam_pg_text(result, n - 1, STORE_ID));
        e->list.list.after = &e->list.cursor;
        if (r > 0)
                return next_page(e);
        mam_http_exchange_set_on_writable(x, on_writable, e);
        return 0;
}

static void on_page(Request *q, const MamPgResult *result) {
        size_t n = mam_pg_rows(result);
        int r;

        if (n == 0 && q->resource->check_list && !mam_http_exchange_is_started(q->x)) {
                request_problem(q, 404, "There is no such project");
                return;
        }
        if (n > 0 && mam_pg_is_null(result, 0, STORE_JSON))
                n = 0;
        r = answer_page(q->more, result, n);
        if (r < 0 && r != -EPIPE)
                mam_http_exchange_abort(q->x);
}

static int next_page(Export *e) {
        StoreCall call = request_call(e->request, on_page);

        return e->request->resource->list(&call, &e->request->target, &e->list.list);
}

int export_list(Request *q) {
        Export *e = calloc(1, sizeof(*e));

        if (!e)
                return -ENOMEM;
        e->request = q;
        q->more = e;
        q->free_more = export_free;
        if (!request_check_list(q, &e->list))
                return 0;
        e->list.list.limit = PAGE_ROWS;
        return request_started(q, next_page(e));
}

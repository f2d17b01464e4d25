/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One request to the API
 *
 * A Request hangs on its exchange and is freed with it. From a successful store call on, the callback owes
 * the answer; if the client leaves before, the query is cancelled and the callback never runs. Functions
 * named request_check_… return true to go on, and have answered otherwise.
 */

#include "libmam/service/service.h"
#include "project-manager/store.h"

typedef struct App {
        MamService *service;          /* weak */
        MamPg *pg;                    /* owned */
        sd_event_source *purge_timer; /* owned */
        uint64_t away_usec;           /* monotonic: since when the database is away; 0: it is there */
} App;

typedef struct Request Request;
typedef int (*RequestHandler)(Request *q);

struct Request {
        MamHttpExchange *x; /* weak: it owns us */
        App *app;           /* weak */
        MamPgQuery *query;  /* owned while it runs */
        const char *what;   /* a literal: "project" or "task", for messages */

        StoreTarget target;
        char task_project[11], task_number[12];
        Condition versions; /* If-Match */

        RequestHandler with_body; /* runs when the body has been read and parsed */
        json_object *body;        /* owned */
        FieldErrors errors;
        bool once; /* an Idempotency-Key was sent */
        char once_key[129];
        char fingerprint[65];
        unsigned limit; /* lists */
};

/* Makes the request of an exchange. */
int request_new(Request **ret, MamHttpExchange *x, App *app, const char *what);
StoreCall request_call(Request *q, MamPgCallback callback);

/* 503 at once if the database has been away for a while; a short absence is waited for in the pool's queue.
 */
bool request_check_database(Request *q);
/* {project} and {task} of the path: 404 if they cannot name anything. */
bool request_check_project(Request *q);
bool request_check_task(Request *q);
/* If-Match: 428 without, 400 malformed. */
bool request_check_if_match(Request *q);
/* Content-Type, then reads the body; handler goes on when it is a JSON document. 415, 400. */
int request_read_json(Request *q, bool patch, RequestHandler handler);
/* Idempotency-Key, with the fingerprint of this request: 400. */
bool request_check_once(Request *q);
/* true: the errors of the body were answered with 422. */
bool request_answered_errors(Request *q);

/* The callback's first line: the query is over. true: there is a result to look at. */
bool request_check_result(Request *q, int error, const char *message);
/* Answers with a row that is a project or task; status 200 or 201, 304 where If-None-Match says so. */
void request_answer_row(Request *q, unsigned status, const MamPgResult *result);
/* Answers with a list; limit + 1 rows were asked for. kind as for cursors. */
void request_answer_list(Request *q, const MamPgResult *result, char kind);
void request_answer_empty(Request *q, unsigned status);
void request_problem(Request *q, unsigned status, const char *format, ...) _printf_(3, 4);
/* What a store call returned that could not be started: 503 where that is a matter of time. Returns what a
 * handler returns. */
int request_started(Request *q, int r);

/* The parameters limit, cursor, q, and filters of a list. *ret borrows from the caller's buffers. 400. */
typedef struct RequestList {
        StoreList list;
        Cursor cursor;
        char status[32], assignee[640], text[640];
} RequestList;
bool request_check_list(
                Request *q,
                RequestList *ret,
                char kind,
                const char *status_name,
                const char *const *statuses);

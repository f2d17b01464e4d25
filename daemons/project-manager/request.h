/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One request to the API
 *
 * A Request hangs on its exchange and is freed with it. From a successful store call on, its on_result owes
 * the answer; if the client leaves before, the query is cancelled and on_result never runs. Functions
 * named request_check_… return true to go on, and have answered otherwise.
 */

#include "libmam/service/service.h"
#include "project-manager/store.h"

typedef struct App {
        MamService *service;          /* weak */
        MamPg *pg;                    /* owned */
        sd_event_source *purge_timer; /* owned */
        bool has_trigrams;            /* the database finds words with typos */
        uint64_t away_usec;           /* monotonic: since when the database is away; 0: it is there */
} App;

typedef struct Request Request;
typedef int (*RequestHandler)(Request *q);
typedef void (*RequestAnswer)(Request *q, const MamPgResult *result);

/* What projects and tasks do not share. Functions that get a StoreCall start one of the store's with it, and
 * return what that returned; or 0 when they have answered. */
typedef struct Resource {
        const char *name;                 /* for messages */
        char cursor_kind;                 /* of its lists */
        const char *filter;               /* the parameter of its lists … */
        const char *const *filter_values; /* … and what it may be, NULL-terminated */
        bool has_query;                   /* the parameter "query" of its lists */

        bool (*check_list)(Request *q); /* the path of a list names something that may exist; NULL: always */
        bool (*check)(Request *q);      /* the same of the path of one of them */
        int (*create)(Request *q, const StoreCall *c, const StoreOnce *once);
        void (*not_created)(Request *q, const MamPgResult *result); /* answers */
        int (*update)(Request *q, const StoreCall *c);
        int (*list)(const StoreCall *c, const StoreTarget *t, const StoreList *l);
        int (*get)(const StoreCall *c, const StoreTarget *t);
        int (*remove)(const StoreCall *c,
                      const StoreTarget *t,
                      const Condition *versions,
                      const char *subject);
} Resource;

struct Request {
        MamHttpExchange *x;       /* weak: it owns us */
        App *app;                 /* weak */
        MamPgQuery *query;        /* owned while it runs */
        RequestAnswer on_result;  /* runs when the query has succeeded */
        const Resource *resource; /* borrowed */

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
        void *more;     /* of the handler's own; freed with it */
        void (*free_more)(void *more);
};

/* Makes the request of an exchange. */
int request_new(Request **ret, MamHttpExchange *x, App *app, const Resource *resource);
/* For one store call: on_result answers, or makes the next call; an error is answered without it. */
StoreCall request_call(Request *q, RequestAnswer on_result);

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

/* What a callback did to the answer: one that cannot be made ends the connection. */
void request_end(Request *q, int r);
/* Answers with a row that is a project or task; status 200 or 201, 304 where If-None-Match says so. */
void request_answer_row(Request *q, unsigned status, const MamPgResult *result);
/* Answers with a list; limit + 1 rows were asked for. */
void request_answer_list(Request *q, const MamPgResult *result);
void request_answer_empty(Request *q, unsigned status);
void request_problem(Request *q, unsigned status, const char *format, ...) _printf_(3, 4);
/* What a store call returned that could not be started: 503 where that is a matter of time. Returns what a
 * handler returns. */
int request_started(Request *q, int r);

/* The parameters limit, cursor, q, query, and filters of a list. *ret borrows from the caller's buffers.
 * 400. */
typedef struct RequestList {
        StoreList list;
        Cursor cursor;
        char status[32], assignee[640], text[640];
        Query *query; /* owned */
} RequestList;
void request_list_done(RequestList *l);
bool request_check_list(Request *q, RequestList *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of an execution: execute.c is fields and values, fetch.c the requests, answer.c the JSON
 */

#include "api-gateway/graphql/execute.h"
#include "api-gateway/graphql/introspect.h"

typedef struct GqlGroup GqlGroup;
typedef struct GqlPlan GqlPlan;
typedef struct GqlWaiter GqlWaiter;

/* A value of the answer. */
typedef enum GqlNodeKind {
        GQL_NODE_NULL, /* also one that waits for a request */
        GQL_NODE_OBJECT,
        GQL_NODE_LIST,
        GQL_NODE_JSON,
        GQL_NODE_TEXT,
        GQL_NODE_BOOLEAN,
} GqlNodeKind;

struct GqlNode {
        GqlNodeKind kind;
        bool non_null;
        bool failed; /* null because of an error: what is below is of no interest any more */
        bool boolean;
        const char *name; /* in its object; NULL: it is an item */
        unsigned index;   /* in its list */
        GqlNode *parent;
        GqlNode *first, *last, *next;
        union {
                json_object *json; /* borrowed from an answer */
                const char *text;
        };
};

/* Fields that come under one name. */
typedef struct GqlSelected GqlSelected;
struct GqlSelected {
        const GqlSelection *selection;
        GqlSelected *next;
};

struct GqlGroup {
        const char *name;
        const GqlSelection *first;
        const GqlField *field; /* as the object has it */
        const GqlType *parent; /* the object's type */
        GqlSelected *selections, *last;
        GqlPlan *plans;         /* of what is selected below, by type of object */
        json_object *arguments; /* owned; coerced */
        bool arguments_known, arguments_bad;
        GqlGroup *next;
        GqlGroup *with_arguments; /* list, for the end */
};

struct GqlPlan {
        const GqlType *type;
        GqlGroup *groups;
        GqlPlan *next;
};

struct GqlWaiter {
        GqlNode *node;
        GqlGroup *group;
        GqlWaiter *next;
};

struct GqlFetch {
        GqlExecution *execution; /* weak: it owns us */
        GqlRequest request;      /* owned */
        size_t hash;
        GqlWaiter *waiters, *last_waiter;
        bool done;
        unsigned status;
        json_object *json; /* owned; of the answer */
        bool is_json;      /* there was a body, and it was JSON */
        bool is_bad;       /* there was a body, and it was not, or it was too large */
        void *handle;
        GqlFetch *next;       /* of all */
        GqlFetch *next_ready; /* of those who wait for their turn */
};

struct GqlExecution {
        GqlSchema *schema; /* reference */
        GqlArena *arena;   /* borrowed */
        GqlErrors *errors; /* borrowed */
        const GqlOperation *operation;
        json_object *variables; /* borrowed */
        GqlFetcher fetcher;
        void (*on_done)(GqlExecution *x, void *userdata);
        void *userdata;

        GqlNode *root;
        GqlGroup *next_root; /* of a mutation: what comes next */
        GqlGroup *arguments; /* groups that have some */
        unsigned nodes_left, requests_left, n_requests;
        size_t bytes_left;

        GqlFetch *fetches;
        GqlFetch *ready, *last_ready;
        unsigned n_running;
        bool serving; /* fields are being executed: whoever does it looks for the end */
        bool done;
        bool failed; /* out of memory, or the answer is too large: there is no data at all */
};

/* execute.c */
typedef struct GqlOrigin { /* what a selection is made on */
        json_object *json;
        GqlMeta meta;
} GqlOrigin;

GqlError *gql_node_fail(
                GqlExecution *x,
                GqlNode *n,
                const GqlGroup *g,
                const char *code,
                const char *format,
                ...) _printf_(5, 6);
/* Whether nobody will see it. */
bool gql_node_is_lost(const GqlNode *n);
void gql_complete(GqlExecution *x, GqlNode *n, GqlGroup *g, const GqlTypeRef *type, json_object *o);
/* Goes on after something has ended: 1: all is done. */
int gql_execution_continue(GqlExecution *x);

/* fetch.c */
void gql_fetch_for(GqlExecution *x, GqlNode *n, GqlGroup *g, json_object *parent);
void gql_fetch_start_ready(GqlExecution *x);
void gql_fetch_forget(GqlExecution *x);
void gql_fetches_free(GqlExecution *x);

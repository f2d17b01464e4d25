/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Execution (specification, section 6)
 *
 * An execution goes through a valid operation and makes the tree of its answer. Fields with @rest are
 * requests: all that are known at a moment run side by side, at most GQL_RUNNING_MAX at once; the same GET
 * is sent once, however many fields ask for it. Fields of a mutation's root come one after the other. An
 * error leaves null at its field, or at the nearest place above it that may be null.
 */

#include "api-gateway/graphql/errors.h"
#include "api-gateway/graphql/rest.h"
#include "api-gateway/graphql/schema.h"
#include "api-gateway/graphql/validate.h"

typedef struct GqlExecution GqlExecution;
typedef struct GqlFetch GqlFetch;
typedef struct GqlFetcher GqlFetcher;

#define GQL_RUNNING_MAX 16U
#define GQL_ANSWER_MAX  (4U * 1024U * 1024U)  /* of one request */
#define GQL_ANSWERS_MAX (16U * 1024U * 1024U) /* of all requests of an operation */
#define GQL_NODES_MAX   100000U               /* values in an answer */

/* Who carries requests out. */
struct GqlFetcher {
        /* Begins a request, and ends it with gql_fetch_done() later, not from within. *ret_handle is for
         * cancel, which is called for what has not ended. -ENOENT: the service has no such resource for the
         * gateway; -ENOMEM. */
        int (*start)(void **ret_handle, const GqlRequest *q, GqlFetch *f, void *userdata);
        void (*cancel)(void *handle, void *userdata);
        void *userdata;
};

/* status 0: there was no answer; reason (may be NULL) says why. May end the execution, and with it f. */
void gql_fetch_done(GqlFetch *f, unsigned status, const char *body, size_t size);

/* All that is given lives as long as the execution. Takes its own reference to the schema. 1: done already,
 * 0: on_done will run; it may free the execution. */
int gql_execution_start(
                GqlExecution **ret,
                GqlSchema *s,
                GqlArena *arena,
                GqlErrors *errors,
                const GqlOperation *operation,
                json_object *variables,
                unsigned requests_max,
                const GqlFetcher *fetcher,
                void (*on_done)(GqlExecution *x, void *userdata),
                void *userdata);
/* Cancels what is under way. */
GqlExecution *gql_execution_free(GqlExecution *x);
MAM_DEFINE_CLEANUP(GqlExecution, gql_execution_free);

/* The answer as JSON: data of an execution that is done (NULL: there was none), and errors. */
int gql_answer_print(MamBuffer *to, const GqlExecution *x, const GqlErrors *errors);
unsigned gql_execution_requests(const GqlExecution *x);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of /graphql
 */

#include "api-gateway/gateway.h"
#include "api-gateway/graphql.h"
#include "api-gateway/graphql/execute.h"

#define GRAPHQL_TOKENS_MAX 10000U
#define GRAPHQL_ARENA_MAX  (32U * 1024U * 1024U)
#define GRAPHQL_FILES_MAX  256U

struct Graphql {
        Gateway *gateway; /* weak: it owns us */
        sd_event *event;  /* reference */
        MamGatewayGraphqlConfig config;
        GqlSchema *schema;                  /* reference; NULL: there is none */
        char *folders[3];                   /* owned */
        sd_event_source *watch[3];          /* owned */
        MamMetricFamily *metric_operations; /* kind, outcome */
        MamMetric *metric_requests;
};

typedef struct GraphqlRequest GraphqlRequest;

/* One operation of a client; hangs on the exchange, and ends with it. */
struct GraphqlRequest {
        Graphql *graphql;   /* weak */
        MamHttpExchange *x; /* weak: it owns us */
        GqlSchema *schema;  /* reference */
        GqlLimits limits;
        GqlArena *arena; /* owned */
        GqlErrors errors;
        json_object *body; /* owned; what was sent */
        const char *query, *operation_name;
        json_object *sent;        /* borrowed from body: variables */
        json_object *variables;   /* owned; coerced */
        GqlExecution *execution;  /* owned */
        sd_event_source *timeout; /* owned */
        bool is_get;
        bool modern; /* application/graphql-response+json, else application/json */
        bool bad;    /* no GraphQL request at all: 400 in either case */
        bool answered;
        const char *kind; /* "query", "mutation"; "none" where there is no operation */
};

/* graphql-fetch.c */
void graphql_fetcher(GqlFetcher *ret, GraphqlRequest *r);

/* graphql-http.c */
/* What Accept says: true and *ret_modern, or false: nothing that could be answered with. accept NULL: not
 * sent. */
bool graphql_negotiate(const char *accept, bool *ret_modern);
/* Whether a content type is JSON in UTF-8. NULL: not sent. */
bool graphql_is_json(const char *content_type);

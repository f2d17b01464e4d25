/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * /graphql: one address for the resources of all services
 *
 * The schema is read from MAM_DATA_DIR/graphql and from graphql.d beside the configuration, *.graphql of
 * both; a change of a file is taken over at once, if the whole is valid then. Each resource that an
 * operation needs is a request within the client's (libmam/http/http-inner.h): it goes through routes,
 * access, limits and balancing as if the client had sent it.
 *
 *   graphql.c          the schema and what is configured
 *   graphql-http.c     requests and answers over HTTP (the GraphQL over HTTP specification)
 *   graphql-fetch.c    requests to services
 *   graphql/           the language: parser, schema, validation, execution (pure)
 */

#include <systemd/sd-event.h>

#include "libmam/config/gateway.h"
#include "libmam/http/http-server.h"
#include "libmam/obs/metrics.h"

typedef struct Gateway Gateway;
typedef struct Graphql Graphql;

#define GRAPHQL_PATH "/graphql"

/* folders: ends with NULL; NULL: the two said above. A schema that cannot be used is logged, no error. */
int graphql_new(Graphql **ret, Gateway *g, sd_event *event, MamMetrics *metrics, const char *const *folders);
Graphql *graphql_free(Graphql *q);
MAM_DEFINE_CLEANUP(Graphql, graphql_free);
/* At the start and at each change; operations under way go on as they began. */
void graphql_configure(Graphql *q, const MamGatewayGraphqlConfig *c);

/* A stage of the gateway's chain, before routes. 1: not for GraphQL; 0: taken over; <0: an error. */
int graphql_on_request(Graphql *q, MamHttpExchange *x);

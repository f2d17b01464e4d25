/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A schema of a small shop, and services that answer from a table
 */

#include "api-gateway/graphql/execute.h"
#include "api-gateway/graphql/parser.h"
#include "libmam/util/test.h"

#define REQUESTS_MAX 512

typedef struct Shop {
        GqlSchema *schema;
        GqlArena *arena;
        GqlErrors errors;
        GqlLimits limits;
        json_object *variables;
        GqlExecution *execution;
        MamBuffer log; /* "GET /target\n", fields, and bodies, in the order of the requests */
        MamBuffer answer;
        GqlFetch *waiting[REQUESTS_MAX];
        const char *wanted[REQUESTS_MAX]; /* in the log: where the request begins */
        size_t n_waiting, most_waiting, n_requests;
        bool done, hold; /* hold: requests stay without an answer */
} Shop;

extern const char shop_sdl[];

void shop_setup(Shop *s);
void shop_done(Shop *s);
/* Parses, validates, executes: the whole answer as JSON. variables: JSON, or NULL. */
const char *shop_ask(Shop *s, const char *document, const char *variables);
/* The first message of what is wrong with a document; "" if nothing is. */
const char *shop_check(Shop *s, const char *document);

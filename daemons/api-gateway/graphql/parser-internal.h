/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of the parser: parser.c has what both kinds of documents need and what clients send,
 * parser-schema.c the definitions of a schema
 */

#include "api-gateway/graphql/lexer.h"
#include "api-gateway/graphql/parser.h"

typedef struct GqlParser {
        GqlLexer lexer;
        GqlArena *arena;
        GqlErrors *errors;
        unsigned depth;
} GqlParser;

/* All return -EBADMSG with an error, or -ENOMEM. */
int gql_expected(GqlParser *p, const char *what);
bool gql_at(const GqlParser *p, char punctuator);
bool gql_at_keyword(const GqlParser *p, const char *keyword);
/* 1: it was there and is behind us; 0: it is not. */
int gql_skip(GqlParser *p, char punctuator);
int gql_skip_keyword(GqlParser *p, const char *keyword);
int gql_expect(GqlParser *p, char punctuator);
int gql_expect_keyword(GqlParser *p, const char *keyword);
int gql_parse_name(GqlParser *p, const char **ret);
/* constant: without variables. */
int gql_parse_value(GqlParser *p, GqlValue **ret, bool constant);
int gql_parse_directives(GqlParser *p, GqlDirective **ret, bool constant);
int gql_parse_type(GqlParser *p, GqlTypeRef **ret);
/* One level deeper; the caller leaves it with p->depth--. */
int gql_nest(GqlParser *p);

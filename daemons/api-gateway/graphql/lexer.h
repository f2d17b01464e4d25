/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Tokens of GraphQL (specification, section 2.1)
 */

#include "api-gateway/graphql/errors.h"

typedef enum GqlTokenKind {
        GQL_TOKEN_END,
        GQL_TOKEN_PUNCTUATOR, /* its first character is in punctuator; "..." is '.' */
        GQL_TOKEN_NAME,
        GQL_TOKEN_INT,
        GQL_TOKEN_FLOAT,
        GQL_TOKEN_STRING, /* text is what it means */
        GQL_TOKEN_BLOCK_STRING,
} GqlTokenKind;

typedef struct GqlToken {
        GqlTokenKind kind;
        char punctuator;
        GqlPlace place;
        const char *text; /* names and numbers: within the source, not NUL-terminated; strings: in the arena
                           */
        size_t size;
} GqlToken;

typedef struct GqlLexer {
        const char *source; /* borrowed */
        size_t size, at;
        size_t seen; /* up to where lines and columns were counted */
        unsigned line, column;
        unsigned tokens_left;
        GqlArena *arena;
        GqlErrors *errors;
        GqlToken token; /* the one to look at */
} GqlLexer;

/* -EBADMSG with an error: the source is not UTF-8. Then the first token is there, as of gql_lexer_next(). */
int gql_lexer_init(
                GqlLexer *l,
                GqlArena *arena,
                GqlErrors *errors,
                const char *source,
                size_t size,
                unsigned tokens_max);
/* The next token. -EBADMSG with an error. */
int gql_lexer_next(GqlLexer *l);
/* How to call a token in a message: in the arena. */
const char *gql_token_describe(GqlArena *arena, const GqlToken *t);

bool gql_is_utf8(const char *data, size_t size);

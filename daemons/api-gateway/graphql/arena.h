/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Memory of one document
 *
 * What is made of a GraphQL document is made at once, lives together and dies together: it comes from an
 * arena, and nothing in it is freed by itself. An arena has a bound; once an allocation has failed, all
 * later ones fail too, so that it is enough to ask gql_arena_failed() at the end of a step.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "libmam/util/macro.h"

typedef struct GqlArena GqlArena;

int gql_arena_new(GqlArena **ret, size_t max);
GqlArena *gql_arena_free(GqlArena *a);
MAM_DEFINE_CLEANUP(GqlArena, gql_arena_free);

/* Zeroed and aligned for anything, or NULL. */
void *gql_alloc(GqlArena *a, size_t size);
/* A copy with a NUL behind it, or NULL. */
char *gql_copy(GqlArena *a, const char *data, size_t size);
char *gql_printf(GqlArena *a, const char *format, ...) _printf_(2, 3);
char *gql_vprintf(GqlArena *a, const char *format, va_list ap) _printf_(2, 0);
bool gql_arena_failed(const GqlArena *a);

#define GQL_NEW(arena, type) ((type *) gql_alloc((arena), sizeof(type)))

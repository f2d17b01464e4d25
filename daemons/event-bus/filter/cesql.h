/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * CloudEvents SQL Expression Language (CESQL) 1.0
 *
 * Literals, attributes, NOT, arithmetic, comparison, AND OR XOR, LIKE, EXISTS, IN, and the functions LENGTH,
 * CONCAT, CONCAT_WS, LOWER, UPPER, TRIM, LEFT, RIGHT, SUBSTRING, ABS, INT, BOOL, STRING, IS_INT, IS_BOOL,
 * with the implicit casts of the specification (its section 3.7). An expression that meets an error (a
 * missing attribute, a failed cast, a division by zero, integers beyond 32 bits) ends there, and matches
 * nothing. Attributes are strings, cast where needed; an expression that is a string is cast to a boolean at
 * last.
 *
 * Stricter than the specification on purpose: AND, OR and XOR cannot be mixed without parentheses, nor NOT
 * be put in front of a comparison without them. The reference grammar reads both unlike SQL.
 */

#include "libmam/events/event.h"

typedef struct Cesql Cesql;

#define CESQL_NODES_MAX 2000U
#define CESQL_DEPTH_MAX 64U
#define CESQL_STEPS_MAX 500000U /* of one evaluation: nodes and characters */
#define CESQL_MADE_MAX  65536U  /* bytes of strings that one evaluation makes */

/* -EBADMSG with *error (at parent; says at which character); -ENOMEM. */
int cesql_parse(Cesql **ret, const char *text, size_t size, const char *parent, MamJsonError *error);
Cesql *cesql_free(Cesql *c);
MAM_DEFINE_CLEANUP(Cesql, cesql_free);
bool cesql_matches(const Cesql *c, const MamEvent *e);

/* The value as text ("true", "-3", "'abc'"), or "error: " and what; for tests and diagnosis. */
void cesql_explain(const Cesql *c, const MamEvent *e, char *ret, size_t size);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One validation, shared between the files that do it
 *
 * Functions answer 1 (fits), 0 (does not; it was said unless quiet) or a negative errno.
 */

#include "libmam/json/schema-internal.h"
#include "libmam/util/macro.h"

/* Where we are in the instance. */
typedef struct Spot {
        const struct Spot *parent; /* NULL: the root */
        const char *key;           /* NULL: it is an item */
        size_t index;
} Spot;

/* The resources that were entered on the way, innermost first. */
typedef struct Scope {
        const struct Scope *parent;
        const Resource *resource;
} Scope;

/* Which members or items of one value were evaluated. */
typedef struct Seen {
        size_t n;
        uint64_t *bits; /* few, or owned */
        uint64_t few[2];
} Seen;

typedef struct Validation {
        const MamJsonSchema *schema;
        const char *parent; /* pointer of the instance */
        uint64_t steps;     /* left */
        unsigned depth;
        unsigned quiet; /* above 0: errors are not said */
        bool is_explaining;
        MamJsonError *errors;
        size_t n_errors, errors_max;

        pcre2_match_data *match;
        pcre2_match_context *match_context;
        size_t match_at;   /* where the pattern was last */
        size_t match_cost; /* of each step, beside one */
} Validation;

int mam_json_evaluate(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen);

/* Says it unless quiet, returns 0. */
int mam_json_reject(Validation *v, const Spot *spot, const char *keyword, const char *format, ...)
                _printf_(4, 5);
int mam_json_exhausted(Validation *v, const Spot *spot, const char *what);
static inline bool mam_json_spend(Validation *v, uint64_t n) {
        if (v->steps < n) {
                v->steps = 0;
                return false;
        }
        v->steps -= n;
        return true;
}
/* Whether nothing more is to be found out once something does not fit. */
static inline bool mam_json_is_decided(const Validation *v) {
        return v->quiet > 0 || v->n_errors >= v->errors_max;
}

int mam_json_pattern_matches(Validation *v, const Pattern *p, const char *s, size_t n, const Spot *spot);

int mam_json_seen_init(Seen *s, json_object *o);
void mam_json_seen_done(Seen *s);
static inline void mam_json_seen_mark(Seen *s, size_t i) {
        if (s && i < s->n)
                s->bits[i / 64] |= UINT64_C(1) << i % 64;
}
static inline bool mam_json_seen_has(const Seen *s, size_t i) {
        return i < s->n && (s->bits[i / 64] >> i % 64 & 1) != 0;
}
void mam_json_seen_merge(Seen *s, const Seen *other);

/* Parts of a node. */
typedef int (*MamJsonPart)(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen);
int mam_json_check_array(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen);
int mam_json_check_object(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen);
int mam_json_check_combination(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen);
int mam_json_check_unevaluated(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen);

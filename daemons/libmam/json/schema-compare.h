/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Comparing two schemas, shared between the files that do it
 *
 * Functions return 0 (it is covered), -EBADMSG (it is not, or cannot be judged; said unless quiet), or
 * another negative errno, with which the comparison ends.
 */

#include <errno.h>

#include "libmam/json/schema-validate.h"

#define VIEW_MAX 48U

/* What the narrow side says of a value: all of these nodes hold. Leaving one out is always safe. */
typedef struct View {
        const Node *nodes[VIEW_MAX];
        size_t n;
        uint8_t types;  /* that it may have at all */
        bool is_false;  /* there is no such value */
        uint64_t split; /* which nodes' alternatives were gone into */
} View;

/* A place in the values, and what is being compared there. */
typedef struct Step {
        const struct Step *parent;
        const char *key; /* of the place; NULL: the same as parent's */
        const Node *wide;
        const View *narrow;
} Step;

typedef struct Comparison {
        Validation validation; /* for values that are known, and steps */
        const char *wide_name, *narrow_name;
        MamJsonError *error; /* or NULL */
        unsigned quiet, depth;
        bool is_swapped; /* within not: the names are the other way round */
        bool has_dynamic;
} Comparison;

int mam_json_differ(Comparison *c, const Step *at, const char *format, ...) _printf_(3, 4);
const char *mam_json_wide_name(const Comparison *c);
const char *mam_json_narrow_name(const Comparison *c);

void mam_json_view_init(View *v);
/* Adds what a node says, and what it refers to; what does not fit is left out. */
void mam_json_view_add(View *v, const Node *n);
uint8_t mam_json_view_types(const View *v);

int mam_json_covers(
                Comparison *c,
                const Node *wide,
                const View *narrow,
                const Step *parent,
                const char *key);
int mam_json_covers_quietly(Comparison *c, const Node *wide, const View *narrow, const Step *parent);

int mam_json_covers_array(Comparison *c, const Node *w, const View *n, const Step *at);
int mam_json_covers_object(Comparison *c, const Node *w, const View *n, const Step *at);
/* The narrow side's view of a property. */
void mam_json_view_property(Comparison *c, const View *n, const char *name, View *ret);
bool mam_json_view_requires(const View *n, const char *name);

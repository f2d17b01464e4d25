/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Filters of subscriptions: which events somebody wants (CloudEvents Subscriptions API 1.0, "filters")
 *
 * A JSON array of dialects, all of which must hold: exact, prefix, suffix ({"prefix": {"subject":
 * "order/"}}), all, any, not, sql (a subset of CESQL v1), and json ({"json": {"/customer/country": "DE"}}:
 * equality at JSON pointers into the data). Pure: parsing and matching know no I/O. Depth, size and the work
 * of one match are bounded.
 */

#include "libmam/events/event.h"

typedef struct Filter Filter;

#define FILTER_TEXT_MAX 16384U

/* From the JSON array; NULL or an empty one matches everything (*ret is NULL then, which all functions
 * take). -EBADMSG with *error. */
int filter_parse(Filter **ret, json_object *array, const char *parent, MamJsonError *error);
Filter *filter_free(Filter *f);
MAM_DEFINE_CLEANUP(Filter, filter_free);
bool filter_matches(const Filter *f, MamEvent *e);
/* Short form for query strings and the command line: type=a.b, source=…, subject^=order/, sql:… ; several
 * are ANDed. */
int filter_parse_short(Filter **ret, const char *const *terms, size_t n, MamJsonError *error);

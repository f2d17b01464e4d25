/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Routes: which service a path belongs to
 *
 * The longest prefix wins, and a prefix ends at a segment: "/api/v1/projects" is for itself and for what is
 * below it, not for "/api/v1/projects-old". The table is made once at the start.
 */

#include <stdbool.h>
#include <stddef.h>

#include "libmam/util/macro.h"

typedef struct Route Route;
typedef struct RouteTable RouteTable;

#define ROUTES_MAX       256U
#define ROUTE_PREFIX_MAX 256U

struct Route {
        char *prefix; /* owned; "/api/v1/projects", without a trailing "/" ("" is everything) */
        size_t prefix_size;
        char *service;  /* owned; id */
        void *userdata; /* the table's user's; borrowed */
};

int route_table_new(RouteTable **ret);
RouteTable *route_table_free(RouteTable *t);
MAM_DEFINE_CLEANUP(RouteTable, route_table_free);

/* -EINVAL: not a prefix of a path; -EEXIST: taken; -EDQUOT: ROUTES_MAX. */
int route_table_add(RouteTable *t, const char *prefix, const char *service, void *userdata);
/* Longest first; borrowed. */
const Route *route_table_get(const RouteTable *t, size_t i);
size_t route_table_size(const RouteTable *t);
/* path as sent, without query. Borrowed, or NULL. */
const Route *route_table_match(const RouteTable *t, const char *path, size_t size);

/* false: the path has a segment "." or "..", also percent-encoded, and would mean another place to whoever
 * resolves it. */
bool route_path_is_plain(const char *path, size_t size);

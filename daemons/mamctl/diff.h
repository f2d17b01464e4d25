/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How two JSON documents differ, line by line
 *
 * Documents are written in one canonical way first (sorted keys, one member a line), so that only what
 * matters differs. The shortest edit is found as the longest common subsequence of lines; beyond
 * DIFF_CELLS_MAX comparisons what lies between the common head and tail counts as replaced.
 */

#include <json-c/json.h>

#define DIFF_CELLS_MAX ((size_t) 4 * 1024 * 1024)

/* Lines of the document, each ended by a line break. -E2BIG: nested too deeply. Caller frees *ret. */
int diff_canonical(char **ret, json_object *o);

/* a and b: lines, each ended by a line break. *ret: a unified diff with so many lines of context, or "" if
 * they are the same. Caller frees. */
int diff_unified(
                char **ret,
                const char *a,
                const char *b,
                const char *name_a,
                const char *name_b,
                size_t context);

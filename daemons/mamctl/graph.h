/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Which service depends on which
 *
 * Made from what Status says. A dependency that is not a service known to the manager is left out; cycles
 * cannot come from a valid configuration, and do no harm here. Text from services is clean; escaping for a
 * format is done where it is written.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <json-c/json.h>

#include "libmam/util/macro.h"

#define GRAPH_NODES_MAX 1024U

typedef struct GraphNode {
        char *id, *name, *type, *state, *reason; /* owned; clean */
        uint32_t ready, desired;
        size_t *needs; /* owned: indices of the nodes that it depends on, each once */
        size_t n_needs;
        bool needed; /* another one depends on it */
} GraphNode;

typedef struct Graph {
        GraphNode *nodes; /* owned */
        size_t n;
} Graph;

/* From an array of services, as status_read_services() makes it. -E2BIG. */
int graph_new(Graph **ret, json_object *services);
Graph *graph_free(Graph *g);
MAM_DEFINE_CLEANUP(Graph, graph_free);

/* What nothing depends on stands left, with what it depends on below; shown once, named again elsewhere. */
int graph_write_text(const Graph *g, FILE *f, bool colour, bool ascii);
/* One SVG document with its own layout; see graph-layout.h. */
int graph_write_svg(const Graph *g, FILE *f);
void graph_write_dot(const Graph *g, FILE *f);
/* {nodes, edges}. Caller puts *ret. */
int graph_to_json(const Graph *g, json_object **ret);

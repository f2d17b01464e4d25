/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which service depends on which
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/json/json.h"
#include "mamctl/bus-json.h"
#include "mamctl/graph.h"
#include "mamctl/text.h"

Graph *graph_free(Graph *g) {
        if (!g)
                return NULL;

        for (size_t i = 0; i < g->n; i++) {
                free(g->nodes[i].id);
                free(g->nodes[i].name);
                free(g->nodes[i].type);
                free(g->nodes[i].state);
                free(g->nodes[i].reason);
                free(g->nodes[i].needs);
        }
        free(g->nodes);
        free(g);
        return NULL;
}

static int node_init(GraphNode *n, json_object *service) {
        n->id = text_clean(json_text(service, "id"));
        n->name = text_clean(json_text(service, "name"));
        n->type = text_clean(json_text(service, "type"));
        n->state = text_clean(json_text(service, "state"));
        n->reason = text_clean(json_text(service, "state_reason"));
        n->ready = (uint32_t) json_number(service, "ready_replicas");
        n->desired = (uint32_t) json_number(service, "desired_replicas");
        return n->id && n->name && n->type && n->state && n->reason ? 0 : -ENOMEM;
}

static size_t find_node(const Graph *g, const char *id) {
        for (size_t i = 0; i < g->n; i++) {
                if (strcmp(g->nodes[i].id, id) == 0)
                        return i;
        }
        return SIZE_MAX;
}

static bool has_need(const GraphNode *n, size_t index) {
        for (size_t i = 0; i < n->n_needs; i++) {
                if (n->needs[i] == index)
                        return true;
        }
        return false;
}

static int connect_node(Graph *g, size_t index, json_object *dependencies) {
        GraphNode *node = &g->nodes[index];

        node->needs = calloc(json_length(dependencies) + 1, sizeof(*node->needs));
        if (!node->needs)
                return -ENOMEM;
        for (size_t i = 0; i < json_length(dependencies); i++) {
                const char *id = json_object_get_string(json_object_array_get_idx(dependencies, i));
                size_t other = id ? find_node(g, id) : SIZE_MAX;

                if (other == SIZE_MAX || other == index || has_need(node, other))
                        continue;
                node->needs[node->n_needs++] = other;
                g->nodes[other].needed = true;
        }
        return 0;
}

int graph_new(Graph **ret, json_object *services) {
        _cleanup_(graph_freep) Graph *g = NULL;
        size_t n = json_length(services);
        int r;

        assert(ret);

        if (n > GRAPH_NODES_MAX)
                return -E2BIG;
        g = calloc(1, sizeof(*g));
        if (!g)
                return -ENOMEM;
        g->nodes = calloc(n + 1, sizeof(*g->nodes));
        if (!g->nodes)
                return -ENOMEM;

        while (g->n < n) {
                r = node_init(&g->nodes[g->n], json_object_array_get_idx(services, g->n));
                g->n++; /* also what is half made is freed */
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < n; i++) {
                r = connect_node(g, i, json_member(json_object_array_get_idx(services, i), "dependencies"));
                if (r < 0)
                        return r;
        }
        *ret = MAM_TAKE(g);
        return 0;
}

/* In DOT a string ends at a quote, and a backslash escapes. */
static void write_dot_string(FILE *f, const char *text) {
        for (; *text; text++) {
                if (*text == '"' || *text == '\\')
                        fputc('\\', f);
                fputc(*text, f);
        }
}

void graph_write_dot(const Graph *g, FILE *f) {
        assert(g);
        assert(f);

        fputs("digraph mam {\n  node [shape=box];\n", f);
        for (size_t i = 0; i < g->n; i++) {
                const GraphNode *n = &g->nodes[i];

                fprintf(f, "  n%zu [label=\"", i);
                write_dot_string(f, n->id);
                fputs("\\n", f);
                write_dot_string(f, n->state);
                fprintf(f, " %u/%u\"];\n", n->ready, n->desired);
        }
        for (size_t i = 0; i < g->n; i++) {
                for (size_t k = 0; k < g->nodes[i].n_needs; k++)
                        fprintf(f, "  n%zu -> n%zu;\n", i, g->nodes[i].needs[k]);
        }
        fputs("}\n", f);
}

static int add_node_json(json_object *list, const GraphNode *n) {
        json_object *o = json_object_new_object();

        if (!o || json_object_array_add(list, o) < 0) {
                json_object_put(o);
                return -ENOMEM;
        }
        json_object_object_add(o, "id", json_object_new_string(n->id));
        json_object_object_add(o, "name", json_object_new_string(n->name));
        json_object_object_add(o, "type", json_object_new_string(n->type));
        json_object_object_add(o, "state", json_object_new_string(n->state));
        json_object_object_add(o, "ready", json_object_new_int64(n->ready));
        json_object_object_add(o, "desired", json_object_new_int64(n->desired));
        return 0;
}

static int add_edge_json(json_object *list, const char *from, const char *to) {
        json_object *o = json_object_new_object();

        if (!o || json_object_array_add(list, o) < 0) {
                json_object_put(o);
                return -ENOMEM;
        }
        json_object_object_add(o, "from", json_object_new_string(from));
        json_object_object_add(o, "to", json_object_new_string(to));
        return 0;
}

int graph_to_json(const Graph *g, json_object **ret) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *nodes = json_object_new_array(), *edges = json_object_new_array();
        int r = 0;

        o = json_object_new_object();
        if (!o || !nodes || !edges) {
                json_object_put(nodes);
                json_object_put(edges);
                return -ENOMEM;
        }
        json_object_object_add(o, "nodes", nodes);
        json_object_object_add(o, "edges", edges);
        for (size_t i = 0; i < g->n && r >= 0; i++) {
                r = add_node_json(nodes, &g->nodes[i]);
                for (size_t k = 0; k < g->nodes[i].n_needs && r >= 0; k++)
                        r = add_edge_json(edges, g->nodes[i].id, g->nodes[g->nodes[i].needs[k]].id);
        }
        if (r < 0)
                return r;
        *ret = MAM_TAKE(o);
        return 0;
}

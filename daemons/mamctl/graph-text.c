/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The dependencies as a tree of text
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mamctl/graph.h"
#include "mamctl/terminal.h"

typedef struct Tree {
        const Graph *graph;
        FILE *f;
        bool colour, ascii;
        bool *shown;  /* by node */
        char *prefix; /* of the line, room for every depth that there can be */
        size_t n_prefix;
} Tree;

static void write_node(const Tree *t, size_t index, bool again) {
        const GraphNode *n = &t->graph->nodes[index];
        Colour colour = again ? COLOUR_GREY : colour_of_state(n->state);

        fprintf(t->f,
                "%s%s%s %s",
                colour_start(t->colour, colour),
                t->ascii ? "*" : "●",
                colour_end(t->colour, colour),
                n->id);
        if (again) {
                fprintf(t->f,
                        " %s(see above)%s\n",
                        colour_start(t->colour, colour),
                        colour_end(t->colour, colour));
                return;
        }
        fprintf(t->f,
                "  %s%s%s %u/%u",
                colour_start(t->colour, colour),
                n->state,
                colour_end(t->colour, colour),
                n->ready,
                n->desired);
        if (*n->reason && strcmp(n->state, "running") != 0)
                fprintf(t->f, "  %s", n->reason);
        fputc('\n', t->f);
}

static void write_below(Tree *t, size_t index) {
        static const char *const branches[2][2] = { { "├─", "└─" }, { "|-", "`-" } }, *const bars[2][2] = {
                { "│ ", "  " },
                { "| ", "  " }
        };
        const GraphNode *n = &t->graph->nodes[index];
        size_t length = t->n_prefix;

        t->shown[index] = true;
        for (size_t i = 0; i < n->n_needs; i++) {
                size_t next = n->needs[i];
                bool last = i + 1 == n->n_needs, again = t->shown[next] && t->graph->nodes[next].n_needs > 0;
                const char *bar = bars[t->ascii][last];

                fprintf(t->f, "%s%s", t->prefix, branches[t->ascii][last]);
                write_node(t, next, again);
                if (again)
                        continue;
                memcpy(t->prefix + t->n_prefix, bar, strlen(bar) + 1);
                t->n_prefix += strlen(bar);
                write_below(t, next);
                t->n_prefix = length;
                t->prefix[length] = '\0';
        }
}

int graph_write_text(const Graph *g, FILE *f, bool colour, bool ascii) {
        _cleanup_(mam_freep) char *prefix = NULL;
        _cleanup_(mam_freep) bool *shown = NULL;
        Tree t;

        assert(g);
        assert(f);

        shown = calloc(g->n + 1, sizeof(*shown));
        prefix = calloc(g->n + 2, 8); /* "│ " takes four bytes */
        if (!shown || !prefix)
                return -ENOMEM;

        t = (Tree){ .graph = g, .f = f, .colour = colour, .ascii = ascii, .shown = shown, .prefix = prefix };
        for (size_t i = 0; i < g->n; i++) {
                if (g->nodes[i].needed)
                        continue;
                write_node(&t, i, false);
                write_below(&t, i);
        }
        for (size_t i = 0; i < g->n; i++) { /* in a cycle each one is needed */
                if (shown[i])
                        continue;
                write_node(&t, i, false);
                write_below(&t, i);
        }
        return 0;
}

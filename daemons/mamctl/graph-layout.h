/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where the boxes and lines of a dependency graph go
 *
 * The layered layout of Sugiyama, Tagawa and Toda ("Methods for Visual Understanding of Hierarchical System
 * Structures", 1981): a node stands one layer below the lowest that needs it; a line over several layers
 * gets a bend in each; within a layer the order follows the means of the neighbours, in sweeps down and up,
 * and the order with the fewest crossings is kept; then the means decide the places. Units are those of the
 * picture.
 */

#include "mamctl/graph.h"

#define LAYOUT_POINTS_MAX ((size_t) 20000)

typedef struct LayoutPoint {
        double x, y;
} LayoutPoint;

typedef struct LayoutBox {
        double x, y; /* its middle */
        double width, height;
        size_t layer;
} LayoutBox;

/* A line from the bottom of one box, through each layer between (two points: upright past its boxes), to the
 * top of another; from the side it began at, even where it closes a cycle and leads up. */
typedef struct LayoutLine {
        size_t from, to;
        LayoutPoint *points; /* owned; at least two */
        size_t n_points;
} LayoutLine;

typedef struct Layout {
        LayoutBox *boxes; /* owned; one for each node of the graph */
        size_t n_boxes;
        LayoutLine *lines; /* owned */
        size_t n_lines;
        double width, height;
} Layout;

/* -E2BIG: more than LAYOUT_POINTS_MAX nodes and bends. */
int layout_new(Layout **ret, const Graph *g);
Layout *layout_free(Layout *l);
MAM_DEFINE_CLEANUP(Layout, layout_free);

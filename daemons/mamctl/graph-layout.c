/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where the boxes and lines of a dependency graph go
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mamctl/graph-layout.h"
#include "mamctl/text.h"

#define BOX_HEIGHT      46.0
#define CHARACTER_WIDTH 8.0 /* at most, in the font of the picture */
#define BOX_PADDING     28.0
#define BEND_WIDTH      8.0
#define GAP_X           28.0
#define GAP_Y           58.0
#define MARGIN          16.0
#define SWEEPS          12U
#define CROSSINGS_MAX   1000000U /* comparisons for one count; beyond, sweeps are taken on trust */

/* A box or a bend. */
typedef struct Point {
        size_t layer;
        double x, width, mean;
        size_t *up, *down; /* owned: indices of neighbours in the layer above and below */
        size_t n_up, n_down;
} Point;

typedef struct Layer {
        size_t *points; /* owned, in order */
        size_t n;
} Layer;

typedef struct Line {
        size_t from, to;
        size_t bends;  /* index of its first bend, from above; SIZE_MAX: none */
        bool reversed; /* it closes a cycle, and counts as leading from its end to its beginning */
} Line;

typedef struct Work {
        const Graph *graph;
        Point *points; /* owned: boxes first, then bends */
        size_t n_points, max_points;
        Layer *layers; /* owned */
        size_t n_layers;
        Line *lines; /* owned; by their beginning, then in the order of its needs */
        size_t n_lines;
} Work;

static void work_done(Work *w) {
        for (size_t i = 0; i < w->n_points; i++) {
                free(w->points[i].up);
                free(w->points[i].down);
        }
        for (size_t i = 0; i < w->n_layers; i++)
                free(w->layers[i].points);
        free(w->points);
        free(w->layers);
        free(w->lines);
}

Layout *layout_free(Layout *l) {
        if (!l)
                return NULL;

        for (size_t i = 0; i < l->n_lines; i++)
                free(l->lines[i].points);
        free(l->lines);
        free(l->boxes);
        free(l);
        return NULL;
}

/* Depth first; a line to a node that is still being visited closes a cycle. state: 0 new, 1 open, 2 done. */
static void find_cycles(Work *w, const size_t *first_line, unsigned char *state, size_t node) {
        const GraphNode *n = &w->graph->nodes[node];

        state[node] = 1;
        for (size_t k = 0; k < n->n_needs; k++) {
                size_t next = n->needs[k];

                w->lines[first_line[node] + k].reversed = state[next] == 1;
                if (state[next] == 0)
                        find_cycles(w, first_line, state, next);
        }
        state[node] = 2;
}

static int break_cycles(Work *w) {
        _cleanup_(mam_freep) unsigned char *state = NULL;
        _cleanup_(mam_freep) size_t *first_line = NULL;

        state = calloc(w->graph->n + 1, 1);
        first_line = calloc(w->graph->n + 1, sizeof(*first_line));
        if (!state || !first_line)
                return -ENOMEM;
        for (size_t i = 0; i < w->graph->n; i++)
                first_line[i + 1] = first_line[i] + w->graph->nodes[i].n_needs;
        for (size_t i = 0; i < w->graph->n; i++) {
                if (state[i] == 0)
                        find_cycles(w, first_line, state, i);
        }
        return 0;
}

static size_t line_above(const Line *l) {
        return l->reversed ? l->to : l->from;
}

static size_t line_below(const Line *l) {
        return l->reversed ? l->from : l->to;
}

/* Longest paths: at most n rounds, as there are no cycles left. */
static void choose_layers(Work *w) {
        bool moved = true;

        for (size_t round = 0; moved && round <= w->graph->n; round++) {
                moved = false;
                for (size_t i = 0; i < w->n_lines; i++) {
                        size_t above = line_above(&w->lines[i]), below = line_below(&w->lines[i]);

                        if (w->points[below].layer < w->points[above].layer + 1) {
                                w->points[below].layer = w->points[above].layer + 1;
                                moved = true;
                        }
                }
        }
}

static int join(Work *w, size_t above, size_t below) {
        Point *a = &w->points[above], *b = &w->points[below];
        size_t *down, *up;

        down = reallocarray(a->down, a->n_down + 1, sizeof(*down));
        if (!down)
                return -ENOMEM;
        a->down = down;
        up = reallocarray(b->up, b->n_up + 1, sizeof(*up));
        if (!up)
                return -ENOMEM;
        b->up = up;
        down[a->n_down++] = below;
        up[b->n_up++] = above;
        return 0;
}

/* A bend in each layer between, numbered one after the other from above. */
static int add_bends(Work *w, Line *line) {
        size_t above = line_above(line), below = line_below(line), before = above;
        int r;

        line->bends = SIZE_MAX;
        for (size_t layer = w->points[above].layer + 1; layer < w->points[below].layer; layer++) {
                if (w->n_points >= LAYOUT_POINTS_MAX)
                        return -E2BIG;
                if (w->n_points >= w->max_points) {
                        size_t max = 2 * w->max_points + 64;
                        Point *points;

                        points = reallocarray(w->points, max, sizeof(*points));
                        if (!points)
                                return -ENOMEM;
                        w->points = points;
                        w->max_points = max;
                }
                if (line->bends == SIZE_MAX)
                        line->bends = w->n_points;
                w->points[w->n_points] = (Point){ .layer = layer, .width = BEND_WIDTH };
                w->n_points++;
                r = join(w, before, w->n_points - 1);
                if (r < 0)
                        return r;
                before = w->n_points - 1;
        }
        return join(w, before, below);
}

static int fill_layers(Work *w) {
        for (size_t i = 0; i < w->n_points; i++) {
                if (w->points[i].layer >= w->n_layers)
                        w->n_layers = w->points[i].layer + 1;
        }
        w->layers = calloc(w->n_layers + 1, sizeof(*w->layers));
        if (!w->layers) {
                w->n_layers = 0;
                return -ENOMEM;
        }
        for (size_t i = 0; i < w->n_points; i++)
                w->layers[w->points[i].layer].n++;
        for (size_t i = 0; i < w->n_layers; i++) {
                w->layers[i].points = calloc(w->layers[i].n + 1, sizeof(size_t));
                if (!w->layers[i].points)
                        return -ENOMEM;
                w->layers[i].n = 0;
        }
        for (size_t i = 0; i < w->n_points; i++) {
                Layer *layer = &w->layers[w->points[i].layer];

                layer->points[layer->n++] = i;
        }
        return 0;
}

static int compare_means(const void *a, const void *b, void *userdata) {
        const Point *points = userdata;
        size_t i = *(const size_t *) a, j = *(const size_t *) b;

        if (points[i].mean < points[j].mean)
                return -1;
        if (points[i].mean > points[j].mean)
                return 1;
        return points[i].x < points[j].x ? -1 : points[i].x > points[j].x; /* as they stood */
}

/* While ordering, x is the place in the layer. */
static void number_layer(Work *w, const Layer *layer) {
        for (size_t i = 0; i < layer->n; i++)
                w->points[layer->points[i]].x = (double) i;
}

static double mean_of(const Work *w, const size_t *neighbours, size_t n, double otherwise) {
        double sum = 0;

        for (size_t i = 0; i < n; i++)
                sum += w->points[neighbours[i]].x;
        return n > 0 ? sum / (double) n : otherwise;
}

static void order_layer(Work *w, Layer *layer, bool by_above) {
        for (size_t i = 0; i < layer->n; i++) {
                Point *p = &w->points[layer->points[i]];

                p->mean = by_above ? mean_of(w, p->up, p->n_up, p->x) : mean_of(w, p->down, p->n_down, p->x);
        }
        qsort_r(layer->points, layer->n, sizeof(*layer->points), compare_means, w->points);
        number_layer(w, layer);
}

/* Pairs of lines below one layer that cross. */
static size_t count_below(const Work *w, const Layer *layer) {
        size_t crossings = 0;

        for (size_t i = 0; i < layer->n; i++) {
                const Point *a = &w->points[layer->points[i]];

                for (size_t j = i + 1; j < layer->n; j++) {
                        const Point *b = &w->points[layer->points[j]];

                        for (size_t x = 0; x < a->n_down; x++) {
                                for (size_t y = 0; y < b->n_down; y++)
                                        crossings += w->points[a->down[x]].x > w->points[b->down[y]].x;
                        }
                }
        }
        return crossings;
}

/* Beyond CROSSINGS_MAX comparisons the later of two orders counts as the better one. */
static size_t count_crossings(const Work *w, unsigned sweep) {
        size_t crossings = 0, lines = 0;

        for (size_t i = 0; i < w->n_points; i++)
                lines += w->points[i].n_down;
        if (lines * lines > CROSSINGS_MAX)
                return SIZE_MAX - 1 - sweep;
        for (size_t i = 0; i < w->n_layers; i++)
                crossings += count_below(w, &w->layers[i]);
        return crossings;
}

static int choose_order(Work *w) {
        _cleanup_(mam_freep) double *best = NULL;
        size_t fewest = SIZE_MAX;

        best = calloc(w->n_points + 1, sizeof(*best));
        if (!best)
                return -ENOMEM;
        for (size_t i = 0; i < w->n_layers; i++)
                number_layer(w, &w->layers[i]);

        for (unsigned sweep = 0; sweep <= SWEEPS && fewest > 0; sweep++) {
                size_t crossings;

                if (sweep % 2 == 1) {
                        for (size_t i = 1; i < w->n_layers; i++)
                                order_layer(w, &w->layers[i], true);
                } else if (sweep > 0) {
                        for (size_t i = w->n_layers; i-- > 1;)
                                order_layer(w, &w->layers[i - 1], false);
                }
                crossings = count_crossings(w, sweep);
                if (crossings >= fewest)
                        continue;
                fewest = crossings;
                for (size_t i = 0; i < w->n_points; i++)
                        best[i] = w->points[i].x;
        }

        for (size_t i = 0; i < w->n_points; i++)
                w->points[i].mean = w->points[i].x = best[i];
        for (size_t i = 0; i < w->n_layers; i++)
                qsort_r(w->layers[i].points, w->layers[i].n, sizeof(size_t), compare_means, w->points);
        return 0;
}

static double gap_between(const Point *a, const Point *b) {
        return (a->width + b->width) / 2 + GAP_X;
}

/* As near to the means as the order allows: the middle between pushing everything right and everything left,
 * both of which keep the distances. */
static int place_layer(Work *w, const Layer *layer) {
        _cleanup_(mam_freep) double *right = NULL;
        Point *p = w->points;

        right = calloc(layer->n + 1, sizeof(*right));
        if (!right)
                return -ENOMEM;
        for (size_t i = 0; i < layer->n; i++) {
                const Point *a = &p[layer->points[i]];

                right[i] = a->mean;
                if (i > 0 && right[i] < right[i - 1] + gap_between(&p[layer->points[i - 1]], a))
                        right[i] = right[i - 1] + gap_between(&p[layer->points[i - 1]], a);
        }
        for (size_t i = layer->n; i-- > 0;) {
                Point *a = &p[layer->points[i]];
                const Point *b = i + 1 < layer->n ? &p[layer->points[i + 1]] : NULL;
                double left = a->mean;

                /* b->mean holds where it was pushed to the left */
                if (b && left > b->mean - gap_between(a, b))
                        left = b->mean - gap_between(a, b);
                a->mean = left;
                right[i] = (right[i] + left) / 2;
        }
        for (size_t i = 0; i < layer->n; i++)
                p[layer->points[i]].x = right[i];
        return 0;
}

static int choose_places(Work *w) {
        int r;

        for (size_t i = 0; i < w->n_layers; i++) {
                double x = 0;

                for (size_t k = 0; k < w->layers[i].n; k++) {
                        Point *p = &w->points[w->layers[i].points[k]];

                        p->x = k > 0 ? x + gap_between(&w->points[w->layers[i].points[k - 1]], p) : 0;
                        x = p->x;
                }
        }

        for (unsigned sweep = 0; sweep < SWEEPS; sweep++) {
                for (size_t i = 0; i < w->n_layers; i++) {
                        Layer *layer = &w->layers[sweep % 2 == 0 ? i : w->n_layers - 1 - i];

                        for (size_t k = 0; k < layer->n; k++) {
                                Point *p = &w->points[layer->points[k]];

                                p->mean = sweep % 2 == 0 ? mean_of(w, p->up, p->n_up, p->x)
                                                         : mean_of(w, p->down, p->n_down, p->x);
                        }
                        r = place_layer(w, layer);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static double layer_y(size_t layer) {
        return MARGIN + BOX_HEIGHT / 2 + (double) layer * (BOX_HEIGHT + GAP_Y);
}

static int write_line(const Work *w, LayoutLine *l, const Line *line, double shift) {
        size_t above = line_above(line), below = line_below(line);
        size_t bends = w->points[below].layer - w->points[above].layer - 1, n = 0;

        l->from = line->from;
        l->to = line->to;
        l->points = calloc(2 * bends + 2, sizeof(*l->points));
        if (!l->points)
                return -ENOMEM;
        l->points[n++] = (LayoutPoint){
                w->points[above].x + shift,
                layer_y(w->points[above].layer) + BOX_HEIGHT / 2,
        };
        for (size_t i = 0; i < bends; i++) {
                const Point *p = &w->points[line->bends + i];

                /* upright past the boxes of the layer, so that no corner is cut */
                l->points[n++] = (LayoutPoint){ p->x + shift, layer_y(p->layer) - BOX_HEIGHT / 2 };
                l->points[n++] = (LayoutPoint){ p->x + shift, layer_y(p->layer) + BOX_HEIGHT / 2 };
        }
        l->points[n++] = (LayoutPoint){
                w->points[below].x + shift,
                layer_y(w->points[below].layer) - BOX_HEIGHT / 2,
        };
        l->n_points = n;

        for (size_t i = 0; line->reversed && i < n / 2; i++) {
                LayoutPoint p = l->points[i];

                l->points[i] = l->points[n - 1 - i];
                l->points[n - 1 - i] = p;
        }
        return 0;
}

static int write_layout(const Work *w, Layout *l) {
        double left = 0, right = 0;
        int r;

        for (size_t i = 0; i < w->n_points; i++) {
                const Point *p = &w->points[i];

                if (i == 0 || p->x - p->width / 2 < left)
                        left = p->x - p->width / 2;
                if (i == 0 || p->x + p->width / 2 > right)
                        right = p->x + p->width / 2;
        }

        l->boxes = calloc(w->graph->n + 1, sizeof(*l->boxes));
        l->lines = calloc(w->n_lines + 1, sizeof(*l->lines));
        if (!l->boxes || !l->lines)
                return -ENOMEM;
        l->n_boxes = w->graph->n;
        for (size_t i = 0; i < l->n_boxes; i++) {
                const Point *p = &w->points[i];

                l->boxes[i] = (LayoutBox){
                        .x = p->x - left + MARGIN,
                        .y = layer_y(p->layer),
                        .width = p->width,
                        .height = BOX_HEIGHT,
                        .layer = p->layer,
                };
        }
        l->n_lines = w->n_lines;
        for (size_t i = 0; i < w->n_lines; i++) {
                r = write_line(w, &l->lines[i], &w->lines[i], MARGIN - left);
                if (r < 0)
                        return r;
        }
        l->width = right - left + 2 * MARGIN;
        l->height = w->n_layers > 0 ? layer_y(w->n_layers - 1) + BOX_HEIGHT / 2 + MARGIN : 2 * MARGIN;
        return 0;
}

static int work_init(Work *w, const Graph *g) {
        size_t n = 0;
        int r;

        w->graph = g;
        w->max_points = g->n + 1;
        w->points = calloc(w->max_points, sizeof(*w->points));
        if (!w->points)
                return -ENOMEM;
        w->n_points = g->n;
        for (size_t i = 0; i < g->n; i++) {
                unsigned a = text_width(g->nodes[i].id), b = text_width(g->nodes[i].state) + 12;

                w->points[i].width = CHARACTER_WIDTH * (double) (a > b ? a : b) + BOX_PADDING;
                w->n_lines += g->nodes[i].n_needs;
        }
        w->lines = calloc(w->n_lines + 1, sizeof(*w->lines));
        if (!w->lines)
                return -ENOMEM;
        for (size_t i = 0; i < g->n; i++) {
                for (size_t k = 0; k < g->nodes[i].n_needs; k++)
                        w->lines[n++] = (Line){ .from = i, .to = g->nodes[i].needs[k] };
        }

        r = break_cycles(w);
        if (r < 0)
                return r;
        choose_layers(w);
        for (size_t i = 0; i < w->n_lines; i++) {
                r = add_bends(w, &w->lines[i]);
                if (r < 0)
                        return r;
        }
        return fill_layers(w);
}

int layout_new(Layout **ret, const Graph *g) {
        _cleanup_(layout_freep) Layout *l = NULL;
        _cleanup_(work_done) Work w = { 0 };
        int r;

        assert(ret);
        assert(g);

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        r = work_init(&w, g);
        if (r >= 0)
                r = choose_order(&w);
        if (r >= 0)
                r = choose_places(&w);
        if (r >= 0)
                r = write_layout(&w, l);
        if (r < 0)
                return r;
        *ret = MAM_TAKE(l);
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The dependencies as a picture
 *
 * SVG 1.1, without scripts and without anything from elsewhere. What comes from services is escaped; control
 * characters, which XML cannot hold at all, went when the graph was made.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "mamctl/graph-layout.h"

static const struct {
        const char *state, *fill, *stroke;
} palette[] = {
        { "running", "#dcf5e3", "#1a7f37" },  { "degraded", "#fff4ce", "#9a6700" },
        { "starting", "#fff4ce", "#9a6700" }, { "stopping", "#fff4ce", "#9a6700" },
        { "failed", "#ffe1de", "#cf222e" },   { "asleep", "#ddebff", "#0969da" },
        { "stopped", "#eeeff1", "#656d76" },
};

static void colours_of(const char *state, const char **ret_fill, const char **ret_stroke) {
        *ret_fill = "#eeeff1";
        *ret_stroke = "#656d76";
        for (size_t i = 0; i < MAM_ELEMENTSOF(palette); i++) {
                if (strcmp(palette[i].state, state) != 0)
                        continue;
                *ret_fill = palette[i].fill;
                *ret_stroke = palette[i].stroke;
        }
}

static void write_escaped(FILE *f, const char *text) {
        for (; *text; text++) {
                switch (*text) {
                case '&':
                        fputs("&amp;", f);
                        break;
                case '<':
                        fputs("&lt;", f);
                        break;
                case '>':
                        fputs("&gt;", f);
                        break;
                case '"':
                        fputs("&quot;", f);
                        break;
                case '\'':
                        fputs("&#39;", f);
                        break;
                default:
                        fputc(*text, f);
                }
        }
}

/* One curve from point to point, upright at each of them. */
static void write_line(FILE *f, const Graph *g, const LayoutLine *l) {
        fprintf(f, "  <path class=\"line\" d=\"M%.1f %.1f", l->points[0].x, l->points[0].y);
        for (size_t i = 1; i < l->n_points; i++) {
                LayoutPoint a = l->points[i - 1], b = l->points[i];
                double middle = (a.y + b.y) / 2;

                fprintf(f, " C%.1f %.1f %.1f %.1f %.1f %.1f", a.x, middle, b.x, middle, b.x, b.y);
        }
        fputs("\"><title>", f);
        write_escaped(f, g->nodes[l->from].id);
        fputs(" needs ", f);
        write_escaped(f, g->nodes[l->to].id);
        fputs("</title></path>\n", f);
}

static void write_box(FILE *f, const GraphNode *n, const LayoutBox *b) {
        const char *fill, *stroke;

        colours_of(n->state, &fill, &stroke);
        fputs("  <g><title>", f);
        write_escaped(f, *n->name ? n->name : n->id);
        if (*n->reason) {
                fputs(": ", f);
                write_escaped(f, n->reason);
        }
        fprintf(f,
                "</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"6\" fill=\"%s\" stroke=\"%s\"/>",
                b->x - b->width / 2,
                b->y - b->height / 2,
                b->width,
                b->height,
                fill,
                stroke);
        fprintf(f, "<text class=\"id\" x=\"%.1f\" y=\"%.1f\">", b->x, b->y - 4);
        write_escaped(f, n->id);
        fprintf(f, "</text><text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">", b->x, b->y + 14, stroke);
        write_escaped(f, n->state);
        fprintf(f, " %u/%u</text></g>\n", n->ready, n->desired);
}

int graph_write_svg(const Graph *g, FILE *f) {
        _cleanup_(layout_freep) Layout *l = NULL;
        int r;

        assert(g);
        assert(f);

        r = layout_new(&l, g);
        if (r < 0)
                return r;

        fprintf(f,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n"
                "  <title>Services of mam</title>\n"
                "  <style>\n"
                "    text { font: 12px ui-monospace, \"DejaVu Sans Mono\", monospace; text-anchor: middle; }\n"
                "    .id { font-size: 13px; font-weight: bold; fill: #1f2328; }\n"
                "    .line { fill: none; stroke: #8c959f; stroke-width: 1.3; marker-end: url(#arrow); }\n"
                "    .line:hover { stroke: #1f2328; stroke-width: 2; }\n"
                "  </style>\n"
                "  <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">"
                "<path d=\"M0 0 L8 4 L0 8 z\" fill=\"#8c959f\"/></marker></defs>\n"
                "  <rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
                l->width,
                l->height,
                l->width,
                l->height);
        for (size_t i = 0; i < l->n_lines; i++)
                write_line(f, g, &l->lines[i]);
        for (size_t i = 0; i < l->n_boxes; i++)
                write_box(f, &g->nodes[i], &l->boxes[i]);
        fputs("</svg>\n", f);
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <locale.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libmam/json/json.h"
#include "libmam/util/test.h"
#include "mamctl/graph-layout.h"
#include "mamctl/graph.h"

static const char sample[] =
                "[{\"id\":\"gateway\",\"state\":\"running\",\"ready_replicas\":2,\"desired_replicas\":2,\"dependencies\":[\"app\",\"redis\"]},"
                "{\"id\":\"app\",\"state\":\"degraded\",\"state_reason\":\"app:2 is not ready\",\"ready_replicas\":1,\"desired_replicas\":2,"
                "\"dependencies\":[\"postgresql\",\"redis\",\"nowhere\"]},"
                "{\"id\":\"redis\",\"state\":\"running\",\"ready_replicas\":1,\"desired_replicas\":1,\"dependencies\":[\"disk\"]},"
                "{\"id\":\"postgresql\",\"state\":\"asleep\",\"dependencies\":[\"disk\"]},"
                "{\"id\":\"disk\",\"state\":\"stopped\",\"dependencies\":[]}]";

static const char cycle[] =
                "[{\"id\":\"a\",\"dependencies\":[\"b\"]},{\"id\":\"b\",\"dependencies\":[\"c\"]},{\"id\":\"c\",\"dependencies\":[\"a\",\"c\"]}]";

static Graph *graph_of(const char *text) {
        _cleanup_(json_object_putp) json_object *services = json_tokener_parse(text);
        Graph *g = NULL;

        ASSERT_TRUE(services);
        ASSERT_OK(graph_new(&g, services));
        return g;
}

static char *text_of(const Graph *g, bool colour, bool ascii) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        ASSERT_TRUE(f);
        ASSERT_OK(graph_write_text(g, f, colour, ascii));
        fclose(f);
        return text;
}

static char *svg_of(const Graph *g) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        ASSERT_TRUE(f);
        ASSERT_OK(graph_write_svg(g, f));
        fclose(f);
        return text;
}

TEST(the_tree_shows_each_service_once_with_its_state) {
        _cleanup_(graph_freep) Graph *g = graph_of(sample);
        _cleanup_(mam_freep) char *text = text_of(g, false, false), *ascii = text_of(g, false, true);

        ASSERT_STREQ(text,
                     "● gateway  running 2/2\n"
                     "├─● app  degraded 1/2  app:2 is not ready\n"
                     "│ ├─● postgresql  asleep 0/0\n"
                     "│ │ └─● disk  stopped 0/0\n"
                     "│ └─● redis  running 1/1\n"
                     "│   └─● disk  stopped 0/0\n"
                     "└─● redis (see above)\n");
        ASSERT_TRUE(strstr(ascii, "|-* app  degraded"));
        ASSERT_TRUE(strstr(ascii, "|   `-* disk"));
        for (const char *p = ascii; *p; p++)
                ASSERT_TRUE((unsigned char) *p < 0x80);
}

TEST(the_tree_is_coloured_by_state) {
        _cleanup_(graph_freep) Graph *g = graph_of(sample);
        _cleanup_(mam_freep) char *text = text_of(g, true, false);

        ASSERT_TRUE(strstr(text, "\x1b[33mdegraded\x1b[0m"));
        ASSERT_TRUE(strstr(text, "\x1b[34masleep\x1b[0m"));
}

TEST(a_cycle_ends) {
        _cleanup_(graph_freep) Graph *g = graph_of(cycle);
        _cleanup_(mam_freep) char *text = text_of(g, false, true);
        _cleanup_(layout_freep) Layout *l = NULL;

        ASSERT_TRUE(strstr(text, "* a"));
        ASSERT_TRUE(strstr(text, "(see above)"));
        ASSERT_OK(layout_new(&l, g));
        ASSERT_EQ(l->n_lines, 3); /* what needs itself has no line */
        /* the line that closes the cycle leads up, from c to a */
        ASSERT_EQ(l->lines[2].from, 2);
        ASSERT_EQ(l->lines[2].to, 0);
        ASSERT_TRUE(l->lines[2].points[0].y > l->lines[2].points[l->lines[2].n_points - 1].y);
}

TEST(no_services_make_an_empty_picture) {
        _cleanup_(graph_freep) Graph *g = graph_of("[]");
        _cleanup_(mam_freep) char *text = text_of(g, false, false), *svg = svg_of(g);

        ASSERT_STREQ(text, "");
        ASSERT_TRUE(strstr(svg, "</svg>\n"));
}

TEST(boxes_stand_below_what_needs_them_and_do_not_touch) {
        _cleanup_(graph_freep) Graph *g = graph_of(sample);
        _cleanup_(layout_freep) Layout *l = NULL;

        ASSERT_OK(layout_new(&l, g));
        ASSERT_EQ(l->n_boxes, 5);
        ASSERT_EQ(l->n_lines, 6);
        ASSERT_EQ(l->boxes[4].layer, 3); /* gateway, app, redis, disk */
        for (size_t i = 0; i < l->n_lines; i++) {
                const LayoutLine *line = &l->lines[i];

                ASSERT_TRUE(l->boxes[line->from].layer < l->boxes[line->to].layer);
                ASSERT_EQ(line->n_points, 2 * (l->boxes[line->to].layer - l->boxes[line->from].layer));
        }
        for (size_t i = 0; i < l->n_boxes; i++) {
                const LayoutBox *a = &l->boxes[i];

                ASSERT_TRUE(a->x - a->width / 2 >= 0 && a->x + a->width / 2 <= l->width);
                ASSERT_TRUE(a->y - a->height / 2 >= 0 && a->y + a->height / 2 <= l->height);
                for (size_t k = i + 1; k < l->n_boxes; k++) {
                        const LayoutBox *b = &l->boxes[k];
                        double apart = a->x > b->x ? a->x - b->x : b->x - a->x;

                        ASSERT_TRUE(a->layer != b->layer || apart >= (a->width + b->width) / 2);
                }
        }
}

/* Two services that need two others crosswise: the order within the lower layer is free, so nothing has to
 * cross. */
TEST(lines_do_not_cross_where_they_need_not) {
        _cleanup_(graph_freep) Graph *g = graph_of(
                        "[{\"id\":\"a\",\"dependencies\":[\"d\"]},{\"id\":\"b\",\"dependencies\":[\"c\"]},"
                        "{\"id\":\"c\",\"dependencies\":[]},{\"id\":\"d\",\"dependencies\":[]}]");
        _cleanup_(layout_freep) Layout *l = NULL;

        ASSERT_OK(layout_new(&l, g));
        ASSERT_TRUE((l->boxes[0].x < l->boxes[1].x) == (l->boxes[3].x < l->boxes[2].x));
}

TEST(a_thousand_services_are_drawn) {
        _cleanup_(json_object_putp) json_object *list = json_object_new_array();
        _cleanup_(graph_freep) Graph *g = NULL, *too_many = NULL;
        _cleanup_(layout_freep) Layout *l = NULL;

        for (unsigned i = 0; i < GRAPH_NODES_MAX; i++) {
                json_object *o = json_object_new_object(), *needs = json_object_new_array();
                char id[32];

                snprintf(id, sizeof(id), "s%u", i);
                json_object_object_add(o, "id", json_object_new_string(id));
                for (unsigned k = 1; k <= 3 && i + k * 7 < GRAPH_NODES_MAX; k++) {
                        snprintf(id, sizeof(id), "s%u", i + k * 7);
                        json_object_array_add(needs, json_object_new_string(id));
                }
                json_object_object_add(o, "dependencies", needs);
                json_object_array_add(list, o);
        }
        ASSERT_OK(graph_new(&g, list));
        ASSERT_OK(layout_new(&l, g));
        ASSERT_EQ(l->n_boxes, GRAPH_NODES_MAX);
        json_object_array_add(list, json_object_new_object());
        ASSERT_EQ(graph_new(&too_many, list), -E2BIG);
}

/* The judge is a parser that is not ours. */
static void assert_well_formed(const char *xml) {
        FILE *f;
        int status;

        if (system("command -v xmllint >/dev/null 2>&1") != 0) {
                if (system("command -v python3 >/dev/null 2>&1") != 0)
                        mam_test_skip("neither xmllint nor python3 is installed");
                f = popen("python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.stdin.buffer)'",
                          "w");
        } else {
                f = popen("xmllint --nonet --noout -", "w");
        }
        ASSERT_TRUE(f);
        fputs(xml, f);
        status = pclose(f);
        ASSERT_TRUE(WIFEXITED(status));
        ASSERT_EQ(WEXITSTATUS(status), 0);
}

TEST(the_picture_is_well_formed_whatever_services_say) {
        _cleanup_(graph_freep) Graph *g = NULL;
        _cleanup_(mam_freep) char *svg = NULL;

        ASSERT_TRUE(setlocale(LC_CTYPE, "C.UTF-8"));
        g = graph_of("[{\"id\":\"a\",\"name\":\"A & <B> \\\"'\\u0001\\u001b ü\",\"state\":\"<script>\",\"state_reason\":\"]]>\\u0000\","
                     "\"dependencies\":[\"b\"]},{\"id\":\"b\",\"state\":\"running\",\"dependencies\":[]}]");
        svg = svg_of(g);
        ASSERT_TRUE(strstr(svg, "A &amp; &lt;B&gt; &quot;&#39;?? ü"));
        ASSERT_TRUE(strstr(svg, "&lt;script&gt;"));
        ASSERT_TRUE(!strstr(svg, "<script>"));
        ASSERT_TRUE(strstr(svg, "<title>a needs b</title>"));
        assert_well_formed(svg);
}

TEST(the_picture_has_the_colours_of_the_states) {
        _cleanup_(graph_freep) Graph *g = graph_of(sample);
        _cleanup_(mam_freep) char *svg = svg_of(g);

        ASSERT_TRUE(strstr(svg, "#dcf5e3")); /* running */
        ASSERT_TRUE(strstr(svg, "#ddebff")); /* asleep */
        ASSERT_TRUE(strstr(svg, "running 2/2"));
        assert_well_formed(svg);
}

TEST(dot_quotes_what_would_end_a_string) {
        _cleanup_(graph_freep) Graph *g =
                        graph_of("[{\"id\":\"a\",\"state\":\"x\\\"\\\\y\",\"dependencies\":[]}]");
        _cleanup_(mam_freep) char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        ASSERT_TRUE(f);
        graph_write_dot(g, f);
        fclose(f);
        ASSERT_TRUE(strstr(text, "n0 [label=\"a\\nx\\\"\\\\y 0/0\"];"));
}

TEST(json_has_nodes_and_edges) {
        _cleanup_(graph_freep) Graph *g = graph_of(sample);
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *edges = NULL;

        ASSERT_OK(graph_to_json(g, &o));
        ASSERT_TRUE(json_object_object_get_ex(o, "edges", &edges));
        ASSERT_EQ(json_object_array_length(edges), 6); /* nowhere is left out */
}

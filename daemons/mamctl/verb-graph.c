/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Drawing which service depends on which
 */

#include <string.h>

#include "mamctl/bus-json.h"
#include "mamctl/graph.h"
#include "mamctl/status.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

ExitCode verb_graph(Client *c) {
        const Invocation *i = c->invocation;
        bool svg = invocation_has(i, OPTION_SVG), dot = invocation_has(i, OPTION_DOT);
        _cleanup_(json_object_putp) json_object *services = NULL, *o = NULL;
        _cleanup_(graph_freep) Graph *g = NULL;
        ExitCode e;
        int r;

        if (svg + dot + i->json + invocation_has(i, OPTION_ASCII) > 1) {
                client_complain(c, "One of --svg, --dot, --json and --ascii, please.");
                return EXIT_CODE_USAGE;
        }

        e = status_read(c, NULL, &services);
        if (e != EXIT_CODE_OK)
                return e;
        r = graph_new(&g, services);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);

        if (i->json) {
                r = graph_to_json(g, &o);
                return r < 0 ? client_explain(c, NULL, r, NULL) : client_print_json(c, o);
        }
        if (dot) {
                graph_write_dot(g, stdout);
                return EXIT_CODE_OK;
        }
        if (svg) {
                r = graph_write_svg(g, stdout);
                if (r == -E2BIG) {
                        client_complain(c, "Too many dependencies to draw. Try 'mamctl graph --dot'.");
                        return EXIT_CODE_FAILURE;
                }
        } else {
                r = graph_write_text(
                                g,
                                stdout,
                                c->terminal.out_colour,
                                invocation_has(i, OPTION_ASCII) || !text_is_utf8());
                if (g->n == 0)
                        client_say(c, "No services. 'mamctl init' reads the configuration.");
        }
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

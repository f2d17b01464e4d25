/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who decides how many replicas there are, and how big they are
 */

#include <string.h>

#include "libmam/util/quantity.h"
#include "mamctl/bus-json.h"
#include "mamctl/format-table.h"
#include "mamctl/status.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

static Colour colour_of_mode(const char *mode) {
        if (strcmp(mode, "auto") == 0)
                return COLOUR_GREEN;
        return strcmp(mode, "recommend") == 0 ? COLOUR_YELLOW : COLOUR_GREY;
}

/* 0 is "no recommendation yet". */
static void add_recommended(Table *t, const char *text, bool known) {
        table_add(t, known ? COLOUR_NONE : COLOUR_GREY, "%s", known ? text : "-");
}

static void add_row(Table *t, json_object *s) {
        uint64_t replicas = json_number(s, "recommended_replicas"),
                 cpu = json_number(s, "recommended_cpu_millis"),
                 memory = json_number(s, "recommended_memory_bytes");
        char text[32];

        table_add(t, COLOUR_NONE, "%s", json_text(s, "id"));
        table_add(t, colour_of_mode(json_text(s, "horizontal_mode")), "%s", json_text(s, "horizontal_mode"));
        table_add(t, COLOUR_NONE, "%llu", (unsigned long long) json_number(s, "desired_replicas"));
        snprintf(text, sizeof(text), "%llu", (unsigned long long) replicas);
        add_recommended(t, text, replicas > 0);
        table_add(t,
                  COLOUR_NONE,
                  "%llu-%llu",
                  (unsigned long long) json_number(s, "min_replicas"),
                  (unsigned long long) json_number(s, "max_replicas"));

        table_add(t, colour_of_mode(json_text(s, "vertical_mode")), "%s", json_text(s, "vertical_mode"));
        mam_quantity_format_cpu(text, json_number(s, "cpu_limit_millis"));
        table_add(t, COLOUR_NONE, "%s", text);
        mam_quantity_format_cpu(text, cpu);
        add_recommended(t, text, cpu > 0);
        mam_quantity_format_bytes(text, json_number(s, "memory_limit_bytes"));
        table_add(t, COLOUR_NONE, "%s", text);
        text_format_bytes(text, (double) memory);
        add_recommended(t, text, memory > 0);
}

static ExitCode print_table(Client *c, json_object *services) {
        static const TableColumn columns[] = {
                { "SERVICE", false, true }, { "HORIZONTAL", false, false }, { "WANTED", true, false },
                { "ADVICE", true, false },  { "BOUNDS", true, false },      { "VERTICAL", false, false },
                { "CPU", true, false },     { "ADVICE", true, false },      { "MEMORY", true, false },
                { "ADVICE", true, false },
        };
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);
        for (size_t i = 0; i < json_length(services); i++)
                add_row(t, json_object_array_get_idx(services, i));
        r = table_print(t, stdout, c->terminal.columns, c->terminal.out_colour);
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

static int autoscale_json(json_object *services, json_object **ret) {
        static const char *const keys[] = {
                "id",
                "horizontal_mode",
                "desired_replicas",
                "recommended_replicas",
                "min_replicas",
                "max_replicas",
                "vertical_mode",
                "cpu_limit_millis",
                "recommended_cpu_millis",
                "memory_limit_bytes",
                "recommended_memory_bytes",
        };

        return json_pick(services, keys, MAM_ELEMENTSOF(keys), ret);
}

static ExitCode show(Client *c, const char *service) {
        _cleanup_(json_object_putp) json_object *services = NULL, *list = NULL;
        ExitCode e;
        int r;

        e = status_read(c, service, &services);
        if (e != EXIT_CODE_OK)
                return e;
        if (!c->invocation->json)
                return print_table(c, services);
        r = autoscale_json(services, &list);
        return r < 0 ? client_explain(c, NULL, r, NULL) : client_print_json_list(c, "services", list);
}

ExitCode verb_autoscale(Client *c) {
        const char *service = c->invocation->arguments[0], *mode = c->invocation->arguments[1],
                   *vertical = c->invocation->vertical;
        ExitCode e;

        if (vertical && !service) {
                client_complain(c,
                                "--vertical needs a service: mamctl autoscale SERVICE --vertical=%s.",
                                vertical);
                return EXIT_CODE_USAGE;
        }
        if (!mode && !vertical)
                return show(c, service);

        e = client_act(c,
                       NULL,
                       "SetAutoscaling",
                       "ssst",
                       service,
                       mode ? mode : "",
                       vertical ? vertical : "",
                       UINT64_C(0));
        if (e != EXIT_CODE_OK || c->invocation->quiet)
                return e;
        return show(c, service);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Limits per replica
 */

#include "libmam/util/quantity.h"
#include "mamctl/bus-json.h"
#include "mamctl/format-table.h"
#include "mamctl/status.h"
#include "mamctl/verbs.h"

static ExitCode print_limits(Client *c, json_object *services) {
        static const TableColumn columns[] = {
                { "SERVICE", false, true },  { "CPU", true, false }, { "MEMORY", true, false },
                { "REPLICAS", true, false }, { "MIN", true, false }, { "MAX", true, false },
        };
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);

        for (size_t i = 0; i < json_length(services); i++) {
                json_object *s = json_object_array_get_idx(services, i);
                char cpu[32], memory[32];

                mam_quantity_format_cpu(cpu, json_number(s, "cpu_limit_millis"));
                mam_quantity_format_bytes(memory, json_number(s, "memory_limit_bytes"));
                table_add(t, COLOUR_NONE, "%s", json_text(s, "id"));
                table_add(t, COLOUR_NONE, "%s", cpu);
                table_add(t, COLOUR_NONE, "%s", memory);
                table_add(t, COLOUR_NONE, "%llu", (unsigned long long) json_number(s, "desired_replicas"));
                table_add(t, COLOUR_NONE, "%llu", (unsigned long long) json_number(s, "min_replicas"));
                table_add(t, COLOUR_NONE, "%llu", (unsigned long long) json_number(s, "max_replicas"));
        }

        r = table_print(t, stdout, c->terminal.columns, c->terminal.out_colour);
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

static int limits_json(json_object *services, json_object **ret) {
        static const char *const keys[] = {
                "id",           "cpu_limit_millis", "memory_limit_bytes", "desired_replicas",
                "min_replicas", "max_replicas",
        };

        return json_pick(services, keys, MAM_ELEMENTSOF(keys), ret);
}

static ExitCode show_limits(Client *c, const char *service) {
        _cleanup_(json_object_putp) json_object *services = NULL, *list = NULL;
        ExitCode e;
        int r;

        e = status_read(c, service, &services);
        if (e != EXIT_CODE_OK)
                return e;
        if (!c->invocation->json)
                return print_limits(c, services);

        r = limits_json(services, &list);
        return r < 0 ? client_explain(c, NULL, r, NULL) : client_print_json_list(c, "services", list);
}

ExitCode verb_limits(Client *c) {
        const Invocation *i = c->invocation;
        ExitCode e;

        if (!i->cpu && !i->memory)
                return show_limits(c, i->arguments[0]);

        if (!i->arguments[0]) {
                client_complain(c, "--cpu and --memory need a service: mamctl limits SERVICE --cpu=500m.");
                return EXIT_CODE_USAGE;
        }

        e = client_act(c,
                       NULL,
                       "SetLimits",
                       "ssst",
                       i->arguments[0],
                       i->cpu ? i->cpu : "",
                       i->memory ? i->memory : "",
                       UINT64_C(0));
        if (e != EXIT_CODE_OK || i->quiet)
                return e;
        return show_limits(c, i->arguments[0]);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Commands that show one table: list, health, endpoints, version
 */

#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/util/time.h"
#include "mam-build.h"
#include "mamctl/bus-json.h"
#include "mamctl/format-table.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

static ExitCode print_table(Client *c, Table *t) {
        int r;

        r = table_print(t, stdout, c->terminal.columns, c->terminal.out_colour);
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

static ExitCode print_list(Client *c, json_object *rows) {
        static const TableColumn columns[] = {
                { "SERVICE", false, false }, { "STATE", false, false }, { "READY", true, false },
                { "TYPE", false, false },    { "NAME", false, true },
        };
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);

        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i);
                const char *state = json_text(row, "state");

                table_add(t, COLOUR_NONE, "%s", json_text(row, "id"));
                table_add(t, colour_of_state(state), "%s", state);
                table_add(t,
                          COLOUR_NONE,
                          "%llu/%llu",
                          (unsigned long long) json_number(row, "ready"),
                          (unsigned long long) json_number(row, "desired"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "type"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "name"));
        }

        if (json_length(rows) == 0)
                client_say(c, "No services. 'mamctl init' reads the configuration.");
        return print_table(c, t);
}

ExitCode verb_list(Client *c) {
        static const char *const keys[] = { "id",      "name",     "type",  "state",
                                            "desired", "existing", "ready", "path" };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(json_object_putp) json_object *rows = NULL;
        ExitCode e;
        int r;

        e = client_read(c, &reply, "List", "");
        if (e != EXIT_CODE_OK)
                return e;

        r = bus_json_read_rows(reply, keys, MAM_ELEMENTSOF(keys), &rows);
        if (r <= 0)
                return client_bad_reply(c, r < 0 ? r : -EBADMSG);
        return c->invocation->json ? client_print_json_list(c, "services", rows) : print_list(c, rows);
}

static ExitCode print_health(Client *c, json_object *rows) {
        static const TableColumn columns[] = {
                { "REPLICA", false, false },
                { "HEALTH", false, false },
                { "SINCE", false, false },
                { "WHY", false, true },
        };
        _cleanup_(table_freep) Table *t = NULL;
        uint64_t now = mam_now_realtime();
        int r;

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);

        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i);
                const char *health = json_text(row, "health");
                uint64_t since = json_number(row, "since_usec");
                char ago[48] = "";

                if (since > 0 && since <= now)
                        text_format_seconds(ago, now - since);
                table_add(t, COLOUR_NONE, "%s", json_text(row, "replica"));
                table_add(t, colour_of_state(health), "%s", health);
                table_add(t, COLOUR_NONE, "%s%s", ago, *ago ? " ago" : "");
                table_add(t, COLOUR_NONE, "%s", json_text(row, "reason"));
        }

        if (json_length(rows) == 0)
                client_say(c, "No replicas.");
        return print_table(c, t);
}

ExitCode verb_health(Client *c) {
        static const char *const keys[] = { "service", "replica", "health", "reason", "since_usec" };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *service = c->invocation->arguments[0];
        _cleanup_(json_object_putp) json_object *rows = NULL;
        bool healthy;
        ExitCode e;
        int r;

        e = client_read(c, &reply, "Health", "s", service ? service : "");
        if (e != EXIT_CODE_OK)
                return e;

        r = bus_json_read_rows(reply, keys, MAM_ELEMENTSOF(keys), &rows);
        if (r <= 0)
                return client_bad_reply(c, r < 0 ? r : -EBADMSG);

        healthy = json_length(rows) > 0;
        for (size_t i = 0; i < json_length(rows); i++) {
                healthy = healthy &&
                          strcmp(json_text(json_object_array_get_idx(rows, i), "health"), "healthy") == 0;
        }

        e = c->invocation->json ? client_print_json_list(c, "replicas", rows) : print_health(c, rows);
        if (e != EXIT_CODE_OK)
                return e;
        return healthy ? EXIT_CODE_OK : EXIT_CODE_NOT_RUNNING;
}

/* The share of the requests that the group of an endpoint has, "-" where weights alone decide. */
static void add_share(Table *t, const char *group, json_object *split) {
        unsigned thousandths = 0;

        for (size_t i = 0; i < json_length(split); i++) {
                json_object *row = json_object_array_get_idx(split, i);

                if (strcmp(json_text(row, "group"), group) == 0)
                        thousandths = (unsigned) json_number(row, "thousandths");
        }
        if (json_length(split) > 0) {
                table_add(t, COLOUR_NONE, "%g%%", (double) thousandths / 10);
        } else {
                table_add(t, COLOUR_GREY, "-");
        }
}

static ExitCode print_endpoints(Client *c, json_object *rows, json_object *split) {
        static const TableColumn columns[] = {
                { "REPLICA", false, false }, { "STATE", false, false }, { "WEIGHT", true, false },
                { "SHARE", true, false },    { "GROUP", false, false }, { "ADDRESS", false, true },
        };
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);

        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i);
                const char *state = json_text(row, "state");

                table_add(t, COLOUR_NONE, "%s", json_text(row, "replica"));
                table_add(t, colour_of_state(state), "%s", state);
                table_add(t, COLOUR_NONE, "%llu", (unsigned long long) json_number(row, "weight"));
                add_share(t, json_text(row, "group"), split);
                table_add(t, COLOUR_NONE, "%s", *json_text(row, "group") ? json_text(row, "group") : "-");
                table_add(t, COLOUR_NONE, "%s", json_text(row, "address"));
        }

        if (json_length(rows) == 0)
                client_say(c, "No endpoints.");
        return print_table(c, t);
}

ExitCode verb_endpoints(Client *c) {
        static const char *const keys[] = { "replica", "address", "state", "weight", "group" };
        static const char *const split_keys[] = { "group", "thousandths" };
        _cleanup_(json_object_putp) json_object *rows = NULL, *split = NULL, *o = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *service = c->invocation->arguments[0];
        uint64_t revision;
        ExitCode e;
        int r;

        e = client_read(c, &reply, "ListEndpoints", "s", service);
        if (e != EXIT_CODE_OK)
                return e;

        r = sd_bus_message_read(reply, "t", &revision);
        if (r >= 0)
                r = bus_json_read_rows(reply, keys, MAM_ELEMENTSOF(keys), &rows);
        if (r > 0)
                r = bus_json_read_rows(reply, split_keys, MAM_ELEMENTSOF(split_keys), &split);
        if (r <= 0)
                return client_bad_reply(c, r < 0 ? r : -EBADMSG);
        if (!c->invocation->json)
                return print_endpoints(c, rows, split);

        o = json_object_new_object();
        if (!o)
                return client_explain(c, NULL, -ENOMEM, NULL);
        json_object_object_add(o, "service", json_object_new_string(service));
        json_object_object_add(o, "revision", json_object_new_uint64(revision));
        json_object_object_add(o, "endpoints", MAM_TAKE(rows));
        json_object_object_add(o, "split", MAM_TAKE(split));
        return client_print_json(c, o);
}

ExitCode verb_version(Client *c) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_(mam_freep) char *manager = NULL;
        ExitCode e;
        int r;

        e = client_connect(c);
        if (e == EXIT_CODE_OK) {
                r = sd_bus_get_property_string(
                                c->bus,
                                MAM_BUS_NAME,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "Version",
                                &error,
                                &manager);
                if (r < 0)
                        e = client_explain(c, &error, r, NULL);
        }

        /* its own version is known even where the manager is not reached */
        if (!c->invocation->json) {
                printf("mamctl %s\n", MAM_VERSION);
                if (manager)
                        printf("mam-manager %s\n", manager);
                return e;
        }

        o = json_object_new_object();
        if (!o)
                return client_explain(c, NULL, -ENOMEM, NULL);
        json_object_object_add(o, "mamctl", json_object_new_string(MAM_VERSION));
        json_object_object_add(o, "manager", manager ? json_object_new_string(manager) : NULL);
        (void) client_print_json(c, o);
        return e;
}

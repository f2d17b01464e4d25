/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Why things are as they are: explain, plan, alerts
 */

#include <math.h>
#include <string.h>

#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/format-table.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

/* Reads a table of the manager's. service: NULL for a method that takes none. */
static ExitCode read_rows(
                Client *c,
                const char *method,
                const char *service,
                bool flags,
                const char *const *keys,
                size_t n_keys,
                json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        ExitCode e;
        int r;

        if (!service) {
                e = client_read(c, &reply, method, "");
        } else if (flags) {
                e = client_read(c, &reply, method, "st", service, UINT64_C(0));
        } else {
                e = client_read(c, &reply, method, "s", service);
        }
        if (e != EXIT_CODE_OK)
                return e;
        r = bus_json_read_rows(reply, keys, n_keys, ret);
        return r <= 0 ? client_bad_reply(c, r < 0 ? r : -EBADMSG) : EXIT_CODE_OK;
}

static ExitCode finish_table(Client *c, Table *t) {
        int r;

        r = table_print(t, stdout, c->terminal.columns, c->terminal.out_colour);
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

static void format_since(char ret[static 64], uint64_t since, uint64_t now) {
        char span[48];

        *ret = '\0';
        if (since == 0 || since > now)
                return;
        text_format_seconds(span, now - since);
        snprintf(ret, 64, "%s", span);
}

/* "cpu 0.4213, replicas 3": of a fraction four digits are enough to read; a count is whole. */
static void add_numbers(Table *t, json_object *numbers) {
        char text[512] = "";
        size_t used = 0;

        if (!json_object_is_type(numbers, json_type_object))
                return;
        json_object_object_foreach(numbers, key, value) {
                double number = json_object_get_double(value);
                int n;

                n = snprintf(text + used,
                             sizeof(text) - used,
                             "%s%s %.*g",
                             used > 0 ? ", " : "",
                             key,
                             floor(number) == number ? 15 : 4,
                             number);
                if (n < 0 || (size_t) n >= sizeof(text) - used)
                        break;
                used += (size_t) n;
        }
        if (used > 0)
                table_add_line(t, 14, COLOUR_GREY, "%s", text);
}

static void add_reason(Table *t, json_object *row, uint64_t now) {
        const char *why = json_text(row, "why"), *change = json_text(row, "would_change"),
                   *verdict = json_text(row, "verdict");
        char since[64];

        format_since(since, json_number(row, "since_usec"), now);
        table_add_line(t,
                       0,
                       colour_of_state(verdict),
                       "%-12s  %s%s%s%s",
                       json_text(row, "topic"),
                       verdict,
                       *since ? " (for " : "",
                       since,
                       *since ? ")" : "");
        if (*why)
                table_add_line(t, 14, COLOUR_NONE, "%s", why);
        if (*change)
                table_add_line(t, 14, COLOUR_NONE, "To change it: %s", change);
        add_numbers(t, json_member(row, "numbers"));
}

ExitCode verb_explain(Client *c) {
        static const char *const keys[] = { "topic",        "verdict",    "why",
                                            "would_change", "since_usec", "numbers" };
        static const TableColumn columns[] = { { "", false, true } };
        _cleanup_(json_object_putp) json_object *rows = NULL, *o = NULL;
        const char *service = c->invocation->arguments[0];
        _cleanup_(table_freep) Table *t = NULL;
        uint64_t now = mam_now_realtime();
        ExitCode e;
        int r;

        e = read_rows(c, "Explain", service, true, keys, MAM_ELEMENTSOF(keys), &rows);
        if (e != EXIT_CODE_OK)
                return e;

        if (c->invocation->json) {
                o = json_object_new_object();
                if (!o)
                        return client_explain(c, NULL, -ENOMEM, NULL);
                json_object_object_add(o, "service", json_object_new_string(service));
                json_object_object_add(o, "reasons", MAM_TAKE(rows));
                return client_print_json(c, o);
        }

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);
        for (size_t i = 0; i < json_length(rows); i++)
                add_reason(t, json_object_array_get_idx(rows, i), now);
        return finish_table(c, t);
}

static ExitCode print_plan(Client *c, json_object *rows) {
        static const TableColumn columns[] = {
                { "WHAT", false, true }, { "IS", false, true },  { "SHOULD BE", false, true },
                { "WILL", false, true }, { "WHY", false, true },
        };
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);
        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i);

                table_add(t, COLOUR_BOLD, "%s", json_text(row, "what"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "is"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "should_be"));
                table_add(t, COLOUR_YELLOW, "%s", json_text(row, "action"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "why"));
        }
        if (json_length(rows) == 0)
                client_say(c, "Nothing to do: all is as it should be.");
        return finish_table(c, t);
}

ExitCode verb_plan(Client *c) {
        static const char *const keys[] = { "what", "is", "should_be", "action", "why" };
        const char *service = c->invocation->arguments[0];
        _cleanup_(json_object_putp) json_object *rows = NULL;
        ExitCode e;

        e = read_rows(c, "Plan", service ? service : "", true, keys, MAM_ELEMENTSOF(keys), &rows);
        if (e != EXIT_CODE_OK)
                return e;
        e = c->invocation->json ? client_print_json_list(c, "differences", rows) : print_plan(c, rows);
        if (e == EXIT_CODE_OK && json_length(rows) > 0 && invocation_has(c->invocation, OPTION_EXIT_CODE))
                return EXIT_CODE_DIFFERENCES;
        return e;
}

ExitCode verb_alerts(Client *c) {
        static const char *const keys[] = { "fingerprint", "name",    "severity",  "service",
                                            "replica",     "summary", "since_usec" };
        static const TableColumn columns[] = {
                { "SEVERITY", false, false }, { "ALERT", false, false }, { "WHERE", false, true },
                { "FOR", true, false },       { "WHAT", false, true },
        };
        _cleanup_(json_object_putp) json_object *rows = NULL;
        _cleanup_(table_freep) Table *t = NULL;
        uint64_t now = mam_now_realtime();
        ExitCode e;
        int r;

        e = read_rows(c, "ListAlerts", NULL, false, keys, MAM_ELEMENTSOF(keys), &rows);
        if (e != EXIT_CODE_OK)
                return e;
        if (c->invocation->json)
                return client_print_json_list(c, "alerts", rows);

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);
        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i);
                const char *severity = json_text(row, "severity"), *replica = json_text(row, "replica");
                char since[64];

                format_since(since, json_number(row, "since_usec"), now);
                table_add(t, colour_of_state(severity), "%s", severity);
                table_add(t, COLOUR_NONE, "%s", json_text(row, "name"));
                table_add(t, COLOUR_NONE, "%s", *replica ? replica : json_text(row, "service"));
                table_add(t, COLOUR_NONE, "%s", since);
                table_add(t, COLOUR_NONE, "%s", json_text(row, "summary"));
        }
        if (json_length(rows) == 0)
                client_say(c, "No alerts.");
        return finish_table(c, t);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Services and replicas at a glance, and what is wrong with them
 */

#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/util/quantity.h"
#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/format-table.h"
#include "mamctl/status.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

/* Status gives (id, properties, ((id, properties)…)…); flatten it to objects with "replicas" in them. */
static int read_replicas(sd_bus_message *m, json_object **ret) {
        _cleanup_(json_object_putp) json_object *list = NULL;
        int r;

        list = json_object_new_array();
        if (!list)
                return -ENOMEM;

        r = sd_bus_message_enter_container(m, 'a', "(sa{sv})");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'r', "sa{sv}")) > 0) {
                json_object *replica = NULL;

                r = sd_bus_message_skip(m, "s"); /* the properties have it */
                if (r < 0)
                        return r;
                r = bus_json_read_properties(m, &replica);
                if (r <= 0)
                        return r < 0 ? r : -EBADMSG;
                if (json_object_array_add(list, replica) < 0) {
                        json_object_put(replica);
                        return -ENOMEM;
                }
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(list);
        return 0;
}

static int read_service(sd_bus_message *m, json_object **ret) {
        _cleanup_(json_object_putp) json_object *service = NULL, *replicas = NULL;
        int r;

        r = sd_bus_message_skip(m, "s");
        if (r < 0)
                return r;
        r = bus_json_read_properties(m, &service);
        if (r <= 0)
                return r < 0 ? r : -EBADMSG;
        r = read_replicas(m, &replicas);
        if (r < 0)
                return r;
        if (json_object_object_add(service, "replicas", replicas) < 0)
                return -ENOMEM;
        replicas = NULL;

        *ret = MAM_TAKE(service);
        return 0;
}

int status_read_services(sd_bus_message *m, json_object **ret) {
        _cleanup_(json_object_putp) json_object *list = NULL;
        int r;

        list = json_object_new_array();
        if (!list)
                return -ENOMEM;

        r = sd_bus_message_enter_container(m, 'a', "(sa{sv}a(sa{sv}))");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'r', "sa{sv}a(sa{sv})")) > 0) {
                json_object *service = NULL;

                r = read_service(m, &service);
                if (r < 0)
                        return r;
                if (json_object_array_add(list, service) < 0) {
                        json_object_put(service);
                        return -ENOMEM;
                }
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;

        *ret = MAM_TAKE(list);
        return 0;
}

ExitCode status_read(Client *c, const char *service, json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        ExitCode e;
        int r;

        e = client_read(c, &reply, "Status", "s", service ? service : "");
        if (e != EXIT_CODE_OK)
                return e;
        r = status_read_services(reply, ret);
        return r < 0 ? client_bad_reply(c, r) : EXIT_CODE_OK;
}

static ExitCode read_manager(Client *c, json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        ExitCode e;
        int r;

        e = client_connect(c);
        if (e != EXIT_CODE_OK)
                return e;

        r = sd_bus_call_method(
                        c->bus,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        "org.freedesktop.DBus.Properties",
                        "GetAll",
                        &error,
                        &reply,
                        "s",
                        MAM_IFACE_MANAGER);
        if (r < 0)
                return client_explain(c, &error, r, NULL);

        r = bus_json_read_properties(reply, ret);
        return r <= 0 ? client_bad_reply(c, r < 0 ? r : -EBADMSG) : EXIT_CODE_OK;
}

static void format_ago(char ret[static 64], uint64_t then, uint64_t now) {
        char span[48];

        *ret = '\0';
        if (then == 0 || then > now)
                return;
        text_format_seconds(span, now - then);
        snprintf(ret, 64, "%s", span);
}

static bool is_decided(const char *mode) {
        return strcmp(mode, "auto") == 0 || strcmp(mode, "recommend") == 0;
}

/* What it runs, and what decides about it: only where there is something to say. */
static void add_decisions(Table *t, json_object *s) {
        const char *revision = json_text(s, "revision"), *version = json_text(s, "version"),
                   *horizontal = json_text(s, "horizontal_mode"), *vertical = json_text(s, "vertical_mode"),
                   *rollout = json_text(s, "rollout");
        uint64_t advice = json_number(s, "recommended_replicas");
        char replicas[64] = "";

        if (*revision) {
                table_add_line(t,
                               4,
                               COLOUR_GREY,
                               "revision %s%s%s",
                               revision,
                               *version ? ", version " : "",
                               version);
        }
        if (advice > 0 && advice != json_number(s, "desired_replicas")) {
                snprintf(replicas,
                         sizeof(replicas),
                         " (advises %llu replicas)",
                         (unsigned long long) advice);
        }
        if (is_decided(horizontal) || is_decided(vertical)) {
                table_add_line(t,
                               4,
                               COLOUR_GREY,
                               "autoscaling: number %s%s, limits %s",
                               *horizontal ? horizontal : "off",
                               replicas,
                               *vertical ? vertical : "off");
        }
        if (*rollout && strcmp(rollout, "/") != 0) {
                table_add_line(t,
                               4,
                               COLOUR_YELLOW,
                               "a rollout is under way: mamctl rollout status %s",
                               json_text(s, "id"));
        }
}

static void add_service(Table *t, json_object *s) {
        const char *state = json_text(s, "state"), *reason = json_text(s, "state_reason");
        const char *dash = text_is_utf8() ? "—" : "-", *dot = text_is_utf8() ? "●" : "*";
        char cpu[32], memory[32], port[32] = "";

        mam_quantity_format_cpu(cpu, json_number(s, "cpu_limit_millis"));
        mam_quantity_format_bytes(memory, json_number(s, "memory_limit_bytes"));
        if (json_number(s, "port") > 0)
                snprintf(port, sizeof(port), "port %u, ", (unsigned) json_number(s, "port"));

        table_add_line(t, 0, COLOUR_NONE, "%s", "");
        table_add_line(t,
                       0,
                       colour_of_state(state),
                       "%s %s: %s, %llu of %llu ready %s %s%s CPU, %s memory each",
                       dot,
                       json_text(s, "id"),
                       state,
                       (unsigned long long) json_number(s, "ready_replicas"),
                       (unsigned long long) json_number(s, "desired_replicas"),
                       dash,
                       port,
                       cpu,
                       memory);
        if (*reason)
                table_add_line(t, 4, colour_of_state(state), "%s", reason);
        add_decisions(t, s);
}

static void add_last_exit(Table *t, json_object *r, uint64_t now) {
        const char *why = json_text(r, "last_exit");
        Colour colour = COLOUR_YELLOW;
        char ago[64];

        format_ago(ago, json_number(r, "last_exit_usec"), now);
        if (strcmp(why, "oom-kill") == 0) {
                colour = COLOUR_RED;
        } else if (strcmp(why, "exited") == 0) {
                colour = COLOUR_NONE;
        }
        table_add(t,
                  colour,
                  "%s%s%s%s",
                  why,
                  *why && *ago ? ", " : "",
                  *why ? ago : "",
                  *why && *ago ? " ago" : "");
}

static void add_replica(Table *t, json_object *r, uint64_t now, bool verbose) {
        const char *health = json_text(r, "health"), *reason = json_text(r, "health_reason");
        const char *quarantine = json_text(r, "quarantine"), *status = json_text(r, "status_text");
        uint64_t restarts = json_number(r, "restarts"), ooms = json_number(r, "oom_kills");
        bool healthy = strcmp(health, "healthy") == 0;
        char up[64];

        format_ago(up, json_number(r, "started_usec"), now);
        table_add(t, COLOUR_NONE, "%s", json_text(r, "id"));
        table_add(t, colour_of_state(health), "%s", health);
        if (json_number(r, "main_pid") > 0) {
                table_add(t, COLOUR_NONE, "%llu", (unsigned long long) json_number(r, "main_pid"));
        } else {
                table_add(t, COLOUR_GREY, "-");
        }
        table_add(t, COLOUR_NONE, "%s", json_number(r, "main_pid") > 0 ? up : "-");
        table_add(t, restarts > 0 ? COLOUR_YELLOW : COLOUR_NONE, "%llu", (unsigned long long) restarts);
        table_add(t, ooms > 0 ? COLOUR_RED : COLOUR_NONE, "%llu", (unsigned long long) ooms);
        add_last_exit(t, r, now);

        if (*quarantine)
                table_add_line(t, 8, COLOUR_RED, "held back: %s", quarantine);
        if (!healthy && *reason)
                table_add_line(t, 8, colour_of_state(health), "%s", reason);
        if (*status && (verbose || !healthy))
                table_add_line(t, 8, COLOUR_GREY, "says: %s", status);
        if (verbose) {
                table_add_line(t,
                               8,
                               COLOUR_GREY,
                               "%s (%s, %s)",
                               json_text(r, "unit"),
                               json_text(r, "active_state"),
                               json_text(r, "sub_state"));
        }
}

static void add_head(Table *t, json_object *manager) {
        const char *state = json_text(manager, "state");

        table_add_line(t,
                       0,
                       COLOUR_BOLD,
                       "mam %s is %s%s",
                       json_text(manager, "version"),
                       state,
                       json_object_get_boolean(json_member(manager, "initialized"))
                                       ? ""
                                       : "; it is not initialized: run 'mamctl init'");
}

/* With a service named, only the problems that name it: others are not what was asked. */
static void add_problems(Table *t, json_object *manager, const char *service) {
        json_object *problems = json_member(manager, "configuration_problems");
        bool first = true;

        for (size_t i = 0; i < json_length(problems); i++) {
                const char *text = json_object_get_string(json_object_array_get_idx(problems, i));

                if (service && !strstr(text, service))
                        continue;
                if (first) {
                        table_add_line(t, 0, COLOUR_NONE, "%s", "");
                        table_add_line(t, 0, COLOUR_YELLOW, "Configuration:");
                }
                first = false;
                table_add_line(t, 4, COLOUR_YELLOW, "%s", text);
        }
}

static ExitCode print_status(Client *c, json_object *manager) {
        static const TableColumn columns[] = {
                { "REPLICA", false, false },  { "HEALTH", false, false },  { "PID", true, false },
                { "UP", true, false },        { "RESTARTS", true, false }, { "OOM", true, false },
                { "LAST EXIT", false, true },
        };
        const char *asked = c->invocation->arguments[0];
        json_object *services = json_member(manager, "services");
        _cleanup_(table_freep) Table *t = NULL;
        uint64_t now = mam_now_realtime();
        int r;

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 4);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);

        if (!asked)
                add_head(t, manager);
        for (size_t i = 0; i < json_length(services); i++) {
                json_object *service = json_object_array_get_idx(services, i);
                json_object *replicas = json_member(service, "replicas");

                add_service(t, service);
                for (size_t j = 0; j < json_length(replicas); j++)
                        add_replica(t, json_object_array_get_idx(replicas, j), now, asked);
        }
        add_problems(t, manager, asked);

        r = table_print(t, stdout, c->terminal.columns, c->terminal.out_colour);
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

ExitCode status_exit_code(json_object *services, bool asked) {
        size_t stopped = 0, n = json_length(services);

        for (size_t i = 0; i < n; i++) {
                const char *state = json_text(json_object_array_get_idx(services, i), "state");

                if (strcmp(state, "running") == 0 || strcmp(state, "asleep") == 0)
                        continue;
                if (asked || strcmp(state, "stopped") != 0)
                        return EXIT_CODE_NOT_RUNNING;
                stopped++;
        }

        /* in the overview one that was stopped on purpose is fine, all of them are not */
        return stopped < n ? EXIT_CODE_OK : EXIT_CODE_NOT_RUNNING;
}

ExitCode verb_status(Client *c) {
        _cleanup_(json_object_putp) json_object *manager = NULL, *services = NULL;
        const char *asked = c->invocation->arguments[0];
        ExitCode e, verdict;

        e = read_manager(c, &manager);
        if (e != EXIT_CODE_OK)
                return e;
        e = status_read(c, asked, &services);
        if (e != EXIT_CODE_OK)
                return e;

        verdict = status_exit_code(services, asked);
        if (json_object_object_add(manager, "services", services) < 0)
                return client_explain(c, NULL, -ENOMEM, NULL);
        services = NULL;

        e = c->invocation->json ? client_print_json(c, manager) : print_status(c, manager);
        return e != EXIT_CODE_OK ? e : verdict;
}

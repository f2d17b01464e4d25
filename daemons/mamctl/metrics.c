/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Metrics of replicas
 *
 * The manager counts CPU time. With --interval two samples are taken, and what lies between them is the use
 * in cores.
 */

#include <math.h>
#include <string.h>
#include <time.h>

#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/format-table.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

static const char *const metric_keys[] = { "service", "replica", "metrics" };

static ExitCode sample(Client *c, json_object **ret, uint64_t *ret_usec) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *service = c->invocation->arguments[0];
        ExitCode e;
        int r;

        e = client_read(c, &reply, "Metrics", "s", service ? service : "");
        if (e != EXIT_CODE_OK)
                return e;

        *ret_usec = mam_now_monotonic();
        r = bus_json_read_rows(reply, metric_keys, MAM_ELEMENTSOF(metric_keys), ret);
        return r <= 0 ? client_bad_reply(c, r < 0 ? r : -EBADMSG) : EXIT_CODE_OK;
}

static json_object *find_row(json_object *rows, const char *service, const char *replica) {
        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i);

                if (strcmp(json_text(row, "service"), service) == 0 &&
                    strcmp(json_text(row, "replica"), replica) == 0)
                        return row;
        }
        return NULL;
}

/* Adds cpu_cores to each row of rows that was in the sample before as well and has not begun to count anew
 * since. */
static int add_rates(json_object *rows, json_object *before, double seconds) {
        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i), *old, *now, *then, *rate;
                double used;

                old = find_row(before, json_text(row, "service"), json_text(row, "replica"));
                now = json_member(row, "metrics");
                then = old ? json_member(old, "metrics") : NULL;
                if (!then || !json_member(then, "cpu_seconds_total") ||
                    !json_member(now, "cpu_seconds_total"))
                        continue;

                used = json_real(now, "cpu_seconds_total") - json_real(then, "cpu_seconds_total");
                if (used < 0 || seconds <= 0)
                        continue;
                rate = json_object_new_double(round(used / seconds * 10000) / 10000);
                if (!rate)
                        return -ENOMEM;
                json_object_set_serializer(rate, json_object_double_to_json_string, (void *) "%.15g", NULL);
                if (json_object_object_add(now, "cpu_cores", rate) < 0) {
                        json_object_put(rate);
                        return -ENOMEM;
                }
        }
        return 0;
}

static ExitCode measure(Client *c, json_object **ret) {
        _cleanup_(json_object_putp) json_object *before = NULL, *rows = NULL;
        uint64_t interval = c->invocation->interval_usec, t0, t1;
        struct timespec pause;
        ExitCode e;
        int r;

        e = sample(c, interval > 0 ? &before : &rows, &t0);
        if (e != EXIT_CODE_OK)
                return e;

        if (interval > 0) {
                pause = (struct timespec){
                        .tv_sec = (time_t) (interval / MAM_USEC_PER_SEC),
                        .tv_nsec = (long) (interval % MAM_USEC_PER_SEC * 1000),
                };
                while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
                        ;

                e = sample(c, &rows, &t1);
                if (e != EXIT_CODE_OK)
                        return e;
                r = add_rates(rows, before, (double) (t1 - t0) / (double) MAM_USEC_PER_SEC);
                if (r < 0)
                        return client_explain(c, NULL, r, NULL);
        }

        *ret = MAM_TAKE(rows);
        return EXIT_CODE_OK;
}

/* "-" for what is not known: absent is not zero. */
static void add_number(Table *t, json_object *metrics, const char *key, Colour if_positive) {
        double value = json_real(metrics, key);

        if (json_member(metrics, key)) {
                table_add(t, value > 0 ? if_positive : COLOUR_NONE, "%.0f", value);
        } else {
                table_add(t, COLOUR_GREY, "-");
        }
}

static void add_cpu(Table *t, json_object *m, bool rate) {
        const char *key = rate ? "cpu_cores" : "cpu_seconds_total";
        double used = json_real(m, key), limit = json_real(m, "cpu_limit_cores");
        char time[48];

        if (!json_member(m, key)) {
                table_add(t, COLOUR_GREY, "-");
        } else if (rate) {
                table_add(t, limit > 0 && used >= limit * 0.9 ? COLOUR_RED : COLOUR_NONE, "%.3f", used);
        } else {
                mam_format_timespan(time, (uint64_t) (used * 1000) * MAM_USEC_PER_MSEC);
                table_add(t, COLOUR_NONE, "%s", time);
        }

        if (json_member(m, "cpu_limit_cores")) {
                table_add(t, COLOUR_NONE, "%g", limit);
        } else {
                table_add(t, COLOUR_GREY, "-");
        }
}

static void add_memory(Table *t, json_object *m) {
        double used = json_real(m, "memory_bytes"), limit = json_real(m, "memory_max_bytes");
        char text[32];

        text_format_bytes(text, used);
        if (json_member(m, "memory_bytes")) {
                table_add(t, limit > 0 && used >= limit * 0.9 ? COLOUR_RED : COLOUR_NONE, "%s", text);
        } else {
                table_add(t, COLOUR_GREY, "-");
        }

        text_format_bytes(text, limit);
        if (json_member(m, "memory_max_bytes")) {
                table_add(t, COLOUR_NONE, "%s", text);
        } else {
                table_add(t, COLOUR_GREY, "-");
        }
}

static void add_row(Table *t, json_object *row, bool rate) {
        json_object *m = json_member(row, "metrics");
        const char *replica = json_text(row, "replica");
        char up[48] = "";

        /* the row of a service sums up its replicas */
        table_add(t,
                  *replica ? COLOUR_NONE : COLOUR_BOLD,
                  "%s%s",
                  *replica ? "  " : "",
                  *replica ? replica : json_text(row, "service"));
        add_cpu(t, m, rate);
        add_memory(t, m);
        add_number(t, m, "tasks", COLOUR_NONE);
        add_number(t, m, "restarts_total", COLOUR_YELLOW);
        add_number(t, m, "oom_kills_total", COLOUR_RED);
        if (json_member(m, "uptime_seconds"))
                text_format_seconds(up, (uint64_t) json_real(m, "uptime_seconds") * MAM_USEC_PER_SEC);
        table_add(t, COLOUR_NONE, "%s", up);
}

/* A service's sum stands above its replicas, in whatever order the manager sent them. */
static void add_rows(Table *t, json_object *rows, bool rate) {
        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i);
                const char *service = json_text(row, "service");
                bool first = true;

                for (size_t j = 0; j < i; j++) {
                        first = first && strcmp(json_text(json_object_array_get_idx(rows, j), "service"),
                                                service) != 0;
                }
                if (!first)
                        continue;

                row = find_row(rows, service, "");
                if (row)
                        add_row(t, row, rate);
                for (size_t j = i; j < json_length(rows); j++) {
                        row = json_object_array_get_idx(rows, j);
                        if (strcmp(json_text(row, "service"), service) == 0 && *json_text(row, "replica"))
                                add_row(t, row, rate);
                }
        }
}

ExitCode verb_metrics(Client *c) {
        static const TableColumn totals[] = {
                { "REPLICA", false, true },  { "CPU TIME", true, false }, { "CORES", true, false },
                { "MEMORY", true, false },   { "LIMIT", true, false },    { "TASKS", true, false },
                { "RESTARTS", true, false }, { "OOM", true, false },      { "UP", true, false },
        };
        static const TableColumn rates[] = {
                { "REPLICA", false, true },  { "CPU", true, false },   { "CORES", true, false },
                { "MEMORY", true, false },   { "LIMIT", true, false }, { "TASKS", true, false },
                { "RESTARTS", true, false }, { "OOM", true, false },   { "UP", true, false },
        };
        _cleanup_(json_object_putp) json_object *rows = NULL;
        bool rate = c->invocation->interval_usec > 0;
        _cleanup_(table_freep) Table *t = NULL;
        ExitCode e;
        int r;

        e = measure(c, &rows);
        if (e != EXIT_CODE_OK)
                return e;
        if (c->invocation->json)
                return client_print_json_list(c, "replicas", rows);
        if (json_length(rows) == 0)
                client_say(c, "No replicas.");

        r = table_new(&t, rate ? rates : totals, MAM_ELEMENTSOF(totals), 0);
        if (r >= 0) {
                add_rows(t, rows, rate);
                r = table_print(t, stdout, c->terminal.columns, c->terminal.out_colour);
        }
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

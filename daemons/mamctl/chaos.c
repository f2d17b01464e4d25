/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Making trouble for a time, and what users saw of it
 */

#include <string.h>
#include <unistd.h>

#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/format-table.h"
#include "mamctl/job-wait.h"
#include "mamctl/verbs.h"

#define PERCENT_DEFAULT 50U
#define FOR_MIN_USEC    (1 * MAM_USEC_PER_SEC)
#define FOR_MAX_USEC    (3600 * MAM_USEC_PER_SEC)

static const char *describe_kind(const char *kind) {
        static const char *const kinds[][2] = {
                { "kill", "are killed, again and again" },
                { "stop", "stand still" },
                { "cpu", "get a twentieth of their CPU" },
                { "memory", "have their memory squeezed" },
                { "latency", "are stopped and continued in short turns" },
                { "io", "read and write slowly" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(kinds); i++) {
                if (strcmp(kinds[i][0], kind) == 0)
                        return kinds[i][1];
        }
        return "are disturbed";
}

/* On a terminal a person is asked; a program has said what it wants. */
static bool may_go_on(const Client *c, const char *kind, const char *service, uint32_t percent) {
        char answer[16], span[48];

        if (invocation_has(c->invocation, OPTION_YES) || !c->terminal.err || isatty(STDIN_FILENO) != 1)
                return true;

        mam_format_timespan(span, c->invocation->for_usec);
        fprintf(stderr,
                "%u%% of the replicas of %s %s for %s. Its users may notice. Go on? [y/N] ",
                percent,
                service,
                describe_kind(kind),
                span);
        fflush(stderr);
        if (!fgets(answer, sizeof(answer), stdin))
                return false;
        return *answer == 'y' || *answer == 'Y';
}

/* "-" for what is not known: absent is not zero. */
static void add_value(Table *t, json_object *values, const char *key, double factor, const char *unit) {
        if (json_member(values, key)) {
                table_add(t, COLOUR_NONE, "%.4g%s", json_real(values, key) * factor, unit);
        } else {
                table_add(t, COLOUR_GREY, "-");
        }
}

static void add_error_rate(Table *t, json_object *values, bool alarming) {
        double requests = json_real(values, "requests"), errors = json_real(values, "errors");

        if (json_member(values, "errors") && requests > 0) {
                table_add(t,
                          alarming && errors > 0 ? COLOUR_RED : COLOUR_NONE,
                          "%.0f (%.2f%%)",
                          errors,
                          100 * errors / requests);
        } else {
                add_value(t, values, "errors", 1, "");
        }
}

static ExitCode print_report(Client *c, json_object *report) {
        static const TableColumn columns[] = {
                { "", false, false },          { "FOR", true, false },   { "REQUESTS", true, false },
                { "PER SECOND", true, false }, { "ERRORS", true, true }, { "P50", true, false },
                { "P99", true, false },
        };
        static const char *const rows[] = { "before", "during" };
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(rows); i++) {
                json_object *values = json_member(report, rows[i]);

                table_add(t, COLOUR_BOLD, "%s", rows[i]);
                add_value(t, values, "seconds", 1, "s");
                add_value(t, values, "requests", 1, "");
                add_value(t, values, "requests_per_second", 1, "");
                add_error_rate(t, values, i > 0);
                add_value(t, values, "p50_seconds", 1000, "ms");
                add_value(t, values, "p99_seconds", 1000, "ms");
        }
        r = table_print(t, stdout, c->terminal.columns, c->terminal.out_colour);
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

static ExitCode print_json(Client *c, const char *path, const char *result, json_object *report) {
        _cleanup_(json_object_putp) json_object *o = NULL;

        o = json_object_new_object();
        if (!o)
                return client_explain(c, NULL, -ENOMEM, NULL);
        json_object_object_add(o, "job", json_object_new_string(path));
        json_object_object_add(o, "verb", json_object_new_string("chaos"));
        json_object_object_add(o, "kind", json_object_new_string(c->invocation->arguments[0]));
        json_object_object_add(o, "service", json_object_new_string(c->invocation->arguments[1]));
        if (result)
                json_object_object_add(o, "result", json_object_new_string(result));
        if (report) {
                json_object_object_add(o, "before", json_object_get(json_member(report, "before")));
                json_object_object_add(o, "during", json_object_get(json_member(report, "during")));
        }
        return client_print_json(c, o);
}

static ExitCode wait_for_report(Client *c, JobWait *wait, const char *path) {
        json_object *report;
        ExitCode e, printed = EXIT_CODE_OK;

        e = job_wait_run(wait, path);
        if (!job_wait_result(wait))
                return e;

        report = job_wait_report(wait);
        if (c->invocation->json) {
                printed = print_json(c, path, job_wait_result(wait), report);
        } else if (report) {
                printed = print_report(c, report);
        }
        return printed == EXIT_CODE_OK ? e : printed;
}

ExitCode verb_chaos(Client *c) {
        const char *kind = c->invocation->arguments[0], *service = c->invocation->arguments[1], *path;
        uint32_t percent = c->invocation->percent > 0 ? c->invocation->percent : PERCENT_DEFAULT;
        uint64_t duration = c->invocation->for_usec;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(job_wait_freep) JobWait *wait = NULL;
        ExitCode e;
        int r;

        if (duration < FOR_MIN_USEC || duration > FOR_MAX_USEC) {
                client_complain(c, "--for=TIME says how long: 1s to 1h, such as --for=1min.");
                return EXIT_CODE_USAGE;
        }
        e = client_connect(c);
        if (e != EXIT_CODE_OK)
                return e;
        if (!may_go_on(c, kind, service, percent)) {
                client_say(c, "Nothing was done.");
                return EXIT_CODE_FAILURE;
        }

        if (!c->invocation->no_wait) {
                r = job_wait_new(&wait, c, "chaos", service);
                if (r >= 0)
                        r = job_wait_expect_report(wait);
                if (r < 0)
                        return client_explain(c, NULL, r, NULL);
        }
        e = client_act(c, &reply, "Chaos", "ssutt", kind, service, percent, duration, UINT64_C(0));
        if (e != EXIT_CODE_OK)
                return e;
        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return client_bad_reply(c, r);
        if (wait)
                return wait_for_report(c, wait, path);
        if (c->invocation->json)
                return print_json(c, path, NULL, NULL);
        client_say(c, "chaos %s: taken as job %s.", service, strrchr(path, '/') + 1);
        return EXIT_CODE_OK;
}

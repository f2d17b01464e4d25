/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A rollout under way: look at it, hold it, go on, go back
 */

#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/rollout-wait.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

/* None is no mistake of the user: exit status 3, as for a service that does not run. */
static ExitCode tell_none(Client *c, const char *service) {
        _cleanup_(json_object_putp) json_object *o = NULL;

        if (!c->invocation->json) {
                if (!c->invocation->quiet) {
                        printf("No rollout of %s is under way. 'mamctl history %s' shows what was.\n",
                               service,
                               service);
                }
                return EXIT_CODE_NOT_RUNNING;
        }
        o = json_object_new_object();
        if (!o || json_object_object_add(o, "service", json_object_new_string(service)) < 0 ||
            json_object_object_add(o, "rollout", NULL) < 0)
                return client_explain(c, NULL, -ENOMEM, NULL);
        (void) client_print_json(c, o);
        return EXIT_CODE_NOT_RUNNING;
}

/* The path of the rollout of the service. Caller frees *ret. */
static ExitCode get_rollout(Client *c, const char *service, char **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *path;
        char *copy;
        ExitCode e;
        int r;

        e = client_new_call(c, &m, "GetRollout");
        if (e != EXIT_CODE_OK)
                return e;
        r = sd_bus_message_append(m, "s", service);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);

        r = sd_bus_call(c->bus, m, 0, &error, &reply);
        if (sd_bus_error_has_name(&error, MAM_BUS_ERROR_NO_SUCH_ROLLOUT))
                return tell_none(c, service);
        if (r < 0)
                return client_explain(c, &error, r, service);

        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return client_bad_reply(c, r);
        copy = strdup(path);
        if (!copy)
                return client_explain(c, NULL, -ENOMEM, NULL);
        *ret = copy;
        return EXIT_CODE_OK;
}

static void print_line(const Client *c, Colour colour, const char *title, const char *text) {
        _cleanup_(mam_freep) char *clean = text_clean(text);

        if (clean && *clean) {
                printf("  %-9s %s%s%s\n",
                       title,
                       colour_start(c->terminal.out_colour, colour),
                       clean,
                       colour_end(c->terminal.out_colour, colour));
        }
}

static void print_rollout(const Client *c, json_object *p) {
        _cleanup_(mam_freep) char *progress = NULL;
        json_object *steps = json_member(p, "steps");
        char text[256], ago[48];
        uint64_t now = mam_now_realtime(), started = json_number(p, "started_usec");
        size_t used = 0;

        text_format_seconds(ago, started > 0 && started < now ? now - started : 0);
        printf("%s%s: rollout under way for %s%s\n",
               colour_start(c->terminal.out_colour, COLOUR_BOLD),
               json_text(p, "service"),
               ago,
               colour_end(c->terminal.out_colour, COLOUR_BOLD));

        snprintf(text,
                 sizeof(text),
                 "%s to %s",
                 *json_text(p, "from") ? json_text(p, "from") : "the configuration",
                 json_text(p, "to"));
        print_line(c, COLOUR_NONE, "revisions", text);
        print_line(c, COLOUR_NONE, "strategy", json_text(p, "strategy"));
        for (size_t i = 0; i < json_length(steps) && used + 16 < sizeof(text); i++) {
                bool here = i + 1 == json_number(p, "step");

                used += (size_t) snprintf(
                                text + used,
                                sizeof(text) - used,
                                "%s%s%u%%%s",
                                i > 0 ? ", " : "",
                                here ? "[" : "",
                                (unsigned) json_object_get_int(json_object_array_get_idx(steps, i)),
                                here ? "]" : "");
        }
        print_line(c, COLOUR_NONE, "steps", used > 0 ? text : "");
        progress = rollout_describe(p);
        print_line(c,
                   strcmp(json_text(p, "phase"), "reverting") == 0 ? COLOUR_RED : COLOUR_YELLOW,
                   "progress",
                   progress ? progress : "");
}

static ExitCode show(Client *c, const char *service, const char *path) {
        _cleanup_(json_object_putp) json_object *p = NULL, *o = NULL;
        ExitCode e;

        e = rollout_read(c, path, &p);
        if (e != EXIT_CODE_OK)
                return e;
        if (!c->invocation->json) {
                print_rollout(c, p);
                return EXIT_CODE_OK;
        }

        o = json_object_new_object();
        if (!o || json_object_object_add(o, "service", json_object_new_string(service)) < 0 ||
            json_object_object_add(p, "path", json_object_new_string(path)) < 0 ||
            json_object_object_add(o, "rollout", p) < 0)
                return client_explain(c, NULL, -ENOMEM, NULL);
        p = NULL;
        return client_print_json(c, o);
}

static ExitCode call_rollout(Client *c, const char *path, const char *method) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(c->bus, &m, MAM_BUS_NAME, path, MAM_IFACE_ROLLOUT, method);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);
        return client_send(c, m, true, NULL);
}

static ExitCode change(Client *c, const char *what, const char *service, const char *path) {
        bool abort = strcmp(what, "abort") == 0, pause = strcmp(what, "pause") == 0;
        _cleanup_(rollout_wait_freep) RolloutWait *wait = NULL;
        ExitCode e;
        int r;

        if (abort && !c->invocation->no_wait) {
                r = rollout_wait_new(&wait, c, "abort", service);
                if (r < 0)
                        return client_explain(c, NULL, r, NULL);
        }

        e = call_rollout(c, path, abort ? "Abort" : pause ? "Pause" : "Resume");
        if (e != EXIT_CODE_OK)
                return e;
        if (wait)
                return rollout_wait_run(wait, path, "aborted");
        if (c->invocation->json)
                return show(c, service, path);

        if (abort) {
                client_say(c,
                           "%s goes back. 'mamctl rollout status %s' shows how far it is.",
                           service,
                           service);
        } else if (pause) {
                client_say(c,
                           "The rollout of %s stays where it is until 'mamctl rollout resume %s'.",
                           service,
                           service);
        } else {
                client_say(c, "The rollout of %s goes on.", service);
        }
        return EXIT_CODE_OK;
}

ExitCode verb_rollout(Client *c) {
        const char *what = c->invocation->arguments[0], *service = c->invocation->arguments[1];
        _cleanup_(rollout_wait_freep) RolloutWait *wait = NULL;
        _cleanup_(mam_freep) char *path = NULL;
        bool follow = c->invocation->follow;
        ExitCode e;
        int r;

        if (follow && strcmp(what, "status") != 0) {
                client_complain(c, "--follow is for 'mamctl rollout status'.");
                return EXIT_CODE_USAGE;
        }

        e = client_connect(c);
        if (e != EXIT_CODE_OK)
                return e;
        if (follow) {
                r = rollout_wait_new(&wait, c, "deploy", service);
                if (r < 0)
                        return client_explain(c, NULL, r, NULL);
        }
        e = get_rollout(c, service, &path);
        if (e != EXIT_CODE_OK)
                return e;
        if (follow)
                return rollout_wait_run(wait, path, "done");
        return strcmp(what, "status") == 0 ? show(c, service, path) : change(c, what, service, path);
}

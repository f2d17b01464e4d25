/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Beginning a rollout: deploy and undo
 */

#include <string.h>

#include "mamctl/bus-json.h"
#include "mamctl/revisions.h"
#include "mamctl/rollout-wait.h"
#include "mamctl/verbs.h"

static int append_text(sd_bus_message *m, const char *key, const char *value) {
        return value ? sd_bus_message_append(m, "{sv}", key, "s", value) : 0;
}

static int append_number(
                sd_bus_message *m,
                const Invocation *i,
                Option option,
                const char *key,
                uint32_t value) {
        return invocation_has(i, option) ? sd_bus_message_append(m, "{sv}", key, "u", value) : 0;
}

static int append_time(
                sd_bus_message *m,
                const Invocation *i,
                Option option,
                const char *key,
                uint64_t value) {
        return invocation_has(i, option) ? sd_bus_message_append(m, "{sv}", key, "t", value) : 0;
}

static int append_steps(sd_bus_message *m, const Invocation *i) {
        int r;

        if (i->n_steps == 0)
                return 0;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "steps");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "au");
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'u', i->steps, i->n_steps * sizeof(*i->steps));
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* Only what was said: the manager has the defaults. */
static int append_options(sd_bus_message *m, const Invocation *i, const char *revision) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = append_text(m, "version", i->label);
        if (r >= 0)
                r = append_text(m, "exec", i->exec);
        if (r >= 0)
                r = append_text(m, "image", i->image);
        if (r >= 0)
                r = append_text(m, "revision", revision);
        if (r >= 0)
                r = append_text(m, "strategy", i->strategy);
        if (r >= 0)
                r = append_steps(m, i);
        if (r >= 0)
                r = append_time(m, i, OPTION_PAUSE, "pause_usec", i->pause_usec);
        if (r >= 0)
                r = append_number(m, i, OPTION_MAX_SURGE, "max_surge", i->max_surge);
        if (r >= 0)
                r = append_number(m, i, OPTION_MAX_UNAVAILABLE, "max_unavailable", i->max_unavailable);
        if (r >= 0)
                r = append_time(m, i, OPTION_MIN_HEALTHY, "min_healthy_usec", i->min_healthy_usec);
        if (r >= 0) {
                r = append_time(m,
                                i,
                                OPTION_HEALTHY_DEADLINE,
                                "healthy_deadline_usec",
                                i->healthy_deadline_usec);
        }
        if (r >= 0) {
                r = append_time(m,
                                i,
                                OPTION_PROGRESS_DEADLINE,
                                "progress_deadline_usec",
                                i->progress_deadline_usec);
        }
        if (r >= 0 && invocation_has(i, OPTION_NO_AUTO_REVERT))
                r = sd_bus_message_append(m, "{sv}", "auto_revert", "b", false);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static ExitCode print_taken(const Client *c, const char *verb, const char *service, const char *path) {
        _cleanup_(json_object_putp) json_object *o = NULL;

        if (!c->invocation->json) {
                client_say(c,
                           "%s %s: the rollout is under way. 'mamctl rollout status %s --follow' shows it.",
                           verb,
                           service,
                           service);
                return EXIT_CODE_OK;
        }

        o = json_object_new_object();
        if (!o)
                return EXIT_CODE_FAILURE;
        json_object_object_add(o, "rollout", json_object_new_string(path));
        json_object_object_add(o, "verb", json_object_new_string(verb));
        json_object_object_add(o, "service", json_object_new_string(service));
        return client_print_json(c, o);
}

/* revision: NULL, or an existing one. */
static ExitCode deploy(Client *c, const char *revision) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *service = c->invocation->arguments[0], *verb = c->invocation->command->name, *path;
        _cleanup_(rollout_wait_freep) RolloutWait *wait = NULL;
        ExitCode e;
        int r;

        e = client_new_call(c, &m, "Deploy");
        if (e != EXIT_CODE_OK)
                return e;

        r = sd_bus_message_append(m, "s", service);
        if (r >= 0)
                r = append_options(m, c->invocation, revision);
        if (r >= 0)
                r = sd_bus_message_append(m, "t", UINT64_C(0));
        if (r >= 0 && !c->invocation->no_wait)
                r = rollout_wait_new(&wait, c, verb, service);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);

        e = client_send(c, m, true, &reply);
        if (e != EXIT_CODE_OK)
                return e;
        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return client_bad_reply(c, r);
        return wait ? rollout_wait_run(wait, path, "done") : print_taken(c, verb, service, path);
}

ExitCode verb_deploy(Client *c) {
        const Invocation *i = c->invocation;
        bool canary = i->strategy && strcmp(i->strategy, "canary") == 0;

        if ((i->n_steps > 0 || invocation_has(i, OPTION_PAUSE)) && !canary) {
                client_complain(c, "--steps and --pause are for a canary: add --strategy=canary.");
                return EXIT_CODE_USAGE;
        }
        return deploy(c, NULL);
}

ExitCode verb_undo(Client *c) {
        const char *service = c->invocation->arguments[0], *word = c->invocation->arguments[1];
        _cleanup_(json_object_putp) json_object *list = NULL;
        json_object *row = NULL;
        ExitCode e;

        e = revisions_read(c, service, &list);
        if (e != EXIT_CODE_OK)
                return e;

        if (word) {
                e = revisions_resolve(c, list, service, word, &row);
                if (e != EXIT_CODE_OK)
                        return e;
        } else {
                row = revisions_with_status(list, "previous");
                if (!row && revisions_with_status(list, "deploying")) {
                        client_complain(c,
                                        "A rollout of %s is under way. 'mamctl rollout abort %s' goes back.",
                                        service,
                                        service);
                        return EXIT_CODE_FAILURE;
                }
                if (!row) {
                        client_complain(c,
                                        "%s has no revision to go back to. 'mamctl history %s' lists what there was.",
                                        service,
                                        service);
                        return EXIT_CODE_FAILURE;
                }
        }

        client_say(c,
                   "Going back to revision %s%s%s%s.",
                   json_text(row, "revision"),
                   *json_text(row, "version") ? " (version " : "",
                   json_text(row, "version"),
                   *json_text(row, "version") ? ")" : "");
        return deploy(c, json_text(row, "revision"));
}

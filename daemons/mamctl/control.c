/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Commands that change what runs
 */

#include <string.h>

#include "mamctl/job-wait.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

/* The service of the command line; "" is how the bus says all. */
static const char *service_or_all(const Client *c) {
        return c->invocation->arguments[0] ? c->invocation->arguments[0] : "";
}

static ExitCode print_job(const Client *c, const char *verb, const char *service, const char *path) {
        _cleanup_(json_object_putp) json_object *o = NULL;

        if (!c->invocation->json) {
                client_say(c,
                           "%s %s: taken as job %s.",
                           verb,
                           *service ? service : "all services",
                           strrchr(path, '/') + 1);
                return EXIT_CODE_OK;
        }

        o = json_object_new_object();
        if (!o)
                return EXIT_CODE_FAILURE;
        json_object_object_add(o, "job", json_object_new_string(path));
        json_object_object_add(o, "verb", json_object_new_string(verb));
        json_object_object_add(o, "service", json_object_new_string(service));
        return client_print_json(c, o);
}

/* scale_to: NULL for the methods that take no number. */
static ExitCode run_job(Client *c, const char *method, const char *service, const uint32_t *scale_to) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path, *verb = c->invocation->command->name;
        _cleanup_(job_wait_freep) JobWait *wait = NULL;
        ExitCode e;
        int r;

        e = client_connect(c);
        if (e != EXIT_CODE_OK)
                return e;

        if (!c->invocation->no_wait) {
                r = job_wait_new(&wait, c, verb, service);
                if (r < 0)
                        return client_explain(c, NULL, r, NULL);
        }

        if (scale_to) {
                e = client_act(c, &reply, method, "sut", service, *scale_to, UINT64_C(0));
        } else {
                e = client_act(c, &reply, method, "st", service, UINT64_C(0));
        }
        if (e != EXIT_CODE_OK)
                return e;

        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return client_bad_reply(c, r);

        if (!wait)
                return print_job(c, verb, service, path);
        return job_wait_run(wait, path);
}

ExitCode verb_start(Client *c) {
        return run_job(c, "Start", service_or_all(c), NULL);
}

ExitCode verb_stop(Client *c) {
        return run_job(c, "Stop", service_or_all(c), NULL);
}

ExitCode verb_restart(Client *c) {
        return run_job(c, "Restart", service_or_all(c), NULL);
}

ExitCode verb_scale(Client *c) {
        const char *number = c->invocation->arguments[1];
        unsigned long n;
        uint32_t replicas;
        char *end;

        errno = 0;
        n = strtoul(number, &end, 10);
        if (errno != 0 || *end || *number < '0' || *number > '9' || n > UINT32_MAX) {
                client_complain(c, "'%s' is not a number of replicas.", number);
                return EXIT_CODE_USAGE;
        }

        replicas = (uint32_t) n;
        return run_job(c, "Scale", c->invocation->arguments[0], &replicas);
}

static ExitCode print_report_json(Client *c, sd_bus_message *reply, ExitCode e) {
        _cleanup_(json_object_putp) json_object *list = NULL;
        const char *level, *text;
        ExitCode printed;
        int r;

        list = json_object_new_array();
        if (!list)
                return EXIT_CODE_FAILURE;

        while ((r = sd_bus_message_read(reply, "(ss)", &level, &text)) > 0) {
                json_object *o = json_object_new_object();

                if (!o)
                        return EXIT_CODE_FAILURE;
                json_object_object_add(o, "level", json_object_new_string(level));
                json_object_object_add(o, "text", json_object_new_string(text));
                json_object_array_add(list, o);
                if (strcmp(level, "error") == 0)
                        e = EXIT_CODE_FAILURE;
        }
        if (r < 0)
                return client_bad_reply(c, r);

        printed = client_print_json_list(c, "report", list);
        return printed == EXIT_CODE_OK ? e : printed;
}

static ExitCode print_report(Client *c, sd_bus_message *reply) {
        bool colour = c->terminal.out_colour;
        ExitCode e = EXIT_CODE_OK;
        const char *level, *text;
        int r;

        while ((r = sd_bus_message_read(reply, "(ss)", &level, &text)) > 0) {
                _cleanup_(mam_freep) char *clean = NULL;
                Colour shade = colour_of_state(level);

                if (strcmp(level, "error") == 0) {
                        e = EXIT_CODE_FAILURE;
                } else if (c->invocation->quiet && strcmp(level, "warning") != 0) {
                        continue;
                }

                clean = text_clean(text);
                if (!clean)
                        return client_explain(c, NULL, -ENOMEM, NULL);
                printf("%s%-7s%s  %s\n",
                       colour_start(colour, shade),
                       level,
                       colour_end(colour, shade),
                       clean);
        }
        return r < 0 ? client_bad_reply(c, r) : e;
}

ExitCode verb_init(Client *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        ExitCode e;
        int r;

        e = client_act(c, &reply, "Init", "t", UINT64_C(0));
        if (e != EXIT_CODE_OK)
                return e;

        r = sd_bus_message_enter_container(reply, 'a', "(ss)");
        if (r < 0)
                return client_bad_reply(c, r);
        return c->invocation->json ? print_report_json(c, reply, EXIT_CODE_OK) : print_report(c, reply);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Waiting for a rollout
 */

#include <assert.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/rollout-wait.h"
#include "mamctl/wait.h"

struct RolloutWait {
        Wait wait;                 /* first, so that a Wait leads to its RolloutWait */
        sd_bus_slot *removed_slot; /* owned */
        sd_bus_slot *read_slot;    /* owned; a call under way */
        const char *wanted;        /* borrowed */
        char where[128];           /* what WaitInfo says, with the service */
        WaitInfo info;
};

RolloutWait *rollout_wait_free(RolloutWait *w) {
        if (!w)
                return NULL;

        sd_bus_slot_unref(w->removed_slot);
        sd_bus_slot_unref(w->read_slot);
        wait_done(&w->wait);
        free(w);
        return NULL;
}

char *rollout_describe(json_object *p) {
        const char *reason = json_text(p, "reason");
        size_t steps = json_length(json_member(p, "steps"));
        char step[64] = "", *text;

        if (steps > 0) {
                snprintf(step,
                         sizeof(step),
                         "step %llu of %zu, ",
                         (unsigned long long) json_number(p, "step"),
                         steps);
        }
        if (asprintf(&text,
                     "%s, %s%llu%% of the traffic; %llu of %llu updated, %llu ready%s%s",
                     json_text(p, "phase"),
                     step,
                     (unsigned long long) json_number(p, "weight"),
                     (unsigned long long) json_number(p, "updated"),
                     (unsigned long long) json_number(p, "total"),
                     (unsigned long long) json_number(p, "ready"),
                     *reason ? ": " : "",
                     reason) < 0)
                return NULL;
        return text;
}

ExitCode rollout_read(Client *c, const char *path, json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call_method(
                        c->bus,
                        MAM_BUS_NAME,
                        path,
                        "org.freedesktop.DBus.Properties",
                        "GetAll",
                        &error,
                        &reply,
                        "s",
                        MAM_IFACE_ROLLOUT);
        if (r < 0)
                return client_explain(c, &error, r, NULL);
        r = bus_json_read_properties(reply, ret);
        return r <= 0 ? client_bad_reply(c, r < 0 ? r : -EBADMSG) : EXIT_CODE_OK;
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(json_object_putp) json_object *p = NULL;
        _cleanup_(mam_freep) char *state = NULL, *text = NULL;
        RolloutWait *w = userdata;

        w->read_slot = sd_bus_slot_unref(w->read_slot);

        /* a rollout that has ended has no properties: its last word is on its way */
        if (sd_bus_message_is_method_error(m, NULL) || bus_json_read_properties(m, &p) <= 0)
                return 0;

        state = rollout_describe(p);
        if (!state || asprintf(&text, "%s: %s", w->wait.service, state) < 0) {
                text = NULL;
                return 0;
        }
        wait_progress(&w->wait,
                      (uint32_t) json_number(p, "ready"),
                      (uint32_t) json_number(p, "total"),
                      text);
        return 0;
}

/* Asked, not told: the number of signals that a rollout sends is the manager's affair. */
static int on_tick(Wait *wait) {
        RolloutWait *w = (RolloutWait *) wait;

        if (w->read_slot)
                return 0;
        return sd_bus_call_method_async(
                        wait->client->bus,
                        &w->read_slot,
                        MAM_BUS_NAME,
                        wait->path,
                        "org.freedesktop.DBus.Properties",
                        "GetAll",
                        on_properties,
                        w,
                        "s",
                        MAM_IFACE_ROLLOUT);
}

static int on_interrupt(Wait *wait, int signal_number) {
        if (!wait->client->invocation->quiet) {
                fprintf(stderr,
                        "The rollout goes on.\n  to see it:  mamctl rollout status %s --follow\n  to go back: mamctl rollout abort %s\n",
                        wait->service,
                        wait->service);
        }
        return wait_finish(wait, (ExitCode) (128 + signal_number));
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *service, *result, *message;
        RolloutWait *w = userdata;
        int r;

        r = sd_bus_message_read(m, "osss", &path, &service, &result, &message);
        if (r < 0 || !wait_is_about(&w->wait, path))
                return 0;
        return wait_ended(
                        &w->wait,
                        result,
                        message,
                        strcmp(result, w->wanted) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE);
}

int rollout_wait_new(RolloutWait **ret, Client *client, const char *verb, const char *service) {
        _cleanup_(rollout_wait_freep) RolloutWait *w = NULL;
        int r;

        assert(ret);
        assert(service);

        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;

        snprintf(w->where, sizeof(w->where), "mamctl rollout status %s", service);
        w->info = (WaitInfo){
                .noun = "rollout",
                .where = w->where,
                .on_interrupt = on_interrupt,
                .on_tick = on_tick,
        };
        r = wait_init(&w->wait, &w->info, client, verb, service);
        if (r < 0)
                return r;
        r = sd_bus_match_signal(
                        client->bus,
                        &w->removed_slot,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "RolloutRemoved",
                        on_removed,
                        w);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(w);
        return 0;
}

static void tell_result(const Wait *w) {
        const char *message = strcmp(w->message, w->result) == 0 ? "" : w->message;
        char took[48];

        mam_format_timespan(took, mam_now_monotonic() - w->since_usec);
        if (w->exit == EXIT_CODE_OK) {
                client_say(w->client,
                           "%s %s: %s in %s%s%s.",
                           w->verb,
                           w->service,
                           w->result,
                           took,
                           *message ? "; " : "",
                           message);
                return;
        }
        client_complain(w->client,
                        "%s %s: %s after %s%s%s. Look at 'mamctl events %s' and 'mamctl history %s'.",
                        w->verb,
                        w->service,
                        w->result,
                        took,
                        *message ? ": " : "",
                        message,
                        w->service,
                        w->service);
}

ExitCode rollout_wait_run(RolloutWait *w, const char *path, const char *wanted) {
        ExitCode e;

        assert(w);
        assert(path);
        assert(wanted);

        w->wanted = wanted;
        e = wait_run(&w->wait, path);
        if (!w->wait.result)
                return e;
        if (w->wait.client->invocation->json) {
                ExitCode printed = wait_print_json(&w->wait, "rollout");

                return printed == EXIT_CODE_OK ? e : printed;
        }
        tell_result(&w->wait);
        return e;
}

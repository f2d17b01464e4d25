/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Waiting for a job
 */

#include <assert.h>
#include <signal.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/job-wait.h"
#include "mamctl/wait.h"

/* A report may follow the end of its job. */
#define REPORT_USEC (5 * MAM_USEC_PER_SEC)

struct JobWait {
        Wait wait; /* first, so that a Wait leads to its JobWait */
        sd_bus_slot *progress_slot, *removed_slot, *ended_slot; /* owned */
        bool wants_report;
        bool cancelled;
        json_object *report; /* owned */
};

JobWait *job_wait_free(JobWait *w) {
        if (!w)
                return NULL;

        sd_bus_slot_unref(w->progress_slot);
        sd_bus_slot_unref(w->removed_slot);
        sd_bus_slot_unref(w->ended_slot);
        wait_done(&w->wait);
        json_object_put(w->report);
        free(w);
        return NULL;
}

static int on_progress(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) char *text = NULL;
        const char *path, *service, *message;
        JobWait *w = userdata;
        uint32_t done, total;
        int r;

        r = sd_bus_message_read(m, "osuus", &path, &service, &done, &total, &message);
        if (r < 0 || !wait_is_about(&w->wait, path))
                return 0;

        if (asprintf(&text, "%s%s%s", service, *service && *message ? ": " : "", message) < 0) {
                text = NULL;
                return 0;
        }
        wait_progress(&w->wait, done, total, text);
        return 0;
}

static ExitCode exit_of_result(const char *result) {
        if (strcmp(result, "done") == 0)
                return EXIT_CODE_OK;
        if (strcmp(result, "timeout") == 0)
                return EXIT_CODE_TIMEOUT;
        return EXIT_CODE_FAILURE;
}

static int on_report_is_late(sd_event_source *s, uint64_t usec, void *userdata) {
        JobWait *w = userdata;

        return wait_finish(&w->wait, w->wait.exit);
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *service, *result, *message;
        JobWait *w = userdata;
        ExitCode e;
        int r;

        r = sd_bus_message_read(m, "osss", &path, &service, &result, &message);
        if (r < 0 || !wait_is_about(&w->wait, path) || w->wait.result)
                return 0;

        e = exit_of_result(result);
        if (!w->wants_report || w->report || (e != EXIT_CODE_OK && strcmp(result, "cancelled") != 0))
                return wait_ended(&w->wait, result, message, e);

        /* over, but for its report */
        w->wait.exit = e;
        w->wait.result = strdup(result);
        w->wait.message = strdup(message);
        if (!w->wait.result || !w->wait.message)
                return wait_finish(&w->wait, EXIT_CODE_FAILURE);
        return sd_event_add_time_relative(
                        w->wait.event,
                        NULL,
                        CLOCK_MONOTONIC,
                        REPORT_USEC,
                        0,
                        on_report_is_late,
                        w);
}

static int on_chaos_ended(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(json_object_putp) json_object *before = NULL, *during = NULL, *report = NULL;
        const char *path, *service;
        JobWait *w = userdata;
        int r;

        r = sd_bus_message_read(m, "os", &path, &service);
        if (r < 0 || !wait_is_about(&w->wait, path) || w->report)
                return 0;
        r = bus_json_read(m, &before);
        if (r > 0)
                r = bus_json_read(m, &during);
        report = json_object_new_object();
        if (r <= 0 || !report)
                return 0;

        json_object_object_add(report, "before", MAM_TAKE(before));
        json_object_object_add(report, "during", MAM_TAKE(during));
        w->report = MAM_TAKE(report);
        return w->wait.result ? wait_finish(&w->wait, w->wait.exit) : 0;
}

static int on_cancel_reply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        JobWait *w = userdata;

        /* the end of the job is what is waited for; it may have come before this */
        if (!e || sd_bus_error_has_name(e, MAM_BUS_ERROR_NO_SUCH_JOB) ||
            sd_bus_error_has_name(e, SD_BUS_ERROR_UNKNOWN_OBJECT))
                return 0;
        wait_erase(&w->wait);
        return wait_finish(&w->wait, client_explain(w->wait.client, e, -EIO, NULL));
}

static int on_interrupt(Wait *wait, int signal_number) {
        JobWait *w = (JobWait *) wait;

        /* a second Ctrl-C: the person does not want to wait */
        if (!w->wants_report || w->cancelled) {
                if (!wait->client->invocation->quiet) {
                        fprintf(stderr,
                                "The job goes on; 'mamctl status' shows how far it is. To cancel it:\n  busctl call " MAM_BUS_NAME
                                " %s " MAM_IFACE_JOB " Cancel\n",
                                wait->path);
                }
                return wait_finish(wait, (ExitCode) (128 + signal_number));
        }

        w->cancelled = true;
        if (!wait->client->invocation->quiet)
                fputs("Ending it.\n", stderr);
        return sd_bus_call_method_async(
                        wait->client->bus,
                        NULL,
                        MAM_BUS_NAME,
                        wait->path,
                        MAM_IFACE_JOB,
                        "Cancel",
                        on_cancel_reply,
                        w,
                        "");
}

static const WaitInfo job_wait_info = {
        .noun = "job",
        .where = "mamctl status",
        .on_interrupt = on_interrupt,
};

int job_wait_new(JobWait **ret, Client *client, const char *verb, const char *service) {
        _cleanup_(job_wait_freep) JobWait *w = NULL;
        int r;

        assert(ret);

        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;

        r = wait_init(&w->wait, &job_wait_info, client, verb, service);
        if (r < 0)
                return r;
        r = sd_bus_match_signal(
                        client->bus,
                        &w->progress_slot,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "JobProgress",
                        on_progress,
                        w);
        if (r < 0)
                return r;
        r = sd_bus_match_signal(
                        client->bus,
                        &w->removed_slot,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "JobRemoved",
                        on_removed,
                        w);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(w);
        return 0;
}

int job_wait_expect_report(JobWait *w) {
        assert(w);

        w->wants_report = true;
        return sd_bus_match_signal(
                        w->wait.client->bus,
                        &w->ended_slot,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "ChaosEnded",
                        on_chaos_ended,
                        w);
}

json_object *job_wait_report(const JobWait *w) {
        return w->report;
}

const char *job_wait_result(const JobWait *w) {
        return w->wait.result;
}

static void tell_result(const Wait *w) {
        const char *service = *w->service ? w->service : "all services";
        char took[48];

        if (strcmp(w->result, "done") == 0) {
                mam_format_timespan(took, mam_now_monotonic() - w->since_usec);
                client_say(w->client,
                           "%s %s: done in %s%s%s.",
                           w->verb,
                           service,
                           took,
                           *w->message ? "; " : "",
                           w->message);
                return;
        }

        client_complain(w->client,
                        "%s %s: %s%s%s. Look at 'mamctl status%s%s' and 'mamctl logs%s%s'.",
                        w->verb,
                        service,
                        w->result,
                        *w->message ? ": " : "",
                        w->message,
                        *w->service ? " " : "",
                        w->service,
                        *w->service ? " " : "",
                        w->service);
}

ExitCode job_wait_run(JobWait *w, const char *path) {
        ExitCode e;

        assert(w);
        assert(path);

        e = wait_run(&w->wait, path);
        if (!w->wait.result)
                return e;

        /* asked for: that is no failure, and has its own exit status */
        if (w->cancelled && strcmp(w->wait.result, "cancelled") == 0)
                return EXIT_CODE_INTERRUPTED;
        if (w->wait.client->invocation->json && !w->wants_report) {
                ExitCode printed = wait_print_json(&w->wait, "job");

                return printed == EXIT_CODE_OK ? e : printed;
        }
        if (!w->wait.client->invocation->json)
                tell_result(&w->wait);
        return e;
}

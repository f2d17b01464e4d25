/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Waiting for a job
 */

#include <assert.h>
#include <signal.h>
#include <string.h>

#include <systemd/sd-event.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/util/time.h"
#include "mamctl/job-wait.h"
#include "mamctl/text.h"

#define REDRAW_USEC (500 * MAM_USEC_PER_MSEC) /* the clock in the progress line */
/* Lines in a file: at most this often when something got done, and when only the text changed. */
#define LINE_USEC      (1 * MAM_USEC_PER_SEC)
#define LINE_TEXT_USEC (10 * MAM_USEC_PER_SEC)

struct JobWait {
        Client *client;                                         /* borrowed */
        const char *verb, *service;                             /* borrowed; service "" is all */
        sd_event *event;                                        /* owned */
        sd_bus_slot *progress_slot, *removed_slot, *owner_slot; /* owned */
        char *path;                                             /* owned; known after the call */
        char *last;                                             /* owned; the last progress text */
        uint32_t done, total;
        uint64_t since_usec; /* monotonic */
        bool drawn;          /* a progress line stands on the terminal */
        bool line_due;       /* no terminal: there is progress that no line tells yet */
        uint32_t line_done;  /* what the last line told */
        uint64_t line_usec;  /* monotonic; 0: there was no line */
        char *message;       /* owned; of JobRemoved */
        char *result;        /* owned; of JobRemoved */
        ExitCode exit;       /* valid once the loop has ended */
};

JobWait *job_wait_free(JobWait *w) {
        if (!w)
                return NULL;

        sd_bus_slot_unref(w->progress_slot);
        sd_bus_slot_unref(w->removed_slot);
        sd_bus_slot_unref(w->owner_slot);
        if (w->event && w->client->bus)
                (void) sd_bus_detach_event(w->client->bus);
        sd_event_unref(w->event);
        free(w->path);
        free(w->last);
        free(w->message);
        free(w->result);
        free(w);
        return NULL;
}

static bool shows_progress(const JobWait *w) {
        return !w->client->invocation->quiet && !w->client->invocation->json;
}

static void erase(JobWait *w) {
        if (w->drawn) /* with what the terminal echoed behind it, such as ^C */
                fputs("\r\x1b[K", stderr);
        w->drawn = false;
}

/* "[3/8] project-manager: waiting for project-manager:4  12s", cut to the terminal */
static void draw(JobWait *w) {
        _cleanup_(mam_freep) char *line = NULL, *cut = NULL;
        unsigned columns = terminal_columns(STDERR_FILENO);
        char elapsed[48];
        int r;

        if (!w->client->terminal.err || !shows_progress(w))
                return;

        text_format_seconds(elapsed, mam_now_monotonic() - w->since_usec);
        if (w->total > 0) {
                r = asprintf(&line,
                             "[%u/%u] %s  %s",
                             w->done,
                             w->total,
                             w->last ? w->last : w->verb,
                             elapsed);
        } else {
                r = asprintf(&line,
                             "%s %s  %s",
                             w->verb,
                             *w->service ? w->service : "all services",
                             elapsed);
        }
        if (r < 0) {
                line = NULL;
                return;
        }
        cut = text_ellipsize(
                        line,
                        columns > 4 ? columns - 4 : 1); /* no wrapping, not even with ^C behind it */
        if (!cut)
                return;

        fprintf(stderr, "\r%s\x1b[K", cut);
        fflush(stderr);
        w->drawn = true;
}

/* Progress for a log: the first line at once, then few. The result has a line of its own. */
static void print_line(JobWait *w) {
        uint64_t now = mam_now_monotonic(), wait = w->done != w->line_done ? LINE_USEC : LINE_TEXT_USEC;

        if (w->client->terminal.err || !shows_progress(w) || !w->line_due)
                return;
        if (w->line_usec > 0 && (now - w->line_usec < wait || w->done >= w->total))
                return;

        fprintf(stderr, "[%u/%u] %s\n", w->done, w->total, w->last);
        w->line_due = false;
        w->line_done = w->done;
        w->line_usec = now;
}

static int finish(JobWait *w, ExitCode e) {
        w->exit = e;
        return sd_event_exit(w->event, 0);
}

static int on_progress(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) char *text = NULL, *clean = NULL;
        const char *path, *service, *message;
        JobWait *w = userdata;
        uint32_t done, total;
        int r;

        r = sd_bus_message_read(m, "osuus", &path, &service, &done, &total, &message);
        if (r < 0 || !w->path || strcmp(path, w->path) != 0)
                return 0;

        if (asprintf(&text, "%s%s%s", service, *service && *message ? ": " : "", message) < 0) {
                text = NULL;
                return 0;
        }
        clean = text_clean(text);
        if (!clean)
                return 0;

        w->line_due = w->line_due || done != w->done || !w->last || strcmp(w->last, clean) != 0;
        w->done = done;
        w->total = total;
        free(w->last);
        w->last = MAM_TAKE(clean);
        draw(w);
        print_line(w);
        return 0;
}

static ExitCode exit_of_result(const char *result) {
        if (strcmp(result, "done") == 0)
                return EXIT_CODE_OK;
        if (strcmp(result, "timeout") == 0)
                return EXIT_CODE_TIMEOUT;
        return EXIT_CODE_FAILURE;
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *service, *result, *message;
        JobWait *w = userdata;
        int r;

        r = sd_bus_message_read(m, "osss", &path, &service, &result, &message);
        if (r < 0 || !w->path || strcmp(path, w->path) != 0)
                return 0;

        w->result = strdup(result);
        w->message = strdup(message);
        if (!w->result || !w->message)
                return finish(w, EXIT_CODE_FAILURE);
        return finish(w, exit_of_result(result));
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *old_owner;
        JobWait *w = userdata;
        int r;

        r = sd_bus_message_read(m, "sss", &name, &old_owner, NULL);
        if (r < 0 || !w->path || !*old_owner)
                return 0;

        erase(w);
        client_complain(w->client,
                        "mam-manager went away while the job was running. What was asked for is kept; 'mamctl status' tells what came of it.");
        return finish(w, EXIT_CODE_NO_MANAGER);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        JobWait *w = userdata;

        erase(w);
        client_complain(w->client, "The connection to the bus was lost. The job goes on.");
        return finish(w, EXIT_CODE_NO_MANAGER);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *info, void *userdata) {
        JobWait *w = userdata;

        erase(w);
        if (!w->client->invocation->quiet) {
                fprintf(stderr,
                        "The job goes on; 'mamctl status' shows how far it is. To cancel it:\n  busctl call " MAM_BUS_NAME
                        " %s " MAM_IFACE_JOB " Cancel\n",
                        w->path);
        }
        return finish(w, (ExitCode) (128 + (int) info->ssi_signo));
}

static int on_redraw(sd_event_source *s, uint64_t usec, void *userdata) {
        JobWait *w = userdata;
        int r;

        draw(w);
        print_line(w);
        r = sd_event_source_set_time_relative(s, w->client->terminal.err ? REDRAW_USEC : LINE_USEC);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        JobWait *w = userdata;
        char after[48];

        erase(w);
        mam_format_timespan(after, w->client->invocation->timeout_usec);
        client_complain(w->client,
                        "Not done after %s%s%s. The job goes on; 'mamctl status' shows how far it is.",
                        after,
                        w->last ? ": " : "",
                        w->last ? w->last : "");
        return finish(w, EXIT_CODE_TIMEOUT);
}

static int watch_bus(JobWait *w) {
        sd_bus *bus = w->client->bus;
        int r;

        r = sd_bus_match_signal(
                        bus,
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
                        bus,
                        &w->removed_slot,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "JobRemoved",
                        on_removed,
                        w);
        if (r < 0)
                return r;

        return sd_bus_add_match(
                        bus,
                        &w->owner_slot,
                        "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                        "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" MAM_BUS_NAME "'",
                        on_owner_changed,
                        w);
}

/* Sources float: the event loop owns them and goes with w. */
static int watch_the_rest(JobWait *w) {
        sigset_t mask;
        int r;

        sigemptyset(&mask);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGTERM);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;

        r = sd_event_add_signal(w->event, NULL, SIGINT, on_signal, w);
        if (r < 0)
                return r;
        r = sd_event_add_signal(w->event, NULL, SIGTERM, on_signal, w);
        if (r < 0)
                return r;

        if (shows_progress(w)) {
                r = sd_event_add_time_relative(w->event, NULL, CLOCK_MONOTONIC, 0, 0, on_redraw, w);
                if (r < 0)
                        return r;
        }
        if (w->client->invocation->timeout_usec == 0)
                return 0;
        return sd_event_add_time_relative(
                        w->event,
                        NULL,
                        CLOCK_MONOTONIC,
                        w->client->invocation->timeout_usec,
                        0,
                        on_timeout,
                        w);
}

int job_wait_new(JobWait **ret, Client *client, const char *verb, const char *service) {
        _cleanup_(job_wait_freep) JobWait *w = NULL;
        int r;

        assert(ret);
        assert(client && client->bus);

        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;

        w->client = client;
        w->verb = verb;
        w->service = service;
        w->since_usec = mam_now_monotonic();

        r = sd_event_new(&w->event);
        if (r < 0)
                return r;
        r = watch_bus(w);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(w);
        return 0;
}

static ExitCode print_result_json(const JobWait *w) {
        _cleanup_(json_object_putp) json_object *o = NULL;

        o = json_object_new_object();
        if (!o)
                return EXIT_CODE_FAILURE;
        json_object_object_add(o, "job", json_object_new_string(w->path));
        json_object_object_add(o, "verb", json_object_new_string(w->verb));
        json_object_object_add(o, "service", json_object_new_string(w->service));
        json_object_object_add(o, "result", json_object_new_string(w->result));
        json_object_object_add(o, "message", json_object_new_string(w->message));
        return client_print_json(w->client, o);
}

static void tell_result(const JobWait *w) {
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
        int r;

        assert(w);
        assert(path);

        w->path = strdup(path);
        if (!w->path)
                return client_explain(w->client, NULL, -ENOMEM, NULL);

        /* only now: what came in during the call is dispatched from here on, when the path is known */
        r = sd_bus_attach_event(w->client->bus, w->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0) {
                r = sd_bus_match_signal(
                                w->client->bus,
                                NULL,
                                "org.freedesktop.DBus.Local",
                                "/org/freedesktop/DBus/Local",
                                "org.freedesktop.DBus.Local",
                                "Disconnected",
                                on_disconnected,
                                w);
        }
        if (r >= 0)
                r = watch_the_rest(w);
        if (r >= 0)
                r = sd_event_loop(w->event);
        erase(w);
        if (r < 0)
                return client_explain(w->client, NULL, r, NULL);

        if (!w->result || !w->message)
                return w->exit;
        if (w->client->invocation->json) {
                ExitCode e = print_result_json(w);

                return e == EXIT_CODE_OK ? w->exit : e;
        }
        tell_result(w);
        return w->exit;
}

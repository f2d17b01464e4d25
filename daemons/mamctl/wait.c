/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Waiting for something that the manager works on
 */

#include <assert.h>
#include <signal.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/util/time.h"
#include "mamctl/text.h"
#include "mamctl/wait.h"

#define REDRAW_USEC (500 * MAM_USEC_PER_MSEC) /* the clock in the progress line */
/* Lines in a file: at most this often when something got done, and when only the text changed. */
#define LINE_USEC      (1 * MAM_USEC_PER_SEC)
#define LINE_TEXT_USEC (10 * MAM_USEC_PER_SEC)

void wait_done(Wait *w) {
        w->owner_slot = sd_bus_slot_unref(w->owner_slot);
        if (w->event && w->client->bus)
                (void) sd_bus_detach_event(w->client->bus);
        w->event = sd_event_unref(w->event);
        free(w->path);
        free(w->last);
        free(w->result);
        free(w->message);
        *w = (Wait){ 0 };
}

static bool shows_progress(const Wait *w) {
        return !w->client->invocation->quiet && !w->client->invocation->json;
}

void wait_erase(Wait *w) {
        if (w->drawn) /* with what the terminal echoed behind it, such as ^C */
                fputs("\r\x1b[K", stderr);
        w->drawn = false;
}

/* "[3/8] project-manager: waiting for project-manager:4  12s", cut to the terminal */
static void draw(Wait *w) {
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
static void print_line(Wait *w) {
        uint64_t now = mam_now_monotonic(), wait = w->done != w->line_done ? LINE_USEC : LINE_TEXT_USEC;

        if (w->client->terminal.err || !shows_progress(w) || !w->line_due || !*w->last)
                return;
        if (w->line_usec > 0 && (now - w->line_usec < wait || w->done >= w->total))
                return;

        fprintf(stderr, "[%u/%u] %s\n", w->done, w->total, w->last);
        w->line_due = false;
        w->line_done = w->done;
        w->line_usec = now;
}

bool wait_is_about(const Wait *w, const char *path) {
        return w->path && strcmp(path, w->path) == 0;
}

int wait_finish(Wait *w, ExitCode e) {
        w->exit = e;
        return sd_event_exit(w->event, 0);
}

int wait_ended(Wait *w, const char *result, const char *message, ExitCode e) {
        char *a = strdup(result), *b = strdup(message);

        if (!a || !b) {
                free(a);
                free(b);
                return wait_finish(w, EXIT_CODE_FAILURE);
        }
        free(w->result);
        free(w->message);
        w->result = a;
        w->message = b;
        return wait_finish(w, e);
}

void wait_progress(Wait *w, uint32_t done, uint32_t total, const char *text) {
        _cleanup_(mam_freep) char *clean = text_clean(text);

        if (!clean)
                return;

        w->line_due = w->line_due || done != w->done || !w->last || strcmp(w->last, clean) != 0;
        w->done = done;
        w->total = total;
        free(w->last);
        w->last = MAM_TAKE(clean);
        draw(w);
        print_line(w);
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *old_owner;
        Wait *w = userdata;
        int r;

        r = sd_bus_message_read(m, "sss", &name, &old_owner, NULL);
        if (r < 0 || !w->path || !*old_owner)
                return 0;

        wait_erase(w);
        client_complain(w->client,
                        "mam-manager went away while the %s was running. What was asked for is kept; '%s' tells what came of it.",
                        w->info->noun,
                        w->info->where);
        return wait_finish(w, EXIT_CODE_NO_MANAGER);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Wait *w = userdata;

        wait_erase(w);
        client_complain(w->client, "The connection to the bus was lost. The %s goes on.", w->info->noun);
        return wait_finish(w, EXIT_CODE_NO_MANAGER);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *info, void *userdata) {
        Wait *w = userdata;

        wait_erase(w);
        return w->info->on_interrupt(w, (int) info->ssi_signo);
}

static int on_redraw(sd_event_source *s, uint64_t usec, void *userdata) {
        Wait *w = userdata;
        int r;

        draw(w);
        print_line(w);
        r = w->info->on_tick ? w->info->on_tick(w) : 0;
        if (r < 0)
                return r;
        r = sd_event_source_set_time_relative(s, w->client->terminal.err ? REDRAW_USEC : LINE_USEC);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        Wait *w = userdata;
        char after[48];

        wait_erase(w);
        mam_format_timespan(after, w->client->invocation->timeout_usec);
        client_complain(w->client,
                        "Not done after %s%s%s. The %s goes on; '%s' shows how far it is.",
                        after,
                        w->last ? ": " : "",
                        w->last ? w->last : "",
                        w->info->noun,
                        w->info->where);
        return wait_finish(w, EXIT_CODE_TIMEOUT);
}

/* Sources float: the event loop owns them and goes with w. */
static int watch_the_rest(Wait *w) {
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

int wait_init(Wait *w, const WaitInfo *info, Client *client, const char *verb, const char *service) {
        int r;

        assert(w);
        assert(info && info->on_interrupt);
        assert(client && client->bus);

        *w = (Wait){
                .info = info,
                .client = client,
                .verb = verb,
                .service = service,
                .since_usec = mam_now_monotonic(),
        };

        r = sd_event_new(&w->event);
        if (r < 0)
                return r;
        return sd_bus_add_match(
                        client->bus,
                        &w->owner_slot,
                        "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                        "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" MAM_BUS_NAME "'",
                        on_owner_changed,
                        w);
}

ExitCode wait_run(Wait *w, const char *path) {
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
        wait_erase(w);
        return r < 0 ? client_explain(w->client, NULL, r, NULL) : w->exit;
}

ExitCode wait_print_json(const Wait *w, const char *kind) {
        _cleanup_(json_object_putp) json_object *o = NULL;

        o = json_object_new_object();
        if (!o)
                return EXIT_CODE_FAILURE;
        json_object_object_add(o, kind, json_object_new_string(w->path));
        json_object_object_add(o, "verb", json_object_new_string(w->verb));
        json_object_object_add(o, "service", json_object_new_string(w->service));
        json_object_object_add(o, "result", json_object_new_string(w->result));
        json_object_object_add(o, "message", json_object_new_string(w->message));
        return client_print_json(w->client, o);
}

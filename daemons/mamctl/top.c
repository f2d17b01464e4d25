/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Watching CPU, memory, requests and health of each replica
 *
 * The first answers are waited for, so that a mistake is told as by any other command. From then on the
 * terminal belongs to the screen, and nothing waits: keys are obeyed while the manager is asked.
 */

#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-event.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/screen.h"
#include "mamctl/status.h"
#include "mamctl/text.h"
#include "mamctl/top-model.h"
#include "mamctl/verbs.h"

#define INTERVAL_USEC       (2 * MAM_USEC_PER_SEC)
#define INTERVAL_FIRST_USEC (500 * MAM_USEC_PER_MSEC) /* rates need two samples */
#define INTERVAL_ONCE_USEC  (1 * MAM_USEC_PER_SEC)
#define FRAME_ROWS          4U /* lines above and below the table */

typedef struct Top {
        Client *client;      /* borrowed */
        const char *service; /* borrowed; "" is all */
        Screen screen;
        sd_event *event;                          /* owned */
        sd_event_source *timer;                   /* owned */
        sd_bus_slot *status_slot, *metrics_slot;  /* owned; calls under way */
        json_object *services, *metrics, *before; /* owned */
        uint64_t metrics_usec, before_usec;       /* monotonic */
        TopSort sort;
        size_t skip;       /* rows scrolled away */
        char problem[256]; /* why the figures are old; "" they are not */
        ExitCode exit;
} Top;

static void top_done(Top *t) {
        screen_close(&t->screen);
        sd_bus_slot_unref(t->status_slot);
        sd_bus_slot_unref(t->metrics_slot);
        if (t->event)
                (void) sd_bus_detach_event(t->client->bus);
        sd_event_source_unref(t->timer);
        sd_event_unref(t->event);
        json_object_put(t->services);
        json_object_put(t->metrics);
        json_object_put(t->before);
}

static int read_metrics(sd_bus_message *reply, json_object **ret) {
        static const char *const keys[] = { "service", "replica", "metrics" };
        int r;

        r = bus_json_read_rows(reply, keys, MAM_ELEMENTSOF(keys), ret);
        return r == 0 ? -EBADMSG : r;
}

static void take_metrics(Top *t, json_object *metrics) {
        json_object_put(t->before);
        t->before = t->metrics;
        t->before_usec = t->metrics_usec;
        t->metrics = metrics;
        t->metrics_usec = mam_now_monotonic();
}

static int make_model(const Top *t, TopModel **ret) {
        TopModel *m = NULL;
        double seconds = (double) (t->metrics_usec - t->before_usec) / (double) MAM_USEC_PER_SEC;
        int r;

        r = top_model_new(&m, t->services, t->metrics, t->before, seconds);
        if (r < 0)
                return r;
        top_model_sort(m, t->sort);
        *ret = m;
        return 0;
}

/* Header, the part of the table that fits, and the keys. */
static int write_frame(Top *t, const TopModel *m, FILE *f, unsigned rows, unsigned columns) {
        _cleanup_(mam_freep) char *table = NULL;
        bool colour = t->client->terminal.out_colour;
        size_t size = 0, room = rows > FRAME_ROWS ? rows - FRAME_ROWS : 1, shown = 0;
        char *line, *rest;
        FILE *g;
        int r;

        g = open_memstream(&table, &size);
        if (!g)
                return -ENOMEM;
        r = top_model_print(m, g, columns, colour);
        if (fclose(g) != 0)
                return -ENOMEM;
        if (r < 0)
                return r;

        if (t->skip + room > m->n_rows)
                t->skip = m->n_rows > room ? m->n_rows - room : 0;
        fputs("mam  ", f);
        top_model_print_summary(m, f);
        fputs("\n\n", f);

        rest = table;
        for (size_t i = 0; (line = strsep(&rest, "\n")) && rest; i++) {
                if (i > 0 && (i <= t->skip || shown++ >= room))
                        continue; /* line 0 has the titles */
                fprintf(f, "%s\n", line);
        }
        if (*t->problem) {
                fprintf(f,
                        "%s%s%s",
                        colour_start(colour, COLOUR_RED),
                        t->problem,
                        colour_end(colour, COLOUR_RED));
        } else {
                fprintf(f,
                        "%sby %s; c CPU  m memory  r requests  n name  q quit%s%s",
                        colour_start(colour, COLOUR_GREY),
                        top_sort_name(t->sort),
                        m->n_rows > room ? "  arrows scroll" : "",
                        colour_end(colour, COLOUR_GREY));
        }
        return 0;
}

static int redraw(Top *t) {
        _cleanup_(top_model_freep) TopModel *m = NULL;
        unsigned rows = screen_rows(), columns = terminal_columns(STDOUT_FILENO);
        _cleanup_(mam_freep) char *text = NULL;
        size_t size = 0;
        FILE *f;
        int r;

        r = make_model(t, &m);
        if (r < 0)
                return r;
        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        r = write_frame(t, m, f, rows, columns);
        if (fclose(f) != 0)
                return -ENOMEM;
        return r < 0 ? r : screen_draw(text, rows);
}

/* The figures stay, with why they are old. */
static void note_problem(Top *t, const sd_bus_error *error) {
        _cleanup_(mam_freep) char *clean = text_clean(error->message ? error->message : "no answer");

        snprintf(t->problem,
                 sizeof(t->problem),
                 "mam-manager: %s; trying again",
                 clean ? clean : "no answer");
}

static int on_status(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        json_object *services = NULL;
        Top *t = userdata;

        t->status_slot = sd_bus_slot_unref(t->status_slot);
        if (e) {
                note_problem(t, e);
        } else if (status_read_services(m, &services) >= 0) {
                json_object_put(t->services);
                t->services = services;
        }
        return 0;
}

static int on_metrics(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        json_object *metrics = NULL;
        Top *t = userdata;

        t->metrics_slot = sd_bus_slot_unref(t->metrics_slot);
        if (e) {
                note_problem(t, e);
        } else if (read_metrics(m, &metrics) >= 0) {
                *t->problem = '\0';
                take_metrics(t, metrics);
        }
        return redraw(t); /* asked for after Status: both are there */
}

static int ask(Top *t, sd_bus_slot **slot, const char *method, sd_bus_message_handler_t handler) {
        if (*slot)
                return 0;
        return sd_bus_call_method_async(
                        t->client->bus,
                        slot,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        method,
                        handler,
                        t,
                        "s",
                        t->service);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        Top *t = userdata;
        uint64_t interval = t->client->invocation->interval_usec;
        int r;

        r = ask(t, &t->status_slot, "Status", on_status);
        if (r >= 0)
                r = ask(t, &t->metrics_slot, "Metrics", on_metrics);
        if (r >= 0)
                r = sd_event_source_set_time_relative(s, interval > 0 ? interval : INTERVAL_USEC);
        return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int obey(Top *t, const char *keys, size_t n) {
        for (size_t i = 0; i < n; i++) {
                TopSort sort = top_sort_of_key(keys[i]);
                bool arrow = i + 2 < n && keys[i] == '\x1b' && (keys[i + 1] == '[' || keys[i + 1] == 'O');

                if (keys[i] == 'q' || keys[i] == 'Q')
                        return sd_event_exit(t->event, 0);
                if (sort < _TOP_SORT_MAX) {
                        t->sort = sort;
                        t->skip = 0;
                }
                if (arrow && keys[i + 2] == 'B') {
                        t->skip++; /* redraw() bounds it */
                } else if (arrow && keys[i + 2] == 'A' && t->skip > 0)
                        t->skip--;
                if (arrow)
                        i += 2;
        }
        return redraw(t);
}

static int on_key(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Top *t = userdata;
        char keys[64];
        ssize_t n;

        n = read(fd, keys, sizeof(keys));
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return 0;
        if (n <= 0)
                return sd_event_exit(t->event, 0); /* the terminal is gone */
        return obey(t, keys, (size_t) n);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *info, void *userdata) {
        Top *t = userdata;
        int r;

        switch (info->ssi_signo) {
        case SIGWINCH:
                return redraw(t);
        case SIGTSTP:
                screen_close(&t->screen);
                (void) raise(SIGSTOP); /* goes on here when the shell says so */
                r = screen_open(&t->screen);
                return r < 0 ? r : redraw(t);
        default:
                t->exit = (ExitCode) (128 + (int) info->ssi_signo);
                return sd_event_exit(t->event, 0);
        }
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Top *t = userdata;

        screen_close(&t->screen);
        t->exit = client_explain(t->client, NULL, -ECONNRESET, NULL);
        return sd_event_exit(t->event, 0);
}

static int watch(Top *t) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH };
        sigset_t mask;
        int r;

        sigemptyset(&mask);
        for (size_t i = 0; i < MAM_ELEMENTSOF(signals); i++)
                sigaddset(&mask, signals[i]);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;

        r = sd_event_new(&t->event);
        for (size_t i = 0; i < MAM_ELEMENTSOF(signals) && r >= 0; i++)
                r = sd_event_add_signal(t->event, NULL, signals[i], on_signal, t);
        if (r >= 0)
                r = sd_bus_attach_event(t->client->bus, t->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0) {
                r = sd_bus_match_signal(
                                t->client->bus,
                                NULL,
                                "org.freedesktop.DBus.Local",
                                "/org/freedesktop/DBus/Local",
                                "org.freedesktop.DBus.Local",
                                "Disconnected",
                                on_disconnected,
                                t);
        }
        if (r >= 0)
                r = sd_event_add_io(t->event, NULL, STDIN_FILENO, EPOLLIN, on_key, t);
        if (r < 0)
                return r;
        return sd_event_add_time_relative(
                        t->event,
                        &t->timer,
                        CLOCK_MONOTONIC,
                        INTERVAL_FIRST_USEC,
                        0,
                        on_timer,
                        t);
}

static ExitCode run_screen(Top *t) {
        int r;

        r = watch(t);
        if (r >= 0)
                r = screen_open(&t->screen);
        if (r >= 0)
                r = redraw(t);
        if (r >= 0)
                r = sd_event_loop(t->event);
        screen_close(&t->screen);
        return r < 0 ? client_explain(t->client, NULL, r, NULL) : t->exit;
}

static ExitCode sample(Top *t) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        json_object *metrics = NULL;
        ExitCode e;
        int r;

        e = client_read(t->client, &reply, "Metrics", "s", t->service);
        if (e != EXIT_CODE_OK)
                return e;
        r = read_metrics(reply, &metrics);
        if (r < 0)
                return client_bad_reply(t->client, r);
        take_metrics(t, metrics);
        return EXIT_CODE_OK;
}

static ExitCode print_once(Top *t) {
        uint64_t interval = t->client->invocation->interval_usec;
        _cleanup_(json_object_putp) json_object *list = NULL;
        _cleanup_(top_model_freep) TopModel *m = NULL;
        struct timespec pause;
        ExitCode e;
        int r;

        if (interval == 0)
                interval = INTERVAL_ONCE_USEC;
        pause = (struct timespec){
                .tv_sec = (time_t) (interval / MAM_USEC_PER_SEC),
                .tv_nsec = (long) (interval % MAM_USEC_PER_SEC * 1000),
        };
        while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
                ;
        e = sample(t);
        if (e != EXIT_CODE_OK)
                return e;

        r = make_model(t, &m);
        if (r >= 0 && t->client->invocation->json) {
                r = top_model_to_json(m, &list);
                return r < 0 ? client_explain(t->client, NULL, r, NULL)
                             : client_print_json_list(t->client, "replicas", list);
        }
        if (r >= 0)
                r = top_model_print(m, stdout, t->client->terminal.columns, t->client->terminal.out_colour);
        return r < 0 ? client_explain(t->client, NULL, r, NULL) : EXIT_CODE_OK;
}

ExitCode verb_top(Client *c) {
        const char *service = c->invocation->arguments[0];
        _cleanup_(top_done) Top t = { .client = c, .service = service ? service : "" };
        ExitCode e;

        e = status_read(c, service, &t.services);
        if (e == EXIT_CODE_OK)
                e = sample(&t);
        if (e != EXIT_CODE_OK)
                return e;
        if (c->invocation->json || invocation_has(c->invocation, OPTION_ONCE) || !screen_is_possible())
                return print_once(&t);
        return run_screen(&t);
}

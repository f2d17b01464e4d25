/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-alerts
 *
 * A daemon of its own, so that what talks to the world is kept apart from what commands systemd: it may do
 * nothing but listen to the manager and post.
 */

#include <assert.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>

#include <systemd/sd-daemon.h>

#include "alerts/alerts-bus.h"
#include "alerts/sender.h"
#include "alerts/store.h"
#include "libmam/config/config.h"
#include "libmam/obs/log.h"
#include "libmam/util/time.h"

#include "mam-build.h"

/* An editor writes a file in several steps; what happened shortly after each other is one change. */
#define RELOAD_DELAY_USEC (200 * MAM_USEC_PER_MSEC)
#define SAVE_DELAY_USEC   (20 * MAM_USEC_PER_MSEC)
/* Without a receiver there is nothing to do; mam-alerts.path starts us again when the file changes. */
#define IDLE_USEC (5 * MAM_USEC_PER_SEC)

typedef struct Options {
        const char *config_dir;
        const char *last_good_dir;
        const char *state_path;
} Options;

typedef struct Program {
        const Options *options;
        sd_event *event;                               /* owned */
        sd_event_source *watch, *reload, *save, *idle; /* owned */
        AlertTable table;
        Sender *sender; /* owned */
        AlertsBus *bus; /* owned */
        bool dirty;     /* the state file is older than what is known */
        bool said_unsaved;
        char status[128];
} Program;

static void program_done(Program *p) {
        alerts_bus_free(p->bus);
        sender_free(p->sender);
        alert_table_done(&p->table);
        sd_event_source_disable_unref(p->watch);
        sd_event_source_disable_unref(p->reload);
        sd_event_source_disable_unref(p->save);
        sd_event_source_disable_unref(p->idle);
        sd_event_unref(p->event);
}

static void show_status(Program *p) {
        unsigned firing = 0, failing = sender_failing(p->sender);
        const AlertGroup *g;
        char text[sizeof(p->status)];
        const Alert *a;

        TAILQ_FOREACH(g, &p->table.groups, groups)
        TAILQ_FOREACH(a, &g->alerts, alerts)
        firing += a->ended_usec == 0;
        (void) snprintf(text,
                        sizeof(text),
                        "%u alerts, %u receivers%s",
                        firing,
                        sender_receivers(p->sender),
                        failing > 0 ? ", not all can be reached" : "");
        if (strcmp(text, p->status) == 0)
                return;
        (void) strcpy(p->status, text);
        (void) sd_notifyf(false, "STATUS=%s", text);
}

static void save(Program *p) {
        int r;

        if (!p->dirty)
                return;
        p->dirty = false;
        r = store_save(&p->table, p->sender, p->options->state_path);
        if (r < 0 && !p->said_unsaved)
                (void) mam_error_errno(r, "Cannot write %s", p->options->state_path);
        p->said_unsaved = r < 0;
}

static int on_save(sd_event_source *source, uint64_t usec, void *userdata) {
        save(userdata);
        return 0;
}

static void on_change(void *userdata) {
        Program *p = userdata;

        if (!p->dirty) {
                p->dirty = true;
                (void) sd_event_source_set_time_relative(p->save, SAVE_DELAY_USEC);
                (void) sd_event_source_set_enabled(p->save, SD_EVENT_ONESHOT);
        }
        show_status(p);
}

static void on_news(void *userdata) {
        Program *p = userdata;

        on_change(p);
        sender_look(p->sender);
}

/* A configuration that cannot be read changes nothing. */
static int load_receivers(Program *p) {
        _cleanup_(mam_config_freep) MamConfig *config = NULL;
        int r;

        r = mam_config_load(&config, p->options->config_dir, p->options->last_good_dir);
        if (r < 0)
                return mam_error_errno(r, "Cannot read the configuration in %s", p->options->config_dir);
        if (config->incomplete && sender_receivers(p->sender) > 0) {
                mam_warning("The configuration in %s has errors: receivers stay as they are",
                            p->options->config_dir);
                return 0;
        }
        r = sender_set_receivers(p->sender, (const char *const *) config->alert_webhooks);
        if (r < 0)
                return mam_error_errno(r, "Cannot take all receivers");

        (void) sd_event_source_set_time_relative(p->idle, IDLE_USEC);
        (void) sd_event_source_set_enabled(
                        p->idle,
                        sender_receivers(p->sender) > 0 ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
        return 0;
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata) {
        Program *p = userdata;

        mam_info("No receiver is configured: ending until one is");
        return sd_event_exit(p->event, 0);
}

static int on_reload(sd_event_source *source, uint64_t usec, void *userdata) {
        Program *p = userdata;

        if (load_receivers(p) >= 0)
                mam_info("Read the configuration: %u receivers", sender_receivers(p->sender));
        return 0;
}

static void reload_soon(Program *p) {
        (void) sd_event_source_set_time_relative(p->reload, RELOAD_DELAY_USEC);
        (void) sd_event_source_set_enabled(p->reload, SD_EVENT_ONESHOT);
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        reload_soon(userdata);
        return 0;
}

static int on_folder_changed(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        if (event->mask & IN_Q_OVERFLOW ||
            (event->len > 0 && strcmp(event->name, "microservices.json") == 0))
                reload_soon(userdata);
        return 0;
}

static int add_timer(Program *p, sd_event_source **ret, sd_event_time_handler_t handler) {
        int r;

        r = sd_event_add_time(p->event, ret, CLOCK_MONOTONIC, UINT64_MAX, 0, handler, p);
        return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

static int setup_event(Program *p) {
        sigset_t mask;
        int r;

        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        (void) sigaddset(&mask, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;

        r = sd_event_new(&p->event);
        if (r < 0)
                return r;
        r = sd_event_add_signal(p->event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(p->event, NULL, SIGINT, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(p->event, NULL, SIGHUP, on_hangup, p);
        if (r >= 0)
                r = sd_event_set_watchdog(p->event, true);
        if (r >= 0)
                r = add_timer(p, &p->reload, on_reload);
        if (r >= 0)
                r = add_timer(p, &p->save, on_save);
        if (r >= 0)
                r = add_timer(p, &p->idle, on_idle);
        return r < 0 ? r : 0;
}

static int setup(Program *p) {
        int r;

        r = setup_event(p);
        if (r < 0)
                return mam_error_errno(r, "Cannot set up the event loop");
        r = sender_new(&p->sender, p->event, &p->table, on_change, p);
        if (r < 0)
                return mam_error_errno(r, "Cannot set up the sender");
        r = alerts_bus_new(&p->bus, p->event, &p->table, ALERTS_BUS_GRACE_USEC, on_news, p);
        if (r < 0)
                return mam_error_errno(r, "Cannot set up the bus");

        /* Watched before it is read, so that no change is missed. */
        r = sd_event_add_inotify(
                        p->event,
                        &p->watch,
                        p->options->config_dir,
                        IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR,
                        on_folder_changed,
                        p);
        if (r < 0) {
                (void) mam_error_errno(
                                r,
                                "Cannot watch %s: changes are seen on SIGHUP only",
                                p->options->config_dir);
        }
        r = load_receivers(p);
        if (r == -ENOMEM)
                return r;
        r = store_load(&p->table, p->sender, p->options->state_path, mam_now_monotonic());
        if (r < 0 && r != -ENOENT) {
                (void) mam_error_errno(
                                r,
                                "Cannot use %s: receivers may be told again what they know",
                                p->options->state_path);
        }
        return 0;
}

static int run(const Options *options) {
        _cleanup_(program_done) Program p = { .options = options };
        int r;

        alert_table_init(&p.table);
        r = setup(&p);
        if (r < 0)
                return r;

        alerts_bus_start(p.bus);
        (void) sd_notify(false, "READY=1");
        on_news(&p);
        r = sd_event_loop(p.event);
        (void) sd_notify(false, "STOPPING=1");
        save(&p);
        return r;
}

static void help(void) {
        printf("mam-alerts [OPTION…]\n\n"
               "Tells the receivers in microservices.json what is wrong with the services of mam.\n\n"
               "  -h --help        Show this help\n"
               "     --version     Show the version\n"
               "     --config=DIR  Configuration instead of " MAM_CONFIG_DIR "\n"
               "     --state=FILE  What receivers know, instead of " MAM_STATE_DIR "/alerts/alerts.json\n\n"
               "See mam-alerts(8).\n");
}

/* 1: go on; 0: done; <0: wrong usage. */
static int parse_arguments(int argc, char **argv, Options *options) {
        enum {
                ARG_VERSION = 256,
                ARG_CONFIG,
                ARG_STATE,
        };
        static const struct option known[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "config", required_argument, NULL, ARG_CONFIG },
                { "state", required_argument, NULL, ARG_STATE },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", known, NULL)) >= 0) {
                switch (c) {
                case 'h':
                        help();
                        return 0;
                case ARG_VERSION:
                        printf("mam-alerts %s\n", MAM_VERSION);
                        return 0;
                case ARG_CONFIG:
                        options->config_dir = optarg;
                        break;
                case ARG_STATE:
                        options->state_path = optarg;
                        break;
                default:
                        return -EINVAL;
                }
        }
        if (optind < argc) {
                mam_error("mam-alerts takes no arguments");
                return -EINVAL;
        }
        return 1;
}

int main(int argc, char **argv) {
        Options options = { MAM_CONFIG_DIR, MAM_STATE_DIR "/config", MAM_STATE_DIR "/alerts/alerts.json" };
        int r;

        mam_log_open("mam-alerts");
        r = parse_arguments(argc, argv, &options);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        return run(&options) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-manager
 */

#include <assert.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "libmam/obs/log.h"
#include "mam-build.h"
#include "manager/introspect.h"
#include "manager/manager.h"

static void help(void) {
        printf("mam-manager [OPTION…]\n\n"
               "Starts, stops, scales, resizes and explains the services of mam, over D-Bus.\n\n"
               "  -h --help                  Show this help\n"
               "     --version               Show the version\n"
               "     --bus-introspect=PATH   Print the D-Bus XML of an object and end\n"
               "     --config=DIR            Configuration instead of " MAM_CONFIG_DIR "\n"
               "     --state=FILE            Desired state instead of " MAM_STATE_DIR
               "/manager/state.json\n\n"
               "See mam-manager(8).\n");
}

/* 1: go on; 0: done; <0: wrong usage. */
static int parse_arguments(int argc, char **argv, ManagerOptions *options) {
        enum {
                ARG_VERSION = 256,
                ARG_INTROSPECT,
                ARG_CONFIG,
                ARG_STATE,
        };
        static const struct option known[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "bus-introspect", required_argument, NULL, ARG_INTROSPECT },
                { "config", required_argument, NULL, ARG_CONFIG },
                { "state", required_argument, NULL, ARG_STATE },
                {},
        };
        _cleanup_(mam_freep) char *xml = NULL;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", known, NULL)) >= 0) {
                switch (c) {
                case 'h':
                        help();
                        return 0;
                case ARG_VERSION:
                        printf("mam-manager %s\n", MAM_VERSION);
                        return 0;
                case ARG_INTROSPECT:
                        r = introspect(&xml, optarg);
                        if (r < 0)
                                return mam_error_errno(r, "Cannot introspect %s", optarg);
                        fputs(xml, stdout);
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
                mam_error("mam-manager takes no arguments");
                return -EINVAL;
        }
        return 1;
}

static int run(const ManagerOptions *options) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(manager_freep) Manager *m = NULL;
        sigset_t mask;
        int r;

        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        (void) sigaddset(&mask, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return mam_error_errno(-errno, "Cannot block signals");

        r = sd_event_new(&event);
        if (r < 0)
                return mam_error_errno(r, "Cannot make an event loop");
        r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
        if (r >= 0)
                r = sd_event_set_watchdog(event, true);
        if (r < 0)
                return mam_error_errno(r, "Cannot set up the event loop");

        r = sd_bus_open_system_with_description(&bus, "mam-manager");
        if (r < 0)
                return mam_error_errno(r, "Cannot connect to the system bus");
        r = sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0) /* the bus went away: systemd starts us again when it is back */
                r = sd_bus_set_exit_on_disconnect(bus, true);
        if (r < 0)
                return mam_error_errno(r, "Cannot attach to the bus");

        r = manager_new(&m, event, bus, options);
        if (r < 0)
                return mam_error_errno(r, "Cannot set up the manager");
        r = manager_export(m);
        if (r < 0)
                return mam_error_errno(r, "Cannot export objects");
        r = manager_start(m);
        if (r < 0)
                return mam_error_errno(r, "Cannot watch systemd");

        r = sd_event_loop(event);
        (void) sd_notify(false, "STOPPING=1\nSTATUS=Ending; the replicas run on");
        if (m->state_dirty)
                (void) manager_save_state(m);
        return r;
}

int main(int argc, char **argv) {
        ManagerOptions options = { .config_dir = MAM_CONFIG_DIR,
                                   .last_good_dir = MAM_STATE_DIR "/config",
                                   .state_path = MAM_STATE_DIR "/manager/state.json",
                                   .runtime_dir = getenv("RUNTIME_DIRECTORY") };
        int r;

        mam_log_open("mam-manager");
        r = parse_arguments(argc, argv, &options);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        return run(&options) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

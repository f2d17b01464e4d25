/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-registry
 */

#include <getopt.h>
#include <signal.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "mam-build.h"
#include "registry/registry.h"

static void help(void) {
        printf("mam-registry\n\n"
               "Tells Consul clients, Prometheus and DNS clients where the services of mam are, and how they are.\n"
               "It takes its sockets from systemd: mam-registry.socket, mam-registry-dns.socket.\n\n"
               "  -h --help     Show this help\n"
               "     --version  Show the version\n\n"
               "See mam-registry(8).\n");
}

/* 1: go on; 0: done; <0: wrong usage. */
static int parse_arguments(int argc, char **argv) {
        static const struct option known[] = { { "help", no_argument, NULL, 'h' },
                                               { "version", no_argument, NULL, 'V' },
                                               { 0 } };
        int c;

        while ((c = getopt_long(argc, argv, "h", known, NULL)) >= 0) {
                if (c == 'h') {
                        help();
                        return 0;
                }
                if (c != 'V')
                        return -EINVAL;
                puts("mam-registry " MAM_VERSION);
                return 0;
        }
        if (optind < argc) {
                mam_error("mam-registry takes no arguments");
                return -EINVAL;
        }
        return 1;
}

static const char *config_dir(void) {
        const char *dir = getenv("MAM_CONFIG_DIR");

        return dir && *dir ? dir : MAM_CONFIG_DIR;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        if (si->ssi_signo == SIGHUP) {
                (void) sd_notify(false, "RELOADING=1");
                registry_reload(userdata, config_dir(), MAM_STATE_DIR "/config");
                (void) sd_notify(false, "READY=1");
                return 0;
        }
        (void) sd_notify(false, "STOPPING=1");
        registry_stop(userdata);
        return 0;
}

static int add_signals(sd_event *event, Registry *g) {
        static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < MAM_ELEMENTSOF(signals); i++)
                r = sd_event_add_signal(event, NULL, signals[i], on_signal, g);
        return r;
}

static int take_sockets(Registry *g) {
        char **names = NULL;
        int n, r = 0;

        n = sd_listen_fds_with_names(true, &names);
        if (n < 0)
                return n;
        for (int i = 0; i < n; i++) {
                if (r >= 0)
                        r = registry_add_socket(g, SD_LISTEN_FDS_START + i, names[i]);
                free(names[i]);
        }
        free(names);
        if (r >= 0 && n == 0)
                return -ENOTCONN;
        return r;
}

static int run(void) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(registry_freep) Registry *g = NULL;
        sigset_t mask;
        int r;

        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        (void) sigaddset(&mask, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return mam_error_errno(-errno, "Cannot block signals");

        r = sd_event_new(&event);
        if (r >= 0)
                r = mam_bus_errors_register();
        if (r >= 0)
                r = registry_new(&g, event, config_dir(), MAM_STATE_DIR "/config");
        if (r < 0)
                return mam_error_errno(r, "Cannot set up");
        r = add_signals(event, g);
        if (r >= 0)
                r = sd_event_set_watchdog(event, true);
        if (r < 0)
                return mam_error_errno(r, "Cannot set up the event loop");
        r = take_sockets(g);
        if (r < 0)
                return mam_error_errno(r, "Cannot take the sockets of mam-registry.socket");
        r = registry_start(g);
        if (r < 0)
                return mam_error_errno(r, "Cannot start");
        return sd_event_loop(event);
}

int main(int argc, char **argv) {
        int r;

        mam_log_open("mam-registry");
        r = parse_arguments(argc, argv);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        r = run();
        return r < 0 ? EXIT_FAILURE : r;
}

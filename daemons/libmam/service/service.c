/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The life of a service
 *
 * STARTING: setup runs, and the sockets of this replica alone are served, so that a probe learns why it is
 * not ready. A port that replicas share is not accepted from yet: another replica can do better. RUNNING:
 * from mam_service_ready() on. DRAINING: from SIGTERM to the last answer. The frame is the part of a
 * daemon's main() that is the same in all, so it logs.
 */

#include <assert.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <sys/capability.h>
#include <systemd/sd-daemon.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/service/service-internal.h"
#include "libmam/util/time.h"

#include "mam-build.h"

/* Below the TimeoutStopSec of mam@.service: what is still open then would be killed anyway. */
#define DRAIN_TIMEOUT_USEC (25 * MAM_USEC_PER_SEC)

static MamService *service_free(MamService *s) {
        if (!s)
                return NULL;

        if (s->server)
                mam_http_server_free(s->server);
        if (s->setup_done && s->info->teardown)
                s->info->teardown(s->userdata);
        for (size_t i = 0; i < s->n_waiting; i++)
                close(s->waiting[i].fd);
        mam_router_free(s->router);
        mam_identity_checker_free(s->checker);
        mam_metrics_free(s->metrics);
        mam_spares_done(&s->requests);
        sd_event_source_unref(s->drain_timer);
        sd_event_unref(s->event);
        free(s);
        return NULL;
}

MAM_DEFINE_CLEANUP(MamService, service_free);

sd_event *mam_service_event(MamService *s) {
        assert(s);
        return s->event;
}

MamMetrics *mam_service_metrics(MamService *s) {
        assert(s);
        return s->metrics;
}

MamHttpServer *mam_service_server(MamService *s) {
        assert(s);
        return s->server;
}

const char *mam_service_id(const MamService *s) {
        assert(s);
        return s->id;
}

unsigned mam_service_replica(const MamService *s) {
        assert(s);
        return s->replica;
}

/* STATUS= is told when it changes only. */
static void status_send(MamService *s) {
        char text[sizeof(s->sent_status)];

        if (s->state == MAM_SERVICE_DRAINING)
                (void) snprintf(text,
                                sizeof(text),
                                "Draining, %u requests left",
                                mam_http_server_in_flight(s->server));
        else if (s->n_reasons > 0)
                (void) snprintf(text, sizeof(text), "Not ready: %s", s->reasons[0].reason);
        else if (*s->status)
                (void) snprintf(text, sizeof(text), "%s", s->status);
        else
                (void) snprintf(text,
                                sizeof(text),
                                "%s",
                                s->state == MAM_SERVICE_STARTING ? "Starting" : "Ready");

        if (strcmp(text, s->sent_status) == 0)
                return;
        (void) strcpy(s->sent_status, text);
        (void) sd_notifyf(false, "STATUS=%s", text);
}

static _printf_(5, 6) void service_log(
                MamService *s,
                int priority,
                const char *message_id,
                const char *extra_field,
                const char *format,
                ...) {
        const char *fields[] = { s->log_service, s->log_replica, extra_field, NULL };
        char text[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        mam_log_full(priority, message_id, fields, "%s", text);
}

void mam_service_set_status(MamService *s, const char *format, ...) {
        va_list ap;

        assert(s);
        assert(format);

        va_start(ap, format);
        (void) vsnprintf(s->status, sizeof(s->status), format, ap);
        va_end(ap);
        status_send(s);
}

static void reason_remove(MamService *s, size_t i) {
        s->n_reasons--;
        memmove(&s->reasons[i], &s->reasons[i + 1], (s->n_reasons - i) * sizeof(s->reasons[0]));
        if (s->n_reasons == 0 && s->state == MAM_SERVICE_RUNNING)
                service_log(s, LOG_NOTICE, MAM_MESSAGE_SERVICE_RECOVERED, NULL, "Ready again");
}

void mam_service_set_not_ready(MamService *s, const char *key, const char *reason) {
        char field[sizeof("MAM_REASON=") + sizeof(s->reasons[0].reason)];
        size_t i;

        assert(s);
        assert(key && strlen(key) < sizeof(s->reasons[0].key));

        for (i = 0; i < s->n_reasons; i++)
                if (strcmp(s->reasons[i].key, key) == 0)
                        break;

        if (!reason) {
                if (i < s->n_reasons)
                        reason_remove(s, i);
                status_send(s);
                return;
        }

        if (i == s->n_reasons) {
                assert(s->n_reasons < MAM_SERVICE_REASONS_MAX);
                s->n_reasons++;
                (void) strcpy(s->reasons[i].key, key);
                (void) snprintf(field, sizeof(field), "MAM_REASON=%.127s", reason);
                /* To wait for something while starting is normal, to lose it later is not. */
                if (s->state != MAM_SERVICE_DRAINING)
                        service_log(s,
                                    s->state == MAM_SERVICE_STARTING ? LOG_INFO : LOG_WARNING,
                                    MAM_MESSAGE_SERVICE_NOT_READY,
                                    field,
                                    "Not ready: %s",
                                    reason);
        }
        (void) snprintf(s->reasons[i].reason, sizeof(s->reasons[i].reason), "%s", reason);
        status_send(s);
}

void mam_service_fail(MamService *s, int error, const char *format, ...) {
        char text[384];
        va_list ap;

        assert(s);
        assert(format);

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (error != 0)
                service_log(s,
                            LOG_ERR,
                            MAM_MESSAGE_SERVICE_FAILED,
                            NULL,
                            "%s: %s",
                            text,
                            strerror(error < 0 ? -error : error));
        else
                service_log(s, LOG_ERR, MAM_MESSAGE_SERVICE_FAILED, NULL, "%s", text);
        (void) sd_notifyf(false, "STATUS=Failed: %s\nERRNO=%i", text, error < 0 ? -error : error);
        (void) sd_event_exit(s->event, EXIT_FAILURE);
}

MamHttpListenOptions mam_service_listen_options(const MamService *s, bool exclusive) {
        assert(s);

        return (MamHttpListenOptions){ .tag = MAM_LISTENER_PUBLIC,
                                       .exclusive = exclusive,
                                       .h2c = s->info->h2c };
}

int mam_service_ready(MamService *s) {
        int r;

        assert(s);

        if (s->state != MAM_SERVICE_STARTING)
                return 0;
        if (s->info->setup && !s->setup_done) { /* from within it: what it makes is not ours yet */
                s->ready_early = true;
                return 0;
        }

        while (s->n_waiting > 0) {
                const Waiting *w = &s->waiting[s->n_waiting - 1];
                MamHttpListenOptions options = mam_service_listen_options(s, true);

                r = w->tls ? s->info->serve_tls(s, w->fd, s->userdata)
                           : mam_http_server_listen_with(s->server, w->fd, &options);
                if (r < 0)
                        return r;
                s->n_waiting--;
        }

        s->state = MAM_SERVICE_RUNNING;
        (void) sd_notify(false, "READY=1");
        status_send(s);
        service_log(s, LOG_INFO, MAM_MESSAGE_SERVICE_READY, NULL, "Ready");
        return 0;
}

static void on_drained(MamHttpServer *server, void *userdata) {
        MamService *s = userdata;

        service_log(s, LOG_INFO, MAM_MESSAGE_SERVICE_STOPPED, NULL, "Drained");
        (void) sd_event_exit(s->event, EXIT_SUCCESS);
}

static int on_drain_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        MamService *s = userdata;

        service_log(s,
                    LOG_WARNING,
                    NULL,
                    NULL,
                    "Ending with %u requests unanswered: not done after %u s of draining",
                    mam_http_server_in_flight(s->server),
                    (unsigned) (DRAIN_TIMEOUT_USEC / MAM_USEC_PER_SEC));
        return sd_event_exit(s->event, EXIT_SUCCESS);
}

static int on_stop_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        MamService *s = userdata;
        int r;

        /* Asked a second time, by somebody at a terminal: at once. */
        if (s->state == MAM_SERVICE_DRAINING)
                return sd_event_exit(s->event, EXIT_SUCCESS);

        s->state = MAM_SERVICE_DRAINING;
        (void) sd_notify(false, "STOPPING=1");
        status_send(s);
        service_log(s,
                    LOG_INFO,
                    MAM_MESSAGE_SERVICE_DRAINING,
                    NULL,
                    "Draining, %u requests in flight",
                    mam_http_server_in_flight(s->server));

        r = sd_event_add_time_relative(
                        s->event,
                        &s->drain_timer,
                        CLOCK_MONOTONIC,
                        DRAIN_TIMEOUT_USEC,
                        0,
                        on_drain_timeout,
                        s);
        if (r >= 0)
                r = mam_http_server_drain(s->server, on_drained, s);
        if (r < 0)
                mam_service_fail(s, r, "Cannot drain");
        return 0;
}

/* Nothing that a service does needs a privilege: sockets come from systemd. */
static int drop_capabilities(void) {
        cap_t none, have;
        int r = 0;

        /* From the bounding set first, which itself needs a capability: without it there is nothing to lose.
         */
        for (cap_value_t c = 0; cap_get_bound(c) >= 0; c++)
                if (cap_drop_bound(c) < 0)
                        break;
        (void) cap_reset_ambient();

        /* A unit's system call filter may refuse capset(2), and rightly, as it left us nothing to drop. */
        none = cap_init();
        have = cap_get_proc();
        if (!none || !have)
                r = -errno;
        else if (cap_compare(none, have) != 0 && cap_set_proc(none) < 0)
                r = -errno;
        (void) cap_free(none);
        (void) cap_free(have);
        if (r < 0)
                return r;
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* Connections are file descriptors; nothing here uses select(2). */
static void raise_fd_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                (void) setrlimit(RLIMIT_NOFILE, &limit);
        }
}

static int take_inherited_sockets(MamService *s) {
        char **names = NULL;
        int n, r = 0;

        n = sd_listen_fds_with_names(true, &names);
        if (n < 0)
                return n;

        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;

                if (r >= 0 && strcmp(names[i], "replica") == 0)
                        r = mam_http_server_listen_with(
                                        s->server,
                                        fd,
                                        &(MamHttpListenOptions){ .tag = MAM_LISTENER_REPLICA,
                                                                 .native = true });
                else if (r >= 0 && strcmp(names[i], "public") == 0 && s->n_waiting < MAM_SERVICE_SOCKETS_MAX)
                        s->waiting[s->n_waiting++] = (Waiting){ .fd = fd };
                else if (r >= 0 && strcmp(names[i], "public-tls") == 0 && s->info->serve_tls &&
                         s->n_waiting < MAM_SERVICE_SOCKETS_MAX)
                        s->waiting[s->n_waiting++] = (Waiting){ .fd = fd, .tls = true };
                else {
                        if (r >= 0)
                                mam_warning("Closing the inherited socket \"%s\": neither \"public\" nor \"replica\"",
                                            names[i]);
                        close(fd);
                }
        }

        for (int i = 0; i < n; i++)
                free(names[i]);
        free(names);
        return r < 0 ? r : n;
}

static int service_new(MamService **ret, const MamServiceInfo *info) {
        const char *jwks = getenv("MAM_JWKS"), *gateway = getenv("MAM_GATEWAY_USER");
        const MamRoute *const tables[] = { mam_service_builtin_routes, info->routes };
        const char *id = getenv("MAM_SERVICE"), *replica = getenv("MAM_REPLICA");
        _cleanup_(service_freep) MamService *s = NULL;
        int r;

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->info = info;
        s->id = id && *id ? id : info->id;
        s->replica = replica ? (unsigned) strtoul(replica, NULL, 10) : 0;
        (void) snprintf(s->log_service, sizeof(s->log_service), "MAM_SERVICE=%s", s->id);
        (void) snprintf(s->log_replica, sizeof(s->log_replica), "MAM_REPLICA=%u", s->replica);

        r = sd_event_default(&s->event);
        if (r < 0)
                return r;
        r = mam_metrics_new(&s->metrics);
        if (r < 0)
                return r;
        r = mam_service_add_metrics(s);
        if (r < 0)
                return r;
        r = mam_router_new(&s->router, tables, MAM_ELEMENTSOF(tables));
        if (r < 0)
                return r;
        r = mam_identity_checker_new(
                        &s->checker,
                        jwks ? jwks : MAM_STATE_DIR "/keys/jwks.json",
                        gateway ? gateway : "mam-api-gateway");
        if (r < 0)
                return r;
        r = mam_http_server_new(&s->server, s->event, &info->http, mam_service_on_request, s);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(s);
        return 0;
}

static int add_signals(MamService *s) {
        static const int stops[] = { SIGTERM, SIGINT };
        sigset_t mask;
        int r;

        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&mask);
        for (size_t i = 0; i < MAM_ELEMENTSOF(stops); i++)
                (void) sigaddset(&mask, stops[i]);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;

        for (size_t i = 0; i < MAM_ELEMENTSOF(stops); i++) {
                r = sd_event_add_signal(s->event, NULL, stops[i], on_stop_signal, s);
                if (r < 0)
                        return r;
        }
        return sd_event_set_watchdog(s->event, true);
}

static void help(const MamServiceInfo *info) {
        printf("mam-%s [OPTIONS]\n\n"
               "The service %s of mam. It is started by systemd as mam@%s:N.service.\n\n"
               "  --listen=ADDRESS  serve this address too: 127.0.0.1:8080, [::1]:8080 or a socket's path\n"
               "  --help            show this help\n"
               "  --version         show the version\n",
               info->id,
               info->id,
               info->id);
}

static int service_start(MamService *s, char *const *addresses, size_t n_addresses) {
        int n, r;

        r = add_signals(s);
        if (r < 0)
                return mam_error_errno(r, "Cannot set up signals and watchdog");

        /* The sockets come first, as setup may be ready at once; nothing is accepted before the loop runs.
         */
        n = take_inherited_sockets(s);
        if (n < 0)
                return mam_error_errno(n, "Cannot use the inherited sockets");
        for (size_t i = 0; i < n_addresses; i++) {
                MamHttpListenOptions listening;
                int fd = mam_service_open_listener(addresses[i]);

                if (fd < 0)
                        return mam_error_errno(fd, "Cannot listen on %s", addresses[i]);
                listening = mam_service_listen_options(s, false);
                r = mam_http_server_listen_with(s->server, fd, &listening);
                if (r < 0)
                        return mam_error_errno(r, "Cannot serve %s", addresses[i]);
        }
        if (n == 0 && n_addresses == 0) {
                mam_error("No socket was handed over by systemd, and there is no --listen=");
                return -ENOTCONN;
        }

        r = s->info->setup ? s->info->setup(s, &s->userdata) : mam_service_ready(s);
        if (r < 0)
                return mam_error_errno(r, "Cannot set up");
        s->setup_done = true;
        if (s->ready_early) {
                r = mam_service_ready(s);
                if (r < 0)
                        return mam_error_errno(r, "Cannot begin to serve");
        }

        status_send(s);
        return 0;
}

int mam_service_run(int argc, char **argv, const MamServiceInfo *info) {
        static const struct option options[] = {
                { "listen", required_argument, NULL, 'l' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'V' },
                { 0 },
        };
        _cleanup_(service_freep) MamService *s = NULL;
        char *addresses[MAM_SERVICE_SOCKETS_MAX];
        size_t n_addresses = 0;
        int c, r;

        assert(info);
        assert(info->id);

        mam_log_open(program_invocation_short_name);

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'l':
                        if (n_addresses >= MAM_ELEMENTSOF(addresses)) {
                                fprintf(stderr,
                                        "At most %zu --listen= options\n",
                                        MAM_ELEMENTSOF(addresses));
                                return 2;
                        }
                        addresses[n_addresses++] = optarg;
                        break;
                case 'h':
                        help(info);
                        return EXIT_SUCCESS;
                case 'V':
                        puts("mam " MAM_VERSION);
                        return EXIT_SUCCESS;
                default:
                        return 2;
                }
        if (optind < argc) {
                fprintf(stderr, "Unexpected argument: %s\n", argv[optind]);
                return 2;
        }

        r = drop_capabilities();
        if (r < 0) {
                (void) mam_error_errno(r, "Cannot drop capabilities");
                return EXIT_FAILURE;
        }
        raise_fd_limit();

        r = service_new(&s, info);
        if (r < 0) {
                (void) mam_error_errno(r, "Cannot start");
                return EXIT_FAILURE;
        }
        r = service_start(s, addresses, n_addresses);
        if (r < 0)
                return EXIT_FAILURE;

        r = sd_event_loop(s->event);
        if (r < 0) {
                (void) mam_error_errno(r, "The event loop failed");
                return EXIT_FAILURE;
        }
        return r;
}

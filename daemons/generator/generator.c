/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-generator: a systemd generator (systemd.generator(7))
 *
 * Runs at boot and at each daemon-reload, before the units are loaded: quick, no bus, no waiting. A wrong
 * configuration never fails it: the last good definitions stand, and the log says what is wrong where. It
 * logs without blocking, as PID 1 waits for it: a datagram to the journal if that takes it at once, else the
 * kernel's log.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "generator/generate.h"
#include "libmam/config/config.h"
#include "libmam/config/revision.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"
#include "mam-build.h"

#define LAST_GOOD_DIR MAM_STATE_DIR "/config"

typedef struct Places {
        const char *deploy;      /* NULL: nothing was deployed */
        const char *definitions; /* folder */
} Places;

static bool log_to_journal(const char *fields, size_t size) {
        static const struct sockaddr_un journal = { .sun_family = AF_UNIX,
                                                    .sun_path = "/run/systemd/journal/socket" };
        _cleanup_(mam_closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        return fd >= 0 &&
               sendto(fd, fields, size, MSG_NOSIGNAL, (const struct sockaddr *) &journal, sizeof(journal)) >=
                               0;
}

static void log_problem(int priority, const MamConfigProblem *p, const char *text) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(mam_closep) int kmsg = -EBADF;

        /* text has no line breaks: the loader replaces control characters */
        if (mam_buffer_appendf(
                            &b,
                            "PRIORITY=%d\nSYSLOG_IDENTIFIER=mam-generator\nMESSAGE=%s\nMESSAGE_ID=%s\n",
                            priority,
                            text,
                            MAM_MESSAGE_CONFIG_PROBLEM) < 0)
                return;
        if (p &&
            mam_buffer_appendf(
                            &b,
                            "MAM_CONFIG_FILE=%s\nMAM_CONFIG_LINE=%u\nMAM_CONFIG_KEY=%s\nMAM_SERVICE=%s\n",
                            p->file,
                            p->line,
                            p->key,
                            p->service ? p->service : "") < 0)
                return;
        if (log_to_journal(mam_buffer_bytes(&b), b.size))
                return;

        kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (kmsg < 0 ||
            dprintf(kmsg, "<%d>mam-generator[%d]: %s\n", priority | LOG_DAEMON, getpid(), text) < 0)
                fprintf(stderr, "<%d>%s\n", priority, text);
}

static int level_to_priority(MamProblemLevel level) {
        return level == MAM_PROBLEM_ERROR     ? LOG_ERR
               : level == MAM_PROBLEM_WARNING ? LOG_WARNING
                                              : LOG_NOTICE;
}

static void report(const MamConfig *c, bool dryrun) {
        static const char *const names[] = { "error", "warning", "notice" };

        for (size_t i = 0; i < c->n_problems; i++) {
                const MamConfigProblem *p = &c->problems[i];
                _cleanup_(mam_freep) char *text = NULL;

                if (mam_config_problem_format(&text, p) < 0)
                        continue;
                if (dryrun) {
                        fprintf(stderr, "%s: %s\n", names[p->level], text);
                } else if (p->level != MAM_PROBLEM_NOTICE) { /* those are for `mamctl init`, not for each
                                                                boot and reload */
                        log_problem(level_to_priority(p->level), p, text);
                }
        }
}

static bool has_error(const MamConfig *c) {
        for (size_t i = 0; i < c->n_problems; i++) {
                if (c->problems[i].level == MAM_PROBLEM_ERROR)
                        return true;
        }
        return false;
}

static void warn_in_log(const char *service, const char *text) {
        const MamConfigProblem p = {
                .file = (char *) MAM_DEPLOY_PATH,
                .key = (char *) "",
                .service = (char *) service,
        };

        log_problem(LOG_WARNING, &p, text);
}

static void warn_on_terminal(const char *service, const char *text) {
        (void) service;
        fprintf(stderr, "warning: %s\n", text);
}

/* What cannot be read counts as nothing deployed: the configuration alone is something that root wrote. */
static int load_deploy(
                MamDeploy **ret,
                const Places *p,
                void (*warn)(const char *service, const char *text)) {
        _cleanup_(mam_freep) char *problem = NULL;
        int r;

        if (!p->deploy)
                return 0;
        r = mam_deploy_load(ret, p->deploy, &problem);
        if (r == -ENOENT)
                return 0;
        if (r == -EBADMSG) {
                warn("", problem);
                return 0;
        }
        return r;
}

static int dryrun(const char *dir, const Places *p) {
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        _cleanup_(mam_deploy_freep) MamDeploy *deploy = NULL;
        Deployment d = { .definitions_dir = p->definitions, .warn = warn_on_terminal };
        Output o = { .folder_fd = -EBADF, .stream = stdout };
        int r;

        r = mam_config_load(&c, dir, NULL);
        if (r < 0) {
                fprintf(stderr, "Cannot read '%s': %s\n", dir, strerror(-r));
                return 1;
        }
        report(c, true);
        r = load_deploy(&deploy, p, d.warn);
        d.deploy = deploy;
        if (r == 0)
                r = generate(c, &d, &o);
        if (r == 0 && fflush(stdout) != 0)
                r = -errno;
        if (r < 0) {
                fprintf(stderr, "Cannot write: %s\n", strerror(-r));
                return 1;
        }
        return has_error(c) ? 1 : 0;
}

static int run(const char *folder, const Places *p) {
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        _cleanup_(mam_deploy_freep) MamDeploy *deploy = NULL;
        Deployment d = { .definitions_dir = p->definitions, .warn = warn_in_log };
        _cleanup_(mam_closep) int fd = -EBADF;
        const char *dir = MAM_CONFIG_DIR;
        char text[256];
        Output o = { .folder_fd = -EBADF };
        int r;

        r = mam_config_load(&c, dir, LAST_GOOD_DIR);
        if (r == -ENOENT)
                return 0; /* removed but not purged: nothing to run */
        if (r < 0) {
                snprintf(text, sizeof(text), "%s: cannot be read: %s", dir, strerror(-r));
                log_problem(LOG_ERR, NULL, text);
                return 1;
        }
        report(c, false);

        fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        o.folder_fd = fd;
        r = fd < 0 ? -errno : load_deploy(&deploy, p, d.warn);
        d.deploy = deploy;
        if (r == 0)
                r = generate(c, &d, &o);
        if (r < 0) {
                snprintf(text, sizeof(text), "Cannot write units to '%.150s': %s", folder, strerror(-r));
                log_problem(LOG_ERR, NULL, text);
                return 1;
        }
        return 0;
}

static void help(void) {
        printf("Usage: mam-generator NORMAL-DIR [EARLY-DIR LATE-DIR]\n"
               "       mam-generator --dryrun [DIR]\n\n"
               "Turns the configuration in " MAM_CONFIG_DIR
               " into systemd units. systemd runs it at boot and at each\n"
               "daemon-reload; only NORMAL-DIR is written to.\n\n"
               "      --dryrun [DIR]  print the units that the configuration in DIR (default " MAM_CONFIG_DIR
               ")\n"
               "                      would give, and its problems; exit 1 if one of them is an error\n"
               "      --deploy FILE   what the manager deployed (default " MAM_DEPLOY_PATH
               "; not looked at for a DIR)\n"
               "      --definitions DIR  the definitions that it names (default " MAM_DEFINITIONS_DIR ")\n"
               "  -h, --help          show this help\n"
               "      --version       show the version\n");
}

int main(int argc, char **argv) {
        enum {
                OPTION_DRYRUN = 256,
                OPTION_DEPLOY,
                OPTION_DEFINITIONS,
                OPTION_VERSION,
        };
        static const struct option options[] = {
                { "dryrun", no_argument, NULL, OPTION_DRYRUN },
                { "deploy", required_argument, NULL, OPTION_DEPLOY },
                { "definitions", required_argument, NULL, OPTION_DEFINITIONS },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPTION_VERSION },
                { NULL, 0, NULL, 0 },
        };
        Places p = { .deploy = MAM_DEPLOY_PATH, .definitions = MAM_DEFINITIONS_DIR };
        bool only_print = false, elsewhere = false;
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                switch (c) {
                case OPTION_DRYRUN:
                        only_print = true;
                        break;
                case OPTION_DEPLOY:
                        p.deploy = optarg;
                        elsewhere = true;
                        break;
                case OPTION_DEFINITIONS:
                        p.definitions = optarg;
                        break;
                case 'h':
                        help();
                        return 0;
                case OPTION_VERSION:
                        printf("mam-generator %s\n", MAM_VERSION);
                        return 0;
                default:
                        return 2;
                }
        }

        if (only_print && argc - optind <= 1) {
                if (optind < argc && !elsewhere)
                        p.deploy = NULL; /* another configuration has nothing to do with what is deployed
                                            here */
                return dryrun(optind < argc ? argv[optind] : MAM_CONFIG_DIR, &p);
        }
        if (!only_print && (argc - optind == 1 || argc - optind == 3))
                return run(argv[optind], &p);
        fprintf(stderr,
                "Usage: mam-generator NORMAL-DIR [EARLY-DIR LATE-DIR]\n       mam-generator --dryrun [DIR]\n");
        return 2;
}

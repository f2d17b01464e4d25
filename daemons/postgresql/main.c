/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-postgresql: the distribution's PostgreSQL as a service of mam
 *
 * Without arguments (ExecStart= of mam@postgresql:1) it creates the private cluster if there is none, writes
 * its configuration, and becomes postgres by exec: the pid stays, so postgres itself reports READY=1. With
 * --provision (ExecStartPost=) it creates the database, roles and schemas. Nobody has a password: peer
 * authentication maps the OS user mam-<id> to the role of the service.
 *
 * Environment: MAM_DATABASE_SERVICES, MAM_MEMORY_BYTES, MAM_DATABASE_CONNECTIONS. Options --state and
 * --socket move the folders.
 */

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "libmam/util/macro.h"
#include "mam-build.h"
#include "postgresql/provision.h"

#define EXIT_CONFIG 78 /* EX_CONFIG: trying again will not help */

static uint64_t number_from_environment(const char *name) {
        const char *text = getenv(name);

        return text ? strtoull(text, NULL, 10) : 0;
}

static int fail(int error, const char *why) {
        fprintf(stderr, SD_ERR "%s\n", why[0] ? why : strerror(-error));
        (void) sd_notifyf(false, "STATUS=%s\nERRNO=%d", why, -error);

        return error == -ENOENT || error == -EPROTO || error == -ENOTEMPTY || error == -EINVAL
                               ? EXIT_CONFIG
                               : EXIT_FAILURE;
}

static int serve(Cluster *c, const Settings *s) {
        char postgres[4096 + 16], why[4600] = "";
        char *argv[] = { postgres, (char *) "-D", c->data, NULL };
        int r;

        (void) sd_notify(false, "STATUS=Preparing the cluster\nEXTEND_TIMEOUT_USEC=120000000");

        r = cluster_prepare(c, why, sizeof(why));
        if (r < 0)
                return fail(r, why);

        r = settings_write(c, s);
        if (r < 0) {
                (void) snprintf(why,
                                sizeof(why),
                                "cannot write the configuration in %s: %s",
                                c->data,
                                strerror(-r));
                return fail(r, why);
        }

        (void) sd_notifyf(false, "STATUS=Starting PostgreSQL %u", c->version);
        (void) snprintf(postgres, sizeof(postgres), "%s/postgres", c->bin);
        (void) execv(postgres, argv);
        r = -errno;
        (void) snprintf(why, sizeof(why), "cannot run %s: %s", postgres, strerror(-r));
        return fail(r, why);
}

static void usage(FILE *f) {
        fprintf(f,
                "mam-postgresql [--state=DIR] [--socket=DIR] [--provision]\n\n"
                "Serves mam's private PostgreSQL cluster, creating it if needed.\n\n"
                "  --provision   create database, roles and schemas in the running one\n"
                "  --state=DIR   where the cluster is (" MAM_STATE_DIR "/postgresql)\n"
                "  --socket=DIR  where its socket is (/run/mam/postgresql)\n"
                "  --version     print the version\n");
}

int main(int argc, char **argv) {
        static const struct option options[] = {
                { "provision", no_argument, NULL, 'p' },    { "state", required_argument, NULL, 's' },
                { "socket", required_argument, NULL, 'k' }, { "version", no_argument, NULL, 'v' },
                { "help", no_argument, NULL, 'h' },         { NULL, 0, NULL, 0 },
        };
        const char *state = MAM_STATE_DIR "/postgresql", *socket = "/run/mam/postgresql";
        const struct passwd *user;
        bool only_provision = false;
        char why[4600] = "";
        Settings s;
        Cluster c;
        int r;

        while ((r = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                switch (r) {
                case 'p':
                        only_provision = true;
                        break;
                case 's':
                        state = optarg;
                        break;
                case 'k':
                        socket = optarg;
                        break;
                case 'v':
                        puts("mam-postgresql " MAM_VERSION);
                        return EXIT_SUCCESS;
                case 'h':
                        usage(stdout);
                        return EXIT_SUCCESS;
                default:
                        usage(stderr);
                        return EXIT_FAILURE;
                }
        }

        (void) umask(0077);
        user = getpwuid(geteuid());
        if (!user)
                return fail(-ESRCH, "the user that runs this has no name, which peer authentication needs");
        if (strchr(socket, '\'') || strchr(socket, '\n') || strchr(socket, '\\')) {
                return fail(-EINVAL,
                            "the folder of the socket must not hold quotes, backslashes or newlines");
        }

        s = (Settings){
                .memory_bytes = number_from_environment("MAM_MEMORY_BYTES"),
                .connections = (unsigned) number_from_environment("MAM_DATABASE_CONNECTIONS"),
                .services = getenv("MAM_DATABASE_SERVICES") ?: "",
                .superuser = user->pw_name,
        };
        r = cluster_init(&c, state, socket);
        if (r < 0)
                return fail(r, "the path of the state folder is too long");

        if (!only_provision)
                return serve(&c, &s);

        r = provision(&c, &s, why, sizeof(why));
        return r < 0 ? fail(r, why) : EXIT_SUCCESS;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-redis: the distribution's Redis (or Valkey) as a service of mam
 *
 * ExecStart= of mam@redis:N. Reads the credentials redis.<service id> from $CREDENTIALS_DIRECTORY, makes the
 * configuration and becomes redis-server by exec, with the configuration as its stdin: a sealed memfd, so no
 * password is in a file or an argument. The pid stays, and redis-server itself reports READY=1; a replica
 * when it has first followed the primary.
 *
 * Environment: MAM_REPLICA (N), MAM_MEMORY_BYTES, MAM_REDIS_PORT. Options --state and --runtime move the
 * folders.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "libmam/util/macro.h"
#include "mam-build.h"
#include "redis/config.h"

#define EXIT_CONFIG 78 /* EX_CONFIG: trying again will not help */

static int fail(int error, const char *what) {
        fprintf(stderr, SD_ERR "%s: %s\n", what, strerror(-error));
        (void) sd_notifyf(false, "STATUS=%s: %s\nERRNO=%d", what, strerror(-error), -error);

        return error == -ENOENT || error == -ENOKEY || error == -EINVAL || error == -E2BIG ? EXIT_CONFIG
                                                                                           : EXIT_FAILURE;
}

/* Puts the text where stdin is. */
static int config_to_stdin(const MamBuffer *b) {
        _cleanup_(mam_closep) int fd = -EBADF;
        const char *text = mam_buffer_bytes(b);
        size_t done = 0;

        fd = memfd_create("redis.conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;

        while (done < b->size) {
                ssize_t n = write(fd, text + done, b->size - done);

                if (n < 0)
                        return -errno;
                done += (size_t) n;
        }

        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return -errno;
        if (lseek(fd, 0, SEEK_SET) < 0 || dup2(fd, STDIN_FILENO) < 0)
                return -errno;

        return 0;
}

static int make_folder(const char *path) {
        return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* Returns only on failure. */
static int become_redis(void) {
        static const char *const servers[] = { "/usr/bin/redis-server", "/usr/bin/valkey-server" };

        for (size_t i = 0; i < MAM_ELEMENTSOF(servers); i++) {
                char *const argv[] = { (char *) servers[i], (char *) "-", NULL };

                (void) execv(servers[i], argv);
                if (errno != ENOENT)
                        return -errno;
        }

        return -ENOENT;
}

static int serve(RedisConfig *c, const char *state, const char *runtime) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const char *credentials = getenv("CREDENTIALS_DIRECTORY");
        int r;

        (void) snprintf(c->socket, sizeof(c->socket), "%s/%u.sock", runtime, c->instance);
        (void) snprintf(c->state, sizeof(c->state), "%s/%u", state, c->instance);

        if (credentials) {
                r = redis_config_read_credentials(c, credentials);
                if (r < 0)
                        return fail(r, "cannot use the credentials");
        }

        r = make_folder(c->state);
        if (r < 0)
                return fail(r, c->state);

        r = redis_config_format(&b, c);
        redis_config_wipe(c);
        if (r == -ENOKEY)
                return fail(r, "a replica needs the credential redis." REDIS_REPLICATION_USER);
        if (r >= 0)
                r = config_to_stdin(&b);
        explicit_bzero(b.data, b.allocated);
        if (r < 0)
                return fail(r, "cannot make the configuration");

        (void) sd_notify(false, "STATUS=Starting redis-server");
        return fail(become_redis(), "cannot run redis-server");
}

static void usage(FILE *f) {
        fprintf(f,
                "mam-redis [--state=DIR] [--runtime=DIR]\n\n"
                "Serves instance $MAM_REPLICA of mam's private Redis; 1 is the primary, the others follow it.\n\n"
                "  --state=DIR    where its data is, in a folder per instance (" MAM_STATE_DIR "/redis)\n"
                "  --runtime=DIR  where its socket is (/run/mam/redis)\n"
                "  --version      print the version\n");
}

static int parse_number(const char *name, unsigned long long most, unsigned long long *ret) {
        const char *text = getenv(name);
        unsigned long long value;
        char *end;

        if (!text || !*text)
                return 0;
        errno = 0;
        value = strtoull(text, &end, 10);
        if (errno != 0 || *end || value == 0 || value > most || text[0] == '-')
                return -EINVAL;
        *ret = value;
        return 0;
}

static bool is_plain_path(const char *path) {
        return path[0] == '/' && strlen(path) < 4000 && !strpbrk(path, " \"'\\\t\n");
}

int main(int argc, char **argv) {
        static const struct option options[] = {
                { "state", required_argument, NULL, 's' },
                { "runtime", required_argument, NULL, 'r' },
                { "version", no_argument, NULL, 'v' },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        const char *state = MAM_STATE_DIR "/redis", *runtime = "/run/mam/redis";
        unsigned long long instance = 1, memory = 0, port = REDIS_PORT_DEFAULT;
        RedisConfig config = { 0 };
        int r;

        while ((r = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                switch (r) {
                case 's':
                        state = optarg;
                        break;
                case 'r':
                        runtime = optarg;
                        break;
                case 'v':
                        puts("mam-redis " MAM_VERSION);
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
        if (parse_number("MAM_REPLICA", 1000, &instance) < 0)
                return fail(-EINVAL, "MAM_REPLICA");
        if (parse_number("MAM_MEMORY_BYTES", INT64_MAX, &memory) < 0)
                return fail(-EINVAL, "MAM_MEMORY_BYTES");
        if (parse_number("MAM_REDIS_PORT", UINT16_MAX, &port) < 0)
                return fail(-EINVAL, "MAM_REDIS_PORT");
        if (!is_plain_path(state) || !is_plain_path(runtime))
                return fail(-EINVAL, "a folder must be an absolute path without spaces and quotes");

        config.instance = (unsigned) instance;
        config.memory_bytes = memory;
        config.port = (unsigned) port;
        return serve(&config, state, runtime);
}

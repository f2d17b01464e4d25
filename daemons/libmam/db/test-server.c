/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Real servers for tests
 */

#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "libmam/db/test-server.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

static const struct passwd *ordinary_user(void) {
        const struct passwd *user = getpwnam("nobody");

        ASSERT_TRUE(user);
        return user;
}

void mam_test_server_init(MamTestServer *s) {
        *s = (MamTestServer){ 0 };
        strcpy(s->folder, "/tmp/mam-test-XXXXXX");
        ASSERT_TRUE(mkdtemp(s->folder));
        if (geteuid() == 0) {
                const struct passwd *user = ordinary_user();

                ASSERT_EQ(chown(s->folder, user->pw_uid, user->pw_gid), 0);
        }
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

void mam_test_server_done(MamTestServer *s) {
        mam_test_server_kill(s, SIGINT); /* PostgreSQL: do not wait for sessions */
        if (s->folder[0])
                (void) nftw(s->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        s->folder[0] = '\0';
}

static _Noreturn void child(
                const MamTestServer *s,
                const struct passwd *user,
                pid_t parent,
                const char *const *argv) {
        char log[96];
        int fd, program;

        /* Opened while we still may: the build can lie below a folder that is closed to others (/root). */
        program = open(argv[0], O_PATH | O_CLOEXEC);
        if (program < 0)
                _exit(127);
        if (geteuid() == 0 &&
            (setgroups(0, NULL) < 0 || setgid(user->pw_gid) < 0 || setuid(user->pw_uid) < 0))
                _exit(126);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(126);
        if (chdir(s->folder) < 0)
                _exit(126);

        (void) snprintf(log, sizeof(log), "%s/log", s->folder);
        fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
                _exit(126);

        (void) fexecve(program, (char *const *) argv, environ);
        _exit(127);
}

pid_t mam_test_server_spawn(MamTestServer *s, const char *const *argv) {
        const struct passwd *user = ordinary_user();
        pid_t parent = getpid(), pid;

        fflush(NULL);
        pid = fork();
        ASSERT_TRUE(pid >= 0);
        if (pid == 0)
                child(s, user, parent, argv);

        return pid;
}

int mam_test_server_run(MamTestServer *s, const char *const *argv) {
        int status = 0;
        pid_t pid;

        pid = mam_test_server_spawn(s, argv);
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        return status;
}

void mam_test_server_kill(MamTestServer *s, int sig) {
        if (s->pid <= 0)
                return;
        (void) kill(s->pid, sig);
        for (unsigned i = 0; i < 2000; i++) {
                if (waitpid(s->pid, NULL, WNOHANG) != 0) {
                        s->pid = 0;
                        return;
                }
                (void) nanosleep(&(struct timespec){ .tv_nsec = 10L * 1000 * 1000 }, NULL);
        }

        mam_test_fail(__FILE__, __LINE__, "the server ends within 20 s of the signal", sig);
}

void mam_test_server_wait_socket(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        ASSERT_TRUE(strlen(path) < sizeof(address.sun_path));
        memcpy(address.sun_path, path, strlen(path) + 1);

        for (unsigned i = 0; i < 1000; i++) {
                _cleanup_(mam_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

                ASSERT_TRUE(fd >= 0);
                if (connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0)
                        return;
                (void) nanosleep(
                                &(struct timespec){ .tv_nsec = 10L * 1000 * 1000 },
                                NULL); /* another process's start has no event */
        }

        mam_test_fail_string(__FILE__, __LINE__, "the server accepts", path);
}

const char *mam_test_postgres_bin(void) {
        static char bin[256];
        glob_t found = { 0 };

        if (bin[0])
                return bin;

        if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0) {
                (void) snprintf(bin, sizeof(bin), "%s", found.gl_pathv[found.gl_pathc - 1]);
        } else if (access("/usr/bin/initdb", X_OK) == 0) {
                strcpy(bin, "/usr/bin/initdb");
        }
        globfree(&found);

        if (!bin[0])
                mam_test_skip("no PostgreSQL server is installed");
        *strrchr(bin, '/') = '\0';
        return bin;
}

void mam_test_postgres_init(MamTestServer *s) {
        char initdb[300], data[96];
        const char *argv[] = {
                initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C.UTF-8", NULL
        };

        (void) snprintf(initdb, sizeof(initdb), "%s/initdb", mam_test_postgres_bin());
        mam_test_server_init(s);
        (void) snprintf(data, sizeof(data), "%s/data", s->folder);
        ASSERT_EQ(mam_test_server_run(s, argv), 0);
}

void mam_test_postgres_wait(const MamTestServer *s) {
        const char *const keywords[] = { "host", "dbname", "user", NULL };
        const char *const values[] = { s->folder, "postgres", "postgres", NULL };

        for (unsigned i = 0; i < 2000; i++) {
                if (PQpingParams(keywords, values, 0) == PQPING_OK)
                        return;
                (void) nanosleep(&(struct timespec){ .tv_nsec = 10L * 1000 * 1000 }, NULL);
        }

        mam_test_fail_string(__FILE__, __LINE__, "PostgreSQL is ready", s->folder);
}

void mam_test_postgres_start(MamTestServer *s) {
        char postgres[300], data[96];
        const char *argv[] = {
                postgres, "-D",      data, "-k", s->folder, "-h", "", "-c", "max_connections=40",
                "-c",     "jit=off", NULL,
        };

        (void) snprintf(postgres, sizeof(postgres), "%s/postgres", mam_test_postgres_bin());
        (void) snprintf(data, sizeof(data), "%s/data", s->folder);
        s->pid = mam_test_server_spawn(s, argv);
        mam_test_postgres_wait(s);
}

void mam_test_redis_start(MamTestServer *s, const char *const *more) {
        static const char *const places[] = { "/usr/bin/redis-server", "/usr/bin/valkey-server" };
        char socket_path[96];
        const char *argv[64] = {
                NULL,      "--port", "0", "--unixsocket", socket_path, "--dir",
                s->folder, "--save", "",  "--daemonize",  "no",
        };
        size_t n = 11;

        for (size_t i = 0; !argv[0] && i < MAM_ELEMENTSOF(places); i++) {
                if (access(places[i], X_OK) == 0)
                        argv[0] = places[i];
        }
        if (!argv[0])
                mam_test_skip("no Redis server is installed");

        (void) snprintf(socket_path, sizeof(socket_path), "%s/redis.sock", s->folder);
        for (; more && *more && n + 1 < MAM_ELEMENTSOF(argv); more++)
                argv[n++] = *more;
        s->pid = mam_test_server_spawn(s, argv);
        mam_test_server_wait_socket(socket_path);
}

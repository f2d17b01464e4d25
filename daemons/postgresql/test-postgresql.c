/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-postgresql: formats by themselves, and the program with a real PostgreSQL in a temporary folder
 */

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "libmam/db/test-server.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"
#include "postgresql/provision.h"

TEST(versions_are_read) {
        ASSERT_EQ(cluster_parse_version("15\n"), 15);
        ASSERT_EQ(cluster_parse_version("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n"), 15);
        ASSERT_EQ(cluster_parse_version("postgres (PostgreSQL) 17.2\n"), 17);
        ASSERT_EQ(cluster_parse_version("nothing"), 0);
}

TEST(the_map_names_each_service) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const Settings s = { .services = " project-manager  ai ", .superuser = "mam-postgresql" };
        const Settings bad = { .services = "good evil\"; bad", .superuser = "x" };

        ASSERT_OK(settings_format_ident(&b, &s));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\nmam   mam-postgresql   postgres\n"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\nmam   mam-project-manager   project_manager\n"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\nmam   mam-ai   ai\n"));
        ASSERT_EQ(settings_format_ident(&b, &bad), -EINVAL);
}

TEST(memory_is_shared_out) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Cluster c;

        ASSERT_OK(cluster_init(&c, "/var/lib/x", "/run/x"));
        ASSERT_OK(settings_format_conf(&b, &c, &(Settings){ .memory_bytes = 2ULL << 30 }));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\nshared_buffers = 512MB\n"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\nmax_connections = 256\n"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\nwork_mem = 4MB\n"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\nunix_socket_directories = '/run/x'\n"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\njit = off\n"));
}

/* The program */

typedef struct Fixture {
        MamTestServer server;
        char program[4096], state[96], socket[96], data[128];
} Fixture;

static void fixture_setup(Fixture *f) {
        const char *build = getenv("MAM_BUILD_ROOT");

        (void) mam_test_postgres_bin(); /* skips */
        if (!build)
                mam_test_skip("MAM_BUILD_ROOT does not say where the program is");
        *f = (Fixture){ 0 };
        mam_test_server_init(&f->server);
        ASSERT_TRUE((size_t) snprintf(
                                    f->program,
                                    sizeof(f->program),
                                    "%s/daemons/postgresql/mam-postgresql",
                                    build) < sizeof(f->program));
        (void) snprintf(f->state, sizeof(f->state), "--state=%s", f->server.folder);
        (void) snprintf(f->socket, sizeof(f->socket), "--socket=%s", f->server.folder);
        (void) snprintf(f->data, sizeof(f->data), "%s/data", f->server.folder);
        ASSERT_EQ(setenv("MAM_DATABASE_SERVICES", "project-manager other event-bus", 1), 0);
        ASSERT_EQ(setenv("MAM_MEMORY_BYTES", "268435456", 1), 0);
}

static void start(Fixture *f) {
        const char *argv[] = { f->program, f->state, f->socket, NULL };

        f->server.pid = mam_test_server_spawn(&f->server, argv);
        mam_test_postgres_wait(&f->server);
}

static int run_program(Fixture *f, const char *option) {
        const char *argv[] = { f->program, f->state, f->socket, option, NULL };
        int status = mam_test_server_run(&f->server, argv);

        ASSERT_TRUE(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void write_file(Fixture *f, const char *name, const char *text) {
        char path[256];
        int fd;

        (void) snprintf(path, sizeof(path), "%s/%s", f->server.folder, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        ASSERT_TRUE(fd >= 0);
        ASSERT_EQ(write(fd, text, strlen(text)), (ssize_t) strlen(text));
        (void) close(fd);
}

/* One query as the ordinary user; its first value, or the error. */
static void query(
                Fixture *f,
                const char *user,
                const char *database,
                const char *sql,
                char ret[static 256]) {
        int pipe_fd[2];
        pid_t pid;
        ssize_t n;

        ASSERT_EQ(pipe(pipe_fd), 0);
        fflush(NULL);
        pid = fork();
        ASSERT_TRUE(pid >= 0);
        if (pid == 0) {
                const char *const keywords[] = { "host", "dbname", "user", NULL };
                const char *const values[] = { f->server.folder, database, user, NULL };
                const char *text;
                PGresult *result;
                PGconn *conn;

                if (geteuid() == 0) {
                        const struct passwd *nobody = getpwnam("nobody");

                        if (!nobody || setgid(nobody->pw_gid) < 0 || setuid(nobody->pw_uid) < 0)
                                _exit(1);
                }
                conn = PQconnectdbParams(keywords, values, 0);
                result = PQstatus(conn) == CONNECTION_OK ? PQexec(conn, sql) : NULL;
                if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0) {
                        text = PQgetvalue(result, 0, 0);
                } else if (PQresultStatus(result) == PGRES_COMMAND_OK) {
                        text = PQcmdStatus(result);
                } else {
                        text = PQerrorMessage(conn);
                }
                (void) !write(pipe_fd[1], text, strlen(text));
                _exit(0);
        }

        (void) close(pipe_fd[1]);
        n = read(pipe_fd[0], ret, 255);
        (void) close(pipe_fd[0]);
        ret[n > 0 ? n : 0] = '\0';
        (void) waitpid(pid, NULL, 0);
}

TEST(it_creates_serves_provisions_and_serves_again) {
        char answer[256];
        struct stat st;
        Fixture f;

        fixture_setup(&f);
        (void) snprintf(answer, sizeof(answer), "%s.new", f.data); /* as an interrupted attempt leaves it */
        ASSERT_EQ(mkdir(answer, 0700), 0);
        if (geteuid() == 0) {
                const struct passwd *nobody = getpwnam("nobody");

                ASSERT_EQ(chown(answer, nobody->pw_uid, nobody->pw_gid), 0);
        }
        start(&f);
        ASSERT_TRUE(stat(answer, &st) < 0);
        ASSERT_EQ(run_program(&f, "--provision"), 0);
        ASSERT_EQ(run_program(&f, "--provision"), 0); /* idempotent */

        query(&f, "postgres", "mam", "SHOW data_checksums", answer);
        ASSERT_STREQ(answer, "on");
        query(&f, "postgres", "mam", "SHOW jit", answer);
        ASSERT_STREQ(answer, "off");
        query(&f, "postgres", "mam", "SHOW listen_addresses", answer);
        ASSERT_STREQ(answer, "");
        query(&f,
              "postgres",
              "mam",
              "SELECT string_agg(nspname || ':' || rolname, ' ' ORDER BY nspname) FROM pg_namespace n JOIN pg_roles r ON "
              "r.oid = nspowner WHERE nspname IN ('project_manager', 'other')",
              answer);
        ASSERT_STREQ(answer, "other:other project_manager:project_manager");
        query(&f, "postgres", "mam", "SELECT count(*) FROM pg_authid WHERE rolpassword IS NOT NULL", answer);
        ASSERT_STREQ(answer, "0");

        /* one role has no way into another's schema, nor into public */
        query(&f, "postgres", "mam", "SET ROLE other; CREATE TABLE project_manager.t (n integer)", answer);
        ASSERT_TRUE(strstr(answer, "permission denied for schema project_manager"));
        query(&f, "postgres", "mam", "SET ROLE other; CREATE TABLE public.t (n integer)", answer);
        ASSERT_TRUE(strstr(answer, "permission denied for schema public"));
        query(&f, "postgres", "mam", "SET ROLE other; CREATE TABLE other.t (n integer)", answer);
        ASSERT_STREQ(answer, "CREATE TABLE");

        /* the outbox: into the schema, and no further than what is opened there */
        query(&f,
              "postgres",
              "mam",
              "SET ROLE event_bus; CREATE FUNCTION event_bus.publish(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'taken' $$; "
              "CREATE TABLE event_bus.t (n integer)",
              answer);
        ASSERT_STREQ(answer, "CREATE TABLE");
        query(&f, "postgres", "mam", "SET ROLE other; SELECT event_bus.publish('a', 'b')", answer);
        ASSERT_STREQ(answer, "taken");
        query(&f, "postgres", "mam", "SET ROLE other; SELECT * FROM event_bus.t", answer);
        ASSERT_TRUE(strstr(answer, "permission denied for table t"));
        query(&f, "postgres", "mam", "SET ROLE other; CREATE TABLE event_bus.u (n integer)", answer);
        ASSERT_TRUE(strstr(answer, "permission denied for schema event_bus"));
        query(&f,
              "postgres",
              "mam",
              "SELECT pg_has_role('event_bus', 'pg_read_all_stats', 'MEMBER')",
              answer);
        ASSERT_STREQ(answer, "t");
        query(&f, "postgres", "mam", "SELECT pg_has_role('other', 'pg_read_all_stats', 'MEMBER')", answer);
        ASSERT_STREQ(answer, "f");

        /* what services may use, but not change */
        query(&f,
              "postgres",
              "mam",
              "SELECT count(*) = (SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm') "
              "FROM pg_extension WHERE extname = 'pg_trgm'",
              answer);
        ASSERT_STREQ(answer, "t");
        query(&f, "postgres", "mam", "SET ROLE other; CREATE TABLE extensions.t (n integer)", answer);
        ASSERT_TRUE(strstr(answer, "permission denied for schema extensions"));

        /* the kernel says that we are not mam-project-manager */
        query(&f, "project_manager", "mam", "SELECT 1", answer);
        ASSERT_TRUE(strstr(answer, "Peer authentication failed"));

        mam_test_server_kill(&f.server, SIGKILL);
        start(&f); /* the same cluster, recovered */
        ASSERT_EQ(run_program(&f, "--provision"), 0);
        query(&f, "postgres", "mam", "SELECT count(*) FROM other.t", answer);
        ASSERT_STREQ(answer, "0");
        mam_test_server_done(&f.server);
}

TEST(another_version_is_refused) {
        _cleanup_(mam_freep) char *log = NULL;
        char path[256];
        Fixture f;

        fixture_setup(&f);
        ASSERT_EQ(mkdir(f.data, 0755), 0);
        write_file(&f, "data/PG_VERSION", "11\n");
        ASSERT_EQ(run_program(&f, NULL), 78);
        (void) snprintf(path, sizeof(path), "%s/log", f.server.folder);
        ASSERT_OK(mam_file_read(&log, NULL, path, 65536));
        ASSERT_TRUE(strstr(log, "is of PostgreSQL 11"));
        ASSERT_TRUE(strstr(log, "pg_upgrade"));
        mam_test_server_done(&f.server);
}

TEST(a_folder_with_something_else_is_not_touched) {
        Fixture f;
        char path[256];

        fixture_setup(&f);
        ASSERT_EQ(mkdir(f.data, 0755), 0);
        write_file(&f, "data/precious", "x");
        ASSERT_EQ(run_program(&f, NULL), 78);
        (void) snprintf(path, sizeof(path), "%s/precious", f.data);
        ASSERT_EQ(access(path, F_OK), 0);
        mam_test_server_done(&f.server);
}

TEST(provisioning_without_a_server_fails) {
        Fixture f;

        fixture_setup(&f);
        ASSERT_EQ(run_program(&f, "--provision"), 1);
        mam_test_server_done(&f.server);
}

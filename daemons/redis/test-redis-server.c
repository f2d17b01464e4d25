/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-redis: the configuration by itself, and the program with a real redis-server in a temporary folder
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "libmam/db/test-server.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"
#include "redis/config.h"

static const RedisConfig sample = {
        .port = 6379,
        .socket = "/run/x/1.sock",
        .state = "/var/lib/x/1",
        .memory_bytes = 1ULL << 30,
        .users = { { "project-manager", "secret" }, { "replication", "follow" } },
};

TEST(the_primary_holds_hashes_only) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        RedisConfig c = sample;

        c.instance = 1;
        c.n_users = 2;
        ASSERT_OK(redis_config_format(&b, &c));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\nmaxmemory 805306368\n"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\nbind 127.0.0.1\nport 6379\n"));
        ASSERT_TRUE(strstr(
                        mam_buffer_bytes(&b),
                        "\nuser project-manager on #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b "
                        "~project-manager:* resetchannels &project-manager:* +@all -@admin -@dangerous\n"));
        ASSERT_TRUE(!strstr(mam_buffer_bytes(&b), "secret"));
        ASSERT_TRUE(!strstr(mam_buffer_bytes(&b), "follow"));
}

TEST(with_an_event_bus_its_bell_may_be_rung) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        RedisConfig c = sample;

        c.instance = 1;
        (void) snprintf(c.users[2].name, sizeof(c.users[2].name), "event-bus");
        (void) snprintf(c.users[2].password, sizeof(c.users[2].password), "bell");
        c.n_users = 3;
        ASSERT_OK(redis_config_format(&b, &c));
        ASSERT_TRUE(strstr(
                        mam_buffer_bytes(&b),
                        " &project-manager:* +@all -@admin -@dangerous (+publish &event-bus:bell)\n"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), " &event-bus:* +@all -@admin -@dangerous\n"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), " +psync +replconf +ping\n"));
}

TEST(alone_it_opens_no_port) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        RedisConfig c = sample;

        c.instance = 1;
        c.n_users = 1;
        ASSERT_OK(redis_config_format(&b, &c));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\nport 0\n"));
        ASSERT_TRUE(!strstr(mam_buffer_bytes(&b), "bind"));
        c.instance = 2;
        ASSERT_EQ(redis_config_format(&b, &c), -ENOKEY);
}

/* The program */

typedef struct Fixture {
        MamTestServer server, replica;
        char program[4096], state[96], runtime[96], port[16];
} Fixture;

static void write_file(const Fixture *f, const char *name, const char *text) {
        char path[256];
        int fd;

        (void) snprintf(path, sizeof(path), "%s/%s", f->server.folder, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        ASSERT_TRUE(fd >= 0);
        ASSERT_EQ(write(fd, text, strlen(text)), (ssize_t) strlen(text));
        (void) close(fd);
}

/* A port that was free a moment ago. */
static void find_port(char ret[static 16]) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(address);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ASSERT_TRUE(fd >= 0);
        ASSERT_EQ(bind(fd, (struct sockaddr *) &address, size), 0);
        ASSERT_EQ(getsockname(fd, (struct sockaddr *) &address, &size), 0);
        (void) snprintf(ret, 16, "%u", ntohs(address.sin_port));
        (void) close(fd);
}

static void fixture_setup(Fixture *f) {
        const char *build = getenv("MAM_BUILD_ROOT");

        if (access("/usr/bin/redis-server", X_OK) < 0 && access("/usr/bin/valkey-server", X_OK) < 0)
                mam_test_skip("no Redis server is installed");
        if (!build)
                mam_test_skip("MAM_BUILD_ROOT does not say where the program is");

        *f = (Fixture){ 0 };
        mam_test_server_init(&f->server);
        ASSERT_TRUE((size_t) snprintf(f->program, sizeof(f->program), "%s/daemons/redis/mam-redis", build) <
                    sizeof(f->program));
        (void) snprintf(f->state, sizeof(f->state), "--state=%s", f->server.folder);
        (void) snprintf(f->runtime, sizeof(f->runtime), "--runtime=%s", f->server.folder);
        find_port(f->port);
        write_file(f, "redis.project-manager", "c0ffee\n");
        write_file(f, "redis.replication", "f00d");
        write_file(f, "redis.event-bus", "be11");
        ASSERT_EQ(setenv("CREDENTIALS_DIRECTORY", f->server.folder, 1), 0);
        ASSERT_EQ(setenv("MAM_REDIS_PORT", f->port, 1), 0);
        ASSERT_EQ(setenv("MAM_MEMORY_BYTES", "67108864", 1), 0);
        memcpy(f->replica.folder, f->server.folder, sizeof(f->replica.folder));
}

static void fixture_done(Fixture *f) {
        mam_test_server_kill(&f->replica, SIGTERM);
        mam_test_server_done(&f->server);
}

static void start(Fixture *f, MamTestServer *s, const char *n) {
        const char *argv[] = { f->program, f->state, f->runtime, NULL };
        char path[128];

        ASSERT_EQ(setenv("MAM_REPLICA", n, 1), 0);
        (void) snprintf(path, sizeof(path), "%s/%s.sock", f->server.folder, n);
        (void) unlink(path);
        s->pid = mam_test_server_spawn(s, argv);
        mam_test_server_wait_socket(path);
}

static redisContext *open_client(Fixture *f, const char *n, const char *user, const char *password) {
        char path[128];
        redisContext *c;
        redisReply *reply;

        (void) snprintf(path, sizeof(path), "%s/%s.sock", f->server.folder, n);
        c = redisConnectUnix(path);
        ASSERT_TRUE(c && !c->err);
        if (user) {
                reply = redisCommand(c, "AUTH %s %s", user, password);
                ASSERT_TRUE(reply && reply->type == REDIS_REPLY_STATUS);
                freeReplyObject(reply);
        }
        return c;
}

/* Text of the reply, or of its error. */
static const char *ask(redisContext *c, const char *command) {
        static char text[512];
        redisReply *reply = redisCommand(c, command); // NOLINT: a literal of the test

        ASSERT_TRUE(reply);
        (void) snprintf(text,
                        sizeof(text),
                        "%s",
                        reply->str                       ? reply->str
                        : reply->type == REDIS_REPLY_NIL ? "nil"
                                                         : "?");
        freeReplyObject(reply);
        return text;
}

static bool starts(const char *text, const char *with) {
        return strncmp(text, with, strlen(with)) == 0;
}

TEST(services_are_held_to_their_keys) {
        redisContext *c;
        struct stat st;
        char path[128];
        Fixture f;

        fixture_setup(&f);
        start(&f, &f.server, "1");

        c = open_client(&f, "1", NULL, NULL);
        ASSERT_TRUE(starts(ask(c, "PING"), "NOAUTH"));
        redisFree(c);

        c = open_client(&f, "1", "project-manager", "c0ffee");
        ASSERT_STREQ(ask(c, "SET project-manager:k v"), "OK");
        ASSERT_TRUE(starts(ask(c, "SET other:k v"), "NOPERM"));
        ASSERT_TRUE(starts(ask(c, "PUBLISH other:news x"), "NOPERM"));
        ASSERT_TRUE(!starts(ask(c, "PUBLISH event-bus:bell outbox"), "NOPERM"));
        ASSERT_TRUE(starts(ask(c, "PUBLISH event-bus:other outbox"), "NOPERM"));
        ASSERT_TRUE(starts(ask(c, "SUBSCRIBE event-bus:bell"), "NOPERM"));
        ASSERT_TRUE(starts(ask(c, "SET event-bus:k v"), "NOPERM"));
        ASSERT_TRUE(starts(ask(c, "FLUSHALL"), "NOPERM"));
        ASSERT_TRUE(starts(ask(c, "CONFIG GET masterauth"), "NOPERM"));
        ASSERT_TRUE(starts(ask(c, "ACL LIST"), "NOPERM"));
        redisFree(c);

        c = open_client(&f, "1", "replication", "f00d");
        ASSERT_TRUE(starts(ask(c, "GET project-manager:k"), "NOPERM"));
        redisFree(c);

        (void) snprintf(path, sizeof(path), "%s/1.sock", f.server.folder);
        ASSERT_EQ(stat(path, &st), 0);
        ASSERT_EQ(st.st_mode & 0777, 0777);
        fixture_done(&f);
}

TEST(a_kill_loses_what_everysec_permits_only) {
        redisContext *c;
        Fixture f;

        fixture_setup(&f);
        start(&f, &f.server, "1");
        c = open_client(&f, "1", "project-manager", "c0ffee");
        ASSERT_STREQ(ask(c, "SET project-manager:k kept"), "OK");
        redisFree(c);
        mam_test_server_kill(&f.server, SIGKILL); /* of the process, not of the machine: what was written is
                                                     in the page cache */
        start(&f, &f.server, "1");
        c = open_client(&f, "1", "project-manager", "c0ffee");
        ASSERT_STREQ(ask(c, "GET project-manager:k"), "kept");
        redisFree(c);
        fixture_done(&f);
}

TEST(the_second_follows_the_first) {
        redisContext *first, *second;
        bool followed = false;
        Fixture f;

        fixture_setup(&f);
        start(&f, &f.server, "1");
        start(&f, &f.replica, "2");
        first = open_client(&f, "1", "project-manager", "c0ffee");
        second = open_client(&f, "2", "project-manager", "c0ffee");
        ASSERT_STREQ(ask(first, "SET project-manager:k v"), "OK");
        for (unsigned i = 0; i < 1000 && !followed; i++) {
                const char *text = ask(second, "GET project-manager:k");

                followed = strcmp(text, "v") == 0;
                (void) nanosleep(
                                &(struct timespec){ .tv_nsec = 10L * 1000 * 1000 },
                                NULL); /* another process */
        }
        ASSERT_TRUE(followed);
        ASSERT_TRUE(starts(ask(second, "SET project-manager:k w"), "READONLY"));
        redisFree(first);
        redisFree(second);
        fixture_done(&f);
}

TEST(no_file_and_no_argument_holds_a_password) {
        static const char *const arguments = "/usr/bin/redis-server";
        _cleanup_(mam_freep) char *line = NULL;
        char path[128];
        size_t size;
        Fixture f;

        fixture_setup(&f);
        start(&f, &f.server, "1");
        start(&f, &f.replica, "2");
        (void) snprintf(path, sizeof(path), "/proc/%d/cmdline", f.replica.pid);
        ASSERT_OK(mam_file_read(&line, &size, path, 4096));
        ASSERT_TRUE(size <= strlen(arguments) + 4);
        (void) snprintf(path, sizeof(path), "%s/redis.conf", f.server.folder);
        ASSERT_TRUE(access(path, F_OK) < 0);
        fixture_done(&f);
}

TEST(a_strange_credential_is_refused) {
        const char *argv[4] = { NULL };
        int status;
        Fixture f;

        fixture_setup(&f);
        write_file(&f, "redis.project-manager", "a b\nuser evil on nopass");
        ASSERT_EQ(setenv("MAM_REPLICA", "1", 1), 0);
        argv[0] = f.program;
        argv[1] = f.state;
        argv[2] = f.runtime;
        status = mam_test_server_run(&f.server, argv);
        ASSERT_TRUE(WIFEXITED(status));
        ASSERT_EQ(WEXITSTATUS(status), 78);
        fixture_done(&f);
}

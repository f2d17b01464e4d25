/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The frame from outside: a real daemon as a child process, with sockets handed over as systemd does
 */

#include <errno.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libmam/service/test-service-util.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

static char answer[65536];

static int public_get(TestWorld *w, const char *path, const char *fields) {
        return client_request_port(w->port, "GET", path, fields, answer, sizeof(answer));
}

static int replica_get(TestWorld *w, const char *path, const char *fields) {
        return client_request_unix(w->replica_path, "GET", path, fields, answer, sizeof(answer));
}

static const char *body(void) {
        const char *p = strstr(answer, "\r\n\r\n");

        return p ? p + 4 : "(no body)";
}

static void assert_answer_contains(const char *text) {
        if (!strcasestr(answer, text))
                mam_test_fail_string(__FILE__, __LINE__, text, answer);
}

static void stop(pid_t pid) {
        ASSERT_OK(kill(pid, SIGTERM));
        ASSERT_EQ(world_wait(pid), 0);
}

TEST(starting_answers_probes_and_leaves_the_shared_port_to_others) {
        TestWorld w;
        pid_t pid;
        int fd;

        world_init(&w);
        pid = world_start(&w, 0, (const char *[]){ "TEST_SETUP_MSEC=700", NULL }, NULL);
        fd = client_connect_port(w.port); /* lands in the backlog */
        ASSERT_OK(fd);
        ASSERT_EQ(replica_get(&w, "/health", ""), 200);
        ASSERT_STREQ(body(), "{\"status\":\"alive\"}\n");
        ASSERT_EQ(replica_get(&w, "/ready", ""), 503);
        assert_answer_contains("Content-Type: application/problem+json");
        assert_answer_contains("Retry-After: 1\r\n");
        ASSERT_EQ(replica_get(&w, "/hello/x", ""), 503);
        world_expect_notify(&w, "STATUS=Starting");

        world_expect_notify(&w, "STATUS=Doing fine");
        world_expect_notify(&w, "READY=1");
        ASSERT_EQ(replica_get(&w, "/ready", ""), 200);
        ASSERT_STREQ(body(), "{\"status\":\"ready\"}\n");
        ASSERT_EQ(client_exchange(fd, "GET /hello/you HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)),
                  200);
        ASSERT_STREQ(body(), "hello you from tested:7\n");
        close(fd);

        stop(pid);
        world_expect_notify(&w, "STOPPING=1");
        world_done(&w);
}

TEST(routes_and_their_errors) {
        TestWorld w;
        pid_t pid;

        world_init(&w);
        pid = world_start(&w, 0, NULL, NULL);
        world_expect_notify(&w, "READY=1");

        ASSERT_EQ(public_get(&w, "/hello/a%20b%2Fc", ""), 200);
        ASSERT_STREQ(body(), "hello a b/c from tested:7\n");
        ASSERT_EQ(public_get(&w, "/nothing/here", ""), 404);
        assert_answer_contains("application/problem+json");
        ASSERT_EQ(public_get(&w, "/hello/%zz", ""), 400);
        ASSERT_EQ(public_get(&w, "/broken", ""), 500);
        assert_answer_contains("application/problem+json");
        ASSERT_EQ(client_request_port(w.port, "PUT", "/away", "", answer, sizeof(answer)), 405);
        assert_answer_contains("Allow: POST, DELETE, OPTIONS\r\n");
        ASSERT_EQ(client_request_port(w.port, "OPTIONS", "/hello/x", "", answer, sizeof(answer)), 204);
        assert_answer_contains("Allow: GET, HEAD, OPTIONS\r\n");
        ASSERT_EQ(client_request_port(w.port, "HEAD", "/hello/you", "", answer, sizeof(answer)), 200);
        ASSERT_STREQ(body(), "");
        assert_answer_contains("Content-Length: 24\r\n");

        stop(pid);
        world_done(&w);
}

static void assert_status(pid_t pid, const char *line) {
        char path[64], *text = NULL;

        snprintf(path, sizeof(path), "/proc/%i/status", (int) pid);
        ASSERT_OK(mam_file_read(&text, NULL, path, 65536));
        if (!strstr(text, line))
                mam_test_fail_string(__FILE__, __LINE__, line, text);
        free(text);
}

TEST(no_privilege_is_left) {
        TestWorld w;
        pid_t pid;

        world_init(&w);
        pid = world_start(&w, 0, NULL, NULL);
        world_expect_notify(&w, "READY=1");
        assert_status(pid,
                      "\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n");
        assert_status(pid, "\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n");
        if (geteuid() == 0)
                assert_status(pid, "\nCapBnd:\t0000000000000000\n");
        stop(pid);
        world_done(&w);
}

TEST(bearer_tokens_on_the_public_port) {
        _cleanup_(mam_freep) char *reader = NULL, *editor = NULL, *admin = NULL, *expired = NULL,
                                  *fresh = NULL;
        char fields[2048];
        TestWorld w;
        pid_t pid;

        world_init(&w);
        reader = world_token(&w, "erin", "viewer", 600);
        editor = world_token(&w, "erin", "viewer,editor", 600);
        admin = world_token(&w, "root-of-all", "admin", 600);
        expired = world_token(&w, "erin", "editor", -600);
        pid = world_start(&w, 0, NULL, NULL);
        world_expect_notify(&w, "READY=1");

        ASSERT_EQ(public_get(&w, "/whoami", ""), 401);
        assert_answer_contains("WWW-Authenticate: Bearer realm=\"mam\"\r\n");
        ASSERT_EQ(public_get(&w, "/open", ""), 200);
        ASSERT_STREQ(body(), "nobody");
        ASSERT_EQ(public_get(&w, "/whoami", "Authorization: Basic eDp5\r\n"), 401);
        ASSERT_EQ(public_get(&w, "/whoami", "Authorization: Bearer nonsense\r\n"), 401);
        assert_answer_contains("error=\"invalid_token\"");
        ASSERT_EQ(public_get(&w, "/open", "Authorization: Bearer nonsense\r\n"), 200);
        ASSERT_STREQ(body(), "nobody");

        snprintf(fields, sizeof(fields), "authorization: bEARER %s\r\n", reader);
        ASSERT_EQ(public_get(&w, "/whoami", fields), 200);
        ASSERT_STREQ(body(), "erin viewer");
        ASSERT_EQ(public_get(&w, "/editors", fields), 403);
        assert_answer_contains("application/problem+json");
        snprintf(fields, sizeof(fields), "Authorization: Bearer %s\r\n", editor);
        ASSERT_EQ(public_get(&w, "/editors", fields), 200);
        snprintf(fields, sizeof(fields), "Authorization: Bearer %s\r\n", admin);
        ASSERT_EQ(public_get(&w, "/editors", fields), 200);
        ASSERT_STREQ(body(), "root-of-all admin");
        snprintf(fields, sizeof(fields), "Authorization: Bearer %s\r\n", expired);
        ASSERT_EQ(public_get(&w, "/editors", fields), 401);
        snprintf(fields,
                 sizeof(fields),
                 "Authorization: Bearer %s\r\nAuthorization: Bearer %s\r\n",
                 reader,
                 admin);
        ASSERT_EQ(public_get(&w, "/whoami", fields), 401);

        /* A new key: its tokens are good at once, and those of the old one are no more. */
        world_new_key(&w);
        fresh = world_token(&w, "newt", "editor", 600);
        snprintf(fields, sizeof(fields), "Authorization: Bearer %s\r\n", fresh);
        nanosleep(&(struct timespec){ .tv_nsec = 150000000 }, NULL); /* the limit on looking at the file */
        ASSERT_EQ(public_get(&w, "/editors", fields), 200);
        snprintf(fields, sizeof(fields), "Authorization: Bearer %s\r\n", editor);
        ASSERT_EQ(public_get(&w, "/editors", fields), 401);

        stop(pid);
        world_done(&w);
}

TEST(without_keys_every_token_is_refused_until_they_come) {
        _cleanup_(mam_freep) char *token = NULL;
        char fields[2048];
        TestWorld w;
        pid_t pid;

        world_init(&w);
        ASSERT_OK(unlink(w.jwks_path));
        pid = world_start(&w, 0, NULL, NULL);
        world_expect_notify(&w, "READY=1");
        token = world_token(&w, "erin", "editor", 600);
        snprintf(fields, sizeof(fields), "Authorization: Bearer %s\r\n", token);
        ASSERT_EQ(public_get(&w, "/whoami", fields), 401);
        ASSERT_OK(mam_file_write_atomic(w.jwks_path, "{\"keys\":[]}", 11, 0644));
        nanosleep(&(struct timespec){ .tv_nsec = 150000000 }, NULL);
        ASSERT_EQ(public_get(&w, "/whoami", fields), 401);

        world_new_key(&w);
        free(token);
        token = world_token(&w, "erin", "editor", 600);
        snprintf(fields, sizeof(fields), "Authorization: Bearer %s\r\n", token);
        nanosleep(&(struct timespec){ .tv_nsec = 150000000 }, NULL);
        ASSERT_EQ(public_get(&w, "/whoami", fields), 200);
        ASSERT_STREQ(body(), "erin editor");
        stop(pid);
        world_done(&w);
}

/* What user would be answered on the replica socket, as a process of that user. */
static int replica_get_as(TestWorld *w, uid_t uid, const char *path, const char *fields) {
        int fd[2], status, got;
        pid_t pid;

        ASSERT_OK(pipe(fd));
        pid = fork();
        ASSERT_OK(pid);
        if (pid == 0) {
                if (setresuid(uid, uid, uid) < 0)
                        _exit(1);
                got = client_request_unix(w->replica_path, "GET", path, fields, answer, sizeof(answer));
                _exit(write(fd[1], &got, sizeof(got)) == sizeof(got) &&
                                                      write(fd[1], answer, strlen(answer)) ==
                                                                      (ssize_t) strlen(answer)
                                      ? 0
                                      : 1);
        }
        close(fd[1]);
        ASSERT_EQ(read(fd[0], &got, sizeof(got)), sizeof(got));
        memset(answer, 0, sizeof(answer));
        for (size_t n = 0; n < sizeof(answer) - 1;) {
                ssize_t k = read(fd[0], answer + n, sizeof(answer) - 1 - n);

                ASSERT_OK(k);
                if (k == 0)
                        break;
                n += (size_t) k;
        }
        close(fd[0]);
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_EQ(status, 0);
        return got;
}

#define CLAIM "Mam-Subject: mallory\r\nMam-Roles: admin, editor\r\n"

TEST(the_gateway_is_known_by_its_uid_and_nobody_else_is) {
        const struct passwd *nobody, *daemon;
        uid_t gateway, other;
        TestWorld w;
        pid_t pid;

        if (geteuid() != 0)
                mam_test_skip("needs root, to be two users");
        nobody = getpwnam("nobody");
        ASSERT_TRUE(nobody);
        gateway = nobody->pw_uid;
        daemon = getpwnam("daemon");
        ASSERT_TRUE(daemon);
        other = daemon->pw_uid;

        world_init(&w);
        pid = world_start(&w, 0, (const char *[]){ "MAM_GATEWAY_USER=nobody", NULL }, NULL);
        world_expect_notify(&w, "READY=1");
        ASSERT_EQ(replica_get_as(&w, gateway, "/whoami", CLAIM), 200);
        ASSERT_STREQ(body(), "mallory admin,editor");
        ASSERT_EQ(replica_get_as(&w, gateway, "/editors", "Mam-Subject: reader\r\nMam-Roles: viewer\r\n"),
                  403);
        ASSERT_EQ(replica_get_as(&w, gateway, "/whoami", "Mam-Subject: plain\r\n"), 200);
        ASSERT_STREQ(body(), "plain");
        ASSERT_EQ(replica_get_as(&w, gateway, "/whoami", "Mam-Roles: admin\r\n"), 401);

        ASSERT_EQ(replica_get_as(&w, other, "/whoami", CLAIM), 401);
        ASSERT_EQ(replica_get_as(&w, 0, "/whoami", CLAIM), 401);
        ASSERT_EQ(public_get(&w, "/whoami", CLAIM), 401);
        ASSERT_EQ(replica_get_as(&w, other, "/open", CLAIM), 200);
        ASSERT_STREQ(body(), "nobody");
        stop(pid);

        /* Not even if somebody configures root. */
        pid = world_start(&w, 0, (const char *[]){ "MAM_GATEWAY_USER=root", NULL }, NULL);
        world_expect_notify(&w, "READY=1");
        ASSERT_EQ(replica_get_as(&w, 0, "/whoami", CLAIM), 401);
        stop(pid);
        world_done(&w);
}

TEST(readiness_follows_what_the_daemon_depends_on) {
        TestWorld w;
        pid_t pid;

        world_init(&w);
        pid = world_start(&w, 0, NULL, NULL);
        world_expect_notify(&w, "READY=1");
        ASSERT_EQ(client_request_port(w.port, "POST", "/away", "", answer, sizeof(answer)), 204);
        world_expect_notify(&w, "STATUS=Not ready: the thing is away");
        ASSERT_EQ(public_get(&w, "/ready", ""), 503);
        assert_answer_contains("the thing is away");
        ASSERT_EQ(public_get(&w, "/health", ""), 200);
        ASSERT_EQ(public_get(&w, "/metrics", ""), 200);
        assert_answer_contains("\nmam_ready 0\n");
        ASSERT_EQ(client_request_port(w.port, "DELETE", "/away", "", answer, sizeof(answer)), 204);
        world_expect_notify(&w, "STATUS=Doing fine");
        ASSERT_EQ(public_get(&w, "/ready", ""), 200);
        stop(pid);
        world_done(&w);
}

TEST(metrics_count_requests_by_pattern_not_by_path) {
        TestWorld w;
        char command[4096], path[96];
        pid_t pid;
        int status;

        world_init(&w);
        pid = world_start(&w, 0, NULL, NULL);
        world_expect_notify(&w, "READY=1");
        ASSERT_EQ(public_get(&w, "/hello/one", ""), 200);
        ASSERT_EQ(public_get(&w, "/hello/two", ""), 200);
        ASSERT_EQ(public_get(&w, "/nowhere/1", ""), 404);
        ASSERT_EQ(public_get(&w, "/nowhere/2", ""), 404);
        ASSERT_EQ(client_request_port(w.port, "BREW", "/hello/one", "", answer, sizeof(answer)), 405);
        ASSERT_EQ(public_get(&w, "/metrics", ""), 200);
        assert_answer_contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
        assert_answer_contains(
                        "\nmam_http_requests_total{method=\"GET\",route=\"/hello/{name}\",status=\"200\"} 2\n");
        assert_answer_contains(
                        "\nmam_http_requests_total{method=\"GET\",route=\"other\",status=\"404\"} 2\n");
        assert_answer_contains(
                        "\nmam_http_requests_total{method=\"other\",route=\"/hello/{name}\",status=\"405\"} 1\n");
        assert_answer_contains(
                        "\nmam_http_request_duration_seconds_count{method=\"GET\",route=\"/hello/{name}\"} 2\n");
        assert_answer_contains("\nmam_http_requests_in_flight 1\n"); /* this one */
        assert_answer_contains("\nmam_ready 1\n");

        snprintf(path, sizeof(path), "%s/listen.sock", w.folder);
        ASSERT_OK(mam_file_write_atomic(path, body(), strlen(body()), 0600));
        snprintf(command,
                 sizeof(command),
                 "/usr/bin/python3 '%s/daemons/libmam/obs/check-metrics.py' %s >/dev/null",
                 getenv("MAM_SOURCE_ROOT"),
                 path);
        status = system(command);
        ASSERT_TRUE(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77));
        stop(pid);
        world_done(&w);
}

TEST(the_watchdog_is_fed) {
        TestWorld w;
        pid_t pid;

        world_init(&w);
        pid = world_start(&w, 0, (const char *[]){ "WATCHDOG_USEC=400000", NULL }, NULL);
        world_expect_notify(&w, "WATCHDOG=1");
        world_expect_notify(&w, "WATCHDOG=1");
        world_expect_notify(&w, "WATCHDOG=1");
        stop(pid);
        world_done(&w);
}

TEST(a_failing_setup_says_so_and_exits_with_1) {
        TestWorld w;
        pid_t pid;

        world_init(&w);
        pid =
                        world_start(&w,
                                    0,
                                    (const char *[]){ "TEST_SETUP_FAIL=box", "TEST_SETUP_MSEC=60000", NULL },
                                    NULL);
        ASSERT_EQ(world_wait(pid), 1);
        world_expect_notify(&w, "STATUS=Failed: Cannot open the box");
        world_done(&w);
}

TEST(sockets_meant_for_another_process_are_not_taken) {
        TestWorld w;

        world_init(&w);
        ASSERT_EQ(world_wait(world_start(&w, WORLD_WRONG_PID, NULL, NULL)), 1);
        world_done(&w);
}

TEST(options) {
        char listen[160], path[96];
        TestWorld w;
        pid_t pid;

        world_init(&w);
        ASSERT_EQ(world_wait(world_start(&w, 0, NULL, (const char *[]){ "--version", NULL })), 0);
        ASSERT_EQ(world_wait(world_start(&w, 0, NULL, (const char *[]){ "--help", NULL })), 0);
        ASSERT_EQ(world_wait(world_start(&w, 0, NULL, (const char *[]){ "--bogus", NULL })), 2);
        ASSERT_EQ(world_wait(world_start(&w, 0, NULL, (const char *[]){ "argument", NULL })), 2);
        ASSERT_EQ(world_wait(world_start(&w, 0, NULL, (const char *[]){ "--listen=localhost:80", NULL })),
                  1);
        ASSERT_EQ(world_wait(world_start(&w, 0, NULL, (const char *[]){ "--listen=127.0.0.1:65536", NULL })),
                  1);

        snprintf(path, sizeof(path), "%s/listen.sock", w.folder);
        snprintf(listen, sizeof(listen), "--listen=%s", path);
        pid = world_start(
                        &w,
                        WORLD_NO_PUBLIC,
                        NULL,
                        (const char *[]){ listen, "--listen=[::1]:0", "--listen=127.0.0.1:0", NULL });
        world_expect_notify(&w, "READY=1");
        ASSERT_EQ(client_request_unix(path, "GET", "/hello/x", "", answer, sizeof(answer)), 200);
        stop(pid);
        world_done(&w);
}

/* ---- draining ---- */

#define CLIENTS 24

typedef struct Load {
        TestWorld *w;
        bool keep_alive;
        atomic_bool *stop;
        unsigned answered, lost, retried, seed;
} Load;

/* Sends requests until told to stop. A kept connection may be closed by the server between two requests:
 * then, and only if no byte of an answer came, the request goes over a new connection. Everything else that
 * is not 200 is lost. */
static void *load_thread(void *userdata) {
        Load *l = userdata;
        char text[4096];
        int fd = -1;

        while (!*l->stop) {
                const char *path = rand_r(&l->seed) % 4 == 0 ? "/slow" : "/hello/x";
                char request[256];
                bool reused = fd >= 0;
                int status = -1;

                snprintf(request,
                         sizeof(request),
                         "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n",
                         path,
                         l->keep_alive ? "" : "Connection: close\r\n");
                if (fd < 0)
                        fd = client_connect_port(l->w->port);
                if (fd >= 0)
                        status = client_exchange(fd, request, text, sizeof(text));
                if (status == 0 && reused) {
                        close(fd);
                        l->retried++;
                        fd = client_connect_port(l->w->port);
                        status = fd >= 0 ? client_exchange(fd, request, text, sizeof(text)) : -1;
                }
                if (status == 200)
                        l->answered++;
                else
                        l->lost++;
                if (fd >= 0 &&
                    (!l->keep_alive || status != 200 || strcasestr(text, "\r\nConnection: close\r\n"))) {
                        close(fd);
                        fd = -1;
                }
        }
        if (fd >= 0)
                close(fd);
        return NULL;
}

TEST(replicas_that_share_a_port_are_replaced_under_load_without_a_lost_request) {
        unsigned answered = 0, lost = 0, retried = 0;
        Load loads[CLIENTS] = { 0 };
        pthread_t threads[CLIENTS];
        atomic_bool stopping = false;
        TestWorld w;
        pid_t old;

        world_init(&w);
        old = world_start(&w, WORLD_NO_REPLICA, NULL, NULL);
        world_expect_notify(&w, "READY=1");
        for (unsigned i = 0; i < CLIENTS; i++) {
                loads[i] = (Load){ .w = &w, .keep_alive = i % 2 == 0, .stop = &stopping, .seed = i };
                ASSERT_EQ(pthread_create(&threads[i], NULL, load_thread, &loads[i]), 0);
        }

        for (unsigned round = 0; round < 4; round++) {
                pid_t next = world_start(&w, WORLD_NO_REPLICA, NULL, NULL);

                world_expect_notify(&w, "READY=1");
                nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
                ASSERT_OK(kill(old, SIGTERM));
                ASSERT_EQ(world_wait(old), 0);
                world_expect_notify(&w, "STOPPING=1");
                old = next;
        }
        /* and once with nobody else there: what waits in the backlog goes to the next one */
        ASSERT_OK(kill(old, SIGTERM));
        ASSERT_EQ(world_wait(old), 0);
        old = world_start(&w, WORLD_NO_REPLICA, NULL, NULL);
        nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);

        stopping = true;
        for (unsigned i = 0; i < CLIENTS; i++) {
                ASSERT_EQ(pthread_join(threads[i], NULL), 0);
                answered += loads[i].answered;
                lost += loads[i].lost;
                retried += loads[i].retried;
        }
        printf("# answered %u, lost %u, sent again on a new connection %u\n", answered, lost, retried);
        ASSERT_EQ(lost, 0);
        ASSERT_TRUE(answered > 500);
        stop(old);
        world_done(&w);
}

TEST(a_request_in_flight_is_answered_and_the_connection_closed) {
        TestWorld w;
        pid_t pid;
        int fd, idle;

        world_init(&w);
        pid = world_start(&w, 0, NULL, NULL);
        world_expect_notify(&w, "READY=1");
        idle = client_connect_port(w.port);
        fd = client_connect_port(w.port);
        ASSERT_EQ(client_exchange(fd, "GET /hello/x HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)),
                  200);
        ASSERT_EQ(send(fd, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", 31, 0), 31);
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
        ASSERT_OK(kill(pid, SIGTERM));
        ASSERT_EQ(client_exchange(fd, "", answer, sizeof(answer)), 200);
        ASSERT_STREQ(body(), "slow\n");
        assert_answer_contains("Connection: close\r\n");
        ASSERT_EQ(recv(fd, answer, sizeof(answer), 0), 0);
        ASSERT_EQ(recv(idle, answer, sizeof(answer), 0), 0);
        ASSERT_EQ(world_wait(pid), 0);
        close(fd);
        close(idle);
        world_done(&w);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libmam/auth/jwt.h"
#include "libmam/json/json.h"
#include "libmam/service/test-service-util.h"
#include "libmam/util/file.h"
#include "libmam/util/test.h"

static int listen_unix(const char *path, int type) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd;

        fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        ASSERT_OK(fd);
        ASSERT_TRUE(strlen(path) < sizeof(address.sun_path));
        strcpy(address.sun_path, path);
        ASSERT_OK(bind(fd, (struct sockaddr *) &address, sizeof(address)));
        ASSERT_OK(chmod(path, 0777));
        if (type == SOCK_STREAM)
                ASSERT_OK(listen(fd, 4096));
        return fd;
}

void world_init(TestWorld *w) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(address);
        char path[96];

        *w = (TestWorld){
                .public_fd = -1,
                .replica_fd = -1,
                .notify_fd = -1,
                .program = "daemons/libmam/service/test-service-daemon",
        };
        strcpy(w->folder, "/tmp/test-service-XXXXXX");
        ASSERT_TRUE(mkdtemp(w->folder));
        ASSERT_OK(chmod(w->folder, 0755));
        snprintf(w->replica_path, sizeof(w->replica_path), "%s/replica.sock", w->folder);
        snprintf(w->jwks_path, sizeof(w->jwks_path), "%s/jwks.json", w->folder);
        w->replica_fd = listen_unix(w->replica_path, SOCK_STREAM);
        snprintf(path, sizeof(path), "%s/notify", w->folder);
        w->notify_fd = listen_unix(path, SOCK_DGRAM);

        w->public_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(w->public_fd);
        ASSERT_OK(bind(w->public_fd, (struct sockaddr *) &address, sizeof(address)));
        ASSERT_OK(listen(w->public_fd, 4096));
        ASSERT_OK(getsockname(w->public_fd, (struct sockaddr *) &address, &size));
        w->port = ntohs(address.sin_port);
        world_new_key(w);
}

void world_done(TestWorld *w) {
        static const char *const names[] = { "replica.sock", "notify", "jwks.json", "listen.sock" };
        char path[128];

        close(w->public_fd);
        close(w->replica_fd);
        close(w->notify_fd);
        free(w->private_pem);
        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                snprintf(path, sizeof(path), "%s/%s", w->folder, names[i]);
                unlink(path);
        }
        ASSERT_OK(rmdir(w->folder));
}

void world_new_key(TestWorld *w) {
        _cleanup_(mam_freep) char *jwks = NULL;

        free(w->private_pem);
        w->private_pem = NULL;
        ASSERT_OK(mam_jwt_generate_ed25519(&w->private_pem, &jwks));
        ASSERT_OK(mam_file_write_atomic(w->jwks_path, jwks, strlen(jwks), 0644));
}

char *world_token(TestWorld *w, const char *subject, const char *roles, long expires_in) {
        _cleanup_(json_object_putp) json_object *claims = json_object_new_object();
        _cleanup_(mam_freep) char *list = strdup(roles);
        json_object *array = json_object_new_array();
        char *token = NULL, *save = NULL;

        ASSERT_TRUE(claims && list && array);
        for (char *role = strtok_r(list, ",", &save); role; role = strtok_r(NULL, ",", &save))
                ASSERT_OK(json_object_array_add(array, json_object_new_string(role)));
        ASSERT_OK(json_object_object_add(claims, "roles", array));
        ASSERT_OK(json_object_object_add(claims, "iss", json_object_new_string("mam")));
        ASSERT_OK(json_object_object_add(claims, "aud", json_object_new_string("mam")));
        ASSERT_OK(json_object_object_add(claims, "sub", json_object_new_string(subject)));
        ASSERT_OK(json_object_object_add(claims, "iat", json_object_new_int64(time(NULL) - 1000)));
        ASSERT_OK(json_object_object_add(claims, "exp", json_object_new_int64(time(NULL) + expires_in)));
        ASSERT_OK(mam_jwt_sign_ed25519(&token, w->private_pem, claims));
        return token;
}

/* In the child: sockets to 3 and on, environment, exec. */
static _Noreturn void child(
                TestWorld *w,
                unsigned flags,
                const char *const *environment,
                const char *const *arguments) {
        const char *root = getenv("MAM_BUILD_ROOT"), *names = "public:replica";
        char path[4096], text[128];
        const char *argv[16];
        int fds[2], n = 0;
        size_t n_argv = 0;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) dup2(STDERR_FILENO, STDOUT_FILENO); /* stdout is for TAP */
        if (!(flags & WORLD_NO_PUBLIC))
                fds[n++] = fcntl(w->public_fd, F_DUPFD, 10);
        if (!(flags & WORLD_NO_REPLICA))
                fds[n++] = fcntl(w->replica_fd, F_DUPFD, 10);
        if (flags & WORLD_NO_PUBLIC)
                names = "replica";
        else if (flags & WORLD_NO_REPLICA)
                names = "public";
        for (int i = 0; i < n; i++) {
                if (dup2(fds[i], 3 + i) < 0)
                        _exit(200);
                close(fds[i]);
        }

        snprintf(text, sizeof(text), "%i", n);
        setenv("LISTEN_FDS", text, 1);
        snprintf(text, sizeof(text), "%i", getpid() + (flags & WORLD_WRONG_PID ? 1 : 0));
        setenv("LISTEN_PID", text, 1);
        setenv("WATCHDOG_PID", text, 1);
        setenv("LISTEN_FDNAMES", names, 1);
        snprintf(text, sizeof(text), "%s/notify", w->folder);
        setenv("NOTIFY_SOCKET", text, 1);
        setenv("MAM_JWKS", w->jwks_path, 1);
        setenv("MAM_SERVICE", "tested", 1);
        setenv("MAM_REPLICA", "7", 1);
        for (; environment && *environment; environment++)
                putenv((char *) *environment);

        snprintf(path, sizeof(path), "%s/%s", root ? root : ".", w->program);
        argv[n_argv++] = strrchr(path, '/') + 1;
        for (; arguments && *arguments && n_argv < MAM_ELEMENTSOF(argv) - 1; arguments++)
                argv[n_argv++] = *arguments;
        argv[n_argv] = NULL;
        execv(path, (char *const *) argv);
        _exit(201);
}

pid_t world_start(
                TestWorld *w,
                unsigned flags,
                const char *const *environment,
                const char *const *arguments) {
        pid_t pid;

        fflush(NULL);
        pid = fork();
        ASSERT_OK(pid);
        if (pid == 0)
                child(w, flags, environment, arguments);
        return pid;
}

int world_wait(pid_t pid) {
        int status;

        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void world_expect_notify(TestWorld *w, const char *line) {
        for (;;) {
                struct pollfd p = { .fd = w->notify_fd, .events = POLLIN };
                char text[4096], *save = NULL;
                ssize_t n;

                if (poll(&p, 1, 10000) != 1)
                        mam_test_fail_string(__FILE__, __LINE__, "told to systemd within 10 s", line);
                n = recv(w->notify_fd, text, sizeof(text) - 1, 0);
                ASSERT_TRUE(n > 0);
                text[n] = '\0';
                for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
                        if (strcmp(l, line) == 0)
                                return;
        }
}

static int client_connect(const struct sockaddr *address, socklen_t size) {
        const struct timeval patience = { .tv_sec = 20 };
        int fd;

        fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(fd);
        ASSERT_OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
        if (connect(fd, address, size) < 0) {
                close(fd);
                return -1;
        }
        return fd;
}

int client_connect_port(unsigned port) {
        const struct sockaddr_in address = {
                .sin_family = AF_INET,
                .sin_port = htons((uint16_t) port),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };

        return client_connect((const struct sockaddr *) &address, sizeof(address));
}

int client_connect_unix(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        ASSERT_TRUE(strlen(path) < sizeof(address.sun_path));
        strcpy(address.sun_path, path);
        return client_connect((const struct sockaddr *) &address, sizeof(address));
}

/* Whether the answer in text is whole: head, and as much body as Content-Length says (none for HEAD, 204,
 * 304). */
static bool answer_is_whole(const char *text, size_t size, bool head_request) {
        const char *end = strstr(text, "\r\n\r\n"), *field;
        int status;

        if (!end || sscanf(text, "HTTP/1.1 %d", &status) != 1)
                return false;
        field = strcasestr(text, "\r\nContent-Length: ");
        if (head_request || status == 204 || status == 304)
                return true;
        if (!field || field > end) /* in chunks, of which the last is empty; or there is no body */
                return !strcasestr(text, "\r\nTransfer-Encoding: chunked") ||
                       (size > 7 && strcmp(text + size - 7, "\r\n0\r\n\r\n") == 0);
        return size >= (size_t) (end + 4 - text) + strtoul(field + 18, NULL, 10);
}

int client_exchange(int fd, const char *request, char *ret, size_t size) {
        bool head_request = strncmp(request, "HEAD ", 5) == 0;
        size_t n = 0;
        int status;

        *ret = '\0';
        if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t) strlen(request))
                return 0;
        while (!answer_is_whole(ret, n, head_request)) {
                ssize_t k = recv(fd, ret + n, size - 1 - n, 0);

                if (k <= 0)
                        return n == 0 ? 0 : -1;
                n += (size_t) k;
                ret[n] = '\0';
        }
        ASSERT_EQ(sscanf(ret, "HTTP/1.1 %d", &status), 1);
        return status;
}

static int client_request(
                int fd,
                const char *method,
                const char *path,
                const char *fields,
                char *ret,
                size_t size) {
        char request[16384];
        int status;

        if (fd < 0)
                return -2;
        snprintf(request,
                 sizeof(request),
                 "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n%s\r\n",
                 method,
                 path,
                 fields);
        status = client_exchange(fd, request, ret, size);
        close(fd);
        return status;
}

int client_request_port(
                unsigned port,
                const char *method,
                const char *path,
                const char *fields,
                char *ret,
                size_t size) {
        return client_request(client_connect_port(port), method, path, fields, ret, size);
}

int client_request_unix(
                const char *socket_path,
                const char *method,
                const char *path,
                const char *fields,
                char *ret,
                size_t size) {
        return client_request(client_connect_unix(socket_path), method, path, fields, ret, size);
}

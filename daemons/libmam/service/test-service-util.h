/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What test-service needs around the daemon it tests: systemd's side of the sockets, and a client that knows
 * nothing of libmam/http
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct TestWorld {
        char folder[64];       /* removed by world_done() */
        char replica_path[96]; /* the replica socket */
        char jwks_path[96];
        int public_fd;  /* listening, TCP on loopback */
        int replica_fd; /* listening, unix */
        int notify_fd;
        unsigned port;
        const char *program; /* borrowed; within the build folder, test-service-daemon at first */
        char *private_pem;   /* owned; the key of jwks_path */
} TestWorld;

void world_init(TestWorld *w);
void world_done(TestWorld *w);
/* Writes a new key pair: tokens signed with the old one are bad from then on. */
void world_new_key(TestWorld *w);
/* Caller frees. roles: comma-separated. expires_in: seconds. */
char *world_token(TestWorld *w, const char *subject, const char *roles, long expires_in);

/* Starts the daemon as systemd would; environment: NULL-terminated "KEY=value" in addition. Flags: what to
 * leave out. */
#define WORLD_NO_PUBLIC  (1U << 0)
#define WORLD_NO_REPLICA (1U << 1)
#define WORLD_WRONG_PID  (1U << 2)
pid_t world_start(
                TestWorld *w,
                unsigned flags,
                const char *const *environment,
                const char *const *arguments);
/* Waits for the end; the exit status, or 128 + signal. */
int world_wait(pid_t pid);
/* Waits (10 s) until systemd was told this line, such as "READY=1". */
void world_expect_notify(TestWorld *w, const char *line);

/* A blocking client. -1: no connection. */
int client_connect_port(unsigned port);
int client_connect_unix(const char *path);
/* One exchange on an open connection; the status, 0 if the connection ended before the first byte of an
 * answer, -1 if it ended within one. The whole answer is in ret (NUL-terminated). */
int client_exchange(int fd, const char *request, char *ret, size_t size);
/* Connect, one exchange with "Connection: close", close. fields: "Name: value\r\n"…, or "". */
int client_request_port(
                unsigned port,
                const char *method,
                const char *path,
                const char *fields,
                char *ret,
                size_t size);
int client_request_unix(
                const char *socket_path,
                const char *method,
                const char *path,
                const char *fields,
                char *ret,
                size_t size);

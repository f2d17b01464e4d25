/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Real servers for tests: a private PostgreSQL cluster or Redis on a unix socket in a temporary folder
 *
 * They run as an ordinary user (nobody, when the test runs as root), are ended by their pid, and die with
 * the test process whatever happens to it. The test skips with a reason where the server is not installed.
 */

#include <sys/types.h>

typedef struct MamTestServer {
        char folder[64]; /* temporary, removed by mam_test_server_done() */
        pid_t pid;       /* 0: not running */
} MamTestServer;

/* Makes the folder; bails out of the test on failure. */
void mam_test_server_init(MamTestServer *s);
/* Stops the server and removes the folder. */
void mam_test_server_done(MamTestServer *s);
/* Starts argv (without a shell) as the ordinary user; output goes to <folder>/log. Returns the pid. */
pid_t mam_test_server_spawn(MamTestServer *s, const char *const *argv);
/* The same, and waits; returns the wait status. */
int mam_test_server_run(MamTestServer *s, const char *const *argv);
/* Sends sig to the server and waits for its end. */
void mam_test_server_kill(MamTestServer *s, int sig);
/* Waits, ten seconds at most, until a unix socket accepts. */
void mam_test_server_wait_socket(const char *path);

/* The folder with initdb, postgres, pgbench; skips the test if there is none. */
const char *mam_test_postgres_bin(void);
/* initdb. Every local user is trusted: nobody else can enter the folder. */
void mam_test_postgres_init(MamTestServer *s);
/* Waits until the one with its socket in <folder> is ready, recovery included. */
void mam_test_postgres_wait(const MamTestServer *s);
/* Starts, and waits until it is ready. The socket is in <folder>. */
void mam_test_postgres_start(MamTestServer *s);

/* Starts redis-server on <folder>/redis.sock with these additional arguments (NULL-terminated, or NULL);
 * skips without it. */
void mam_test_redis_start(MamTestServer *s, const char *const *more);

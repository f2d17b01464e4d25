/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The whole manager on a bus of the test's own; the test is systemd, polkitd and the clients
 *
 * The service "alpha" (1 to 4 replicas, 2 at the start) and the gateway "gate" are probed by TCP: the test
 * listens on their ports. After sources have changed, fixture_manager_up() makes a new manager.
 */

#include "libmam/bus/bus-errors.h"
#include "manager/fake-systemd.h"
#include "manager/manager.h"

#define ALPHA(n) "mam@alpha:" #n ".service"
#define GATE     "mam@gate:1.service"
#define PORTS    5 /* alpha:1 to alpha:4, gate:1 */
#define JOBS_MAX 8

typedef struct EndedJob {
        char path[64], result[32], message[256];
} EndedJob;

typedef struct Fixture {
        TestBus bus;
        FakeSystemd systemd;
        sd_bus *polkitd, *own, *client;
        Manager *manager;
        int ports[PORTS]; /* owned */
        unsigned port;

        TestAnswers answers;
        char job[64];     /* path that the latest call was answered with */
        char report[512]; /* of Init: levels */
        EndedJob ended[JOBS_MAX];
        size_t n_ended;
        char endpoints[256]; /* alpha's, as announced last: "1=ready 2=draining" */
        bool stop_was_told;  /* before alpha's draining was announced */
} Fixture;

int fixture_listen(Fixture *f, size_t i);
void fixture_stop_listening(Fixture *f, size_t i);
void fixture_manager_up(Fixture *f);
void fixture_setup(Fixture *f);
void fixture_done(Fixture *f);
void ask(Fixture *f, const char *path, const char *interface, const char *member, const char *types, ...);
const EndedJob *ended(const Fixture *f, const char *path);
void start_alpha(Fixture *f, uint32_t replicas);
const Replica *alpha(const Fixture *f, uint32_t n);
const char *state_of_alpha(const Fixture *f);

#define ASK(f, member, ...) ask(f, MAM_BUS_PATH, MAM_IFACE_MANAGER, member, __VA_ARGS__)

/* Asks, and waits for the answer. */
#define CALL(f, member, ...)                                         \
        do {                                                         \
                unsigned _before = (f)->answers.n;                   \
                ASK(f, member, __VA_ARGS__);                         \
                RUN_UNTIL(&(f)->bus, (f)->answers.n == _before + 1); \
                ASSERT_EQ((f)->answers.n_errors, 0);                 \
        } while (0)

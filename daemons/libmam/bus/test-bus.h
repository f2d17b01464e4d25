/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A message bus of a test's own
 *
 * A dbus-daemon in a temporary folder, killed with the test, and connections to it in one event loop: the
 * test plays every peer, answers when it wants to, and never sleeps. Skips where there is no dbus-daemon.
 */

#include <sys/types.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "libmam/util/test.h"
#include "libmam/util/time.h"

typedef struct TestBus {
        sd_event *event; /* owned */
        pid_t daemon;
        char folder[64]; /* for the test's files as well: removed with all that is in it */
        char address[128];
} TestBus;

void test_bus_start(TestBus *b);
void test_bus_stop(TestBus *b);

/* A connection attached to the loop, with this well-known name if not NULL. */
sd_bus *test_bus_connect(TestBus *b, const char *name);
/* Closes it and returns NULL. */
sd_bus *test_bus_disconnect(sd_bus *bus);

/* Counts the answers that really arrive at a connection, also those that nobody waits for. */
typedef struct TestAnswers {
        unsigned n, n_errors;
        char error[128]; /* name of the latest error */
} TestAnswers;

void test_answers_count(TestAnswers *a, sd_bus *bus);

/* Sends it without waiting; the answer is for test_answers_count(). Frees m. */
void test_bus_send(sd_bus *bus, sd_bus_message *m);

/* Runs the loop until the condition holds; ten seconds without it are a failure. */
#define RUN_UNTIL(b, condition)                                                \
        do {                                                                   \
                uint64_t _end = mam_now_monotonic() + 10 * MAM_USEC_PER_SEC;   \
                while (!(condition)) {                                         \
                        ASSERT_TRUE(mam_now_monotonic() < _end);               \
                        ASSERT_OK(sd_event_run((b)->event, MAM_USEC_PER_SEC)); \
                }                                                              \
        } while (0)

/* Runs the loop until everything sent so far between these two has arrived: a call there and back. */
void test_bus_settle(TestBus *b, sd_bus *from, sd_bus *to);

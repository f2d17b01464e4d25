/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The real mamctl on a real message bus; the test plays the manager
 *
 * Each case has a dbus-daemon of its own. It says what the manager answers, runs mamctl with its output
 * caught, and looks at what a user and a program would see. $MAMCTL is the program.
 */

#include <json-c/json.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/json/json.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

#define OUTPUT_MAX 65536

typedef struct Fixture {
        sd_event *event;
        sd_bus *manager; /* NULL: no manager on this bus */
        pid_t daemon;
        char address[256];
        int play; /* what the test's manager does; the test's own */
        const char *result, *error_name, *error_message;
        const char *interrupt_at; /* Ctrl-C when this was printed; NULL: never */
        char asked_service[64];
        uint32_t asked_replicas;
        bool interactive;
        pid_t child;
        int status;
        bool exited;
        char out[OUTPUT_MAX], err[OUTPUT_MAX];
        size_t n_out, n_err;
} Fixture;

/* vtable: of the Manager1 object, with the fixture as its data; NULL: no manager. Skips the case where there
 * is no dbus-daemon. */
void fixture_setup(Fixture *f, const sd_bus_vtable *vtable);
void fixture_teardown(Fixture *f);

/* Runs mamctl with the words to its end and returns its exit status. */
int run_words(Fixture *f, const char *const *words);
#define RUN(f, ...) run_words((f), (const char *const[]){ __VA_ARGS__, NULL })

#define ASSERT_CONTAINS(text, part)                                                          \
        do {                                                                                 \
                if (!strstr((text), (part)))                                                 \
                        mam_test_fail_string(__FILE__, __LINE__, "contains " #part, (text)); \
        } while (0)

/* Standard output as one document. Caller puts it. */
json_object *parse_output(const Fixture *f);

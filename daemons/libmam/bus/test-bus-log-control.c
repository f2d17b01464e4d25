/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The log level, over the bus
 */

#include <errno.h>

#include "libmam/bus/bus-log-control.h"
#include "libmam/bus/test-bus.h"
#include "libmam/obs/log.h"
#include "libmam/util/macro.h"

#define PATH  "/org/freedesktop/LogControl1"
#define IFACE "org.freedesktop.LogControl1"

typedef struct Fixture {
        TestBus bus;
        sd_bus *own, *client;
        TestAnswers answers;
        char text[64];
} Fixture;

static void fixture_setup(Fixture *f) {
        *f = (Fixture){ .text = "" };
        test_bus_start(&f->bus);
        f->own = test_bus_connect(&f->bus, "org.manageragent.Test.Logger");
        f->client = test_bus_connect(&f->bus, NULL);
        test_answers_count(&f->answers, f->client);
        ASSERT_OK(mam_log_set_level("info"));
        ASSERT_OK(mam_log_control_export(f->own, NULL, "mam-test"));
}

static void fixture_done(Fixture *f) {
        test_bus_disconnect(f->client);
        test_bus_disconnect(f->own);
        test_bus_stop(&f->bus);
        ASSERT_OK(mam_log_set_level("info"));
}

static int on_value(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;
        const char *text;

        ASSERT_OK(sd_bus_message_read(m, "v", "s", &text));
        snprintf(f->text, sizeof(f->text), "%s", text);
        return 0; /* on to the one that counts */
}

static const char *get(Fixture *f, const char *property) {
        unsigned before = f->answers.n;

        ASSERT_OK(sd_bus_call_method_async(
                        f->client,
                        NULL,
                        "org.manageragent.Test.Logger",
                        PATH,
                        "org.freedesktop.DBus.Properties",
                        "Get",
                        on_value,
                        f,
                        "ss",
                        IFACE,
                        property));
        RUN_UNTIL(&f->bus, f->answers.n == before + 1);
        return f->text;
}

static void set(Fixture *f, const char *property, const char *value) {
        unsigned before = f->answers.n;
        sd_bus_message *m = NULL;

        f->answers.error[0] = '\0';
        ASSERT_OK(sd_bus_message_new_method_call(
                        f->client,
                        &m,
                        "org.manageragent.Test.Logger",
                        PATH,
                        "org.freedesktop.DBus.Properties",
                        "Set"));
        ASSERT_OK(sd_bus_message_append(m, "ssv", IFACE, property, "s", value));
        test_bus_send(f->client, m);
        RUN_UNTIL(&f->bus, f->answers.n == before + 1);
}

TEST(the_level_is_read_and_changed_in_the_words_of_syslog) {
        static const struct {
                const char *set, *got, *own;
        } cases[] = {
                { "debug", "debug", "debug" },    { "info", "info", "info" },
                { "notice", "notice", "notice" }, { "warning", "warning", "warn" },
                { "err", "err", "error" },        { "emerg", "err", "error" },
        };
        Fixture f;

        fixture_setup(&f);
        ASSERT_STREQ(get(&f, "LogLevel"), "info");
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                set(&f, "LogLevel", cases[i].set);
                ASSERT_EQ(f.answers.n_errors, 0);
                ASSERT_STREQ(mam_log_get_level(), cases[i].own);
                ASSERT_STREQ(get(&f, "LogLevel"), cases[i].got);
        }
        fixture_done(&f);
}

TEST(a_level_that_does_not_exist_is_refused) {
        Fixture f;

        fixture_setup(&f);
        set(&f, "LogLevel", "loud");
        ASSERT_STREQ(f.answers.error, SD_BUS_ERROR_INVALID_ARGS);
        set(&f, "LogLevel", "");
        ASSERT_STREQ(f.answers.error, SD_BUS_ERROR_INVALID_ARGS);
        ASSERT_STREQ(mam_log_get_level(), "info");
        fixture_done(&f);
}

TEST(the_target_is_told_and_cannot_be_changed) {
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(unsetenv("JOURNAL_STREAM"));
        ASSERT_STREQ(get(&f, "LogTarget"), "console");
        ASSERT_OK(setenv("JOURNAL_STREAM", "8:1", 1));
        ASSERT_STREQ(get(&f, "LogTarget"), "journal");
        ASSERT_OK(unsetenv("JOURNAL_STREAM"));
        set(&f, "LogTarget", "console");
        ASSERT_STREQ(f.answers.error, SD_BUS_ERROR_NOT_SUPPORTED);
        ASSERT_STREQ(get(&f, "SyslogIdentifier"), "mam-test");
        fixture_done(&f);
}

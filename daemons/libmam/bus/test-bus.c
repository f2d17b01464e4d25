/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A message bus of a test's own
 */

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libmam/bus/test-bus.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"

static const char bus_config[] =
                "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" "
                "\"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
                "<busconfig><type>session</type><listen>unix:path=%s/bus</listen><policy context=\"default\">"
                "<allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>"
                "</policy></busconfig>\n";

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void remove_folder(const TestBus *b) {
        (void) nftw(b->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void daemon_start(TestBus *b) {
        char path[96], text[1024], argument[128], byte;
        int p[2];

        (void) snprintf(path, sizeof(path), "%s/bus.conf", b->folder);
        (void) snprintf(text, sizeof(text), bus_config, b->folder);
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0600));
        (void) snprintf(argument, sizeof(argument), "--config-file=%s", path);

        ASSERT_OK(pipe2(p, O_CLOEXEC));
        b->daemon = fork();
        ASSERT_OK(b->daemon);
        if (b->daemon == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed check must not leave it behind */
                (void) dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
                (void) dup2(p[1], 3);
                (void) close_range(4, ~0U, 0);
                execlp("dbus-daemon", "dbus-daemon", "--nofork", "--print-address=3", argument, NULL);
                _exit(127);
        }
        close(p[1]);
        /* It prints its address when it listens; without one it is not there. */
        if (read(p[0], &byte, 1) != 1) {
                close(p[0]);
                (void) waitpid(b->daemon, NULL, 0);
                remove_folder(b);
                mam_test_skip("no dbus-daemon");
        }
        close(p[0]);
}

void test_bus_start(TestBus *b) {
        *b = (TestBus){ .folder = "/tmp/mam-test-bus-XXXXXX" };
        ASSERT_TRUE(mkdtemp(b->folder));
        (void) snprintf(b->address, sizeof(b->address), "unix:path=%s/bus", b->folder);
        daemon_start(b);
        ASSERT_OK(sd_event_new(&b->event));
}

void test_bus_stop(TestBus *b) {
        b->event = sd_event_unref(b->event);
        ASSERT_OK(kill(b->daemon, SIGKILL));
        ASSERT_EQ(waitpid(b->daemon, NULL, 0), b->daemon);
        remove_folder(b);
}

sd_bus *test_bus_connect(TestBus *b, const char *name) {
        sd_bus *bus = NULL;

        ASSERT_OK(sd_bus_new(&bus));
        ASSERT_OK(sd_bus_set_address(bus, b->address));
        ASSERT_OK(sd_bus_set_bus_client(bus, true));
        ASSERT_OK(sd_bus_start(bus));
        if (name)
                ASSERT_OK(sd_bus_request_name(bus, name, 0));
        ASSERT_OK(sd_bus_attach_event(bus, b->event, SD_EVENT_PRIORITY_NORMAL));
        return bus;
}

sd_bus *test_bus_disconnect(sd_bus *bus) {
        return sd_bus_flush_close_unref(bus);
}

static int on_any_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        TestAnswers *a = userdata;

        if (sd_bus_message_is_method_error(m, NULL)) {
                a->n++;
                a->n_errors++;
                snprintf(a->error, sizeof(a->error), "%s", sd_bus_message_get_error(m)->name);
        } else if (sd_bus_message_is_signal(m, NULL, NULL) == 0 &&
                   sd_bus_message_is_method_call(m, NULL, NULL) == 0)
                a->n++;
        return 0;
}

void test_answers_count(TestAnswers *a, sd_bus *bus) {
        *a = (TestAnswers){ .n = 0 };
        ASSERT_OK(sd_bus_add_filter(bus, NULL, on_any_message, a));
}

void test_bus_send(sd_bus *bus, sd_bus_message *m) {
        uint64_t cookie;

        ASSERT_OK(sd_bus_send(bus, m, &cookie)); /* with a cookie: an answer is wanted */
        sd_bus_message_unref(m);
}

static int on_pong(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        *(unsigned *) userdata += 1;
        return 1;
}

void test_bus_settle(TestBus *b, sd_bus *from, sd_bus *to) {
        const char *name = NULL;
        unsigned pongs = 0;

        ASSERT_OK(sd_bus_get_unique_name(to, &name));
        ASSERT_OK(sd_bus_call_method_async(
                        from,
                        NULL,
                        name,
                        "/",
                        "org.freedesktop.DBus.Peer",
                        "Ping",
                        on_pong,
                        &pongs,
                        NULL));
        RUN_UNTIL(b, pongs == 1);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What bench-manager times on the bus, without the start of a process in the figure
 *
 * job METHOD SERVICE [REPLICAS]: a method of the manager that makes a job; until its JobRemoved
 * start UNIT…: StartUnit for all of them at once; until the last JobRemoved of systemd
 * kill SERVICE:N: SIGKILL to the replica's main process, until its unit is active with another one
 * status SERVICE SECONDS DEPTH: Status calls, DEPTH of them under way at any time
 * resize SERVICE CPU VALUE FILE…: SetLimits, until it is answered and every file begins with VALUE
 *
 * Prints one JSON object; durations in microseconds of CLOCK_MONOTONIC. Exit status 1 and a message if it
 * did not work.
 */

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "libmam/config/config.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

#define MANAGER            "org.manageragent.Manager1"
#define MANAGER_PATH       "/org/manageragent/Manager1"
#define SYSTEMD            "org.freedesktop.systemd1"
#define SYSTEMD_PATH       "/org/freedesktop/systemd1"
#define SYSTEMD_UNIT       SYSTEMD ".Unit"
#define DEADLINE_USEC      (120 * MAM_USEC_PER_SEC)
#define UNITS_MAX          256
#define STATUS_DEPTH_MAX   64UL /* the bus allows 128 pending replies per connection */
#define STATUS_SECONDS_MAX 600UL

typedef struct Bench {
        sd_bus *bus;        /* owned */
        uint64_t started;   /* monotonic */
        uint64_t done_usec; /* after started; 0: not done */
        int error;          /* negative: found in a callback */

        const char *jobs[UNITS_MAX]; /* owned; the jobs of systemd waited for */
        size_t n_jobs, n_left;
        const char *job; /* borrowed; the manager's job waited for */

        uint32_t old_pid, pid;
        bool active;

        uint64_t until, n_calls; /* status */
        unsigned pending;
        const char *service; /* borrowed */
} Bench;

static void bench_done(Bench *b) {
        for (size_t i = 0; i < b->n_jobs; i++)
                free((void *) b->jobs[i]);
        sd_bus_flush_close_unref(b->bus);
}

static int fail(const char *what, int error, const sd_bus_error *e) {
        fprintf(stderr, "bench-bus: %s: %s\n", what, e && e->message ? e->message : strerror(-error));
        return error;
}

/* Runs the bus until the condition that the callbacks watch is met. */
static int run(Bench *b) {
        uint64_t deadline = mam_now_monotonic() + DEADLINE_USEC, now;
        int r;

        while (b->done_usec == 0) {
                if (b->error < 0)
                        return b->error;
                r = sd_bus_process(b->bus, NULL);
                if (r < 0)
                        return r;
                if (r > 0)
                        continue;

                now = mam_now_monotonic();
                if (now >= deadline)
                        return -ETIMEDOUT;
                r = sd_bus_wait(b->bus, deadline - now);
                if (r < 0 && r != -EINTR)
                        return r;
        }
        return 0;
}

static int on_manager_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bench *b = userdata;
        const char *job, *service, *result, *message;
        int r;

        assert(b);

        r = sd_bus_message_read(m, "osss", &job, &service, &result, &message);
        if (r < 0)
                return b->error = r;
        if (!b->job || strcmp(job, b->job) != 0)
                return 0;

        b->done_usec = mam_now_monotonic() - b->started;
        if (strcmp(result, "done") != 0) {
                fprintf(stderr, "bench-bus: job of %s: %s: %s\n", service, result, message);
                b->error = -EIO;
        }
        return 0;
}

/* Scale SERVICE REPLICAS, Start SERVICE, Stop SERVICE, Restart SERVICE. */
static int bench_job(Bench *b, char **argv) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
        uint64_t replied;
        int r;

        /* The signal may come before the reply: it waits in the queue until run() looks at it. */
        r = sd_bus_match_signal(
                        b->bus,
                        NULL,
                        MANAGER,
                        MANAGER_PATH,
                        MANAGER,
                        "JobRemoved",
                        on_manager_job_removed,
                        b);
        if (r < 0)
                return fail("JobRemoved", r, NULL);
        r = sd_bus_message_new_method_call(b->bus, &call, MANAGER, MANAGER_PATH, MANAGER, argv[0]);
        if (r < 0)
                return r;
        r = argv[2] ? sd_bus_message_append(
                                      call,
                                      "sut",
                                      argv[1],
                                      (uint32_t) strtoul(argv[2], NULL, 10),
                                      UINT64_C(0))
                    : sd_bus_message_append(call, "st", argv[1], UINT64_C(0));
        if (r < 0)
                return r;

        b->started = mam_now_monotonic();
        r = sd_bus_call(b->bus, call, DEADLINE_USEC, &error, &reply);
        if (r < 0)
                return fail(argv[0], r, &error);
        replied = mam_now_monotonic() - b->started;
        r = sd_bus_message_read(reply, "o", &b->job);
        if (r < 0)
                return r;

        r = run(b);
        if (r < 0 || b->error < 0)
                return fail(argv[0], r < 0 ? r : b->error, NULL);
        printf("{\"replied_us\": %" PRIu64 ", \"done_us\": %" PRIu64 "}\n", replied, b->done_usec);
        return 0;
}

static int on_systemd_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bench *b = userdata;
        const char *job, *unit, *result;
        uint32_t id;
        int r;

        assert(b);

        r = sd_bus_message_read(m, "uoss", &id, &job, &unit, &result);
        if (r < 0)
                return b->error = r;

        for (size_t i = 0; i < b->n_jobs; i++) {
                if (b->jobs[i] && strcmp(b->jobs[i], job) == 0) {
                        free((void *) MAM_TAKE(b->jobs[i]));
                        b->n_left--;
                        if (strcmp(result, "done") != 0) {
                                fprintf(stderr, "bench-bus: %s: %s\n", unit, result);
                                b->error = -EIO;
                        }
                }
        }
        if (b->n_left == 0)
                b->done_usec = mam_now_monotonic() - b->started;
        return 0;
}

static int on_start_unit_reply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bench *b = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);
        const char *job;
        int r;

        assert(b);

        if (e)
                return b->error = fail("StartUnit", -EIO, e);
        r = sd_bus_message_read(m, "o", &job);
        if (r < 0)
                return b->error = r;

        b->jobs[b->n_jobs] = strdup(job);
        if (!b->jobs[b->n_jobs])
                return b->error = -ENOMEM;
        b->n_jobs++;
        return 0;
}

static int subscribe(Bench *b) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call_method(
                        b->bus,
                        SYSTEMD,
                        SYSTEMD_PATH,
                        SYSTEMD ".Manager",
                        "Subscribe",
                        &error,
                        NULL,
                        NULL);
        if (r < 0)
                return fail("Subscribe", r, &error);
        return 0;
}

/* Signals and replies come in the order in which systemd sent them, and a job's reply goes out before its
 * end. */
static int bench_start(Bench *b, char **argv) {
        size_t n = 0;
        int r;

        r = subscribe(b);
        if (r < 0)
                return r;
        r = sd_bus_match_signal(
                        b->bus,
                        NULL,
                        SYSTEMD,
                        SYSTEMD_PATH,
                        SYSTEMD ".Manager",
                        "JobRemoved",
                        on_systemd_job_removed,
                        b);
        if (r < 0)
                return fail("JobRemoved", r, NULL);

        b->started = mam_now_monotonic();
        for (; argv[n]; n++) {
                if (n >= UNITS_MAX)
                        return fail("too many units", -E2BIG, NULL);
                r = sd_bus_call_method_async(
                                b->bus,
                                NULL,
                                SYSTEMD,
                                SYSTEMD_PATH,
                                SYSTEMD ".Manager",
                                "StartUnit",
                                on_start_unit_reply,
                                b,
                                "ss",
                                argv[n],
                                "replace");
                if (r < 0)
                        return fail(argv[n], r, NULL);
                b->n_left++;
        }

        r = run(b);
        if (r < 0 || b->error < 0)
                return fail("start", r < 0 ? r : b->error, NULL);
        printf("{\"units\": %zu, \"done_us\": %" PRIu64 "}\n", n, b->done_usec);
        return 0;
}

/* Reads what this is about out of the properties of any interface of the unit. */
static int read_unit_properties(Bench *b, sd_bus_message *m) {
        const char *name, *state;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &name);
                if (r < 0)
                        return r;
                if (strcmp(name, "ActiveState") == 0) {
                        r = sd_bus_message_read(m, "v", "s", &state);
                        if (r >= 0)
                                b->active = strcmp(state, "active") == 0;
                } else if (strcmp(name, "MainPID") == 0)
                        r = sd_bus_message_read(m, "v", "u", &b->pid);
                else
                        r = sd_bus_message_skip(m, "v");
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r;
}

static int on_unit_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bench *b = userdata;
        const char *interface;
        int r;

        assert(b);

        r = sd_bus_message_read(m, "s", &interface);
        if (r < 0)
                return b->error = r;
        r = read_unit_properties(b, m);
        if (r < 0)
                return b->error = r;

        if (b->started > 0 && b->done_usec == 0 && b->active && b->pid != 0 && b->pid != b->old_pid)
                b->done_usec = mam_now_monotonic() - b->started;
        return 0;
}

static int bench_kill(Bench *b, char **argv) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(mam_freep) char *path = NULL;
        char unit[MAM_UNIT_NAME_MAX];
        int r;

        r = snprintf(unit, sizeof(unit), "mam@%s.service", argv[0]);
        if (r < 0 || (size_t) r >= sizeof(unit))
                return -ENAMETOOLONG;
        r = sd_bus_path_encode(SYSTEMD_PATH "/unit", unit, &path);
        if (r < 0)
                return r;
        r = subscribe(b);
        if (r < 0)
                return r;
        r = sd_bus_match_signal(
                        b->bus,
                        NULL,
                        SYSTEMD,
                        path,
                        "org.freedesktop.DBus.Properties",
                        "PropertiesChanged",
                        on_unit_changed,
                        b);
        if (r < 0)
                return fail("PropertiesChanged", r, NULL);
        r = sd_bus_get_property_trivial(
                        b->bus,
                        SYSTEMD,
                        path,
                        SYSTEMD ".Service",
                        "MainPID",
                        &error,
                        'u',
                        &b->old_pid);
        if (r < 0)
                return fail(unit, r, &error);
        if (b->old_pid <= 1)
                return fail("replica does not run", -ESRCH, NULL);

        b->started = mam_now_monotonic();
        if (kill((pid_t) b->old_pid, SIGKILL) < 0)
                return fail("kill", -errno, NULL);
        r = run(b);
        if (r < 0)
                return fail(unit, r, NULL);
        printf("{\"done_us\": %" PRIu64 "}\n", b->done_usec);
        return 0;
}

static int status_call(Bench *b);

/* As long as there is time, each answer is followed by the next question. */
static int on_status_reply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bench *b = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);
        uint64_t now = mam_now_monotonic();

        assert(b);

        if (e)
                return b->error = fail("Status", -EIO, e);
        b->pending--;
        b->n_calls++;
        if (now < b->until) {
                b->error = status_call(b);
                return b->error;
        }
        if (b->pending == 0)
                b->done_usec = now - b->started;
        return 0;
}

static int status_call(Bench *b) {
        int r;

        r = sd_bus_call_method_async(
                        b->bus,
                        NULL,
                        MANAGER,
                        MANAGER_PATH,
                        MANAGER,
                        "Status",
                        on_status_reply,
                        b,
                        "s",
                        b->service);
        if (r < 0)
                return r;
        b->pending++;
        return 0;
}

static int bench_status(Bench *b, char **argv) {
        unsigned long seconds = strtoul(argv[1], NULL, 10), depth = strtoul(argv[2], NULL, 10);
        int r;

        if (seconds == 0 || seconds > STATUS_SECONDS_MAX || depth == 0 || depth > STATUS_DEPTH_MAX)
                return fail("SECONDS or DEPTH", -ERANGE, NULL);

        b->service = argv[0];
        b->started = mam_now_monotonic();
        b->until = b->started + seconds * MAM_USEC_PER_SEC;
        for (unsigned long i = 0; i < depth; i++) {
                r = status_call(b);
                if (r < 0)
                        return fail("Status", r, NULL);
        }
        r = run(b);
        if (r < 0)
                return fail("Status", r, NULL);
        printf("{\"calls\": %" PRIu64 ", \"done_us\": %" PRIu64 "}\n", b->n_calls, b->done_usec);
        return 0;
}

static bool file_begins_with(const char *path, const char *value) {
        _cleanup_(mam_freep) char *text = NULL;

        return mam_file_read(&text, NULL, path, 4096) >= 0 && strncmp(text, value, strlen(value)) == 0;
}

static int bench_resize(Bench *b, char **argv) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        uint64_t replied;
        int r;

        for (size_t i = 3; argv[i]; i++) {
                if (file_begins_with(argv[i], argv[2]))
                        return fail("it has that limit already", -EALREADY, NULL);
        }
        b->started = mam_now_monotonic();
        r = sd_bus_call_method(
                        b->bus,
                        MANAGER,
                        MANAGER_PATH,
                        MANAGER,
                        "SetLimits",
                        &error,
                        NULL,
                        "ssst",
                        argv[0],
                        argv[1],
                        "",
                        UINT64_C(0));
        if (r < 0)
                return fail("SetLimits", r, &error);
        replied = mam_now_monotonic() - b->started;
        for (size_t i = 3; argv[i]; i++) {
                while (!file_begins_with(argv[i], argv[2])) {
                        if (mam_now_monotonic() - b->started > DEADLINE_USEC)
                                return fail(argv[i], -ETIMEDOUT, NULL);
                        (void) usleep(100);
                }
        }
        b->done_usec = mam_now_monotonic() - b->started;
        printf("{\"replied_us\": %" PRIu64 ", \"done_us\": %" PRIu64 "}\n", replied, b->done_usec);
        return 0;
}

static const struct {
        const char *name;
        int n_min, n_max; /* arguments after it */
        int (*run)(Bench *b, char **argv);
} commands[] = {
        { "job", 2, 3, bench_job },
        { "start", 1, UNITS_MAX, bench_start },
        { "kill", 1, 1, bench_kill },
        { "status", 3, 3, bench_status },
        { "resize", 4, UNITS_MAX, bench_resize },
};

int main(int argc, char **argv) {
        _cleanup_(bench_done) Bench b = { 0 };
        int r;

        for (size_t i = 0; argc >= 2 && i < MAM_ELEMENTSOF(commands); i++) {
                if (strcmp(argv[1], commands[i].name) != 0 || argc - 2 < commands[i].n_min ||
                    argc - 2 > commands[i].n_max)
                        continue;

                r = sd_bus_open_system(&b.bus);
                if (r < 0)
                        return fail("system bus", r, NULL), EXIT_FAILURE;
                return commands[i].run(&b, argv + 2) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        }
        fprintf(stderr,
                "usage: bench-bus job METHOD SERVICE [REPLICAS] | start UNIT… | kill SERVICE:N | status SERVICE SECONDS DEPTH | resize SERVICE CPU VALUE FILE…\n");
        return 2;
}

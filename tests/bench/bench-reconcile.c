/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The manager with a thousand replicas, without a thousand processes
 *
 * The whole manager of mam-manager, on a message bus of its own. A child plays systemd: ten services of a
 * hundred units each that are active, and for each a port that accepts, so that probes succeed. When all are
 * ready, passes are timed:
 *   idle    nothing has changed
 *   change  one replica changed its state: what a signal of systemd brings
 *   all     every replica changed
 * Prints one JSON object: medians in microseconds, and the resident memory of the manager alone. It is made
 * with the test harness, so TAP stands around it.
 */

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <utlist.h>

#include "libmam/bus/test-bus.h"
#include "libmam/obs/log.h"
#include "libmam/util/buffer.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "manager/manager.h"

#define SERVICES   10U
#define REPLICAS   100U
#define PORT_FIRST 20000U
#define PASSES     200U
#define READY_USEC (120 * MAM_USEC_PER_SEC)
#define REST_USEC  (3 * MAM_USEC_PER_SEC)

#define SYSTEMD "org.freedesktop.systemd1"
#define PATH    "/org/freedesktop/systemd1"

/* ---- systemd, in a process of its own ---- */

static int method_subscribe(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(m, NULL);
}

static int method_list(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        char unit[64];

        ASSERT_OK(sd_bus_message_new_method_return(m, &reply));
        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "(ssssssouso)"));
        for (unsigned i = 0; i < SERVICES * REPLICAS; i++) {
                _cleanup_(mam_freep) char *path = NULL;

                snprintf(unit, sizeof(unit), "mam@s%u:%u.service", i / REPLICAS, i % REPLICAS + 1);
                ASSERT_OK(sd_bus_path_encode(PATH "/unit", unit, &path));
                ASSERT_OK(sd_bus_message_append(
                                reply,
                                "(ssssssouso)",
                                unit,
                                "",
                                "loaded",
                                "active",
                                "running",
                                "",
                                path,
                                0U,
                                "",
                                "/"));
        }
        ASSERT_OK(sd_bus_message_close_container(reply));
        ASSERT_OK(sd_bus_send(NULL, reply, NULL));
        return 1;
}

static int property_get(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        _cleanup_(mam_freep) char *unit = NULL;
        char group[128];

        if (sd_bus_path_decode(path, PATH "/unit", &unit) <= 0)
                return -ENOENT;
        if (strcmp(property, "Id") == 0)
                return sd_bus_message_append(reply, "s", unit);
        if (strcmp(property, "ActiveState") == 0)
                return sd_bus_message_append(reply, "s", "active");
        if (strcmp(property, "SubState") == 0)
                return sd_bus_message_append(reply, "s", "running");
        if (strcmp(property, "Job") == 0)
                return sd_bus_message_append(reply, "(uo)", 0U, "/");
        if (strcmp(property, "MainPID") == 0)
                return sd_bus_message_append(reply, "u", (uint32_t) getpid());
        if (strcmp(property, "NRestarts") == 0)
                return sd_bus_message_append(reply, "u", 0U);
        if (strcmp(property, "Result") == 0)
                return sd_bus_message_append(reply, "s", "success");
        snprintf(group, sizeof(group), "/mam.slice/mam-s.slice/%s", unit);
        return sd_bus_message_append(reply, "s", group);
}

static int find_unit(
                sd_bus *bus,
                const char *path,
                const char *interface,
                void *userdata,
                void **ret_found,
                sd_bus_error *error) {
        *ret_found = userdata;
        return 1;
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Subscribe", NULL, NULL, method_subscribe, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListUnitsByPatterns",
                      "asas",
                      "a(ssssssouso)",
                      method_list,
                      SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static const sd_bus_vtable unit_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "s", property_get, 0, 0),
        SD_BUS_PROPERTY("ActiveState", "s", property_get, 0, 0),
        SD_BUS_PROPERTY("SubState", "s", property_get, 0, 0),
        SD_BUS_PROPERTY("Job", "(uo)", property_get, 0, 0),
        SD_BUS_VTABLE_END,
};

static const sd_bus_vtable service_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("MainPID", "u", property_get, 0, 0),
        SD_BUS_PROPERTY("NRestarts", "u", property_get, 0, 0),
        SD_BUS_PROPERTY("Result", "s", property_get, 0, 0),
        SD_BUS_PROPERTY("ControlGroup", "s", property_get, 0, 0),
        SD_BUS_VTABLE_END,
};

static void listen_for_probes(void) {
        for (unsigned i = 0; i < SERVICES * REPLICAS; i++) {
                struct sockaddr_in a = { .sin_family = AF_INET,
                                         .sin_port = htons((uint16_t) (PORT_FIRST + i)),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
                int fd, on = 1;

                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* open to the end of the process */
                ASSERT_OK(fd);
                ASSERT_OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
                ASSERT_OK(bind(fd, (struct sockaddr *) &a, sizeof(a)));
                ASSERT_OK(listen(fd, 64));
        }
}

static _Noreturn void play_systemd(TestBus *b, int ready) {
        struct rlimit files;
        sd_bus *bus;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        ASSERT_OK(getrlimit(RLIMIT_NOFILE, &files));
        files.rlim_cur = files.rlim_max;
        ASSERT_OK(setrlimit(RLIMIT_NOFILE, &files));
        listen_for_probes();

        ASSERT_OK(sd_event_new(&b->event)); /* the parent's is not for a child */
        bus = test_bus_connect(b, SYSTEMD);
        ASSERT_OK(sd_bus_add_object_vtable(bus, NULL, PATH, SYSTEMD ".Manager", manager_vtable, bus));
        ASSERT_OK(sd_bus_add_fallback_vtable(
                        bus,
                        NULL,
                        PATH "/unit",
                        SYSTEMD ".Unit",
                        unit_vtable,
                        find_unit,
                        bus));
        ASSERT_OK(sd_bus_add_fallback_vtable(
                        bus,
                        NULL,
                        PATH "/unit",
                        SYSTEMD ".Service",
                        service_vtable,
                        find_unit,
                        bus));
        ASSERT_EQ(write(ready, "", 1), 1);
        ASSERT_OK(sd_event_loop(b->event));
        _exit(0);
}

/* ---- the manager, in this one ---- */

static void write_config(const TestBus *b) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        char path[96];

        ASSERT_OK(mam_buffer_appendf(&text, "{"));
        for (unsigned i = 0; i < SERVICES; i++)
                ASSERT_OK(mam_buffer_appendf(
                                &text,
                                "%s\n\"s%u\": { \"port\": %u, \"replicas\": %u, \"maxReplicas\": %u,"
                                " \"exec\": [\"/bin/true\"], \"healthCheck\": { \"type\": \"tcp\" } }",
                                i > 0 ? "," : "",
                                i,
                                PORT_FIRST + i * REPLICAS,
                                REPLICAS,
                                REPLICAS));
        ASSERT_OK(mam_buffer_appendf(&text, "}\n"));
        snprintf(path, sizeof(path), "%s/services.json", b->folder);
        ASSERT_OK(mam_file_write_atomic(path, mam_buffer_bytes(&text), text.size, 0644));
        snprintf(path, sizeof(path), "%s/microservices.json", b->folder);
        ASSERT_OK(mam_file_write_atomic(path, "{}", 2, 0644));
}

static unsigned n_ready(const Manager *m) {
        const Service *s;
        unsigned n = 0;

        DL_FOREACH(m->services, s) {
                n += s->counts.ready;
        }
        return n;
}

static void run_for(TestBus *b, uint64_t usec) {
        uint64_t end = mam_now_monotonic() + usec, now;

        while ((now = mam_now_monotonic()) < end)
                ASSERT_OK(sd_event_run(b->event, end - now));
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

/* systemd says that a replica restarts, or that it runs again. */
static void change(Manager *m, unsigned i, bool runs) {
        const UnitChange c = { .fields = UNIT_FIELD_ACTIVE_STATE | UNIT_FIELD_SUB_STATE,
                               .active_state = runs ? "active" : "activating",
                               .sub_state = runs ? "running" : "auto-restart" };
        char id[32];

        snprintf(id, sizeof(id), "s%u", i / REPLICAS);
        manager_systemd_handlers.on_unit(id, i % REPLICAS + 1, &c, m);
}

/* A pass waits for nothing, so this is how long it takes, whatever else the machine does. */
static uint64_t cpu_usec(void) {
        struct timespec t;

        ASSERT_OK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t));
        return (uint64_t) t.tv_sec * MAM_USEC_PER_SEC + (uint64_t) t.tv_nsec / 1000;
}

static uint64_t median_pass(TestBus *b, Manager *m, unsigned n_changes) {
        uint64_t times[PASSES], began;

        for (unsigned i = 0; i < PASSES; i++) {
                for (unsigned k = 0; k < n_changes; k++)
                        change(m, (i / 2 * 7 + k) % (SERVICES * REPLICAS), i % 2);
                began = cpu_usec();
                manager_pass(m);
                times[i] = cpu_usec() - began;
                ASSERT_OK(sd_event_run(b->event, 0)); /* what it sent goes out */
                ASSERT_OK(sd_bus_flush(m->bus));
        }
        qsort(times, PASSES, sizeof(*times), compare);
        return times[PASSES / 2];
}

static uint64_t resident_kib(void) {
        _cleanup_(mam_freep) char *text = NULL;
        const char *p;

        ASSERT_OK(mam_file_read(&text, NULL, "/proc/self/status", 65536));
        p = strstr(text, "VmRSS:");
        ASSERT_TRUE(p);
        return strtoull(p + strlen("VmRSS:"), NULL, 10);
}

TEST(the_manager_with_a_thousand_replicas) {
        uint64_t idle, one, all, began, ready_usec, rss;
        ManagerOptions options = { 0 };
        char state[96], byte;
        pid_t child;
        TestBus bus;
        sd_bus *own;
        Manager *m;
        int p[2];

        ASSERT_OK(mam_log_set_level("error"));
        test_bus_start(&bus);
        write_config(&bus);
        ASSERT_OK(pipe(p));
        child = fork();
        ASSERT_OK(child);
        if (child == 0)
                play_systemd(&bus, p[1]);
        (void) close(p[1]);
        ASSERT_EQ(read(p[0], &byte, 1), 1);
        (void) close(p[0]);

        snprintf(state, sizeof(state), "%s/state.json", bus.folder);
        options = (ManagerOptions){ .config_dir = bus.folder,
                                    .state_path = state,
                                    .runtime_dir = bus.folder };
        own = test_bus_connect(&bus, NULL);
        began = mam_now_monotonic();
        ASSERT_OK(manager_new(&m, bus.event, own, &options));
        ASSERT_OK(manager_export(m));
        ASSERT_OK(systemd_start(m->systemd));
        while (n_ready(m) < SERVICES * REPLICAS) {
                ASSERT_TRUE(mam_now_monotonic() < began + READY_USEC);
                ASSERT_OK(sd_event_run(bus.event, MAM_USEC_PER_SEC));
        }
        ready_usec = mam_now_monotonic() - began;
        run_for(&bus, REST_USEC);
        rss = resident_kib();

        idle = median_pass(&bus, m, 0);
        one = median_pass(&bus, m, 1);
        all = median_pass(&bus, m, SERVICES * REPLICAS);
        printf("{\"replicas\": %u, \"ready_ms\": %" PRIu64 ", \"idle_us\": %" PRIu64
               ", \"change_us\": %" PRIu64 ", \"all_us\": %" PRIu64 ", \"rss_kib\": %" PRIu64 "}\n",
               SERVICES * REPLICAS,
               ready_usec / MAM_USEC_PER_MSEC,
               idle,
               one,
               all,
               rss);

        manager_free(m);
        test_bus_disconnect(own);
        ASSERT_OK(kill(child, SIGKILL));
        ASSERT_EQ(waitpid(child, NULL, 0), child);
        test_bus_stop(&bus);
}

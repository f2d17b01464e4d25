/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Endpoints over a real bus: a dbus-daemon of the test's own, and a manager played by the test
 */

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <systemd/sd-bus.h>

#include "api-gateway/endpoints-bus.h"
#include "api-gateway/test-configure.h"
#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

typedef struct Fixture {
        const char *document; /* of GetGateway; NULL: not known */
        uint64_t generation;
        unsigned n_configurations;
        char folder[64], address[160];
        pid_t daemon;
        sd_event *event;
        MamMetrics *metrics;
        Gateway *gateway;
        Upstream *u;
        EndpointsBus *bus;
        sd_bus *manager, *impostor;
        sd_bus_slot *vtable;
        unsigned n_lists, n_listed, n_changes;
        char *caller; /* unique name of the gateway */
        uint64_t revision;
        const char *state; /* of the one replica */
        bool fail;
} Fixture;

#define RUN_UNTIL(f, condition)                                                       \
        do {                                                                          \
                uint64_t _end = mam_now_monotonic() + 20 * MAM_USEC_PER_SEC;          \
                while (!(condition)) {                                                \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                      \
                        ASSERT_OK(sd_event_run((f)->event, 100 * MAM_USEC_PER_MSEC)); \
                }                                                                     \
        } while (0)

static int append_endpoints(sd_bus_message *m, const char *state) {
        return sd_bus_message_append(
                        m,
                        "a(sssus)a(su)",
                        1,
                        "x:1",
                        "/run/mam/replica/x:1.sock",
                        state,
                        (uint32_t) 100,
                        "0123456789ab",
                        strcmp(state, "ready") == 0 ? 2 : 0,
                        "0123456789ab",
                        (uint32_t) 950,
                        "ba9876543210",
                        (uint32_t) 50);
}

static int method_list_endpoints(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        sd_bus_message *reply = NULL;
        Fixture *f = userdata;
        const char *service;

        ASSERT_OK(sd_bus_message_read(m, "s", &service));
        ASSERT_STREQ(service, "x");
        f->n_lists++;
        free(f->caller);
        f->caller = strdup(sd_bus_message_get_sender(m));
        if (f->fail)
                return sd_bus_reply_method_errorf(m, MAM_BUS_ERROR_NO_SUCH_SERVICE, "not now");
        ASSERT_OK(sd_bus_message_new_method_return(m, &reply));
        ASSERT_OK(sd_bus_message_append(reply, "t", f->revision));
        ASSERT_OK(append_endpoints(reply, f->state));
        ASSERT_OK(sd_bus_send(NULL, reply, NULL));
        sd_bus_message_unref(reply);
        return 1;
}

static int method_get_gateway(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;

        f->n_configurations++;
        if (!f->document) /* a manager of an older mam */
                return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_UNKNOWN_METHOD, "unknown");
        return sd_bus_reply_method_return(m, "ts", f->generation, f->document);
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("GetGateway", "", "ts", method_get_gateway, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListEndpoints",
                      "s",
                      "ta(sssus)a(su)",
                      method_list_endpoints,
                      SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static void on_change(void *userdata) {
        Fixture *f = userdata;

        f->n_changes++;
}

static void on_listed(void *userdata) {
        Fixture *f = userdata;

        f->n_listed++;
}

static void connect_peer(Fixture *f, sd_bus **ret) {
        ASSERT_OK(sd_bus_new(ret));
        ASSERT_OK(sd_bus_set_address(*ret, f->address));
        ASSERT_OK(sd_bus_set_bus_client(*ret, true));
        ASSERT_OK(sd_bus_start(*ret));
        ASSERT_OK(sd_bus_attach_event(*ret, f->event, 0));
}

static void manager_start(Fixture *f) {
        connect_peer(f, &f->manager);
        ASSERT_OK(sd_bus_add_object_vtable(
                        f->manager,
                        &f->vtable,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        manager_vtable,
                        f));
        ASSERT_OK(sd_bus_request_name(f->manager, MAM_BUS_NAME, 0));
}

static void manager_stop(Fixture *f) {
        f->vtable = sd_bus_slot_unref(f->vtable);
        f->manager = sd_bus_flush_close_unref(f->manager);
}

static void daemon_start(Fixture *f) {
        static const char text[] =
                        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" "
                        "\"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
                        "<busconfig><type>session</type><listen>unix:path=%s/bus</listen><policy context=\"default\">"
                        "<allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/></policy>"
                        "</busconfig>\n";
        char config[128], argument[160], byte;
        FILE *file;
        int p[2];

        (void) snprintf(config, sizeof(config), "%s/bus.conf", f->folder);
        file = fopen(config, "we");
        ASSERT_TRUE(file);
        ASSERT_TRUE(fprintf(file, text, f->folder) > 0);
        ASSERT_EQ(fclose(file), 0);
        (void) snprintf(argument, sizeof(argument), "--config-file=%s", config);

        ASSERT_OK(pipe(p));
        f->daemon = fork();
        ASSERT_OK(f->daemon);
        if (f->daemon == 0) {
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
                (void) waitpid(f->daemon, NULL, 0);
                (void) unlink(config);
                (void) rmdir(f->folder);
                mam_test_skip("no dbus-daemon");
        }
        close(p[0]);
}

static void daemon_stop(Fixture *f) {
        char path[128];

        ASSERT_OK(kill(f->daemon, SIGKILL));
        ASSERT_EQ(waitpid(f->daemon, NULL, 0), f->daemon);
        (void) snprintf(path, sizeof(path), "%s/bus", f->folder);
        (void) unlink(path);
        (void) snprintf(path, sizeof(path), "%s/bus.conf", f->folder);
        (void) unlink(path);
}

static void fixture_setup(Fixture *f, bool with_daemon) {
        char folder[] = "/tmp/test-endpoints-XXXXXX";

        *f = (Fixture){ .state = "ready", .revision = 7 };
        ASSERT_TRUE(mkdtemp(folder));
        (void) snprintf(f->folder, sizeof(f->folder), "%s", folder);
        (void) snprintf(f->address, sizeof(f->address), "unix:path=%s/bus", folder);
        ASSERT_OK(setenv("DBUS_SYSTEM_BUS_ADDRESS", f->address, 1));
        ASSERT_OK(mam_log_set_level("error"));
        if (with_daemon)
                daemon_start(f);
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_metrics_new(&f->metrics));
        ASSERT_OK(gateway_new(&f->gateway, f->event, f->metrics));
        configure(f->gateway, CONFIGURE_X);
        f->u = gateway_find_upstream(f->gateway, "x");
        ASSERT_OK(endpoints_bus_new(&f->bus, f->gateway, on_change, on_listed, f));
        ASSERT_OK(endpoints_bus_add(f->bus, f->u, 3));
}

static void fixture_done(Fixture *f) {
        endpoints_bus_free(f->bus);
        manager_stop(f);
        sd_bus_flush_close_unref(f->impostor);
        gateway_free(f->gateway);
        mam_metrics_free(f->metrics);
        sd_event_unref(f->event);
        free(f->caller);
        daemon_stop(f);
        ASSERT_OK(rmdir(f->folder));
}

static void send_change(sd_bus *from, const char *to, uint64_t revision, const char *state) {
        sd_bus_message *m = NULL;

        ASSERT_OK(sd_bus_message_new_signal(from, &m, MAM_BUS_PATH, MAM_IFACE_MANAGER, "EndpointsChanged"));
        if (to)
                ASSERT_OK(sd_bus_message_set_destination(m, to));
        ASSERT_OK(sd_bus_message_append(m, "st", "x", revision));
        ASSERT_OK(append_endpoints(m, state));
        ASSERT_OK(sd_bus_send(from, m, NULL));
        sd_bus_message_unref(m);
}

TEST(lists_at_the_start_and_follows_changes) {
        Fixture f;

        fixture_setup(&f, true);
        manager_start(&f);
        ASSERT_OK(endpoints_bus_start(f.bus));
        RUN_UNTIL(&f, f.n_listed == 1);
        ASSERT_EQ(f.u->n_endpoints, 1);
        ASSERT_EQ(upstream_ready(f.u), 1);

        ASSERT_STREQ(f.u->endpoints[0]->group, "0123456789ab");
        ASSERT_EQ(f.u->split.n, 2);
        ASSERT_EQ(f.u->split.groups[1].share, 50);
        ASSERT_EQ(f.u->endpoints[0]->split_group, 0);

        send_change(f.manager, NULL, 8, "draining");
        RUN_UNTIL(&f, upstream_ready(f.u) == 0);
        ASSERT_EQ(f.u->endpoints[0]->state, ENDPOINT_DRAINING);
        ASSERT_EQ(f.u->split.n, 0);
        ASSERT_TRUE(f.u->endpoints[0]->split_group < 0);
        /* what is older than what is known, and states of a later version */
        send_change(f.manager, NULL, 8, "ready");
        send_change(f.manager, NULL, 9, "meditating");
        RUN_UNTIL(&f, f.u->endpoints[0]->state == ENDPOINT_UNREADY);
        send_change(f.manager, NULL, 10, "asleep");
        RUN_UNTIL(&f, f.u->endpoints[0]->state == ENDPOINT_ASLEEP);
        ASSERT_EQ(upstream_ready(f.u), 0);
        ASSERT_EQ(f.n_listed, 1);
        fixture_done(&f);
}

TEST(an_impostor_is_not_listened_to) {
        unsigned changes;
        Fixture f;

        fixture_setup(&f, true);
        manager_start(&f);
        ASSERT_OK(endpoints_bus_start(f.bus));
        RUN_UNTIL(&f, f.n_listed == 1);
        connect_peer(&f, &f.impostor);
        changes = f.n_changes;
        send_change(f.impostor, f.caller, 100, "unready");
        send_change(f.impostor, NULL, 100, "unready");
        ASSERT_OK(sd_bus_flush(f.impostor));
        /* the manager's next signal comes behind them, if the impostor's were delivered at all */
        for (int i = 0; i < 20; i++)
                ASSERT_OK(sd_event_run(f.event, 5000));
        ASSERT_EQ(f.n_changes, changes);
        send_change(f.manager, NULL, 8, "draining");
        RUN_UNTIL(&f, f.n_changes == changes + 1);
        ASSERT_EQ(f.u->endpoints[0]->state, ENDPOINT_DRAINING);
        fixture_done(&f);
}

TEST(survives_the_manager_and_lists_again) {
        unsigned lists;
        Fixture f;

        fixture_setup(&f, true);
        manager_start(&f);
        ASSERT_OK(endpoints_bus_start(f.bus));
        RUN_UNTIL(&f, f.n_listed == 1);
        manager_stop(&f);
        for (int i = 0; i < 20; i++)
                ASSERT_OK(sd_event_run(f.event, 5000));
        ASSERT_EQ(upstream_ready(f.u), 1); /* the last word stands */

        lists = f.n_lists;
        f.revision = 1; /* the successor counts from the beginning */
        f.state = "draining";
        manager_start(&f);
        RUN_UNTIL(&f, f.n_lists > lists && upstream_ready(f.u) == 0);
        send_change(f.manager, NULL, 2, "ready");
        RUN_UNTIL(&f, upstream_ready(f.u) == 1);
        fixture_done(&f);
}

TEST(without_a_manager_the_configuration_is_assumed) {
        Fixture f;

        fixture_setup(&f, true);
        ASSERT_OK(endpoints_bus_start(f.bus));
        RUN_UNTIL(&f, f.n_listed == 1);
        ASSERT_EQ(upstream_ready(f.u), 3);
        ASSERT_STREQ(f.u->endpoints[1]->id, "x:2");
        ASSERT_STREQ(f.u->endpoints[1]->address, "/run/mam/replica/x:2.sock");

        f.fail = true; /* an error is not an answer */
        manager_start(&f);
        RUN_UNTIL(&f, f.n_lists >= 2);
        ASSERT_EQ(upstream_ready(f.u), 3);
        f.fail = false; /* and is asked again */
        RUN_UNTIL(&f, f.u->n_endpoints == 1);
        ASSERT_EQ(f.n_listed, 1);
        fixture_done(&f);
}

TEST(survives_the_bus) {
        Fixture f;

        fixture_setup(&f, false);
        ASSERT_OK(endpoints_bus_start(f.bus)); /* no bus at all */
        RUN_UNTIL(&f, f.n_listed == 1);
        ASSERT_EQ(upstream_ready(f.u), 3);

        daemon_start(&f);
        manager_start(&f);
        RUN_UNTIL(&f, f.u->n_endpoints == 1);

        manager_stop(&f);
        daemon_stop(&f);
        for (int i = 0; i < 50; i++)
                ASSERT_OK(sd_event_run(f.event, 5000));
        ASSERT_EQ(upstream_ready(f.u), 1);
        f.revision = 1;
        f.state = "draining";
        daemon_start(&f);
        manager_start(&f);
        RUN_UNTIL(&f, upstream_ready(f.u) == 0);
        fixture_done(&f);
}

static void configuration_changed(Fixture *f, sd_bus *from, uint64_t generation, const char *document) {
        f->generation = generation;
        f->document = document;
        ASSERT_OK(sd_bus_emit_signal(
                        from,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "GatewayChanged",
                        "t",
                        generation));
}

static bool has_route(Fixture *f, const char *label) {
        return route_table_find(f->gateway->routes, label) != NULL;
}

TEST(the_configuration_is_asked_for_and_followed) {
        Fixture f;

        fixture_setup(&f, true);
        f.generation = 5;
        f.document = "{\"services\":{\"x\":{\"routes\":[\"/first\"]}}}";
        manager_start(&f);
        ASSERT_OK(endpoints_bus_start(f.bus));
        RUN_UNTIL(&f, f.n_listed == 1);
        ASSERT_EQ(f.n_configurations, 1);
        ASSERT_TRUE(has_route(&f, "/first") && !has_route(&f, "/x"));

        configuration_changed(&f, f.manager, 6, "{\"services\":{\"x\":{\"routes\":[\"/second\"]}}}");
        RUN_UNTIL(&f, has_route(&f, "/second"));
        ASSERT_TRUE(!has_route(&f, "/first"));

        /* What makes no sense changes nothing, and what comes after it is taken again. */
        configuration_changed(&f, f.manager, 7, "{\"services\":{\"x\":{\"routes\":[\"third\"]}}}");
        RUN_UNTIL(&f, f.n_configurations == 3);
        for (int i = 0; i < 20; i++)
                ASSERT_OK(sd_event_run(f.event, 5000));
        ASSERT_TRUE(has_route(&f, "/second"));
        configuration_changed(&f, f.manager, 8, "{\"services\":{}}");
        RUN_UNTIL(&f, !has_route(&f, "/second"));
        ASSERT_TRUE(!gateway_find_upstream(f.gateway, "x"));
        ASSERT_EQ(f.gateway->config->generation, 8);
        f.u = NULL;
        fixture_done(&f);
}

TEST(an_impostor_does_not_make_it_ask) {
        Fixture f;

        fixture_setup(&f, true);
        f.generation = 5;
        f.document = "{\"services\":{\"x\":{\"routes\":[\"/first\"]}}}";
        manager_start(&f);
        ASSERT_OK(endpoints_bus_start(f.bus));
        RUN_UNTIL(&f, f.n_listed == 1);
        connect_peer(&f, &f.impostor);
        configuration_changed(&f, f.impostor, 6, f.document);
        ASSERT_OK(sd_bus_flush(f.impostor));
        for (int i = 0; i < 20; i++)
                ASSERT_OK(sd_event_run(f.event, 5000));
        ASSERT_EQ(f.n_configurations, 1);
        configuration_changed(&f, f.manager, 7, f.document);
        RUN_UNTIL(&f, f.n_configurations == 2);
        fixture_done(&f);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The whole manager on a bus of the test's own
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libmam/obs/log.h"
#include "libmam/util/file.h"
#include "libmam/util/time.h"
#include "manager/manager-fixture.h"

static int on_polkitd_call(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        if (!sd_bus_message_is_method_call(m, "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization"))
                return 0;
        return sd_bus_reply_method_return(m, "(bba{ss})", 1, 0, 0);
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *service, *result, *message;
        Fixture *f = userdata;
        EndedJob *e;

        ASSERT_OK(sd_bus_message_read(m, "osss", &path, &service, &result, &message));
        ASSERT_TRUE(f->n_ended < JOBS_MAX);
        e = &f->ended[f->n_ended++];
        snprintf(e->path, sizeof(e->path), "%s", path);
        snprintf(e->result, sizeof(e->result), "%s", result);
        snprintf(e->message, sizeof(e->message), "%s", message);
        return 0;
}

static int on_endpoints(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *service, *id, *address, *state, *group;
        Fixture *f = userdata;
        size_t length = 0;
        uint64_t revision;
        uint32_t weight;

        ASSERT_OK(sd_bus_message_read(m, "st", &service, &revision));
        if (strcmp(service, "alpha") != 0)
                return 0;
        f->endpoints[0] = '\0';
        ASSERT_OK(sd_bus_message_enter_container(m, 'a', "(sssus)"));
        while (sd_bus_message_read(m, "(sssus)", &id, &address, &state, &weight, &group) > 0) {
                length += (size_t) snprintf(
                                f->endpoints + length,
                                sizeof(f->endpoints) - length,
                                "%s%s=%s",
                                length > 0 ? " " : "",
                                strchr(id, ':') + 1,
                                state);
        }
        if (strstr(f->endpoints, "2=draining"))
                f->stop_was_told = fake_told(&f->systemd, "StopUnit " ALPHA(2)) > 0;
        return 0;
}

int fixture_listen(Fixture *f, size_t i) {
        struct sockaddr_in a = { .sin_family = AF_INET,
                                 .sin_port = htons((uint16_t) (f->port + i)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int on = 1;

        f->ports[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(f->ports[i]);
        ASSERT_OK(setsockopt(f->ports[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
        if (bind(f->ports[i], (struct sockaddr *) &a, sizeof(a)) < 0)
                return -1;
        return listen(f->ports[i], 64);
}

void fixture_stop_listening(Fixture *f, size_t i) {
        mam_closep(&f->ports[i]);
        f->ports[i] = -EBADF;
}

/* Consecutive ports of loopback that accept: replica n of alpha binds port + n - 1. */
static void listen_on_ports(Fixture *f) {
        for (f->port = 21000 + (unsigned) getpid() % 5000; f->port < 32000; f->port += PORTS) {
                size_t n = 0;

                while (n < PORTS && fixture_listen(f, n) >= 0)
                        n++;
                if (n == PORTS)
                        return;
                for (size_t i = 0; i <= n; i++)
                        fixture_stop_listening(f, i);
        }
        ASSERT_TRUE(!"five free ports in a row");
}

static void write_config(Fixture *f) {
        static const char format[] =
                        "{ \"alpha\": { \"name\": \"Alpha\", \"type\": \"service\", \"port\": %u,\n"
                        "    \"replicas\": 2, \"minReplicas\": 1, \"maxReplicas\": 4, \"exec\": [\"/bin/true\"],\n"
                        "    \"healthCheck\": { \"type\": \"tcp\", \"interval\": \"1h\", \"timeout\": \"1s\" } },\n"
                        "  \"gate\": { \"name\": \"Gate\", \"type\": \"gateway\", \"port\": %u, \"replicas\": 1,\n"
                        "    \"minReplicas\": 1, \"maxReplicas\": 1, \"listen\": \"127.0.0.1\", \"exec\": [\"/bin/true\"],\n"
                        "    \"healthCheck\": { \"type\": \"tcp\" } } }\n";
        char path[96], text[1024];

        snprintf(text, sizeof(text), format, f->port, f->port + PORTS - 1);
        snprintf(path, sizeof(path), "%s/services.json", f->bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
        snprintf(path, sizeof(path), "%s/microservices.json", f->bus.folder);
        strcpy(text, "{ \"namespace\": \"test\", \"monitoring\": { \"grafana\": true } }\n");
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
}

void fixture_manager_up(Fixture *f) {
        char state[96], good[96], definitions[96];
        const ManagerOptions options = { .config_dir = f->bus.folder,
                                         .last_good_dir = good,
                                         .state_path = state,
                                         .runtime_dir = f->bus.folder,
                                         .definitions_dir = definitions };

        snprintf(state, sizeof(state), "%s/state.json", f->bus.folder);
        snprintf(good, sizeof(good), "%s/good", f->bus.folder);
        snprintf(definitions, sizeof(definitions), "%s/definitions", f->bus.folder);
        f->own = test_bus_connect(&f->bus, NULL);
        ASSERT_OK(manager_new(&f->manager, f->bus.event, f->own, &options));
        ASSERT_OK(manager_export(f->manager));
        ASSERT_OK(manager_start(f->manager));
        RUN_UNTIL(&f->bus, f->manager->ready);
}

void fixture_setup(Fixture *f) {
        sigset_t mask;

        *f = (Fixture){ .n_ended = 0 };
        ASSERT_OK(mam_log_set_level("error"));
        ASSERT_OK(sigemptyset(&mask));
        ASSERT_OK(sigaddset(&mask, SIGHUP));
        ASSERT_OK(sigprocmask(SIG_BLOCK, &mask, NULL));
        test_bus_start(&f->bus);
        listen_on_ports(f);
        write_config(f);

        fake_systemd_start(&f->systemd, &f->bus);
        f->polkitd = test_bus_connect(&f->bus, "org.freedesktop.PolicyKit1");
        ASSERT_OK(sd_bus_add_object(
                        f->polkitd,
                        NULL,
                        "/org/freedesktop/PolicyKit1/Authority",
                        on_polkitd_call,
                        f));
        f->client = test_bus_connect(&f->bus, NULL);
        ASSERT_OK(sd_bus_match_signal(
                        f->client,
                        NULL,
                        NULL,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "JobRemoved",
                        on_job_removed,
                        f));
        ASSERT_OK(sd_bus_match_signal(
                        f->client,
                        NULL,
                        NULL,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "EndpointsChanged",
                        on_endpoints,
                        f));
        test_answers_count(&f->answers, f->client);
        fixture_manager_up(f);
}

void fixture_done(Fixture *f) {
        manager_free(f->manager);
        test_bus_disconnect(f->client);
        test_bus_disconnect(f->own);
        test_bus_disconnect(f->polkitd);
        fake_systemd_stop(&f->systemd);
        for (size_t i = 0; i < PORTS; i++)
                fixture_stop_listening(f, i);
        test_bus_stop(&f->bus);
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;
        const char *text, *level;

        if (sd_bus_message_has_signature(m, "o")) {
                ASSERT_OK(sd_bus_message_read(m, "o", &text));
                snprintf(f->job, sizeof(f->job), "%s", text);
        } else if (sd_bus_message_has_signature(m, "a(ss)")) {
                size_t length = 0;

                ASSERT_OK(sd_bus_message_enter_container(m, 'a', "(ss)"));
                while (sd_bus_message_read(m, "(ss)", &level, &text) > 0) {
                        length += (size_t) snprintf(
                                        f->report + length,
                                        sizeof(f->report) - length,
                                        "%s ",
                                        level);
                }
        }
        return 0; /* on to the one that counts */
}

/* Asks without waiting. */
void ask(Fixture *f, const char *path, const char *interface, const char *member, const char *types, ...) {
        va_list ap;

        va_start(ap, types);
        ASSERT_OK(sd_bus_call_method_asyncv(
                        f->client,
                        NULL,
                        MAM_BUS_NAME,
                        path,
                        interface,
                        member,
                        on_answer,
                        f,
                        types,
                        ap));
        va_end(ap);
}

/* How the job that was begun last has ended, or NULL. */
const EndedJob *ended(const Fixture *f, const char *path) {
        for (size_t i = 0; i < f->n_ended; i++) {
                if (strcmp(f->ended[i].path, path) == 0)
                        return &f->ended[i];
        }
        return NULL;
}

void start_alpha(Fixture *f, uint32_t replicas) {
        CALL(f, "Scale", "sut", "alpha", replicas, (uint64_t) 0);
        CALL(f, "Start", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f->bus, ended(f, f->job));
        ASSERT_STREQ(ended(f, f->job)->result, "done");
}

const Replica *alpha(const Fixture *f, uint32_t n) {
        return manager_find_service(f->manager, "alpha")->replicas[n];
}

const char *state_of_alpha(const Fixture *f) {
        return manager_find_service(f->manager, "alpha")->state_text;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The registry as a whole, between a manager that the test plays on a bus of its own and real HTTP
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/bus/test-bus.h"
#include "libmam/http/http-client.h"
#include "libmam/util/file.h"
#include "registry/registry.h"

#define TOKEN "s3cret-of-the-test"

typedef struct FakeManager {
        sd_bus *bus;
        const char *name, *state; /* properties of the one service */
        uint16_t port;
        uint64_t revision;
        const char *states[3]; /* of the endpoints; NULL: none */
        unsigned n_metrics, n_listed;
} FakeManager;

typedef struct Fixture {
        TestBus bus;
        FakeManager manager;
        Registry *registry;
        char address[64];
} Fixture;

typedef struct Answer {
        MamHttpClient *client;
        MamHttpCall *call;
        unsigned status;
        unsigned long long index;
        char leader[16];
        char body[65536];
        size_t size;
        bool ended;
        int error;
} Answer;

/* ---- The manager ---- */

static int append_endpoints(sd_bus_message *m, const FakeManager *f) {
        char id[16], address[64];

        ASSERT_OK(sd_bus_message_append(m, "t", f->revision));
        ASSERT_OK(sd_bus_message_open_container(m, 'a', "(sssus)"));
        for (unsigned i = 0; i < MAM_ELEMENTSOF(f->states); i++) {
                if (!f->states[i])
                        continue;
                (void) snprintf(id, sizeof(id), "web:%u", i + 1);
                (void) snprintf(address, sizeof(address), "/run/mam/replica/%s.sock", id);
                ASSERT_OK(sd_bus_message_append(m, "(sssus)", id, address, f->states[i], 100, "r1"));
        }
        ASSERT_OK(sd_bus_message_close_container(m));
        return sd_bus_message_append(m, "a(su)", 0);
}

static int method_list_endpoints(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        FakeManager *f = userdata;

        f->n_listed++;
        ASSERT_OK(sd_bus_message_new_method_return(m, &reply));
        ASSERT_OK(append_endpoints(reply, f));
        return sd_bus_send(NULL, reply, NULL);
}

static int method_list_alerts(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(
                        m,
                        "a(sssssst)",
                        1,
                        "f1",
                        "Unhealthy",
                        "warning",
                        "web",
                        "web:2",
                        "bad",
                        (uint64_t) 7);
}

static int method_metrics(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        FakeManager *f = userdata;

        f->n_metrics++;
        return sd_bus_reply_method_return(m, "a(ssa{sd})", 1, "web", "", 1, "replicas_desired", 2.0);
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("ListEndpoints",
                      "s",
                      "ta(sssus)a(su)",
                      method_list_endpoints,
                      SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListAlerts", "", "a(sssssst)", method_list_alerts, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Metrics", "s", "a(ssa{sd})", method_metrics, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", NULL, offsetof(FakeManager, name), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

static const sd_bus_vtable service_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Name", "s", NULL, offsetof(FakeManager, name), SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("State",
                        "s",
                        NULL,
                        offsetof(FakeManager, state),
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Port", "q", NULL, offsetof(FakeManager, port), SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

static void manager_appear(Fixture *f) {
        FakeManager *m = &f->manager;

        m->bus = test_bus_connect(&f->bus, NULL);
        ASSERT_OK(sd_bus_add_object_manager(m->bus, NULL, MAM_BUS_PATH));
        ASSERT_OK(sd_bus_add_object_vtable(
                        m->bus,
                        NULL,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        manager_vtable,
                        m));
        ASSERT_OK(sd_bus_add_object_vtable(
                        m->bus,
                        NULL,
                        MAM_BUS_PATH "/service/web",
                        MAM_IFACE_SERVICE,
                        service_vtable,
                        m));
        ASSERT_OK(sd_bus_request_name(m->bus, MAM_BUS_NAME, 0));
}

static void manager_vanish(Fixture *f) {
        f->manager.bus = test_bus_disconnect(f->manager.bus);
}

static void tell_endpoints(const FakeManager *f, sd_bus *from) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        ASSERT_OK(sd_bus_message_new_signal(from, &m, MAM_BUS_PATH, MAM_IFACE_MANAGER, "EndpointsChanged"));
        ASSERT_OK(sd_bus_message_append(m, "s", "web"));
        ASSERT_OK(append_endpoints(m, f));
        ASSERT_OK(sd_bus_send(from, m, NULL));
}

/* ---- The clients ---- */

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        const MamHttpField *index = mam_http_find(head, "X-Consul-Index"),
                           *leader = mam_http_find(head, "X-Consul-KnownLeader");
        Answer *a = userdata;

        a->status = head->status;
        if (index)
                a->index = strtoull(index->value.data, NULL, 10);
        if (leader)
                (void) snprintf(a->leader,
                                sizeof(a->leader),
                                "%.*s",
                                (int) leader->value.size,
                                leader->value.data);
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Answer *a = userdata;

        ASSERT_TRUE(a->size + size < sizeof(a->body));
        memcpy(a->body + a->size, data, size);
        a->size += size;
        return 0;
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Answer *a = userdata;

        a->ended = true;
        a->error = error;
}

static void answer_done(Answer *a) {
        mam_http_call_free(a->call);
        mam_http_client_free(a->client);
}

static void begin(
                Fixture *f,
                Answer *a,
                const char *method,
                const char *target,
                const char *field,
                const char *value) {
        static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                                    .on_data = on_data,
                                                    .on_end = on_end };

        *a = (Answer){ 0 };
        ASSERT_OK(mam_http_client_new(&a->client, f->bus.event, f->address, NULL));
        ASSERT_OK(mam_http_call_new(&a->call, a->client, method, target, &callbacks, a));
        if (field)
                ASSERT_OK(mam_http_call_add_field(a->call, field, value));
        ASSERT_OK(mam_http_call_start(a->call));
}

static void finish(Fixture *f, Answer *a) {
        RUN_UNTIL(&f->bus, a->ended);
        ASSERT_OK(a->error);
}

static void get(Fixture *f, Answer *a, const char *target) {
        begin(f, a, "GET", target, "X-Consul-Token", TOKEN);
        finish(f, a);
}

static unsigned status_of(
                Fixture *f,
                const char *method,
                const char *target,
                const char *field,
                const char *value) {
        Answer a;

        begin(f, &a, method, target, field, value);
        finish(f, &a);
        answer_done(&a);
        return a.status;
}

/* ---- ---- */

static void listen_on(Fixture *f) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(in);
        int fd;

        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(fd);
        ASSERT_OK(bind(fd, (struct sockaddr *) &in, sizeof(in)));
        ASSERT_OK(listen(fd, 16));
        ASSERT_OK(getsockname(fd, (struct sockaddr *) &in, &size));
        (void) snprintf(f->address, sizeof(f->address), "127.0.0.1:%u", ntohs(in.sin_port));
        ASSERT_OK(registry_add_socket(f->registry, fd, "http"));
}

static void setup(Fixture *f) {
        char path[128];

        *f = (Fixture){ .manager = { .name = "Web",
                                     .state = "running",
                                     .port = 3001,
                                     .revision = 1,
                                     .states = { "ready", "unready" } } };
        test_bus_start(&f->bus);
        ASSERT_OK(setenv("DBUS_SYSTEM_BUS_ADDRESS", f->bus.address, true));
        ASSERT_OK(setenv("CREDENTIALS_DIRECTORY", f->bus.folder, true));
        (void) snprintf(path, sizeof(path), "%s/registry.token", f->bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, TOKEN "\n", sizeof(TOKEN), 0600));
        manager_appear(f);
        ASSERT_OK(registry_new(&f->registry, f->bus.event, "/nonexistent", NULL));
        listen_on(f);
        ASSERT_OK(registry_start(f->registry));
}

static void teardown(Fixture *f) {
        f->registry = registry_free(f->registry);
        if (f->manager.bus)
                manager_vanish(f);
        test_bus_stop(&f->bus);
}

TEST(answers_wait_for_the_manager_and_then_follow_it) {
        Fixture f;
        Answer a;

        setup(&f);
        get(&f, &a, "/v1/health/service/web");
        ASSERT_EQ(a.status, 200);
        ASSERT_TRUE(strstr(a.body, "\"web:1\"") && strstr(a.body, "\"Port\":3001"));
        ASSERT_TRUE(strstr(a.body, "\"passing\"") && strstr(a.body, "\"critical\""));
        ASSERT_TRUE(a.index > 1000000);
        ASSERT_STREQ(a.leader, "true");
        answer_done(&a);
        get(&f, &a, "/v1/catalog/service/%77eb?tag=r1");
        ASSERT_TRUE(strstr(a.body, "\"ServiceID\":\"web:2\""));
        answer_done(&a);
        teardown(&f);
}

TEST(a_blocking_query_returns_upon_a_change) {
        char target[128];
        Answer a, b;
        Fixture f;

        setup(&f);
        get(&f, &a, "/v1/health/service/web?passing");
        ASSERT_TRUE(!strstr(a.body, "web:2"));
        (void) snprintf(target,
                        sizeof(target),
                        "/v1/health/service/web?passing&index=%llu&wait=1m",
                        a.index);
        begin(&f, &b, "GET", target, "Authorization", "Bearer " TOKEN);
        RUN_UNTIL(&f.bus, f.registry->n_blocked == 1);
        ASSERT_TRUE(!b.ended);

        f.manager.states[1] = "ready";
        f.manager.revision++;
        tell_endpoints(&f.manager, f.manager.bus);
        finish(&f, &b);
        ASSERT_TRUE(strstr(b.body, "web:2"));
        ASSERT_TRUE(b.index > a.index);
        ASSERT_EQ(f.registry->n_blocked, 0);
        answer_done(&a);
        answer_done(&b);
        teardown(&f);
}

TEST(a_blocking_query_ends_with_its_wait_and_with_its_client) {
        char target[128];
        Answer a, b;
        Fixture f;

        setup(&f);
        get(&f, &a, "/v1/catalog/services?index=0&wait=1h");
        (void) snprintf(target, sizeof(target), "/v1/catalog/services?index=%llu&wait=20ms", a.index);
        begin(&f, &b, "GET", target, "X-Consul-Token", TOKEN);
        finish(&f, &b);
        ASSERT_EQ(b.status, 200);
        ASSERT_EQ(b.index, a.index);
        answer_done(&b);

        (void) snprintf(target, sizeof(target), "/v1/catalog/services?index=%llu&wait=5m", a.index);
        begin(&f, &b, "GET", target, "X-Consul-Token", TOKEN);
        RUN_UNTIL(&f.bus, f.registry->n_blocked == 1);
        answer_done(&b); /* hangs up */
        RUN_UNTIL(&f.bus, f.registry->n_blocked == 0);

        (void) snprintf(target, sizeof(target), "/v1/catalog/services?index=%llu&wait=5m", a.index + 1000);
        begin(&f, &b, "GET", target, "X-Consul-Token", TOKEN); /* from the future: told at once, to reset */
        finish(&f, &b);
        ASSERT_EQ(b.index, a.index);
        answer_done(&a);
        answer_done(&b);
        teardown(&f);
}

TEST(without_the_manager_it_tells_what_was_last) {
        unsigned long long index;
        Fixture f;
        Answer a;

        setup(&f);
        get(&f, &a, "/v1/health/service/web");
        index = a.index;
        answer_done(&a);

        manager_vanish(&f);
        RUN_UNTIL(&f.bus, !f.registry->catalog->manager_up);
        get(&f, &a, "/v1/health/service/web");
        ASSERT_EQ(a.index, index);
        ASSERT_TRUE(strstr(a.body, "web:1") && strstr(a.body, "web:2"));
        ASSERT_STREQ(a.leader, "false");
        answer_done(&a);
        get(&f, &a, "/v1/status/leader");
        ASSERT_STREQ(a.body, "\"\"");
        answer_done(&a);
        get(&f, &a, "/metrics");
        ASSERT_TRUE(strstr(a.body, "mam_manager_up 0\n"));
        answer_done(&a);

        f.manager.revision = 1; /* it counts anew */
        f.manager.states[1] = NULL;
        manager_appear(&f);
        RUN_UNTIL(&f.bus, f.registry->catalog->manager_up);
        get(&f, &a, "/v1/health/service/web");
        ASSERT_TRUE(a.index > index);
        ASSERT_TRUE(!strstr(a.body, "web:2"));
        answer_done(&a);
        teardown(&f);
}

TEST(a_manager_that_comes_back_as_it_was_changes_no_index) {
        unsigned long long index;
        Fixture f;
        Answer a;

        setup(&f);
        get(&f, &a, "/v1/health/service/web");
        index = a.index;
        answer_done(&a);
        manager_vanish(&f);
        RUN_UNTIL(&f.bus, !f.registry->catalog->manager_up);
        manager_appear(&f);
        RUN_UNTIL(&f.bus, f.registry->catalog->manager_up);
        get(&f, &a, "/v1/health/service/web");
        ASSERT_EQ(a.index, index);
        answer_done(&a);
        teardown(&f);
}

TEST(signals_of_strangers_do_not_count) {
        FakeManager liar = { .revision = 99, .states = { "ready", "ready", "ready" } };
        sd_bus *stranger;
        Fixture f;
        Answer a;

        setup(&f);
        get(&f, &a, "/v1/health/service/web");
        answer_done(&a);
        stranger = test_bus_connect(&f.bus, NULL);
        tell_endpoints(&liar, stranger);
        test_bus_settle(&f.bus, stranger, f.manager.bus);
        f.manager.port = 3002;
        ASSERT_OK(sd_bus_emit_properties_changed(
                        f.manager.bus,
                        MAM_BUS_PATH "/service/web",
                        MAM_IFACE_SERVICE,
                        "Port",
                        NULL));
        RUN_UNTIL(&f.bus, catalog_find(f.registry->catalog, "web")->port == 3002);
        get(&f, &a, "/v1/health/service/web");
        ASSERT_TRUE(!strstr(a.body, "web:3") && strstr(a.body, "\"Port\":3002"));
        answer_done(&a);
        test_bus_disconnect(stranger);
        teardown(&f);
}

TEST(scrapes_share_one_question) {
        Answer a, b;
        Fixture f;

        setup(&f);
        begin(&f, &a, "GET", "/metrics", "X-Consul-Token", TOKEN);
        begin(&f, &b, "GET", "/metrics", "X-Consul-Token", TOKEN);
        finish(&f, &a);
        finish(&f, &b);
        ASSERT_TRUE(strstr(b.body, "mam_service_replicas_desired{service=\"web\"} 2\n"));
        ASSERT_TRUE(strstr(b.body, "mam_alerts 1\n"));
        ASSERT_TRUE(strstr(b.body, "mam_manager_up 1\n"));
        answer_done(&a);
        answer_done(&b);
        get(&f, &a, "/metrics");
        answer_done(&a);
        ASSERT_EQ(f.manager.n_metrics, 1);
        teardown(&f);
}

TEST(a_token_is_needed_and_taken_in_three_places) {
        Fixture f;

        setup(&f);
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services", NULL, NULL), 403);
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services", "X-Consul-Token", "wrong"), 403);
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services", "X-Consul-Token", TOKEN "x"), 403);
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services", "X-Consul-Token", TOKEN), 200);
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services", "Authorization", "Bearer " TOKEN), 200);
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services?token=" TOKEN, NULL, NULL), 200);
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services", "Authorization", TOKEN), 200);
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services", "Authorization", "Basic " TOKEN), 403);
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services?token=", NULL, NULL), 403);
        ASSERT_EQ(status_of(&f, "GET", "/metrics", NULL, NULL), 403);
        ASSERT_EQ(status_of(&f, "GET", "/v1/metrics/replica/web/1", NULL, NULL), 403);
        ASSERT_EQ(status_of(&f, "GET", "/v1/status/leader", NULL, NULL), 200);
        ASSERT_EQ(status_of(&f, "GET", "/health", NULL, NULL), 200);
        teardown(&f);
}

static void configure(Fixture *f, const char *settings) {
        char path[128];

        (void) snprintf(path, sizeof(path), "%s/services.json", f->bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, "{}", 2, 0600));
        (void) snprintf(path, sizeof(path), "%s/microservices.json", f->bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, settings, strlen(settings), 0600));
        registry_reload(f->registry, f->bus.folder, NULL);
}

TEST(settings_open_it_and_switch_it_off) {
        Fixture f;

        setup(&f);
        configure(&f, "{\"registry\": {\"enabled\": true, \"auth\": false}}");
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services", NULL, NULL), 200);
        configure(&f, "{\"registry\": {\"enabled\": true, \"auth\": true}}");
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services", NULL, NULL), 403);
        configure(&f, "{\"registry\": {\"enabled\": false, \"auth\": false}}");
        ASSERT_EQ(status_of(&f, "GET", "/v1/catalog/services", NULL, NULL), 503);
        ASSERT_EQ(status_of(&f, "GET", "/health", NULL, NULL), 200);
        teardown(&f);
}

TEST(what_is_wrong_is_told_as_consul_does) {
        static const struct {
                const char *method, *target;
                unsigned status;
        } table[] = {
                { "PUT", "/v1/catalog/services", 405 },
                { "OPTIONS", "/v1/catalog/services", 200 },
                { "HEAD", "/v1/catalog/services", 200 },
                { "GET", "/v1/catalog/service", 404 },
                { "GET", "/v1/catalog/service/", 404 },
                { "GET", "/v1/kv/a", 404 },
                { "GET", "/v1/a/b/c/d/e/f/g/h/i/j", 404 },
                { "GET", "/v1/catalog/service/%zz", 400 },
                { "GET", "/v1/catalog/service/web?index=x", 400 },
                { "GET", "/v1/catalog/service/web?index=-1", 400 },
                { "GET", "/v1/catalog/service/web?wait=5", 400 },
                { "GET", "/v1/catalog/service/web?dc=elsewhere", 500 },
                { "GET", "/v1/catalog/service/web?filter=a==b", 400 },
                { "GET", "/v1/health/service/web?passing=perhaps", 400 },
                { "GET", "/v1/catalog/service/we%2fb", 200 },
                { "GET", "/v1/catalog/service/none?index=18446744073709551615", 200 },
                { "GET", "/v1/metrics/replica/web/1", 404 }, /* nothing says that it serves metrics */
        };
        Fixture f;

        setup(&f);
        for (size_t i = 0; i < MAM_ELEMENTSOF(table); i++)
                ASSERT_EQ(status_of(&f, table[i].method, table[i].target, "X-Consul-Token", TOKEN),
                          table[i].status);
        teardown(&f);
}

TEST(stopping_answers_who_waits) {
        char target[128];
        Answer a, b;
        Fixture f;

        setup(&f);
        get(&f, &a, "/v1/catalog/services");
        (void) snprintf(target, sizeof(target), "/v1/catalog/services?index=%llu", a.index);
        begin(&f, &b, "GET", target, "X-Consul-Token", TOKEN);
        RUN_UNTIL(&f.bus, f.registry->n_blocked == 1);
        registry_release_blocked(f.registry); /* as registry_stop() does first */
        finish(&f, &b);
        ASSERT_EQ(b.status, 200);
        answer_done(&a);
        answer_done(&b);
        teardown(&f);
}

/* ---- DNS over its sockets ---- */

static int dns_socket(Fixture *f, int type) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(in);
        int fd, client;

        fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
        ASSERT_OK(fd);
        ASSERT_OK(bind(fd, (struct sockaddr *) &in, sizeof(in)));
        if (type == SOCK_STREAM)
                ASSERT_OK(listen(fd, 16));
        ASSERT_OK(getsockname(fd, (struct sockaddr *) &in, &size));
        ASSERT_OK(registry_add_socket(f->registry, fd, "dns"));
        client = socket(AF_INET, type | SOCK_CLOEXEC, 0);
        ASSERT_OK(client);
        ASSERT_OK(connect(client, (struct sockaddr *) &in, sizeof(in)));
        return client;
}

/* web.service.mam SRV, with its length before it. */
static const char dns_query[] = "\0\041\x12\x34\1\0\0\1\0\0\0\0\0\0\3web\7service\3mam\0\0\41\0\1";
#define DNS_QUERY_SIZE (sizeof(dns_query) - 1)

static size_t hear(int fd, char *data, size_t size) {
        ssize_t n = recv(fd, data, size, MSG_DONTWAIT);

        return n > 0 ? (size_t) n : 0;
}

static bool has_ended(int fd) {
        char byte;
        ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

        return n == 0 || (n < 0 && errno == ECONNRESET);
}

TEST(dns_answers_datagrams_and_streams) {
        char twice[2 * DNS_QUERY_SIZE], reply[4096];
        size_t n = 0;
        int udp, tcp;
        Fixture f;

        setup(&f);
        RUN_UNTIL(&f.bus, f.registry->catalog->listed);
        udp = dns_socket(&f, SOCK_DGRAM);
        ASSERT_EQ(send(udp, "garbage", 7, 0), 7);
        ASSERT_EQ(send(udp, dns_query + 2, DNS_QUERY_SIZE - 2, 0), DNS_QUERY_SIZE - 2);
        RUN_UNTIL(&f.bus, (n = hear(udp, reply, sizeof(reply))) > 0);
        ASSERT_EQ(reply[7], 1); /* one passing replica */
        ASSERT_EQ(dns_server_counts(f.registry->dns).dropped, 1);

        /* Two queries in three pieces. */
        tcp = dns_socket(&f, SOCK_STREAM);
        memcpy(twice, dns_query, DNS_QUERY_SIZE);
        memcpy(twice + DNS_QUERY_SIZE, dns_query, DNS_QUERY_SIZE);
        ASSERT_EQ(send(tcp, twice, 1, 0), 1);
        for (unsigned i = 0; i < 5; i++)
                ASSERT_OK(sd_event_run(f.bus.event, 1000));
        ASSERT_EQ(send(tcp, twice + 1, DNS_QUERY_SIZE + 5, 0), DNS_QUERY_SIZE + 5);
        RUN_UNTIL(&f.bus, dns_server_counts(f.registry->dns).tcp == 1);
        ASSERT_EQ(send(tcp, twice + DNS_QUERY_SIZE + 6, DNS_QUERY_SIZE - 6, 0), DNS_QUERY_SIZE - 6);
        RUN_UNTIL(&f.bus, dns_server_counts(f.registry->dns).tcp == 2);
        n = hear(tcp, reply, sizeof(reply));
        ASSERT_TRUE(n > 2 && n % 2 == 0);
        ASSERT_EQ(memcmp(reply, reply + n / 2, n / 2), 0);
        ASSERT_EQ((size_t) reply[0] << 8 | (unsigned char) reply[1], n / 2 - 2);

        /* What is not DNS ends the connection, and nothing else. */
        ASSERT_EQ(send(tcp, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
        RUN_UNTIL(&f.bus, has_ended(tcp));
        close(tcp);
        close(udp);
        teardown(&f);
}

TEST(dns_connections_are_bounded) {
        int clients[DNS_CONNECTIONS_MAX + 8];
        struct sockaddr_in in;
        socklen_t size = sizeof(in);
        char reply[512];
        Fixture f;

        setup(&f);
        RUN_UNTIL(&f.bus, f.registry->catalog->listed);
        clients[0] = dns_socket(&f, SOCK_STREAM);
        ASSERT_OK(getpeername(clients[0], (struct sockaddr *) &in, &size));
        for (size_t i = 1; i < MAM_ELEMENTSOF(clients); i++) {
                clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
                ASSERT_OK(clients[i]);
                ASSERT_OK(connect(clients[i], (struct sockaddr *) &in, sizeof(in)));
                ASSERT_OK(sd_event_run(f.bus.event, 1000));
        }
        /* The last one waits in the backlog until another has gone. */
        size = MAM_ELEMENTSOF(clients) - 1;
        ASSERT_EQ(send(clients[size], dns_query, DNS_QUERY_SIZE, 0), DNS_QUERY_SIZE);
        for (unsigned i = 0; i < 20; i++)
                ASSERT_OK(sd_event_run(f.bus.event, 1000));
        ASSERT_EQ(hear(clients[size], reply, sizeof(reply)), 0);
        for (size_t i = 0; i < 16; i++)
                close(clients[i]);
        RUN_UNTIL(&f.bus, hear(clients[size], reply, sizeof(reply)) > 0);
        for (size_t i = 16; i < MAM_ELEMENTSOF(clients); i++)
                close(clients[i]);
        teardown(&f);
}

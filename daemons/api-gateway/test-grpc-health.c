/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/grpc-health.h"

#include <string.h>

#include "api-gateway/test-gateway.h"

#define PARSE(bytes) grpc_health_parse((bytes), sizeof(bytes) - 1, name, sizeof(name))

TEST(requests_are_read_strictly) {
        char name[8] = "?";

        ASSERT_OK(PARSE("\0\0\0\0\0"));
        ASSERT_STREQ(name, "");
        ASSERT_OK(PARSE("\0\0\0\0\3\x0a\1x"));
        ASSERT_STREQ(name, "x");
        /* unknown fields are skipped; of two names the last one counts */
        ASSERT_OK(PARSE("\0\0\0\0\x0d\x10\x96\x01\x1a\1z\x0a\1x\x0a\2yz"));
        ASSERT_STREQ(name, "yz");
        ASSERT_EQ(PARSE("\1\0\0\0\3\x0a\1x"), -EOPNOTSUPP);
        ASSERT_EQ(PARSE("\2\0\0\0\3\x0a\1x"), -EBADMSG);
        ASSERT_EQ(PARSE("\0\0\0\0\4\x0a\1x"), -EBADMSG);
        ASSERT_EQ(PARSE("\0\0\0\0"), -EBADMSG);
        ASSERT_EQ(PARSE("\0\0\0\0\3\x0a\2x"), -EBADMSG);
        ASSERT_EQ(PARSE("\0\0\0\0\3\x0a\1\0"), -EBADMSG);
        ASSERT_EQ(PARSE("\0\0\0\0\1\x0a"), -EBADMSG);
        ASSERT_EQ(PARSE("\0\0\0\0\2\x0b\1"), -EBADMSG); /* groups are not skipped */
        ASSERT_EQ(PARSE("\0\0\0\0\2\2\1"), -EBADMSG);   /* there is no field 0 */
        ASSERT_EQ(PARSE("\0\0\0\0\2\x1d\1"), -EBADMSG);
        ASSERT_EQ(PARSE("\0\0\0\0\x0a\x0a\x08"
                        "12345678"),
                  -ENOBUFS);
        ASSERT_EQ(PARSE("\0\0\0\0\x0c\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), -EBADMSG);
}

typedef struct Probe {
        Answer a;
        char trailers[256];
} Probe;

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        return client_callbacks.on_head(call, head, &((Probe *) userdata)->a);
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        return client_callbacks.on_data(call, data, size, &((Probe *) userdata)->a);
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        client_callbacks.on_end(call, error, &((Probe *) userdata)->a);
}

static void on_trailers(MamHttpCall *call, const MamHttpField *fields, size_t n, void *userdata) {
        Probe *p = userdata;

        for (size_t i = 0; i < n; i++)
                (void) snprintf(p->trailers + strlen(p->trailers),
                                sizeof(p->trailers) - strlen(p->trailers),
                                "%.*s: %.*s\n",
                                (int) fields[i].name.size,
                                fields[i].name.data,
                                (int) fields[i].value.size,
                                fields[i].value.data);
}

static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                            .on_data = on_data,
                                            .on_end = on_end,
                                            .on_trailers = on_trailers };

typedef struct Case {
        Fixture f;
        char path[128];
        MamHttpClient *client; /* speaks HTTP/2 */
} Case;

static void setup(Case *c) {
        fixture_setup(&c->f, 1, 1);
        (void) snprintf(c->path, sizeof(c->path), "%s/h2", c->f.folder);
        ASSERT_OK(mam_http_server_listen_with(
                        c->f.server,
                        listen_on(c->path),
                        &(MamHttpListenOptions){ .h2c = true }));
        ASSERT_OK(mam_http_client_new(
                        &c->client,
                        c->f.event,
                        c->path,
                        &(MamHttpClientOptions){ .protocol = MAM_HTTP_PROTOCOL_H2C }));
}

static void teardown(Case *c) {
        mam_http_client_free(c->client);
        (void) unlink(c->path);
        fixture_done(&c->f);
}

static MamHttpCall *begin(
                Case *c,
                Probe *p,
                const char *method,
                const char *message,
                size_t size,
                bool token) {
        MamHttpCall *call = NULL;
        char target[64];

        answer_done(&p->a);
        *p = (Probe){ 0 };
        (void) snprintf(target, sizeof(target), "/grpc.health.v1.Health/%s", method);
        ASSERT_OK(mam_http_call_new(&call, c->client, "POST", target, &callbacks, p));
        ASSERT_OK(mam_http_call_add_field(call, "content-type", "application/grpc"));
        ASSERT_OK(mam_http_call_add_field(call, "te", "trailers"));
        if (token)
                ASSERT_OK(mam_http_call_add_field(call, "Authorization", "Bearer good"));
        ASSERT_OK(mam_http_call_set_body(call, message, size));
        mam_http_call_set_timeout(call, MAM_USEC_INFINITY);
        ASSERT_OK(mam_http_call_start(call));
        return call;
}

static void check_status(
                Case *c,
                Probe *p,
                const char *method,
                const char *message,
                size_t size,
                bool token,
                int serving,
                const char *status) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = begin(c, p, method, message, size, token);
        char line[64];

        ASSERT_TRUE(call);
        RUN_UNTIL(&c->f, p->a.ended);
        ASSERT_EQ(p->a.error, 0);
        ASSERT_EQ(p->a.status, 200);
        (void) snprintf(line, sizeof(line), "grpc-status: %s\n", status);
        if (serving < 0) {
                ASSERT_TRUE(has(p->a.fields, line));
                return;
        }
        ASSERT_STREQ(p->trailers, line);
        ASSERT_EQ(p->a.body.size, 7);
        ASSERT_EQ(memcmp(mam_buffer_bytes(&p->a.body), "\0\0\0\0\2\x08", 6), 0);
        ASSERT_EQ(mam_buffer_bytes(&p->a.body)[6], serving);
}

TEST(check_tells_of_the_gateway_and_of_services) {
        Probe p = { 0 };
        Case c = { 0 };

        setup(&c);
        check_status(&c, &p, "Check", "\0\0\0\0\0", 5, false, 1, "0");
        check_status(&c, &p, "Check", "\0\0\0\0\3\x0a\1x", 8, true, 1, "0");
        set_endpoints(&c.f, 0);
        check_status(&c, &p, "Check", "\0\0\0\0\3\x0a\1x", 8, true, 2, "0");
        check_status(&c, &p, "Check", "\0\0\0\0\3\x0a\1y", 8, true, -1, "5");
        check_status(&c, &p, "Check", "\0\0\0\0\3\x0a\1x", 8, false, -1, "16");
        check_status(&c, &p, "Check", "\0\0\0\0\4\x0a\1x", 8, false, -1, "3");
        check_status(&c, &p, "Check", "\1\0\0\0\0", 5, false, -1, "12");
        check_status(&c, &p, "Look", "\0\0\0\0\0", 5, false, -1, "12");
        answer_done(&p.a);
        teardown(&c);
}

TEST(watch_tells_each_change) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        Probe p = { 0 };
        Case c = { 0 };

        setup(&c);
        call = begin(&c, &p, "Watch", "\0\0\0\0\3\x0a\1x", 8, true);
        RUN_UNTIL(&c.f, p.a.body.size == 7);
        ASSERT_EQ(mam_buffer_bytes(&p.a.body)[6], 1);
        set_endpoints(&c.f, 0);
        RUN_UNTIL(&c.f, p.a.body.size == 14);
        ASSERT_EQ(mam_buffer_bytes(&p.a.body)[13], 2);
        set_endpoints(&c.f, 1);
        set_endpoints(&c.f, 1);
        RUN_UNTIL(&c.f, p.a.body.size == 21);
        ASSERT_EQ(mam_buffer_bytes(&p.a.body)[20], 1);

        /* the gateway is about to end: the stream ends well before */
        ASSERT_OK(mam_http_server_drain(c.f.server, NULL, NULL));
        RUN_UNTIL(&c.f, p.a.ended);
        ASSERT_EQ(p.a.body.size, 28);
        ASSERT_EQ(mam_buffer_bytes(&p.a.body)[27], 2);
        ASSERT_STREQ(p.trailers, "grpc-status: 14\n");
        answer_done(&p.a);
        teardown(&c);
}

TEST(a_watcher_that_leaves_is_forgotten) {
        MamHttpCall *call;
        Probe p = { 0 };
        Case c = { 0 };

        setup(&c);
        call = begin(&c, &p, "Watch", "\0\0\0\0\3\x0a\1y", 8, true);
        RUN_UNTIL(&c.f, p.a.body.size == 7);
        ASSERT_EQ(mam_buffer_bytes(&p.a.body)[6], 3); /* not known yet */
        mam_http_call_free(call);
        RUN_UNTIL(&c.f, mam_http_server_in_flight(c.f.server) == 0);
        set_endpoints(&c.f, 0);
        answer_done(&p.a);
        teardown(&c);
}

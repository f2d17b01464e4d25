/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Spans as text, and over real HTTP to a collector in the same event loop
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "libmam/http/http-server.h"
#include "libmam/json/json.h"
#include "libmam/obs/log.h"
#include "libmam/otlp/otlp.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

static const MamTrace trace = {
        .trace_id = { 0x0a,
                      0xf7,
                      0x65,
                      0x19,
                      0x16,
                      0xcd,
                      0x43,
                      0xdd,
                      0x84,
                      0x48,
                      0xeb,
                      0x21,
                      0x1c,
                      0x80,
                      0x31,
                      0x9c },
        .span_id = { 0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31 },
        .flags = 1,
};

static json_object *member(json_object *o, const char *key) {
        json_object *value = NULL;

        ASSERT_TRUE(json_object_object_get_ex(o, key, &value));
        return value;
}

static const char *text(json_object *o, const char *key) {
        return json_object_get_string(member(o, key));
}

TEST(span_is_what_the_protocol_asks_for) {
        static const uint8_t parent[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *attributes;

        ASSERT_OK(mam_otlp_format_span(
                        &b,
                        &(MamSpan){ .trace = &trace,
                                    .parent = parent,
                                    .name = "GET /api/v1/projects",
                                    .kind = MAM_SPAN_SERVER,
                                    .start_usec = 1700000000000001,
                                    .end_usec = 1700000000002000,
                                    .error = "502",
                                    .attributes = { { .key = "http.request.method", .text = "GET" },
                                                    { .key = "http.response.status_code", .number = 502 },
                                                    { .key = "absent", .number = -1 } },
                                    .n_attributes = 3 }));
        ASSERT_OK(mam_json_parse(&o, mam_buffer_bytes(&b), b.size, NULL));
        ASSERT_STREQ(text(o, "traceId"), "0af7651916cd43dd8448eb211c80319c");
        ASSERT_STREQ(text(o, "spanId"), "b7ad6b7169203331");
        ASSERT_STREQ(text(o, "parentSpanId"), "0102030405060708");
        ASSERT_STREQ(text(o, "startTimeUnixNano"), "1700000000000001000");
        ASSERT_STREQ(text(o, "endTimeUnixNano"), "1700000000002000000");
        ASSERT_EQ(json_object_get_int(member(o, "kind")), 2);
        ASSERT_EQ(json_object_get_int(member(member(o, "status"), "code")), 2);
        attributes = member(o, "attributes");
        ASSERT_EQ(json_object_array_length(attributes), 2);
        ASSERT_STREQ(text(member(json_object_array_get_idx(attributes, 0), "value"), "stringValue"), "GET");
        ASSERT_STREQ(text(member(json_object_array_get_idx(attributes, 1), "value"), "intValue"), "502");
}

TEST(span_stays_valid_whatever_a_client_sends) {
        static const char *const wild[] = {
                "quote\" and \\",
                "line\r\nbreak\x01\x7f",
                "\xff\xfe",
                "half \xe2\x82",
                "over\xc0\xaflong",
                "surrogate \xed\xa0\x80",
                "too high \xf4\x90\x80\x80",
                "fine \xe2\x82\xac \xf0\x9f\x98\x80",
        };
        char large[2000];

        memset(large, 'x', sizeof(large) - 1);
        large[sizeof(large) - 1] = '\0';
        for (size_t i = 0; i <= MAM_ELEMENTSOF(wild); i++) {
                _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
                _cleanup_(json_object_putp) json_object *o = NULL;
                const char *name = i < MAM_ELEMENTSOF(wild) ? wild[i] : large;

                ASSERT_OK(mam_otlp_format_span(
                                &b,
                                &(MamSpan){ .trace = &trace, .name = name, .kind = MAM_SPAN_CLIENT }));
                ASSERT_OK(mam_json_parse(&o, mam_buffer_bytes(&b), b.size, NULL));
                ASSERT_TRUE(strlen(text(o, "name")) <= OTLP_VALUE_SIZE_MAX);
                ASSERT_TRUE(!json_object_object_get_ex(o, "parentSpanId", NULL));
        }
}

TEST(sampling_follows_the_trace_id) {
        unsigned n = 0;

        for (unsigned i = 0; i < 20000; i++) {
                MamTrace t;

                mam_trace_start(&t, false);
                ASSERT_TRUE(mam_otlp_samples(&t, 1000000));
                ASSERT_TRUE(!mam_otlp_samples(&t, 0));
                n += mam_otlp_samples(&t, 100000);
                if (mam_otlp_samples(&t, 100000))
                        ASSERT_TRUE(mam_otlp_samples(&t, 200000));
        }
        /* 2000 expected; this far off by chance: once in 10^20. */
        ASSERT_TRUE(n > 1600 && n < 2400);
}

/* ---- a collector ---- */

typedef struct Fixture {
        sd_event *event;
        MamHttpServer *server;
        char url[64];
        MamMetrics *metrics;
        MamOtlp *otlp;
        unsigned statuses[4]; /* to answer, in turn; the last one stays */
        unsigned n_posts;
        size_t n_spans;
} Fixture;

#define RUN_UNTIL(f, condition)                                                       \
        do {                                                                          \
                uint64_t _end = mam_now_monotonic() + 30 * MAM_USEC_PER_SEC;          \
                while (!(condition)) {                                                \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                      \
                        ASSERT_OK(sd_event_run((f)->event, 100 * MAM_USEC_PER_MSEC)); \
                }                                                                     \
        } while (0)

static int on_message(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        Fixture *f = userdata;
        json_object *resource, *scope;
        unsigned status = f->statuses[f->n_posts < 3 ? f->n_posts : 3];

        ASSERT_OK(error);
        ASSERT_STREQ(mam_http_exchange_header(x, "Content-Type"), "application/json");
        ASSERT_OK(mam_json_parse(&o, data, size, NULL));
        resource = json_object_array_get_idx(member(o, "resourceSpans"), 0);
        ASSERT_STREQ(text(member(json_object_array_get_idx(
                                                 member(member(resource, "resource"), "attributes"),
                                                 0),
                                 "value"),
                          "stringValue"),
                     "api-gateway");
        scope = json_object_array_get_idx(member(resource, "scopeSpans"), 0);
        f->n_posts++;
        if (status == 200)
                f->n_spans += json_object_array_length(member(scope, "spans"));
        return mam_http_exchange_respond(x, status, "application/json", "{}", 2);
}

static int on_request(MamHttpExchange *x, void *userdata) {
        ASSERT_STREQ(mam_http_exchange_path(x), "/v1/traces");
        return mam_http_exchange_read_body(x, 8 * 1024 * 1024, on_message, userdata);
}

static void fixture_new(Fixture *f) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(a);
        int fd;

        mam_log_set_level("emerg");
        *f = (Fixture){ .statuses = { 200, 200, 200, 200 } };
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_http_server_new(&f->server, f->event, NULL, on_request, f));
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(fd);
        ASSERT_OK(bind(fd, (struct sockaddr *) &a, sizeof(a)));
        ASSERT_OK(listen(fd, 8));
        ASSERT_OK(getsockname(fd, (struct sockaddr *) &a, &size));
        ASSERT_OK(mam_http_server_listen(f->server, fd, false, 0));
        (void) snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u/v1/traces", ntohs(a.sin_port));
        ASSERT_OK(mam_metrics_new(&f->metrics));
        ASSERT_OK(mam_otlp_new(&f->otlp, f->event, f->metrics, "api-gateway", "1"));
}

static void fixture_done(Fixture *f) {
        mam_otlp_free(f->otlp);
        mam_metrics_free(f->metrics);
        mam_http_server_free(f->server);
        sd_event_unref(f->event);
}

static void some_spans(Fixture *f, size_t n) {
        for (size_t i = 0; i < n; i++)
                mam_otlp_span(f->otlp,
                              &(MamSpan){ .trace = &trace, .name = "GET /", .kind = MAM_SPAN_SERVER });
}

static bool metrics_have(Fixture *f, const char *line) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        ASSERT_OK(mam_metrics_format(f->metrics, &b));
        return strstr(mam_buffer_bytes(&b), line);
}

TEST(spans_come_in_batches) {
        Fixture f;

        fixture_new(&f);
        some_spans(&f, 10); /* nowhere to send them */
        ASSERT_TRUE(!mam_otlp_is_on(f.otlp));
        ASSERT_OK(mam_otlp_configure(f.otlp, f.url));
        some_spans(&f, 3);
        RUN_UNTIL(&f, f.n_spans == 3);
        ASSERT_EQ(f.n_posts, 1);
        some_spans(&f, 2 * OTLP_BATCH_SPANS);
        RUN_UNTIL(&f, f.n_spans == 3 + 2 * OTLP_BATCH_SPANS);
        RUN_UNTIL(&f, metrics_have(&f, "mam_spans_exported_total 1027\n"));
        fixture_done(&f);
}

TEST(collector_that_is_busy_is_asked_again) {
        Fixture f;

        fixture_new(&f);
        f.statuses[0] = 503;
        ASSERT_OK(mam_otlp_configure(f.otlp, f.url));
        some_spans(&f, 3);
        mam_otlp_flush(f.otlp);
        RUN_UNTIL(&f, f.n_spans == 3);
        ASSERT_EQ(f.n_posts, 2);
        fixture_done(&f);
}

TEST(what_is_refused_is_not_sent_again) {
        Fixture f;

        fixture_new(&f);
        f.statuses[0] = 400;
        ASSERT_OK(mam_otlp_configure(f.otlp, f.url));
        some_spans(&f, 3);
        mam_otlp_flush(f.otlp);
        RUN_UNTIL(&f, metrics_have(&f, "mam_spans_dropped_total{reason=\"refused\"} 3\n"));
        some_spans(&f, 1);
        RUN_UNTIL(&f, f.n_spans == 1);
        ASSERT_EQ(f.n_posts, 2);
        fixture_done(&f);
}

TEST(collector_that_is_away_costs_no_memory) {
        Fixture f;

        fixture_new(&f);
        ASSERT_OK(mam_otlp_configure(f.otlp, "http://127.0.0.1:1/v1/traces"));
        some_spans(&f, 20000); /* some 250 bytes each */
        ASSERT_TRUE(metrics_have(&f, "mam_spans_dropped_total{reason=\"buffer full\"}"));
        /* And it goes on where it is told to go instead. */
        ASSERT_OK(mam_otlp_configure(f.otlp, NULL));
        ASSERT_OK(mam_otlp_configure(f.otlp, f.url));
        some_spans(&f, 1);
        RUN_UNTIL(&f, f.n_spans == 1);
        fixture_done(&f);
}

TEST(endpoint_must_be_a_url) {
        Fixture f;

        fixture_new(&f);
        ASSERT_EQ(mam_otlp_configure(f.otlp, "collector:4318"), -EINVAL);
        ASSERT_EQ(mam_otlp_configure(f.otlp, "file:///etc/passwd"), -EINVAL);
        ASSERT_TRUE(!mam_otlp_is_on(f.otlp));
        fixture_done(&f);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fetching, from a server of libmam/http: methods, fields, and where it may connect
 *
 * Names are resolved by this program's own getaddrinfo(), which takes the place of the C library's: as a
 * resolver that says one thing now and another later.
 */

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <unistd.h>

#include "libmam/fetch/fetch.h"
#include "libmam/http/http-server.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define RUN_UNTIL(f, condition)                                                      \
        do {                                                                         \
                uint64_t _end = mam_now_monotonic() + 30 * MAM_USEC_PER_SEC;         \
                while (!(condition)) {                                               \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                     \
                        ASSERT_OK(sd_event_run((f)->event, 20 * MAM_USEC_PER_MSEC)); \
                }                                                                    \
        } while (0)

/* What the resolver says; asked in a thread of libcurl. */
static const char *answers[4];
static atomic_uint n_resolved;

static struct addrinfo *make_address(const char *text, uint16_t port) {
        struct sockaddr_in *in;
        struct addrinfo *a = calloc(1, sizeof(*a) + sizeof(*in));

        if (!a)
                abort();
        in = (struct sockaddr_in *) (a + 1);
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        if (inet_pton(AF_INET, text, &in->sin_addr) != 1)
                abort();
        a->ai_family = AF_INET;
        a->ai_socktype = SOCK_STREAM;
        a->ai_protocol = IPPROTO_TCP;
        a->ai_addr = (struct sockaddr *) in;
        a->ai_addrlen = sizeof(*in);
        return a;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret) {
        struct addrinfo *first = NULL, **last = &first;
        uint16_t port = service ? (uint16_t) strtoul(service, NULL, 10) : 0;

        (void) hints;
        if (!node || !strstr(node, ".test"))
                return EAI_NONAME;
        atomic_fetch_add(&n_resolved, 1);
        for (size_t i = 0; answers[i]; i++) {
                *last = make_address(answers[i], port);
                last = &(*last)->ai_next;
        }
        *ret = first;
        return first ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *a) {
        while (a) {
                struct addrinfo *next = a->ai_next;

                free(a);
                a = next;
        }
}

typedef struct Fixture {
        sd_event *event;
        MamHttpServer *server;
        MamFetcher *fetcher;
        uint16_t port;
        unsigned n_requests, n_asked;
        char seen[256], type[64], asked[256];
        /* of the answer */
        unsigned n_answers;
        MamFetchResult result;
        char field[64], body[64];
} Fixture;

static int handler(MamHttpExchange *x, void *userdata) {
        const char *field = mam_http_exchange_header(x, "x-question");
        Fixture *f = userdata;

        f->n_requests++;
        (void) snprintf(f->type, sizeof(f->type), "%s", mam_http_exchange_header(x, "content-type") ?: "-");
        (void) snprintf(f->seen,
                        sizeof(f->seen),
                        "%s %s %s",
                        mam_http_exchange_method(x),
                        mam_http_exchange_path(x),
                        field ? field : "-");
        ASSERT_OK(mam_http_exchange_add_field(x, "X-Answer", "yes, please"));
        if (strcmp(mam_http_exchange_path(x), "/elsewhere") == 0) {
                ASSERT_OK(mam_http_exchange_add_field(x, "Location", "/"));
                return mam_http_exchange_respond(x, 302, NULL, NULL, 0);
        }
        return mam_http_exchange_respond(x, 200, "text/plain", "hello", 5);
}

static void setup(Fixture *f) {
        struct sockaddr_in in = { .sin_family = AF_INET };
        socklen_t size = sizeof(in);
        int fd;

        *f = (Fixture){ 0 };
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_http_server_new(&f->server, f->event, NULL, handler, f));
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(bind(fd, (struct sockaddr *) &in, sizeof(in))); /* every address of loopback */
        ASSERT_OK(listen(fd, 64));
        ASSERT_OK(getsockname(fd, (struct sockaddr *) &in, &size));
        f->port = ntohs(in.sin_port);
        ASSERT_OK(mam_http_server_listen(f->server, fd, false, 0));
        ASSERT_OK(mam_fetcher_new(&f->fetcher, f->event, "mam-test"));
}

static void teardown(Fixture *f) {
        mam_fetcher_free(f->fetcher);
        mam_http_server_free(f->server);
        sd_event_unref(f->event);
}

static void on_answer(const MamFetchResult *result, void *userdata) {
        const char *field = mam_fetch_field(result->fetch, "x-answer");
        Fixture *f = userdata;

        f->n_answers++;
        f->result = *result;
        (void) snprintf(f->field, sizeof(f->field), "%s", field ? field : "-");
        (void) snprintf(f->body, sizeof(f->body), "%s", result->body);
        ASSERT_TRUE(!mam_fetch_field(result->fetch, "x-none"));
}

static void fetch(Fixture *f, const char *host, const char *path, const char *method, const char *body) {
        static const char *const fields[] = { "X-Question: well?", NULL };
        unsigned before = f->n_answers;
        MamFetch *fetching;
        char url[128];

        (void) snprintf(url, sizeof(url), "http://%s:%u%s", host, f->port, path);
        ASSERT_OK(
                        mam_fetch_new(&fetching,
                                      f->fetcher,
                                      &(MamFetchRequest){ .url = url,
                                                          .method = method,
                                                          .body = body,
                                                          .body_size = body ? strlen(body) : 0,
                                                          .fields = fields },
                                      on_answer,
                                      f));
        RUN_UNTIL(f, f->n_answers == before + 1);
}

/* Allows 127.0.0.1 alone. */
static bool rule(const struct sockaddr *address, size_t size, void *userdata) {
        Fixture *f = userdata;
        struct sockaddr_in in;

        f->n_asked++;
        ASSERT_EQ(address->sa_family, AF_INET);
        ASSERT_TRUE(size >= sizeof(in));
        memcpy(&in, address, sizeof(in));
        ASSERT_TRUE(inet_ntop(AF_INET, &in.sin_addr, f->asked, sizeof(f->asked)));
        return in.sin_addr.s_addr == htonl(INADDR_LOOPBACK);
}

TEST(methods_and_fields_are_sent_and_read) {
        Fixture f;

        setup(&f);
        fetch(&f, "127.0.0.1", "/a", NULL, NULL);
        ASSERT_STREQ(f.seen, "GET /a well?");
        ASSERT_EQ(f.result.status, 200);
        ASSERT_STREQ(f.field, "yes, please");
        ASSERT_STREQ(f.body, "hello");
        fetch(&f, "127.0.0.1", "/b", NULL, "x");
        ASSERT_STREQ(f.seen, "POST /b well?");
        ASSERT_STREQ(f.type, "-"); /* what has no type is not called a form */
        fetch(&f, "127.0.0.1", "/c", "OPTIONS", NULL);
        ASSERT_STREQ(f.seen, "OPTIONS /c well?");
        ASSERT_STREQ(f.field, "yes, please");
        teardown(&f);
}

TEST(redirects_are_not_followed) {
        Fixture f;

        setup(&f);
        fetch(&f, "127.0.0.1", "/elsewhere", NULL, NULL);
        ASSERT_EQ(f.result.status, 302);
        ASSERT_EQ(f.n_requests, 1);
        teardown(&f);
}

TEST(what_the_rule_refuses_is_not_connected_to) {
        Fixture f;

        setup(&f);
        mam_fetcher_set_rule(f.fetcher, rule, &f);
        fetch(&f, "127.0.0.1", "/", NULL, NULL);
        ASSERT_EQ(f.result.status, 200);
        ASSERT_TRUE(!f.result.is_refused);
        ASSERT_EQ(f.n_asked, 1);
        fetch(&f, "127.0.0.2", "/", NULL, NULL);
        ASSERT_EQ(f.result.status, 0);
        ASSERT_TRUE(f.result.is_refused);
        ASSERT_STREQ(f.result.problem, "its address is not allowed");
        ASSERT_STREQ(f.asked, "127.0.0.2");
        /* as they are written does not matter */
        fetch(&f, "0x7f000003", "/", NULL, NULL);
        ASSERT_TRUE(f.result.is_refused);
        ASSERT_STREQ(f.asked, "127.0.0.3");
        fetch(&f, "127.4", "/", NULL, NULL);
        ASSERT_TRUE(f.result.is_refused);
        ASSERT_STREQ(f.asked, "127.0.0.4");
        ASSERT_EQ(f.n_requests, 1);
        teardown(&f);
}

/* What a name led to when somebody looked says nothing about where it leads now. */
TEST(a_name_that_changes_its_mind_is_refused_at_the_connection) {
        Fixture f;

        setup(&f);
        mam_fetcher_set_rule(f.fetcher, rule, &f);
        answers[0] = "127.0.0.1";
        answers[1] = NULL;
        fetch(&f, "rebinds.test", "/", NULL, NULL);
        ASSERT_EQ(f.result.status, 200);
        ASSERT_EQ(f.n_requests, 1);

        /* whatever is remembered is gone: as after some time */
        mam_fetcher_free(f.fetcher);
        ASSERT_OK(mam_fetcher_new(&f.fetcher, f.event, "mam-test"));
        mam_fetcher_set_rule(f.fetcher, rule, &f);
        answers[0] = "127.0.0.2";
        fetch(&f, "rebinds.test", "/", NULL, NULL);
        ASSERT_EQ(f.result.status, 0);
        ASSERT_TRUE(f.result.is_refused);
        ASSERT_STREQ(f.asked, "127.0.0.2");
        ASSERT_EQ(f.n_requests, 1);
        ASSERT_TRUE(atomic_load(&n_resolved) >= 2);
        teardown(&f);
}

TEST(of_several_addresses_only_those_that_are_allowed_are_used) {
        Fixture f;

        setup(&f);
        mam_fetcher_set_rule(f.fetcher, rule, &f);
        answers[0] = "127.0.0.2";
        answers[1] = "127.0.0.1";
        answers[2] = NULL;
        fetch(&f, "both.test", "/", NULL, NULL);
        ASSERT_EQ(f.result.status, 200);
        ASSERT_TRUE(!f.result.is_refused);
        ASSERT_STREQ(f.asked, "127.0.0.1");
        ASSERT_EQ(f.n_asked, 2);
        teardown(&f);
}

TEST(a_proxy_of_the_environment_is_not_used_with_a_rule) {
        char proxy[64];
        Fixture f;

        setup(&f);
        (void) snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", f.port);
        ASSERT_EQ(setenv("http_proxy", proxy, 1), 0);
        fetch(&f, "127.0.0.9", "/", NULL, NULL);
        ASSERT_TRUE(strstr(f.seen, "GET"));
        mam_fetcher_free(f.fetcher);
        ASSERT_OK(mam_fetcher_new(&f.fetcher, f.event, "mam-test"));
        mam_fetcher_set_rule(f.fetcher, rule, &f);
        fetch(&f, "127.0.0.9", "/", NULL, NULL);
        ASSERT_TRUE(f.result.is_refused);
        ASSERT_STREQ(f.asked, "127.0.0.9");
        ASSERT_EQ(unsetenv("http_proxy"), 0);
        teardown(&f);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The gateway's port for TLS: when it is served, and what a change of policy does
 */

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <openssl/ssl.h>

#include "api-gateway/tls.h"
#include "libmam/http/test-tls-pair.h"
#include "libmam/util/time.h"

typedef struct Fixture {
        sd_event *event;
        MamMetrics *metrics;
        MamHttpServer *server;
        TlsPort *port;
        struct sockaddr_in in;
        char folder[40];
} Fixture;

static int handler(MamHttpExchange *x, void *userdata) {
        return mam_http_exchange_respond(x, 200, NULL, NULL, 0);
}

static void setup(Fixture *f) {
        socklen_t size = sizeof(f->in);
        int fd;

        *f = (Fixture){ .in.sin_family = AF_INET };
        f->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        snprintf(f->folder, sizeof(f->folder), "/tmp/test-tls-port-XXXXXX");
        ASSERT_TRUE(mkdtemp(f->folder));
        ASSERT_OK(setenv("MAM_TLS_DIR", f->folder, 1));
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_metrics_new(&f->metrics));
        ASSERT_OK(mam_http_server_new(&f->server, f->event, NULL, handler, f));
        ASSERT_OK(tls_port_new(&f->port, f->event, f->server, f->metrics));
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(bind(fd, (struct sockaddr *) &f->in, sizeof(f->in)));
        ASSERT_OK(listen(fd, 64));
        ASSERT_OK(getsockname(fd, (struct sockaddr *) &f->in, &size));
        ASSERT_OK(tls_port_add(f->port, fd, &(MamHttpListenOptions){ .h2c = true }));
}

static void teardown(Fixture *f) {
        DIR *d = opendir(f->folder);
        struct dirent *e;

        ASSERT_TRUE(d);
        while ((e = readdir(d)))
                (void) unlinkat(dirfd(d), e->d_name, 0);
        closedir(d);
        ASSERT_OK(rmdir(f->folder));
        f->port = tls_port_free(f->port);
        f->server = mam_http_server_free(f->server);
        f->metrics = mam_metrics_free(f->metrics);
        sd_event_unref(f->event);
}

/* The version that a handshake ends with, or 0: it fails, or nobody answers for half a second. */
static int shake(Fixture *f, int version_max) {
        uint64_t end = mam_now_monotonic() + MAM_USEC_PER_SEC / 2;
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), version = 0;
        SSL *ssl;

        ASSERT_OK(connect(fd, (struct sockaddr *) &f->in, sizeof(f->in)));
        ASSERT_OK(fcntl(fd, F_SETFL, O_NONBLOCK));
        ASSERT_TRUE(context && SSL_CTX_set_max_proto_version(context, version_max) > 0);
        ssl = SSL_new(context);
        ASSERT_TRUE(ssl && SSL_set_fd(ssl, fd) > 0);
        for (;;) {
                int r = SSL_connect(ssl), why = SSL_get_error(ssl, r);

                if (r > 0)
                        version = SSL_version(ssl);
                if (why != SSL_ERROR_WANT_READ || mam_now_monotonic() > end)
                        break;
                /* While something moves, the clock does not count. */
                if (sd_event_run(f->event, 1000) > 0)
                        end = mam_now_monotonic() + MAM_USEC_PER_SEC / 2;
        }
        SSL_free(ssl);
        SSL_CTX_free(context);
        close(fd);
        return version;
}

static bool has_expiry(Fixture *f) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        ASSERT_OK(mam_metrics_format(f->metrics, &b));
        return strstr(mam_buffer_bytes(&b), "\nmam_gateway_tls_expiry_timestamp_seconds ");
}

static MamGatewayTls policy(unsigned version_min, char *name) {
        return (MamGatewayTls){ .port = 3443,
                                .version_min = version_min,
                                .client_ca = (char *) "/nonexistent",
                                .default_name = name };
}

TEST(it_is_served_once_there_is_a_certificate) {
        MamGatewayTls first = policy(12, NULL), second = policy(13, NULL);
        TestPair pair = test_pair_new("a", "DNS:a.test", NULL, 30, false);
        Fixture f;

        setup(&f);
        ASSERT_EQ(shake(&f, TLS1_3_VERSION), 0); /* no policy yet */
        ASSERT_OK(tls_port_configure(f.port, &first));
        ASSERT_EQ(shake(&f, TLS1_3_VERSION), 0); /* nothing to serve with */
        ASSERT_TRUE(!has_expiry(&f));
        test_pair_write(&pair, f.folder, "a");
        ASSERT_OK(tls_port_configure(f.port, &second)); /* looks again at once */
        ASSERT_EQ(shake(&f, TLS1_3_VERSION), TLS1_3_VERSION);
        ASSERT_TRUE(has_expiry(&f));
        test_pair_done(&pair);
        teardown(&f);
}

TEST(policy_changes_live_and_what_is_wrong_changes_nothing) {
        MamGatewayTls twelve = policy(12, NULL), thirteen = policy(13, NULL),
                      clients = policy(12, (char *) "a");
        TestPair pair = test_pair_new("a", "DNS:a.test", NULL, 30, false);
        Fixture f;

        setup(&f);
        test_pair_write(&pair, f.folder, "a");
        ASSERT_OK(tls_port_configure(f.port, &twelve));
        ASSERT_EQ(shake(&f, TLS1_2_VERSION), TLS1_2_VERSION);
        ASSERT_OK(tls_port_configure(f.port, &thirteen));
        ASSERT_EQ(shake(&f, TLS1_2_VERSION), 0);
        ASSERT_EQ(shake(&f, TLS1_3_VERSION), TLS1_3_VERSION);
        clients.clients = MAM_GATEWAY_TLS_CLIENTS_REQUIRE; /* of a CA that is not there */
        ASSERT_OK(tls_port_configure(f.port, &clients));
        ASSERT_EQ(shake(&f, TLS1_2_VERSION), 0);
        ASSERT_EQ(shake(&f, TLS1_3_VERSION), TLS1_3_VERSION);
        ASSERT_OK(tls_port_configure(f.port, &twelve));
        ASSERT_EQ(shake(&f, TLS1_2_VERSION), TLS1_2_VERSION);
        test_pair_done(&pair);
        teardown(&f);
}

TEST(sockets_that_never_were_served_are_closed) {
        Fixture f;
        int fd;

        setup(&f);
        f.port = tls_port_free(f.port);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_TRUE(connect(fd, (struct sockaddr *) &f.in, sizeof(f.in)) < 0 && errno == ECONNREFUSED);
        close(fd);
        teardown(&f);
}

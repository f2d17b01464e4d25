/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of TLS in the HTTP server: client and server in one event loop, over loopback
 */

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "libmam/http/http-server.h"
#include "libmam/http/http-tls-context.h"
#include "libmam/http/http-tls.h"
#include "libmam/http/test-tls-pair.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define BIG_SIZE  3145728U
#define GET(path) "GET " path " HTTP/1.1\r\nHost: a.test\r\n\r\n"

typedef struct Fixture {
        sd_event *event;
        MamHttpServer *server;
        MamHttpTls *tls;
        struct sockaddr_in in;
        char folder[40];
        TestPair ca;
        unsigned n_requests, n_done, n_drained, n_reports, n_problems, tunnel_ended;
        uint64_t body_size;
        char info[256], problem[128];
} Fixture;

static char big[BIG_SIZE];

static void on_done(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;

        f->n_done++;
}

static int on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Fixture *f = userdata;

        if (error < 0)
                return 0;
        if (size == 0)
                return mam_http_exchange_respond(x, 200, NULL, "got", 3);
        ASSERT_TRUE(memcmp(data, big + f->body_size, size) == 0);
        f->body_size += size;
        return 0;
}

/* Gives back what comes; "end" ends this side, before the client's. */
static int on_bytes(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Fixture *f = userdata;

        f->body_size += size;
        if (error < 0)
                return 0;
        if (size == 0 || (size == 3 && memcmp(data, "end", 3) == 0))
                return f->tunnel_ended++ == 0 ? mam_http_exchange_end(x) : 0;
        return f->tunnel_ended > 0 || mam_http_exchange_write(x, data, size) >= 0 ? 0 : -EIO;
}

static int handler(MamHttpExchange *x, void *userdata) {
        const MamHttpTlsInfo *t = mam_http_exchange_tls(x);
        const char *path = mam_http_exchange_path(x);
        Fixture *f = userdata;

        f->n_requests++;
        mam_http_exchange_set_on_done(x, on_done, f);
        ASSERT_TRUE(t);
        snprintf(f->info,
                 sizeof(f->info),
                 "%s %s %s %.8s",
                 t->version,
                 t->server_name ? t->server_name : "-",
                 t->client_subject ? t->client_subject : "-",
                 t->client_fingerprint ? t->client_fingerprint : "-");
        if (strcmp(path, "/big") == 0)
                return mam_http_exchange_respond(x, 200, NULL, big, sizeof(big));
        if (strcmp(path, "/upload") == 0)
                return mam_http_exchange_stream_body(x, on_body, f);
        if (strcmp(path, "/broken") == 0) {
                ASSERT_OK(mam_http_exchange_start(x, 200, 10));
                ASSERT_OK(mam_http_exchange_write(x, "01234", 5));
                return mam_http_exchange_end(x) == -EBADMSG ? 0 : -EIO;
        }
        if (strcmp(path, "/tunnel") == 0) {
                ASSERT_OK(mam_http_exchange_upgrade(x));
                return mam_http_exchange_stream_body(x, on_bytes, f);
        }
        return mam_http_exchange_respond(x, 200, "text/plain", "hello", 5);
}

static void on_drained(MamHttpServer *s, void *userdata) {
        Fixture *f = userdata;

        f->n_drained++;
}

static void on_report(const char *name, const char *problem, void *userdata) {
        Fixture *f = userdata;

        f->n_reports++;
        if (!problem)
                return;
        f->n_problems++;
        snprintf(f->problem, sizeof(f->problem), "%s: %s", name ? name : "-", problem);
}

static void make_certificates(Fixture *f) {
        static const struct {
                const char *name, *sans;
                bool rsa;
        } pairs[] = {
                { "default", "DNS:default.test", false },
                { "a", "DNS:A.test,DNS:www.a.test,IP:127.0.0.1", false },
                { "a-rsa", "DNS:a.test", true },
                { "wild", "DNS:*.wild.test", false },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(pairs); i++) {
                TestPair p = test_pair_new(pairs[i].name, pairs[i].sans, &f->ca, 30, pairs[i].rsa);

                test_pair_write(&p, f->folder, pairs[i].name);
                test_pair_done(&p);
        }
        test_pair_write_certificate(&f->ca, NULL, f->folder, "../ca"); /* beside the folder */
}

static const unsigned char secret[32] = "0123456789abcdef0123456789abcde";

static void start(Fixture *f, const MamHttpServerOptions *options, const MamHttpTlsOptions *tls, bool h2) {
        socklen_t size = sizeof(f->in);
        MamHttpTlsOptions o = tls ? *tls
                                  : (MamHttpTlsOptions){ .ticket_secret = secret, .ticket_secret_size = 32 };
        int fd;

        f->in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        ASSERT_OK(mam_http_server_new(&f->server, f->event, options, handler, f));
        o.certificates = f->folder;
        o.report = on_report;
        o.userdata = f;
        ASSERT_OK(mam_http_tls_new(&f->tls, f->event, &o));
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(bind(fd, (struct sockaddr *) &f->in, sizeof(f->in)));
        ASSERT_OK(listen(fd, 64));
        ASSERT_OK(getsockname(fd, (struct sockaddr *) &f->in, &size));
        ASSERT_OK(mam_http_server_listen_tls(f->server, fd, &(MamHttpListenOptions){ .h2c = h2 }, f->tls));
}

static void prepare(Fixture *f) {
        *f = (Fixture){ 0 };
        snprintf(f->folder, sizeof(f->folder), "/tmp/test-tls-XXXXXX");
        ASSERT_TRUE(mkdtemp(f->folder));
        strcat(f->folder, "/pairs");
        ASSERT_OK(mkdir(f->folder, 0700));
        ASSERT_OK(sd_event_new(&f->event));
        f->ca = test_pair_new("Test CA", NULL, NULL, 30, false);
        make_certificates(f);
        for (size_t i = 0; i < sizeof(big); i++)
                big[i] = (char) (i * 31 + i / 977);
}

static void setup(Fixture *f, const MamHttpServerOptions *options, const MamHttpTlsOptions *tls) {
        prepare(f);
        start(f, options, tls, false);
}

static void stop(Fixture *f) {
        f->server = mam_http_server_free(f->server);
        f->tls = mam_http_tls_unref(f->tls);
        ASSERT_EQ(f->n_done, f->n_requests);
}

static bool remove_at(const char *folder, const char *name) {
        char path[320];

        snprintf(path, sizeof(path), "%s/%s", folder, name);
        return unlink(path) >= 0;
}

static void remove_all(const char *folder) {
        DIR *d = opendir(folder);
        struct dirent *e;

        ASSERT_TRUE(d);
        while ((e = readdir(d)))
                (void) remove_at(folder, e->d_name);
        closedir(d);
        ASSERT_OK(rmdir(folder));
}

static void teardown(Fixture *f) {
        char path[64];

        stop(f);
        sd_event_unref(f->event);
        test_pair_done(&f->ca);
        snprintf(path, sizeof(path), "%.*s", (int) (strlen(f->folder) - 6), f->folder);
        remove_all(f->folder);
        remove_all(path);
}

/* ---- the client ---- */

typedef struct Client {
        SSL_CTX *context;
        SSL *ssl;
        SSL_SESSION *session; /* the last ticket */
        int fd;
        MamBuffer heard;
        bool eof, goodbye, failed;
} Client;

static int on_session(SSL *ssl, SSL_SESSION *session) {
        Client *c = SSL_get_app_data(ssl);

        SSL_SESSION_free(c->session);
        c->session = session;
        return 1;
}

static int dial(Fixture *f) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ASSERT_OK(connect(fd, (struct sockaddr *) &f->in, sizeof(f->in)));
        ASSERT_OK(fcntl(fd, F_SETFL, O_NONBLOCK));
        return fd;
}

static void client_init(Client *c, Fixture *f, const char *name, int version) {
        *c = (Client){ .context = SSL_CTX_new(TLS_client_method()) };
        ASSERT_TRUE(c->context);
        (void) X509_STORE_add_cert(SSL_CTX_get_cert_store(c->context), f->ca.certificate);
        SSL_CTX_set_security_level(c->context, 0); /* so that it may offer what must be refused */
        ASSERT_TRUE(SSL_CTX_set_min_proto_version(c->context, version) > 0);
        ASSERT_TRUE(SSL_CTX_set_max_proto_version(c->context, version) > 0);
        (void) SSL_CTX_set_session_cache_mode(
                        c->context,
                        SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(c->context, on_session);
        SSL_CTX_set_verify(c->context, name ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
        c->ssl = SSL_new(c->context);
        c->fd = dial(f);
        ASSERT_TRUE(c->ssl && SSL_set_fd(c->ssl, c->fd) > 0);
        (void) SSL_set_app_data(c->ssl, c);
        if (name) {
                ASSERT_TRUE(SSL_set_tlsext_host_name(c->ssl, name) > 0);
                ASSERT_TRUE(SSL_set1_host(c->ssl, name) > 0);
        }
        SSL_set_connect_state(c->ssl);
}

/* Another connection with what is known from the last one. */
static void client_again(Client *c, Fixture *f) {
        const char *name = SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name);
        SSL *ssl = SSL_new(c->context);

        ASSERT_TRUE(ssl && c->session);
        (void) SSL_set_app_data(ssl, c);
        if (name) {
                ASSERT_TRUE(SSL_set_tlsext_host_name(ssl, name) > 0);
                ASSERT_TRUE(SSL_set1_host(ssl, name) > 0);
        }
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else it drops the session */
        SSL_free(c->ssl);
        close(c->fd);
        c->ssl = ssl;
        c->fd = dial(f);
        c->eof = c->goodbye = c->failed = false;
        mam_buffer_reset(&c->heard);
        ASSERT_TRUE(SSL_set_fd(ssl, c->fd) > 0 && SSL_set_session(ssl, c->session) > 0);
        SSL_set_connect_state(ssl);
}

static void client_done(Client *c) {
        SSL_SESSION_free(c->session);
        SSL_free(c->ssl);
        SSL_CTX_free(c->context);
        mam_buffer_done(&c->heard);
        close(c->fd);
}

static void turn(Fixture *f) {
        ASSERT_OK(sd_event_run(f->event, 1000));
}

#define RUN_UNTIL(f, condition)                                              \
        do {                                                                 \
                uint64_t _end = mam_now_monotonic() + 20 * MAM_USEC_PER_SEC; \
                while (!(condition)) {                                       \
                        ASSERT_TRUE(mam_now_monotonic() < _end);             \
                        turn(f);                                             \
                }                                                            \
        } while (0)

/* 1 done, 0 not yet; *c says how it ended. */
static bool wants(Client *c, int r) {
        int why = SSL_get_error(c->ssl, r);

        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
                return true;
        c->eof = true;
        c->goodbye = why == SSL_ERROR_ZERO_RETURN;
        c->failed = why == SSL_ERROR_SSL;
        return false;
}

static bool shake(Fixture *f, Client *c) {
        for (unsigned i = 0; i < 10000; i++) {
                int r;

                ERR_clear_error();
                r = SSL_do_handshake(c->ssl);
                if (r > 0)
                        return true;
                if (!wants(c, r))
                        return false;
                turn(f);
        }
        return false;
}

static void hear(Client *c) {
        for (;;) {
                size_t n = 0;
                char *p;

                ASSERT_OK(mam_buffer_reserve(&c->heard, 16384, &p));
                ERR_clear_error();
                if (SSL_read_ex(c->ssl, p, 16384, &n) <= 0) {
                        (void) wants(c, 0);
                        return;
                }
                mam_buffer_commit(&c->heard, n);
        }
}

static void say(Fixture *f, Client *c, const char *data, size_t size) {
        while (size > 0) {
                size_t n = 0;

                ERR_clear_error();
                if (SSL_write_ex(c->ssl, data, size, &n) > 0) {
                        data += n;
                        size -= n;
                } else {
                        ASSERT_TRUE(wants(c, 0));
                        hear(c);
                        turn(f);
                }
        }
}

static const char *ask(Fixture *f, Client *c, const char *request, const char *until) {
        mam_buffer_reset(&c->heard);
        say(f, c, request, strlen(request));
        RUN_UNTIL(f, (hear(c), strstr(mam_buffer_bytes(&c->heard), until) || c->eof));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&c->heard), until));
        return mam_buffer_bytes(&c->heard);
}

/* Whose certificate a client that asks for name gets. */
static void check_served(Fixture *f, const char *name, const char *want) {
        char got[64] = "";
        Client c;

        client_init(&c, f, NULL, TLS1_3_VERSION);
        if (name)
                ASSERT_TRUE(SSL_set_tlsext_host_name(c.ssl, name) > 0);
        ASSERT_TRUE(shake(f, &c));
        X509_NAME_get_text_by_NID(
                        X509_get_subject_name(SSL_get0_peer_certificate(c.ssl)),
                        NID_commonName,
                        got,
                        sizeof(got));
        ASSERT_STREQ(got, want);
        client_done(&c);
}

TEST(speaks_http_over_both_versions) {
        static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
        Fixture f;
        Client c;

        setup(&f, NULL, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(versions); i++) {
                client_init(&c, &f, "a.test", versions[i]);
                ASSERT_TRUE(shake(&f, &c));
                ASSERT_TRUE(strstr(ask(&f, &c, GET("/x"), "hello"), "HTTP/1.1 200 OK\r\n"));
                ASSERT_STREQ(f.info, i == 0 ? "TLSv1.2 a.test - -" : "TLSv1.3 a.test - -");
                ASSERT_TRUE(strstr(ask(&f, &c, GET("/x"), "hello"), "HTTP/1.1 200 OK\r\n"));
                client_done(&c);
        }
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        teardown(&f);
}

TEST(requests_may_be_cut_anywhere) {
        static const char request[] = GET("/x");
        Fixture f;
        Client c;

        setup(&f, NULL, NULL);
        client_init(&c, &f, "a.test", TLS1_3_VERSION);
        ASSERT_TRUE(shake(&f, &c));
        for (size_t i = 0; i < sizeof(request) - 1; i++) {
                say(&f, &c, request + i, 1); /* a record each */
                turn(&f);
        }
        ASSERT_TRUE(strstr(ask(&f, &c, GET("/1") GET("/2"), "hello"), " 200 OK"));
        RUN_UNTIL(&f, (hear(&c), f.n_done == 3 && c.heard.size > 300));
        client_done(&c);
        teardown(&f);
}

TEST(large_bodies_pass_both_ways) {
        char head[128];
        const char *body;
        Fixture f;
        Client c;

        setup(&f, &(MamHttpServerOptions){ .body_max = BIG_SIZE }, NULL);
        client_init(&c, &f, "a.test", TLS1_3_VERSION);
        ASSERT_TRUE(shake(&f, &c));
        snprintf(head,
                 sizeof(head),
                 "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %u\r\n\r\n",
                 BIG_SIZE);
        say(&f, &c, head, strlen(head));
        say(&f, &c, big, sizeof(big));
        RUN_UNTIL(&f, (hear(&c), strstr(mam_buffer_bytes(&c.heard), "got")));
        ASSERT_EQ(f.body_size, BIG_SIZE);

        mam_buffer_reset(&c.heard);
        say(&f, &c, GET("/big"), strlen(GET("/big")));
        for (unsigned i = 0; i < 50; i++)
                turn(&f); /* until the socket takes no more */
        ASSERT_EQ(mam_http_server_in_flight(f.server), 0);
        RUN_UNTIL(&f, (hear(&c), c.heard.size > BIG_SIZE));
        body = strstr(mam_buffer_bytes(&c.heard), "\r\n\r\n") + 4;
        RUN_UNTIL(&f,
                  (hear(&c),
                   body = strstr(mam_buffer_bytes(&c.heard), "\r\n\r\n") + 4,
                   mam_buffer_bytes(&c.heard) + c.heard.size - body == BIG_SIZE));
        ASSERT_TRUE(memcmp(body, big, BIG_SIZE) == 0);
        client_done(&c);
        teardown(&f);
}

TEST(names_choose_certificates) {
        Fixture f;

        setup(&f, NULL, NULL);
        check_served(&f, NULL, "default");
        check_served(&f, "unknown.test", "default");
        check_served(&f, "a.test", "a");
        check_served(&f, "WWW.A.TEST", "a");
        check_served(&f, "x.wild.test", "wild");
        check_served(&f, "wild.test", "default");
        check_served(&f, "x.y.wild.test", "default");
        teardown(&f);
}

TEST(rsa_and_ec_serve_the_same_name) {
        Fixture f;
        Client c;

        setup(&f, NULL, NULL);
        client_init(&c, &f, "a.test", TLS1_2_VERSION);
        ASSERT_TRUE(SSL_set_cipher_list(c.ssl, "ECDHE-RSA-AES128-GCM-SHA256") > 0);
        ASSERT_TRUE(shake(&f, &c));
        ASSERT_EQ(EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_get0_peer_certificate(c.ssl))), EVP_PKEY_RSA);
        client_done(&c);
        teardown(&f);
}

TEST(old_versions_and_weak_ciphers_are_refused) {
        Fixture f;
        Client c;

        setup(&f, NULL, NULL);
        client_init(&c, &f, "a.test", TLS1_1_VERSION);
        ASSERT_TRUE(!shake(&f, &c) && c.failed);
        client_done(&c);
        client_init(&c, &f, "a.test", TLS1_2_VERSION);
        ASSERT_TRUE(SSL_set_cipher_list(c.ssl, "AES128-SHA:ECDHE-RSA-AES128-SHA") > 0);
        ASSERT_TRUE(!shake(&f, &c) && c.failed);
        client_done(&c);
        stop(&f);

        start(&f, NULL, &(MamHttpTlsOptions){ .version_min = 13 }, false);
        client_init(&c, &f, "a.test", TLS1_2_VERSION);
        ASSERT_TRUE(!shake(&f, &c) && c.failed);
        client_done(&c);
        teardown(&f);
}

TEST(renegotiation_is_refused) {
        Fixture f;
        Client c;

        setup(&f, NULL, NULL);
        client_init(&c, &f, "a.test", TLS1_2_VERSION);
        ASSERT_TRUE(shake(&f, &c));
        ASSERT_TRUE(SSL_renegotiate(c.ssl) > 0);
        ASSERT_TRUE(!shake(&f, &c) && c.failed);
        ASSERT_EQ(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
        ASSERT_EQ(SSL_CTX_sess_accept_good(http_tls_store_context(f.tls->store)), 1);
        ASSERT_EQ(f.n_requests, 0);
        client_done(&c);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        teardown(&f);
}

/* Whether a client that was at the first server is known to a second one. */
static bool is_resumed(Fixture *f, int version, const MamHttpTlsOptions *second, uint64_t later) {
        bool resumed;
        Client c;

        client_init(&c, f, "a.test", version);
        ASSERT_TRUE(shake(f, &c));
        (void) ask(f, &c, GET("/x"), "hello");
        ASSERT_TRUE(!SSL_session_reused(c.ssl));
        stop(f);

        start(f, NULL, second, false);
        if (later > 0)
                http_tls_tickets_set_time(f->tls->tickets, (uint64_t) time(NULL) + later);
        client_again(&c, f);
        ASSERT_TRUE(shake(f, &c));
        resumed = SSL_session_reused(c.ssl);
        (void) ask(f, &c, GET("/x"), "hello");
        client_done(&c);
        return resumed;
}

TEST(sessions_are_resumed_by_all_that_share_the_secret) {
        static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
        static const unsigned char other[32] = "another secret, of the same size";
        MamHttpTlsOptions same = { .ticket_secret = secret, .ticket_secret_size = 32 },
                          different = { .ticket_secret = other, .ticket_secret_size = 32 }, none = { 0 };
        Fixture f;

        setup(&f, NULL, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(versions); i++) {
                ASSERT_TRUE(is_resumed(&f, versions[i], &same, 0));
                ASSERT_TRUE(is_resumed(&f, versions[i], &same, 43200));
                stop(&f);
                start(&f, NULL, &same, false);
                ASSERT_TRUE(!is_resumed(&f, versions[i], &same, 86400 + 43200));
                stop(&f);
                start(&f, NULL, &same, false);
                ASSERT_TRUE(!is_resumed(&f, versions[i], &different, 0));
                ASSERT_TRUE(!is_resumed(&f, versions[i], &none, 0));
                stop(&f);
                start(&f, NULL, &same, false);
        }
        teardown(&f);
}

TEST(a_ticket_secret_has_a_least_size) {
        _cleanup_(mam_http_tls_unrefp) MamHttpTls *t = NULL;
        Fixture f;

        setup(&f, NULL, NULL);
        ASSERT_EQ(mam_http_tls_new(
                                  &t,
                                  f.event,
                                  &(MamHttpTlsOptions){ .certificates = f.folder,
                                                        .ticket_secret = secret,
                                                        .ticket_secret_size = 31 }),
                  -EINVAL);
        teardown(&f);
}

TEST(files_that_change_are_read_again) {
        TestPair renewed, other;
        Fixture f;
        Client old;

        setup(&f, NULL, NULL);
        ASSERT_EQ(f.n_reports, 4);
        ASSERT_EQ(f.n_problems, 0);
        client_init(&old, &f, "a.test", TLS1_3_VERSION);
        ASSERT_TRUE(shake(&f, &old));

        /* Between the two writes they do not match: nothing changes until they do. */
        renewed = test_pair_new("renewed", "DNS:www.a.test", &f.ca, 30, false);
        test_pair_write_certificate(&renewed, NULL, f.folder, "a");
        ASSERT_EQ(mam_http_tls_reload(f.tls), 1);
        ASSERT_STREQ(f.problem, "a: its .key does not belong to its .crt");
        check_served(&f, "www.a.test", "a");
        ASSERT_EQ(mam_http_tls_reload(f.tls), 0); /* nothing happened since: told once */
        ASSERT_EQ(f.n_problems, 1);
        test_pair_write_key(&renewed, f.folder, "a");
        RUN_UNTIL(&f, f.n_reports == 6); /* by itself */
        ASSERT_EQ(f.n_problems, 1);
        check_served(&f, "www.a.test", "renewed");
        (void) ask(&f, &old, GET("/x"), "hello");

        /* A pair more; and one less. */
        other = test_pair_new("other", "DNS:other.test", &f.ca, 30, false);
        test_pair_write(&other, f.folder, "other");
        RUN_UNTIL(&f, f.n_reports >= 7);
        check_served(&f, "other.test", "other");
        test_pair_done(&other);
        ASSERT_TRUE(remove_at(f.folder, "other.crt") && remove_at(f.folder, "other.key"));
        ASSERT_EQ(mam_http_tls_reload(f.tls), 1);
        check_served(&f, "other.test", "default");

        test_pair_done(&renewed);
        client_done(&old);
        teardown(&f);
}

TEST(what_is_broken_replaces_nothing) {
        TestPair expired;
        FILE *file;
        Fixture f;

        setup(&f, NULL, NULL);
        expired = test_pair_new("expired", "DNS:a.test", &f.ca, -1, false);
        test_pair_write(&expired, f.folder, "wild");
        ASSERT_EQ(mam_http_tls_reload(f.tls), 1);
        ASSERT_STREQ(f.problem, "wild: it has expired");
        check_served(&f, "x.wild.test", "wild");

        file = test_pair_open(f.folder, "wild", ".crt");
        fputs("no certificate\n", file);
        fclose(file);
        ASSERT_EQ(mam_http_tls_reload(f.tls), 1);
        ASSERT_STREQ(f.problem, "wild: its .crt is not a certificate in PEM");
        check_served(&f, "x.wild.test", "wild");

        file = test_pair_open(f.folder, "wild", ".crt");
        ASSERT_TRUE(PEM_write_X509(file, f.ca.certificate) > 0);
        fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", file);
        fclose(file);
        ASSERT_EQ(mam_http_tls_reload(f.tls), 1);
        ASSERT_STREQ(f.problem, "wild: its chain has something that is not a certificate");

        file = test_pair_open(f.folder, "default", ".key");
        fclose(file);
        ASSERT_EQ(mam_http_tls_reload(f.tls), 1);
        ASSERT_STREQ(f.problem, "default: its .key is not a private key in PEM without a passphrase");
        check_served(&f, NULL, "default");
        test_pair_done(&expired);
        teardown(&f);
}

TEST(without_a_certificate_there_is_no_tls) {
        _cleanup_(mam_http_tls_unrefp) MamHttpTls *t = NULL;
        char folder[64];
        Fixture f;

        setup(&f, NULL, NULL);
        snprintf(folder, sizeof(folder), "%s/..", f.folder);
        ASSERT_TRUE(remove_at(folder, "ca.crt"));
        ASSERT_EQ(mam_http_tls_new(
                                  &t,
                                  f.event,
                                  &(MamHttpTlsOptions){ .certificates = folder,
                                                        .report = on_report,
                                                        .userdata = &f }),
                  -ENOENT);
        ASSERT_STREQ(f.problem, "-: the folder holds no usable certificate");
        ASSERT_EQ(mam_http_tls_new(
                                  &t,
                                  f.event,
                                  &(MamHttpTlsOptions){ .certificates = "/nonexistent",
                                                        .report = on_report,
                                                        .userdata = &f }),
                  -ENOENT);
        teardown(&f);
}

TEST(clients_may_have_to_show_a_certificate) {
        TestPair good, stranger, strange_ca;
        char ca[64];
        Fixture f;
        Client c;

        prepare(&f);
        snprintf(ca, sizeof(ca), "%s/../ca.crt", f.folder);
        good = test_pair_new("robot", NULL, &f.ca, 1, false);
        strange_ca = test_pair_new("Other CA", NULL, NULL, 1, false);
        stranger = test_pair_new("robot", NULL, &strange_ca, 1, false);

        for (MamHttpTlsClients mode = MAM_HTTP_TLS_CLIENTS_REQUEST; mode <= MAM_HTTP_TLS_CLIENTS_REQUIRE;
             mode++) {
                MamHttpTlsOptions o = { .clients = mode,
                                        .client_ca = ca,
                                        .ticket_secret = secret,
                                        .ticket_secret_size = 32 };

                start(&f, NULL, &o, false);
                for (int i = 0; i < 4; i++) {
                        const TestPair *shown = i == 0 ? NULL : i == 1 ? &stranger : &good;
                        int version = i == 3 ? TLS1_2_VERSION : TLS1_3_VERSION;
                        bool ok = shown == &good || (!shown && mode == MAM_HTTP_TLS_CLIENTS_REQUEST);

                        client_init(&c, &f, "a.test", version);
                        if (shown) {
                                ASSERT_TRUE(SSL_use_certificate(c.ssl, shown->certificate) > 0);
                                ASSERT_TRUE(SSL_use_PrivateKey(c.ssl, shown->key) > 0);
                        }
                        /* With 1.3 a client learns of it only after its own handshake is done. */
                        if (shake(&f, &c) && ok) {
                                (void) ask(&f, &c, GET("/x"), "hello");
                                ASSERT_TRUE(shown ? strstr(f.info, " a.test CN=robot ") &&
                                                                            !strstr(f.info, " -")
                                                  : strstr(f.info, "a.test - -") != NULL);
                        } else {
                                ASSERT_TRUE(!ok);
                                RUN_UNTIL(&f, (hear(&c), c.eof));
                                ASSERT_TRUE(c.failed); /* an alert, not just an end */
                                ASSERT_EQ(c.heard.size, 0);
                        }
                        if (i == 2) {
                                client_again(&c, &f);
                                ASSERT_TRUE(shake(&f, &c) && SSL_session_reused(c.ssl));
                                (void) ask(&f, &c, GET("/x"), "hello");
                                ASSERT_TRUE(strstr(f.info, " a.test CN=robot ") && !strstr(f.info, " -"));
                        }
                        client_done(&c);
                }
                stop(&f);
        }
        start(&f, NULL, NULL, false); /* for teardown */
        test_pair_done(&good);
        test_pair_done(&stranger);
        test_pair_done(&strange_ca);
        teardown(&f);
}

TEST(alpn_agrees_or_fails) {
        static const unsigned char http1[] = "\x08http/1.1", other[] = "\x03xyz",
                                   both[] = "\x02h2\x08http/1.1";
        const unsigned char *got;
        unsigned size;
        Fixture f;
        Client c;

        setup(&f, NULL, NULL);
        client_init(&c, &f, "a.test", TLS1_3_VERSION);
        ASSERT_EQ(SSL_set_alpn_protos(c.ssl, http1, sizeof(http1) - 1), 0);
        ASSERT_TRUE(shake(&f, &c));
        SSL_get0_alpn_selected(c.ssl, &got, &size);
        ASSERT_TRUE(size == 8 && memcmp(got, "http/1.1", 8) == 0);
        client_done(&c);

        client_init(&c, &f, "a.test", TLS1_3_VERSION);
        ASSERT_EQ(SSL_set_alpn_protos(c.ssl, other, sizeof(other) - 1), 0);
        ASSERT_TRUE(!shake(&f, &c) && c.failed);
        client_done(&c);
        stop(&f);

        for (int h2 = 0; h2 < 2; h2++) {
                start(&f, NULL, NULL, h2);
                client_init(&c, &f, "a.test", TLS1_3_VERSION);
                ASSERT_EQ(SSL_set_alpn_protos(c.ssl, both, sizeof(both) - 1), 0);
                ASSERT_TRUE(shake(&f, &c));
                SSL_get0_alpn_selected(c.ssl, &got, &size);
                ASSERT_EQ(size, h2 ? 2 : 8);
                client_done(&c);
                stop(&f);
        }
        start(&f, NULL, NULL, false);
        teardown(&f);
}

/* The bytes that come back from a connection that says text (or nothing), until it is closed. */
static void say_plainly(Fixture *f, const char *data, size_t size, MamBuffer *ret) {
        int fd = dial(f);
        ssize_t n = -1;

        if (size > 0)
                ASSERT_EQ(send(fd, data, size, MSG_NOSIGNAL), size);
        do {
                char *p;

                turn(f);
                ASSERT_OK(mam_buffer_reserve(ret, 4096, &p));
                n = recv(fd, p, 4096, 0);
                if (n > 0)
                        mam_buffer_commit(ret, (size_t) n);
        } while (n > 0 || (n < 0 && errno == EAGAIN));
        ASSERT_EQ(n, 0); /* not a reset: the alert arrives */
        close(fd);
}

TEST(garbage_gets_an_alert_and_plain_http_an_answer) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        static const char garbage[] = "\x16\x03\x01\x00\x05zzzzzzzzzzzzzzzzzzzzzzzzzzz";
        Fixture f;

        setup(&f, NULL, NULL);
        say_plainly(&f, garbage, sizeof(garbage) - 1, &b);
        ASSERT_TRUE(b.size == 7 && mam_buffer_bytes(&b)[0] == 21);
        mam_buffer_reset(&b);
        say_plainly(&f, "SSH-2.0-OpenSSH_9.2\r\n", 21, &b); /* no TLS at all: OpenSSL says nothing */
        ASSERT_EQ(b.size, 0);
        mam_buffer_reset(&b);
        say_plainly(&f, GET("/x"), strlen(GET("/x")), &b);
        ASSERT_TRUE(strncmp(mam_buffer_bytes(&b), "HTTP/1.1 400 ", 13) == 0);
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "HTTPS"));
        ASSERT_EQ(f.n_requests, 0);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        teardown(&f);
}

TEST(slow_handshakes_are_given_up) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        Client c;

        setup(&f, &(MamHttpServerOptions){ .handshake_timeout_usec = 200000 }, NULL);
        say_plainly(&f, "", 0, &b);
        say_plainly(&f, "\x16\x03\x01", 3, &b);
        ASSERT_EQ(b.size, 0);
        /* One that stands is not subject to it. */
        client_init(&c, &f, "a.test", TLS1_3_VERSION);
        ASSERT_TRUE(shake(&f, &c));
        for (uint64_t end = mam_now_monotonic() + 400000; mam_now_monotonic() < end;)
                turn(&f);
        (void) ask(&f, &c, GET("/x"), "hello");
        client_done(&c);
        teardown(&f);
}

TEST(handshakes_are_bounded_and_the_oldest_gives_way) {
        Fixture f;
        int fds[3];
        Client c;
        char x;

        setup(&f, NULL, &(MamHttpTlsOptions){ .handshakes_max = 2 });
        for (size_t i = 0; i < MAM_ELEMENTSOF(fds); i++) {
                fds[i] = dial(&f);
                ASSERT_EQ(send(fds[i], "\x16", 1, MSG_NOSIGNAL), 1);
                RUN_UNTIL(&f, mam_http_server_connections(f.server) == (i < 2 ? i + 1 : 2));
                RUN_UNTIL(&f, f.tls->n_handshakes == (i < 2 ? i + 1 : 2));
        }
        RUN_UNTIL(&f, recv(fds[0], &x, 1, 0) == 0 || errno == ECONNRESET);
        ASSERT_EQ(f.tls->n_handshakes, 2);
        client_init(&c, &f, "a.test", TLS1_3_VERSION);
        ASSERT_TRUE(shake(&f, &c));
        RUN_UNTIL(&f, f.tls->n_handshakes == 1);
        ASSERT_TRUE(recv(fds[2], &x, 1, 0) < 0 && errno == EAGAIN);
        (void) ask(&f, &c, GET("/x"), "hello");
        client_done(&c);
        for (size_t i = 0; i < MAM_ELEMENTSOF(fds); i++)
                close(fds[i]);
        teardown(&f);
}

TEST(the_end_is_told_and_a_truncated_answer_has_none) {
        Fixture f;
        Client c;

        setup(&f, NULL, NULL);
        client_init(&c, &f, "a.test", TLS1_3_VERSION);
        ASSERT_TRUE(shake(&f, &c));
        (void) ask(&f, &c, "GET /x HTTP/1.0\r\n\r\n", "hello");
        RUN_UNTIL(&f, (hear(&c), c.eof));
        ASSERT_TRUE(c.goodbye);
        client_done(&c);

        client_init(&c, &f, "a.test", TLS1_3_VERSION);
        ASSERT_TRUE(shake(&f, &c));
        say(&f, &c, GET("/broken"), strlen(GET("/broken")));
        RUN_UNTIL(&f, (hear(&c), c.eof));
        ASSERT_TRUE(!c.goodbye);
        client_done(&c);

        /* The client's goodbye ends an idle connection. */
        client_init(&c, &f, "a.test", TLS1_3_VERSION);
        ASSERT_TRUE(shake(&f, &c));
        (void) ask(&f, &c, GET("/x"), "hello");
        (void) SSL_shutdown(c.ssl);
        RUN_UNTIL(&f, (hear(&c), c.eof));
        ASSERT_TRUE(c.goodbye);
        client_done(&c);
        teardown(&f);
}

TEST(draining_says_goodbye) {
        Fixture f;
        Client idle, shaking;

        setup(&f, NULL, NULL);
        client_init(&idle, &f, "a.test", TLS1_3_VERSION);
        client_init(&shaking, &f, "a.test", TLS1_3_VERSION);
        ASSERT_TRUE(shake(&f, &idle));
        (void) ask(&f, &idle, GET("/x"), "hello");
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &f));
        ASSERT_TRUE(shake(&f, &shaking)); /* from the backlog: served */
        ASSERT_TRUE(strstr(ask(&f, &shaking, GET("/x"), "hello"), "Connection: close\r\n"));
        RUN_UNTIL(&f, (hear(&idle), idle.eof));
        ASSERT_TRUE(idle.goodbye);
        client_done(&idle);
        client_done(&shaking);
        RUN_UNTIL(&f, f.n_drained == 1);
        teardown(&f);
}

TEST(certificates_change_under_load_without_a_failure) {
        TestPair pairs[2];
        Fixture f;

        setup(&f, NULL, NULL);
        pairs[0] = test_pair_new("one", "DNS:a.test", &f.ca, 30, false);
        pairs[1] = test_pair_new("two", "DNS:a.test", &f.ca, 30, false);
        for (unsigned i = 0; i < 40; i++) {
                Client c;

                client_init(&c, &f, "a.test", i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION);
                turn(&f); /* somewhere in the handshake */
                test_pair_write(&pairs[i % 2], f.folder, "a");
                ASSERT_EQ(mam_http_tls_reload(f.tls), 1);
                ASSERT_TRUE(shake(&f, &c));
                (void) ask(&f, &c, GET("/x"), "hello");
                client_done(&c);
        }
        ASSERT_EQ(f.n_problems, 0);
        test_pair_done(&pairs[0]);
        test_pair_done(&pairs[1]);
        teardown(&f);
}

#define UPGRADE "GET /tunnel HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n"

TEST(a_tunnel_can_be_half_closed_from_both_sides) {
        for (int server_first = 0; server_first < 2; server_first++) {
                Fixture f;
                Client c;

                setup(&f, NULL, NULL);
                client_init(&c, &f, "a.test", server_first ? TLS1_3_VERSION : TLS1_2_VERSION);
                ASSERT_TRUE(shake(&f, &c));
                ASSERT_TRUE(strstr(ask(&f, &c, UPGRADE, "\r\n\r\n"), "HTTP/1.1 101 "));
                (void) ask(&f, &c, "bytes", "bytes");

                if (server_first) {
                        say(&f, &c, "end", 3);
                        RUN_UNTIL(&f, (hear(&c), c.eof));
                        ASSERT_TRUE(c.goodbye);
                        say(&f, &c, "more", 4); /* still heard */
                        RUN_UNTIL(&f, f.body_size == 5 + 3 + 4);
                        ASSERT_EQ(f.n_done, 0);
                        (void) SSL_shutdown(c.ssl);
                } else {
                        (void) SSL_shutdown(c.ssl);
                        RUN_UNTIL(&f, (hear(&c), c.eof));
                        ASSERT_TRUE(c.goodbye);
                }
                RUN_UNTIL(&f, f.n_done == 1 && mam_http_server_connections(f.server) == 0);
                client_done(&c);
                teardown(&f);
        }
}

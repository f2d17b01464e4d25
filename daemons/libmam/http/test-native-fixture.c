/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "libmam/http/test-native.h"

#include <sys/socket.h>
#include <sys/un.h>

char big[BIG_SIZE];

void settle(Fixture *f) {
        while (sd_event_run(f->event, 0) > 0)
                ;
}

/* --- the server --- */

int on_collected(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Fixture *f = userdata;

        if (error < 0) {
                f->n_body_errors++;
                return 0;
        }
        (void) mam_http_exchange_trailers(x, &f->n_trailers);
        return mam_http_exchange_respond(x, 200, "text/plain", data, size);
}

static void on_done(MamHttpExchange *x, void *userdata) {
        ((Fixture *) userdata)->n_done++;
}

static int relay_on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        int64_t length = head->framing == MAM_HTTP_BODY_LENGTH ? (int64_t) head->content_length : -1;

        return mam_http_exchange_start(userdata, head->status, length);
}

static int relay_on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        int r;

        r = mam_http_exchange_write(userdata, data, size);
        if (r == 0)
                mam_http_call_pause(call);
        return r < 0 ? r : 0;
}

static void relay_on_end(MamHttpCall *call, int error, void *userdata) {
        ASSERT_EQ(error, 0);
        ASSERT_OK(mam_http_exchange_end(userdata));
}

static void relay_on_upstream_writable(MamHttpCall *call, void *userdata) {
        mam_http_exchange_resume_body(userdata);
}

static void relay_on_client_writable(MamHttpExchange *x, void *userdata) {
        mam_http_call_resume(userdata);
}

static int relay_on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        MamHttpCall *call = userdata;
        int r;

        ASSERT_EQ(error, 0);
        if (size == 0)
                return mam_http_call_end_body(call);
        r = mam_http_call_write(call, data, size);
        if (r == 0)
                mam_http_exchange_pause_body(x);
        return r < 0 ? r : 0;
}

static void relay_on_done(MamHttpExchange *x, void *userdata) {
        mam_http_call_free(userdata);
}

static int relay(Fixture *f, MamHttpExchange *x) {
        static const MamHttpCallbacks relay_callbacks = { .on_head = relay_on_head,
                                                          .on_data = relay_on_data,
                                                          .on_writable = relay_on_upstream_writable,
                                                          .on_end = relay_on_end };
        const MamHttpHead *h = mam_http_exchange_head(x);
        MamHttpCall *call;

        ASSERT_OK(mam_http_call_new(&call, f->upstream, "POST", "/echo", &relay_callbacks, x));
        ASSERT_OK(mam_http_call_set_streaming(
                        call,
                        h->framing == MAM_HTTP_BODY_LENGTH ? (int64_t) h->content_length : -1));
        mam_http_exchange_set_on_done(x, relay_on_done, call);
        mam_http_exchange_set_on_writable(x, relay_on_client_writable, call);
        ASSERT_OK(mam_http_call_start(call));
        return mam_http_exchange_stream_body(x, relay_on_body, call);
}

static int answer_with_trailers(MamHttpExchange *x, bool told) {
        ASSERT_OK(mam_http_exchange_add_field(x, "X-Test", "one"));
        ASSERT_OK(mam_http_exchange_start(x, 200, told ? 5 : -1));
        ASSERT_OK(mam_http_exchange_add_trailer(x, "Grpc-Status", "7"));
        ASSERT_OK(mam_http_exchange_add_trailer(x, "Grpc-Message", ""));
        ASSERT_EQ(mam_http_exchange_write(x, "hello", 5), 1);
        return mam_http_exchange_end(x);
}

static int handler(MamHttpExchange *x, void *userdata) {
        const char *path = mam_http_exchange_path(x), *host;
        Fixture *f = userdata;
        uid_t uid = 0;

        f->n_requests++;
        f->last_version = mam_http_exchange_version(x);
        mam_http_exchange_set_on_done(x, on_done, f);
        ASSERT_OK(mam_http_exchange_peer_uid(x, &uid));
        ASSERT_EQ(uid, getuid());
        ASSERT_TRUE(!mam_http_exchange_upgrade_protocol(x));
        if (strcmp(path, "/hello") == 0)
                return mam_http_exchange_respond(x, 200, NULL, "hello\n", 6);
        if (strcmp(path, "/nothing") == 0)
                return mam_http_exchange_respond(x, 204, NULL, NULL, 0);
        if (strcmp(path, "/empty") == 0) {
                ASSERT_OK(mam_http_exchange_start(x, 200, -1));
                return mam_http_exchange_end(x);
        }
        if (strcmp(path, "/echo") == 0)
                return mam_http_exchange_read_body(x, f->body_max, on_collected, f);
        if (strcmp(path, "/relay") == 0)
                return relay(f, x);
        if (strcmp(path, "/host") == 0) {
                host = mam_http_exchange_header(x, "Host");
                return mam_http_exchange_respond(x, 200, NULL, host, strlen(host));
        }
        if (strcmp(path, "/big") == 0) {
                ASSERT_OK(mam_http_exchange_start(x, 200, sizeof(big)));
                ASSERT_OK(mam_http_exchange_write(x, big, sizeof(big)));
                return mam_http_exchange_end(x);
        }
        if (strncmp(path, "/trailers", 9) == 0)
                return answer_with_trailers(x, strcmp(path, "/trailers-told") == 0);
        if (strcmp(path, "/abort") == 0) {
                ASSERT_OK(mam_http_exchange_start(x, 200, 100));
                ASSERT_EQ(mam_http_exchange_write(x, "begin", 5), 1);
                mam_http_exchange_abort(x);
                return 0;
        }
        if (strcmp(path, "/fail") == 0)
                return -EIO;
        if (strcmp(path, "/later") == 0) {
                f->later = x;
                return 0;
        }
        return mam_http_exchange_problem(x, 404, NULL, "No such thing");
}

/* --- the client --- */

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        const MamHttpField *field = mam_http_find(head, "X-Test");
        Answer *a = userdata;

        a->n_heads++;
        a->status = head->status;
        a->framing = head->framing;
        a->length = head->content_length;
        a->has_length = mam_http_find(head, "Content-Length") != NULL;
        if (field)
                snprintf(a->field, sizeof(a->field), "%.*s", (int) field->value.size, field->value.data);
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Answer *a = userdata;

        ASSERT_OK(mam_buffer_append(&a->body, data, size));
        if (a->pause)
                mam_http_call_pause(call);
        return a->cancel_with;
}

static void on_writable(MamHttpCall *call, void *userdata) {
        ((Answer *) userdata)->n_writable++;
}

static void on_trailers(MamHttpCall *call, const MamHttpField *fields, size_t n, void *userdata) {
        Answer *a = userdata;

        ASSERT_EQ(a->n_ends, 0);
        a->n_trailers += (unsigned) n;
        snprintf(a->trailer,
                 sizeof(a->trailer),
                 "%.*s=%.*s",
                 (int) fields[0].name.size,
                 fields[0].name.data,
                 (int) fields[0].value.size,
                 fields[0].value.data);
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Answer *a = userdata;

        a->n_ends++;
        a->error = error;
        a->was_sent = mam_http_call_is_sent(call);
        mam_http_call_free(call);
        if (a->free_client)
                *a->free_client = mam_http_client_free(*a->free_client);
}

const MamHttpCallbacks callbacks = { .on_head = on_head,
                                     .on_data = on_data,
                                     .on_writable = on_writable,
                                     .on_trailers = on_trailers,
                                     .on_end = on_end };

void setup_with(Fixture *f, Peer peer, const MamHttpClientOptions *options) {
        MamHttpClientOptions o = { 0 };
        struct sockaddr_un un = { .sun_family = AF_UNIX };

        if (options)
                o = *options;
        o.protocol = MAM_HTTP_PROTOCOL_NATIVE;
        *f = (Fixture){ .body_max = BIG_SIZE };
        snprintf(f->folder, sizeof(f->folder), "/tmp/test-native-XXXXXX");
        ASSERT_TRUE(mkdtemp(f->folder));
        snprintf(f->path, sizeof(f->path), "%s/socket", f->folder);
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", f->path);
        ASSERT_OK(sd_event_new(&f->event));
        f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ASSERT_OK(bind(f->listener, (struct sockaddr *) &un, sizeof(un)));
        ASSERT_OK(listen(f->listener, 4));
        if (peer != PEER_BY_HAND) {
                MamHttpServerOptions s = { .body_max = BIG_SIZE };

                ASSERT_OK(mam_http_server_new(&f->server, f->event, &s, handler, f));
                ASSERT_OK(mam_http_server_listen_with(
                                f->server,
                                MAM_TAKE_FD(f->listener),
                                &(MamHttpListenOptions){ .native = peer == PEER_NATIVE }));
        }
        ASSERT_OK(mam_http_client_new(&f->client, f->event, f->path, &o));
        ASSERT_OK(mam_http_client_new(&f->upstream, f->event, f->path, &o));
}

void setup(Fixture *f, Peer peer) {
        setup_with(f, peer, NULL);
}

void teardown(Fixture *f) {
        mam_http_client_free(f->client);
        mam_http_server_free(f->server);
        mam_http_client_free(f->upstream);
        sd_event_unref(f->event);
        if (f->listener >= 0)
                close(f->listener);
        (void) unlink(f->path);
        ASSERT_OK(rmdir(f->folder));
}

MamHttpCall *begin(Fixture *f, Answer *a, const char *method, const char *target) {
        MamHttpCall *call;

        *a = (Answer){ 0 };
        ASSERT_OK(mam_http_call_new(&call, f->client, method, target, &callbacks, a));
        return call;
}

MamHttpCall *start(Fixture *f, Answer *a, const char *target) {
        MamHttpCall *call = begin(f, a, "GET", target);

        ASSERT_OK(mam_http_call_start(call));
        return call;
}

void get(Fixture *f, Answer *a, const char *target) {
        (void) start(f, a, target);
        ASSERT_EQ(a->n_ends, 0); /* never from within */
        RUN_UNTIL(f, a->n_ends == 1);
}

void get_body(Fixture *f, const char *target, const char *body) {
        Answer a;

        get(f, &a, target);
        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(a.status, 200);
        ASSERT_STREQ(mam_buffer_bytes(&a.body), body);
        mam_buffer_done(&a.body);
}

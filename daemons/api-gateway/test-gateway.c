/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/test-gateway.h"
#include "api-gateway/access.h"
#include "api-gateway/test-configure.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "libmam/obs/log.h"

static void copy_fields(char *ret, size_t size, const MamHttpHead *head) {
        size_t n = 0;

        ret[0] = '\0';
        for (size_t i = 0; i < head->n_fields && n < size; i++)
                n += (size_t) snprintf(
                                ret + n,
                                size - n,
                                "%.*s: %.*s\n",
                                (int) head->fields[i].name.size,
                                head->fields[i].name.data,
                                (int) head->fields[i].value.size,
                                head->fields[i].value.data);
        ASSERT_TRUE(n < size);
}

/* ---- replicas ---- */

static void on_replica_done(MamHttpExchange *x, void *userdata) {
        Replica *r = userdata;

        r->n_gone++;
        if (r->held == x)
                r->held = NULL;
}

static void send_big(MamHttpExchange *x, void *userdata) {
        static char piece[16384];
        Replica *r = userdata;
        int k = 1;

        memset(piece, 'b', sizeof(piece));
        while (r->big_left > 0 && k > 0) {
                size_t n = r->big_left < sizeof(piece) ? r->big_left : sizeof(piece);

                k = mam_http_exchange_write(x, piece, n);
                if (k < 0)
                        return;
                r->big_left -= n;
        }
        if (r->big_left == 0)
                (void) mam_http_exchange_end(x);
}

static int on_echo(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        if (error < 0)
                return 0;
        return mam_http_exchange_respond(x, 201, "text/plain", data, size);
}

static int on_count(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Replica *r = userdata;
        char text[32];

        if (error < 0)
                return 0;
        r->body_bytes += size;
        if (size > 0)
                return 0;
        (void) snprintf(text, sizeof(text), "%llu", (unsigned long long) r->body_bytes);
        return mam_http_exchange_respond(x, 200, "text/plain", text, strlen(text));
}

/* Answers with the trailers that came. */
static int on_trailers_end(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        const MamHttpField *fields;
        char value[64];
        size_t n = 0;

        if (error < 0 || size > 0)
                return 0;
        fields = mam_http_exchange_trailers(x, &n);
        ASSERT_OK(mam_http_exchange_start(x, 200, -1));
        ASSERT_OK(mam_http_exchange_write(x, "body", 4));
        for (size_t i = 0; i < n; i++) {
                (void) snprintf(value,
                                sizeof(value),
                                "%.*s",
                                (int) fields[i].value.size,
                                fields[i].value.data);
                ASSERT_OK(mam_http_exchange_add_trailer(x, "X-Came", value));
        }
        return mam_http_exchange_end(x);
}

static int on_break_after_some(
                MamHttpExchange *x,
                const char *data,
                size_t size,
                int error,
                void *userdata) {
        mam_http_exchange_abort(x);
        return 0;
}

static int on_socket_message(MamWebsocket *w, bool text, const char *data, size_t size, void *userdata) {
        return mam_websocket_send(w, text, data, size) < 0 ? -EPIPE : 0;
}

static void on_socket_close(MamWebsocket *w, unsigned code, const char *reason, void *userdata) {
        Replica *r = userdata;

        r->n_gone++;
        r->session = NULL;
        r->socket_code = code;
}

static const MamWebsocketCallbacks socket_callbacks = {
        .on_message = on_socket_message,
        .on_close = on_socket_close,
};

static int answer_normally(Replica *r, MamHttpExchange *x) {
        const char *path = mam_http_exchange_path(x);
        char text[32];

        if (strcmp(path, "/x/echo") == 0)
                return mam_http_exchange_read_body(x, 0, on_echo, r);
        if (strcmp(path, "/x/count") == 0) {
                r->body_bytes = 0;
                return mam_http_exchange_stream_body(x, on_count, r);
        }
        if (strcmp(path, "/x/trailers") == 0)
                return mam_http_exchange_stream_body(x, on_trailers_end, r);
        if (strcmp(path, "/x/big") == 0) {
                r->big_left = BIG;
                mam_http_exchange_set_on_writable(x, send_big, r);
                ASSERT_OK(mam_http_exchange_start(x, 200, -1));
                send_big(x, r);
                return 0;
        }
        if (strcmp(path, "/x/half") == 0) { /* and then nothing, until somebody breaks it */
                ASSERT_OK(mam_http_exchange_start(x, 200, 1000));
                ASSERT_OK(mam_http_exchange_write(x, "half", 4));
                r->held = x;
                return 0;
        }
        if (strcmp(path, "/x/events") == 0) { /* the test writes them */
                ASSERT_OK(mam_http_exchange_add_field(x, "Content-Type", "text/event-stream"));
                ASSERT_OK(mam_http_exchange_start(x, 200, -1));
                r->held = x;
                return 0;
        }
        if (strcmp(path, "/x/socket") == 0)
                return mam_websocket_accept(&r->session, x, NULL, &socket_callbacks, r);
        if (strcmp(path, "/x/hold") == 0) {
                r->held = x;
                return 0;
        }
        ASSERT_OK(mam_http_exchange_add_field(x, "ETag", "\"7\""));
        ASSERT_OK(mam_http_exchange_add_field(x, "Set-Cookie", "a=1"));
        ASSERT_OK(mam_http_exchange_add_field(x, "Set-Cookie", "b=2"));
        ASSERT_OK(mam_http_exchange_add_field(x, "Mam-Secret", "inner"));
        (void) snprintf(text, sizeof(text), "replica %u", r->number);
        return mam_http_exchange_respond(x, 200, "text/plain", text, strlen(text));
}

int on_replica_request(MamHttpExchange *x, void *userdata) {
        Replica *r = userdata;

        r->n_requests++;
        copy_fields(r->seen, sizeof(r->seen), mam_http_exchange_head(x));
        mam_http_exchange_set_on_done(x, on_replica_done, r);
        if (r->broken) {
                if (strcmp(mam_http_exchange_path(x), "/x/count") == 0)
                        return mam_http_exchange_stream_body(x, on_break_after_some, r);
                mam_http_exchange_abort(x);
                return 0;
        }
        if (r->unready || r->busy) {
                (void) mam_http_exchange_add_field(x, "Retry-After", "1");
                if (r->unready)
                        (void) mam_http_exchange_add_field(x, "Mam-Unprocessed", "1");
                return mam_http_exchange_problem(x, 503, NULL, "not now");
        }
        if (r->status > 0)
                return mam_http_exchange_problem(x, r->status, NULL, "as it was told to");
        return answer_normally(r, x);
}

int listen_on(const char *path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd;

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ASSERT_OK(fd);
        (void) snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        ASSERT_OK(bind(fd, (struct sockaddr *) &a, sizeof(a)));
        ASSERT_OK(listen(fd, 128));
        return fd;
}

void replica_start(Fixture *f, unsigned i) {
        static const MamHttpServerOptions options = { .body_max = 64U * 1024U * 1024U };
        Replica *r = &f->replicas[i];

        r->fixture = f;
        r->number = i + 1;
        ASSERT_OK(mam_http_server_new(&r->server, f->event, &options, on_replica_request, r));
        ASSERT_OK(mam_http_server_listen_with(
                        r->server,
                        listen_on(r->path),
                        &(MamHttpListenOptions){ .native = true }));
}

bool hop_is_native(void) {
        const char *hop = getenv("MAM_TEST_HOP");

        return hop && strcmp(hop, "native") == 0;
}

void replica_stop(Replica *r) {
        r->server = mam_http_server_free(r->server);
        (void) unlink(r->path);
}

/* ---- the gateway ---- */

static const MamIdentity *test_identity(MamHttpExchange *x) {
        static const MamIdentity nobody = { 0 };
        static const MamIdentity ada = {
                .authenticated = true,
                .subject = "ada",
                .roles = { "viewer", "project.edit" },
                .n_roles = 2,
        };
        const char *token = mam_http_exchange_header(x, "Authorization");

        return token && strcmp(token, "Bearer good") == 0 ? &ada : &nobody;
}

/* Bit i of states: replica i + 1 is ready. */
void set_endpoints(Fixture *f, unsigned ready) {
        char ids[REPLICAS][16];
        EndpointSpec specs[REPLICAS];

        for (unsigned i = 0; i < REPLICAS; i++) {
                (void) snprintf(ids[i], sizeof(ids[i]), "x:%u", i + 1);
                specs[i] = (EndpointSpec){
                        ids[i], f->replicas[i].path, ready & 1U << i ? ENDPOINT_READY : ENDPOINT_DRAINING, 1,
                        NULL,
                };
        }
        ASSERT_OK(gateway_set_endpoints(f->gateway, f->u, specs, REPLICAS));
}

void fixture_setup(Fixture *f, unsigned started, unsigned ready) {
        static const MamHttpServerOptions options = { .body_max = GATEWAY_BODY_MAX };

        char folder[] = "/tmp/test-gateway-XXXXXX";

        ASSERT_TRUE(mkdtemp(folder));
        *f = (Fixture){ 0 };
        (void) snprintf(f->folder, sizeof(f->folder), "%s", folder);
        (void) snprintf(f->path, sizeof(f->path), "%s/gateway.sock", folder);
        for (unsigned i = 0; i < REPLICAS; i++)
                (void) snprintf(f->replicas[i].path,
                                sizeof(f->replicas[i].path),
                                "%s/%u.sock",
                                folder,
                                i + 1);
        ASSERT_OK(mam_log_set_level("notice"));
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_metrics_new(&f->metrics));
        ASSERT_OK(gateway_new(&f->gateway, f->event, f->metrics));
        access_set_identity(f->gateway->access, test_identity);
        configure(f->gateway, hop_is_native() ? CONFIGURE_X_NATIVE : CONFIGURE_X);
        f->u = gateway_find_upstream(f->gateway, "x");

        ASSERT_OK(mam_http_server_new(&f->server, f->event, &options, gateway_on_request, f->gateway));
        ASSERT_OK(mam_http_server_listen(f->server, listen_on(f->path), false, 0));
        ASSERT_OK(mam_http_client_new(&f->client, f->event, f->path, NULL));
        for (unsigned i = 0; i < REPLICAS; i++)
                if (started & 1U << i)
                        replica_start(f, i);
        if (ready != 0)
                set_endpoints(f, ready);
}

void fixture_done(Fixture *f) {
        mam_http_client_free(f->client);
        mam_http_server_free(f->server);
        gateway_free(f->gateway);
        for (unsigned i = 0; i < REPLICAS; i++)
                replica_stop(&f->replicas[i]);
        mam_metrics_free(f->metrics);
        sd_event_unref(f->event);
        (void) unlink(f->path);
        ASSERT_OK(rmdir(f->folder));
}

/* ---- clients ---- */

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Answer *a = userdata;

        a->status = head->status;
        copy_fields(a->fields, sizeof(a->fields), head);
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Answer *a = userdata;

        a->bytes += size;
        if (!a->is_big)
                return mam_buffer_append(&a->body, data, size);
        for (size_t i = 0; i < size; i++)
                a->wrong |= data[i] != 'b';
        return 0;
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Answer *a = userdata;

        a->error = error;
        a->ended = true;
}

const MamHttpCallbacks client_callbacks = { .on_head = on_head, .on_data = on_data, .on_end = on_end };

void answer_done(Answer *a) {
        mam_buffer_done(&a->body);
}

MamHttpCall *call_new(Fixture *f, Answer *a, const char *method, const char *target) {
        MamHttpCall *call = NULL;

        *a = (Answer){ .is_big = a->is_big };
        ASSERT_OK(mam_http_call_new(&call, f->client, method, target, &client_callbacks, a));
        ASSERT_OK(mam_http_call_add_field(call, "Authorization", "Bearer good"));
        return call;
}

void ask(Fixture *f, Answer *a, const char *method, const char *target, const char *body) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;

        mam_buffer_done(&a->body);
        call = call_new(f, a, method, target);
        if (body)
                ASSERT_OK(mam_http_call_set_body(call, body, strlen(body)));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(f, a->ended);
}

bool has(const char *fields, const char *line) {
        return strstr(fields, line) != NULL;
}

double metric(Fixture *f, const char *line) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        const char *found;

        ASSERT_OK(mam_metrics_format(f->metrics, &text));
        found = strstr(mam_buffer_bytes(&text), line);
        return found ? strtod(found + strlen(line), NULL) : -1;
}

/* ---- cases ---- */

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "event-bus/test-event-bus.h"

MamTestServer cluster, redis;
static unsigned next_schema;

static void stop_servers(void) {
        mam_test_server_done(&cluster);
        mam_test_server_done(&redis);
}

static void need_servers(void) {
        if (cluster.pid > 0)
                return;
        (void) mam_test_postgres_bin(); /* skips */
        if (cluster.folder[0] == '\0') {
                mam_test_postgres_init(&cluster);
                mam_test_server_init(&redis);
                /* The daemon has no capability that would let it pass by the folder's mode. */
                ASSERT_OK(chmod(cluster.folder, 0711));
                ASSERT_OK(chmod(redis.folder, 0711));
                ASSERT_EQ(atexit(stop_servers), 0);
        }
        mam_test_postgres_start(&cluster);
        if (redis.pid == 0)
                mam_test_redis_start(&redis, (const char *[]){ "--unixsocketperm", "777", NULL });
}

static char *auth_field(TestWorld *w, const char *subject, const char *role) {
        _cleanup_(mam_freep) char *token = world_token(w, subject, role, 3600);
        char *field = NULL;

        ASSERT_TRUE(asprintf(&field, "Authorization: Bearer %s\r\n", token) > 0);
        return field;
}

void replica_start(Fixture *f, Replica *r) {
        world_init(&r->w);
        r->w.program = "daemons/event-bus/mam-event-bus";
        r->admin = auth_field(&r->w, "ada", "admin");
        r->publisher = auth_field(&r->w, "pam", "publisher");
        r->subscriber = auth_field(&r->w, "sue", "subscriber");
        r->pid = world_start(&r->w, 0, (const char *[]){ f->conninfo, f->schema, f->address, NULL }, NULL);
        world_expect_notify(&r->w, "READY=1");
}

void replica_stop(Replica *r) {
        if (r->pid == 0)
                return;
        ASSERT_OK(kill(r->pid, SIGTERM));
        ASSERT_EQ(world_wait(r->pid), 0);
        free(r->admin);
        free(r->publisher);
        free(r->subscriber);
        world_done(&r->w);
        r->pid = 0;
}

void setup(Fixture *f) {
        need_servers();
        *f = (Fixture){ 0 };
        snprintf(f->conninfo,
                 sizeof(f->conninfo),
                 "MAM_POSTGRESQL=host=%s dbname=postgres user=postgres",
                 cluster.folder);
        snprintf(f->schema, sizeof(f->schema), "MAM_POSTGRESQL_SCHEMA=bus_%u", next_schema++);
        snprintf(f->address, sizeof(f->address), "MAM_REDIS=%s/redis.sock", redis.folder);
        replica_start(f, &f->a);
}

void teardown(Fixture *f) {
        replica_stop(&f->a);
        replica_stop(&f->b);
}

/* ---- requests ---- */

Answer *answer_free(Answer *a) {
        if (a) {
                json_object_put(a->json);
                free(a->text);
        }
        free(a);
        return NULL;
}

const char *answer_body(const Answer *a) {
        const char *p = strstr(a->text, "\r\n\r\n");

        return p ? p + 4 : "";
}

/* The value of a field; "" where absent. Good until the fourth call after it. */
const char *answer_field(const Answer *a, const char *name) {
        static char values[4][1024];
        static unsigned turn;
        char *ret = values[turn++ % 4], needle[64];
        const char *p, *end = strstr(a->text, "\r\n\r\n");

        *ret = '\0';
        snprintf(needle, sizeof(needle), "\r\n%s: ", name);
        p = strcasestr(a->text, needle);
        if (p && p < end)
                snprintf(ret,
                         sizeof(values[0]),
                         "%.*s",
                         (int) strcspn(p + strlen(needle), "\r"),
                         p + strlen(needle));
        return ret;
}

/* Walks "events/0/event/id". */
json_object *at(const Answer *a, const char *path) {
        char copy[256], *save = NULL;
        json_object *o = a->json;

        snprintf(copy, sizeof(copy), "%s", path);
        for (char *p = strtok_r(copy, "/", &save); p && o; p = strtok_r(NULL, "/", &save)) {
                if (json_object_is_type(o, json_type_array))
                        o = json_object_array_get_idx(o, (size_t) atoi(p));
                else if (!json_object_object_get_ex(o, p, &o))
                        o = NULL;
        }
        return o;
}

const char *text_at(const Answer *a, const char *path) {
        json_object *o = at(a, path);

        return o ? json_object_get_string(o) : "(none)";
}

int64_t number_at(const Answer *a, const char *path) {
        json_object *o = at(a, path);

        return o ? json_object_get_int64(o) : INT64_MIN;
}

size_t count_at(const Answer *a, const char *path) {
        json_object *o = at(a, path);

        return o && json_object_is_type(o, json_type_array) ? json_object_array_length(o) : SIZE_MAX;
}

Answer *ask(Replica *r,
            const char *method,
            const char *path,
            const char *auth,
            const char *fields,
            const char *body) {
        _cleanup_(mam_freep) char *request = NULL;
        Answer *a = calloc(1, sizeof(*a));
        char length[96] = "";
        int fd;

        ASSERT_TRUE(a);
        a->text = malloc(TEXT_MAX);
        ASSERT_TRUE(a->text);
        if (body)
                snprintf(length,
                         sizeof(length),
                         "Content-Length: %zu\r\n%s",
                         strlen(body),
                         strcasestr(fields, "Content-Type") ? "" : "Content-Type: application/json\r\n");
        ASSERT_TRUE(asprintf(&request,
                             "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n%s%s%s\r\n%s",
                             method,
                             path,
                             auth,
                             fields,
                             length,
                             body ? body : "") > 0);
        fd = client_connect_port(r->w.port);
        ASSERT_OK(fd);
        a->status = client_exchange(fd, request, a->text, TEXT_MAX);
        close(fd);
        if (strstr(answer_field(a, "Content-Type"), "json") && *answer_body(a))
                ASSERT_OK(mam_json_parse(&a->json, answer_body(a), strlen(answer_body(a)), NULL));
        return a;
}

void check(const Answer *a, int status, int line) {
        if (a->status != status)
                mam_test_fail_string(__FILE__, line, "the expected status", a->text);
        if (status < 400)
                return;
        if (strcmp(answer_field(a, "Content-Type"), "application/problem+json") != 0 ||
            number_at(a, "status") != status || strlen(text_at(a, "detail")) < 10)
                mam_test_fail_string(__FILE__, line, "a problem", a->text);
}

/* A call as the administrator whose status alone matters. */
void expect(Replica *r,
            const char *method,
            const char *path,
            const char *fields,
            const char *body,
            int status,
            int line) {
        _cleanup_(answer_freep) Answer *a = ask(r, method, path, r->admin, fields, body);

        check(a, status, line);
}

char *event_text(const char *id, const char *subject, const char *more) {
        static char texts[8][512];
        static unsigned turn;
        char *ret = texts[turn++ % 8];

        snprintf(ret,
                 sizeof(texts[0]),
                 "{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/test\",\"type\":\"test.made\",\"subject\":"
                 "\"%s\"%s}",
                 id,
                 subject,
                 more);
        return ret;
}

/* n events "PREFIX0" … with subjects "k0" … "k(keys-1)", in a batch. */
void publish_many(Replica *r, const char *topic, const char *prefix, unsigned n, unsigned keys) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(answer_freep) Answer *a = NULL;
        char path[128], id[32], subject[16];

        for (unsigned i = 0; i < n; i++) {
                snprintf(id, sizeof(id), "%s%u", prefix, i);
                snprintf(subject, sizeof(subject), "k%u", i % keys);
                ASSERT_OK(mam_buffer_appendf(
                                &b,
                                "%s%s",
                                i > 0 ? "," : "[",
                                event_text(id, subject, ",\"data\":{\"n\":1}")));
        }
        ASSERT_OK(mam_buffer_append_string(&b, "]"));
        snprintf(path, sizeof(path), TOPICS "/%s/events", topic);
        a = ask(r, "POST", path, r->publisher, BATCH, mam_buffer_bytes(&b));
        CHECK(a, 201);
        ASSERT_EQ(count_at(a, "events"), n);
}

void make_topic(Replica *r, const char *name, const char *settings) {
        char path[128];

        snprintf(path, sizeof(path), TOPICS "/%s", name);
        EXPECT(r, "PUT", path, "", settings, 201);
}

void make_subscription(Replica *r, const char *name, const char *settings) {
        char path[128];

        snprintf(path, sizeof(path), SUBSCRIPTIONS "/%s", name);
        EXPECT(r, "PUT", path, "", settings, 201);
}

Answer *pull(Replica *r, const char *name, const char *body) {
        Answer *a;
        char path[128];

        snprintf(path, sizeof(path), SUBSCRIPTIONS "/%s/pull", name);
        a = ask(r, "POST", path, r->subscriber, "", body);
        CHECK(a, 200);
        return a;
}

/* Settles the events of a pull: verb "ack", more such as ",\"delay\":\"0s\"". */
Answer *settle(Replica *r, const char *name, const char *verb, const Answer *pulled, const char *more) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        char path[128], at_path[64];
        Answer *a;

        ASSERT_OK(mam_buffer_append_string(&b, "{\"ackIds\":["));
        for (size_t i = 0; i < count_at(pulled, "events"); i++) {
                snprintf(at_path, sizeof(at_path), "events/%zu/ackId", i);
                ASSERT_OK(mam_buffer_appendf(&b, "%s\"%s\"", i > 0 ? "," : "", text_at(pulled, at_path)));
        }
        ASSERT_OK(mam_buffer_appendf(&b, "]%s}", more));
        snprintf(path, sizeof(path), SUBSCRIPTIONS "/%s/%s", name, verb);
        a = ask(r, "POST", path, r->subscriber, "", mam_buffer_bytes(&b));
        CHECK(a, 200);
        return a;
}

Stream stream_open(Replica *r, const char *path, const char *auth, const char *fields) {
        _cleanup_(mam_freep) char *request = NULL;
        Stream s = { .fd = client_connect_port(r->w.port) };

        ASSERT_OK(s.fd);
        ASSERT_TRUE(asprintf(&request, "GET %s HTTP/1.1\r\nHost: test\r\n%s%s\r\n", path, auth, fields) > 0);
        ASSERT_EQ(send(s.fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
        return s;
}

void stream_close(Stream *s) {
        close(s->fd);
        mam_buffer_done(&s->b);
}

/* More bytes; false: it has ended. */
bool stream_more(Stream *s) {
        char *p;
        ssize_t n;

        ASSERT_OK(mam_buffer_reserve(&s->b, 65536, &p));
        n = recv(s->fd, p, 65536, 0);
        ASSERT_TRUE(n >= 0);
        mam_buffer_commit(&s->b, (size_t) n);
        p[n] = '\0';
        return n > 0;
}

/* Reads until the text came, and looks behind it from then on. */
void stream_expect(Stream *s, const char *text) {
        for (;;) {
                const char *p = s->b.size > 0 ? memmem(mam_buffer_bytes(&s->b),
                                                       s->b.size,
                                                       text,
                                                       strlen(text))
                                              : NULL;

                if (p) {
                        mam_buffer_consume(&s->b, (size_t) (p - mam_buffer_bytes(&s->b)) + strlen(text));
                        return;
                }
                if (!stream_more(s))
                        mam_test_fail_string(__FILE__, __LINE__, text, mam_buffer_bytes(&s->b));
        }
}

/* What comes until the end of the line. */
void stream_line(Stream *s, char *ret, size_t size) {
        const char *p;

        while (s->b.size == 0 || !(p = memchr(mam_buffer_bytes(&s->b), '\n', s->b.size)))
                ASSERT_TRUE(stream_more(s));
        snprintf(ret, size, "%.*s", (int) (p - mam_buffer_bytes(&s->b)), mam_buffer_bytes(&s->b));
        mam_buffer_consume(&s->b, (size_t) (p - mam_buffer_bytes(&s->b)) + 1);
}

void websocket_send(Stream *s, const char *text) {
        static const uint8_t mask[4] = { 1, 2, 3, 4 };
        uint8_t head[MAM_WEBSOCKET_HEAD_MAX];
        _cleanup_(mam_freep) char *copy = strdup(text);
        size_t n = mam_websocket_format_head(head, MAM_WEBSOCKET_TEXT, true, strlen(text), mask);

        ASSERT_TRUE(copy);
        mam_websocket_mask(copy, strlen(text), mask, 0);
        ASSERT_EQ(send(s->fd, head, n, MSG_NOSIGNAL), n);
        ASSERT_EQ(send(s->fd, copy, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* The next text message as JSON; a Close gives its code. */
json_object *websocket_receive(Stream *s, unsigned *ret_close) {
        MamWebsocketHead head;
        json_object *o = NULL;
        const char *data;
        ssize_t n;

        for (;;) {
                n = mam_websocket_parse_head(&head, mam_buffer_bytes(&s->b), s->b.size);
                ASSERT_OK(n);
                if (n > 0 && s->b.size >= (size_t) n + head.size)
                        break;
                ASSERT_TRUE(stream_more(s));
        }
        data = mam_buffer_bytes(&s->b) + n;
        if (head.opcode == MAM_WEBSOCKET_CLOSE) {
                ASSERT_TRUE(ret_close);
                *ret_close = (unsigned) (unsigned char) data[0] << 8 | (unsigned char) data[1];
        } else
                ASSERT_OK(mam_json_parse(&o, data, head.size, NULL));
        mam_buffer_consume(&s->b, (size_t) n + head.size);
        return o;
}

const char *member(json_object *o, const char *key) {
        json_object *v = NULL;

        return json_object_object_get_ex(o, key, &v) && v ? json_object_get_string(v) : "(none)";
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * For tests of the event bus from outside: daemons on servers of their own, and clients that know nothing of
 * libmam/http
 */

#include "libmam/db/test-server.h"
#include "libmam/http/websocket-frame.h"
#include "libmam/json/schema.h"
#include "libmam/service/test-service-util.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"

#define TOPICS                                        "/v1/topics"
#define SUBSCRIPTIONS                                 "/v1/subscriptions"
#define SCHEMAS                                       "/v1/schemas"
#define STRUCTURED                                    "Content-Type: application/cloudevents+json\r\n"
#define BATCH                                         "Content-Type: application/cloudevents-batch+json\r\n"
#define TEXT_MAX                                      1048576U
#define CHECK(a, status)                              check(a, status, __LINE__)
#define EXPECT(r, method, path, fields, body, status) expect(r, method, path, fields, body, status, __LINE__)
#define UPGRADE \
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

extern MamTestServer cluster, redis; /* made when first needed; pid 0: not running */

/* One daemon, or two on the same schema. */
typedef struct Replica {
        TestWorld w;
        pid_t pid;
        char *admin, *publisher, *subscriber; /* owned; fields with a token */
} Replica;

typedef struct Fixture {
        Replica a, b;
        char conninfo[160], schema[64], address[160];
} Fixture;

typedef struct Answer {
        int status;
        char *text;        /* owned */
        json_object *json; /* owned; NULL if the body is not JSON */
} Answer;

typedef struct Stream {
        int fd;
        MamBuffer b; /* what came and was not looked at */
} Stream;

/* Starts servers as needed, and a daemon with a schema of its own; a second one is started by
 * replica_start(). */
void replica_start(Fixture *f, Replica *r);
void replica_stop(Replica *r);
void setup(Fixture *f);
void teardown(Fixture *f);
Answer *answer_free(Answer *a);
/* Of fields and members: "" and "(none)" where there is none. "events/0/event/id" is a path. */
const char *answer_body(const Answer *a);
const char *answer_field(const Answer *a, const char *name);
json_object *at(const Answer *a, const char *path);
const char *text_at(const Answer *a, const char *path);
int64_t number_at(const Answer *a, const char *path);
size_t count_at(const Answer *a, const char *path);
Answer *ask(Replica *r,
            const char *method,
            const char *path,
            const char *auth,
            const char *fields,
            const char *body);
void check(const Answer *a, int status, int line);
void expect(Replica *r,
            const char *method,
            const char *path,
            const char *fields,
            const char *body,
            int status,
            int line);
char *event_text(const char *id, const char *subject, const char *more);
void publish_many(Replica *r, const char *topic, const char *prefix, unsigned n, unsigned keys);
void make_topic(Replica *r, const char *name, const char *settings);
void make_subscription(Replica *r, const char *name, const char *settings);
Answer *pull(Replica *r, const char *name, const char *body);
Answer *settle(Replica *r, const char *name, const char *verb, const Answer *pulled, const char *more);
Stream stream_open(Replica *r, const char *path, const char *auth, const char *fields);
void stream_close(Stream *s);
bool stream_more(Stream *s);
/* Reads until the text came, and looks behind it from then on. */
void stream_expect(Stream *s, const char *text);
void stream_line(Stream *s, char *ret, size_t size);
void websocket_send(Stream *s, const char *text);
/* The next text message as JSON; NULL: Close, with its code. */
json_object *websocket_receive(Stream *s, unsigned *ret_close);
const char *member(json_object *o, const char *key);

MAM_DEFINE_CLEANUP(Answer, answer_free);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * HTTP server on sd-event
 *
 * A server owns connections, a connection owns exchanges: HTTP/1.1 has one at a time (pipelined requests
 * wait in the buffer), HTTP/2 and the native hop many. A MamHttpExchange is one request and the one answer
 * owed to it. It lives from the handler's call until the answer is complete or the client is gone, then
 * on_done runs (exactly once) and it is freed by the server: keep no pointer beyond. Idle connections hold
 * no buffer. Every limit is an option; going beyond one answers 4xx/5xx as problem+json and closes.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-event.h>

#include "libmam/http/http-codec.h"
#include "libmam/obs/trace.h"
#include "libmam/util/macro.h"

typedef struct MamHttpServer MamHttpServer;
typedef struct MamHttpExchange MamHttpExchange;

typedef struct MamHttpServerOptions {
        size_t head_max;   /* 0: 16 KiB; beyond: 431, or 414 where the request line alone is too long */
        uint64_t body_max; /* 0: 1 MiB; beyond: 413; an exchange may raise it before reading its body */
        unsigned connections_max;        /* 0: 10,000; beyond, accepting pauses until one closes */
        uint64_t handshake_timeout_usec; /* 0: 10 s from being accepted until TLS stands: closed */
        uint64_t head_timeout_usec;      /* 0: 10 s from the first byte of a head to its last: 408 */
        uint64_t body_timeout_usec;      /* 0: 30 s without a byte of body: 408 */
        uint64_t idle_timeout_usec;      /* 0: 75 s between requests: closed silently */
        uint64_t write_timeout_usec;     /* 0: 30 s without progress of a blocked write: closed */
} MamHttpServerOptions;

/* Called when a request head is complete. It answers now, or keeps x and answers later. A negative return is
 * answered as 500 (if nothing was sent yet). */
typedef int (*MamHttpHandler)(MamHttpExchange *x, void *userdata);
typedef void (*MamHttpDone)(MamHttpExchange *x, void *userdata);
/* size 0: the body is complete. error <0: it will never be (-EPIPE client gone, -ETIMEDOUT, -EMSGSIZE,
 * -EBADMSG): the server answers, not the callee. A negative return of the callback is answered as 500. */
typedef int (*MamHttpBodyCallback)(
                MamHttpExchange *x,
                const char *data,
                size_t size,
                int error,
                void *userdata);
/* The whole body at once, NUL-terminated, alive as long as the exchange; error as above (then data is NULL).
 */
typedef int (*MamHttpCollected)(
                MamHttpExchange *x,
                const char *data,
                size_t size,
                int error,
                void *userdata);

int mam_http_server_new(
                MamHttpServer **ret,
                sd_event *event,
                const MamHttpServerOptions *options,
                MamHttpHandler handler,
                void *userdata);
/* Closes listening sockets and connections at once. Of all callbacks only on_drained may call it. */
MamHttpServer *mam_http_server_free(MamHttpServer *s);
MAM_DEFINE_CLEANUP(MamHttpServer, mam_http_server_free);

/* Takes ownership of a listening stream socket (AF_UNIX, AF_INET, AF_INET6) and makes it non-blocking.
 * exclusive: EPOLLEXCLUSIVE, for sockets that other processes share. tag is told by
 * mam_http_exchange_listener_tag(). */
int mam_http_server_listen(MamHttpServer *s, int fd, bool exclusive, unsigned tag);
typedef struct MamHttpListenOptions {
        unsigned tag;
        bool exclusive; /* EPOLLEXCLUSIVE */
        bool h2c;       /* a connection may begin with HTTP/2's preface */
        bool native;    /* or with that of the native hop */
} MamHttpListenOptions;
/* The same with more to choose from. */
int mam_http_server_listen_with(MamHttpServer *s, int fd, const MamHttpListenOptions *options);
/* Accepts what is in the backlog, then stops accepting; answers in progress are finished with Connection:
 * close; idle connections close; on_drained runs once, when the last connection ended (at once if there is
 * none). */
int mam_http_server_drain(
                MamHttpServer *s,
                void (*on_drained)(MamHttpServer *s, void *userdata),
                void *userdata);
unsigned mam_http_server_connections(const MamHttpServer *s);
unsigned mam_http_server_in_flight(const MamHttpServer *s);

/* The request. Ranges live as long as the exchange. */
const MamHttpHead *mam_http_exchange_head(const MamHttpExchange *x);
/* NUL-terminated copies that live as long as the exchange. header: NULL where absent. */
const char *mam_http_exchange_method(const MamHttpExchange *x);
const char *mam_http_exchange_path(const MamHttpExchange *x); /* as sent, not decoded */
const char *mam_http_exchange_header(MamHttpExchange *x, const char *name);
unsigned mam_http_exchange_listener_tag(const MamHttpExchange *x);
/* SO_PEERCRED of a unix connection; -EOPNOTSUPP on others. */
int mam_http_exchange_peer_uid(const MamHttpExchange *x, uid_t *ret);
/* "unix:uid=998", "192.0.2.1:4711", "[2001:db8::1]:4711" */
const char *mam_http_exchange_peer(const MamHttpExchange *x);
/* "192.0.2.1", "2001:db8::1"; "" for others, such as unix sockets. */
const char *mam_http_exchange_address(const MamHttpExchange *x);
/* A number that stays with the connection, 0 at first: where a handler may look first for what an earlier
 * request of the same client was about. A connection may carry requests of many clients (a proxy's), so it
 * is never more than a hint. */
void mam_http_exchange_set_hint(MamHttpExchange *x, uint32_t hint);
uint32_t mam_http_exchange_hint(const MamHttpExchange *x);
/* Set by the server from traceparent / X-Request-Id of the request, or newly made. The request id is in each
 * answer. */
MamTrace *mam_http_exchange_trace(MamHttpExchange *x);
/* The client's own span. false: it tells none, or nothing legal; of two nobody knows which it is. */
bool mam_http_exchange_parent(const MamHttpExchange *x, MamTrace *ret);
const char *mam_http_exchange_request_id(const MamHttpExchange *x);
void mam_http_exchange_set_userdata(MamHttpExchange *x, void *userdata);
void *mam_http_exchange_userdata(const MamHttpExchange *x);
/* Runs exactly once, before the exchange is freed: answered, or client gone. */
void mam_http_exchange_set_on_done(MamHttpExchange *x, MamHttpDone on_done, void *userdata);
/* Runs once when the client has sent its last byte: as a rule it has gone, but one that only closed its half
 * still reads an answer. For who waits long before answering. */
void mam_http_exchange_set_on_hangup(MamHttpExchange *x, MamHttpDone on_hangup, void *userdata);
/* Runs once, from the event loop, when the server begins to drain, or has begun: for exchanges that would
 * not end by themselves for long. */
void mam_http_exchange_set_on_drain(MamHttpExchange *x, MamHttpDone on_drain, void *userdata);

/* 10, 11 or 20: HTTP/1.0, HTTP/1.1, HTTP/2; 1: the native hop. */
unsigned mam_http_exchange_version(const MamHttpExchange *x);
/* What TLS says of the client's connection, or NULL where there is none. */
typedef struct MamHttpTlsInfo {
        const char *version;            /* "TLSv1.3" */
        const char *server_name;        /* SNI, or NULL */
        const char *client_subject;     /* of a client certificate that was verified, RFC 4514, or NULL */
        const char *client_fingerprint; /* its SHA-256 in hexadecimal, or NULL */
} MamHttpTlsInfo;
const MamHttpTlsInfo *mam_http_exchange_tls(const MamHttpExchange *x);

/* A second userdata and on_done for the layer around the handlers (libmam/service), so that a handler may
 * use the two above freely. The frame's on_done runs exactly once too, after the handler's. */
void mam_http_exchange_set_frame(MamHttpExchange *x, MamHttpDone on_done, void *userdata);
void *mam_http_exchange_frame(const MamHttpExchange *x);

/* The request body: one of the two, during the handler's call or later; until then nothing is read
 * (back-pressure). A body never asked for is discarded up to body_max after the answer. 100-continue is sent
 * when the body is asked for. */
int mam_http_exchange_read_body(
                MamHttpExchange *x,
                uint64_t max,
                MamHttpCollected callback,
                void *userdata); /* max 0: body_max */
/* Another limit than the server's for this body, before it is asked for. A told length beyond it is the
 * handler's to refuse. */
void mam_http_exchange_set_body_max(MamHttpExchange *x, uint64_t max);
int mam_http_exchange_stream_body(MamHttpExchange *x, MamHttpBodyCallback callback, void *userdata);
void mam_http_exchange_pause_body(MamHttpExchange *x);
void mam_http_exchange_resume_body(MamHttpExchange *x);

/* Fields behind the request's body: once the body has ended; NULL and 0 where there are none. They live as
 * long as the exchange. */
const MamHttpField *mam_http_exchange_trailers(const MamHttpExchange *x, size_t *ret_n);

/* The answer. Fields first, then either _respond, or _start, _write…, _end. Content-Length,
 * Transfer-Encoding, Connection and Date are the server's own: -EINVAL, as for what is not a legal field.
 * X-Request-Id is set already: ignored, 0. -EALREADY: already started. -ENOBUFS: more than 64 KiB. */
int mam_http_exchange_add_field(MamHttpExchange *x, const char *name, const char *value);
int mam_http_exchange_add_field_range(MamHttpExchange *x, MamHttpRange name, MamHttpRange value);
/* The same without a look at it, for what is known to be legal and none of the server's own: a field of a
 * head that was parsed, other than those above. */
int mam_http_exchange_add_legal_field(MamHttpExchange *x, MamHttpRange name, MamHttpRange value);
int mam_http_exchange_respond(
                MamHttpExchange *x,
                unsigned status,
                const char *content_type,
                const void *body,
                size_t size);
/* content_length -1: unknown (chunked, or close for HTTP/1.0 clients). */
int mam_http_exchange_start(MamHttpExchange *x, unsigned status, int64_t content_length);
/* 1: taken, go on; 0: taken, but wait for on_writable (the buffer is over its high-water mark); <0: -EPIPE
 * client gone, -EMSGSIZE more than announced. */
int mam_http_exchange_write(MamHttpExchange *x, const void *data, size_t size);
void mam_http_exchange_set_on_writable(MamHttpExchange *x, MamHttpDone on_writable, void *userdata);
int mam_http_exchange_end(MamHttpExchange *x);
/* A field behind the body: after _start, before _end; where the wire can carry it (chunked, HTTP/2, native),
 * else it is dropped. Errors as of _add_field. */
int mam_http_exchange_add_trailer(MamHttpExchange *x, const char *name, const char *value);
int mam_http_exchange_add_trailer_range(MamHttpExchange *x, MamHttpRange name, MamHttpRange value);
/* The protocol that the client asks to change to, or NULL: Upgrade on HTTP/1.1, :protocol of an extended
 * CONNECT (RFC 8441) on HTTP/2, where the method is "CONNECT" too. */
const char *mam_http_exchange_upgrade_protocol(const MamHttpExchange *x);
/* Agrees to it, in place of _start: what was added with _add_field is sent along. From here on _stream_body
 * gives the bytes that the client sends (size 0: it has closed its side), _write and _end send bytes,
 * without framing; the limits on bodies do not hold, and idle time is the handler's business. -EOPNOTSUPP:
 * no upgrade was asked for; -EALREADY. */
int mam_http_exchange_upgrade(MamHttpExchange *x);
/* The answer cannot be finished (upstream broke): closes the connection so that the client sees a truncated
 * message. */
void mam_http_exchange_abort(MamHttpExchange *x);
bool mam_http_exchange_is_started(const MamHttpExchange *x);
unsigned mam_http_exchange_status(const MamHttpExchange *x);     /* 0 before */
uint64_t mam_http_exchange_bytes_sent(const MamHttpExchange *x); /* body */
/* Monotonic: the turn of the event loop in which the head was complete; and the present turn, which costs
 * less than to ask a clock or the loop. */
uint64_t mam_http_exchange_started_usec(const MamHttpExchange *x);
uint64_t mam_http_exchange_now(const MamHttpExchange *x);

/* RFC 9457 problem+json: {"type":"about:blank","title":…,"status":…,"detail":…}; pointer, where not NULL,
 * adds "errors":[{"detail":…,"pointer":…}]. */
int mam_http_exchange_problem(
                MamHttpExchange *x,
                unsigned status,
                const char *pointer,
                const char *format,
                ...) _printf_(4, 5);

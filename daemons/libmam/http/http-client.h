/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * HTTP client on sd-event
 *
 * No callback runs from within a function of this header but mam_http_client_free(): mam_http_call_start()
 * returns an error only where on_end will not run (out of memory, misuse); that nobody listens is told by
 * on_end. A MamHttpClient keeps connections to one address: of HTTP/1.1 one per call in flight, of the other
 * protocols one for all. A MamHttpCall is one request; freeing it cancels it: on a shared connection the
 * peer is told, one of HTTP/1.1 is closed, as it cannot be reused then. on_end runs exactly once unless the
 * call is freed before.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <systemd/sd-event.h>

#include "libmam/http/http-codec.h"
#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"

typedef struct MamHttpClient MamHttpClient;
typedef struct MamHttpCall MamHttpCall;

/* What is spoken with the peer. */
typedef enum MamHttpProtocol {
        MAM_HTTP_PROTOCOL_HTTP1,
        MAM_HTTP_PROTOCOL_NATIVE, /* all calls over one stream; where the peer does not know it, HTTP/1 */
        MAM_HTTP_PROTOCOL_H2C,    /* HTTP/2 with prior knowledge, all calls over one connection */
        _MAM_HTTP_PROTOCOL_MAX,
        _MAM_HTTP_PROTOCOL_INVALID = -EINVAL,
} MamHttpProtocol;

typedef struct MamHttpClientOptions {
        MamHttpProtocol protocol;
        unsigned connections_max; /* 0: 64; on a shared one: calls at once; beyond, they fail with -EAGAIN */
        unsigned idle_max;        /* 0: 16 kept */
        uint64_t connect_timeout_usec; /* 0: 2 s */
        uint64_t idle_timeout_usec;    /* 0: 60 s; keep below the server's */
        size_t head_max;               /* 0: 16 KiB */
} MamHttpClientOptions;

typedef struct MamHttpCallbacks {
        /* What head and data point to is gone when the callback returns. 1xx answers are skipped.
         * All but on_end may be NULL. A negative return of on_head and on_data cancels; on_end gets it as
         * error. */
        int (*on_head)(MamHttpCall *call, const MamHttpHead *head, void *userdata);
        int (*on_data)(MamHttpCall *call, const char *data, size_t size, void *userdata);
        void (*on_writable)(MamHttpCall *call, void *userdata);
        /* Fields behind the answer's body, before on_end; only if there are any. */
        void (*on_trailers)(MamHttpCall *call, const MamHttpField *fields, size_t n, void *userdata);
        /* error 0: complete. -ECONNREFUSED, -ENOENT (no such socket), -EAGAIN (backlog full, or
         * connections_max), -ETIMEDOUT, -ECONNRESET, -EBADMSG. The call is freed by its owner, also from
         * here. */
        void (*on_end)(MamHttpCall *call, int error, void *userdata);
} MamHttpCallbacks;

/* address: "/run/x.sock" or "unix:/run/x.sock", "127.0.0.1:8080", "[::1]:8080". Names are not resolved.
 * -EINVAL. */
int mam_http_client_new(
                MamHttpClient **ret,
                sd_event *event,
                const char *address,
                const MamHttpClientOptions *options);
/* Calls in flight end with -ECANCELED. */
MamHttpClient *mam_http_client_free(MamHttpClient *c);
MAM_DEFINE_CLEANUP(MamHttpClient, mam_http_client_free);

int mam_http_call_new(
                MamHttpCall **ret,
                MamHttpClient *c,
                const char *method,
                const char *target,
                const MamHttpCallbacks *callbacks,
                void *userdata);
MamHttpCall *mam_http_call_free(MamHttpCall *call);
MAM_DEFINE_CLEANUP(MamHttpCall, mam_http_call_free);
/* Host is added from the address ("localhost" for unix) unless given. -EINVAL: not a legal field. */
int mam_http_call_add_field(MamHttpCall *call, const char *name, const char *value);
int mam_http_call_add_field_range(MamHttpCall *call, MamHttpRange name, MamHttpRange value);
/* The same without a look at it, for what is known to be legal: a field of a head that was parsed, other
 * than Host and those of a connection or of framing, or one that we wrote ourselves. */
int mam_http_call_add_legal_field(MamHttpCall *call, MamHttpRange name, MamHttpRange value);
/* The same for fields that are sent again and again: written once into b by mam_http_fields_add(), which
 * counts them in *n, they cost a copy for each call. -ENOBUFS, -ENOMEM. */
int mam_http_fields_add(MamBuffer *b, unsigned *n, MamHttpRange name, MamHttpRange value);
int mam_http_call_add_fields(MamHttpCall *call, const MamBuffer *b, unsigned n);
/* Copied. */
int mam_http_call_set_body(MamHttpCall *call, const void *data, size_t size);
/* The body will be written in pieces; content_length -1: chunked. Then _write and _end_body after _start. */
int mam_http_call_set_streaming(MamHttpCall *call, int64_t content_length);
/* A field behind a streamed body, before _end_body; dropped where the wire cannot carry it (a told length).
 */
int mam_http_call_add_trailer(MamHttpCall *call, MamHttpRange name, MamHttpRange value);
/* Asks for a change of protocol ("websocket"). on_head gets 101 if the peer agrees: from then on _write,
 * _end_body and on_data carry plain bytes, until both sides have ended. Any other status is an answer like
 * others. Over HTTP/1 always, whatever the client's protocol. */
int mam_http_call_set_upgrade(MamHttpCall *call, const char *protocol);
void mam_http_call_set_timeout(
                MamHttpCall *call,
                uint64_t usec); /* whole call, default 30 s; MAM_USEC_INFINITY: none */
int mam_http_call_start(MamHttpCall *call);
int mam_http_call_write(
                MamHttpCall *call,
                const void *data,
                size_t size); /* 1 go on, 0 wait for on_writable, <0 */
int mam_http_call_end_body(MamHttpCall *call);
/* Back-pressure on the answer's body. */
void mam_http_call_pause(MamHttpCall *call);
void mam_http_call_resume(MamHttpCall *call);
/* true once a byte of the request may have reached the peer: a retry of an unsafe method is not allowed any
 * more. On the native hop not so if the peer has said that it did nothing with it (busy, or leaving). Over
 * HTTP/1.1 a reused connection that the peer closed before the first byte of an answer is retried on a new
 * one by the client itself for idempotent methods. */
bool mam_http_call_is_sent(const MamHttpCall *call);

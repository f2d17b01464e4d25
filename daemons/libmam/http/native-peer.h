/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One side of a native hop (internal to libmam/http)
 *
 * What client and server have in common: streams by number, frames in and out, credit. No I/O: bytes come in
 * by native_peer_read() and gather in out, which the connection sends.
 *
 * Credit: each stream begins with NATIVE_WINDOW_FIRST bytes of DATA; once half of it was used by a reader
 * that goes on reading, its window grows to NATIVE_WINDOW_MAX, as long as all windows of the connection
 * together have not grown by more than NATIVE_GROWN_MAX. So a reader that stops costs its own window and
 * holds up nobody else, and all that a peer can make us keep is streams × NATIVE_WINDOW_FIRST +
 * NATIVE_GROWN_MAX.
 */

#include <sys/queue.h>
#include <sys/uio.h>

#include "libmam/http/http-input.h"
#include "libmam/http/native-frames.h"
#include "libmam/util/buffer.h"

#define NATIVE_WINDOW_FIRST 65536U
#define NATIVE_WINDOW_MAX   262144U
#define NATIVE_GROWN_MAX    8388608U
#define NATIVE_OUT_HIGH     65536U /* of a connection: beyond, streams keep what they have to say */
#define NATIVE_QUANTUM      16384U /* what one stream may say before the next one's turn */
#define NATIVE_DIRECT       16384U /* from here on, sent from where it lies instead of copied */
#define NATIVE_STREAM_HIGH  65536U /* of a stream: beyond, its writer is told to wait */
#define NATIVE_STREAM_LOW   16384U
#define NATIVE_INPUT_MAX    (NATIVE_HEADER_SIZE + NATIVE_HEAD_MAX + 1) /* an incomplete frame is kept */

#define NATIVE_BUCKETS 64U

typedef struct NativePeer NativePeer;
typedef struct NativeStream NativeStream;

TAILQ_HEAD(NativeQueue, NativeStream);

struct NativeStream {
        uint32_t id;
        uint32_t credit;        /* what may still be sent */
        uint32_t window;        /* what may still come */
        uint32_t target;        /* what the window is filled up to */
        uint64_t left;          /* of the message that comes: bytes announced; UINT64_MAX: not known */
        uint64_t out_left;      /* the same of the one that goes: its last byte ends it, without trailers */
        MamBuffer in;           /* came and was not taken yet; at most window's size */
        MamBuffer out;          /* to be sent, without credit or turn */
        MamBuffer out_trailers; /* payload of the frame that ends the message, or empty */
        NativeStream *next;     /* of the bucket */
        TAILQ_ENTRY(NativeStream) queued;
        TAILQ_ENTRY(NativeStream) waiting;
        bool is_queued : 1;  /* has something to be sent, and credit for it */
        bool is_waiting : 1; /* to be looked at by the connection's run */
        bool out_ended : 1;  /* nothing will be added to out any more */
        bool sent_end : 1;   /* all was put into frames */
        bool got_end : 1;    /* the peer has said all */
};

/* Sends the pieces behind what is in out, as much as goes at once, and keeps the rest in out. <0: the
 * connection has failed. */
typedef int (*NativePut)(NativePeer *p, const struct iovec *iov, size_t n);

struct NativePeer {
        MamBuffer *out; /* borrowed from the connection */
        NativePut put;
        NativeStream *buckets[NATIVE_BUCKETS];
        unsigned n_streams;
        struct NativeQueue queued;  /* streams with something to send, in turn */
        struct NativeQueue waiting; /* streams that the connection's run is to look at */
        uint64_t grown;             /* sum of what the windows have beyond the first */
        uint32_t first_credit;      /* what the peer's streams begin with, as its HELLO says */
        bool greeted;               /* its HELLO came */
        /* In the middle of a DATA frame: */
        uint32_t data_stream, data_left;
        bool data_end;
};

/* What the peer said. A negative return ends the connection. */
typedef struct NativePeerOps {
        int (*on_hello)(NativePeer *p, const NativeHello *h);
        int (*on_head)(NativePeer *p, const NativeFrame *f, const char *payload);
        /* A piece of the body, within its window. The stream exists. end: the last one. */
        int (*on_data)(NativePeer *p, NativeStream *s, const char *data, size_t size, bool end);
        int (*on_trailers)(NativePeer *p, NativeStream *s, const MamHttpField *fields, size_t n);
        int (*on_reset)(NativePeer *p, NativeStream *s, NativeReset why);
        int (*on_goaway)(NativePeer *p, uint32_t last);
        /* Whether a stream that is not there any more was there once. */
        bool (*is_known)(const NativePeer *p, uint32_t stream);
        /* Whether to stop reading for now: what has become of the connection forbids it. */
        bool (*is_over)(const NativePeer *p);
} NativePeerOps;

void native_peer_init(NativePeer *p, MamBuffer *out, NativePut put);
/* Handles all that can be: what is left in *in is an incomplete frame of less than NATIVE_INPUT_MAX bytes,
 * or is_over. -EBADMSG, -EPROTONOSUPPORT, and what an operation returned. */
int native_peer_read(NativePeer *p, const NativePeerOps *ops, HttpInput *in);
int native_peer_hello(NativePeer *p, uint32_t streams_max);
/* Lets streams that wait for their turn fill up the connection's out. */
int native_peer_fill(NativePeer *p);
/* true: something is left to be sent by native_peer_fill(). */
bool native_peer_is_queued(const NativePeer *p);
int native_peer_number(NativePeer *p, NativeType type, uint32_t stream, uint32_t number);

/* One socket carries what many had: as much room as the system grants. */
void native_peer_widen(int fd);

/* Embedded in what a side keeps per stream. The stream must not be known yet. */
void native_stream_init(NativePeer *p, NativeStream *s, uint32_t id);
/* Forgets it. */
void native_stream_done(NativePeer *p, NativeStream *s);
NativeStream *native_stream_find(const NativePeer *p, uint32_t id);
/* To be looked at by the connection's run: see waiting. */
void native_stream_wait(NativePeer *p, NativeStream *s);
/* A piece of the message's body: 1: go on, 0: taken, but wait; -ENOMEM. */
int native_stream_write(NativePeer *p, NativeStream *s, const void *data, size_t size);
/* The message is complete. trailers: fields as native_field_format() writes them; dropped where the length
 * was announced. -ENOMEM. */
int native_stream_end(NativePeer *p, NativeStream *s, const char *trailers, size_t size, unsigned n);
/* The reader has used what it got: gives credit for more if it is time. -ENOMEM. */
int native_stream_used(NativePeer *p, NativeStream *s);

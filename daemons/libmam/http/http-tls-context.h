/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Insides of TLS (internal to http-tls.c and http-tls-session.c)
 */

#include <sys/queue.h>

#include <openssl/ssl.h>

#include "libmam/http/http-tls-session.h"
#include "libmam/http/http-tls-store.h"

TAILQ_HEAD(HttpTlsQueue, HttpTls);

struct MamHttpTls {
        unsigned n_ref;
        MamHttpTlsOptions options; /* its strings are owned; the secret is not kept */
        HttpTlsTickets *tickets;
        HttpTlsStore *store;
        uint64_t stamp; /* of the files that were looked at last */
        BIO_METHOD *method;
        MamBuffer gather; /* where a session's output gathers during an operation; empty before and after */
        struct HttpTlsQueue handshakes; /* oldest first */
        unsigned n_handshakes;
        sd_event *event;
        sd_event_source *watch; /* of the folder; NULL where that is not possible */
        sd_event_source *timer;
};

struct HttpTls {
        HttpConnection *connection; /* weak: it owns us */
        MamHttpTls *of;
        HttpTlsStore *store;
        SSL *ssl;
        MamBuffer left_over; /* records that the socket did not take */
        bool in_handshakes, established, goodbye;
        bool drained;   /* the socket is empty until the next edge */
        bool eof, dead; /* it has ended; nothing can be encrypted any more */
        bool ended;     /* what receiving tells from here on: end */
        bool was_plain;
        bool moved_in;
        ssize_t end;
        int error;
        MamHttpTlsInfo info;
        char *subject; /* owned */
        char fingerprint[65];
        TAILQ_ENTRY(HttpTls) handshakes;
};

/* http-tls-session.c; NULL: no memory */
BIO_METHOD *http_tls_bio_method(void);
/* http-tls.c: counts it, and gives up the oldest beyond the bound; no longer counts it. */
void http_tls_handshake_begins(MamHttpTls *t, HttpTls *session);
void http_tls_handshake_ends(MamHttpTls *t, HttpTls *session);

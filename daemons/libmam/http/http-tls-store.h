/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One set of certificates, and what OpenSSL needs to serve with it (internal to libmam/http)
 *
 * Immutable once made and shared by reference: a change of files makes another set, and connections that are
 * open keep theirs.
 */

#include <openssl/ssl.h>

#include "libmam/http/http-tls.h"
#include "libmam/util/buffer.h"

typedef struct HttpTlsPair HttpTlsPair;
typedef struct HttpTlsStore HttpTlsStore;
typedef struct HttpTlsTickets HttpTlsTickets;

/* A number that differs once any file does that a store would be made of. */
uint64_t http_tls_store_stamp(const MamHttpTlsOptions *options);
/* Pairs that have not changed since previous (or NULL), or are broken now but were good there, are taken
 * from it. Reports what became of each that has changed. Errors as of mam_http_tls_new(). */
int http_tls_store_new(
                HttpTlsStore **ret,
                const MamHttpTlsOptions *options,
                HttpTlsTickets *tickets,
                const HttpTlsStore *previous);
HttpTlsStore *http_tls_store_ref(HttpTlsStore *s);
HttpTlsStore *http_tls_store_unref(HttpTlsStore *s);
MAM_DEFINE_CLEANUP(HttpTlsStore, http_tls_store_unref);

SSL_CTX *http_tls_store_context(HttpTlsStore *s);
int64_t http_tls_store_expiry(const HttpTlsStore *s);

/* http-tls-pair.c: a certificate, its key, and whom it is for. Shared by reference. */
#define HTTP_TLS_NAMES_MAX 512U

struct HttpTlsPair {
        unsigned n_ref;
        char *name; /* of the files */
        X509 *certificate;
        STACK_OF(X509) * chain;
        EVP_PKEY *key;
        const char **hosts; /* lower case; "*.example.org" for a wildcard; they point into text */
        size_t n_hosts;
        MamBuffer text;
        int64_t not_after;
        uint64_t stamp; /* of both files, as they were read */
};

/* stamp: http_tls_pair_stamp() of before. *ret_problem is a literal, with every error: -EBADMSG,
 * -EKEYREJECTED (the key is another's), -EKEYEXPIRED, or that of the system. */
int http_tls_pair_load(
                HttpTlsPair **ret,
                const char *folder,
                const char *name,
                uint64_t stamp,
                const char **ret_problem);
HttpTlsPair *http_tls_pair_ref(HttpTlsPair *p);
HttpTlsPair *http_tls_pair_unref(HttpTlsPair *p);
MAM_DEFINE_CLEANUP(HttpTlsPair, http_tls_pair_unref);
/* A number that differs once a file does, or its time; 0: it is not there. Follows links. */
uint64_t http_tls_file_stamp(const char *path);
/* SHA-256 of what it holds. */
#define HTTP_TLS_DIGEST_SIZE 32U
int http_tls_file_digest(unsigned char ret[static HTTP_TLS_DIGEST_SIZE], const char *path);
uint64_t http_tls_pair_stamp(const char *folder, const char *name);

/* http-tls-tickets.c */
int http_tls_tickets_new(HttpTlsTickets **ret, const void *secret, size_t size);
HttpTlsTickets *http_tls_tickets_free(HttpTlsTickets *t);
MAM_DEFINE_CLEANUP(HttpTlsTickets, http_tls_tickets_free);
/* Makes the context seal its tickets with keys of t, which must live longer. */
int http_tls_tickets_apply(HttpTlsTickets *t, SSL_CTX *context);
/* For tests: as if it were that time. 0: the clock's. */
void http_tls_tickets_set_time(HttpTlsTickets *t, uint64_t seconds);

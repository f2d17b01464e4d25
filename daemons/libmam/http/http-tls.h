/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * TLS for the HTTP server
 *
 * A MamHttpTls holds what connections of a TLS listener have in common: certificates by name, the policy,
 * the keys of session tickets. Certificates are read again when their files change: connections that are
 * open keep what they began with, and what is not valid replaces nothing. TLS 1.2 and 1.3; no renegotiation,
 * no compression, no early data. A connection costs memory for TLS from its first byte on only.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "libmam/http/http-server.h"
#include "libmam/util/macro.h"

typedef struct MamHttpTls MamHttpTls;

/* Certificates of clients. Where one is presented it must be valid, whether required or not. */
typedef enum MamHttpTlsClients {
        MAM_HTTP_TLS_CLIENTS_OFF,
        MAM_HTTP_TLS_CLIENTS_REQUEST,
        MAM_HTTP_TLS_CLIENTS_REQUIRE,
        _MAM_HTTP_TLS_CLIENTS_MAX,
        _MAM_HTTP_TLS_CLIENTS_INVALID = -EINVAL,
} MamHttpTlsClients;

/* What happened to the certificate NAME, or to the whole set (name NULL): problem NULL: in use from now on.
 * Otherwise it says what is wrong, for people; what was in use before stays. */
typedef void (*MamHttpTlsReport)(const char *name, const char *problem, void *userdata);

typedef struct MamHttpTlsOptions {
        const char *certificates; /* a folder with pairs NAME.crt (with its chain) and NAME.key, PEM */
        const char *default_name; /* whose pair serves clients that name no host that we know; NULL:
                                     "default", or else the first by name */
        const char *client_ca;    /* PEM file; not for CLIENTS_OFF */
        MamHttpTlsClients clients;
        unsigned version_min; /* 12 or 13; 0: 12 */
        const char *ciphers;  /* of TLS 1.2, as OpenSSL lists them; NULL: forward secret and authenticated */
        const void *ticket_secret; /* what all that share the listener share, ≥ 32 bytes; NULL: one of our
                                      own, so a client can resume only here */
        size_t ticket_secret_size;
        unsigned handshakes_max; /* 0: 1000 in progress; beyond, the oldest is given up */
        MamHttpTlsReport report; /* may be NULL */
        void *userdata;
} MamHttpTlsOptions;

const char *mam_http_tls_clients_to_string(MamHttpTlsClients c);
MamHttpTlsClients mam_http_tls_clients_from_string(const char *s);

/* -ENOENT: no usable certificate; -EINVAL: an option is not usable (ciphers, CA); both were reported. */
int mam_http_tls_new(MamHttpTls **ret, sd_event *event, const MamHttpTlsOptions *options);
MamHttpTls *mam_http_tls_ref(MamHttpTls *t);
MamHttpTls *mam_http_tls_unref(MamHttpTls *t);
MAM_DEFINE_CLEANUP(MamHttpTls, mam_http_tls_unref);

/* Looks at the files now instead of soon: 1: a new set is in use, 0: nothing has changed, <0: reported. */
int mam_http_tls_reload(MamHttpTls *t);
/* The certificate of the set that ends first: its notAfter, in seconds since the epoch. */
int64_t mam_http_tls_expiry(const MamHttpTls *t);

/* Sockets that serve with before serve with after from now on; connections that are open keep what they
 * have. For a change of options. */
void mam_http_server_replace_tls(MamHttpServer *s, MamHttpTls *before, MamHttpTls *after);
/* As mam_http_server_listen_with(), for connections that begin with TLS. What they speak then is agreed by
 * ALPN: HTTP/2 where options say h2, HTTP/1.1 also without ALPN. Takes a reference of t. */
int mam_http_server_listen_tls(MamHttpServer *s, int fd, const MamHttpListenOptions *options, MamHttpTls *t);

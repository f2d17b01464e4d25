/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * TLS of one connection (internal to libmam/http)
 *
 * OpenSSL never sees the socket: what it writes gathers and is sent at once when an operation ends, what it
 * reads is received straight into its buffer, in one call per edge. So a request costs one receive and one
 * send here too. What the socket does not take is kept, and nothing more is encrypted until it is gone.
 */

#include <sys/types.h>
#include <sys/uio.h>

#include "libmam/http/http-connection.h"
#include "libmam/http/http-tls.h"

/* Counts among the handshakes of its kind until it stands, and may push out the oldest of them. */
int http_tls_session_new(HttpTls **ret, HttpConnection *c, MamHttpTls *of);
HttpTls *http_tls_session_free(HttpTls *t);

HttpConnection *http_tls_connection(HttpTls *t);
/* The handshake is done. */
bool http_tls_is_established(const HttpTls *t);
/* Bytes that the socket has not taken yet. */
size_t http_tls_unsent(const HttpTls *t);
/* There may be more to receive without another edge. */
bool http_tls_has_more(const HttpTls *t);
/* An edge: the socket has bytes again. */
void http_tls_readable(HttpTls *t);

/* Shakes hands as far as it goes; then as recv(): bytes; 0: the client has said goodbye; -EAGAIN; -EPROTO:
 * what came is not TLS or not acceptable, an alert was sent; other errors. */
ssize_t http_tls_receive(HttpTls *t, char *to, size_t size);
/* As sendmsg(): bytes taken, less than all only if the socket is blocked (the connection is told). <0: over.
 */
ssize_t http_tls_send(HttpTls *t, const struct iovec *iov, size_t n);
/* Sends what was left over. <0: over. */
int http_tls_flush(HttpTls *t);
/* close_notify, as far as the socket takes it. */
void http_tls_say_goodbye(HttpTls *t);
/* After -EPROTO: what came was a request of plain HTTP. */
bool http_tls_was_plain(const HttpTls *t);
/* What ALPN agreed on, "" for nothing. */
const char *http_tls_alpn(const HttpTls *t, size_t *ret_size);
const MamHttpTlsInfo *http_tls_info(HttpTls *t);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * TLS of one connection
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "libmam/http/http-tls-context.h"
#include "libmam/http/http-tls-session.h"
#include "libmam/http/http-tls-store.h"

#define RECORD_SIZE   16384U
#define GATHER_MAX    65536U  /* encrypted at a time */
#define LEFT_OVER_MAX 262144U /* what a client makes us say that reads nothing of it */

/* ---- OpenSSL's side of the socket ---- */

static int bio_write(BIO *b, const char *data, size_t size, size_t *ret) {
        HttpTls *t = BIO_get_data(b);

        if (mam_buffer_append(&t->of->gather, data, size) < 0)
                return 0;
        *ret = size;
        return 1;
}

static int bio_read(BIO *b, char *to, size_t size, size_t *ret) {
        HttpTls *t = BIO_get_data(b);
        ssize_t n;

        BIO_clear_retry_flags(b);
        *ret = 0;
        if (t->drained) {
                BIO_set_retry_read(b);
                return 0;
        }

        do {
                n = recv(t->connection->fd, to, size, MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        /* A short read has emptied the socket, unless its end is in sight. */
        t->drained = n < (ssize_t) size && !t->connection->rdhup;
        if (n > 0) {
                t->moved_in = true;
                *ret = (size_t) n;
                return 1;
        }
        if (n == 0) {
                t->eof = true;
        } else if (errno == EAGAIN) {
                t->drained = true;
                BIO_set_retry_read(b);
        } else
                t->error = -errno;
        return 0;
}

static long bio_control(BIO *b, int command, long number, void *pointer) {
        return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

BIO_METHOD *http_tls_bio_method(void) {
        int type = BIO_get_new_index();
        BIO_METHOD *m = type < 0 ? NULL : BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "mam");

        if (!m)
                return NULL;
        if (BIO_meth_set_write_ex(m, bio_write) <= 0 || BIO_meth_set_read_ex(m, bio_read) <= 0 ||
            BIO_meth_set_ctrl(m, bio_control) <= 0) {
                BIO_meth_free(m);
                return NULL;
        }
        return m;
}

/* ---- what was encrypted, to the socket ---- */

/* The bytes that the socket takes. <0: it is over. */
static ssize_t send_bytes(HttpTls *t, const char *data, size_t size) {
        ssize_t n;

        do {
                n = send(t->connection->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        if (n < 0 && errno != EAGAIN)
                return -errno;
        if (n > 0)
                t->connection->moved_out = true;
        if (n < (ssize_t) size)
                http_connection_block(t->connection);
        return n < 0 ? 0 : n;
}

int http_tls_flush(HttpTls *t) {
        ssize_t n;

        if (t->left_over.size > 0 && !t->connection->blocked) {
                n = send_bytes(t, mam_buffer_bytes(&t->left_over), t->left_over.size);
                if (n < 0)
                        return (int) n;
                mam_buffer_consume(&t->left_over, (size_t) n);
        }
        if (t->left_over.size == 0)
                mam_buffer_reset(&t->left_over);
        return 0;
}

/* Behind what is left over from before, never ahead of it. */
static int send_gathered(HttpTls *t) {
        MamBuffer *g = &t->of->gather;
        ssize_t n = 0;
        int r = 0;

        if (g->size > 0 && t->left_over.size == 0 && !t->connection->blocked)
                n = send_bytes(t, mam_buffer_bytes(g), g->size);
        if (n < 0) {
                r = (int) n;
        } else if ((size_t) n < g->size) {
                r = mam_buffer_append(&t->left_over, mam_buffer_bytes(g) + n, g->size - (size_t) n);
        }
        mam_buffer_consume(g, g->size);
        if (r < 0)
                return r;
        return t->left_over.size > LEFT_OVER_MAX ? -ENOBUFS : 0;
}

/* ---- records ---- */

static void establish(HttpTls *t) {
        t->established = true;
        http_tls_handshake_ends(t->of, t);
}

/* Why SSL_read_ex() did not read. 0: the client has said goodbye. */
static ssize_t explain(HttpTls *t) {
        int why = SSL_get_error(t->ssl, 0);

        switch (why) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
                return -EAGAIN;
        case SSL_ERROR_ZERO_RETURN:
                return 0;
        default:
                t->dead = true;
                t->was_plain = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
                if (t->error < 0)
                        return t->error;
                /* Without a goodbye nobody knows whether that was all. */
                return t->eof ? -ECONNRESET : -EPROTO;
        }
}

ssize_t http_tls_receive(HttpTls *t, char *to, size_t size) {
        size_t total = 0;
        ssize_t r = -EAGAIN;
        int s;

        assert(t);

        if (t->ended)
                return t->end;
        while (total < size) {
                size_t n = 0;

                ERR_clear_error();
                if (SSL_read_ex(t->ssl, to + total, size - total, &n) <= 0) {
                        r = explain(t);
                        break;
                }
                total += n;
                /* To ask once more would cost it a buffer, to say that there is nothing. */
                if (t->drained && !SSL_has_pending(t->ssl))
                        break;
        }
        if (!t->established && SSL_is_init_finished(t->ssl))
                establish(t);

        s = send_gathered(t);
        if (s < 0 && r != -EPROTO)
                return s;
        if (r != -EAGAIN) {
                t->ended = true;
                t->end = r;
        }
        return total > 0 ? (ssize_t) total : r;
}

/* One record at a time, small pieces together. Bytes taken. */
static ssize_t encrypt(HttpTls *t, const struct iovec *iov, size_t n_iov, size_t from) {
        char joined[RECORD_SIZE];
        const char *data = NULL;
        size_t size = 0, written = 0;

        for (size_t i = 0; i < n_iov && size < RECORD_SIZE; i++) {
                const char *piece = (const char *) iov[i].iov_base + from;
                size_t left = iov[i].iov_len - from;

                if (from >= iov[i].iov_len) {
                        from -= iov[i].iov_len;
                        continue;
                }
                from = 0;
                if (left > RECORD_SIZE - size)
                        left = RECORD_SIZE - size;
                if (size == 0 && (left == RECORD_SIZE || i + 1 == n_iov)) {
                        data = piece; /* from where it lies */
                } else {
                        memcpy(joined + size, piece, left);
                        data = joined;
                }
                size += left;
        }
        if (size == 0)
                return 0;

        ERR_clear_error();
        if (SSL_write_ex(t->ssl, data, size, &written) <= 0) {
                t->dead = true;
                return -EPROTO;
        }
        return (ssize_t) written;
}

ssize_t http_tls_send(HttpTls *t, const struct iovec *iov, size_t n_iov) {
        size_t total = 0;
        ssize_t n = 1;
        int r;

        assert(t);

        r = http_tls_flush(t);
        if (r < 0 || t->dead)
                return r < 0 ? r : -EPROTO;

        while (n > 0 && !t->connection->blocked && t->left_over.size == 0) {
                while (t->of->gather.size < GATHER_MAX && (n = encrypt(t, iov, n_iov, total)) > 0)
                        total += (size_t) n;
                r = send_gathered(t);
                if (r < 0)
                        return r;
        }
        return n < 0 ? n : (ssize_t) total;
}

void http_tls_say_goodbye(HttpTls *t) {
        assert(t);

        if (!t->established || t->dead || t->goodbye)
                return;
        t->goodbye = true;
        ERR_clear_error();
        (void) SSL_shutdown(t->ssl);
        (void) send_gathered(t);
}

/* ---- the session ---- */

int http_tls_session_new(HttpTls **ret, HttpConnection *c, MamHttpTls *of) {
        HttpTls *t;
        BIO *bio;

        assert(ret);
        assert(c);
        assert(of);

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->connection = c;
        t->of = mam_http_tls_ref(of);
        t->store = http_tls_store_ref(of->store);
        t->ssl = SSL_new(http_tls_store_context(t->store));
        bio = BIO_new(of->method);
        if (!t->ssl || !bio) {
                BIO_free(bio);
                http_tls_session_free(t);
                return -ENOMEM;
        }
        BIO_set_data(bio, t);
        BIO_set_init(bio, 1);
        SSL_set_bio(t->ssl, bio, bio); /* takes it over, once for both */
        (void) SSL_set_app_data(t->ssl, t);
        SSL_set_accept_state(t->ssl);
        http_tls_handshake_begins(of, t);
        *ret = t;
        return 0;
}

HttpTls *http_tls_session_free(HttpTls *t) {
        if (!t)
                return NULL;

        if (t->in_handshakes)
                http_tls_handshake_ends(t->of, t);
        SSL_free(t->ssl);
        mam_buffer_done(&t->left_over);
        free(t->subject);
        http_tls_store_unref(t->store);
        mam_http_tls_unref(t->of);
        free(t);
        return NULL;
}

HttpConnection *http_tls_connection(HttpTls *t) {
        return t->connection;
}

bool http_tls_is_established(const HttpTls *t) {
        return t->established;
}

size_t http_tls_unsent(const HttpTls *t) {
        return t->left_over.size;
}

bool http_tls_has_more(const HttpTls *t) {
        return t->ended;
}

void http_tls_readable(HttpTls *t) {
        t->drained = false;
}

bool http_tls_was_plain(const HttpTls *t) {
        return t->was_plain;
}

const char *http_tls_alpn(const HttpTls *t, size_t *ret_size) {
        const unsigned char *name = NULL;
        unsigned size = 0;

        SSL_get0_alpn_selected(t->ssl, &name, &size);
        *ret_size = size;
        return name ? (const char *) name : "";
}

static void describe_client(HttpTls *t) {
        X509 *certificate = SSL_get0_peer_certificate(t->ssl);
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned size = 0;
        char *text;
        BIO *b;
        long n;

        if (!certificate || SSL_get_verify_result(t->ssl) != X509_V_OK ||
            X509_digest(certificate, EVP_sha256(), digest, &size) <= 0 ||
            (size_t) size * 2 >= sizeof(t->fingerprint))
                return;
        b = BIO_new(BIO_s_mem());
        if (b && X509_NAME_print_ex(b, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
                n = BIO_get_mem_data(b, &text);
                t->subject = n >= 0 ? strndup(text, (size_t) n) : NULL;
        }
        BIO_free(b);
        if (!t->subject)
                return;

        for (unsigned i = 0; i < size; i++)
                (void) sprintf(t->fingerprint + (size_t) i * 2, "%02x", digest[i]);
        t->info.client_subject = t->subject;
        t->info.client_fingerprint = t->fingerprint;
}

const MamHttpTlsInfo *http_tls_info(HttpTls *t) {
        assert(t);

        if (!t->info.version) {
                t->info.version = SSL_get_version(t->ssl);
                t->info.server_name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
                describe_client(t);
        }
        return &t->info;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A set of certificates and the policy they are served with
 */

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include <openssl/err.h>

#include "libmam/http/http-connection.h"
#include "libmam/http/http-tls-session.h"
#include "libmam/http/http-tls-store.h"

#define PAIRS_MAX       1000U
#define SESSION_SECONDS 28800 /* a ticket is good for; no longer than its keys are */
#define HOST_SIZE_MAX   254U

static const char default_ciphers[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                      "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                      "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

/* OpenSSL begins with the 256 bits, which cost more and protect nothing that 128 do not. */
static const char ciphersuites[] =
                "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

/* A host and who serves it. */
typedef struct Host {
        const char *name; /* borrowed from the pair */
        HttpTlsPair *pair;
} Host;

struct HttpTlsStore {
        unsigned n_ref;
        SSL_CTX *context;
        HttpTlsPair **pairs; /* references; sorted by name */
        size_t n_pairs;
        Host *hosts; /* sorted by name, then by pair */
        size_t n_hosts;
        HttpTlsPair *fallback; /* weak */
        char **rejected;       /* "NAME stamp", so that each is reported once */
        size_t n_rejected;
};

static void report(const MamHttpTlsOptions *o, const char *name, const char *problem) {
        if (o->report)
                o->report(name, problem, o->userdata);
}

/* ---- which certificate ---- */

static int compare_hosts(const void *a, const void *b) {
        const Host *x = a, *y = b;
        int r = strcmp(x->name, y->name);

        return r != 0 ? r : strcmp(x->pair->name, y->pair->name);
}

static int compare_host(const void *key, const void *item) {
        return strcmp(key, ((const Host *) item)->name);
}

static int use(SSL *ssl, HttpTlsPair *p) {
        return SSL_use_cert_and_key(ssl, p->certificate, p->key, p->chain, 1);
}

/* All that are for that name: one with an RSA key and one with another may serve it together. */
static bool use_host(HttpTlsStore *s, SSL *ssl, const char *name) {
        const Host *end = s->hosts + s->n_hosts, *found = NULL;
        bool used = false;

        if (s->n_hosts > 0)
                found = bsearch(name, s->hosts, s->n_hosts, sizeof(*s->hosts), compare_host);
        if (!found)
                return false;
        while (found > s->hosts && strcmp(found[-1].name, name) == 0)
                found--;
        for (; found < end && strcmp(found->name, name) == 0; found++)
                used = use(ssl, found->pair) > 0 || used;
        return used;
}

/* SSL_CTX_set_cert_cb(3): 1 go on, 0 fail with an alert. */
static int on_certificate(SSL *ssl, void *userdata) {
        const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
        HttpTlsStore *s = userdata;
        char name[HOST_SIZE_MAX + 1], *dot;
        size_t size = asked ? strlen(asked) : 0;

        if (size > 0 && size < HOST_SIZE_MAX) {
                for (size_t i = 0; i <= size; i++)
                        name[i] = (char) tolower((unsigned char) asked[i]);
                if (size > 1 && name[size - 1] == '.')
                        name[size - 1] = '\0';
                if (use_host(s, ssl, name))
                        return 1;
                dot = strchr(name, '.');
                if (dot && dot > name) {
                        dot[-1] = '*'; /* for exactly one label */
                        if (use_host(s, ssl, dot - 1))
                                return 1;
                }
        }
        return use(ssl, s->fallback);
}

/* ---- policy ---- */

static int on_alpn(
                SSL *ssl,
                const unsigned char **ret,
                unsigned char *ret_size,
                const unsigned char *offered,
                unsigned size,
                void *userdata) {
        unsigned char wanted[HTTP_ALPN_SIZE];
        unsigned n;

        n = http_protocol_alpn(wanted, http_tls_connection(SSL_get_app_data(ssl)));
        if (SSL_select_next_proto((unsigned char **) ret, ret_size, wanted, n, offered, size) ==
            OPENSSL_NPN_NEGOTIATED)
                return SSL_TLSEXT_ERR_OK;
        /* One that speaks nothing of ours is meant for somebody else (RFC 7301, section 3.2). */
        return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Sessions hold what was verified of the client: another CA or another rule makes them worthless. */
static int set_session_id(SSL_CTX *context, const MamHttpTlsOptions *o) {
        unsigned char id[HTTP_TLS_DIGEST_SIZE] = { 0 };
        int r;

        if (o->clients != MAM_HTTP_TLS_CLIENTS_OFF) {
                r = http_tls_file_digest(id, o->client_ca);
                if (r < 0)
                        return r;
                id[0] = (unsigned char) o->clients;
        }
        return SSL_CTX_set_session_id_context(context, id, sizeof(id)) > 0 ? 0 : -EIO;
}

static int set_clients(SSL_CTX *context, const MamHttpTlsOptions *o) {
        STACK_OF(X509_NAME) * names;

        if (o->clients == MAM_HTTP_TLS_CLIENTS_OFF)
                return 0;
        if (!o->client_ca || SSL_CTX_load_verify_file(context, o->client_ca) <= 0) {
                report(o, NULL, "the CA file for clients cannot be read");
                return -EINVAL;
        }
        names = SSL_load_client_CA_file(o->client_ca);
        if (!names)
                return -EINVAL;
        SSL_CTX_set_client_CA_list(context, names);
        SSL_CTX_set_verify(
                        context,
                        SSL_VERIFY_PEER | (o->clients == MAM_HTTP_TLS_CLIENTS_REQUIRE
                                                           ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                                                           : 0),
                        NULL);
        return 0;
}

static int set_policy(HttpTlsStore *s, const MamHttpTlsOptions *o, HttpTlsTickets *tickets) {
        SSL_CTX *c = s->context;

        (void) SSL_CTX_set_options(
                        c,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                        SSL_OP_PRIORITIZE_CHACHA);
        (void) SSL_CTX_set_mode(
                        c,
                        SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_read_ahead(c, 1);
        (void) SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF); /* tickets only */
        (void) SSL_CTX_set_timeout(c, SESSION_SECONDS);
        SSL_CTX_set_cert_cb(c, on_certificate, s);
        SSL_CTX_set_alpn_select_cb(c, on_alpn, NULL);

        if (SSL_CTX_set_min_proto_version(c, o->version_min == 13 ? TLS1_3_VERSION : TLS1_2_VERSION) <= 0)
                return -EIO;
        if (SSL_CTX_set_ciphersuites(c, ciphersuites) <= 0)
                return -EIO;
        if (SSL_CTX_set_cipher_list(c, o->ciphers ? o->ciphers : default_ciphers) <= 0) {
                report(o, NULL, "the list of ciphers is not usable");
                return -EINVAL;
        }
        return http_tls_tickets_apply(tickets, c);
}

/* ---- the set ---- */

static int is_certificate(const struct dirent *d) {
        size_t size = strlen(d->d_name);

        return size > 4 && d->d_name[0] != '.' && strcmp(d->d_name + size - 4, ".crt") == 0;
}

static HttpTlsPair *find_pair(const HttpTlsStore *s, const char *name) {
        for (size_t i = 0; i < s->n_pairs; i++) {
                if (strcmp(s->pairs[i]->name, name) == 0)
                        return s->pairs[i];
        }
        return NULL;
}

/* true: it was rejected as it is now before, or there is no memory to note that. */
static bool note_rejected(HttpTlsStore *s, const HttpTlsStore *previous, const char *name, uint64_t stamp) {
        char *text = NULL, **rejected;
        bool known = false;

        rejected = reallocarray(s->rejected, s->n_rejected + 1, sizeof(*rejected));
        if (!rejected)
                return true;
        s->rejected = rejected;
        if (asprintf(&text, "%s %llx", name, (unsigned long long) stamp) < 0)
                return true;
        for (size_t i = 0; previous && i < previous->n_rejected; i++)
                known = known || strcmp(previous->rejected[i], text) == 0;
        s->rejected[s->n_rejected++] = text;
        return known;
}

static int add_pair(
                HttpTlsStore *s,
                const MamHttpTlsOptions *o,
                const HttpTlsStore *previous,
                const char *name) {
        HttpTlsPair *before = previous ? find_pair(previous, name) : NULL, *p = NULL, **pairs;
        uint64_t stamp = http_tls_pair_stamp(o->certificates, name);
        const char *problem = NULL;
        int r;

        if (before && before->stamp == stamp) {
                p = http_tls_pair_ref(before);
        } else {
                r = http_tls_pair_load(&p, o->certificates, name, stamp, &problem);
                if (r == -ENOMEM)
                        return r;
                if (r >= 0) {
                        report(o, name, NULL);
                } else if (!note_rejected(s, previous, name, stamp)) {
                        report(o, name, problem);
                }
                if (r < 0 && before)
                        p = http_tls_pair_ref(before);
        }
        if (!p)
                return 0;

        pairs = reallocarray(s->pairs, s->n_pairs + 1, sizeof(HttpTlsPair *));
        if (!pairs) {
                http_tls_pair_unref(p);
                return -ENOMEM;
        }
        s->pairs = pairs;
        pairs[s->n_pairs++] = p;
        s->n_hosts += p->n_hosts;
        return 0;
}

static int load_pairs(HttpTlsStore *s, const MamHttpTlsOptions *o, const HttpTlsStore *previous) {
        struct dirent **entries = NULL;
        int n, r = 0;

        n = scandir(o->certificates, &entries, is_certificate, alphasort);
        if (n < 0) {
                r = -errno;
                report(o, NULL, "the folder of certificates cannot be read");
                return r;
        }
        for (int i = 0; i < n; i++) {
                char *name = entries[i]->d_name;

                name[strlen(name) - 4] = '\0';
                if (r >= 0 && s->n_pairs < PAIRS_MAX)
                        r = add_pair(s, o, previous, name);
                free(entries[i]);
        }
        free(entries);
        if (r >= 0 && s->n_pairs == 0) {
                report(o, NULL, "the folder holds no usable certificate");
                return -ENOENT;
        }
        return r;
}

static int index_hosts(HttpTlsStore *s, const MamHttpTlsOptions *o) {
        size_t n = 0;

        s->fallback = find_pair(s, o->default_name ? o->default_name : "default");
        if (!s->fallback)
                s->fallback = s->pairs[0];
        if (s->n_hosts == 0)
                return 0;
        s->hosts = calloc(s->n_hosts, sizeof(*s->hosts));
        if (!s->hosts)
                return -ENOMEM;
        for (size_t i = 0; i < s->n_pairs; i++) {
                for (size_t k = 0; k < s->pairs[i]->n_hosts; k++)
                        s->hosts[n++] = (Host){ s->pairs[i]->hosts[k], s->pairs[i] };
        }
        qsort(s->hosts, s->n_hosts, sizeof(*s->hosts), compare_hosts);
        return 0;
}

int http_tls_store_new(
                HttpTlsStore **ret,
                const MamHttpTlsOptions *options,
                HttpTlsTickets *tickets,
                const HttpTlsStore *previous) {
        _cleanup_(http_tls_store_unrefp) HttpTlsStore *s = NULL;
        int r;

        assert(ret);
        assert(options);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->n_ref = 1;
        ERR_clear_error();
        s->context = SSL_CTX_new(TLS_server_method());
        if (!s->context)
                return -ENOMEM;

        r = set_policy(s, options, tickets);
        if (r >= 0)
                r = set_clients(s->context, options);
        if (r >= 0)
                r = set_session_id(s->context, options);
        if (r >= 0)
                r = load_pairs(s, options, previous);
        if (r >= 0)
                r = index_hosts(s, options);
        ERR_clear_error();
        if (r < 0)
                return r;

        *ret = MAM_TAKE(s);
        return 0;
}

HttpTlsStore *http_tls_store_ref(HttpTlsStore *s) {
        assert(s);

        s->n_ref++;
        return s;
}

HttpTlsStore *http_tls_store_unref(HttpTlsStore *s) {
        if (!s || --s->n_ref > 0)
                return NULL;

        SSL_CTX_free(s->context);
        for (size_t i = 0; i < s->n_pairs; i++)
                http_tls_pair_unref(s->pairs[i]);
        for (size_t i = 0; i < s->n_rejected; i++)
                free(s->rejected[i]);
        free(s->pairs);
        free(s->hosts);
        free(s->rejected);
        free(s);
        return NULL;
}

uint64_t http_tls_store_stamp(const MamHttpTlsOptions *options) {
        uint64_t stamp = options->client_ca ? http_tls_file_stamp(options->client_ca) : 0;
        struct dirent **entries = NULL;
        int n;

        n = scandir(options->certificates, &entries, is_certificate, alphasort);
        for (int i = 0; i < n; i++) {
                char *name = entries[i]->d_name;

                name[strlen(name) - 4] = '\0';
                for (const char *p = name; *p != '\0'; p++)
                        stamp = stamp * 31 + (unsigned char) *p;
                stamp = stamp * 31 + http_tls_pair_stamp(options->certificates, name);
                free(entries[i]);
        }
        free(entries);
        return stamp;
}

SSL_CTX *http_tls_store_context(HttpTlsStore *s) {
        assert(s);

        return s->context;
}

int64_t http_tls_store_expiry(const HttpTlsStore *s) {
        int64_t first = INT64_MAX;

        assert(s);

        for (size_t i = 0; i < s->n_pairs; i++) {
                if (s->pairs[i]->not_after < first)
                        first = s->pairs[i]->not_after;
        }
        return first;
}

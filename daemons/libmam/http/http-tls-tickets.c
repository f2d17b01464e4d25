/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Keys of session tickets
 *
 * All replicas derive the same keys from the secret that they share: one set per epoch of twelve hours
 * (HKDF, RFC 5869). A ticket names its set. Those of the epoch before and, as clocks differ, of the one
 * after are taken too; so a key that leaks opens no session older than a day, and a restart loses none.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "libmam/http/http-tls-store.h"

#define EPOCH_SECONDS   UINT64_C(43200)
#define SECRET_SIZE_MIN 32U
#define SECRET_SIZE_MAX 1024U
#define IV_SIZE         16U

typedef struct Keys {
        uint64_t epoch;
        bool valid;
        struct {
                unsigned char name[16];
                unsigned char cipher[32];
                unsigned char mac[32];
        } of;
} Keys;

struct HttpTlsTickets {
        EVP_KDF *kdf;
        unsigned char secret[SECRET_SIZE_MAX];
        size_t size;
        Keys keys[4]; /* by epoch modulo 4: three are ever in use */
        uint64_t time;
};

/* -EIO: OpenSSL could not. */
static int derive(const HttpTlsTickets *t, Keys *k, uint64_t epoch) {
        char info[48];
        int n = snprintf(info, sizeof(info), "mam tls ticket keys %llu", (unsigned long long) epoch);
        OSSL_PARAM parameters[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *) "SHA256", 0),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *) t->secret, t->size),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, (size_t) n),
                OSSL_PARAM_construct_end(),
        };
        EVP_KDF_CTX *context = EVP_KDF_CTX_new(t->kdf);
        bool ok = context &&
                  EVP_KDF_derive(context, (unsigned char *) &k->of, sizeof(k->of), parameters) > 0;

        EVP_KDF_CTX_free(context);
        k->epoch = epoch;
        k->valid = ok;
        return ok ? 0 : -EIO;
}

static Keys *keys_of(HttpTlsTickets *t, uint64_t epoch) {
        Keys *k = &t->keys[epoch % MAM_ELEMENTSOF(t->keys)];

        if ((!k->valid || k->epoch != epoch) && derive(t, k, epoch) < 0)
                return NULL;
        return k;
}

static uint64_t current_epoch(const HttpTlsTickets *t) {
        return (t->time > 0 ? t->time : (uint64_t) time(NULL)) / EPOCH_SECONDS;
}

/* A name is public: nothing is learnt from how long comparing takes. */
static Keys *find(HttpTlsTickets *t, const unsigned char *name) {
        uint64_t epoch = current_epoch(t);

        for (uint64_t e = epoch > 0 ? epoch - 1 : 0; e <= epoch + 1; e++) {
                Keys *k = keys_of(t, e);

                if (k && memcmp(k->of.name, name, sizeof(k->of.name)) == 0)
                        return k;
        }
        return NULL;
}

static bool set_keys(
                const Keys *k,
                EVP_CIPHER_CTX *cipher,
                EVP_MAC_CTX *mac,
                const unsigned char *iv,
                bool seal) {
        OSSL_PARAM parameters[] = {
                OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *) k->of.mac, sizeof(k->of.mac)),
                OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *) "SHA256", 0),
                OSSL_PARAM_construct_end(),
        };

        return EVP_CipherInit_ex2(cipher, EVP_aes_256_cbc(), k->of.cipher, iv, seal, NULL) > 0 &&
               EVP_MAC_CTX_set_params(mac, parameters) > 0;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): -1 error, 0 no such key, 1 go on, 2 and make a new ticket. */
static int on_ticket(
                SSL *ssl,
                unsigned char *name,
                unsigned char *iv,
                EVP_CIPHER_CTX *cipher,
                EVP_MAC_CTX *mac,
                int seal) {
        HttpTlsTickets *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
        const Keys *k;

        if (seal) {
                k = keys_of(t, current_epoch(t));
                if (!k || RAND_bytes(iv, IV_SIZE) <= 0)
                        return -1;
                memcpy(name, k->of.name, sizeof(k->of.name));
                return set_keys(k, cipher, mac, iv, true) ? 1 : -1;
        }

        k = find(t, name);
        if (!k)
                return 0;
        if (!set_keys(k, cipher, mac, iv, false))
                return -1;
        return k->epoch < current_epoch(t) ? 2 : 1;
}

int http_tls_tickets_new(HttpTlsTickets **ret, const void *secret, size_t size) {
        _cleanup_(http_tls_tickets_freep) HttpTlsTickets *t = NULL;

        assert(ret);

        if (secret && (size < SECRET_SIZE_MIN || size > SECRET_SIZE_MAX))
                return -EINVAL;
        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
        if (!t->kdf)
                return -EIO;
        if (secret) {
                memcpy(t->secret, secret, size);
                t->size = size;
        } else if (RAND_bytes(t->secret, SECRET_SIZE_MIN) > 0) {
                t->size = SECRET_SIZE_MIN;
        } else {
                return -EIO;
        }
        *ret = MAM_TAKE(t);
        return 0;
}

HttpTlsTickets *http_tls_tickets_free(HttpTlsTickets *t) {
        if (!t)
                return NULL;

        EVP_KDF_free(t->kdf);
        OPENSSL_cleanse(t, sizeof(*t));
        free(t);
        return NULL;
}

int http_tls_tickets_apply(HttpTlsTickets *t, SSL_CTX *context) {
        assert(t);
        assert(context);

        (void) SSL_CTX_set_app_data(context, t);
        return SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket) > 0 ? 0 : -EIO;
}

void http_tls_tickets_set_time(HttpTlsTickets *t, uint64_t seconds) {
        assert(t);

        t->time = seconds;
}

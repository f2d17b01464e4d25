/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Certificates for tests, made on the spot
 */

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "libmam/util/test.h"

typedef struct TestPair {
        X509 *certificate;
        EVP_PKEY *key;
} TestPair;

/* sans: "DNS:a,DNS:*.b" or NULL; issuer NULL: signed by itself; days <0: expired already. */
static inline TestPair test_pair_new(
                const char *name,
                const char *sans,
                const TestPair *issuer,
                int days,
                bool rsa) {
        static long serial = 1;
        TestPair p = { X509_new(), rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256") };
        X509_NAME *subject = X509_NAME_new();
        const char *usage = issuer ? "clientAuth,serverAuth" : NULL;
        X509V3_CTX context;

        ASSERT_TRUE(p.certificate && p.key && subject);
        ASSERT_TRUE(X509_set_version(p.certificate, 2) > 0);
        ASSERT_TRUE(ASN1_INTEGER_set(X509_get_serialNumber(p.certificate), serial++) > 0);
        ASSERT_TRUE(X509_gmtime_adj(X509_getm_notBefore(p.certificate), -172800));
        ASSERT_TRUE(
                        X509_gmtime_adj(X509_getm_notAfter(p.certificate),
                                        (long) days * 86400 + (days == 0 ? 60 : 0)));
        ASSERT_TRUE(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const void *) name, -1, -1, 0) >
                    0);
        ASSERT_TRUE(X509_set_subject_name(p.certificate, subject) > 0);
        ASSERT_TRUE(X509_set_issuer_name(
                                    p.certificate,
                                    issuer ? X509_get_subject_name(issuer->certificate) : subject) > 0);
        ASSERT_TRUE(X509_set_pubkey(p.certificate, p.key) > 0);
        X509V3_set_ctx(&context, issuer ? issuer->certificate : p.certificate, p.certificate, NULL, NULL, 0);
        for (int i = 0; i < 3; i++) {
                const char *value = i == 0 ? sans : i == 1 ? (issuer ? NULL : "critical,CA:TRUE") : usage;
                int nid = i == 0 ? NID_subject_alt_name : i == 1 ? NID_basic_constraints : NID_ext_key_usage;
                X509_EXTENSION *e;

                if (!value)
                        continue;
                e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
                ASSERT_TRUE(e && X509_add_ext(p.certificate, e, -1) > 0);
                X509_EXTENSION_free(e);
        }
        ASSERT_TRUE(X509_sign(p.certificate, issuer ? issuer->key : p.key, EVP_sha256()) > 0);
        X509_NAME_free(subject);
        return p;
}

static inline void test_pair_done(TestPair *p) {
        X509_free(p->certificate);
        EVP_PKEY_free(p->key);
}

static inline FILE *test_pair_open(const char *folder, const char *name, const char *suffix) {
        char path[256];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s%s", folder, name, suffix);
        f = fopen(path, "we");
        ASSERT_TRUE(f);
        return f;
}

/* chain may be NULL. */
static inline void test_pair_write_certificate(
                const TestPair *p,
                const TestPair *chain,
                const char *folder,
                const char *name) {
        FILE *f = test_pair_open(folder, name, ".crt");

        ASSERT_TRUE(PEM_write_X509(f, p->certificate) > 0);
        if (chain)
                ASSERT_TRUE(PEM_write_X509(f, chain->certificate) > 0);
        ASSERT_TRUE(fclose(f) == 0);
}

static inline void test_pair_write_key(const TestPair *p, const char *folder, const char *name) {
        FILE *f = test_pair_open(folder, name, ".key");

        ASSERT_TRUE(PEM_write_PrivateKey(f, p->key, NULL, NULL, 0, NULL, NULL) > 0);
        ASSERT_TRUE(fclose(f) == 0);
}

static inline void test_pair_write(const TestPair *p, const char *folder, const char *name) {
        test_pair_write_certificate(p, NULL, folder, name);
        test_pair_write_key(p, folder, name);
}

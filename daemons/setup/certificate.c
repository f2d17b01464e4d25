/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The certificate that the gateway begins with
 *
 * The folder's group owns what is made in it (its mode has the setgid bit), as setup may not give files
 * away.
 */

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "setup/certificate.h"

/* Whoever trusts it does so by hand, and nothing renews it. */
#define VALID_SECONDS (3650L * 86400L)
#define NAMES_SIZE    1024U
#define HOST_SIZE     256U

static void free_key(EVP_PKEY **k) {
        EVP_PKEY_free(*k);
}

static void free_certificate(X509 **x) {
        X509_free(*x);
}

static void free_bio(BIO **b) {
        BIO_free(*b);
}

static int is_certificate(const struct dirent *d) {
        size_t size = strlen(d->d_name);

        return size > 4 && strcmp(d->d_name + size - 4, ".crt") == 0;
}

static int has_certificate(const char *folder) {
        struct dirent **entries = NULL;
        int n;

        n = scandir(folder, &entries, is_certificate, NULL);
        if (n < 0)
                return -errno;
        for (int i = 0; i < n; i++)
                free(entries[i]);
        free(entries);
        return n > 0;
}

static bool is_host_name(const char *host) {
        return host[0] != '\0' && host[0] != '-' &&
               strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") ==
                               strlen(host);
}

/* In the syntax of OpenSSL's configuration, in which a host name needs no quoting. */
static void format_names(char ret[static NAMES_SIZE], const char *host) {
        int n = snprintf(ret, NAMES_SIZE, "DNS:localhost,IP:127.0.0.1,IP:::1");
        size_t label = strcspn(host, ".");

        if (!is_host_name(host) || strcmp(host, "localhost") == 0)
                return;
        n += snprintf(ret + n, NAMES_SIZE - (size_t) n, ",DNS:%s", host);
        if (host[label] != '\0' && label > 0)
                (void) snprintf(ret + n, NAMES_SIZE - (size_t) n, ",DNS:%.*s", (int) label, host);
}

static bool add_extension(X509 *x, int nid, const char *value) {
        X509_EXTENSION *e;
        X509V3_CTX context;
        bool ok;

        X509V3_set_ctx_nodb(&context);
        X509V3_set_ctx(&context, x, x, NULL, NULL, 0);
        e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        ok = e && X509_add_ext(x, e, -1) > 0;
        X509_EXTENSION_free(e);
        return ok;
}

static bool set_serial(X509 *x) {
        uint64_t serial;

        if (RAND_bytes((unsigned char *) &serial, sizeof(serial)) <= 0)
                return false;
        return ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), (serial >> 1) | 1) > 0;
}

static bool set_subject(X509 *x, const char *host) {
        const char *name =
                        is_host_name(host) && strlen(host) <= 64 ? host : "localhost"; /* ub-common-name */
        X509_NAME *subject = X509_NAME_new();
        bool ok;

        ok = subject &&
             X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const void *) "mam", -1, -1, 0) > 0 &&
             X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const void *) name, -1, -1, 0) > 0 &&
             X509_set_subject_name(x, subject) > 0 && X509_set_issuer_name(x, subject) > 0;
        X509_NAME_free(subject);
        return ok;
}

static int fill(X509 *x, EVP_PKEY *key, const char *host) {
        char names[NAMES_SIZE];

        format_names(names, host);
        if (X509_set_version(x, X509_VERSION_3) <= 0 || !set_serial(x) || !set_subject(x, host) ||
            !X509_gmtime_adj(X509_getm_notBefore(x), -300) ||
            !X509_gmtime_adj(X509_getm_notAfter(x), VALID_SECONDS) || X509_set_pubkey(x, key) <= 0 ||
            !add_extension(x, NID_basic_constraints, "critical,CA:FALSE") ||
            !add_extension(x, NID_key_usage, "critical,digitalSignature") ||
            !add_extension(x, NID_ext_key_usage, "serverAuth") ||
            !add_extension(x, NID_subject_key_identifier, "hash") ||
            !add_extension(x, NID_subject_alt_name, names))
                return -EIO;
        return X509_sign(x, key, EVP_sha256()) > 0 ? 0 : -EIO;
}

static int write_pem(BIO *b, const char *folder, const char *name) {
        char path[PATH_MAX], *text;
        long size;

        if ((size_t) snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
                return -ENAMETOOLONG;
        size = BIO_get_mem_data(b, &text);
        return size > 0 ? mam_file_write_atomic(path, text, (size_t) size, 0640) : -EIO;
}

int certificate_make(const char *folder) {
        _cleanup_(free_bio) BIO *key_text = NULL, *certificate_text = NULL;
        _cleanup_(free_certificate) X509 *certificate = NULL;
        _cleanup_(free_key) EVP_PKEY *key = NULL;
        char host[HOST_SIZE] = "";
        int r;

        assert(folder);

        r = has_certificate(folder);
        if (r != 0)
                return r < 0 ? r : 0;
        if (gethostname(host, sizeof(host) - 1) < 0)
                return -errno;

        key = EVP_EC_gen("P-256");
        certificate = X509_new();
        key_text = BIO_new(BIO_s_secmem());
        certificate_text = BIO_new(BIO_s_mem());
        if (!key || !certificate || !key_text || !certificate_text)
                return -EIO;
        r = fill(certificate, key, host);
        if (r < 0)
                return r;
        if (PEM_write_bio_PrivateKey(key_text, key, NULL, NULL, 0, NULL, NULL) <= 0 ||
            PEM_write_bio_X509(certificate_text, certificate) <= 0)
                return -EIO;

        /* The certificate last: whoever sees it finds its key. */
        r = write_pem(key_text, folder, "default.key");
        if (r >= 0)
                r = write_pem(certificate_text, folder, "default.crt");
        return r < 0 ? r : 1;
}

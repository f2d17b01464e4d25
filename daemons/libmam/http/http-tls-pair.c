/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A certificate with its chain and key, from two files
 */

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "libmam/http/http-tls-store.h"

#define CHAIN_MAX     16
#define PATH_SIZE_MAX 4096U

static void free_bio(BIO **b) {
        BIO_free(*b);
}

static void free_names(GENERAL_NAMES **names) {
        GENERAL_NAMES_free(*names);
}

static int format_path(char *ret, size_t size, const char *folder, const char *name, const char *suffix) {
        int n = snprintf(ret, size, "%s/%s%s", folder, name, suffix);

        return n < 0 || (size_t) n >= size ? -ENAMETOOLONG : 0;
}

/* Never asks a terminal: a key under a passphrase is one that we cannot read. */
static int on_passphrase(char *buffer, int size, int writing, void *userdata) {
        return -1;
}

static int load_certificates(HttpTlsPair *p, const char *path, const char **ret_problem) {
        _cleanup_(free_bio) BIO *file = BIO_new_file(path, "r");
        X509 *other;

        *ret_problem = "its .crt cannot be read";
        if (!file)
                return errno > 0 ? -errno : -EIO;
        *ret_problem = "its .crt is not a certificate in PEM";
        p->certificate = PEM_read_bio_X509(file, NULL, on_passphrase, NULL);
        p->chain = sk_X509_new_null();
        if (!p->certificate || !p->chain)
                return -EBADMSG;

        while ((other = PEM_read_bio_X509(file, NULL, on_passphrase, NULL))) {
                if (sk_X509_num(p->chain) >= CHAIN_MAX || sk_X509_push(p->chain, other) <= 0) {
                        X509_free(other);
                        *ret_problem = "its chain is too long";
                        return -EBADMSG;
                }
        }
        /* The end of the file is the error that ends the list; any other is one. */
        if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
                *ret_problem = "its chain has something that is not a certificate";
                return -EBADMSG;
        }
        return 0;
}

static int load_key(HttpTlsPair *p, const char *path, const char **ret_problem) {
        _cleanup_(free_bio) BIO *file = BIO_new_file(path, "r");

        *ret_problem = "its .key cannot be read";
        if (!file)
                return errno > 0 ? -errno : -EIO;
        *ret_problem = "its .key is not a private key in PEM without a passphrase";
        p->key = PEM_read_bio_PrivateKey(file, NULL, on_passphrase, NULL);
        if (!p->key)
                return -EBADMSG;
        *ret_problem = "its .key does not belong to its .crt";
        return X509_check_private_key(p->certificate, p->key) > 0 ? 0 : -EKEYREJECTED;
}

static bool is_host(const GENERAL_NAME *n) {
        const char *text;
        int size;

        if (n->type != GEN_DNS)
                return false;
        text = (const char *) ASN1_STRING_get0_data(n->d.dNSName);
        size = ASN1_STRING_length(n->d.dNSName);
        return size > 0 && size <= 253 && !memchr(text, '\0', (size_t) size);
}

/* Subject alternative names only: a common name is no host name to any client in use (RFC 9525). What is
 * none is passed over: it serves under its other names. */
static int copy_hosts(HttpTlsPair *p, const GENERAL_NAMES *names) {
        int r = 0;

        for (int i = 0; r >= 0 && i < sk_GENERAL_NAME_num(names) && p->n_hosts < HTTP_TLS_NAMES_MAX; i++) {
                const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

                if (!is_host(name))
                        continue;
                r = mam_buffer_append(
                                &p->text,
                                ASN1_STRING_get0_data(name->d.dNSName),
                                (size_t) ASN1_STRING_length(name->d.dNSName));
                if (r >= 0)
                        r = mam_buffer_append(&p->text, "", 1);
                p->n_hosts++;
        }
        return r;
}

static int load_hosts(HttpTlsPair *p) {
        _cleanup_(free_names) GENERAL_NAMES *names = NULL;
        const char *host;
        int r;

        names = X509_get_ext_d2i(p->certificate, NID_subject_alt_name, NULL, NULL);
        if (!names)
                return 0;
        r = copy_hosts(p, names);
        if (r < 0 || p->n_hosts == 0)
                return r;
        for (size_t i = 0; i < p->text.size; i++)
                p->text.data[i] = (char) tolower((unsigned char) p->text.data[i]);

        p->hosts = calloc(p->n_hosts, sizeof(*p->hosts));
        if (!p->hosts)
                return -ENOMEM;
        host = mam_buffer_bytes(&p->text);
        for (size_t i = 0; i < p->n_hosts; i++) {
                p->hosts[i] = host;
                host += strlen(host) + 1;
        }
        return 0;
}

static int load_expiry(HttpTlsPair *p, const char **ret_problem) {
        struct tm tm = { 0 };

        *ret_problem = "its time of validity is malformed";
        if (ASN1_TIME_to_tm(X509_get0_notAfter(p->certificate), &tm) <= 0)
                return -EBADMSG;
        p->not_after = (int64_t) timegm(&tm);
        *ret_problem = "it has expired";
        return p->not_after <= (int64_t) time(NULL) ? -EKEYEXPIRED : 0;
}

HttpTlsPair *http_tls_pair_ref(HttpTlsPair *p) {
        assert(p);

        p->n_ref++;
        return p;
}

HttpTlsPair *http_tls_pair_unref(HttpTlsPair *p) {
        if (!p || --p->n_ref > 0)
                return NULL;

        X509_free(p->certificate);
        sk_X509_pop_free(p->chain, X509_free);
        EVP_PKEY_free(p->key);
        free(p->hosts);
        mam_buffer_done(&p->text);
        free(p->name);
        free(p);
        return NULL;
}

int http_tls_pair_load(
                HttpTlsPair **ret,
                const char *folder,
                const char *name,
                uint64_t stamp,
                const char **ret_problem) {
        _cleanup_(http_tls_pair_unrefp) HttpTlsPair *p = NULL;
        char path[PATH_SIZE_MAX];
        int r;

        assert(ret);
        assert(ret_problem);

        *ret_problem = "out of memory";
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->n_ref = 1;
        p->stamp = stamp;
        p->name = strdup(name);
        if (!p->name)
                return -ENOMEM;

        ERR_clear_error();
        errno = 0;
        r = format_path(path, sizeof(path), folder, name, ".crt");
        if (r >= 0)
                r = load_certificates(p, path, ret_problem);
        ERR_clear_error();
        if (r >= 0)
                r = format_path(path, sizeof(path), folder, name, ".key");
        if (r >= 0)
                r = load_key(p, path, ret_problem);
        if (r >= 0)
                r = load_hosts(p);
        if (r >= 0)
                r = load_expiry(p, ret_problem);
        ERR_clear_error();
        if (r < 0)
                return r;

        *ret = MAM_TAKE(p);
        return 0;
}

uint64_t http_tls_file_stamp(const char *path) {
        const uint64_t prime = UINT64_C(1099511628211);
        struct stat st;
        uint64_t h = UINT64_C(14695981039346656037);

        if (stat(path, &st) < 0)
                return 0;
        h = (h ^ (uint64_t) st.st_ino) * prime;
        h = (h ^ (uint64_t) st.st_dev) * prime;
        h = (h ^ (uint64_t) st.st_size) * prime;
        h = (h ^ (uint64_t) st.st_mtim.tv_sec) * prime;
        h = (h ^ (uint64_t) st.st_mtim.tv_nsec) * prime;
        h = (h ^ (uint64_t) st.st_ctim.tv_sec) * prime;
        h = (h ^ (uint64_t) st.st_ctim.tv_nsec) * prime;
        return h | 1;
}

int http_tls_file_digest(unsigned char ret[static HTTP_TLS_DIGEST_SIZE], const char *path) {
        _cleanup_(mam_fclosep) FILE *f = fopen(path, "re");
        unsigned char block[4096];
        EVP_MD_CTX *digest;
        bool ok;
        size_t n;

        if (!f)
                return -errno;
        digest = EVP_MD_CTX_new();
        ok = digest && EVP_DigestInit_ex2(digest, EVP_sha256(), NULL) > 0;
        while (ok && (n = fread(block, 1, sizeof(block), f)) > 0)
                ok = EVP_DigestUpdate(digest, block, n) > 0;
        ok = ok && EVP_DigestFinal_ex(digest, ret, NULL) > 0;
        EVP_MD_CTX_free(digest);
        return ok && !ferror(f) ? 0 : -EIO;
}

uint64_t http_tls_pair_stamp(const char *folder, const char *name) {
        char path[PATH_SIZE_MAX];
        uint64_t certificate, key;

        if (format_path(path, sizeof(path), folder, name, ".crt") < 0)
                return 0;
        certificate = http_tls_file_stamp(path);
        if (format_path(path, sizeof(path), folder, name, ".key") < 0)
                return 0;
        key = http_tls_file_stamp(path);
        return certificate == 0 || key == 0 ? 0 : certificate * 31 + key;
}

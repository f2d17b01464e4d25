/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-setup: makes what is missing
 *
 * Credentials and the key that signs tokens, once; the last good definitions, and all definitions by their
 * hash, whenever the configuration changed; and it moves a token out of microservices.json. Run as root by
 * mam-setup.service; harmless and quick when there is nothing to do.
 */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libmam/auth/jwt.h"
#include "libmam/config/config.h"
#include "libmam/json/json.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/file.h"
#include "mam-build.h"
#include "setup/certificate.h"
#include "setup/credential.h"
#include "setup/definitions.h"
#include "setup/last-good.h"
#include "setup/token.h"

#define KEY_OWNER     "mam-owner" /* a member of a key: RFC 7517 lets others ignore it */
#define GATEWAY_OWNER "api-gateway"

typedef struct Places {
        const char *config; /* /etc/mam */
        const char *state;  /* /var/lib/mam */
        const char *store;  /* /etc/credstore.encrypted */
} Places;

static int make_random(const Places *p, const char *name) {
        int r;

        if (credential_exists(p->store, name))
                return 0;
        r = credential_write_random(p->store, name);
        if (r < 0)
                return mam_error_errno(r, "Cannot make the credential '%s/%s'", p->store, name);
        mam_log_id(LOG_INFO, MAM_MESSAGE_CREDENTIAL_MADE, "Made the credential '%s'", name);
        return 0;
}

/* The key pair is made as one: a private key whose public half was lost could sign nothing that anybody
 * believes. */
static int make_signing_key(const Places *p) {
        _cleanup_(mam_freep) char *pem = NULL, *jwks = NULL;
        char path[PATH_MAX];
        int r;

        snprintf(path, sizeof(path), "%s/keys/jwks.json", p->state);
        if (credential_exists(p->store, "mam.jwt.key") && access(path, R_OK) == 0)
                return 0;

        r = mam_jwt_generate_ed25519(&pem, &jwks);
        if (r < 0)
                return mam_error_errno(r, "Cannot generate the key that signs tokens");
        r = credential_write(p->store, "mam.jwt.key", pem, strlen(pem));
        explicit_bzero(pem, strlen(pem));
        if (r < 0)
                return mam_error_errno(r, "Cannot make the credential '%s/mam.jwt.key'", p->store);
        r = mam_file_write_atomic(path, jwks, strlen(jwks), 0644);
        if (r < 0)
                return mam_error_errno(r, "Cannot write '%s'", path);
        mam_log_id(LOG_INFO,
                   MAM_MESSAGE_CREDENTIAL_MADE,
                   "Made the credential 'mam.jwt.key', public half in '%s'",
                   path);
        return 0;
}

/* The keys of a document without those of this use; borrowed from *root. NULL: it is not a document. */
static json_object *keys_without(json_object *root, const char *use, bool *ret_found) {
        json_object *keys = NULL, *value = NULL;

        *ret_found = false;
        if (!json_object_is_type(root, json_type_object) ||
            !json_object_object_get_ex(root, "keys", &keys) || !json_object_is_type(keys, json_type_array))
                return NULL;
        for (size_t i = json_object_array_length(keys); i-- > 0;) {
                json_object *key = json_object_array_get_idx(keys, i);

                if (json_object_is_type(key, json_type_object) &&
                    json_object_object_get_ex(key, KEY_OWNER, &value) &&
                    json_object_is_type(value, json_type_string) &&
                    strcmp(json_object_get_string(value), use) == 0) {
                        *ret_found = true;
                        (void) json_object_array_del_idx(keys, i, 1);
                }
        }
        return keys;
}

/* The gateways sign with a key of their own, whose public half stands beside the manager's: so none of the
 * two needs the private key of the other. */
static int make_gateway_key(const Places *p) {
        _cleanup_(json_object_putp) json_object *root = NULL, *made = NULL;
        _cleanup_(mam_freep) char *pem = NULL, *jwks = NULL, *text = NULL;
        json_object *keys, *key;
        char path[PATH_MAX];
        bool found;
        size_t size;
        int r;

        snprintf(path, sizeof(path), "%s/keys/jwks.json", p->state);
        r = mam_file_read(&text, &size, path, MAM_CONFIG_FILE_MAX);
        if (r >= 0)
                r = mam_json_parse(&root, text, size, NULL);
        keys = r >= 0 ? keys_without(root, GATEWAY_OWNER, &found) : NULL;
        if (!keys)
                return mam_error_errno(r < 0 ? r : -EBADMSG, "Cannot use '%s'", path);
        if (found && credential_exists(p->store, "mam.gateway.key"))
                return 0;

        r = mam_jwt_generate_ed25519(&pem, &jwks);
        if (r >= 0)
                r = mam_json_parse(&made, jwks, strlen(jwks), NULL);
        if (r < 0)
                return mam_error_errno(r, "Cannot generate the key of the gateways");
        key = json_object_array_get_idx(json_object_object_get(made, "keys"), 0);
        if (json_object_object_add(key, KEY_OWNER, json_object_new_string(GATEWAY_OWNER)) < 0 ||
            json_object_array_add(keys, json_object_get(key)) < 0)
                return mam_error_errno(-ENOMEM, "Cannot add the key of the gateways");

        r = credential_write(p->store, "mam.gateway.key", pem, strlen(pem));
        explicit_bzero(pem, strlen(pem));
        if (r < 0)
                return mam_error_errno(r, "Cannot make the credential '%s/mam.gateway.key'", p->store);
        free(text);
        if (asprintf(&text, "%s\n", mam_json_to_string(root)) < 0) {
                text = NULL;
                return mam_error_errno(-ENOMEM, "Cannot write '%s'", path);
        }
        r = mam_file_write_atomic(path, text, strlen(text), 0644);
        if (r < 0)
                return mam_error_errno(r, "Cannot write '%s'", path);
        mam_log_id(LOG_INFO,
                   MAM_MESSAGE_CREDENTIAL_MADE,
                   "Made the credential 'mam.gateway.key', public half in '%s'",
                   path);
        return 0;
}

/* What TLS at the gateway needs. Session tickets are sealed with keys made from a secret that all gateways
 * share.
 */
static int make_tls(const Places *p, const MamConfig *c) {
        char folder[PATH_MAX];
        int r, tickets;

        if (!c->tls)
                return 0;
        tickets = make_random(p, "mam.tls.tickets");
        snprintf(folder, sizeof(folder), "%s/tls", p->config);
        r = certificate_make(folder);
        if (r == -ENOENT) {
                return mam_error_errno(
                                r,
                                "Cannot make a certificate: '%s' is missing, 'systemd-tmpfiles --create' makes it",
                                folder);
        }
        if (r < 0)
                return mam_error_errno(r, "Cannot make a certificate in '%s'", folder);
        if (r > 0) {
                mam_log_id(LOG_INFO,
                           MAM_MESSAGE_CREDENTIAL_MADE,
                           "Made the certificate '%s/default.crt', signed by itself, for TLS at the gateway",
                           folder);
        }
        return tickets;
}

static int make_credentials(const Places *p, const MamConfig *c) {
        int r, result = 0;

        for (size_t i = 0; i < c->n_services; i++) {
                char name[64];

                if (c->services[i].probe ==
                    MAM_PROBE_REDIS) { /* with which its replicas log in to the first */
                        r = make_random(p, "mam.redis.replication");
                        if (r < 0)
                                result = r;
                }
                if (!c->services[i].cache)
                        continue;
                snprintf(name, sizeof(name), "mam.redis.%s", c->services[i].id);
                r = make_random(p, name);
                if (r < 0)
                        result = r;
        }
        /* The registry's unit loads it, whether it asks for it or not. */
        if (c->registry_enabled && !c->registry_token) {
                r = make_random(p, "mam.registry.token");
                if (r < 0)
                        result = r;
        }
        r = make_random(p, "mam.keys.secret"); /* under which API keys are kept */
        if (r < 0)
                result = r;
        r = make_random(p, "mam.events.key"); /* which seals the secrets of webhooks */
        if (r < 0)
                result = r;
        r = make_tls(p, c);
        if (r < 0)
                result = r;
        r = make_signing_key(p);
        if (r >= 0)
                r = make_gateway_key(p);
        return r < 0 ? r : result;
}

static int move_token(const Places *p) {
        char path[PATH_MAX];
        int r;

        snprintf(path, sizeof(path), "%s/microservices.json", p->config);
        r = token_move(path, p->store);
        if (r < 0)
                return mam_error_errno(r, "Cannot move the token out of '%s'", path);
        if (r > 0) {
                mam_log_id(LOG_WARNING,
                           MAM_MESSAGE_TOKEN_MOVED,
                           "%s: registry.token: a token in plain text; moved to the credential mam.registry.token. "
                           "Replace it where it was issued if others could read the file",
                           path);
        }
        return 0;
}

static void report(const MamConfig *c) {
        for (size_t i = 0; i < c->n_problems; i++) {
                _cleanup_(mam_freep) char *text = NULL;
                MamProblemLevel level = c->problems[i].level;

                if (level != MAM_PROBLEM_NOTICE && mam_config_problem_format(&text, &c->problems[i]) == 0) {
                        mam_log_id(level == MAM_PROBLEM_ERROR ? LOG_ERR : LOG_WARNING,
                                   MAM_MESSAGE_CONFIG_PROBLEM,
                                   "%s",
                                   text);
                }
        }
}

static int make_folder(const char *path, mode_t mode) {
        if (mkdir(path, mode) < 0) {
                if (errno == EEXIST)
                        return 0; /* with the mode that it was given */
                return mam_error_errno(-errno, "Cannot make '%s'", path);
        }
        if (chmod(path, mode) < 0)
                return mam_error_errno(-errno, "Cannot set the mode of '%s'", path);
        return 0;
}

static int make_folders(const Places *p) {
        char path[PATH_MAX];
        int r;

        r = make_folder(p->store, 0700);
        if (r < 0)
                return r;
        r = make_folder(p->state, 0755);
        if (r < 0)
                return r;
        snprintf(path, sizeof(path), "%s/config", p->state);
        r = make_folder(path, 0755);
        if (r < 0)
                return r;
        snprintf(path, sizeof(path), "%s/definitions", p->state);
        r = make_folder(path, 0755);
        if (r < 0)
                return r;
        snprintf(path, sizeof(path), "%s/keys", p->state);
        return make_folder(path, 0755);
}

static int setup(const Places *p) {
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        char last_good[PATH_MAX], definitions[PATH_MAX], deploy[PATH_MAX];
        int r, token, credentials, kept;

        snprintf(last_good, sizeof(last_good), "%s/config", p->state);
        snprintf(definitions, sizeof(definitions), "%s/definitions", p->state);
        snprintf(deploy, sizeof(deploy), "%s/manager/deploy.json", p->state);
        r = make_folders(p);
        if (r < 0)
                return r;

        token = move_token(p);
        r = mam_config_load(&c, p->config, last_good);
        if (r == -ENOENT)
                return 0; /* removed but not purged */
        if (r < 0)
                return mam_error_errno(r, "Cannot read '%s'", p->config);
        report(c);

        /* Each as far as it goes: one thing that fails keeps none of the others from being done. */
        credentials = make_credentials(p, c);
        kept = definitions_update(c, definitions, deploy);
        if (kept < 0)
                (void) mam_error_errno(kept, "Cannot keep the definitions of services in '%s'", definitions);
        r = last_good_update(c, p->config, last_good);
        if (r < 0)
                (void) mam_error_errno(r, "Cannot keep the last good definitions in '%s'", last_good);
        return r < 0 ? r : kept < 0 ? kept : token < 0 ? token : credentials;
}

static void help(void) {
        printf("Usage: mam-setup [OPTION]…\n\n"
               "Makes what mam needs and does not find: credentials, the key that signs tokens, the last good\n"
               "definitions of the services; moves a token from microservices.json to a credential.\n"
               "Harmless when repeated. mam-setup.service runs it.\n\n"
               "      --config=DIR  the configuration (default " MAM_CONFIG_DIR ")\n"
               "      --state=DIR   where keys and definitions are kept (default " MAM_STATE_DIR ")\n"
               "      --store=DIR   where credentials are kept (default /etc/credstore.encrypted)\n"
               "  -h, --help        show this help\n"
               "      --version     show the version\n");
}

int main(int argc, char **argv) {
        enum {
                OPTION_CONFIG = 256,
                OPTION_STATE,
                OPTION_STORE,
                OPTION_VERSION,
        };
        static const struct option options[] = {
                { "config", required_argument, NULL, OPTION_CONFIG },
                { "state", required_argument, NULL, OPTION_STATE },
                { "store", required_argument, NULL, OPTION_STORE },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPTION_VERSION },
                { NULL, 0, NULL, 0 },
        };
        Places p = { .config = MAM_CONFIG_DIR, .state = MAM_STATE_DIR, .store = "/etc/credstore.encrypted" };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                switch (c) {
                case OPTION_CONFIG:
                        p.config = optarg;
                        break;
                case OPTION_STATE:
                        p.state = optarg;
                        break;
                case OPTION_STORE:
                        p.store = optarg;
                        break;
                case 'h':
                        help();
                        return 0;
                case OPTION_VERSION:
                        printf("mam-setup %s\n", MAM_VERSION);
                        return 0;
                default:
                        return 2;
                }
        }
        if (optind < argc) {
                fprintf(stderr, "mam-setup takes no arguments\n");
                return 2;
        }

        mam_log_open("mam-setup");
        umask(0077);
        return setup(&p) < 0 ? 1 : 0;
}

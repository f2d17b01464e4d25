/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * API keys
 *
 * The manager makes them, keeps of each only what it takes to recognise it (libmam/auth/api-key.h), and
 * tells the gateways, which check them without asking. keys.c is the list and its file; keys-bus.c the
 * methods.
 */

#include <systemd/sd-bus.h>

#include "libmam/auth/api-key.h"
#include "libmam/json/json.h"

typedef struct ApiKey ApiKey;
typedef struct Keys Keys;
typedef struct Manager Manager;

#define KEYS_MAX            1000U
#define KEY_ROLES_MAX       16U
#define KEY_SCOPES_MAX      32U
#define KEY_NAME_MAX        128U
#define KEY_TTL_MAX_USEC    (3650ULL * 24 * 3600 * MAM_USEC_PER_SEC)
#define KEY_GRACE_MAX_USEC  (30ULL * 24 * 3600 * MAM_USEC_PER_SEC)
#define KEY_USES_REPORT_MAX 4096U /* in one report of a gateway */

struct ApiKey {
        char id[MAM_API_KEY_ID_SIZE + 1];
        char *name;    /* owned; for people */
        char *subject; /* owned; who a caller with this key is */
        char **roles;  /* owned, NULL-terminated */
        char **scopes; /* owned, NULL-terminated; empty: not narrowed */
        uint8_t mac[MAM_API_KEY_MAC_SIZE];
        uint8_t previous_mac[MAM_API_KEY_MAC_SIZE]; /* of the secret before the last rotation */
        uint64_t previous_until_usec;               /* realtime; 0: there is none */
        uint64_t created_usec;                      /* realtime, as all here */
        uint64_t expires_usec;                      /* 0: does not */
        uint64_t used_usec;                         /* 0: never */
        uint64_t uses;
};

ApiKey *api_key_free(ApiKey *key);
MAM_DEFINE_CLEANUP(ApiKey, api_key_free);

typedef struct KeyRequest {
        const char *name, *subject; /* borrowed; subject "": "key:ID" */
        char **roles, **scopes;     /* borrowed, NULL-terminated */
        uint64_t ttl_usec;          /* 0: for ever */
} KeyRequest;

struct Keys {
        ApiKey **keys; /* owned, and each of them; oldest first */
        size_t n_keys;
        uint64_t generation; /* grows with each change that gateways must know; not with use */
        char *path;          /* owned; NULL: nothing is kept */
};

/* path: where they are kept; a file that cannot be used is moved aside, and *ret_problem (a literal) is set.
 * NULL: nowhere. */
int keys_new(Keys **ret, const char *path, const char **ret_problem);
Keys *keys_free(Keys *k);
MAM_DEFINE_CLEANUP(Keys, keys_free);
ApiKey *keys_find(const Keys *k, const char *id);
/* The same, or the only one of that name. NULL: there is none, or *ret_several. */
ApiKey *keys_find_called(const Keys *k, const char *id_or_name, bool *ret_several);
/* false: *ret_reason is a literal. */
bool key_request_is_valid(const KeyRequest *q, const char **ret_reason);

/* All of these store what they did before they return, and take it back if they cannot. The whole key goes
 * to ret_text (the only time it is seen). -EDQUOT: KEYS_MAX. */
int keys_create(Keys *k,
                const KeyRequest *q,
                const char *secret,
                size_t secret_size,
                uint64_t now_usec,
                ApiKey **ret,
                char ret_text[static MAM_API_KEY_TEXT_SIZE + 1]);
/* The secret before holds until grace_usec have passed. */
int keys_rotate(Keys *k,
                ApiKey *key,
                const char *secret,
                size_t secret_size,
                uint64_t grace_usec,
                uint64_t now_usec,
                char ret_text[static MAM_API_KEY_TEXT_SIZE + 1]);
/* The key is the caller's from then on. */
int keys_revoke(Keys *k, ApiKey *key);
/* What a gateway counted. Stored with the next change, or by keys_save(). */
void keys_note_use(Keys *k, const char *id, uint64_t uses, uint64_t used_usec);
int keys_save(const Keys *k);
/* What gateways need: {"keys":[{"id":…,"subject":…,"roles":[…],"scopes":[…],"mac":…,…}]}. */
int keys_format_for_gateway(const Keys *k, uint64_t now_usec, json_object **ret);

/* Handlers. GetKeys and ReportKeyUse are for the gateways' user alone: the bus lets nobody else through. */
int manager_bus_create_key(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_list_keys(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_rotate_key(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_revoke_key(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_get_keys(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_report_key_use(sd_bus_message *message, void *userdata, sd_bus_error *error);

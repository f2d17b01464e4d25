/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * API keys as the manager tells them
 *
 * The gateway knows of each key what recognises it, who it stands for, and how often it was used since that
 * was reported. A new list replaces the old one whole; counts go over by id.
 */

#include "api-gateway/caller.h"
#include "libmam/auth/api-key.h"

typedef struct KeyEntry KeyEntry;
typedef struct KeyTable KeyTable;

#define KEY_TABLE_MAX 1000U

struct KeyEntry {
        char id[MAM_API_KEY_ID_SIZE + 1];
        uint8_t mac[MAM_API_KEY_MAC_SIZE];
        uint8_t previous_mac[MAM_API_KEY_MAC_SIZE];
        uint64_t previous_until_usec; /* realtime; 0: there is no secret before */
        uint64_t expires_usec;        /* realtime; 0: does not */
        Caller *caller;               /* reference */
        uint64_t uses;                /* not reported yet */
        uint64_t used_usec;           /* realtime */
};

typedef enum KeyResult {
        KEY_OK,
        KEY_UNKNOWN, /* no such key, or another secret */
        KEY_EXPIRED,
        KEY_NOT_LOADED, /* nobody has told the keys yet, or there is no credential to check them with */
} KeyResult;

int key_table_new(KeyTable **ret);
KeyTable *key_table_free(KeyTable *t);
MAM_DEFINE_CLEANUP(KeyTable, key_table_free);

/* The secret under which keys are kept; copied, wiped on free. */
int key_table_set_secret(KeyTable *t, const char *secret, size_t size);
/* The manager's document. -EBADMSG: the list before stands. */
int key_table_load(KeyTable *t, const char *json, size_t size);
bool key_table_is_loaded(const KeyTable *t);
size_t key_table_size(const KeyTable *t);
/* Borrowed, or NULL. */
KeyEntry *key_table_find(const KeyTable *t, const char *id);
KeyEntry *key_table_at(const KeyTable *t, size_t i);
/* A KeyResult, or -ENOMEM. *ret: a reference, with KEY_OK only. */
int key_table_check(KeyTable *t, const char *text, size_t size, uint64_t now_usec, Caller **ret);
/* Whether a key that stands behind a token is still one. */
bool key_table_is_valid(const KeyTable *t, const char *id, uint64_t now_usec);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Secrets of push subscriptions, as the database keeps them: AES-256-GCM, bound to the subscription's name
 *
 * The key is the credential "mam.events.key". Who stores a secret seals it, the pusher opens it; nobody
 * else sees it, the database's logs and dumps least of all.
 */

#include <stddef.h>
#include <stdint.h>

#define PUSH_KEY_CREDENTIAL "mam.events.key"
#define PUSH_KEY_SIZE       32U

typedef struct PushKey {
        uint8_t bytes[PUSH_KEY_SIZE];
} PushKey;

/* From the credential's text: 64 hexadecimal digits. -EINVAL. */
int push_key_parse(PushKey *ret, const char *text);
void push_key_wipe(PushKey *key);
/* "v1:…"; caller frees. */
int push_secret_seal(char **ret, const PushKey *key, const char *subscription, const char *secret);
/* -EBADMSG: not sealed with this key for this subscription. Caller wipes and frees. */
int push_secret_open(char **ret, const PushKey *key, const char *subscription, const char *sealed);

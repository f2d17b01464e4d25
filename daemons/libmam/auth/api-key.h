/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * API keys: "mam_<id>_<secret>"
 *
 * The id (16 hexadecimal digits) is public, the secret (256 random bits, base64url) is shown once. What is
 * kept of a key is its HMAC-SHA-256 under a secret of the host: who reads the list of keys can neither use
 * one nor try out guesses.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAM_API_KEY_PREFIX    "mam_"
#define MAM_API_KEY_ID_SIZE   16U
#define MAM_API_KEY_TEXT_SIZE 64U /* of a key: 4 + 16 + 1 + 43 */
#define MAM_API_KEY_MAC_SIZE  32U

/* 0, or -EIO: there are no random numbers. Both are NUL-terminated. */
int mam_api_key_generate(
                char ret[static MAM_API_KEY_TEXT_SIZE + 1],
                char ret_id[static MAM_API_KEY_ID_SIZE + 1]);
/* A new secret for an id. */
int mam_api_key_generate_for(char ret[static MAM_API_KEY_TEXT_SIZE + 1], const char *id);
/* Whether a text looks like a key, and whose. */
bool mam_api_key_parse(const char *text, size_t size, char ret_id[static MAM_API_KEY_ID_SIZE + 1]);
bool mam_api_key_id_is_valid(const char *id);
/* secret: the credential's content. 0 or -ENOMEM. */
int mam_api_key_mac(
                uint8_t ret[static MAM_API_KEY_MAC_SIZE],
                const char *secret,
                size_t secret_size,
                const char *key,
                size_t key_size);
/* In a time that does not depend on where they differ. */
bool mam_api_key_mac_equal(
                const uint8_t a[static MAM_API_KEY_MAC_SIZE],
                const uint8_t b[static MAM_API_KEY_MAC_SIZE]);
/* 64 hexadecimal digits and back. */
void mam_api_key_mac_format(char ret[static 2 * MAM_API_KEY_MAC_SIZE + 1], const uint8_t *mac);
bool mam_api_key_mac_parse(uint8_t ret[static MAM_API_KEY_MAC_SIZE], const char *text);

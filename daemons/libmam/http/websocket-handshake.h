/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The handshake of WebSocket (RFC 6455, section 4), as pure functions
 */

#include <stdbool.h>
#include <stddef.h>

#define MAM_WEBSOCKET_KEY_SIZE    25U /* with NUL */
#define MAM_WEBSOCKET_ACCEPT_SIZE 29U

/* Sixteen bytes in base64. */
bool mam_websocket_key_is_valid(const char *key);
/* A random one. -EIO. */
int mam_websocket_key_new(char ret[static MAM_WEBSOCKET_KEY_SIZE]);
/* The value of Sec-WebSocket-Accept that shows that this key was read. -EIO: the library of hashes failed.
 */
int mam_websocket_accept_value(char ret[static MAM_WEBSOCKET_ACCEPT_SIZE], const char *key);
/* The first token of a comma-separated list that is one of protocols (NULL-terminated), as it stands there;
 * NULL: none. */
const char *mam_websocket_choose_protocol(const char *list, const char *const *protocols);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Encrypted credentials (systemd-creds(1))
 *
 * A credential is a file in the store, encrypted with this host's key and readable by root alone. No name is
 * bound into it, as one secret is loaded under two names: "redis.password" by a service and "redis.<id>" by
 * Redis.
 */

#include <stdbool.h>
#include <stddef.h>

/* A file of this name with content. */
bool credential_exists(const char *store, const char *name);
/* Replaces what was there, whole or not at all. -EIO: systemd-creds failed, and said why on stderr. */
int credential_write(const char *store, const char *name, const void *secret, size_t size);
/* 32 random bytes as 64 hexadecimal digits. */
int credential_write_random(const char *store, const char *name);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Shared between config-gateway-auth.c and config-gateway-grants.c
 */

#include "libmam/config/config-gateway.h"

#define MAM_AUTH_NAME_WHAT "1 to 64 visible ASCII characters without comma, quote and backslash"

/* The name of a role or a scope, as the manager lets them be. */
bool mam_auth_name_is_good(const char *text);

/* {"name": ["permission", …], …}; with_service: a name is the id of a service, and so is the beginning of
 * each path. What is wrong is reported and left out. */
void mam_config_read_grants(
                MamReader *rd,
                json_object *o,
                const char *parent,
                bool with_service,
                MamGrant **ret,
                size_t *ret_n);
void mam_grants_free(MamGrant *grants, size_t n);

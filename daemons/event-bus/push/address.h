/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where webhooks may be: addresses that everybody can reach, and networks that the administrator names
 *
 * Loopback, private, link-local (and with it the metadata services of clouds), shared, multicast, reserved
 * and documentation addresses are refused, however they are wrapped: IPv4 inside IPv6 (mapped, NAT64, 6to4)
 * is judged as the IPv4 address that it leads to. Pure; asked with the address that a socket is about to
 * connect to.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define PUSH_NETWORKS_MAX 64U

typedef struct PushNetwork {
        bool is_v6;
        uint8_t address[16];
        unsigned bits;
} PushNetwork;

typedef struct PushNetworks {
        PushNetwork networks[PUSH_NETWORKS_MAX];
        size_t n;
} PushNetworks;

/* "10.0.0.0/8", "fd00::/8", or an address. -EINVAL. */
int push_network_parse(PushNetwork *ret, const char *text);
/* allow: NULL-terminated, or NULL. -EINVAL with *ret_bad (borrowed); -E2BIG. */
int push_networks_parse(PushNetworks *ret, const char *const *allow, const char **ret_bad);
/* Whether the administrator named it. */
bool push_address_is_named(const PushNetworks *allow, const struct sockaddr *address, socklen_t size);
/* Named, or one that everybody can reach. */
bool push_address_is_allowed(const PushNetworks *allow, const struct sockaddr *address, socklen_t size);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the zones "mam." and "consul." say
 *
 *     SERVICE.service[.DATACENTER].ZONE       A, AAAA, SRV of its passing instances
 *     TAG.SERVICE.service[.DATACENTER].ZONE   of those that have the tag
 *     _SERVICE._tcp.service[.DATACENTER].ZONE the same, as RFC 2782 writes it (or _SERVICE._TAG)
 *     NODE.node[.DATACENTER].ZONE             NODE: this host, or SERVICE-N: one replica, as SRV targets say
 *
 * Names outside are refused. A service that listens on a unix socket only has no records.
 */

#include "registry/catalog.h"
#include "registry/dns-message.h"

/* The answer to a query of size bytes: its size, at most max, which is DNS_TCP_SIZE for TCP and anything
 * larger than DNS_UDP_SIZE for UDP, where the client's own limit counts as well; -EBADMSG: none is owed.
 * lot: a random number, which decides the order of the records. */
ssize_t dns_zone_answer(
                const Catalog *c,
                const uint8_t *query,
                size_t size,
                uint8_t *ret,
                size_t max,
                bool tcp,
                uint32_t lot);

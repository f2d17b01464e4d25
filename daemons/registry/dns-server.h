/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * DNS over UDP and TCP (RFC 7766) on sd-event
 *
 * Owns its sockets. A datagram that is no query gets no answer. Over TCP at most DNS_CONNECTIONS_MAX clients
 * are connected, each may be idle for DNS_IDLE_USEC, and is answered in the order of its queries; one that
 * does not read its answers is not read from.
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "libmam/util/macro.h"
#include "libmam/util/time.h"
#include "registry/catalog.h"

typedef struct DnsServer DnsServer;

#define DNS_CONNECTIONS_MAX 128U
#define DNS_IDLE_USEC       (10 * MAM_USEC_PER_SEC)

typedef struct DnsCounts {
        uint64_t udp, tcp, dropped;
} DnsCounts;

/* catalog is the caller's. */
int dns_server_new(DnsServer **ret, sd_event *event, const Catalog *catalog);
DnsServer *dns_server_free(DnsServer *s);
MAM_DEFINE_CLEANUP(DnsServer, dns_server_free);

/* Take ownership of a socket on success. */
int dns_server_add_datagram(DnsServer *s, int fd);
int dns_server_add_listener(DnsServer *s, int fd);
/* Whether every query is refused: registry.enabled is false. */
void dns_server_refuse(DnsServer *s, bool refuse);
DnsCounts dns_server_counts(const DnsServer *s);

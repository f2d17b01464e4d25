/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: DNS queries to the registry
 *
 * Beside memory errors it looks for broken promises: an answer to what is no query, an answer that is larger
 * than the client takes, that is not a well-formed message of the same id and question, or that depends on
 * the transport where nothing had to be cut.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "registry/dns-zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int ok) {
        if (!ok)
                abort();
}

static const Catalog *example(void) {
        static Catalog *c;
        CatalogService *s;

        if (c)
                return c;
        check(catalog_new(&c, "Host.example", "0123456789abcdef0123456789abcdef", "dc1") >= 0);
        check(catalog_add(c, &s, "web") >= 0);
        catalog_service_set_text(s, "Type", "service");
        catalog_service_set_number(s, "Port", 3001);
        for (unsigned n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                char id[16];

                (void) snprintf(id, sizeof(id), "web:%u", n);
                catalog_endpoint_set(
                                s,
                                id,
                                "/run/mam/replica/web.sock",
                                n == 3 ? "draining" : "ready",
                                100,
                                "r1");
        }
        check(catalog_add(c, &s, "six") >= 0);
        catalog_service_set_number(s, "Port", 80);
        catalog_text(s->listen, sizeof(s->listen), "::1");
        catalog_endpoint_set(s, "six:1", "/run/mam/replica/six:1.sock", "asleep", 100, "");
        check(catalog_add(c, &s, "db") >= 0);
        s->has_public_port = false;
        catalog_endpoint_set(s, "db:1", "/run/mam/postgresql/.s.PGSQL.5432", "ready", 100, "");
        c->listed = true;
        (void) catalog_settle(c, 1);
        return c;
}

static unsigned get16(const uint8_t *p) {
        return (unsigned) p[0] << 8 | p[1];
}

/* A name of an answer: labels, and at its end a pointer backwards at most. */
static size_t walk_name(const uint8_t *p, size_t size, size_t at) {
        for (;;) {
                check(at < size);
                if ((p[at] & 0xc0) == 0xc0) {
                        check(at + 2 <= size && (get16(p + at) & 0x3fff) < at);
                        return at + 2;
                }
                check(p[at] <= 63);
                if (p[at] == 0)
                        return at + 1;
                at += 1U + p[at];
        }
}

static void check_answer(const uint8_t *query, size_t query_size, const uint8_t *p, size_t size) {
        unsigned n = get16(p + 6) + get16(p + 8) + get16(p + 10);
        size_t at = DNS_HEADER_SIZE;

        check(size >= DNS_HEADER_SIZE);
        check(memcmp(p, query, 2) == 0); /* the id */
        check(p[2] & 0x80);
        check((p[2] & 0x79) == (query[2] & 0x79)); /* operation, recursion desired */
        if (get16(p + 4) == 1) {
                at = walk_name(p, size, at) + 4;
                check(at <= size && at <= query_size);
                check(memcmp(p + DNS_HEADER_SIZE, query + DNS_HEADER_SIZE, at - DNS_HEADER_SIZE) == 0);
        } else
                check(n <= 1);
        for (unsigned i = 0; i < n; i++) {
                unsigned type;
                size_t data;

                at = walk_name(p, size, at);
                check(at + 10 <= size);
                type = get16(p + at);
                data = get16(p + at + 8);
                at += 10;
                check(at + data <= size);
                if (type == DNS_TYPE_SRV) {
                        for (size_t k = at + 6; p[k]; k += 1U + p[k])
                                check(p[k] <= 63); /* never compressed */
                }
                at += data;
        }
        check(at == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        uint8_t udp[DNS_EDNS_SIZE];
        static uint8_t tcp[DNS_TCP_SIZE];
        ssize_t n, k;

        n = dns_zone_answer(example(), bytes, size, udp, sizeof(udp), false, 7);
        k = dns_zone_answer(example(), bytes, size, tcp, sizeof(tcp), true, 7);
        check((n < 0) == (k < 0));
        if (n < 0) {
                check(size < DNS_HEADER_SIZE || size > DNS_QUERY_MAX || bytes[2] & 0x80);
                return 0;
        }
        check_answer(bytes, size, udp, (size_t) n);
        check_answer(bytes, size, tcp, (size_t) k);
        check(!(tcp[2] & 0x02));
        if (!(udp[2] & 0x02) && k <= DNS_UDP_SIZE)
                check(n == k && memcmp(udp, tcp, (size_t) n) == 0);
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "registry/dns-zone.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef struct Lookup {
        const Catalog *catalog;
        const DnsQuery *query;
        DnsWriter writer;
        const char *zone; /* "mam" or "consul" */
        uint32_t lot;
} Lookup;

/* xorshift32: who comes first needs no secret. */
static uint32_t draw(uint32_t *lot) {
        uint32_t x = *lot ? *lot : 0x9e3779b9U;

        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        *lot = x;
        return x;
}

static bool wants(const DnsQuery *q, uint16_t type) {
        return q->type == type || q->type == DNS_TYPE_ANY;
}

/* The passing instances with a TCP port, in random order. */
static size_t find_instances(
                Lookup *l,
                const CatalogService *s,
                const char *tag,
                const CatalogReplica *ret[static MAM_CONFIG_REPLICAS_MAX]) {
        size_t n = 0;

        for (uint32_t k = 1; k <= MAM_CONFIG_REPLICAS_MAX; k++) {
                const CatalogReplica *r = s->replicas[k];

                if (!catalog_is_instance(r) || catalog_status(r) != CATALOG_PASSING)
                        continue;
                if (catalog_instance_port(s, r) == 0 || (tag && !catalog_instance_has_tag(s, r, tag)))
                        continue;
                ret[n++] = r;
        }
        for (size_t i = n; i > 1; i--) {
                size_t k = draw(&l->lot) % i;
                const CatalogReplica *other = ret[i - 1];

                ret[i - 1] = ret[k];
                ret[k] = other;
        }
        return n;
}

static bool is_v6(const char *address) {
        return strchr(address, ':');
}

/* Replicas of one host share its address: each is told once. */
static void answer_addresses(
                Lookup *l,
                const CatalogService *s,
                const CatalogReplica *const *instances,
                size_t n) {
        for (size_t i = 0; i < n; i++) {
                const char *address = catalog_instance_address(l->catalog, s, instances[i]);
                bool said = false;

                for (size_t k = 0; k < i && !said; k++)
                        said = strcmp(catalog_instance_address(l->catalog, s, instances[k]), address) == 0;
                if (!said && wants(l->query, is_v6(address) ? DNS_TYPE_AAAA : DNS_TYPE_A))
                        (void) dns_answer_address(&l->writer, DNS_ANSWER, NULL, address);
        }
}

static void replica_name(
                const Lookup *l,
                const CatalogService *s,
                const CatalogReplica *r,
                char ret[static DNS_NAME_MAX]) {
        (void) snprintf(ret, DNS_NAME_MAX, "%s-%u.node.%s", s->id, r->number, l->zone);
}

static void answer_srv(
                Lookup *l,
                const CatalogService *s,
                const CatalogReplica *const *instances,
                size_t n) {
        char name[DNS_NAME_MAX];
        size_t said = 0;

        for (size_t i = 0; i < n; i++) {
                uint32_t weight = instances[i]->weight;

                replica_name(l, s, instances[i], name);
                if (!dns_answer_srv(&l->writer,
                                    1,
                                    (uint16_t) (weight > UINT16_MAX ? UINT16_MAX : weight),
                                    catalog_instance_port(s, instances[i]),
                                    name))
                        break;
                said++;
        }
        for (size_t i = 0; i < said; i++) {
                replica_name(l, s, instances[i], name);
                if (!dns_answer_address(
                                    &l->writer,
                                    DNS_ADDITIONAL,
                                    name,
                                    catalog_instance_address(l->catalog, s, instances[i])))
                        break;
        }
}

/* labels: what stands before "service", n of them. */
static DnsRcode answer_service(Lookup *l, const char (*labels)[64], size_t n) {
        const CatalogReplica *instances[MAM_CONFIG_REPLICAS_MAX];
        const char *id, *tag = NULL;
        const CatalogService *s;
        size_t k;

        if (n == 0)
                return DNS_NOERROR; /* exists, as names below it do */
        if (n > 2)
                return DNS_NXDOMAIN;
        if (n == 2 && labels[0][0] == '_' && labels[1][0] == '_') {
                id = labels[0] + 1;
                if (strcmp(labels[1], "_tcp") != 0)
                        tag = labels[1] + 1;
        } else {
                id = labels[n - 1];
                tag = n == 2 ? labels[0] : NULL;
        }
        s = catalog_find(l->catalog, id);
        if (!s)
                return DNS_NXDOMAIN;

        k = find_instances(l, s, tag, instances);
        if (k == 0 && tag)
                return DNS_NXDOMAIN;
        if (l->query->type == DNS_TYPE_SRV)
                answer_srv(l, s, instances, k);
        else
                answer_addresses(l, s, instances, k);
        return DNS_NOERROR;
}

static DnsRcode answer_node(Lookup *l, const char (*labels)[64], size_t n) {
        const char *address = NULL, *dash;
        const CatalogService *s;
        char id[64];

        if (n == 0)
                return DNS_NOERROR;
        if (n > 1)
                return DNS_NXDOMAIN;

        dash = strrchr(labels[0], '-');
        if (strcmp(labels[0], l->catalog->node) == 0) {
                address = l->catalog->address;
        } else if (dash && strlen(dash + 1) <= 3) {
                char replica[80];
                uint32_t number;

                (void) snprintf(id, sizeof(id), "%.*s", (int) (dash - labels[0]), labels[0]);
                (void) snprintf(replica, sizeof(replica), "%s:%s", id, dash + 1);
                s = catalog_find(l->catalog, id);
                number = s ? catalog_replica_number(s, replica) : 0;
                if (number > 0 && catalog_is_instance(s->replicas[number]))
                        address = catalog_instance_address(l->catalog, s, s->replicas[number]);
        }
        if (!address)
                return DNS_NXDOMAIN;
        if (wants(l->query, is_v6(address) ? DNS_TYPE_AAAA : DNS_TYPE_A))
                (void) dns_answer_address(&l->writer, DNS_ANSWER, NULL, address);
        return DNS_NOERROR;
}

/* What is at the top of a zone, and at the name of its server. */
static DnsRcode answer_apex(Lookup *l) {
        if (wants(l->query, DNS_TYPE_SOA))
                (void) dns_answer_soa(
                                &l->writer,
                                DNS_ANSWER,
                                l->zone,
                                (uint32_t) (l->catalog->any_index >> 20));
        if (wants(l->query, DNS_TYPE_NS))
                (void) dns_answer_ns(&l->writer, l->zone);
        return DNS_NOERROR;
}

static DnsRcode answer_name_server(Lookup *l) {
        if (wants(l->query, is_v6(l->catalog->address) ? DNS_TYPE_AAAA : DNS_TYPE_A))
                (void) dns_answer_address(&l->writer, DNS_ANSWER, NULL, l->catalog->address);
        return DNS_NOERROR;
}

static DnsRcode look_up(Lookup *l) {
        const DnsQuery *q = l->query;
        size_t n = q->n_labels - 1; /* without the zone */

        if (!l->catalog->listed)
                return DNS_SERVFAIL;
        if (q->deep)
                return DNS_NXDOMAIN;
        if (n == 0)
                return answer_apex(l);
        if (n > 1 && strcmp(q->labels[n - 1], l->catalog->datacenter) == 0)
                n--;
        if (strcmp(q->labels[n - 1], "service") == 0)
                return answer_service(l, q->labels, n - 1);
        if (strcmp(q->labels[n - 1], "node") == 0)
                return answer_node(l, q->labels, n - 1);
        if (n == 1 && q->n_labels == 2 && strcmp(q->labels[0], "ns") == 0)
                return answer_name_server(l);
        if (q->n_labels == 2 && strcmp(q->labels[0], l->catalog->datacenter) == 0)
                return DNS_NOERROR;
        return DNS_NXDOMAIN;
}

static const char *zone_of(const DnsQuery *q) {
        static const char *const zones[] = { "mam", "consul" };

        if (q->n_labels == 0 || (q->class != DNS_CLASS_IN && q->class != DNS_CLASS_ANY))
                return NULL;
        for (size_t i = 0; i < MAM_ELEMENTSOF(zones); i++)
                if (strcmp(q->labels[q->n_labels - 1], zones[i]) == 0)
                        return zones[i];
        return NULL;
}

ssize_t dns_zone_answer(
                const Catalog *c,
                const uint8_t *query,
                size_t size,
                uint8_t *ret,
                size_t max,
                bool tcp,
                uint32_t lot) {
        DnsQuery q;
        Lookup l = { .catalog = c, .query = &q, .lot = lot };
        size_t limit = DNS_TCP_SIZE;
        DnsRcode rcode;
        int r;

        assert(c);
        assert(ret);
        assert(max >= DNS_UDP_SIZE);

        r = dns_query_parse(&q, query, size);
        if (r < 0)
                return r;
        if (!tcp) {
                limit = q.edns && q.edns_size > DNS_UDP_SIZE ? q.edns_size : DNS_UDP_SIZE;
                limit = limit < DNS_EDNS_SIZE ? limit : DNS_EDNS_SIZE;
        }
        dns_answer_begin(&l.writer, ret, limit < max ? limit : max, &q);
        if (r != DNS_NOERROR)
                return (ssize_t) dns_answer_end(&l.writer, &q, (DnsRcode) r, false);

        l.zone = zone_of(&q);
        if (!l.zone)
                return (ssize_t) dns_answer_end(&l.writer, &q, DNS_REFUSED, false);
        rcode = look_up(&l);
        if ((rcode == DNS_NOERROR || rcode == DNS_NXDOMAIN) && l.writer.counts[DNS_ANSWER] == 0 &&
            !l.writer.truncated)
                (void) dns_answer_soa(&l.writer, DNS_AUTHORITY, l.zone, (uint32_t) (c->any_index >> 20));
        return (ssize_t) dns_answer_end(&l.writer, &q, rcode, rcode != DNS_SERVFAIL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <arpa/inet.h>
#include <string.h>

#include "libmam/util/test.h"
#include "registry/dns-zone.h"

typedef struct Fixture {
        Catalog *catalog;
        uint8_t query[512], reply[DNS_TCP_SIZE];
        size_t query_size;
        ssize_t size;
} Fixture;

static void put16(uint8_t *p, unsigned v) {
        p[0] = (uint8_t) (v >> 8);
        p[1] = (uint8_t) v;
}

static unsigned get16(const uint8_t *p) {
        return (unsigned) p[0] << 8 | p[1];
}

static void setup(Fixture *f, unsigned replicas) {
        CatalogService *s;

        *f = (Fixture){ 0 };
        ASSERT_OK(catalog_new(&f->catalog, "Box.example.org", "0123456789abcdef0123456789abcdef", "DC1"));
        ASSERT_OK(catalog_add(f->catalog, &s, "web"));
        catalog_service_set_number(s, "Port", 3001);
        catalog_service_set_text(s, "Type", "service");
        for (unsigned n = 1; n <= replicas; n++) {
                char id[16], address[64];

                (void) snprintf(id, sizeof(id), "web:%u", n);
                (void) snprintf(address, sizeof(address), "/run/mam/replica/%s.sock", id);
                catalog_endpoint_set(s, id, address, "ready", 100, n == 1 ? "green" : "blue");
        }
        ASSERT_OK(catalog_add(f->catalog, &s, "db"));
        s->has_public_port = false;
        catalog_service_set_number(s, "Port", 5432);
        catalog_endpoint_set(s, "db:1", "/run/mam/postgresql", "ready", 100, "");
        ASSERT_OK(catalog_add(f->catalog, &s, "own"));
        s->has_public_port = false;
        catalog_endpoint_set(s, "own:1", "127.0.0.1:8001", "ready", 100, "");
        catalog_endpoint_set(s, "own:2", "127.0.0.1:8002", "ready", 100, "");
        ASSERT_OK(catalog_add(f->catalog, &s, "idle"));
        catalog_service_set_number(s, "Port", 3009);
        f->catalog->listed = true;
        ASSERT_TRUE(catalog_settle(f->catalog, 1000));
}

static void teardown(Fixture *f) {
        f->catalog = catalog_free(f->catalog);
}

static void set_query(Fixture *f, const char *name, unsigned type, int edns) {
        uint8_t *p = f->query;

        memset(p, 0, DNS_HEADER_SIZE);
        put16(p, 0xbeef);
        put16(p + 2, 0x0100);
        put16(p + 4, 1);
        p += DNS_HEADER_SIZE;
        while (*name) {
                size_t n = strcspn(name, ".");

                *p++ = (uint8_t) n;
                memcpy(p, name, n);
                p += n;
                name += n + (name[n] == '.');
        }
        *p++ = 0;
        put16(p, type);
        put16(p + 2, DNS_CLASS_IN);
        p += 4;
        if (edns > 0) {
                static const uint8_t opt[11] = { 0, 0, 41 };

                memcpy(p, opt, sizeof(opt));
                put16(p + 3, (unsigned) edns);
                p += sizeof(opt);
                put16(f->query + 10, 1);
        }
        f->query_size = (size_t) (p - f->query);
}

static void run(Fixture *f, bool tcp) {
        f->size =
                        dns_zone_answer(f->catalog,
                                        f->query,
                                        f->query_size,
                                        f->reply,
                                        tcp ? DNS_TCP_SIZE : DNS_EDNS_SIZE,
                                        tcp,
                                        42);
}

static void ask(Fixture *f, const char *name, unsigned type) {
        set_query(f, name, type, 0);
        run(f, false);
        ASSERT_TRUE(f->size >= (ssize_t) DNS_HEADER_SIZE);
        ASSERT_EQ(get16(f->reply), 0xbeef);
}

#define RCODE(f)     ((f)->reply[3] & 0xf)
#define ANSWERS(f)   get16((f)->reply + 6)
#define AUTHORITY(f) get16((f)->reply + 8)
#define TRUNCATED(f) (((f)->reply[2] & 0x02) != 0)

/* The first record behind the question. */
static const uint8_t *first_record(const Fixture *f) {
        const uint8_t *p = f->reply + DNS_HEADER_SIZE;

        while (*p)
                p += 1 + *p;
        return p + 5;
}

TEST(an_address_is_told_once_for_all_replicas) {
        static const uint8_t loopback[] = { 127, 0, 0, 1 };
        const uint8_t *p;
        Fixture f;

        setup(&f, 3);
        ask(&f, "web.service.mam", DNS_TYPE_A);
        ASSERT_EQ(RCODE(&f), DNS_NOERROR);
        ASSERT_EQ(ANSWERS(&f), 1);
        ASSERT_TRUE(f.reply[2] & 0x04); /* authoritative */
        p = first_record(&f);
        ASSERT_EQ(get16(p), 0xc00c);
        ASSERT_EQ(get16(p + 2), DNS_TYPE_A);
        ASSERT_EQ(get16(p + 6) | get16(p + 8), 0); /* TTL */
        ASSERT_EQ(memcmp(p + 12, loopback, 4), 0);
        teardown(&f);
}

TEST(srv_names_each_replica_uncompressed_and_says_its_address) {
        static const char target[] = "\x05web-1\x04node\x06"
                                     "consul";
        const uint8_t *p;
        Fixture f;

        setup(&f, 1);
        ask(&f, "web.service.consul", DNS_TYPE_SRV);
        ASSERT_EQ(ANSWERS(&f), 1);
        ASSERT_EQ(get16(f.reply + 10), 1);
        p = first_record(&f);
        ASSERT_EQ(get16(p + 2), DNS_TYPE_SRV);
        ASSERT_EQ(get16(p + 16), 3001);
        ASSERT_EQ(memcmp(p + 18, target, sizeof(target)), 0);
        ask(&f, "_web._tcp.service.dc1.consul", DNS_TYPE_SRV);
        ASSERT_EQ(ANSWERS(&f), 1);
        teardown(&f);
}

TEST(names_of_replicas_resolve) {
        Fixture f;

        setup(&f, 2);
        ask(&f, "web-2.node.mam", DNS_TYPE_A);
        ASSERT_EQ(ANSWERS(&f), 1);
        ask(&f, "box.node.consul", DNS_TYPE_A);
        ASSERT_EQ(ANSWERS(&f), 1);
        ask(&f, "web-3.node.mam", DNS_TYPE_A);
        ASSERT_EQ(RCODE(&f), DNS_NXDOMAIN);
        ask(&f, "web-01.node.mam", DNS_TYPE_A);
        ASSERT_EQ(RCODE(&f), DNS_NXDOMAIN);
        teardown(&f);
}

TEST(case_is_ignored_and_given_back) {
        Fixture f;

        setup(&f, 1);
        ask(&f, "WeB.SERVICE.mAm", DNS_TYPE_A);
        ASSERT_EQ(ANSWERS(&f), 1);
        ASSERT_EQ(memcmp(f.reply + DNS_HEADER_SIZE, f.query + DNS_HEADER_SIZE, 17), 0);
        teardown(&f);
}

TEST(only_passing_replicas_are_told) {
        CatalogService *s;
        Fixture f;

        setup(&f, 3);
        s = catalog_find(f.catalog, "web");
        catalog_endpoint_set(s, "web:2", "/run/x", "draining", 100, "blue");
        catalog_endpoint_set(s, "web:3", "/run/x", "unready", 100, "blue");
        ask(&f, "web.service.mam", DNS_TYPE_SRV);
        ASSERT_EQ(ANSWERS(&f), 1);
        catalog_endpoint_set(s, "web:3", "/run/x", "asleep", 100, "blue");
        ask(&f, "web.service.mam", DNS_TYPE_SRV);
        ASSERT_EQ(ANSWERS(&f), 2);
        teardown(&f);
}

TEST(a_tag_selects) {
        Fixture f;

        setup(&f, 3);
        ask(&f, "blue.web.service.mam", DNS_TYPE_SRV);
        ASSERT_EQ(ANSWERS(&f), 2);
        ask(&f, "_web._green.service.mam", DNS_TYPE_SRV);
        ASSERT_EQ(ANSWERS(&f), 1);
        ask(&f, "red.web.service.mam", DNS_TYPE_SRV);
        ASSERT_EQ(RCODE(&f), DNS_NXDOMAIN);
        teardown(&f);
}

TEST(no_data_and_no_name_carry_the_soa) {
        static const struct {
                const char *name;
                unsigned type, rcode;
        } table[] = {
                { "web.service.mam", DNS_TYPE_AAAA, DNS_NOERROR },
                { "service.mam", DNS_TYPE_A, DNS_NOERROR },
                { "idle.service.mam", DNS_TYPE_A, DNS_NOERROR },
                { "db.service.mam", DNS_TYPE_SRV, DNS_NOERROR },
                { "none.service.mam", DNS_TYPE_A, DNS_NXDOMAIN },
                { "web.service.dc2.consul", DNS_TYPE_A, DNS_NXDOMAIN },
                { "a.b.c.d.e.f.g.h.i.j.k.l.m.n.mam", DNS_TYPE_A, DNS_NXDOMAIN },
        };
        Fixture f;

        setup(&f, 1);
        for (size_t i = 0; i < MAM_ELEMENTSOF(table); i++) {
                ask(&f, table[i].name, table[i].type);
                ASSERT_EQ(RCODE(&f), table[i].rcode);
                ASSERT_EQ(ANSWERS(&f), 0);
                ASSERT_EQ(AUTHORITY(&f), 1);
        }
        teardown(&f);
}

TEST(own_ports_are_told_per_replica) {
        unsigned first;
        Fixture f;

        setup(&f, 1);
        ask(&f, "own.service.mam", DNS_TYPE_SRV);
        ASSERT_EQ(ANSWERS(&f), 2);
        first = get16(first_record(&f) + 16);
        ASSERT_TRUE(first == 8001 || first == 8002);
        teardown(&f);
}

TEST(other_zones_are_refused) {
        Fixture f;

        setup(&f, 1);
        ask(&f, "example.org", DNS_TYPE_A);
        ASSERT_EQ(RCODE(&f), DNS_REFUSED);
        ask(&f, "", DNS_TYPE_NS);
        ASSERT_EQ(RCODE(&f), DNS_REFUSED);
        teardown(&f);
}

TEST(before_the_first_word_of_the_manager_it_is_a_failure) {
        Fixture f;

        setup(&f, 1);
        f.catalog->listed = false;
        ask(&f, "web.service.mam", DNS_TYPE_A);
        ASSERT_EQ(RCODE(&f), DNS_SERVFAIL);
        teardown(&f);
}

TEST(what_does_not_fit_is_cut_and_whole_over_tcp) {
        Fixture f;

        setup(&f, MAM_CONFIG_REPLICAS_MAX);
        ask(&f, "web.service.mam", DNS_TYPE_SRV);
        ASSERT_TRUE(TRUNCATED(&f));
        ASSERT_TRUE(f.size <= DNS_UDP_SIZE);
        ASSERT_TRUE(ANSWERS(&f) > 5);

        set_query(&f, "web.service.mam", DNS_TYPE_SRV, 4096);
        run(&f, false);
        ASSERT_TRUE(TRUNCATED(&f));
        ASSERT_TRUE(f.size > DNS_UDP_SIZE && f.size <= DNS_EDNS_SIZE);

        run(&f, true);
        ASSERT_TRUE(!TRUNCATED(&f));
        ASSERT_EQ(ANSWERS(&f), MAM_CONFIG_REPLICAS_MAX);
        ASSERT_EQ(get16(f.reply + 10), MAM_CONFIG_REPLICAS_MAX + 1);
        teardown(&f);
}

TEST(the_order_changes) {
        uint8_t before[DNS_EDNS_SIZE];
        unsigned different = 0;
        Fixture f;

        setup(&f, 8);
        set_query(&f, "web.service.mam", DNS_TYPE_SRV, 1232);
        run(&f, false);
        memcpy(before, f.reply, (size_t) f.size);
        for (uint32_t lot = 1; lot <= 20; lot++) {
                ssize_t n =
                                dns_zone_answer(f.catalog,
                                                f.query,
                                                f.query_size,
                                                f.reply,
                                                DNS_EDNS_SIZE,
                                                false,
                                                lot);

                ASSERT_EQ(n, f.size);
                different += memcmp(before, f.reply, (size_t) n) != 0;
        }
        ASSERT_TRUE(different >= 18);
        teardown(&f);
}

TEST(edns_is_answered_and_other_versions_are_told) {
        Fixture f;

        setup(&f, 1);
        set_query(&f, "web.service.mam", DNS_TYPE_A, 4096);
        run(&f, false);
        ASSERT_EQ(get16(f.reply + 10), 1);
        ASSERT_EQ(get16(f.reply + f.size - 8), DNS_EDNS_SIZE);

        f.query[f.query_size - 5] = 1; /* the version */
        run(&f, false);
        ASSERT_EQ(f.reply[f.size - 6], DNS_BADVERS >> 4);
        ASSERT_EQ(ANSWERS(&f), 0);
        teardown(&f);
}

TEST(what_is_no_query_gets_no_answer) {
        Fixture f;

        setup(&f, 1);
        set_query(&f, "web.service.mam", DNS_TYPE_A, 0);
        f.query[2] |= 0x80;
        run(&f, false);
        ASSERT_TRUE(f.size < 0);
        f.query[2] &= 0x7f;
        f.query_size = 11;
        run(&f, false);
        ASSERT_TRUE(f.size < 0);
        teardown(&f);
}

TEST(malformed_queries_are_told_so) {
        Fixture f;

        setup(&f, 1);
        set_query(&f, "web.service.mam", DNS_TYPE_A, 0);
        for (size_t n = DNS_HEADER_SIZE; n < f.query_size; n++) {
                size_t whole = f.query_size;

                f.query_size = n;
                run(&f, false);
                ASSERT_EQ(RCODE(&f), DNS_FORMERR);
                f.query_size = whole;
        }
        put16(f.query + 4, 2); /* two questions */
        run(&f, false);
        ASSERT_EQ(RCODE(&f), DNS_FORMERR);
        put16(f.query + 4, 1);
        put16(f.query + 2, 0x2800); /* UPDATE */
        run(&f, false);
        ASSERT_EQ(RCODE(&f), DNS_NOTIMP);
        put16(f.query + 2, 0x0100);
        f.query[DNS_HEADER_SIZE] = 0xc0; /* a pointer */
        run(&f, false);
        ASSERT_EQ(RCODE(&f), DNS_FORMERR);
        teardown(&f);
}

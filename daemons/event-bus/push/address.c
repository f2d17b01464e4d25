/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where webhooks may be (IANA's registries of special-purpose addresses, RFC 6890)
 */

#include "event-bus/push/address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/util/macro.h"

/* An address as it is judged: IPv4 that was inside IPv6 is IPv4. */
typedef struct Address {
        bool is_v6;
        uint8_t bytes[16];
} Address;

static const struct {
        uint32_t address;
        unsigned bits;
} refused_v4[] = {
        { 0x00000000, 8 },  /* this network */
        { 0x0a000000, 8 },  /* private */
        { 0x64400000, 10 }, /* shared between customers of a provider (CGNAT) */
        { 0x7f000000, 8 },  /* loopback */
        { 0xa83f8110, 32 }, /* 168.63.129.16: a cloud's host, seen from its guests */
        { 0xa9fe0000, 16 }, /* link-local; metadata services */
        { 0xac100000, 12 }, /* private */
        { 0xc0000000, 24 }, /* IETF protocols */
        { 0xc0000200, 24 }, /* documentation */
        { 0xc0586300, 24 }, /* relays of 6to4 */
        { 0xc0a80000, 16 }, /* private */
        { 0xc6120000, 15 }, /* benchmarks */
        { 0xc6336400, 24 }, /* documentation */
        { 0xcb007100, 24 }, /* documentation */
        { 0xe0000000, 4 },  /* multicast */
        { 0xf0000000, 4 },  /* reserved, broadcast */
};

/* Of 2000::/3, outside which nothing is global unicast. */
static const struct {
        uint8_t address[4];
        unsigned bits;
} refused_v6[] = {
        { { 0x20, 0x01, 0x00, 0x00 }, 23 }, /* IETF protocols, Teredo, ORCHID */
        { { 0x20, 0x01, 0x0d, 0xb8 }, 32 }, /* documentation */
        { { 0x20, 0x02, 0x00, 0x00 }, 16 }, /* 6to4: judged by the IPv4 address in it, before this */
        { { 0x3f, 0xff, 0x00, 0x00 }, 20 }, /* documentation */
};

static bool begins_alike(const uint8_t *a, const uint8_t *b, unsigned bits) {
        unsigned bytes = bits / 8, rest = bits % 8;

        if (memcmp(a, b, bytes) != 0)
                return false;
        return rest == 0 || (a[bytes] ^ b[bytes]) >> (8 - rest) == 0;
}

static void set_v4(Address *a, const uint8_t *bytes) {
        *a = (Address){ .is_v6 = false };
        memcpy(a->bytes, bytes, 4);
}

/* What an address leads to. */
static void unwrap(Address *a, const uint8_t bytes[16]) {
        static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
        static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };

        if (memcmp(bytes, mapped, sizeof(mapped)) == 0 || memcmp(bytes, nat64, sizeof(nat64)) == 0)
                set_v4(a, bytes + 12);
        else if (bytes[0] == 0x20 && bytes[1] == 0x02)
                set_v4(a, bytes + 2);
        else {
                a->is_v6 = true;
                memcpy(a->bytes, bytes, 16);
        }
}

static bool read_address(Address *ret, const struct sockaddr *address, socklen_t size) {
        if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
                struct sockaddr_in in;

                memcpy(&in, address, sizeof(in));
                set_v4(ret, (const uint8_t *) &in.sin_addr);
                return true;
        }
        if (address->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
                struct sockaddr_in6 in;

                memcpy(&in, address, sizeof(in));
                unwrap(ret, in.sin6_addr.s6_addr);
                return true;
        }
        return false;
}

int push_network_parse(PushNetwork *ret, const char *text) {
        PushNetwork n = { 0 };
        char address[INET6_ADDRSTRLEN];
        const char *slash;
        unsigned long bits;
        size_t size;

        assert(ret);
        assert(text);

        slash = strchr(text, '/');
        size = slash ? (size_t) (slash - text) : strlen(text);
        if (size >= sizeof(address))
                return -EINVAL;
        memcpy(address, text, size);
        address[size] = '\0';
        n.is_v6 = strchr(address, ':') != NULL;
        if (inet_pton(n.is_v6 ? AF_INET6 : AF_INET, address, n.address) != 1)
                return -EINVAL;
        n.bits = n.is_v6 ? 128 : 32;
        if (slash) {
                char *end;

                if (slash[1] < '0' || slash[1] > '9')
                        return -EINVAL;
                bits = strtoul(slash + 1, &end, 10);
                if (*end || bits > n.bits)
                        return -EINVAL;
                n.bits = (unsigned) bits;
        }

        *ret = n;
        return 0;
}

int push_networks_parse(PushNetworks *ret, const char *const *allow, const char **ret_bad) {
        int r;

        assert(ret);

        ret->n = 0;
        for (const char *const *p = allow; p && *p; p++) {
                if (ret->n == PUSH_NETWORKS_MAX)
                        return -E2BIG;
                r = push_network_parse(ret->networks + ret->n, *p);
                if (r < 0) {
                        if (ret_bad)
                                *ret_bad = *p;
                        return r;
                }
                ret->n++;
        }
        return 0;
}

static bool is_named(const PushNetworks *allow, const Address *a) {
        for (size_t i = 0; allow && i < allow->n; i++) {
                const PushNetwork *n = allow->networks + i;

                if (n->is_v6 == a->is_v6 && begins_alike(n->address, a->bytes, n->bits))
                        return true;
        }
        return false;
}

bool push_address_is_named(const PushNetworks *allow, const struct sockaddr *address, socklen_t size) {
        Address a = { 0 };

        assert(address);

        return read_address(&a, address, size) && is_named(allow, &a);
}

static bool is_public(const Address *a) {
        uint32_t v4;

        if (a->is_v6) {
                if (a->bytes[0] >> 5 != 1)
                        return false;
                for (size_t i = 0; i < MAM_ELEMENTSOF(refused_v6); i++) {
                        if (begins_alike(refused_v6[i].address, a->bytes, refused_v6[i].bits))
                                return false;
                }
                return true;
        }

        v4 = (uint32_t) a->bytes[0] << 24 | (uint32_t) a->bytes[1] << 16 | (uint32_t) a->bytes[2] << 8 |
             a->bytes[3];
        for (size_t i = 0; i < MAM_ELEMENTSOF(refused_v4); i++) {
                if ((v4 ^ refused_v4[i].address) >> (32 - refused_v4[i].bits) == 0)
                        return false;
        }
        return true;
}

bool push_address_is_allowed(const PushNetworks *allow, const struct sockaddr *address, socklen_t size) {
        Address a = { 0 };

        assert(address);

        return read_address(&a, address, size) && (is_named(allow, &a) || is_public(&a));
}

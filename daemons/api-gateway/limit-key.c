/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "api-gateway/fields.h"
#include "api-gateway/limits-internal.h"

/* Parts, each behind what it is and how long, so that no two lists of parts look the same. */
typedef struct Parts {
        size_t size;
        unsigned char bytes[512];
} Parts;

static void parts_add(Parts *p, char what, const void *data, size_t size) {
        uint32_t n = (uint32_t) size;

        /* Longer than room for it: by its end and length; who shares both shares a bucket. */
        if (size > 160) {
                data = (const char *) data + (size - 160);
                size = 160;
        }
        if (p->size + 1 + sizeof(n) + size > sizeof(p->bytes))
                return;
        p->bytes[p->size++] = (unsigned char) what;
        memcpy(p->bytes + p->size, &n, sizeof(n));
        p->size += sizeof(n);
        memcpy(p->bytes + p->size, data, size);
        p->size += size;
}

size_t limit_address(const char *address, unsigned char ret[static 8]) {
        struct in6_addr a6;
        struct in_addr a4;

        if (inet_pton(AF_INET, address, &a4) == 1) {
                memcpy(ret, &a4, sizeof(a4));
                return sizeof(a4);
        }
        if (inet_pton(AF_INET6, address, &a6) != 1)
                return 0;
        if (IN6_IS_ADDR_V4MAPPED(&a6)) {
                memcpy(ret, &a6.s6_addr[12], 4);
                return 4;
        }
        memcpy(ret, &a6, 8);
        return 8;
}

static void add_address(Parts *p, MamHttpExchange *x) {
        const char *peer = mam_http_exchange_peer(x);
        unsigned char bytes[8];
        size_t n;

        n = limit_address(mam_http_exchange_address(x), bytes);
        if (n > 0)
                parts_add(p, 'a', bytes, n);
        else
                parts_add(p, 'u', peer, strlen(peer)); /* another service of this host: its uid */
}

static void add_user(Parts *p, const Caller *caller, MamHttpExchange *x) {
        const char *subject = caller ? caller->identity.subject : NULL;

        if (!subject) {
                add_address(p, x);
                return;
        }
        if (caller->issuer)
                parts_add(p, 'i', caller->issuer, strlen(caller->issuer));
        parts_add(p, 's', subject, strlen(subject));
}

static void add_claim(Parts *p, const char *name, const Caller *caller, MamHttpExchange *x) {
        char text[256];

        if (caller && caller_claim(caller, name, text, sizeof(text)) > 0)
                parts_add(p, 'c', text, strlen(text));
        else
                add_user(p, caller, x);
}

uint64_t limit_key(const LimitRule *rule, const char *route, const Caller *caller, MamHttpExchange *x) {
        Parts p = { .size = 0 };

        if (rule->by & MAM_RATE_BY_ROUTE)
                parts_add(&p, 'r', route, strlen(route));
        if (rule->by & MAM_RATE_BY_KEY && caller && caller->key)
                parts_add(&p, 'k', caller->key, strlen(caller->key));
        else if (rule->by & MAM_RATE_BY_CLAIM)
                add_claim(&p, rule->claim, caller, x);
        else if (rule->by & (MAM_RATE_BY_USER | MAM_RATE_BY_KEY))
                add_user(&p, caller, x);
        if (rule->by & MAM_RATE_BY_ADDRESS)
                add_address(&p, x);
        return key_hash(&rule->key, p.bytes, p.size);
}

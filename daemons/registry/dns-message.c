/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "registry/dns-message.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OPT_SIZE     11U
#define RECORDS_MAX  32U /* in a query: an OPT, perhaps a signature */
#define FLAG_QR      0x8000U
#define FLAG_AA      0x0400U
#define FLAG_TC      0x0200U
#define FLAG_RD      0x0100U
#define POINTER_NAME (0xc000U | DNS_HEADER_SIZE)

static uint16_t get16(const uint8_t *p) {
        return (uint16_t) (p[0] << 8 | p[1]);
}

/* ---- Reading ---- */

/* Skips a name of a record, which may end with a pointer. Its size; 0: malformed. */
static size_t skip_name(const uint8_t *data, size_t size, size_t at) {
        size_t start = at;

        while (at < size) {
                uint8_t n = data[at];

                if ((n & 0xc0) == 0xc0)
                        return size - at >= 2 ? at + 2 - start : 0;
                if (n & 0xc0)
                        return 0;
                at += 1U + n;
                if (at - start > DNS_NAME_MAX)
                        return 0;
                if (n == 0)
                        return at <= size ? at - start : 0;
        }
        return 0;
}

static char lower(uint8_t c) {
        return (char) (c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* Of too many labels the last is kept: it tells the zone. */
static void add_label(DnsQuery *q, const uint8_t *text, uint8_t n) {
        char *label;

        if (q->n_labels == DNS_LABELS_MAX) {
                q->deep = true;
                q->n_labels--;
        }
        label = q->labels[q->n_labels++];
        for (uint8_t i = 0; i < n; i++)
                label[i] = text[i] ? lower(text[i]) : '?';
        label[n] = '\0';
}

/* The name of the question: nothing stands before it that it could point to. */
static bool read_question_name(DnsQuery *q, const uint8_t *data, size_t size) {
        size_t at = DNS_HEADER_SIZE;

        for (;;) {
                uint8_t n;

                if (at >= size)
                        return false;
                n = data[at];
                if (n > 63 || at + 1 + n > size || at + 1 + n - DNS_HEADER_SIZE > DNS_NAME_MAX)
                        return false;
                if (n == 0)
                        break;
                add_label(q, data + at + 1, n);
                at += 1U + n;
        }
        q->name = data + DNS_HEADER_SIZE;
        q->name_size = at + 1 - DNS_HEADER_SIZE;
        return true;
}

/* Records behind the question. Only OPT means something to us. */
static int read_records(DnsQuery *q, const uint8_t *data, size_t size, size_t at) {
        unsigned n = (unsigned) get16(data + 6) + get16(data + 8) + get16(data + 10);
        bool badvers = false;

        if (n > RECORDS_MAX)
                return DNS_FORMERR;
        for (unsigned i = 0; i < n; i++) {
                size_t name = skip_name(data, size, at), end;
                const uint8_t *fixed;

                if (name == 0 || size - at - name < 10)
                        return DNS_FORMERR;
                fixed = data + at + name;
                end = at + name + 10 + get16(fixed + 8);
                if (end > size)
                        return DNS_FORMERR;
                if (get16(fixed) == DNS_TYPE_OPT) {
                        if (q->edns || name != 1)
                                return DNS_FORMERR;
                        q->edns = true;
                        q->edns_size = get16(fixed + 2);
                        badvers = fixed[5] != 0;
                }
                at = end;
        }
        return badvers ? DNS_BADVERS : DNS_NOERROR;
}

int dns_query_parse(DnsQuery *ret, const uint8_t *data, size_t size) {
        uint16_t flags;
        size_t at;

        assert(ret);
        assert(data || size == 0);

        *ret = (DnsQuery){ 0 };
        if (size < DNS_HEADER_SIZE || size > DNS_QUERY_MAX)
                return -EBADMSG;
        flags = get16(data + 2);
        if (flags & FLAG_QR)
                return -EBADMSG;
        ret->id = get16(data);
        ret->opcode = flags >> 11 & 0xf;
        ret->recursion_desired = flags & FLAG_RD;
        if (ret->opcode != 0)
                return DNS_NOTIMP;
        if (get16(data + 4) != 1 || !read_question_name(ret, data, size))
                return DNS_FORMERR;

        at = DNS_HEADER_SIZE + ret->name_size;
        if (size - at < 4) {
                ret->name = NULL;
                return DNS_FORMERR;
        }
        ret->type = get16(data + at);
        ret->class = get16(data + at + 2);
        return read_records(ret, data, size, at + 4);
}

/* ---- Writing ---- */

static void put16(DnsWriter *w, uint32_t v) {
        w->data[w->size++] = (uint8_t) (v >> 8);
        w->data[w->size++] = (uint8_t) v;
}

static void put32(DnsWriter *w, uint32_t v) {
        put16(w, v >> 16);
        put16(w, v & 0xffff);
}

static bool has_room(const DnsWriter *w, size_t n) {
        return w->max - w->size >= n;
}

/* Dotted text as labels. false: no room, or not a name. */
static bool put_name(DnsWriter *w, const char *name) {
        size_t start = w->size;

        while (*name) {
                size_t n = strcspn(name, ".");

                if (n == 0 || n > 63 || !has_room(w, n + 2) || w->size + n + 2 - start > DNS_NAME_MAX)
                        return false;
                w->data[w->size++] = (uint8_t) n;
                memcpy(w->data + w->size, name, n);
                w->size += n;
                name += n;
                if (*name == '.')
                        name++;
        }
        if (!has_room(w, 1))
                return false;
        w->data[w->size++] = 0;
        return true;
}

/* Owner, type, class, TTL, and room for the size; *ret_size is where that goes. */
static bool record_begin(DnsWriter *w, const char *owner, uint16_t type, size_t *ret_size) {
        if (owner) {
                if (!put_name(w, owner))
                        return false;
        } else {
                if (!has_room(w, 2))
                        return false;
                put16(w, POINTER_NAME);
        }
        if (!has_room(w, 10))
                return false;
        put16(w, type);
        put16(w, DNS_CLASS_IN);
        put32(w, 0);
        *ret_size = w->size;
        put16(w, 0);
        return true;
}

/* Takes a record back if it was not whole. */
static bool record_end(DnsWriter *w, DnsSection section, size_t start, size_t size_at, bool whole) {
        if (!whole) {
                w->size = start;
                w->truncated |= section != DNS_ADDITIONAL;
                return false;
        }
        w->data[size_at] = (uint8_t) ((w->size - size_at - 2) >> 8);
        w->data[size_at + 1] = (uint8_t) (w->size - size_at - 2);
        w->counts[section]++;
        return true;
}

void dns_answer_begin(DnsWriter *w, uint8_t *data, size_t max, const DnsQuery *q) {
        assert(max >= DNS_HEADER_SIZE + DNS_NAME_MAX + 4 + OPT_SIZE);

        *w = (DnsWriter){ .data = data, .max = max - (q->edns ? OPT_SIZE : 0) };
        memset(data, 0, DNS_HEADER_SIZE);
        w->size = DNS_HEADER_SIZE;
        if (!q->name)
                return;
        memcpy(data + w->size, q->name, q->name_size);
        w->size += q->name_size;
        put16(w, q->type);
        put16(w, q->class);
}

bool dns_answer_address(DnsWriter *w, DnsSection section, const char *owner, const char *address) {
        size_t start = w->size, size_at = 0, n = 4;
        uint16_t type = DNS_TYPE_A;
        uint8_t bytes[16];
        bool whole;

        if (inet_pton(AF_INET, address, bytes) != 1) {
                if (inet_pton(AF_INET6, address, bytes) != 1)
                        return false;
                type = DNS_TYPE_AAAA;
                n = 16;
        }
        whole = record_begin(w, owner, type, &size_at) && has_room(w, n);
        if (whole) {
                memcpy(w->data + w->size, bytes, n);
                w->size += n;
        }
        return record_end(w, section, start, size_at, whole);
}

bool dns_answer_srv(DnsWriter *w, uint16_t priority, uint16_t weight, uint16_t port, const char *target) {
        size_t start = w->size, size_at = 0;
        bool whole;

        whole = record_begin(w, NULL, DNS_TYPE_SRV, &size_at) && has_room(w, 6);
        if (whole) {
                put16(w, priority);
                put16(w, weight);
                put16(w, port);
                whole = put_name(w, target);
        }
        return record_end(w, DNS_ANSWER, start, size_at, whole);
}

bool dns_answer_soa(DnsWriter *w, DnsSection section, const char *zone, uint32_t serial) {
        size_t start = w->size, size_at = 0;
        char name[DNS_NAME_MAX];
        bool whole;

        whole = record_begin(w, zone, DNS_TYPE_SOA, &size_at);
        if (whole) {
                (void) snprintf(name, sizeof(name), "ns.%s", zone);
                whole = put_name(w, name);
        }
        if (whole) {
                (void) snprintf(name, sizeof(name), "hostmaster.%s", zone);
                whole = put_name(w, name) && has_room(w, 20);
        }
        if (whole) {
                put32(w, serial);
                put32(w, 3600);
                put32(w, 600);
                put32(w, 86400);
                put32(w, 0); /* how long "there is none" may be kept */
        }
        return record_end(w, section, start, size_at, whole);
}

bool dns_answer_ns(DnsWriter *w, const char *zone) {
        size_t start = w->size, size_at = 0;
        char name[DNS_NAME_MAX];
        bool whole;

        (void) snprintf(name, sizeof(name), "ns.%s", zone);
        whole = record_begin(w, zone, DNS_TYPE_NS, &size_at) && put_name(w, name);
        return record_end(w, DNS_ANSWER, start, size_at, whole);
}

static void set16(uint8_t *p, unsigned v) {
        p[0] = (uint8_t) (v >> 8);
        p[1] = (uint8_t) v;
}

size_t dns_answer_end(DnsWriter *w, const DnsQuery *q, DnsRcode rcode, bool authoritative) {
        unsigned flags = FLAG_QR | (unsigned) q->opcode << 11 | ((unsigned) rcode & 0xf);

        if (q->edns) {
                w->max += OPT_SIZE;
                w->data[w->size++] = 0; /* the root */
                put16(w, DNS_TYPE_OPT);
                put16(w, DNS_EDNS_SIZE);
                put32(w, (uint32_t) rcode >> 4 << 24); /* the upper bits of the code, version 0 */
                put16(w, 0);
                w->counts[DNS_ADDITIONAL]++;
        }
        flags |= authoritative ? FLAG_AA : 0;
        flags |= w->truncated ? FLAG_TC : 0;
        flags |= q->recursion_desired ? FLAG_RD : 0;
        set16(w->data, q->id);
        set16(w->data + 2, flags);
        set16(w->data + 4, q->name ? 1 : 0);
        for (unsigned i = 0; i < 3; i++)
                set16(w->data + 6 + 2 * i, w->counts[i]);
        return w->size;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * DNS messages (RFC 1035, RFC 2782, RFC 6891)
 *
 * Pure functions over bytes. A query is read strictly: one question, a name without compression, at most one
 * OPT record of version 0. An answer is written into the caller's buffer record by record; a record that
 * does not fit is not begun.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DNS_HEADER_SIZE 12U
#define DNS_NAME_MAX    255U /* on the wire */
#define DNS_LABELS_MAX  12U  /* more than any name that we know has */
#define DNS_QUERY_MAX   4096U
#define DNS_UDP_SIZE    512U  /* without EDNS0 */
#define DNS_EDNS_SIZE   1232U /* what passes every link unfragmented: no answer over UDP is larger */
#define DNS_TCP_SIZE    65535U

typedef enum DnsRcode {
        DNS_NOERROR = 0,
        DNS_FORMERR = 1,
        DNS_SERVFAIL = 2,
        DNS_NXDOMAIN = 3,
        DNS_NOTIMP = 4,
        DNS_REFUSED = 5,
        DNS_BADVERS = 16,
} DnsRcode;

enum {
        DNS_TYPE_A = 1,
        DNS_TYPE_NS = 2,
        DNS_TYPE_SOA = 6,
        DNS_TYPE_AAAA = 28,
        DNS_TYPE_SRV = 33,
        DNS_TYPE_OPT = 41,
        DNS_TYPE_ANY = 255,
        DNS_CLASS_IN = 1,
        DNS_CLASS_ANY = 255,
};

typedef struct DnsQuery {
        uint16_t id;
        uint8_t opcode;
        bool recursion_desired;
        const uint8_t *name; /* of the question, as sent, in the query's bytes */
        size_t name_size;    /* with the root label */
        uint16_t type, class;
        bool edns;
        uint16_t edns_size;
        /* The labels in lower case, from the left; of too many the last is still that of the zone. */
        char labels[DNS_LABELS_MAX][64];
        size_t n_labels;
        bool deep; /* more than DNS_LABELS_MAX labels */
} DnsQuery;

/* DNS_NOERROR, or what to answer with (then of *ret only what was read is filled: id, opcode,
 * recursion_desired, edns, and name if that was whole). <0: -EBADMSG: no answer is owed at all (too short,
 * or an answer itself). */
int dns_query_parse(DnsQuery *ret, const uint8_t *data, size_t size);

typedef struct DnsWriter {
        uint8_t *data;
        size_t size, max;
        bool truncated;
        uint16_t counts[3]; /* answer, authority, additional */
} DnsWriter;

typedef enum DnsSection {
        DNS_ANSWER,
        DNS_AUTHORITY,
        DNS_ADDITIONAL,
} DnsSection;

/* Header and question. max at least DNS_HEADER_SIZE + DNS_NAME_MAX + 4, and room for the OPT record. */
void dns_answer_begin(DnsWriter *w, uint8_t *data, size_t max, const DnsQuery *q);
/* owner NULL: the name of the question (a pointer to it, so as the client spelt it); names are dotted text,
 * never compressed. TTL is 0. false: it did not fit, and w->truncated is set unless it is additional. */
bool dns_answer_address(DnsWriter *w, DnsSection section, const char *owner, const char *address);
bool dns_answer_srv(DnsWriter *w, uint16_t priority, uint16_t weight, uint16_t port, const char *target);
bool dns_answer_soa(DnsWriter *w, DnsSection section, const char *zone, uint32_t serial);
bool dns_answer_ns(DnsWriter *w, const char *zone);
/* Sets the header's bits, adds OPT where the query had one. Returns the size of the message. */
size_t dns_answer_end(DnsWriter *w, const DnsQuery *q, DnsRcode rcode, bool authoritative);

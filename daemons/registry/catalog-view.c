/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What clients see of the catalog, and its indexes
 */

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "registry/catalog.h"

bool catalog_is_instance(const CatalogReplica *r) {
        return r && r->state != INSTANCE_NONE;
}

CatalogStatus catalog_status(const CatalogReplica *r) {
        switch (r->state) {
        case INSTANCE_READY:
        case INSTANCE_ASLEEP: /* the connection wakes it */
                return CATALOG_PASSING;
        case INSTANCE_DRAINING:
                return CATALOG_WARNING;
        case INSTANCE_NONE:
        case INSTANCE_UNREADY:
                break;
        }
        return strcmp(r->health, "starting") == 0 ? CATALOG_WARNING : CATALOG_CRITICAL;
}

static const char *const status_names[_CATALOG_STATUS_MAX] = { "passing", "warning", "critical" };

const char *catalog_status_to_string(CatalogStatus s) {
        return s >= 0 && s < _CATALOG_STATUS_MAX ? status_names[s] : NULL;
}

CatalogStatus catalog_status_from_string(const char *s) {
        for (CatalogStatus i = 0; i < _CATALOG_STATUS_MAX; i++)
                if (strcmp(status_names[i], s) == 0)
                        return i;
        return _CATALOG_STATUS_INVALID;
}

void catalog_status_output(const CatalogReplica *r, char *ret, size_t size) {
        static const char *const texts[] = {
                [INSTANCE_NONE] = "not running",
                [INSTANCE_READY] = "ready",
                [INSTANCE_DRAINING] = "draining",
                [INSTANCE_UNREADY] = "not ready",
                [INSTANCE_ASLEEP] = "asleep; the first connection starts it",
        };
        const char *why = *r->quarantine ? r->quarantine : r->health_reason;
        char text[512];

        if (r->state == INSTANCE_ASLEEP)
                why = "";
        (void) snprintf(text,
                        sizeof(text),
                        "%s%s%s",
                        r->state == INSTANCE_UNREADY && *r->health ? r->health : texts[r->state],
                        *why ? ": " : "",
                        why);
        catalog_text(ret, size, text);
}

uint16_t catalog_instance_port(const CatalogService *s, const CatalogReplica *r) {
        const char *colon;

        /* A program that binds its own port is reached by it; "/run/…" is a unix socket. */
        if (*r->address && *r->address != '/') {
                colon = strrchr(r->address, ':');
                if (colon) {
                        unsigned long port = strtoul(colon + 1, NULL, 10);

                        return port <= UINT16_MAX ? (uint16_t) port : 0;
                }
        }
        return s->has_public_port ? s->port : 0;
}

const char *catalog_instance_address(const Catalog *c, const CatalogService *s, const CatalogReplica *r) {
        struct in_addr v4;
        struct in6_addr v6;

        if (*r->address != '/' || !s->has_public_port)
                return c->address;
        if (inet_pton(AF_INET, s->listen, &v4) == 1 && v4.s_addr != INADDR_ANY)
                return s->listen;
        if (inet_pton(AF_INET6, s->listen, &v6) == 1 && !IN6_IS_ADDR_UNSPECIFIED(&v6))
                return s->listen;
        return c->address;
}

size_t catalog_instance_tags(
                const CatalogService *s,
                const CatalogReplica *r,
                const char *ret[static CATALOG_TAGS_MAX]) {
        const char *revision = r && *r->group ? r->group : r && *r->revision ? r->revision : s->revision;
        size_t n = 0;

        if (*s->type)
                ret[n++] = s->type;
        if (*revision)
                ret[n++] = revision;
        if (*s->version && strcmp(revision, s->revision) == 0)
                ret[n++] = s->version;
        return n;
}

bool catalog_instance_has_tag(const CatalogService *s, const CatalogReplica *r, const char *tag) {
        const char *tags[CATALOG_TAGS_MAX];
        size_t n = catalog_instance_tags(s, r, tags);

        for (size_t i = 0; i < n; i++)
                if (strcasecmp(tags[i], tag) == 0)
                        return true;
        return false;
}

/* ---- Indexes ---- */

/* FNV-1a, with the end of each text as a byte of its own. */
static uint64_t hash_text(uint64_t h, const char *text) {
        for (const char *p = text;; p++) {
                h = (h ^ (unsigned char) *p) * 1099511628211ULL;
                if (*p == '\0')
                        return h;
        }
}

static uint64_t hash_number(uint64_t h, uint64_t n) {
        for (unsigned i = 0; i < 8; i++)
                h = (h ^ (n >> 8 * i & 0xff)) * 1099511628211ULL;
        return h;
}

static uint64_t hash_of_service(const CatalogService *s) {
        uint64_t h = 14695981039346656037ULL;

        h = hash_text(h, s->name);
        h = hash_text(h, s->type);
        h = hash_text(h, s->revision);
        h = hash_text(h, s->version);
        h = hash_text(h, s->listen);
        h = hash_number(h, (uint64_t) s->port << 1 | s->has_public_port);
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const CatalogReplica *r = s->replicas[n];

                if (!catalog_is_instance(r))
                        continue;
                h = hash_number(h, n);
                h = hash_number(h, (uint64_t) r->weight << 8 | (uint64_t) r->state);
                h = hash_text(h, r->address);
                h = hash_text(h, r->group);
                h = hash_text(h, r->revision);
                h = hash_text(h, r->health);
                h = hash_text(h, r->health_reason);
                h = hash_text(h, r->quarantine);
        }
        return h == 0 ? 1 : h; /* 0: never settled */
}

bool catalog_settle(Catalog *c, uint64_t now_realtime_usec) {
        uint64_t next, all = 14695981039346656037ULL;
        bool changed = false;

        assert(c);

        next = now_realtime_usec > c->any_index ? now_realtime_usec : c->any_index + 1;
        for (size_t i = 0; i < c->n_services; i++) {
                CatalogService *s = c->services[i];
                uint64_t h = hash_of_service(s);

                all = hash_text(all, s->id);
                all = hash_text(all, s->type);
                all = hash_text(all, s->version);
                all = hash_text(all, s->revision);
                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++)
                        if (catalog_is_instance(s->replicas[n]))
                                all = hash_text(all, s->replicas[n]->group);
                if (h == s->hash)
                        continue;
                s->hash = h;
                s->index = next;
                changed = true;
        }
        if (all != c->hash) {
                c->hash = all;
                c->index = next;
                changed = true;
        }
        if (changed)
                c->any_index = next;
        return changed;
}

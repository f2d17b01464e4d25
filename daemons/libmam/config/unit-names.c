/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Names derived from a service id and a replica number
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libmam/config/builtin.h"
#include "libmam/config/config.h"

/* Also keeps ids apart from mam's own units: mam-manager.service, mam-setup.path. */
static const char *const reserved[] = { "manager", "setup", "registry", "alerts", NULL };

bool mam_service_id_is_valid(const char *id) {
        size_t n;

        assert(id);

        n = strlen(id);
        if (n == 0 || n > 31 || id[0] < 'a' || id[0] > 'z' || id[n - 1] == '-')
                return false;
        if (strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != n)
                return false;
        for (const char *const *r = reserved; *r; r++) {
                if (strcmp(*r, id) == 0)
                        return false;
        }
        return true;
}

void mam_unit_replica_service(char ret[static MAM_UNIT_NAME_MAX], const char *id, uint32_t n) {
        snprintf(ret, MAM_UNIT_NAME_MAX, "mam@%s:%" PRIu32 ".service", id, n);
}

void mam_unit_replica_socket(char ret[static MAM_UNIT_NAME_MAX], const char *id, uint32_t n) {
        snprintf(ret, MAM_UNIT_NAME_MAX, "mam@%s:%" PRIu32 ".socket", id, n);
}

void mam_unit_first_replicas(char ret[static MAM_UNIT_NAME_MAX], const char *id, uint32_t n) {
        snprintf(ret, MAM_UNIT_NAME_MAX, "mam@%s:1-%" PRIu32 ".target", id, n);
}

void mam_unit_public_socket(char ret[static MAM_UNIT_NAME_MAX], const char *id) {
        snprintf(ret, MAM_UNIT_NAME_MAX, "mam-%s.socket", id);
}

/* With a dot, so that it is the unit of no other service. */
void mam_unit_tls_socket(char ret[static MAM_UNIT_NAME_MAX], const char *id) {
        snprintf(ret, MAM_UNIT_NAME_MAX, "mam-%s.tls.socket", id);
}

void mam_unit_target(char ret[static MAM_UNIT_NAME_MAX], const char *id) {
        snprintf(ret, MAM_UNIT_NAME_MAX, "mam-%s.target", id);
}

/* In the name of a slice each '-' is a step down the tree, so those of the id are escaped. */
void mam_unit_slice(char ret[static MAM_UNIT_NAME_MAX], const char *id) {
        size_t n = (size_t) snprintf(ret, MAM_UNIT_NAME_MAX, "mam-");

        for (const char *c = id; *c && n + 16 < MAM_UNIT_NAME_MAX; c++)
                n += (size_t) snprintf(ret + n, MAM_UNIT_NAME_MAX - n, *c == '-' ? "\\x2d" : "%c", *c);
        snprintf(ret + n, MAM_UNIT_NAME_MAX - n, ".slice");
}

void mam_replica_socket_path(char ret[static MAM_UNIT_NAME_MAX], const char *id, uint32_t n) {
        snprintf(ret, MAM_UNIT_NAME_MAX, "/run/mam/replica/%s:%" PRIu32 ".sock", id, n);
}

bool mam_service_has_replica_socket(const MamServiceConfig *s) {
        const MamBuiltin *b;

        assert(s);

        b = mam_builtin_find(s->id);
        return b ? b->replica_socket : s->socket_activated;
}

bool mam_service_has_public_socket(const MamServiceConfig *s) {
        return s->port > 0 && mam_service_has_replica_socket(s);
}

bool mam_service_has_tls_socket(const MamConfig *c, const MamServiceConfig *s) {
        assert(c);
        assert(s);

        return c->tls && strcmp(s->id, "api-gateway") == 0 && mam_service_has_public_socket(s);
}

uint32_t mam_service_instances_max(const MamServiceConfig *s) {
        assert(s);

        if (s->probe == MAM_PROBE_POSTGRESQL || s->probe == MAM_PROBE_REDIS ||
            mam_service_own_port(s, 1) > 0)
                return s->max_replicas;
        return s->max_replicas > MAM_CONFIG_REPLICAS_MAX / 2 ? MAM_CONFIG_REPLICAS_MAX : 2 * s->max_replicas;
}

uint16_t mam_service_own_port(const MamServiceConfig *s, uint32_t n) {
        assert(s);
        assert(n > 0);

        if (!s->exec || s->socket_activated || s->port == 0)
                return 0;
        return (uint16_t) (s->port + n - 1); /* the loader made sure that the last one is a port too */
}

void mam_replica_address(char ret[static MAM_UNIT_NAME_MAX], const MamServiceConfig *s, uint32_t n) {
        uint16_t port = mam_service_own_port(s, n);

        if (s->probe == MAM_PROBE_POSTGRESQL) {
                snprintf(ret, MAM_UNIT_NAME_MAX, "/run/mam/postgresql/.s.PGSQL.5432");
        } else if (s->probe == MAM_PROBE_REDIS) {
                snprintf(ret, MAM_UNIT_NAME_MAX, "/run/mam/redis/%" PRIu32 ".sock", n);
        } else if (port > 0) {
                snprintf(ret, MAM_UNIT_NAME_MAX, "127.0.0.1:%" PRIu16, port);
        } else {
                mam_replica_socket_path(ret, s->id, n);
        }
}

int mam_unit_parse_replica(const char *unit, char ret_id[static 32], uint32_t *ret_n) {
        const char *colon, *dot;
        uint32_t n = 0;
        char id[32];

        assert(unit);
        assert(ret_n);

        if (strncmp(unit, "mam@", 4) != 0)
                return -EINVAL;
        unit += 4;
        colon = strchr(unit, ':');
        if (!colon || (size_t) (colon - unit) >= sizeof(id))
                return -EINVAL;
        memcpy(id, unit, (size_t) (colon - unit));
        id[colon - unit] = '\0';
        if (!mam_service_id_is_valid(id))
                return -EINVAL;

        /* One spelling per number: no zero in front, no more digits than the largest has. */
        dot = colon + 1 + strspn(colon + 1, "0123456789");
        if (dot == colon + 1 || dot - colon > 6 || colon[1] == '0')
                return -EINVAL;
        for (const char *c = colon + 1; c < dot; c++)
                n = n * 10 + (uint32_t) (*c - '0');
        if (strcmp(dot, ".service") != 0 && strcmp(dot, ".socket") != 0)
                return -EINVAL;

        memcpy(ret_id, id, sizeof(id));
        *ret_n = n;
        return 0;
}

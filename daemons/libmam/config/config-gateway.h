/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Sections of "gateway" while they are read
 *
 * A section is a row in the table of config-gateway.c: its defaults, its keys, and one function that reads
 * it. A wrong value is reported (mam_reader_bad_key) and makes the file as a whole be refused, so that the
 * last good one stands; so a reader need not take anything back.
 */

#include "libmam/config/config-reader.h"
#include "libmam/config/gateway.h"

typedef struct MamGatewaySection {
        const char *name;         /* key below "gateway" */
        size_t offset;            /* of the section's struct in MamGatewayConfig */
        const char *const *known; /* NULL-terminated keys; NULL: the keys are names, such as ids */
        /* Defaults, into what is zeroed. 0 or -ENOMEM. */
        int (*init)(void *section);
        /* Reads what is there over the defaults. o is an object; parent is its pointer ("/gateway/tls"). */
        void (*read)(MamReader *rd, json_object *o, const char *parent, void *section);
        /* Frees what it owns; NULL: nothing. */
        void (*done)(void *section);
} MamGatewaySection;

extern const MamGatewaySection mam_gateway_section_tls;
extern const MamGatewaySection mam_gateway_section_auth;
extern const MamGatewaySection mam_gateway_section_callers;
extern const MamGatewaySection mam_gateway_section_limits;
extern const MamGatewaySection mam_gateway_section_tracing;
extern const MamGatewaySection mam_gateway_section_compression;
extern const MamGatewaySection mam_gateway_section_access_log;
extern const MamGatewaySection mam_gateway_section_graphql;
extern const MamGatewaySection mam_gateway_section_websocket;

/* "gateway" itself, over the defaults in c. parent: "/gateway". */
void mam_config_read_gateway(MamReader *rd, json_object *o, const char *parent, MamGatewayConfig *c);

/* "routes" of a service: *ret is a new list, without those that are wrong. o is the array, or NULL: no
 * routes; parent is its pointer. */
void mam_config_read_routes(MamReader *rd, json_object *o, const char *parent, MamRouteList **ret);
/* Plain prefixes, as they are known of mam's own services. -ENOMEM. */
int mam_config_make_routes(MamRouteList **ret, const char *const *prefixes);

/* Frees the last one. */
void mam_route_list_drop_last(MamRouteList *l);

/* "auth" of a route (config-gateway-auth.c). o is the route. */
void mam_config_read_route_auth(MamReader *rd, json_object *o, const char *parent, MamRouteAuth *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "gateway.graphql": whether there is one, and what an operation may cost
 */

#include <stddef.h>

#include "libmam/config/config-gateway.h"
#include "libmam/util/time.h"

#define BYTES_MIN    1024U
#define BYTES_MAX    (1024U * 1024U)
#define DEPTH_MAX    64
#define FIELDS_MAX   20000
#define ALIASES_MAX  20000
#define REQUESTS_MAX 10000
#define TIMEOUT_MIN  MAM_USEC_PER_SEC
#define TIMEOUT_MAX  (600 * MAM_USEC_PER_SEC)

static int section_init(void *section) {
        MamGatewayGraphqlConfig *c = section;

        *c = (MamGatewayGraphqlConfig){
                .enabled = true,
                .introspection = true,
                .max_size = 64U * 1024U,
                .max_depth = 16,
                .max_fields = 1000,
                .max_aliases = 50,
                .max_requests = 200,
                .timeout_usec = 30 * MAM_USEC_PER_SEC,
        };
        return 0;
}

static void read_number(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                int64_t max,
                uint32_t *to) {
        int64_t n;

        if (mam_reader_get_int(rd, o, parent, key, 1, max, &n))
                *to = (uint32_t) n;
}

static void section_read(MamReader *rd, json_object *o, const char *parent, void *section) {
        MamGatewayGraphqlConfig *c = section;

        (void) mam_reader_get_bool(rd, o, parent, "enabled", &c->enabled);
        (void) mam_reader_get_bool(rd, o, parent, "introspection", &c->introspection);
        (void) mam_reader_get_bool(rd, o, parent, "anonymous", &c->anonymous);
        (void) mam_reader_get_bytes(rd, o, parent, "maxSize", BYTES_MIN, BYTES_MAX, &c->max_size);
        read_number(rd, o, parent, "maxDepth", DEPTH_MAX, &c->max_depth);
        read_number(rd, o, parent, "maxFields", FIELDS_MAX, &c->max_fields);
        read_number(rd, o, parent, "maxAliases", ALIASES_MAX, &c->max_aliases);
        read_number(rd, o, parent, "maxRequests", REQUESTS_MAX, &c->max_requests);
        mam_reader_span(rd,
                        o,
                        parent,
                        "timeout",
                        TIMEOUT_MIN,
                        TIMEOUT_MAX,
                        "a time from \"1s\" to \"10min\"",
                        &c->timeout_usec);
}

const MamGatewaySection mam_gateway_section_graphql = {
        .name = "graphql",
        .offset = offsetof(MamGatewayConfig, graphql),
        .known = (const char *const[]){ "enabled",
                                        "introspection",
                                        "anonymous",
                                        "maxSize",
                                        "maxDepth",
                                        "maxFields",
                                        "maxAliases",
                                        "maxRequests",
                                        "timeout",
                                        NULL },
        .init = section_init,
        .read = section_read,
};

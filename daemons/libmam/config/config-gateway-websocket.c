/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "gateway.websocket": how many conversations may last, and for how long in silence
 */

#include <assert.h>
#include <stddef.h>

#include "libmam/config/config-gateway.h"
#include "libmam/util/time.h"

#define MAX_MAX  1000000
#define IDLE_MIN MAM_USEC_PER_SEC
#define IDLE_MAX (86400 * MAM_USEC_PER_SEC)

void mam_gateway_websocket_init(MamGatewayWebsocket *c) {
        assert(c);

        *c = (MamGatewayWebsocket){
                .max = 10000,
                .max_per_caller = 100,
                .idle_usec = 600 * MAM_USEC_PER_SEC,
        };
}

static int section_init(void *section) {
        mam_gateway_websocket_init(section);
        return 0;
}

static void section_read(MamReader *rd, json_object *o, const char *parent, void *section) {
        MamGatewayWebsocket *c = section;
        int64_t n;

        if (mam_reader_get_int(rd, o, parent, "max", 0, MAX_MAX, &n))
                c->max = (uint32_t) n;
        if (mam_reader_get_int(rd, o, parent, "maxPerCaller", 1, MAX_MAX, &n))
                c->max_per_caller = (uint32_t) n;
        mam_reader_span(rd,
                        o,
                        parent,
                        "idleTimeout",
                        IDLE_MIN,
                        IDLE_MAX,
                        "a time from \"1s\" to \"1d\"",
                        &c->idle_usec);
}

const MamGatewaySection mam_gateway_section_websocket = {
        .name = "websocket",
        .offset = offsetof(MamGatewayConfig, websocket),
        .known = (const char *const[]){ "max", "maxPerCaller", "idleTimeout", NULL },
        .init = section_init,
        .read = section_read,
};

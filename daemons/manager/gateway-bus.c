/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What gateways are told of the configuration
 *
 * The document is made anew whenever the configuration was read; only if it says something else than before
 * does the generation grow, and are gateways told to ask.
 */

#include <assert.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/util/time.h"
#include "manager/manager-bus.h"
#include "manager/manager.h"

int manager_update_gateway(Manager *m) {
        _cleanup_(mam_freep) char *text = NULL;
        int r;

        assert(m);
        assert(m->config);

        r = mam_gateway_document_format(&text, m->config->config);
        if (r < 0)
                return r;
        if (m->gateway_document && strcmp(m->gateway_document, text) == 0)
                return 0;

        /* It grows over restarts of the manager too, as it begins at the clock. */
        m->gateway_generation = m->gateway_generation > 0 ? m->gateway_generation + 1 : mam_now_realtime();
        free(m->gateway_document);
        m->gateway_document = MAM_TAKE(text);
        if (!m->ready)
                return 0;
        return sd_bus_emit_signal(
                        m->bus,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "GatewayChanged",
                        "t",
                        m->gateway_generation);
}

int manager_bus_get_gateway(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        return sd_bus_reply_method_return(
                        message,
                        "ts",
                        m->gateway_generation,
                        m->gateway_document ? m->gateway_document : "{}");
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The configuration from the manager: asked for at the start, when the manager's name has a new owner, and
 * whenever it says that there is another one
 *
 * What cannot be used changes nothing. A manager of an older mam that does not know the question leaves the
 * gateway with what the files said.
 */

#include <assert.h>
#include <string.h>

#include "api-gateway/endpoints-internal.h"
#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"

static void settle(EndpointsBus *b) {
        b->configuration.settled = true;
        endpoints_bus_settle(b);
}

void configuration_failed(EndpointsBus *b, const char *why) {
        endpoints_bus_say_gone(b, why);
        b->configuration.due = true;
        endpoints_bus_arm(b);
        settle(b);
}

static void say_bad(EndpointsBus *b, const char *problem) {
        if (b->configuration.said_bad)
                return;
        b->configuration.said_bad = true;
        mam_log_id(LOG_WARNING,
                   MAM_MESSAGE_GATEWAY_CONFIGURATION_BAD,
                   "The manager's configuration cannot be used, the one before stands: %s",
                   problem);
}

static int take(EndpointsBus *b, uint64_t generation, const char *document) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *c = NULL;
        _cleanup_(mam_freep) char *problem = NULL;
        int r;

        r = mam_gateway_config_parse(&c, document, strlen(document), &problem);
        if (r == -EBADMSG) {
                say_bad(b, problem ? problem : "it makes no sense");
                return 0;
        }
        if (r < 0)
                return r;
        c->generation = generation;
        r = gateway_configure(b->gateway, c);
        if (r < 0)
                return r;
        b->configuration.said_bad = false;
        mam_debug("Configuration %llu: %zu routes to %zu services",
                  (unsigned long long) generation,
                  route_table_size(b->gateway->routes),
                  c->n_services);
        return endpoints_bus_configure(b, c);
}

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        EndpointsBus *b = userdata;
        const char *document;
        uint64_t generation;
        int r;

        b->configuration.call = sd_bus_slot_unref(b->configuration.call);
        if (e && sd_bus_error_has_name(e, SD_BUS_ERROR_UNKNOWN_METHOD)) {
                settle(b);
                return 0;
        }
        if (e) {
                configuration_failed(b, e->message ? e->message : e->name);
                return 0;
        }
        r = sd_bus_message_read(reply, "ts", &generation, &document);
        if (r < 0) {
                configuration_failed(b, "its answer makes no sense");
                return 0;
        }
        endpoints_bus_note_owner(b, reply);
        endpoints_bus_say_back(b);
        if (generation != b->configuration.generation) {
                r = take(b, generation, document);
                if (r < 0) {
                        configuration_failed(b, "there is not enough memory for its configuration");
                        return 0;
                }
                b->configuration.generation = generation;
        }
        settle(b);
        return 0;
}

void configuration_ask(EndpointsBus *b) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        b->configuration.due = false;
        b->configuration.call = sd_bus_slot_unref(b->configuration.call);
        r = sd_bus_message_new_method_call(
                        b->bus,
                        &m,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "GetGateway");
        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, !b->answered);
        if (r >= 0)
                r = sd_bus_call_async(
                                b->bus,
                                &b->configuration.call,
                                m,
                                on_reply,
                                b,
                                ENDPOINTS_CALL_TIMEOUT_USEC);
        if (r < 0)
                configuration_failed(b, strerrordesc_np(-r) ? strerrordesc_np(-r) : "unknown error");
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *sender = sd_bus_message_get_sender(m);
        EndpointsBus *b = userdata;
        uint64_t generation;

        /* The bus lets everybody send a signal to us. */
        if (!sender || !b->owner || strcmp(sender, b->owner) != 0 ||
            sd_bus_message_read(m, "t", &generation) < 0)
                return 0;
        if (generation != b->configuration.generation)
                configuration_ask(b);
        return 0;
}

int configuration_add_match(EndpointsBus *b) {
        return sd_bus_match_signal_async(
                        b->bus,
                        &b->configuration.match,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "GatewayChanged",
                        on_changed,
                        NULL,
                        b);
}

void configuration_disconnect(EndpointsBus *b) {
        b->configuration.call = sd_bus_slot_unref(b->configuration.call);
        b->configuration.match = sd_bus_slot_unref(b->configuration.match);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * GET /asyncapi.json: what this API is, for machines (AsyncAPI 3.0); asyncapi.json made part of the program
 */

#include "event-bus/api.h"

extern const char event_bus_asyncapi[];
extern const size_t event_bus_asyncapi_size;

int handle_asyncapi(MamHttpExchange *x, void *userdata) {
        int r;

        r = mam_http_exchange_add_field(x, "Cache-Control", "no-cache");
        if (r < 0)
                return r;
        return mam_http_exchange_respond(
                        x,
                        200,
                        "application/json",
                        event_bus_asyncapi,
                        event_bus_asyncapi_size);
}

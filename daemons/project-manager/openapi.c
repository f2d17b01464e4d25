/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What this API is, for programs; tests hold every answer against it
 */

#include "project-manager/api.h"

extern const char project_manager_openapi[]; /* made from openapi.json */
extern const size_t project_manager_openapi_size;

int handle_openapi(MamHttpExchange *x, void *userdata) {
        int r = mam_http_exchange_add_field(x, "Cache-Control", "no-cache");

        if (r < 0)
                return r;
        return mam_http_exchange_respond(
                        x,
                        200,
                        "application/json",
                        project_manager_openapi,
                        project_manager_openapi_size);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What stands behind the proxies that bench-gateway compares: a daemon of libmam like every service, with a
 * small and a large answer that cost it nothing to make.
 */

#include <string.h>

#include "libmam/service/service.h"

#define LARGE_SIZE 65536U

static int small(MamHttpExchange *x, void *userdata) {
        static const char body[] =
                        "{\"id\":\"0192f1c4-6a3e-7c55-9a5e-4f5a8f0c1d2e\",\"name\":\"Website relaunch\","
                        "\"status\":\"active\",\"createdAt\":\"2026-01-01T00:00:00Z\"}";

        return mam_http_exchange_respond(x, 200, "application/json", body, sizeof(body) - 1);
}

static int large(MamHttpExchange *x, void *userdata) {
        static char body[LARGE_SIZE];

        if (body[0] == '\0')
                memset(body, 'x', sizeof(body));
        return mam_http_exchange_respond(x, 200, "application/octet-stream", body, sizeof(body));
}

static int setup(MamService *s, void **ret) {
        *ret = NULL;
        return mam_service_ready(s);
}

static const MamRoute routes[] = {
        { .method = "GET", .path = "/bench/small", .handler = small, .anonymous = true },
        { .method = "GET", .path = "/bench/large", .handler = large, .anonymous = true },
        { .method = NULL },
};

int main(int argc, char **argv) {
        return mam_service_run(
                        argc,
                        argv,
                        &(MamServiceInfo){ .id = "bench", .routes = routes, .setup = setup });
}

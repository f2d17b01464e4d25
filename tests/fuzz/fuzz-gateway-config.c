/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The gateway's configuration: whatever the document holds, it is taken whole or refused with a reason; and
 * whatever a request asks for, the routes made of it answer with one that it may have
 *
 * Input: the head of a request, a NUL, the document. Without a NUL all of it is the document.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api-gateway/routes.h"
#include "libmam/config/gateway.h"

static const char default_head[] = "GET /api/v1/projects/7 HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every result; abort() makes it a finding. */
static void require(bool condition) {
        if (!condition)
                abort();
}

static void check_route(const MamRouteConfig *r) {
        require(r->label && *r->label && r->path && strlen(r->path) <= MAM_ROUTE_PATH_MAX);
        require(r->mirror_ppm <= MAM_PPM && r->fault_delay_ppm <= MAM_PPM && r->fault_abort_ppm <= MAM_PPM);
        require(r->mirror_ppm == 0 || r->mirror_service);
        require(r->n_request_set <= MAM_ROUTE_FIELDS_MAX && r->n_response_set <= MAM_ROUTE_FIELDS_MAX);
        for (size_t i = 0; i < r->n_request_set; i++)
                require(mam_http_is_token(r->request_set[i].name, strlen(r->request_set[i].name)) &&
                        mam_http_is_field_value(r->request_set[i].value, strlen(r->request_set[i].value)));
        for (size_t i = 0; i < r->n_response_set; i++)
                require(mam_http_is_token(r->response_set[i].name, strlen(r->response_set[i].name)) &&
                        mam_http_is_field_value(r->response_set[i].value, strlen(r->response_set[i].value)));
}

static void match(const RouteTable *t, const MamHttpHead *head) {
        char target[ROUTE_TARGET_MAX], allow[256];
        const Route *route;
        RoutePath path;
        RouteMiss miss;
        ssize_t n;

        path = route_path_check(head->path.data, head->path.size);
        if (path != ROUTE_PATH_PLAIN && path != ROUTE_PATH_ENCODED_SLASH)
                return;
        (void) route_accept_version(head);
        route = route_table_match(t, head, &miss);
        if (!route) {
                if (miss == ROUTE_MISS_METHOD)
                        route_table_allow(t, head, allow);
                return;
        }
        n = route_target(route, head, target, sizeof(target));
        require(n < 0 || (target[0] == '/' && strlen(target) == (size_t) n));
        for (ssize_t i = 0; i < n; i++)
                require((unsigned char) target[i] > 0x20 && (unsigned char) target[i] != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *c = NULL;
        _cleanup_(route_table_unrefp) RouteTable *t = NULL;
        _cleanup_(mam_freep) char *problem = NULL;
        const char *text = (const char *) data, *head_text = default_head;
        size_t head_size = sizeof(default_head) - 1;
        const uint8_t *nul = memchr(data, 0, size);
        MamHttpHead head;
        int r;

        if (nul) {
                head_text = text;
                head_size = (size_t) (nul - data);
                text += head_size + 1;
                size -= head_size + 1;
        }
        r = mam_gateway_config_parse(&c, text, size, &problem);
        if (r < 0) {
                require(r == -EBADMSG && problem && *problem && !c);
                return 0;
        }
        require(route_table_new(&t, c) == 0);
        for (size_t i = 0; i < c->n_services; i++) {
                const MamGatewayService *s = &c->services[i];

                require(s->id && s->routes && s->routes->n <= MAM_ROUTES_MAX);
                for (size_t k = 0; k < s->routes->n; k++) {
                        check_route(&s->routes->routes[k]);
                        (void) route_table_add(t, &s->routes->routes[k], s->id, NULL, NULL, NULL, NULL);
                }
        }
        if (mam_http_parse_request(&head, head_text, head_size, NULL, NULL) > 0)
                match(t, &head);
        return 0;
}

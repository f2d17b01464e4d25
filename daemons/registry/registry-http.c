/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is asked over HTTP
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/json/json.h"
#include "registry/consul.h"
#include "registry/exposition.h"
#include "registry/registry.h"

#define SEGMENTS_MAX 8U
#define PATH_SIZE    1024U

typedef struct Request {
        Registry *registry;
        MamHttpExchange *x;
        MamHttpRange query;
        char text[PATH_SIZE]; /* the decoded segments */
        const char *segments[SEGMENTS_MAX];
        size_t n_segments;
        const char *parameter[2]; /* what stands for '*' */
        ConsulFilter filter;
} Request;

typedef struct Route {
        const char *path; /* '*' stands for one segment that is not empty */
        bool anonymous;
        IndexOf index;
        json_object *(*make)(Request *q); /* the body; NULL: out of memory */
        int (*handle)(Request *q);        /* or it answers itself */
} Route;

int registry_respond_text(MamHttpExchange *x, unsigned status, const char *text) {
        return mam_http_exchange_respond(x, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* ---- Consul ---- */

static json_object *make_services(Request *q) {
        return consul_catalog_services(q->registry->catalog);
}

static json_object *make_service(Request *q) {
        return consul_catalog_service(q->registry->catalog, q->parameter[0], &q->filter);
}

static json_object *make_nodes(Request *q) {
        return consul_catalog_nodes(q->registry->catalog, &q->filter);
}

static json_object *make_datacenters(Request *q) {
        return consul_catalog_datacenters(q->registry->catalog);
}

static json_object *make_health_service(Request *q) {
        return consul_health_service(q->registry->catalog, q->parameter[0], &q->filter);
}

static json_object *make_checks(Request *q) {
        return consul_health_checks(q->registry->catalog, q->parameter[0], _CATALOG_STATUS_INVALID);
}

static json_object *make_agent_services(Request *q) {
        return consul_agent_services(q->registry->catalog);
}

static json_object *make_agent_checks(Request *q) {
        return consul_agent_checks(q->registry->catalog);
}

static json_object *make_self(Request *q) {
        return consul_agent_self(q->registry->catalog);
}

/* The address by which the client has reached us. */
static void own_address(const Request *q, char *ret, size_t size) {
        const char *host = mam_http_exchange_header(q->x, "Host");

        (void) snprintf(ret, size, "%s", host && *host ? host : "127.0.0.1:5000");
}

static json_object *make_targets(Request *q) {
        char target[280];

        own_address(q, target, sizeof(target));
        return exposition_targets(q->registry->catalog, target);
}

/* The manager is the leader; without it there is none. */
static json_object *make_leader(Request *q) {
        return json_object_new_string(q->registry->catalog->manager_up ? "127.0.0.1:8300" : "");
}

static json_object *make_peers(Request *q) {
        json_object *a = json_object_new_array();

        if (a && q->registry->catalog->manager_up)
                (void) json_object_array_add(a, json_object_new_string("127.0.0.1:8300"));
        return a;
}

static int respond_json(Request *q, unsigned status, json_object *body) {
        char pretty[8];
        const char *text;

        if (!body)
                return -ENOMEM;
        text = mam_http_query_get(q->query, "pretty", pretty, sizeof(pretty)) == 1
                               ? json_object_to_json_string_ext(
                                                 body,
                                                 JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE)
                               : mam_json_to_string(body);
        return text ? mam_http_exchange_respond(q->x, status, "application/json", text, strlen(text))
                    : -ENOMEM;
}

static int handle_node(Request *q) {
        const Catalog *c = q->registry->catalog;
        _cleanup_(json_object_putp) json_object *body = NULL;

        if (strcmp(q->parameter[0], c->node) != 0)
                return mam_http_exchange_respond(q->x, 200, "application/json", "null", 4);
        body = consul_catalog_node(c);
        return respond_json(q, 200, body);
}

static int handle_node_checks(Request *q) {
        const Catalog *c = q->registry->catalog;
        _cleanup_(json_object_putp) json_object *body = NULL;

        body = strcmp(q->parameter[0], c->node) == 0 ? consul_health_checks(c, NULL, _CATALOG_STATUS_INVALID)
                                                     : json_object_new_array();
        return respond_json(q, 200, body);
}

static json_object *make_state(Request *q) {
        CatalogStatus status = catalog_status_from_string(q->parameter[0]);

        if (status < 0 && strcmp(q->parameter[0], "any") != 0)
                return json_object_new_array();
        return consul_health_checks(q->registry->catalog, NULL, status);
}

/* ---- Others ---- */

static int handle_root(Request *q) {
        return registry_respond_text(
                        q->x,
                        200,
                        "mam-registry\n\n"
                        "/v1/…                   the HTTP API of Consul, for reading\n"
                        "/metrics                metrics of the whole suite, for Prometheus\n"
                        "/v1/sd/prometheus       targets for Prometheus (http_sd_configs)\n"
                        "/health\n");
}

static int handle_health(Request *q) {
        const Catalog *c = q->registry->catalog;
        _cleanup_(json_object_putp) json_object *body = json_object_new_object();

        if (!body ||
            json_object_object_add(body, "status", json_object_new_string(c->listed ? "ok" : "starting")) <
                            0 ||
            json_object_object_add(body, "manager", json_object_new_string(c->manager_up ? "up" : "away")) <
                            0)
                return -ENOMEM;
        return respond_json(q, c->listed ? 200 : 503, body);
}

static int handle_page(Request *q) {
        return registry_serve_page(q->registry, q->x);
}

static int handle_relay(Request *q) {
        return registry_relay(q->registry, q->x, q->parameter[0], q->parameter[1]);
}

static const Route routes[] = {
        { "/", true, INDEX_NONE, NULL, handle_root },
        { "/health", true, INDEX_NONE, NULL, handle_health },
        { "/metrics", false, INDEX_NONE, NULL, handle_page },
        { "/v1/sd/prometheus", false, INDEX_NONE, make_targets, NULL },
        { "/v1/metrics/replica/*/*", false, INDEX_NONE, NULL, handle_relay },
        { "/v1/catalog/services", false, INDEX_SERVICES, make_services, NULL },
        { "/v1/catalog/service/*", false, INDEX_SERVICE, make_service, NULL },
        { "/v1/catalog/nodes", false, INDEX_FIXED, make_nodes, NULL },
        { "/v1/catalog/node/*", false, INDEX_ANY, NULL, handle_node },
        { "/v1/catalog/datacenters", false, INDEX_NONE, make_datacenters, NULL },
        { "/v1/health/service/*", false, INDEX_SERVICE, make_health_service, NULL },
        { "/v1/health/checks/*", false, INDEX_SERVICE, make_checks, NULL },
        { "/v1/health/state/*", false, INDEX_ANY, make_state, NULL },
        { "/v1/health/node/*", false, INDEX_ANY, NULL, handle_node_checks },
        { "/v1/agent/services", false, INDEX_NONE, make_agent_services, NULL },
        { "/v1/agent/checks", false, INDEX_NONE, make_agent_checks, NULL },
        { "/v1/agent/self", false, INDEX_NONE, make_self, NULL },
        { "/v1/status/leader", true, INDEX_NONE, make_leader, NULL },
        { "/v1/status/peers", true, INDEX_NONE, make_peers, NULL },
};

/* ---- Reading a request ---- */

/* Splits first and decodes then, so that "%2F" is part of a name. 0; -EINVAL: malformed; -ENOENT: no path of
 * ours is so long. */
static int split_path(Request *q, const char *path) {
        size_t at = 0;

        if (*path != '/')
                return -EINVAL;
        for (path++;; path++) {
                const char *end = strchrnul(path, '/');
                ssize_t n;

                if (q->n_segments >= SEGMENTS_MAX)
                        return -ENOENT;
                n = mam_http_percent_decode(q->text + at, sizeof(q->text) - at, path, (size_t) (end - path));
                if (n < 0)
                        return n == -ENOBUFS ? -ENOENT : -EINVAL;
                q->segments[q->n_segments++] = q->text + at;
                at += (size_t) n + 1;
                if (*end == '\0')
                        return 0;
                path = end;
        }
}

static bool route_matches(const Route *route, Request *q) {
        const char *p = route->path + 1;
        size_t n_parameters = 0;

        for (size_t i = 0; i < q->n_segments; i++) {
                size_t n = strcspn(p, "/");

                if (n == 1 && *p == '*') {
                        if (!*q->segments[i])
                                return false;
                        q->parameter[n_parameters++] = q->segments[i];
                } else if (strlen(q->segments[i]) != n || strncmp(q->segments[i], p, n) != 0)
                        return false;
                p += n;
                if (i + 1 < q->n_segments) {
                        if (*p != '/')
                                return false;
                        p++;
                }
        }
        return *p == '\0';
}

static const Route *find_route(Request *q) {
        for (size_t i = 0; i < MAM_ELEMENTSOF(routes); i++)
                if (route_matches(&routes[i], q))
                        return &routes[i];
        return NULL;
}

/* All of ?tag=…&tag=…; more than there is room for select nothing. */
static void read_tags(Request *q) {
        const char *p = q->query.data, *end = p ? p + q->query.size : NULL;

        while (p && p < end) {
                const char *next = memchr(p, '&', (size_t) (end - p)), *stop = next ? next : end;
                MamHttpRange one = { p, (size_t) (stop - p) };
                char tag[sizeof(q->filter.tags[0])];
                int r;

                r = mam_http_query_get(one, "tag", tag, sizeof(tag));
                if (r < 0 || (r > 0 && q->filter.n_tags >= CONSUL_TAGS_MAX))
                        q->filter.nothing = true;
                else if (r > 0 && *tag)
                        memcpy(q->filter.tags[q->filter.n_tags++], tag, sizeof(tag));
                p = next ? next + 1 : NULL;
        }
}

/* 0; or what is wrong, in the words of Consul, with *ret_status. */
static const char *read_filter(Request *q, unsigned *ret_status) {
        char value[128];
        int r;

        *ret_status = 400;
        r = mam_http_query_get(q->query, "dc", value, sizeof(value));
        if (r < 0 || (r > 0 && *value && strcmp(value, q->registry->catalog->datacenter) != 0)) {
                *ret_status = 500;
                return "No path to datacenter";
        }
        r = mam_http_query_get(q->query, "filter", value, sizeof(value));
        if (r < 0 || (r > 0 && *value))
                return "Filter expressions are not supported";
        r = mam_http_query_get(q->query, "node-meta", value, sizeof(value));
        if (r != 0)
                q->filter.nothing = true; /* the node has none */
        r = mam_http_query_get(q->query, "passing", value, sizeof(value));
        if (r > 0 && (!*value || strcasecmp(value, "true") == 0 || strcmp(value, "1") == 0))
                q->filter.passing = true;
        else if (r < 0 || (r > 0 && strcasecmp(value, "false") != 0 && strcmp(value, "0") != 0))
                return "Invalid value for ?passing";
        read_tags(q);
        return NULL;
}

/* 1: it waits; 0: it does not; -EINVAL with *ret_why. */
static int read_wait(
                Request *q,
                uint64_t is,
                uint64_t *ret_index,
                uint64_t *ret_wait,
                const char **ret_why) {
        char value[32], *end;
        uint64_t wait = 0;
        int r;

        *ret_index = 0;
        *ret_why = "Invalid index";
        r = mam_http_query_get(q->query, "index", value, sizeof(value));
        if (r < 0)
                return -EINVAL;
        if (r > 0) {
                errno = 0;
                *ret_index = strtoull(value, &end, 10);
                if (value[0] < '0' || value[0] > '9' || *end || errno > 0)
                        return -EINVAL;
        }

        *ret_why = "Invalid wait time";
        r = mam_http_query_get(q->query, "wait", value, sizeof(value));
        if (r < 0 || (r > 0 && registry_parse_wait(value, &wait) < 0))
                return -EINVAL;
        if (wait == 0)
                wait = REGISTRY_WAIT_DEFAULT_USEC;
        *ret_wait = wait < REGISTRY_WAIT_MAX_USEC ? wait : REGISTRY_WAIT_MAX_USEC;
        return registry_index_blocks(*ret_index, is);
}

/* Takes as long whatever is offered. */
static bool same_secret(const char *secret, const char *offered) {
        size_t n = strlen(secret), k = strlen(offered);
        volatile unsigned char different = n == k ? 0 : 1;

        for (size_t i = 0; i < k; i++)
                different |= (unsigned char) (offered[i] ^ secret[i % (n ? n : 1)]);
        return different == 0;
}

static bool is_allowed(const Request *q) {
        const char *field;
        char value[512];

        if (q->registry->config && !q->registry->config->registry_auth)
                return true;
        if (!q->registry->token)
                return false;
        field = mam_http_exchange_header(q->x, "X-Consul-Token");
        if (field && *field)
                return same_secret(q->registry->token, field);
        field = mam_http_exchange_header(q->x, "Authorization");
        if (field && strncasecmp(field, "Bearer ", 7) == 0)
                return same_secret(q->registry->token, field + 7 + strspn(field + 7, " "));
        /* Prometheus 2.42 leaves the scheme out in http_sd_configs, unless it is configured. */
        if (field && *field && !strchr(field, ' '))
                return same_secret(q->registry->token, field);
        if (mam_http_query_get(q->query, "token", value, sizeof(value)) > 0)
                return same_secret(q->registry->token, value);
        return false;
}

/* ---- Answering ---- */

static int add_consul_fields(Request *q, const Route *route) {
        const Catalog *c = q->registry->catalog;
        char text[32];
        int r = 0;

        if (route->index != INDEX_NONE) {
                (void) snprintf(text,
                                sizeof(text),
                                "%llu",
                                (unsigned long long) registry_index(c, route->index, q->parameter[0]));
                r = mam_http_exchange_add_field(q->x, "X-Consul-Index", text);
        }
        (void) snprintf(text,
                        sizeof(text),
                        "%llu",
                        (unsigned long long) (c->manager_up || c->manager_lost_usec == 0 ? 0 : (mam_now_monotonic() - c->manager_lost_usec) / MAM_USEC_PER_MSEC));
        if (r >= 0)
                r = mam_http_exchange_add_field(q->x, "X-Consul-LastContact", text);
        if (r >= 0)
                r = mam_http_exchange_add_field(
                                q->x,
                                "X-Consul-KnownLeader",
                                c->manager_up ? "true" : "false");
        return r;
}

static int answer_consul(Request *q, const Route *route, bool may_block) {
        _cleanup_(json_object_putp) json_object *body = NULL;
        uint64_t index, wait;
        const char *why;
        unsigned status;
        int r;

        if (!q->registry->catalog->listed && !route->anonymous)
                return registry_respond_text(q->x, 500, "No cluster leader");
        why = read_filter(q, &status);
        if (why)
                return registry_respond_text(q->x, status, why);
        if (route->index != INDEX_NONE && may_block) {
                r = read_wait(q,
                              registry_index(q->registry->catalog, route->index, q->parameter[0]),
                              &index,
                              &wait,
                              &why);
                if (r < 0)
                        return registry_respond_text(q->x, 400, why);
                if (r > 0) {
                        r = registry_block(q->registry, q->x, route->index, q->parameter[0], index, wait);
                        if (r != -EDQUOT)
                                return r;
                        return registry_respond_text(q->x, 429, "Too many blocking queries");
                }
        }

        r = add_consul_fields(q, route);
        if (r < 0)
                return r;
        if (route->handle)
                return route->handle(q);
        body = route->make(q);
        return respond_json(q, 200, body);
}

static int refuse_method(Request *q) {
        char text[64];
        int r;

        r = mam_http_exchange_add_field(q->x, "Allow", "OPTIONS,GET,HEAD");
        if (r < 0)
                return r;
        if (strcmp(mam_http_exchange_method(q->x), "OPTIONS") == 0)
                return mam_http_exchange_respond(q->x, 200, NULL, NULL, 0);
        (void) snprintf(text, sizeof(text), "method %.32s not allowed", mam_http_exchange_method(q->x));
        return registry_respond_text(q->x, 405, text);
}

static int answer(Registry *g, MamHttpExchange *x, bool may_block) {
        const char *method = mam_http_exchange_method(x);
        Request q = { .registry = g, .x = x, .query = mam_http_exchange_head(x)->query };
        const Route *route;
        int r;

        r = split_path(&q, mam_http_exchange_path(x));
        if (r == -EINVAL)
                return registry_respond_text(x, 400, "Invalid URL path");
        route = r < 0 ? NULL : find_route(&q);
        if (!route)
                return registry_respond_text(x, 404, "Invalid URL path: not a recognized HTTP API endpoint");
        if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
                return refuse_method(&q);
        if (g->config && !g->config->registry_enabled && !route->anonymous)
                return registry_respond_text(x, 503, "The registry is switched off (registry.enabled)");
        if (!route->anonymous && !is_allowed(&q))
                return registry_respond_text(x, 403, "Permission denied");
        if (strncmp(route->path, "/v1/", 4) == 0 && (route->make || route->index != INDEX_NONE))
                return answer_consul(&q, route, may_block);
        return route->handle(&q);
}

int registry_answer_now(Registry *g, MamHttpExchange *x) {
        int r;

        r = answer(g, x, false);
        if (r < 0 && !mam_http_exchange_is_started(x))
                r = mam_http_exchange_problem(x, 500, NULL, "%s", strerror(-r));
        return r;
}

static void on_counted(MamHttpExchange *x, void *userdata) {
        Registry *g = userdata;
        char code[16];
        const char *const values[] = { code };

        (void) snprintf(code, sizeof(code), "%u", mam_http_exchange_status(x));
        mam_metric_add(mam_metric_get(g->requests, values), 1);
}

int registry_on_request(MamHttpExchange *x, void *userdata) {
        mam_http_exchange_set_frame(x, on_counted, userdata);
        return answer(userdata, x, true);
}

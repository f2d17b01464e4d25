/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The gateway's routes as a configuration of nginx
 *
 * nginx takes the first regular expression that matches, so locations stand in the order in which the
 * gateway would choose (routes.h of the gateway): the most specific first. Routes with the same path become
 * one location that sends the request on to a named one by method, header fields and version. Unlike the
 * gateway, nginx does not go on with a less specific path where none of those fits.
 *
 * nginx verifies no tokens. mam's own services do that themselves; what a program of your own relies on the
 * gateway for, and what asks for roles, is closed: it answers 403, and is counted for the caller to tell.
 */

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libmam/util/time.h"
#include "mamctl/export-nginx.h"

#include "mam-build.h"

#define FIRST_CODE 520U /* of the answers by which a location chooses a named one */
#define CODES      64U

/* One route in the list that is written. */
typedef struct Item {
        const MamServiceConfig *service;
        const MamRouteConfig *route;
        unsigned number;
} Item;

typedef struct Writer {
        FILE *f;
        const MamConfig *config;
        Item *items; /* owned; all routes */
        size_t n_items;
        unsigned n_closed;
} Writer;

/* ---- order ---- */

static int segment_kind(const MamRouteConfig *c, const char *s) {
        size_t n = strcspn(s, "/");

        if (n > 5 && strncmp(s + n - 4, "...}", 4) == 0)
                return 3;
        return s[0] == '{' ? 1 : 0;
}

/* More specific paths first; the same path (with other names of parameters) is 0. */
static int compare_paths(const MamRouteConfig *a, const MamRouteConfig *b) {
        const char *x = a->path, *y = b->path;

        for (;;) {
                int kx = *x ? segment_kind(a, x + 1) : a->is_prefix ? 4 : 2;
                int ky = *y ? segment_kind(b, y + 1) : b->is_prefix ? 4 : 2;
                size_t nx, ny;

                if (kx != ky)
                        return kx - ky;
                if (kx >= 2)
                        return 0;
                nx = strcspn(++x, "/");
                ny = strcspn(++y, "/");
                if (kx == 0 && (nx != ny || strncmp(x, y, nx) != 0))
                        return strncmp(x, y, nx > ny ? nx : ny) < 0 ? -1 : 1;
                x += nx;
                y += ny;
        }
}

/* As the gateway has it: methods, then fields, then version; of versions the lowest, as it is for those who
 * name none, stands last. */
static int compare_items(const void *p, const void *q) {
        const Item *a = p, *b = q;
        int c = compare_paths(a->route, b->route);

        if (c != 0)
                return c;
        if (!a->route->methods != !b->route->methods)
                return a->route->methods ? -1 : 1;
        if (a->route->n_match != b->route->n_match)
                return a->route->n_match > b->route->n_match ? -1 : 1;
        if (a->route->version != b->route->version)
                return a->route->version > b->route->version ? -1 : 1;
        return a->number < b->number ? -1 : 1;
}

/* ---- texts ---- */

/* In double quotes; "$" would begin a variable. */
static void put_quoted(Writer *w, const char *text) {
        (void) fputc('"', w->f);
        for (; *text; text++) {
                if (*text == '"' || *text == '\\')
                        (void) fputc('\\', w->f);
                if (*text == '$')
                        (void) fputs("${mam_dollar}", w->f);
                else
                        (void) fputc(*text, w->f);
        }
        (void) fputc('"', w->f);
}

/* Literally in a regular expression in double quotes. */
static void put_literal(Writer *w, const char *text, size_t n) {
        for (size_t i = 0; i < n; i++) {
                if (!isalnum((unsigned char) text[i]) && !strchr("/_-~!@&',:;=<>", text[i]))
                        (void) fputc('\\', w->f); /* which nginx leaves before what it does not know */
                (void) fputc(text[i], w->f);
        }
}

/* The path as a regular expression, parameters as ${mam_1}, ${mam_2}, …, what a prefix leaves as
 * ${mam_rest}. */
static void put_pattern(Writer *w, const MamRouteConfig *c) {
        unsigned k = 0;

        (void) fputs("\"^", w->f);
        for (const char *s = c->path; *s;) {
                size_t n = strcspn(++s, "/");
                int kind = segment_kind(c, s);

                (void) fputc('/', w->f);
                if (kind == 0)
                        put_literal(w, s, n);
                else
                        (void) fprintf(w->f, "(?<mam_%u>%s)", ++k, kind == 1 ? "[^/]+" : ".*");
                s += n;
        }
        (void) fputs(c->is_prefix ? "(?<mam_rest>/.*)?$\"" : "$\"", w->f);
}

static unsigned parameter_number(const MamRouteConfig *c, const char *name, size_t size) {
        unsigned k = 0;

        for (const char *s = c->path; *s;) {
                size_t n = strcspn(++s, "/");

                k += segment_kind(c, s) != 0;
                if (n == size && memcmp(s, name, n) == 0)
                        return k;
                s += n;
        }
        return 0;
}

static void put_rewrite(Writer *w, const MamRouteConfig *c) {
        if (!c->rewrite)
                return;
        if (!c->rewrite[0] && c->is_prefix) { /* nothing at all would be left of the prefix itself */
                (void) fputs("      rewrite ", w->f);
                put_pattern(w, c);
                (void) fputs(" \"/$mam_rest\";\n      rewrite \"^/+(.*)$\" \"/$1\" break;\n", w->f);
                return;
        }
        (void) fputs("      rewrite ", w->f);
        put_pattern(w, c);
        (void) fputs(" \"", w->f);
        for (const char *s = c->rewrite; *s;) {
                size_t n = strcspn(++s, "/");

                (void) fputc('/', w->f);
                if (s[0] == '{')
                        (void) fprintf(w->f, "${mam_%u}", parameter_number(c, s, n));
                else
                        for (size_t i = 0; i < n; i++)
                                (void) fprintf(w->f, s[i] == '$' ? "${mam_dollar}" : "%c", s[i]);
                s += n;
        }
        (void) fputs(c->is_prefix ? "${mam_rest}\" break;\n" : "\" break;\n", w->f);
}

/* ---- what a route does ---- */

static bool is_closed(const Item *i) {
        if (i->route->auth.roles || i->route->auth.scopes)
                return true;
        return i->service->exec &&
               !i->route->auth.anonymous; /* mam's own services verify tokens themselves */
}

static const char *sticky_of(const MamRouteConfig *c) {
        return c->sticky == MAM_ROUTE_STICKY_OFF ? "" : mam_route_sticky_to_string(c->sticky);
}

static void put_upstream_name(Writer *w, const MamServiceConfig *s, const MamRouteConfig *c) {
        (void) fprintf(w->f, "mam_%s%s%s", s->id, *sticky_of(c) ? "_" : "", sticky_of(c));
}

static void put_limits(Writer *w, const MamRouteConfig *c) {
        const MamGatewayLimits *l = &w->config->gateway->limits;

        for (size_t i = 0; i < l->n_rates; i++) {
                const MamRateConfig *rate = &l->rates[i];

                if (!rate->everywhere && (!c->rate_limit || strcmp(c->rate_limit, rate->name) != 0))
                        continue;
                (void) fprintf(w->f, "      limit_req zone=mam_%s", rate->name);
                if (rate->burst > 1)
                        (void) fprintf(w->f, " burst=%" PRIu32 " nodelay", rate->burst - 1);
                (void) fputs(";\n", w->f);
        }
}

static void put_http_date(Writer *w, uint64_t usec) {
        static const char days[] = "SunMonTueWedThuFriSat",
                          months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        time_t t = (time_t) (usec / MAM_USEC_PER_SEC);
        struct tm tm;

        if (!gmtime_r(&t, &tm))
                return;
        (void) fprintf(w->f,
                       "      add_header Sunset \"%.3s, %02d %.3s %04d %02d:%02d:%02d GMT\" always;\n",
                       days + 3 * tm.tm_wday,
                       tm.tm_mday,
                       months + 3 * tm.tm_mon,
                       tm.tm_year + 1900,
                       tm.tm_hour,
                       tm.tm_min,
                       tm.tm_sec);
}

static void put_answer_fields(Writer *w, const MamRouteConfig *c) {
        if (c->deprecated_usec > 0)
                (void) fprintf(w->f,
                               "      add_header Deprecation \"@%" PRIu64 "\" always;\n",
                               c->deprecated_usec / MAM_USEC_PER_SEC);
        if (c->sunset_usec > 0)
                put_http_date(w, c->sunset_usec);
        if (c->successor) {
                char link[4200];

                (void) snprintf(link, sizeof(link), "<%s>; rel=\"successor-version\"", c->successor);
                (void) fputs("      add_header Link ", w->f);
                put_quoted(w, link);
                (void) fputs(" always;\n", w->f);
        }
        for (size_t i = 0; i < c->n_response_set; i++) {
                if (!c->response_set[i].append)
                        (void) fprintf(w->f, "      proxy_hide_header %s;\n", c->response_set[i].name);
                (void) fprintf(w->f, "      add_header %s ", c->response_set[i].name);
                put_quoted(w, c->response_set[i].value);
                (void) fputs(" always;\n", w->f);
        }
        for (char **name = c->response_remove; name && *name; name++)
                (void) fprintf(w->f, "      proxy_hide_header %s;\n", *name);
}

/* Who asks is for services to find out, and nothing that a client sends may look as if a gateway had said
 * it. */
static void put_request_fields(Writer *w, const MamRouteConfig *c) {
        static const char *const fields[] = {
                "Host $http_host",
                "Connection \"\"",
                "X-Request-Id $request_id",
                "X-Forwarded-For $remote_addr",
                "X-Forwarded-Proto $scheme",
                "X-Forwarded-Host $http_host",
                "Forwarded \"for=\\\"$remote_addr\\\";proto=$scheme\"",
                "Mam-Subject \"\"",
                "Mam-Roles \"\"",
                "Mam-Scopes \"\"",
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(fields); i++)
                (void) fprintf(w->f, "      proxy_set_header %s;\n", fields[i]);
        for (size_t i = 0; i < c->n_request_set; i++) {
                (void) fprintf(w->f, "      proxy_set_header %s ", c->request_set[i].name);
                put_quoted(w, c->request_set[i].value);
                (void) fputs(";\n", w->f);
        }
        for (char **name = c->request_remove; name && *name; name++)
                (void) fprintf(w->f, "      proxy_set_header %s \"\";\n", *name);
}

static void put_proxy(Writer *w, const Item *i) {
        const MamRouteConfig *c = i->route;
        uint64_t timeout = c->timeout_usec > 0 ? c->timeout_usec : 30 * MAM_USEC_PER_SEC;
        bool grpc = i->service->protocol == MAM_SERVICE_PROTOCOL_H2C;

        put_limits(w, c);
        (void) fprintf(w->f,
                       "      client_max_body_size %" PRIu64 ";\n",
                       c->body_max > 0 ? c->body_max : UINT64_C(64) * 1024 * 1024);
        put_answer_fields(w, c);
        put_rewrite(w, c);
        if (c->mirror_service)
                (void) fprintf(w->f, "      mirror /.mam-mirror-%u;\n", i->number);
        if (grpc) {
                (void) fputs("      grpc_pass grpc://", w->f);
        } else {
                put_request_fields(w, c);
                (void) fprintf(w->f,
                               "      proxy_http_version 1.1;\n"
                               "      proxy_read_timeout %" PRIu64 "ms;\n"
                               "      proxy_next_upstream error timeout http_503;\n"
                               "      proxy_next_upstream_tries %d;\n"
                               "      proxy_pass http://",
                               timeout / MAM_USEC_PER_MSEC,
                               c->retries >= 0 ? c->retries + 1 : 2);
        }
        put_upstream_name(w, i->service, c);
        (void) fputs(";\n", w->f);
}

static void put_problem(Writer *w, unsigned status, const char *title, const char *detail) {
        (void) fprintf(w->f,
                       "      default_type application/problem+json;\n"
                       "      return %u '{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":\"%s\"}';\n",
                       status,
                       title,
                       status,
                       detail);
}

static void put_route(Writer *w, const Item *i) {
        (void) fprintf(w->f, "      # %s\n", i->route->label);
        if (i->route->maintenance) {
                (void) fprintf(w->f,
                               "      add_header Retry-After %" PRIu64 " always;\n",
                               i->route->maintenance_retry_usec / MAM_USEC_PER_SEC);
                put_problem(w, 503, "Service Unavailable", "The service is being worked on");
        } else if (is_closed(i)) {
                put_problem(w, 403, "Forbidden", "nginx does not know who asks");
        } else {
                put_proxy(w, i);
        }
}

/* ---- which route ---- */

static bool is_conditional(const MamRouteConfig *c) {
        return c->methods || c->n_match > 0 || c->version > 0;
}

/* Each condition that holds adds its letter; all of them are what the route wants. */
static void put_choice(Writer *w, const Item *i, unsigned code, bool takes_unversioned) {
        const MamRouteConfig *c = i->route;
        char want[64] = "";
        size_t n = 0;

        (void) fputs("      set $mam_choice \"\";\n", w->f);
        if (c->methods) {
                bool get = false;

                (void) fputs("      if ($request_method ~ \"^(", w->f);
                for (char **m = c->methods; *m; m++) {
                        get = get || strcmp(*m, "GET") == 0;
                        (void) fprintf(w->f, "%s%s", m > c->methods ? "|" : "", *m);
                }
                (void) fprintf(w->f, "%s)$\") { set $mam_choice m; }\n", get ? "|HEAD" : "");
                want[n++] = 'm';
        }
        for (size_t k = 0; k < c->n_match; k++) {
                (void) fputs("      if ($http_", w->f);
                for (const char *s = c->match[k].name; *s; s++)
                        (void) fputc(*s == '-' ? '_' : tolower((unsigned char) *s), w->f);
                if (c->match[k].value) {
                        (void) fputs(" = ", w->f);
                        put_quoted(w, c->match[k].value);
                } else {
                        (void) fputs(" != \"\"", w->f);
                }
                (void) fputs(") { set $mam_choice \"${mam_choice}h\"; }\n", w->f);
                want[n++] = 'h';
        }
        if (c->version > 0) {
                (void) fprintf(w->f,
                               "      if ($mam_version ~ \"^(%" PRIu32
                               "%s)$\") { set $mam_choice \"${mam_choice}v\"; }\n",
                               c->version,
                               takes_unversioned ? "|" : "");
                want[n++] = 'v';
        }
        want[n] = '\0';
        (void) fprintf(w->f, "      if ($mam_choice = \"%s\") { return %u; }\n", want, code);
}

/* Routes with the same path. */
static void put_group(Writer *w, const Item *items, size_t n) {
        bool has_plain = false;

        (void) fputs("    location ~ ", w->f);
        put_pattern(w, items[0].route);
        (void) fputs(" {\n", w->f);
        if (n == 1 && !is_conditional(items[0].route)) {
                put_route(w, &items[0]);
                (void) fputs("    }\n", w->f);
                return;
        }

        for (size_t i = 0; i < n; i++)
                has_plain = has_plain || items[i].route->version == 0;
        for (size_t i = 0; i < n && i < CODES; i++)
                (void) fprintf(w->f,
                               "      error_page %u = @mam_route_%u;\n",
                               FIRST_CODE + (unsigned) i,
                               items[i].number);
        for (size_t i = 0; i < n && i < CODES; i++)
                put_choice(w, &items[i], FIRST_CODE + (unsigned) i, !has_plain && i + 1 == n);
        put_problem(w, 404, "Not Found", "No service has this path");
        (void) fputs("    }\n", w->f);
        for (size_t i = 0; i < n && i < CODES; i++) {
                (void) fprintf(w->f, "    location @mam_route_%u {\n", items[i].number);
                put_route(w, &items[i]);
                (void) fputs("    }\n", w->f);
        }
}

/* ---- servers ---- */

static bool host_takes(const char *route_host, const char *host) {
        size_t n, m;

        if (!route_host)
                return true;
        if (!host)
                return false;
        if (route_host[0] != '*' || strcmp(route_host, host) == 0)
                return strcmp(route_host, host) == 0;
        n = strlen(host);
        m = strlen(route_host + 1);
        return n > m && strcmp(host + n - m, route_host + 1) == 0;
}

static void put_listen(Writer *w, const MamServiceConfig *gateway, bool first) {
        const char *address = gateway->listen;

        (void) fprintf(w->f,
                       "    listen %s:%u%s%s;\n",
                       address,
                       gateway->port,
                       first ? " default_server" : "",
                       first && strcmp(address, "[::]") == 0 ? " ipv6only=off" : "");
        if (!w->config->tls)
                return;
        (void) fprintf(w->f,
                       "    listen %s:%u ssl http2%s%s;\n"
                       "    ssl_certificate /etc/mam/tls/%s.crt;\n    ssl_certificate_key /etc/mam/tls/%s.key;\n",
                       address,
                       w->config->gateway->tls.port,
                       first ? " default_server" : "",
                       first && strcmp(address, "[::]") == 0 ? " ipv6only=off" : "",
                       w->config->gateway->tls.default_name ? w->config->gateway->tls.default_name
                                                            : "default",
                       w->config->gateway->tls.default_name ? w->config->gateway->tls.default_name
                                                            : "default");
}

static void put_mirrors(Writer *w) {
        for (size_t i = 0; i < w->n_items; i++) {
                const MamRouteConfig *c = w->items[i].route;

                if (!c->mirror_service || !mam_config_find(w->config, c->mirror_service))
                        continue;
                (void) fprintf(w->f,
                               "    location = /.mam-mirror-%u {\n      internal;\n"
                               "      if ($mam_mirror_%u = 0) { return 204; }\n"
                               "      proxy_pass http://mam_%s$request_uri;\n    }\n",
                               w->items[i].number,
                               w->items[i].number,
                               c->mirror_service);
        }
}

/* All routes that requests to this host may take; host NULL: any other host. -ENOMEM. */
static int put_server(Writer *w, const MamServiceConfig *gateway, const char *host) {
        Item *own;
        size_t n = 0;

        own = calloc(w->n_items + 1, sizeof(*own));
        if (!own)
                return -ENOMEM;
        (void) fputs("\n  server {\n", w->f);
        put_listen(w, gateway, !host);
        (void) fprintf(w->f, "    server_name %s;\n    merge_slashes off;\n", host ? host : "_");
        (void) fputs("    if ($request_uri ~ \"^[^?]*(//|\\\\\\\\|%00|%2[fF]|%5[cC]|/[.][.]?(/|[?]|$)|/(%2[eE]|[.])(%2[eE]|[.])?(/|[?]|$))\") { return 400; }\n",
                     w->f);

        /* Named hosts first: what is for this one, then for wildcards, then for all. */
        for (int pass = 0; pass < 3; pass++) {
                size_t first = n;

                for (size_t i = 0; i < w->n_items; i++) {
                        const char *h = w->items[i].route->host;
                        int kind = !h ? 2 : host && strcmp(h, host) == 0 ? 0 : 1;

                        if (kind == pass && host_takes(h, host))
                                own[n++] = w->items[i];
                }
                qsort(own + first, n - first, sizeof(*own), compare_items);
                for (size_t i = first; i < n;) {
                        size_t k = i + 1;

                        while (k < n && compare_paths(own[i].route, own[k].route) == 0)
                                k++;
                        put_group(w, own + i, k - i);
                        i = k;
                }
        }
        put_mirrors(w);
        (void) fputs("    location / {\n", w->f);
        put_problem(w, 404, "Not Found", "No service has this path");
        (void) fputs("    }\n  }\n", w->f);
        free(own);
        return 0;
}

/* ---- http ---- */

static void put_upstream(Writer *w, const MamServiceConfig *s, MamRouteSticky sticky) {
        static const char *const hashes[] = {
                [MAM_ROUTE_STICKY_OFF] = NULL,
                [MAM_ROUTE_STICKY_SUBJECT] = "$http_authorization$remote_addr",
                [MAM_ROUTE_STICKY_ADDRESS] = "$remote_addr",
                [MAM_ROUTE_STICKY_COOKIE] = "$cookie_mam_sticky$remote_addr",
                [MAM_ROUTE_STICKY_PATH] = "$uri",
        };
        char address[MAM_UNIT_NAME_MAX];
        const char *word = sticky == MAM_ROUTE_STICKY_OFF ? "" : mam_route_sticky_to_string(sticky);

        (void) fprintf(w->f, "  upstream mam_%s%s%s {\n", s->id, *word ? "_" : "", word);
        if (hashes[sticky])
                (void) fprintf(w->f, "    hash %s consistent;\n", hashes[sticky]);
        for (uint32_t n = 1; n <= s->replicas || n == 1; n++) {
                mam_replica_address(address, s, n);
                (void) fprintf(w->f, "    server %s%s;\n", address[0] == '/' ? "unix:" : "", address);
        }
        (void) fputs("    keepalive 64;\n  }\n", w->f);
}

/* What some route needs: in the way that it is sticky, and for mirrors. */
static void put_upstreams(Writer *w) {
        for (size_t i = 0; i < w->config->n_services; i++) {
                const MamServiceConfig *s = &w->config->services[i];
                bool needed[_MAM_ROUTE_STICKY_MAX] = { false };

                for (size_t k = 0; k < w->n_items; k++) {
                        const Item *item = &w->items[k];

                        if (item->service == s)
                                needed[item->route->sticky] = true;
                        if (item->route->mirror_service && strcmp(item->route->mirror_service, s->id) == 0)
                                needed[MAM_ROUTE_STICKY_OFF] = true;
                }
                for (int k = 0; k < _MAM_ROUTE_STICKY_MAX; k++)
                        if (needed[k])
                                put_upstream(w, s, (MamRouteSticky) k);
        }
}

/* nginx counts by address, and in requests a second or a minute. */
static void put_zones(Writer *w) {
        const MamGatewayLimits *l = &w->config->gateway->limits;

        for (size_t i = 0; i < l->n_rates; i++) {
                const MamRateConfig *rate = &l->rates[i];
                double minute = (double) rate->requests * 60e6 / (double) rate->window_usec;
                bool seconds = minute >= 60 && rate->window_usec <= MAM_USEC_PER_SEC;
                uint64_t n = (uint64_t) (seconds ? minute / 60 : minute);

                (void) fprintf(w->f,
                               "  limit_req_zone %s zone=mam_%s:4m rate=%" PRIu64 "r/%c;\n",
                               rate->by == MAM_RATE_BY_ALL ? "$server_port" : "$binary_remote_addr",
                               rate->name,
                               n > 0 ? n : 1,
                               seconds ? 's' : 'm');
        }
        for (size_t i = 0; i < w->n_items; i++)
                if (w->items[i].route->mirror_service)
                        (void) fprintf(w->f,
                                       "  split_clients $request_id $mam_mirror_%u { %.2f%% 1; * 0; }\n",
                                       w->items[i].number,
                                       (double) w->items[i].route->mirror_ppm / (MAM_PPM / 100.0));
}

static void put_head(Writer *w) {
        (void) fputs("# Made by \"mamctl export nginx\" from " MAM_CONFIG_DIR
                     ": change it there, and export again.\n"
                     "worker_processes auto;\n"
                     "events { worker_connections 8192; }\n"
                     "http {\n"
                     "  server_tokens off;\n"
                     "  limit_req_status 429;\n"
                     "  geo $mam_dollar { default \"$\"; }\n"
                     "  map $http_accept $mam_version {\n"
                     "    default \"\";\n"
                     "    \"~*;[ \\t]*version=\\\"?(?<mam_parameter>[0-9]{1,4})\" $mam_parameter;\n"
                     "    \"~[.]v(?<mam_vendor>[0-9]{1,4})[+]\" $mam_vendor;\n"
                     "  }\n",
                     w->f);
}

static const MamServiceConfig *find_gateway(const MamConfig *c) {
        for (size_t i = 0; i < c->n_services; i++)
                if (c->services[i].type == MAM_SERVICE_TYPE_GATEWAY && c->services[i].port > 0)
                        return &c->services[i];
        return NULL;
}

static int gather(Writer *w) {
        size_t n = 0;

        for (size_t i = 0; i < w->config->n_services; i++)
                n += w->config->services[i].routes ? w->config->services[i].routes->n : 0;
        w->items = calloc(n + 1, sizeof(*w->items));
        if (!w->items)
                return -ENOMEM;
        for (size_t i = 0; i < w->config->n_services; i++) {
                const MamServiceConfig *s = &w->config->services[i];

                for (size_t k = 0; s->routes && k < s->routes->n; k++) {
                        Item item = { s, &s->routes->routes[k], (unsigned) w->n_items };

                        w->n_closed += is_closed(&item);
                        w->items[w->n_items++] = item;
                }
        }
        return 0;
}

static bool is_first_of_host(const Writer *w, size_t i) {
        const char *host = w->items[i].route->host;

        for (size_t k = 0; k < i; k++)
                if (w->items[k].route->host && strcmp(w->items[k].route->host, host) == 0)
                        return false;
        return true;
}

int export_nginx(const MamConfig *c, FILE *f, unsigned *ret_closed) {
        const MamServiceConfig *gateway = find_gateway(c);
        Writer w = { .f = f, .config = c };
        int r;

        assert(c);
        assert(f);
        assert(ret_closed);

        if (!gateway)
                return -ENOENT;
        r = gather(&w);
        if (r < 0)
                return r;
        put_head(&w);
        put_zones(&w);
        put_upstreams(&w);
        r = put_server(&w, gateway, NULL);
        for (size_t i = 0; i < w.n_items && r >= 0; i++)
                if (w.items[i].route->host && is_first_of_host(&w, i))
                        r = put_server(&w, gateway, w.items[i].route->host);
        (void) fputs("}\n", f);
        free(w.items);
        if (r < 0)
                return r;
        if (ferror(f) || fflush(f) != 0)
                return errno > 0 ? -errno : -EIO;
        *ret_closed = w.n_closed;
        return 0;
}

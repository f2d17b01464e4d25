/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Configuration of the gateway: "gateway" of microservices.json, "routes" and "protocol" of services.json
 *
 * The sections are read by one file each (config-gateway-*.c); a section that is absent or empty has the
 * defaults that are said here. All is immutable once it was read, and strings belong to the object they are
 * in.
 *
 * A gateway does not read files where there is a manager: the manager writes what is valid of them as one
 * JSON document (mam_gateway_document_format), and the gateway reads that with the same functions
 * (mam_gateway_config_parse). So there is one truth of what a key means, and a file that is being edited
 * never reaches the gateway half.
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/config/gateway-auth.h"
#include "libmam/config/gateway-limits.h"
#include "libmam/config/gateway-websocket.h"
#include "libmam/util/macro.h"

typedef struct MamConfig MamConfig;
typedef struct MamGatewayConfig MamGatewayConfig;
typedef struct MamGatewayService MamGatewayService;
typedef struct MamRouteConfig MamRouteConfig;
typedef struct MamRouteField MamRouteField;
typedef struct MamRouteList MamRouteList;

#define MAM_ROUTES_MAX         256U /* of one service */
#define MAM_ROUTE_PATH_MAX     256U /* bytes of a path template */
#define MAM_ROUTE_SEGMENTS_MAX 32U  /* segments of a path template */
#define MAM_ROUTE_FIELDS_MAX   32U  /* of each list of header fields */
#define MAM_PPM                1000000U

/* What is spoken with the replicas of a service. */
typedef enum MamServiceProtocol {
        MAM_SERVICE_PROTOCOL_HTTP1,  /* default of programs of your own */
        MAM_SERVICE_PROTOCOL_NATIVE, /* default of mam's own services; falls back to HTTP/1 by itself */
        MAM_SERVICE_PROTOCOL_H2C,    /* HTTP/2 with prior knowledge, for gRPC */
        _MAM_SERVICE_PROTOCOL_MAX,
        _MAM_SERVICE_PROTOCOL_INVALID = -EINVAL,
} MamServiceProtocol;
const char *mam_service_protocol_to_string(MamServiceProtocol p);

/*
 * Routes
 */

struct MamRouteField {
        char *name;  /* owned; as written; compared without regard to case */
        char *value; /* owned; NULL: any value (match) */
        bool append; /* beside what is there, not in its place */
};

/* By what a client is kept at one replica, and in one group of a split. */
typedef enum MamRouteSticky {
        MAM_ROUTE_STICKY_OFF,     /* default */
        MAM_ROUTE_STICKY_SUBJECT, /* the verified subject; anonymous clients by their address */
        MAM_ROUTE_STICKY_ADDRESS, /* the client's address */
        MAM_ROUTE_STICKY_COOKIE,  /* a cookie of the gateway's own, mam-sticky, set where it is missing */
        MAM_ROUTE_STICKY_PATH,    /* the path: the same resource goes to the same replica */
        _MAM_ROUTE_STICKY_MAX,
        _MAM_ROUTE_STICKY_INVALID = -EINVAL,
} MamRouteSticky;
const char *mam_route_sticky_to_string(MamRouteSticky s);

struct MamRouteConfig {
        /* What it matches: all that is given must hold. */
        char *host; /* lower-case; "api.example.com", or "*.example.com" for all below; NULL: any */
        char *path; /* "/api/v1/things/{id}", last segment may be "{rest...}"; without "/" at its end; "" is
                       the prefix of everything */
        bool is_prefix;       /* what is below path is matched too, by whole segments */
        char **methods;       /* NULL-terminated; NULL: all. GET includes HEAD */
        MamRouteField *match; /* "headers": value equal, or just present */
        size_t n_match;
        uint32_t version; /* of the API, as asked for in Accept; 0: whatever is asked for */
        char *label;      /* all of the above in one line; names the route in metrics, logs and tools, and is
                             the same for the same route in the next configuration */

        /* What happens to a request */
        uint64_t timeout_usec; /* whole request, from its head to the answer's end; 0: none, only progress
                                  is watched */
        int retries;           /* other replicas that may be tried for a request that may have reached one;
                                  -1: not said, the gateway's default stands */
        uint64_t body_max;     /* bytes; 0: not said, the gateway's default stands */
        char *rate_limit;      /* a name below gateway.limits, or NULL */
        MamRouteAuth auth;
        MamRouteSticky sticky;
        char *mirror_service; /* id of the service that gets copies, or NULL */
        uint32_t mirror_ppm;  /* of requests, in millionths */
        char *rewrite; /* path template for the replica, or NULL: as sent. Of a prefix: what stands in its
                          place */
        bool encoded_slash;         /* %2F and %5C may be in the path; else they are refused with 400 */
        MamRouteField *request_set; /* fields towards the replica; without and with append */
        size_t n_request_set;
        char **request_remove;       /* NULL-terminated names, or NULL */
        MamRouteField *response_set; /* fields towards the client */
        size_t n_response_set;
        char **response_remove;   /* NULL-terminated names, or NULL */
        uint64_t deprecated_usec; /* realtime, RFC 9745; 0: not deprecated */
        uint64_t sunset_usec;     /* realtime, RFC 8594; 0: none */
        char *successor;          /* URI reference of what comes after it, or NULL */
        bool maintenance;         /* answered with 503, but for maintenance_roles */
        uint64_t maintenance_retry_usec;
        char *maintenance_message; /* for people, or NULL */
        char **maintenance_roles;  /* NULL-terminated, or NULL */
        uint64_t fault_delay_usec;
        uint32_t fault_delay_ppm; /* of requests; 0: none */
        unsigned fault_status;    /* answered in place of the service */
        uint32_t fault_abort_ppm; /* of requests; 0: none */
};

/* The routes of one service; shared, as revisions and tables look at the same ones. */
struct MamRouteList {
        unsigned n_ref;
        size_t n;
        MamRouteConfig *routes; /* owned */
};

/* A path template: "/", text without '%', "?" and '#', {name} as a whole segment, {name...} as the last one.
 * NULL: good; else what it must be, for people. */
const char *mam_route_path_problem(const char *path);
/* Whether some request matches both, and neither is more specific (routes.h says what is). */
bool mam_route_conflicts(const MamRouteConfig *a, const MamRouteConfig *b);

MamRouteList *mam_route_list_ref(MamRouteList *l);
MamRouteList *mam_route_list_unref(MamRouteList *l);
MAM_DEFINE_CLEANUP(MamRouteList, mam_route_list_unref);

/*
 * Sections of "gateway" in microservices.json
 */

/* "tls"; config-gateway-tls.c */
typedef enum MamGatewayTlsClients {
        MAM_GATEWAY_TLS_CLIENTS_OFF,
        MAM_GATEWAY_TLS_CLIENTS_REQUEST, /* those that have one may show it */
        MAM_GATEWAY_TLS_CLIENTS_REQUIRE,
} MamGatewayTlsClients;

typedef struct MamGatewayTls {
        uint16_t port;                /* default 3443; served where security.tls is true */
        unsigned version_min;         /* 12 (the default) or 13 */
        MamGatewayTlsClients clients; /* default off */
        char *client_ca;              /* PEM file; default /etc/mam/tls/clients.pem */
        char *default_name; /* of the certificate for clients that name no host that is known; NULL:
                               "default" */
} MamGatewayTls;

/* "tracing"; config-gateway-see.c */
typedef struct MamGatewayTracing {
        char *endpoint; /* where spans go by OTLP/HTTP: "http://127.0.0.1:4318/v1/traces"; NULL: nowhere */
        uint32_t sample_ppm; /* of requests that come without a decision of their own; default 1 % */
} MamGatewayTracing;

/* "compression"; config-gateway-see.c */
typedef enum MamGatewayCoding { /* the order in which they are preferred */
        MAM_GATEWAY_CODING_ZSTD,
        MAM_GATEWAY_CODING_BR,
        MAM_GATEWAY_CODING_GZIP,
        _MAM_GATEWAY_CODING_MAX,
} MamGatewayCoding;

typedef struct MamGatewayCompression {
        bool enabled;      /* default true: for clients that ask for it, and what is not compressed yet */
        uint32_t codings;  /* bit MamGatewayCoding: those that may be used; default all */
        uint64_t min_size; /* bytes of a body whose length is known; default 1 KiB */
        char **types; /* NULL-terminated media types, "text/" followed by "*" is all of text; NULL: text,
                         JSON, XML, JavaScript, SVG */
} MamGatewayCompression;

/* "accessLog"; config-gateway-see.c */
typedef enum MamGatewayLogFormat {
        MAM_GATEWAY_LOG_FIELDS, /* default: a line for people, and fields of the journal */
        MAM_GATEWAY_LOG_JSON,   /* the line is one JSON object; the fields are there too */
} MamGatewayLogFormat;

typedef struct MamGatewayAccessLog {
        MamGatewayLogFormat format;
        uint32_t rate; /* entries a second, default 500; what is beyond is counted; 0: none */
} MamGatewayAccessLog;

/* "graphql"; config-gateway-graphql.c */
typedef struct MamGatewayGraphqlConfig {
        bool enabled;          /* default true: served at /graphql where there is a schema */
        bool introspection;    /* default true */
        bool anonymous;        /* default false: who shows nothing gets 401 */
        uint64_t max_size;     /* "maxSize": bytes of a document; default 64 KiB */
        uint32_t max_depth;    /* "maxDepth": fields within fields; default 16 */
        uint32_t max_fields;   /* "maxFields": of an operation, fragments counted where they are spread;
                                  default 1000 */
        uint32_t max_aliases;  /* "maxAliases": likewise; default 50 */
        uint32_t max_requests; /* "maxRequests": to services, at worst; default 200 */
        uint64_t timeout_usec; /* "timeout": of a whole operation; default 30 s */
} MamGatewayGraphqlConfig;

struct MamGatewayService {
        char *id;
        MamRouteList *routes; /* reference */
        MamServiceProtocol protocol;
        MamServiceBalancing balancing;
        unsigned assumed; /* replicas 1 to N are taken to have unix sockets as long as nobody told otherwise
                           */
};

struct MamGatewayConfig {
        unsigned n_ref;
        uint64_t generation; /* of the manager's document; 0: none */
        char *environment;   /* as in MamConfig */
        bool allow_faults;   /* "allowFaults", default false: faults are injected even in production */
        char *definition;    /* owned; the section as it stands in its file, compact */

        MamGatewayTls tls;
        MamGatewayAuth auth;
        MamGatewayCallers callers;
        MamGatewayLimits limits;
        MamGatewayTracing tracing;
        MamGatewayCompression compression;
        MamGatewayAccessLog access_log;
        MamGatewayGraphqlConfig graphql;
        MamGatewayWebsocket websocket;

        /* What mam_gateway_config_parse() returns has them; in a MamConfig they are in its services. */
        MamGatewayService *services;
        size_t n_services;
};

/* All defaults. -ENOMEM. */
int mam_gateway_config_new(MamGatewayConfig **ret);
MamGatewayConfig *mam_gateway_config_ref(MamGatewayConfig *c);
MamGatewayConfig *mam_gateway_config_unref(MamGatewayConfig *c);
MAM_DEFINE_CLEANUP(MamGatewayConfig, mam_gateway_config_unref);
/* Borrowed, or NULL. */
const MamGatewayService *mam_gateway_config_find(const MamGatewayConfig *c, const char *id);

/* What is valid of a loaded configuration, for gateways: {"environment":…,"gateway":{…},
 * "services":{"ID":{"routes":[…],"protocol":"native","assumed":3}}}; services that no route leads to are
 * left out. Caller frees. -ENOMEM. */
int mam_gateway_document_format(char **ret, const MamConfig *c);
/* Reads such a document. -EBADMSG: *ret_problem (owned by the caller, may be NULL) says what is wrong, with
 * line and key; half of a document is never taken. -ENOMEM. */
int mam_gateway_config_parse(MamGatewayConfig **ret, const char *text, size_t size, char **ret_problem);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The catalog in the words of Consul
 *
 * Pure functions from the catalog to the JSON of Consul's HTTP API 1.x
 * (https://developer.hashicorp.com/consul/api-docs): the same names and types, [] and {} where Consul has no
 * null. Every replica that is an endpoint is an instance of its service, with the id "ID:N" and its unix
 * socket in ServiceMeta.
 */

#include <stdbool.h>
#include <stddef.h>

#include "libmam/json/json.h"
#include "registry/catalog.h"

#define CONSUL_TAGS_MAX 8U

typedef struct ConsulFilter {
        bool nothing; /* asks for what no instance has */
        bool passing;
        char tags[CONSUL_TAGS_MAX][64]; /* all of them */
        size_t n_tags;
} ConsulFilter;

/* All: NULL on out of memory only. A service that is not known has no instances. The caller owns the
 * object. */
json_object *consul_catalog_services(const Catalog *c);
json_object *consul_catalog_service(const Catalog *c, const char *id, const ConsulFilter *filter);
json_object *consul_catalog_nodes(const Catalog *c, const ConsulFilter *filter);
json_object *consul_catalog_node(const Catalog *c);
json_object *consul_catalog_datacenters(const Catalog *c);
json_object *consul_health_service(const Catalog *c, const char *id, const ConsulFilter *filter);
/* id NULL: of every service; status: _CATALOG_STATUS_INVALID: any. */
json_object *consul_health_checks(const Catalog *c, const char *id, CatalogStatus status);
json_object *consul_agent_services(const Catalog *c);
json_object *consul_agent_checks(const Catalog *c);
json_object *consul_agent_self(const Catalog *c);

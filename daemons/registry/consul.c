/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "registry/consul.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "mam-build.h"

/* Where an answer is made: out of memory is noted, and told at the end. */
typedef struct Maker {
        const Catalog *catalog;
        bool failed;
} Maker;

static json_object *new_object(Maker *m) {
        json_object *o = json_object_new_object();

        m->failed |= !o;
        return o;
}

static json_object *new_array(Maker *m) {
        json_object *o = json_object_new_array();

        m->failed |= !o;
        return o;
}

static void put(Maker *m, json_object *o, const char *key, json_object *value) {
        if (o && value && json_object_object_add(o, key, value) == 0)
                return;
        json_object_put(value);
        m->failed = true;
}

static void append(Maker *m, json_object *array, json_object *value) {
        if (array && value && json_object_array_add(array, value) == 0)
                return;
        json_object_put(value);
        m->failed = true;
}

static void put_text(Maker *m, json_object *o, const char *key, const char *value) {
        put(m, o, key, json_object_new_string(value));
}

static void put_number(Maker *m, json_object *o, const char *key, uint64_t value) {
        put(m, o, key, json_object_new_uint64(value));
}

static void put_bool(Maker *m, json_object *o, const char *key, bool value) {
        put(m, o, key, json_object_new_boolean(value));
}

static json_object *finish(const Maker *m, json_object *o) {
        if (!m->failed)
                return o;
        json_object_put(o);
        return NULL;
}

static void put_indexes(Maker *m, json_object *o, uint64_t index) {
        put_number(m, o, "CreateIndex", index);
        put_number(m, o, "ModifyIndex", index);
}

static json_object *new_tags(Maker *m, const CatalogService *s, const CatalogReplica *r) {
        const char *tags[CATALOG_TAGS_MAX];
        size_t n = catalog_instance_tags(s, r, tags);
        json_object *a = new_array(m);

        for (size_t i = 0; i < n; i++)
                append(m, a, json_object_new_string(tags[i]));
        return a;
}

/* "lan" and "wan" of the node. */
static json_object *new_node_addresses(Maker *m) {
        static const char *const names[] = { "lan", "lan_ipv4", "wan", "wan_ipv4" };
        json_object *o = new_object(m);

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++)
                put_text(m, o, names[i], m->catalog->address);
        return o;
}

static json_object *new_service_addresses(Maker *m, const CatalogService *s, const CatalogReplica *r) {
        const char *address = catalog_instance_address(m->catalog, s, r);
        const char *const v4[] = { "lan_ipv4", "wan_ipv4" }, *const v6[] = { "lan_ipv6", "wan_ipv6" };
        json_object *o = new_object(m);

        for (size_t i = 0; i < 2; i++) {
                json_object *a = new_object(m);

                put_text(m, a, "Address", address);
                put_number(m, a, "Port", catalog_instance_port(s, r));
                put(m, o, strchr(address, ':') ? v6[i] : v4[i], a);
        }
        return o;
}

static void replica_id(const CatalogService *s, const CatalogReplica *r, char ret[static 64]) {
        (void) snprintf(ret, 64, "%s:%u", s->id, r->number);
}

static json_object *new_service_meta(Maker *m, const CatalogService *s, const CatalogReplica *r) {
        json_object *o = new_object(m);
        char number[16];

        (void) snprintf(number, sizeof(number), "%u", r->number);
        put_text(m, o, "replica", number);
        if (r->address[0] == '/')
                put_text(m, o, "socket", r->address);
        if (*s->name)
                put_text(m, o, "name", s->name);
        if (*r->group || *r->revision)
                put_text(m, o, "revision", *r->group ? r->group : r->revision);
        if (*s->version)
                put_text(m, o, "version", s->version);
        if (*r->unit)
                put_text(m, o, "unit", r->unit);
        return o;
}

static json_object *new_weights(Maker *m, const CatalogReplica *r) {
        uint32_t weight = r->weight < 1 ? 1 : r->weight > UINT16_MAX ? UINT16_MAX : r->weight;
        json_object *o = new_object(m);

        put_number(m, o, "Passing", weight);
        put_number(m, o, "Warning", 1);
        return o;
}

static json_object *new_proxy(Maker *m) {
        json_object *o = new_object(m);

        put_text(m, o, "Mode", "");
        put(m, o, "MeshGateway", new_object(m));
        put(m, o, "Expose", new_object(m));
        return o;
}

static json_object *new_node(Maker *m) {
        const Catalog *c = m->catalog;
        json_object *o = new_object(m);

        put_text(m, o, "ID", c->node_id);
        put_text(m, o, "Node", c->node);
        put_text(m, o, "Address", c->address);
        put_text(m, o, "Datacenter", c->datacenter);
        put(m, o, "TaggedAddresses", new_node_addresses(m));
        put(m, o, "Meta", new_object(m));
        put_indexes(m, o, 1);
        return o;
}

/* As in /v1/health/service and, but for what is only there, in /v1/agent/services. */
static json_object *new_service(Maker *m, const CatalogService *s, const CatalogReplica *r, bool agent) {
        json_object *o = new_object(m);
        char id[64];

        replica_id(s, r, id);
        put_text(m, o, "ID", id);
        put_text(m, o, "Service", s->id);
        put(m, o, "Tags", new_tags(m, s, r));
        put_text(m, o, "Address", catalog_instance_address(m->catalog, s, r));
        put(m, o, "TaggedAddresses", new_service_addresses(m, s, r));
        put(m, o, "Meta", new_service_meta(m, s, r));
        put_number(m, o, "Port", catalog_instance_port(s, r));
        put(m, o, "Weights", new_weights(m, r));
        put_bool(m, o, "EnableTagOverride", false);
        if (agent) {
                put_text(m, o, "Datacenter", m->catalog->datacenter);
                return o;
        }
        put(m, o, "Proxy", new_proxy(m));
        put(m, o, "Connect", new_object(m));
        put_indexes(m, o, s->index);
        return o;
}

static json_object *new_check(Maker *m, const CatalogService *s, const CatalogReplica *r) {
        json_object *o = new_object(m);
        char id[64], check[80], name[192], output[512];

        replica_id(s, r, id);
        (void) snprintf(check, sizeof(check), "service:%s", id);
        (void) snprintf(name, sizeof(name), "Service '%s' check", s->id);
        catalog_status_output(r, output, sizeof(output));
        put_text(m, o, "Node", m->catalog->node);
        put_text(m, o, "CheckID", check);
        put_text(m, o, "Name", name);
        put_text(m, o, "Status", catalog_status_to_string(catalog_status(r)));
        put_text(m, o, "Notes", "");
        put_text(m, o, "Output", output);
        put_text(m, o, "ServiceID", id);
        put_text(m, o, "ServiceName", s->id);
        put(m, o, "ServiceTags", new_tags(m, s, r));
        put_text(m, o, "Type", "");
        put_text(m, o, "Interval", "");
        put_text(m, o, "Timeout", "");
        put_number(m, o, "ExposedPort", 0);
        put(m, o, "Definition", new_object(m));
        put_indexes(m, o, s->index);
        return o;
}

static json_object *new_catalog_service(Maker *m, const CatalogService *s, const CatalogReplica *r) {
        const Catalog *c = m->catalog;
        json_object *o = new_object(m);
        char id[64];

        replica_id(s, r, id);
        put_text(m, o, "ID", c->node_id);
        put_text(m, o, "Node", c->node);
        put_text(m, o, "Address", c->address);
        put_text(m, o, "Datacenter", c->datacenter);
        put(m, o, "TaggedAddresses", new_node_addresses(m));
        put(m, o, "NodeMeta", new_object(m));
        put_text(m, o, "ServiceKind", "");
        put_text(m, o, "ServiceID", id);
        put_text(m, o, "ServiceName", s->id);
        put(m, o, "ServiceTags", new_tags(m, s, r));
        put_text(m, o, "ServiceAddress", catalog_instance_address(c, s, r));
        put(m, o, "ServiceTaggedAddresses", new_service_addresses(m, s, r));
        put(m, o, "ServiceWeights", new_weights(m, r));
        put(m, o, "ServiceMeta", new_service_meta(m, s, r));
        put_number(m, o, "ServicePort", catalog_instance_port(s, r));
        put_text(m, o, "ServiceSocketPath", "");
        put_bool(m, o, "ServiceEnableTagOverride", false);
        put(m, o, "ServiceProxy", new_proxy(m));
        put(m, o, "ServiceConnect", new_object(m));
        put_indexes(m, o, s->index);
        return o;
}

static bool passes(const ConsulFilter *f, const CatalogService *s, const CatalogReplica *r) {
        if (!catalog_is_instance(r) || (f && f->nothing))
                return false;
        if (!f)
                return true;
        if (f->passing && catalog_status(r) != CATALOG_PASSING)
                return false;
        for (size_t i = 0; i < f->n_tags; i++)
                if (!catalog_instance_has_tag(s, r, f->tags[i]))
                        return false;
        return true;
}

/* What make() makes of each instance that the filter lets through, in the order of numbers. */
static json_object *each_instance(
                const Catalog *c,
                const char *id,
                const ConsulFilter *filter,
                json_object *(*make)(Maker *m, const CatalogService *s, const CatalogReplica *r)) {
        Maker m = { .catalog = c };
        const CatalogService *s = catalog_find(c, id);
        json_object *a = new_array(&m);

        for (uint32_t n = 1; s && n <= MAM_CONFIG_REPLICAS_MAX; n++)
                if (passes(filter, s, s->replicas[n]))
                        append(&m, a, make(&m, s, s->replicas[n]));
        return finish(&m, a);
}

json_object *consul_catalog_service(const Catalog *c, const char *id, const ConsulFilter *filter) {
        return each_instance(c, id, filter, new_catalog_service);
}

static json_object *new_health_entry(Maker *m, const CatalogService *s, const CatalogReplica *r) {
        json_object *o = new_object(m), *checks = new_array(m);

        append(m, checks, new_check(m, s, r));
        put(m, o, "Node", new_node(m));
        put(m, o, "Service", new_service(m, s, r, false));
        put(m, o, "Checks", checks);
        return o;
}

json_object *consul_health_service(const Catalog *c, const char *id, const ConsulFilter *filter) {
        return each_instance(c, id, filter, new_health_entry);
}

json_object *consul_health_checks(const Catalog *c, const char *id, CatalogStatus status) {
        Maker m = { .catalog = c };
        json_object *a = new_array(&m);

        for (size_t i = 0; i < c->n_services; i++) {
                const CatalogService *s = c->services[i];

                if (id && strcmp(s->id, id) != 0)
                        continue;
                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                        const CatalogReplica *r = s->replicas[n];

                        if (catalog_is_instance(r) && (status < 0 || catalog_status(r) == status))
                                append(&m, a, new_check(&m, s, r));
                }
        }
        return finish(&m, a);
}

/* The tags of all instances of a service, each once. */
static json_object *new_all_tags(Maker *m, const CatalogService *s) {
        json_object *a = new_array(m);

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const char *tags[CATALOG_TAGS_MAX];
                size_t n_tags;

                if (!catalog_is_instance(s->replicas[n]))
                        continue;
                n_tags = catalog_instance_tags(s, s->replicas[n], tags);
                for (size_t i = 0; i < n_tags; i++) {
                        bool there = false;

                        for (size_t k = 0; a && k < json_object_array_length(a) && !there; k++)
                                there = strcmp(json_object_get_string(json_object_array_get_idx(a, k)),
                                               tags[i]) == 0;
                        if (!there)
                                append(m, a, json_object_new_string(tags[i]));
                }
        }
        return a;
}

json_object *consul_catalog_services(const Catalog *c) {
        Maker m = { .catalog = c };
        json_object *o = new_object(&m);

        for (size_t i = 0; i < c->n_services; i++)
                put(&m, o, c->services[i]->id, new_all_tags(&m, c->services[i]));
        return finish(&m, o);
}

json_object *consul_catalog_nodes(const Catalog *c, const ConsulFilter *filter) {
        Maker m = { .catalog = c };
        json_object *a = new_array(&m);

        if (!filter || !filter->nothing)
                append(&m, a, new_node(&m));
        return finish(&m, a);
}

static json_object *new_services_by_id(Maker *m, bool agent) {
        json_object *o = new_object(m);

        for (size_t i = 0; i < m->catalog->n_services; i++) {
                const CatalogService *s = m->catalog->services[i];
                char id[64];

                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                        if (!catalog_is_instance(s->replicas[n]))
                                continue;
                        replica_id(s, s->replicas[n], id);
                        put(m, o, id, new_service(m, s, s->replicas[n], agent));
                }
        }
        return o;
}

json_object *consul_catalog_node(const Catalog *c) {
        Maker m = { .catalog = c };
        json_object *o = new_object(&m);

        put(&m, o, "Node", new_node(&m));
        put(&m, o, "Services", new_services_by_id(&m, false));
        return finish(&m, o);
}

json_object *consul_catalog_datacenters(const Catalog *c) {
        Maker m = { .catalog = c };
        json_object *a = new_array(&m);

        append(&m, a, json_object_new_string(c->datacenter));
        return finish(&m, a);
}

json_object *consul_agent_services(const Catalog *c) {
        Maker m = { .catalog = c };

        return finish(&m, new_services_by_id(&m, true));
}

json_object *consul_agent_checks(const Catalog *c) {
        Maker m = { .catalog = c };
        json_object *o = new_object(&m);

        for (size_t i = 0; i < c->n_services; i++) {
                const CatalogService *s = c->services[i];
                char id[80];

                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                        if (!catalog_is_instance(s->replicas[n]))
                                continue;
                        (void) snprintf(id, sizeof(id), "service:%s:%u", s->id, n);
                        put(&m, o, id, new_check(&m, s, s->replicas[n]));
                }
        }
        return finish(&m, o);
}

json_object *consul_agent_self(const Catalog *c) {
        Maker m = { .catalog = c };
        json_object *o = new_object(&m), *config = new_object(&m), *member = new_object(&m),
                    *tags = new_object(&m);

        put_text(&m, config, "Datacenter", c->datacenter);
        put_text(&m, config, "PrimaryDatacenter", c->datacenter);
        put_text(&m, config, "NodeName", c->node);
        put_text(&m, config, "NodeID", c->node_id);
        put_text(&m, config, "Revision", "");
        put_bool(&m, config, "Server", true);
        put_text(&m, config, "Version", MAM_VERSION);
        put(&m, o, "Config", config);

        put_text(&m, tags, "dc", c->datacenter);
        put_text(&m, tags, "id", c->node_id);
        put_text(&m, tags, "role", "consul");
        put_text(&m, tags, "build", MAM_VERSION);
        put_text(&m, member, "Name", c->node);
        put_text(&m, member, "Addr", c->address);
        put_number(&m, member, "Port", 0);
        put(&m, member, "Tags", tags);
        put_number(&m, member, "Status", 1);
        put_number(&m, member, "ProtocolMin", 1);
        put_number(&m, member, "ProtocolMax", 5);
        put_number(&m, member, "ProtocolCur", 2);
        put_number(&m, member, "DelegateMin", 2);
        put_number(&m, member, "DelegateMax", 5);
        put_number(&m, member, "DelegateCur", 4);
        put(&m, o, "Member", member);
        put(&m, o, "Stats", new_object(&m));
        put(&m, o, "Meta", new_object(&m));
        return finish(&m, o);
}

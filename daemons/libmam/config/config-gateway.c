/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "gateway" of microservices.json, and the document that tells it to gateways
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/config-gateway.h"

static const MamGatewaySection *const sections[] = {
        &mam_gateway_section_tls,        &mam_gateway_section_limits,  &mam_gateway_section_auth,
        &mam_gateway_section_callers,    &mam_gateway_section_tracing, &mam_gateway_section_compression,
        &mam_gateway_section_access_log, &mam_gateway_section_graphql, &mam_gateway_section_websocket,
};

static void *section_of(MamGatewayConfig *c, const MamGatewaySection *s) {
        return (char *) c + s->offset;
}

int mam_gateway_config_new(MamGatewayConfig **ret) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *c = calloc(1, sizeof(*c));
        int r;

        assert(ret);

        if (!c)
                return -ENOMEM;
        c->n_ref = 1;
        c->environment = strdup("production");
        c->definition = strdup("{}");
        if (!c->environment || !c->definition)
                return -ENOMEM;
        for (size_t i = 0; i < MAM_ELEMENTSOF(sections); i++) {
                r = sections[i]->init ? sections[i]->init(section_of(c, sections[i])) : 0;
                if (r < 0)
                        return r;
        }

        *ret = MAM_TAKE(c);
        return 0;
}

MamGatewayConfig *mam_gateway_config_ref(MamGatewayConfig *c) {
        assert(c->n_ref > 0);

        c->n_ref++;
        return c;
}

MamGatewayConfig *mam_gateway_config_unref(MamGatewayConfig *c) {
        if (!c || --c->n_ref > 0)
                return NULL;

        for (size_t i = 0; i < MAM_ELEMENTSOF(sections); i++)
                if (sections[i]->done)
                        sections[i]->done(section_of(c, sections[i]));
        for (size_t i = 0; i < c->n_services; i++) {
                free(c->services[i].id);
                mam_route_list_unref(c->services[i].routes);
        }
        free(c->services);
        free(c->environment);
        free(c->definition);
        free(c);
        return NULL;
}

const MamGatewayService *mam_gateway_config_find(const MamGatewayConfig *c, const char *id) {
        assert(c);
        assert(id);

        for (size_t i = 0; i < c->n_services; i++)
                if (strcmp(c->services[i].id, id) == 0)
                        return &c->services[i];
        return NULL;
}

static void read_sections(MamReader *rd, json_object *o, const char *parent, MamGatewayConfig *c) {
        for (size_t i = 0; i < MAM_ELEMENTSOF(sections); i++) {
                const MamGatewaySection *s = sections[i];
                char inner[128];
                json_object *section;

                if (mam_reader_get_section(rd, o, parent, s->name, s->known, inner, &section))
                        s->read(rd, section, inner, section_of(c, s));
        }
}

void mam_config_read_gateway(MamReader *rd, json_object *o, const char *parent, MamGatewayConfig *c) {
        const char *known[MAM_ELEMENTSOF(sections) + 2] = { "allowFaults" };

        for (size_t i = 0; i < MAM_ELEMENTSOF(sections); i++)
                known[i + 1] = sections[i]->name;
        mam_reader_note(rd, mam_config_warn_unknown(rd->file, o, parent, known));
        (void) mam_reader_get_bool(rd, o, parent, "allowFaults", &c->allow_faults);
        read_sections(rd, o, parent, c);
        mam_reader_copy(rd, &c->definition, mam_json_to_string(o));
}

/*
 * The document
 */

/* The text of a service's "routes", as it stands in its definition, or as mam knows its own; NULL: none. */
static int get_routes(const MamServiceConfig *s, json_object **ret) {
        _cleanup_(json_object_putp) json_object *root = NULL, *list = NULL;
        const MamBuiltin *builtin = mam_builtin_find(s->id);
        json_object *definition, *routes;
        int r;

        if (!s->routes || s->routes->n == 0)
                return 0;
        r = mam_json_parse(&root, s->definition, strlen(s->definition), NULL);
        if (r < 0)
                return r;
        if (json_object_object_get_ex(root, s->id, &definition) &&
            json_object_object_get_ex(definition, "routes", &routes) && routes) {
                *ret = json_object_get(routes);
                return 1;
        }

        list = json_object_new_array();
        if (!list)
                return -ENOMEM;
        for (size_t i = 0; builtin && builtin->routes[i]; i++)
                if (json_object_array_add(list, json_object_new_string(builtin->routes[i])) < 0)
                        return -ENOMEM;
        *ret = MAM_TAKE(list);
        return 1;
}

/* Takes the value in any case. */
static int put(json_object *o, const char *key, json_object *value) {
        if (value && json_object_object_add(o, key, value) >= 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

static int put_service(json_object *services, const MamServiceConfig *s) {
        _cleanup_(json_object_putp) json_object *o = NULL, *routes = NULL;
        /* A foreign program that binds a port of its own has no socket that could be assumed. */
        bool has_socket = !s->exec || s->socket_activated;
        int r;

        r = get_routes(s, &routes);
        if (r < 0)
                return r;
        if (r == 0) {
                routes = json_object_new_array();
                if (!routes)
                        return -ENOMEM;
        }
        o = json_object_new_object();
        if (!o)
                return -ENOMEM;
        r = put(o, "routes", MAM_TAKE(routes));
        if (r < 0)
                return r;
        r = put(o, "protocol", json_object_new_string(mam_service_protocol_to_string(s->protocol)));
        if (r < 0)
                return r;
        r = put(o, "balancing", json_object_new_string(mam_service_balancings[s->balancing]));
        if (r < 0)
                return r;
        r = put(o, "assumed", json_object_new_int64(has_socket ? s->replicas : 0));
        if (r < 0)
                return r;
        return put(services, s->id, MAM_TAKE(o));
}

/* Some route sends copies there. */
static bool is_mirror(const MamConfig *c, const char *id) {
        for (size_t i = 0; i < c->n_services; i++) {
                const MamRouteList *l = c->services[i].routes;

                for (size_t k = 0; l && k < l->n; k++)
                        if (l->routes[k].mirror_service && strcmp(l->routes[k].mirror_service, id) == 0)
                                return true;
        }
        return false;
}

/* As whom the services run that may call others, which is not told by their ids. */
static int put_users(json_object *root, const MamConfig *c) {
        json_object *users = json_object_new_object();
        int r;

        r = put(root, "users", users);
        for (size_t i = 0; r >= 0 && i < c->gateway->callers.n_services; i++) {
                const char *id = c->gateway->callers.services[i].name;
                const MamServiceConfig *s = mam_config_find(c, id);

                if (s && s->user)
                        r = put(users, id, json_object_new_string(s->user));
        }
        return r;
}

static void read_users(MamReader *rd, json_object *o, const char *parent, MamGatewayConfig *c) {
        for (size_t i = 0; i < c->callers.n_services; i++) {
                MamGrant *g = &c->callers.services[i];

                if (g->name)
                        (void) mam_reader_get_copy(rd, o, parent, g->name, &g->user);
        }
}

static int print(json_object *root, char **ret) {
        char *text = strdup(mam_json_to_string(root));

        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

int mam_gateway_document_format(char **ret, const MamConfig *c) {
        _cleanup_(json_object_putp) json_object *root = json_object_new_object(), *gateway = NULL;
        json_object *services = json_object_new_object();
        int r;

        assert(ret);
        assert(c);

        if (!root) {
                json_object_put(services);
                return -ENOMEM;
        }
        r = put(root, "services", services);
        if (r < 0)
                return r;
        if (!c->gateway) /* nothing is configured */
                return print(root, ret);
        r = put(root, "environment", json_object_new_string(c->environment));
        if (r < 0)
                return r;
        r = mam_json_parse(&gateway, c->gateway->definition, strlen(c->gateway->definition), NULL);
        if (r < 0)
                return r;
        r = put(root, "gateway", MAM_TAKE(gateway));
        if (r >= 0)
                r = put_users(root, c);
        if (r < 0)
                return r;
        for (size_t i = 0; i < c->n_services; i++) {
                const MamServiceConfig *s = &c->services[i];

                if ((!s->routes || s->routes->n == 0) && !is_mirror(c, s->id))
                        continue;
                r = put_service(services, s);
                if (r < 0)
                        return r;
        }
        return print(root, ret);
}

static void read_service(MamReader *rd, const char *id, json_object *o, MamGatewayConfig *c) {
        static const char *const words[] = { "http1", "native", "h2c", NULL };
        MamGatewayService *s = &c->services[c->n_services];
        json_object *routes = NULL;
        char parent[128], inner[128];
        int64_t assumed = 0;
        MamJsonError error;
        unsigned word = 0;
        int r;

        s->id = strdup(id);
        if (!s->id) {
                mam_reader_note(rd, -ENOMEM);
                return;
        }
        c->n_services++;
        (void) snprintf(parent, sizeof(parent), "/services/%s", id);
        (void) snprintf(inner, sizeof(inner), "/services/%s/routes", id);
        r = mam_json_get_array(o, parent, "routes", &routes, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        mam_config_read_routes(rd, routes, inner, &s->routes);
        if (mam_reader_get_word(rd, o, parent, "protocol", words, &word))
                s->protocol = (MamServiceProtocol) word;
        if (mam_reader_get_word(rd, o, parent, "balancing", mam_service_balancings, &word))
                s->balancing = (MamServiceBalancing) word;
        if (mam_reader_get_int(rd, o, parent, "assumed", 0, MAM_CONFIG_REPLICAS_MAX, &assumed))
                s->assumed = (unsigned) assumed;
}

static void read_services(MamReader *rd, json_object *o, MamGatewayConfig *c) {
        int n = json_object_object_length(o);

        if (n > (int) MAM_CONFIG_SERVICES_MAX) {
                mam_reader_bad_key(
                                rd,
                                "/services",
                                NULL,
                                "must not have more than %u",
                                MAM_CONFIG_SERVICES_MAX);
                return;
        }
        c->services = calloc((size_t) n + 1, sizeof(*c->services));
        if (!c->services) {
                mam_reader_note(rd, -ENOMEM);
                return;
        }
        json_object_object_foreach(o, id, service) {
                if (!mam_service_id_is_valid(id))
                        mam_reader_bad_key(rd, "/services", id, "is not the id of a service");
                else
                        read_service(rd, id, service, c);
        }
}

static int read_document(MamReader *rd, json_object *root, MamGatewayConfig *c) {
        json_object *gateway, *services, *users;
        char parent[128];

        if (!json_object_is_type(root, json_type_object)) {
                mam_reader_bad_key(rd, "", NULL, "must be an object");
                return rd->r;
        }
        (void) mam_reader_get_copy(rd, root, "", "environment", &c->environment);
        if (mam_reader_get_section(rd, root, "", "gateway", NULL, parent, &gateway))
                mam_config_read_gateway(rd, gateway, parent, c);
        if (mam_reader_get_section(rd, root, "", "users", NULL, parent, &users))
                read_users(rd, users, parent, c);
        if (mam_reader_get_section(rd, root, "", "services", NULL, parent, &services))
                read_services(rd, services, c);
        return rd->r;
}

/* The first error of those that were reported. */
static int tell_problem(const MamConfig *c, char **ret) {
        for (size_t i = 0; ret && i < c->n_problems; i++)
                if (c->problems[i].level == MAM_PROBLEM_ERROR)
                        return mam_config_problem_format(ret, &c->problems[i]);
        return 0;
}

int mam_gateway_config_parse(MamGatewayConfig **ret, const char *text, size_t size, char **ret_problem) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *c = NULL;
        _cleanup_(mam_config_freep) MamConfig *problems = NULL;
        _cleanup_(json_object_putp) json_object *root = NULL;
        MamConfigFile f = { .path = "gateway", .text = text, .size = size };
        MamReader rd = { .file = &f };
        MamJsonError error;
        int r;

        assert(ret);
        assert(text);

        problems = calloc(1, sizeof(*problems));
        if (!problems)
                return -ENOMEM;
        f.config = problems;
        r = mam_gateway_config_new(&c);
        if (r < 0)
                return r;
        r = mam_json_parse(&root, text, size, &error);
        if (r == -EBADMSG)
                mam_reader_bad(&rd, &error);
        else if (r < 0)
                return r;
        else
                (void) read_document(&rd, root, c);
        if (rd.r < 0)
                return rd.r;
        if (rd.bad) {
                r = tell_problem(problems, ret_problem);
                return r < 0 ? r : -EBADMSG;
        }

        *ret = MAM_TAKE(c);
        return 0;
}

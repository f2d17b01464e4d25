/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "registry/objects-bus.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"

#define SERVICE_PREFIX MAM_BUS_PATH "/service"
#define REPLICA_PREFIX MAM_BUS_PATH "/replica"

typedef enum ObjectType {
        OBJECT_NONE,
        OBJECT_SERVICE,
        OBJECT_REPLICA,
        OBJECT_ROLLOUT,
        OBJECT_JOB,
} ObjectType;

/* Where properties go. */
typedef struct Object {
        Catalog *catalog;
        ObjectType type;
        CatalogService *service;
        CatalogReplica *replica;
        CatalogRollout rollout; /* gathered: its service is one of its properties */
        char rollout_service[32];
        const char *path;
} Object;

static void set_text(Object *o, const char *property, const char *value) {
        switch (o->type) {
        case OBJECT_SERVICE:
                catalog_service_set_text(o->service, property, value);
                break;
        case OBJECT_REPLICA:
                catalog_replica_set_text(o->replica, property, value);
                break;
        case OBJECT_ROLLOUT:
                if (strcmp(property, "Service") == 0)
                        catalog_text(o->rollout_service, sizeof(o->rollout_service), value);
                catalog_rollout_set_text(&o->rollout, property, value);
                break;
        case OBJECT_JOB:
                if (strcmp(property, "Verb") == 0)
                        catalog_job_began(o->catalog, o->path, value);
                break;
        case OBJECT_NONE:
                break;
        }
}

static void set_number(Object *o, const char *property, uint64_t value) {
        if (o->type == OBJECT_SERVICE)
                catalog_service_set_number(o->service, property, value);
        else if (o->type == OBJECT_REPLICA)
                catalog_replica_set_number(o->replica, property, value);
        else if (o->type == OBJECT_ROLLOUT)
                catalog_rollout_set_number(&o->rollout, property, value);
}

static int read_value(sd_bus_message *m, Object *o, const char *property) {
        const char *contents, *text;
        uint64_t number;
        uint32_t number32;
        uint16_t number16;
        int r;

        r = sd_bus_message_peek_type(m, NULL, &contents);
        if (r < 0)
                return r;
        if (strlen(contents) != 1 || !strchr("soutq", contents[0]))
                return sd_bus_message_skip(m, "v");

        r = sd_bus_message_enter_container(m, 'v', contents);
        if (r < 0)
                return r;
        switch (contents[0]) {
        case 's':
        case 'o':
                r = sd_bus_message_read_basic(m, contents[0], &text);
                if (r > 0)
                        set_text(o, property, text);
                break;
        case 'u':
                r = sd_bus_message_read_basic(m, 'u', &number32);
                if (r > 0)
                        set_number(o, property, number32);
                break;
        case 'q':
                r = sd_bus_message_read_basic(m, 'q', &number16);
                if (r > 0)
                        set_number(o, property, number16);
                break;
        default:
                r = sd_bus_message_read_basic(m, 't', &number);
                if (r > 0)
                        set_number(o, property, number);
                break;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* "a{sv}" */
static int read_properties(sd_bus_message *m, Object *o) {
        const char *property;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &property);
                if (r >= 0)
                        r = read_value(m, o, property);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* The service and the number of "…/replica/<id:n escaped>". */
static CatalogService *find_replica(const Catalog *c, const char *path, uint32_t *ret_number) {
        _cleanup_(mam_freep) char *id = NULL;
        char *colon;
        CatalogService *s;

        if (sd_bus_path_decode(path, REPLICA_PREFIX, &id) <= 0)
                return NULL;
        colon = strrchr(id, ':');
        if (!colon)
                return NULL;
        *colon = '\0';
        s = catalog_find(c, id);
        *colon = ':';
        if (s)
                *ret_number = catalog_replica_number(s, id);
        return s;
}

/* Finds or makes (make) what the path and the interface name. */
static int object_open(Object *ret, Catalog *c, const char *path, const char *interface, bool make) {
        _cleanup_(mam_freep) char *id = NULL;
        uint32_t number = 0;
        int r;

        *ret = (Object){ .catalog = c, .path = path };
        if (strcmp(interface, MAM_IFACE_SERVICE) == 0) {
                r = sd_bus_path_decode(path, SERVICE_PREFIX, &id);
                if (r <= 0)
                        return r;
                ret->service = catalog_find(c, id);
                if (!ret->service && make) {
                        r = catalog_add(c, &ret->service, id);
                        if (r < 0)
                                return r == -ENOMEM ? r : 0;
                }
                ret->type = ret->service ? OBJECT_SERVICE : OBJECT_NONE;
        } else if (strcmp(interface, MAM_IFACE_REPLICA) == 0) {
                ret->service = find_replica(c, path, &number);
                if (ret->service && number > 0 && (make || ret->service->replicas[number]))
                        ret->replica = catalog_replica(ret->service, number);
                ret->type = ret->replica ? OBJECT_REPLICA : OBJECT_NONE;
        } else if (strcmp(interface, REGISTRY_IFACE_ROLLOUT) == 0) {
                ret->type = OBJECT_ROLLOUT;
        } else if (strcmp(interface, MAM_IFACE_JOB) == 0)
                ret->type = OBJECT_JOB;
        return 0;
}

/* A change of a rollout adds to what is known of it. */
static void rollout_load(Object *o) {
        for (size_t i = 0; i < o->catalog->n_services; i++) {
                const CatalogService *s = o->catalog->services[i];

                if (strcmp(s->rollout.path, o->path) != 0)
                        continue;
                o->rollout = s->rollout;
                catalog_text(o->rollout_service, sizeof(o->rollout_service), s->id);
        }
}

static void object_close(Object *o) {
        CatalogService *s;

        if (o->type == OBJECT_ROLLOUT) {
                s = catalog_find(o->catalog, o->rollout_service);
                if (!s)
                        return;
                catalog_text(o->rollout.path, sizeof(o->rollout.path), o->path);
                s->rollout = o->rollout;
        } else if (o->type == OBJECT_SERVICE) {
                o->service->listed = true;
                if (o->service->rollout.path[0] == '\0' || strcmp(o->service->rollout.path, "/") == 0)
                        o->service->rollout = (CatalogRollout){ .path = "/" };
        } else if (o->type == OBJECT_REPLICA)
                o->replica->exists = true;
}

/* "a{sa{sv}}" of one object. wanted: of this type only, others are skipped. */
static int read_interfaces(
                sd_bus_message *m,
                Catalog *c,
                const char *path,
                ObjectType wanted,
                bool *ret_ours) {
        const char *interface;
        Object o;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
                r = sd_bus_message_read(m, "s", &interface);
                if (r < 0)
                        return r;
                if ((wanted == OBJECT_SERVICE) != (strcmp(interface, MAM_IFACE_SERVICE) == 0))
                        o = (Object){ .catalog = c };
                else {
                        r = object_open(&o, c, path, interface, true);
                        if (r < 0)
                                return r;
                }
                if (o.type == OBJECT_ROLLOUT)
                        rollout_load(&o);
                r = read_properties(m, &o);
                if (r < 0)
                        return r;
                object_close(&o);
                *ret_ours |= o.type != OBJECT_NONE;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* "a{oa{sa{sv}}}" */
static int read_objects(sd_bus_message *m, Catalog *c, ObjectType wanted) {
        const char *path;
        bool ours = false;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "oa{sa{sv}}")) > 0) {
                r = sd_bus_message_read(m, "o", &path);
                if (r >= 0)
                        r = read_interfaces(m, c, path, wanted, &ours);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

int objects_read_all(sd_bus_message *m, Catalog *c) {
        int r;

        for (size_t i = 0; i < c->n_services; i++) {
                CatalogService *s = c->services[i];

                s->listed = false;
                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++)
                        if (s->replicas[n])
                                s->replicas[n]->exists = false;
        }

        /* Twice, as the order of objects is not said: replicas and rollouts belong to services. */
        r = read_objects(m, c, OBJECT_SERVICE);
        if (r >= 0)
                r = sd_bus_message_rewind(m, true);
        if (r >= 0)
                r = read_objects(m, c, OBJECT_REPLICA);
        if (r < 0)
                return r;

        for (size_t i = c->n_services; i > 0; i--) {
                CatalogService *s = c->services[i - 1];

                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++)
                        if (s->replicas[n] && !s->replicas[n]->exists)
                                catalog_replica_remove(s, n);
                if (!s->listed)
                        catalog_remove(c, s->id);
        }
        return 0;
}

int objects_read_endpoints(sd_bus_message *m, CatalogService *s) {
        const char *id, *address, *state, *group;
        uint64_t revision;
        uint32_t weight;
        int r;

        r = sd_bus_message_read(m, "t", &revision);
        if (r < 0)
                return r;
        if (revision < s->endpoints_revision)
                return 0;
        if (!sd_bus_message_has_signature(m, "sta(sssus)a(su)") &&
            !sd_bus_message_has_signature(m, "ta(sssus)a(su)"))
                return -EBADMSG;

        s->endpoints_revision = revision;
        catalog_endpoints_begin(s);
        r = sd_bus_message_enter_container(m, 'a', "(sssus)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(sssus)", &id, &address, &state, &weight, &group)) > 0)
                catalog_endpoint_set(s, id, address, state, weight, group);
        return r;
}

int objects_read_endpoints_changed(sd_bus_message *m, Catalog *c) {
        CatalogService *s;
        const char *id;
        int r;

        r = sd_bus_message_read(m, "s", &id);
        if (r < 0)
                return r;
        s = catalog_find(c, id);
        if (!s)
                return 0;
        r = objects_read_endpoints(m, s);
        return r < 0 ? r : OBJECTS_CHANGED;
}

int objects_read_job_new(sd_bus_message *m, Catalog *c) {
        const char *path, *verb;
        int r;

        r = sd_bus_message_read(m, "os", &path, &verb);
        if (r < 0)
                return r;
        catalog_job_began(c, path, verb);
        return 0;
}

int objects_read_job_removed(sd_bus_message *m, Catalog *c) {
        const char *path, *service, *result;
        int r;

        r = sd_bus_message_read(m, "oss", &path, &service, &result);
        if (r < 0)
                return r;
        catalog_job_ended(c, path, result);
        return 0;
}

int objects_read_rollout_removed(sd_bus_message *m, Catalog *c) {
        const char *path, *service, *result;
        int r;

        r = sd_bus_message_read(m, "oss", &path, &service, &result);
        if (r < 0)
                return r;
        catalog_rollout_ended(c, service, result);
        return 0;
}

static void alert_make(CatalogAlert *ret, const char *const texts[static 5], uint64_t started) {
        *ret = (CatalogAlert){ .started_usec = started };
        catalog_text(ret->fingerprint, sizeof(ret->fingerprint), texts[0]);
        catalog_text(ret->name, sizeof(ret->name), texts[1]);
        catalog_text(ret->severity, sizeof(ret->severity), texts[2]);
        catalog_text(ret->service, sizeof(ret->service), texts[3]);
        catalog_text(ret->replica, sizeof(ret->replica), texts[4]);
}

int objects_read_alerts(sd_bus_message *m, Catalog *c) {
        const char *t[6];
        CatalogAlert alert;
        uint64_t started;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(sssssst)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(
                                m,
                                "(sssssst)",
                                &t[0],
                                &t[1],
                                &t[2],
                                &t[3],
                                &t[4],
                                &t[5],
                                &started)) > 0) {
                alert_make(&alert, t, started);
                (void) catalog_alert_set(c, &alert);
        }
        return r;
}

int objects_read_alert(sd_bus_message *m, Catalog *c) {
        uint64_t started, ended;
        CatalogAlert alert;
        const char *t[6];
        int r;

        r = sd_bus_message_read(m, "sssssstt", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &started, &ended);
        if (r < 0)
                return r;
        alert_make(&alert, t, started);
        if (ended > 0)
                catalog_alert_clear(c, alert.fingerprint);
        else
                (void) catalog_alert_set(c, &alert);
        return 0;
}

int objects_read_changed(sd_bus_message *m, Catalog *c) {
        const char *interface;
        Object o;
        int r;

        r = sd_bus_message_read(m, "s", &interface);
        if (r >= 0)
                r = object_open(&o, c, sd_bus_message_get_path(m), interface, false);
        if (r < 0)
                return r;
        if (o.type == OBJECT_NONE || o.type == OBJECT_JOB)
                return 0;
        if (o.type == OBJECT_ROLLOUT)
                rollout_load(&o);
        r = read_properties(m, &o);
        if (r < 0)
                return r;
        object_close(&o);
        return 1;
}

int objects_read_added(sd_bus_message *m, Catalog *c) {
        size_t before = c->n_services;
        bool ours = false;
        const char *path;
        int r;

        r = sd_bus_message_read(m, "o", &path);
        if (r >= 0)
                r = read_interfaces(
                                m,
                                c,
                                path,
                                strncmp(path, SERVICE_PREFIX "/", strlen(SERVICE_PREFIX "/")) == 0
                                                ? OBJECT_SERVICE
                                                : OBJECT_REPLICA,
                                &ours);
        if (r < 0)
                return r;
        if (c->n_services > before)
                return OBJECTS_NEW_SERVICE;
        return ours ? OBJECTS_CHANGED : 0;
}

int objects_read_removed(sd_bus_message *m, Catalog *c) {
        _cleanup_(mam_freep) char *id = NULL;
        CatalogService *s;
        const char *path;
        uint32_t number = 0;
        int r;

        r = sd_bus_message_read(m, "o", &path);
        if (r < 0)
                return r;
        if (sd_bus_path_decode(path, SERVICE_PREFIX, &id) > 0) {
                catalog_remove(c, id);
                return 1;
        }
        s = find_replica(c, path, &number);
        if (!s || number == 0)
                return 0;
        catalog_replica_remove(s, number);
        return 1;
}

int objects_read_rollout(sd_bus_message *m, CatalogRollout *ret) {
        Object o = { .type = OBJECT_ROLLOUT, .rollout = *ret };
        int r;

        r = read_properties(m, &o);
        if (r >= 0)
                *ret = o.rollout;
        return r;
}

int objects_read_metrics(sd_bus_message *m, Catalog *c) {
        const char *service, *replica, *name;
        double value;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(ssa{sd})");
        if (r < 0)
                return r;
        catalog_metrics_begin(c);
        while ((r = sd_bus_message_enter_container(m, 'r', "ssa{sd}")) > 0) {
                r = sd_bus_message_read(m, "ss", &service, &replica);
                if (r >= 0)
                        r = sd_bus_message_enter_container(m, 'a', "{sd}");
                if (r < 0)
                        return r;
                while ((r = sd_bus_message_read(m, "{sd}", &name, &value)) > 0)
                        catalog_metric_set(c, service, replica, name, value);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r;
}

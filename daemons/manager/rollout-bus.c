/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.manageragent.Rollout1, and the methods of Manager1 that read rollouts
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/json/json.h"
#include "libmam/obs/log.h"
#include "manager/actions.h"
#include "manager/manager-bus.h"
#include "manager/rollout-internal.h"

#define ROLLOUT_PREFIX MAM_BUS_PATH "/rollout"

int rollout_path_of(uint32_t id, char **ret) {
        return asprintf(ret, ROLLOUT_PREFIX "/%u", id) < 0 ? -ENOMEM : 0;
}

int rollout_path(const Rollout *ro, char **ret) {
        if (ro)
                return rollout_path_of(ro->id, ret);
        *ret = strdup("/");
        return *ret ? 0 : -ENOMEM;
}

/* ---- properties ---- */

static uint32_t weight_of(const Rollout *ro) {
        RolloutView v;

        rollout_view(ro, &v);
        return (rollout_plan_share(&v) + 5) / 10;
}

static int append_steps(sd_bus_message *reply, const Rollout *ro) {
        bool canary = ro->plan.strategy == ROLLOUT_CANARY;

        return sd_bus_message_append_array(
                        reply,
                        'u',
                        ro->plan.steps,
                        canary ? ro->plan.n_steps * sizeof(ro->plan.steps[0]) : 0);
}

static int property_get(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        const Rollout *ro = userdata;
        const struct {
                const char *name;
                const char *value;
        } strings[] = {
                { "Service", ro->service->config->id },
                { "Strategy", rollout_strategy_to_string(ro->plan.strategy) },
                { "From", ro->from },
                { "To", ro->to },
                { "Phase", rollout_phase(ro) },
        };
        char reason[ROLLOUT_REASON_MAX + 32];
        uint32_t updated, ready;

        for (size_t i = 0; i < MAM_ELEMENTSOF(strings); i++) {
                if (strcmp(strings[i].name, property) == 0)
                        return sd_bus_message_append(reply, "s", strings[i].value);
        }
        if (strcmp(property, "Id") == 0)
                return sd_bus_message_append(reply, "u", ro->id);
        if (strcmp(property, "StartedUSec") == 0)
                return sd_bus_message_append(reply, "t", ro->started_usec);
        if (strcmp(property, "Steps") == 0)
                return append_steps(reply, ro);
        if (strcmp(property, "Step") == 0)
                return sd_bus_message_append(
                                reply,
                                "u",
                                ro->plan.strategy == ROLLOUT_CANARY ? ro->plan.step + 1 : 1U);
        if (strcmp(property, "Weight") == 0)
                return sd_bus_message_append(reply, "u", weight_of(ro));
        if (strcmp(property, "Total") == 0)
                return sd_bus_message_append(reply, "u", ro->plan.wanted);
        if (strcmp(property, "Reason") == 0) {
                rollout_reason(ro, reason, sizeof(reason));
                return sd_bus_message_append(reply, "s", reason);
        }
        rollout_count(ro, &updated, &ready);
        return sd_bus_message_append(reply, "u", strcmp(property, "Updated") == 0 ? updated : ready);
}

/* ---- methods of Rollout1 ---- */

static int authorize(Rollout *ro, sd_bus_message *message, const char *verb, sd_bus_error *error) {
        return manager_bus_authorize(
                        ro->manager,
                        message,
                        MAM_ACTION_DEPLOY,
                        verb,
                        ro->service->config->id,
                        error);
}

static int method_pause(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Rollout *ro = userdata;
        int r;

        if (ro->plan.reverting) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_BUSY,
                                "The rollout of '%s' goes back already: that is not paused",
                                ro->service->config->id);
        }
        r = authorize(ro, message, "rollout-pause", error);
        if (r <= 0)
                return r < 0 ? r : 1;

        rollout_pause(ro);
        return sd_bus_reply_method_return(message, NULL);
}

static int method_resume(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Rollout *ro = userdata;
        int r;

        if (ro->plan.reverting) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_BUSY,
                                "The rollout of '%s' goes back already; deploy it again afterwards",
                                ro->service->config->id);
        }
        r = authorize(ro, message, "rollout-resume", error);
        if (r <= 0)
                return r < 0 ? r : 1;

        rollout_resume(ro);
        return sd_bus_reply_method_return(message, NULL);
}

static int method_abort(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Rollout *ro = userdata;
        int r;

        r = authorize(ro, message, "rollout-abort", error);
        if (r <= 0)
                return r < 0 ? r : 1;

        if (!ro->plan.reverting)
                rollout_abort(ro);
        return sd_bus_reply_method_return(message, NULL);
}

static const sd_bus_vtable rollout_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Pause", NULL, NULL, method_pause, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Resume", NULL, NULL, method_resume, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Abort", NULL, NULL, method_abort, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Service", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Strategy", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("From", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("To", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("StartedUSec", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Phase", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Steps", "au", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Step", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Weight", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Updated", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Ready", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Total", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Reason", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

static int find_rollout(
                sd_bus *bus,
                const char *path,
                const char *interface,
                void *userdata,
                void **ret_found,
                sd_bus_error *error) {
        Manager *m = userdata;
        unsigned long id;
        const char *text;
        const Service *s;
        char *end;

        if (strncmp(path, ROLLOUT_PREFIX "/", strlen(ROLLOUT_PREFIX) + 1) != 0)
                return 0;
        text = path + strlen(ROLLOUT_PREFIX) + 1;
        id = strtoul(text, &end, 10);
        if (end == text || *end)
                return 0;

        DL_FOREACH(m->services, s) {
                if (s->rollout && s->rollout->id == id) {
                        *ret_found = s->rollout;
                        return 1;
                }
        }
        return sd_bus_error_setf(
                        error,
                        MAM_BUS_ERROR_NO_SUCH_ROLLOUT,
                        "Rollout %lu has ended or never was",
                        id);
}

static int enumerate_rollouts(
                sd_bus *bus,
                const char *prefix,
                void *userdata,
                char ***ret_nodes,
                sd_bus_error *error) {
        Manager *m = userdata;
        size_t n = 0, i = 0;
        const Service *s;
        char **list;

        DL_FOREACH(m->services, s) {
                n++;
        }
        list = calloc(n + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        DL_FOREACH(m->services, s) {
                if (s->rollout && rollout_path(s->rollout, &list[i]) >= 0)
                        i++;
        }
        list[i] = NULL;
        *ret_nodes = list;
        return 1;
}

int rollout_export(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(
                        m->bus,
                        NULL,
                        ROLLOUT_PREFIX,
                        MAM_IFACE_ROLLOUT,
                        rollout_vtable,
                        find_rollout,
                        m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, ROLLOUT_PREFIX, enumerate_rollouts, m);
}

/* ---- signals ---- */

void rollout_emit_new(Manager *m, uint32_t id, const char *service, bool object) {
        _cleanup_(mam_freep) char *path = NULL;
        int r;

        r = rollout_path_of(id, &path);
        if (r >= 0 && object)
                r = sd_bus_emit_object_added(m->bus, path);
        if (r >= 0) {
                r = sd_bus_emit_signal(
                                m->bus,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "RolloutNew",
                                "os",
                                path,
                                service);
        }
        if (r < 0)
                (void) mam_error_errno(r, "Cannot announce rollout %u", id);
}

void rollout_emit_removed(
                Manager *m,
                uint32_t id,
                const char *service,
                const char *result,
                const char *message,
                bool object) {
        _cleanup_(mam_freep) char *path = NULL;
        int r;

        r = rollout_path_of(id, &path);
        if (r >= 0) {
                r = sd_bus_emit_signal(
                                m->bus,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "RolloutRemoved",
                                "osss",
                                path,
                                service,
                                result,
                                message);
        }
        if (r >= 0 && object)
                r = sd_bus_emit_object_removed(m->bus, path);
        if (r < 0)
                (void) mam_error_errno(r, "Cannot announce the end of rollout %u", id);
}

/* Notes a value; true: it is another one than told. */
static bool differs(uint32_t *told, uint32_t now) {
        bool changed = *told != now;

        *told = now;
        return changed;
}

void rollout_emit_changes(Rollout *ro) {
        _cleanup_(mam_freep) char *path = NULL;
        char reason[ROLLOUT_REASON_MAX + 32];
        const char *changed[8];
        uint32_t updated, ready;
        size_t n = 0;
        int r;

        rollout_count(ro, &updated, &ready);
        rollout_reason(ro, reason, sizeof(reason));
        if (strcmp(ro->phase_told, rollout_phase(ro)) != 0)
                changed[n++] = "Phase";
        if (strcmp(ro->reason_told, reason) != 0)
                changed[n++] = "Reason";
        if (differs(&ro->step_told, ro->plan.step))
                changed[n++] = "Step";
        if (differs(&ro->weight_told, weight_of(ro)))
                changed[n++] = "Weight";
        if (differs(&ro->updated_told, updated))
                changed[n++] = "Updated";
        if (differs(&ro->ready_told, ready))
                changed[n++] = "Ready";
        if (differs(&ro->total_told, ro->plan.wanted))
                changed[n++] = "Total";
        changed[n] = NULL;
        if (n == 0 || !ro->manager->ready)
                return;

        snprintf(ro->phase_told, sizeof(ro->phase_told), "%s", rollout_phase(ro));
        snprintf(ro->reason_told, sizeof(ro->reason_told), "%s", reason);
        r = rollout_path(ro, &path);
        if (r >= 0)
                r = sd_bus_emit_properties_changed_strv(
                                ro->manager->bus,
                                path,
                                MAM_IFACE_ROLLOUT,
                                (char **) changed);
        if (r < 0)
                (void) mam_error_errno(r, "Cannot announce changes of rollout %u", ro->id);
}

/* ---- methods of Manager1 ---- */

int manager_bus_get_rollout(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) char *path = NULL;
        Manager *m = userdata;
        Service *s = NULL;
        const char *id;
        int r;

        r = sd_bus_message_read(message, "s", &id);
        if (r >= 0)
                r = manager_bus_read_service(m, id, false, &s, error);
        if (r < 0)
                return r;
        if (!s->rollout) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_NO_SUCH_ROLLOUT,
                                "No rollout of '%s' is under way",
                                id);
        }
        r = rollout_path(s->rollout, &path);
        return r < 0 ? r : sd_bus_reply_method_return(message, "o", path);
}

static int put_text(json_object *o, const char *key, const char *text) {
        json_object *v;

        if (!text || !*text)
                return 0;
        v = json_object_new_string(text);
        if (!v || json_object_object_add(o, key, v) < 0) {
                json_object_put(v);
                return -ENOMEM;
        }
        return 0;
}

static int put_list(json_object *o, const char *key, char **list) {
        json_object *a = json_object_new_array();

        if (!a || json_object_object_add(o, key, a) < 0) {
                json_object_put(a);
                return -ENOMEM;
        }
        for (char **i = list; i && *i; i++) {
                json_object *v = json_object_new_string(*i);

                if (!v || json_object_array_add(a, v) < 0) {
                        json_object_put(v);
                        return -ENOMEM;
                }
        }
        return 0;
}

/* What it is, for people and for comparing two; what cannot be read any more is left out, and said. */
static int describe(json_object **ret, const Rollouts *rs, const Service *s, const MamRevision *v) {
        _cleanup_(mam_service_config_freep) MamServiceConfig *c = NULL;
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        _cleanup_(mam_freep) char *problem = NULL;
        int r;

        if (!o)
                return -ENOMEM;
        r = mam_revision_apply(&c, s->config, v, rs->definitions_dir, &problem);
        if (r == -ENOMEM)
                return r;
        if (r >= 0) {
                r = put_text(o, "user", c->user);
                if (r >= 0 && c->exec)
                        r = put_list(o, "exec", c->exec);
                if (r >= 0)
                        r = put_list(o, "environment", c->environment);
        } else {
                r = put_text(o, "exec", v->exec);
                if (r >= 0)
                        r = put_text(o, "problem", problem ? problem : "it cannot be used any more");
        }
        if (r >= 0)
                r = put_text(o, "version", v->version);
        if (r >= 0 && !(c && c->exec))
                r = put_text(o, "program", v->exec);
        if (r >= 0)
                r = put_text(o, "image", v->image);
        if (r >= 0)
                r = put_text(o, "definition", v->definition);
        if (r < 0)
                return r;
        *ret = MAM_TAKE(o);
        return 0;
}

static int append_record(
                sd_bus_message *reply,
                const Rollouts *rs,
                const Service *s,
                const MamDeployService *ds,
                const RevisionRecord *record) {
        const MamRevision *v = mam_deploy_revision(ds, record->name);
        _cleanup_(json_object_putp) json_object *o = NULL;
        const char *text;
        int r;

        if (!v)
                return 0;
        r = describe(&o, rs, s, v);
        if (r < 0)
                return r;
        text = mam_json_to_string(o);
        if (!text)
                return -ENOMEM;
        return sd_bus_message_append(
                        reply,
                        "(sstsss)",
                        record->name,
                        v->version ? v->version : "",
                        record->deployed_usec,
                        revision_status_to_string(record->status),
                        record->why,
                        text);
}

int manager_bus_list_revisions(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Manager *m = userdata;
        const MamDeployService *ds;
        const Deployed *d;
        Service *s = NULL;
        const char *id;
        int r;

        r = sd_bus_message_read(message, "s", &id);
        if (r >= 0)
                r = manager_bus_read_service(m, id, false, &s, error);
        if (r >= 0)
                r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sstsss)");
        if (r < 0)
                return r;

        d = rollouts_find(m->rollouts, id);
        ds = mam_deploy_find(m->rollouts->deploy, id);
        for (size_t i = 0; d && ds && r >= 0 && i < d->n_records; i++)
                r = append_record(reply, m->rollouts, s, ds, &d->records[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

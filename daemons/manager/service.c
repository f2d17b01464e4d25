/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Service objects
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "manager/autoscaler.h"
#include "manager/manager.h"
#include "manager/rollout.h"
#include "manager/service.h"

int config_ref_new(ConfigRef **ret, MamConfig *config) {
        ConfigRef *c;

        assert(ret);
        assert(config);

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;

        c->config = config;
        c->n_refs = 1;
        *ret = c;
        return 0;
}

ConfigRef *config_ref(ConfigRef *c) {
        if (c)
                c->n_refs++;
        return c;
}

ConfigRef *config_unref(ConfigRef *c) {
        if (!c || --c->n_refs > 0)
                return NULL;

        mam_config_free(c->config);
        free(c);
        return NULL;
}

int service_new(Service **ret, Manager *m, ConfigRef *ref, const MamServiceConfig *config) {
        _cleanup_(service_freep) Service *s = NULL;

        assert(ret);
        assert(m);
        assert(config);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;

        s->manager = m;
        s->config_ref = config_ref(ref);
        s->config = config;
        s->configured = true;
        s->state_text = "stopped";
        s->sockets_due = true;
        s->state_since_usec = mam_now_realtime();
        s->revision = m->revision_base;
        s->state = state_get(m->state, config->id);
        if (!s->state)
                return -ENOBUFS;

        *ret = MAM_TAKE(s);
        return 0;
}

Service *service_free(Service *s) {
        if (!s)
                return NULL;

        rollout_free(s->rollout);
        for (uint32_t n = 0; n <= MAM_CONFIG_REPLICAS_MAX; n++)
                replica_free(s->replicas[n]);
        load_recent_free(s->load_recent);
        autoscaler_forget(s);
        config_unref(s->config_ref);
        free(s);
        return NULL;
}

uint32_t service_desired(const Service *s) {
        if (s->rollout && s->state->running)
                return rollout_wanted(s->rollout);
        if (s->state->running)
                return numbers_count(&s->state->numbers);
        return s->state->replicas > 0 ? s->state->replicas : s->config->replicas;
}

uint64_t service_cpu_millis(const Service *s) {
        if (s->state->cpu_millis > 0)
                return s->state->cpu_millis;
        return s->state->auto_cpu_millis > 0 ? s->state->auto_cpu_millis : s->config->cpu_millis;
}

uint64_t service_memory_bytes(const Service *s) {
        if (s->state->memory_bytes > 0)
                return s->state->memory_bytes;
        return s->state->auto_memory_bytes > 0 ? s->state->auto_memory_bytes : s->config->memory_bytes;
}

bool service_sets_limits(const Service *s) {
        return s->state->cpu_millis > 0 || s->state->memory_bytes > 0 || s->state->auto_cpu_millis > 0 ||
               s->state->auto_memory_bytes > 0 || s->state->runtime_limits;
}

bool service_depends_on(const Service *s, const char *id) {
        for (char **d = s->config->dependencies; d && *d; d++) {
                if (strcmp(*d, id) == 0)
                        return true;
        }
        return false;
}

bool service_needs_first(const Service *s) {
        const Service *other;

        assert(s);

        if (mam_service_has_public_socket(s->config) || s->config->probe == MAM_PROBE_REDIS)
                return true;
        DL_FOREACH(s->manager->services, other) {
                if (service_depends_on(other, s->config->id))
                        return true;
        }
        return false;
}

Numbers service_existing(const Service *s) {
        Numbers existing = NUMBERS_INIT;

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (s->replicas[n] && s->replicas[n]->activity != UNIT_INACTIVE)
                        numbers_add(&existing, n);
        }
        return existing;
}

uint32_t service_max_number(const Service *s) {
        return s->config->max_replicas < MAM_CONFIG_REPLICAS_MAX ? s->config->max_replicas
                                                                 : MAM_CONFIG_REPLICAS_MAX;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Handlers of org.manageragent.Manager1 that begin a job: Start, Stop, Restart, Scale
 *
 * Every handler: read, validate, authorise, act, reply. It runs twice (see bus-polkit.h), so nothing is
 * changed before the check.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "manager/actions.h"
#include "manager/autoscaler.h"
#include "manager/events.h"
#include "manager/job.h"
#include "manager/manager-bus.h"

int manager_bus_check_flags(uint64_t flags, sd_bus_error *error) {
        if (flags == 0)
                return 0;
        return sd_bus_error_setf(
                        error,
                        SD_BUS_ERROR_INVALID_ARGS,
                        "Unknown flags 0x%llx",
                        (unsigned long long) flags);
}

int manager_bus_no_such_service(Manager *m, const char *id, sd_bus_error *error) {
        char known[1024] = "";
        size_t length = 0;
        const Service *s;

        DL_FOREACH(m->services, s) {
                int n =
                                snprintf(known + length,
                                         sizeof(known) - length,
                                         "%s%s",
                                         length > 0 ? ", " : "",
                                         s->config->id);

                if (n < 0 || (size_t) n >= sizeof(known) - length)
                        break;
                length += (size_t) n;
        }
        return sd_bus_error_setf(
                        error,
                        MAM_BUS_ERROR_NO_SUCH_SERVICE,
                        "There is no service '%.64s'; there are: %s",
                        id,
                        length > 0 ? known : "none");
}

/* "" means all: *ret NULL. */
int manager_bus_read_service(
                Manager *m,
                const char *id,
                bool all_allowed,
                Service **ret,
                sd_bus_error *error) {
        Service *s = NULL;

        if (!*id && all_allowed) {
                *ret = NULL;
                return 0;
        }

        s = *id ? manager_find_service(m, id) : NULL;
        if (!s)
                return manager_bus_no_such_service(m, id, error);
        *ret = s;
        return 0;
}

/* What may be started or changed: configured, and run by us. */
int manager_bus_check_usable(Manager *m, const Service *s, sd_bus_error *error) {
        assert(s);

        if (!s->configured) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_BAD_CONFIG,
                                "Service '%s' is no longer configured; it can only be stopped",
                                s->config->id);
        }
        if (manager_service_is_external(m, s->config->id)) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_BAD_CONFIG,
                                "Service '%s' is replaced by an external one (microservices.json: external.%s)",
                                s->config->id,
                                s->config->id);
        }
        return 0;
}

int manager_bus_authorize(
                Manager *m,
                sd_bus_message *message,
                const char *action,
                const char *verb,
                const char *id,
                sd_bus_error *error) {
        const char *const details[] = { "service", id, "verb", verb, NULL };
        int r;

        r = mam_polkit_check(m->polkit, message, action, details, error);
        if (r > 0)
                *m->before = *m->state;
        return r;
}

void manager_bus_revert(Manager *m) {
        *m->state = *m->before;
}

int manager_bus_commit(Manager *m, sd_bus_error *error) {
        int r;

        r = manager_save_state(m);
        if (r >= 0)
                return 0;

        manager_bus_revert(m);
        return sd_bus_error_set_errnof(
                        error,
                        r,
                        "Cannot store what is wanted in %s: %s; nothing was changed",
                        m->state_path,
                        strerror(-r));
}

/* ---- members of a job ---- */

typedef struct MemberSet {
        Service *services[STATE_SERVICES_MAX];
        size_t n;
} MemberSet;

static bool set_has(const MemberSet *set, const Service *s) {
        for (size_t i = 0; i < set->n; i++) {
                if (set->services[i] == s)
                        return true;
        }
        return false;
}

static void set_add(MemberSet *set, Service *s) {
        if (set->n < MAM_ELEMENTSOF(set->services) && !set_has(set, s))
                set->services[set->n++] = s;
}

/* The service after all that it depends on; what runs already is left alone. The graph has no cycle. */
static void set_add_with_dependencies(Manager *m, MemberSet *set, Service *s) {
        for (char **d = s->config->dependencies; d && *d; d++) {
                Service *dependency = manager_find_service(m, *d);

                if (dependency && dependency->configured && !manager_service_is_external(m, *d) &&
                    !dependency->state->running)
                        set_add_with_dependencies(m, set, dependency);
        }
        set_add(set, s);
}

/* The service after all that depends on it and still runs or is on its way down. */
static void set_add_with_dependents(Manager *m, MemberSet *set, Service *s) {
        Service *other;

        DL_FOREACH(m->services, other) {
                if (other != s && !set_has(set, other) && service_depends_on(other, s->config->id) &&
                    (other->state->running || other->counts.existing > 0))
                        set_add_with_dependents(m, set, other);
        }
        set_add(set, s);
}

static int begin_job(
                Manager *m,
                sd_bus_message *message,
                JobVerb verb,
                const char *id,
                JobMember *members,
                size_t n,
                sd_bus_error *error) {
        _cleanup_(mam_freep) char *path = NULL;
        Job *job;
        int r;

        if (m->n_jobs >= MANAGER_JOBS_MAX) { /* before anything of it is stored */
                manager_bus_revert(m);
                free(members);
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_QUOTA,
                                "There are %u jobs already",
                                MANAGER_JOBS_MAX);
        }

        r = manager_bus_commit(m, error);
        if (r >= 0)
                r = job_new(&job, m, verb, id, members, n);
        if (r < 0) {
                free(members);
                return r;
        }

        r = job_path(job, &path);
        if (r < 0)
                return r;

        mam_info("Job %u: %s %s", job->id, job_verb_to_string(verb), *id ? id : "all services");
        job_emit_new(job);
        manager_queue_pass(m);
        return sd_bus_reply_method_return(message, "o", path);
}

/* ---- methods ---- */

int manager_bus_start(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) JobMember *members = NULL;
        MemberSet set = { .n = 0 };
        Manager *m = userdata;
        Service *s = NULL, *i;
        uint64_t flags;
        const char *id;
        int r;

        r = sd_bus_message_read(message, "st", &id, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r >= 0)
                r = manager_bus_read_service(m, id, true, &s, error);
        if (r >= 0 && s)
                r = manager_bus_check_usable(m, s, error);
        if (r < 0)
                return r;

        r = manager_bus_authorize(m, message, MAM_ACTION_CONTROL, "start", id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        if (s) {
                set_add_with_dependencies(m, &set, s);
        } else {
                DL_FOREACH(m->services, i) {
                        if (i->configured && !manager_service_is_external(m, i->config->id))
                                set_add_with_dependencies(m, &set, i);
                }
        }

        members = calloc(set.n + 1, sizeof(*members));
        if (!members)
                return -ENOMEM;
        for (size_t k = 0; k < set.n; k++) {
                members[k].service = set.services[k];
                service_want_running(set.services[k]);
        }
        return begin_job(m, message, JOB_START, id, MAM_TAKE(members), set.n, error);
}

int manager_bus_stop(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) JobMember *members = NULL;
        MemberSet set = { .n = 0 };
        Manager *m = userdata;
        Service *s = NULL, *i;
        uint64_t flags;
        const char *id;
        int r;

        r = sd_bus_message_read(message, "st", &id, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r >= 0)
                r = manager_bus_read_service(m, id, true, &s, error);
        if (r < 0)
                return r;

        r = manager_bus_authorize(m, message, MAM_ACTION_CONTROL, "stop", id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        if (s) {
                set_add_with_dependents(m, &set, s);
        } else {
                DL_FOREACH(m->services, i) {
                        set_add_with_dependents(m, &set, i);
                }
        }

        members = calloc(set.n + 1, sizeof(*members));
        if (!members)
                return -ENOMEM;
        for (size_t k = 0; k < set.n; k++) {
                members[k].service = set.services[k];
                members[k].todo = service_existing(set.services[k]);
                service_want_stopped(set.services[k]);
        }
        return begin_job(m, message, JOB_STOP, id, MAM_TAKE(members), set.n, error);
}

int manager_bus_restart(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) JobMember *members = NULL;
        size_t order[MAM_CONFIG_SERVICES_MAX], n = 0;
        const MamConfig *c;
        Manager *m = userdata;
        Service *s = NULL;
        uint64_t flags;
        const char *id;
        int r;

        r = sd_bus_message_read(message, "st", &id, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r >= 0)
                r = manager_bus_read_service(m, id, true, &s, error);
        if (r >= 0 && s)
                r = manager_bus_check_usable(m, s, error);
        if (r >= 0 && s && !s->state->running) {
                r = sd_bus_error_setf(
                                error,
                                SD_BUS_ERROR_FAILED,
                                "Service '%s' does not run; start it instead",
                                id);
        }
        if (r >= 0 && s && s->rollout) {
                r = sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_BUSY,
                                "A rollout of '%s' is under way: it replaces the replicas itself",
                                id);
        }
        if (r < 0)
                return r;

        r = manager_bus_authorize(m, message, MAM_ACTION_CONTROL, "restart", id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        c = m->config->config;
        members = calloc(c->n_services + 1, sizeof(*members));
        if (!members)
                return -ENOMEM;
        mam_config_dependency_order(c, order);
        for (size_t i = 0; i < c->n_services; i++) {
                Service *member = manager_find_service(m, c->services[order[i]].id);

                if (!member || (s && member != s) || !member->state->running || member->rollout)
                        continue;
                members[n].service = member;
                members[n++].todo = member->state->numbers;
        }
        return begin_job(m, message, JOB_RESTART, id, MAM_TAKE(members), n, error);
}

int manager_bus_scale(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) JobMember *members = NULL;
        Numbers removed = NUMBERS_INIT;
        Manager *m = userdata;
        Service *s = NULL;
        uint32_t replicas, was;
        uint64_t flags;
        const char *id;
        int r;

        r = sd_bus_message_read(message, "sut", &id, &replicas, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r >= 0)
                r = manager_bus_read_service(m, id, false, &s, error);
        if (r >= 0)
                r = manager_bus_check_usable(m, s, error);
        if (r < 0)
                return r;
        if (replicas < s->config->min_replicas || replicas > service_max_number(s) ||
            (replicas == 0 && !service_can_sleep(s))) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_OUT_OF_RANGE,
                                "Service '%s' can have %u to %u replicas, not %u",
                                id,
                                s->config->min_replicas > 0 || service_can_sleep(s) ? s->config->min_replicas
                                                                                    : 1,
                                service_max_number(s),
                                replicas);
        }
        if (replicas == 0 && (!s->state->running || s->rollout)) {
                return sd_bus_error_setf(
                                error,
                                s->rollout ? MAM_BUS_ERROR_BUSY : SD_BUS_ERROR_FAILED,
                                s->rollout ? "Service '%s' is in a rollout: it cannot sleep now"
                                           : "Service '%s' does not run: it cannot sleep",
                                id);
        }

        r = manager_bus_authorize(m, message, MAM_ACTION_SCALE, "scale", id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        members = calloc(1, sizeof(*members));
        if (!members)
                return -ENOMEM;
        members->service = s;
        was = service_desired(s);
        if (replicas > 0)
                s->state->replicas = replicas;
        s->dirty |= SERVICE_DIRTY_STATE;
        if (replicas == 0) {
                service_sleep(s, &removed);
        } else if (s->state->running)
                service_want_count(s, replicas, NULL, &removed);
        NUMBERS_FOREACH(n, &removed) {
                if (numbers_has(&s->state->stopping, n))
                        numbers_add(&members->todo, n);
        }
        r = begin_job(m, message, JOB_SCALE, id, MAM_TAKE(members), 1, error);
        if (r >= 0)
                autoscaler_note_wanted(s, replicas);
        if (r >= 0)
                event_log(m,
                          LOG_NOTICE,
                          NULL,
                          id,
                          0,
                          "scaled",
                          "from %u to %u replicas, by a call",
                          was,
                          replicas);
        return r;
}

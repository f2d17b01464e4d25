/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Replica objects
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"
#include "manager/autoscaler.h"
#include "manager/events.h"
#include "manager/exit/exit-record.h"
#include "manager/manager.h"
#include "manager/probe.h"
#include "manager/rollout.h"
#include "manager/service.h"

#define SERVICE_RUNTIME_FOLDER "/run/mam/service"

Replica *service_replica(Service *s, uint32_t number) {
        Replica *r;

        assert(s);

        if (!numbers_is_valid(number))
                return NULL;
        if (s->replicas[number])
                return s->replicas[number];

        r = calloc(1, sizeof(*r));
        if (!r)
                return NULL;

        r->service = s;
        r->number = number;
        r->health.next_probe_usec = MAM_USEC_INFINITY;
        strcpy(r->active_state, "inactive");
        strcpy(r->sub_state, "dead");
        s->replicas[number] = r;
        snprintf(r->revision, sizeof(r->revision), "%s", rollout_assigned(s, number));
        replica_read_exit(r);
        return r;
}

void replica_drop_probe(Replica *r) {
        if (!r->probe)
                return;
        if (!r->probe_ended)
                r->service->manager->n_probes--;
        r->probe = probe_free(r->probe);
        r->probe_ended = false;
}

Replica *replica_free(Replica *r) {
        if (!r)
                return NULL;

        r->service->replicas[r->number] = NULL;
        replica_drop_probe(r);
        load_recent_free(r->load_recent);
        replica_usage_free(r->usage);
        free(r->status_text);
        free(r->control_group);
        free(r->failure);
        free(r);
        return NULL;
}

bool replica_is_wanted(const Replica *r) {
        return numbers_has(&r->service->state->numbers, r->number);
}

bool replica_is_draining(const Replica *r) {
        return r->drain_until_usec > 0 || r->restart == RESTART_DRAINING || r->restart == RESTART_ISSUED;
}

bool replica_is_ready(const Replica *r) {
        return r->activity == UNIT_ACTIVE && health_is_good(&r->health) && r->restart != RESTART_ISSUED;
}

void replica_endpoint(const Replica *r, char ret[static MAM_UNIT_NAME_MAX]) {
        mam_replica_address(ret, r->service->config, r->number);
}

void replica_describe(const Replica *r, char *ret, size_t size) {
        if (r->hold[0]) {
                snprintf(ret, size, "%s", r->hold);
        } else if (r->failure) {
                snprintf(ret, size, "%s", r->failure);
        } else if (r->activity == UNIT_ACTIVE && r->health_reason[0]) {
                snprintf(ret, size, "not answering: %s", r->health_reason);
        } else if (r->activity == UNIT_ACTIVATING && r->status_text && r->status_text[0]) {
                snprintf(ret, size, "starting: %s", r->status_text);
        } else if (r->activity == UNIT_INACTIVE) {
                snprintf(ret, size, "not started yet");
        } else {
                snprintf(ret, size, "%s", r->active_state);
        }
}

void replica_read_exit(Replica *r) {
        ExitRecord e = EXIT_RECORD_INIT;
        uint64_t oom_kills;
        char path[256];

        snprintf(path,
                 sizeof(path),
                 SERVICE_RUNTIME_FOLDER "/%s:%u/last-exit",
                 r->service->config->id,
                 r->number);
        if (exit_record_read(&e, path) < 0 || e.time_usec == r->last_exit_usec)
                return;

        snprintf(r->last_exit, sizeof(r->last_exit), "%s", e.reason);
        r->last_exit_usec = e.time_usec;
        oom_kills = strcmp(e.reason, "oom-kill") == 0 && e.oom_kills > r->oom_kills
                                    ? e.oom_kills - r->oom_kills
                                    : 0;
        r->oom_kills = e.oom_kills;
        r->dirty |= REPLICA_DIRTY_EXIT;
        autoscaler_note_exit(r, oom_kills);
}

static UnitActivity activity_from_string(const char *active_state) {
        if (strcmp(active_state, "active") == 0 || strcmp(active_state, "reloading") == 0)
                return UNIT_ACTIVE;
        if (strcmp(active_state, "activating") == 0)
                return UNIT_ACTIVATING;
        if (strcmp(active_state, "deactivating") == 0)
                return UNIT_DEACTIVATING;
        return UNIT_INACTIVE;
}

static bool replace_string(char **where, const char *value) {
        char *copy;

        if (strcmp(*where ? *where : "", value) == 0)
                return false;
        copy = strndup(value, 1024);
        if (!copy)
                return false;
        free(*where);
        *where = copy;
        return true;
}

static void apply_restarts(Replica *r, uint32_t n, uint64_t now_usec) {
        uint32_t more = n >= r->n_restarts ? n - r->n_restarts : n;

        r->n_restarts = n;
        if (!r->restarts_known) { /* what was before us is no crash loop of now */
                r->restarts_known = true;
                r->restarts = n;
                return;
        }
        if (more == 0)
                return;

        r->restarts += more;
        r->deaths += more;
        r->dirty |= REPLICA_DIRTY_PROCESS;
        replica_read_exit(r);
        event_log(r->service->manager,
                  LOG_WARNING,
                  MAM_MESSAGE_REPLICA_DIED,
                  r->service->config->id,
                  r->number,
                  strcmp(r->last_exit, "oom-kill") == 0 ? "oom-kill" : "died",
                  "died (%s); systemd starts it again",
                  r->last_exit[0] ? r->last_exit : r->result);
        if (backoff_note_deaths(&r->backoff, more, now_usec)) {
                char timespan[48], until[40];

                mam_format_timespan(timespan, r->backoff.held_until_usec - now_usec);
                mam_format_rfc3339(until, mam_now_realtime() + (r->backoff.held_until_usec - now_usec));
                snprintf(r->hold,
                         sizeof(r->hold),
                         "crash loop: %u deaths within 10s (last: %s); held back for %s, until %s",
                         BACKOFF_DEATHS,
                         r->last_exit[0] ? r->last_exit : r->result,
                         timespan,
                         until);
                r->dirty |= REPLICA_DIRTY_HOLD;
        }
}

static void apply_active_state(Replica *r, const char *active_state, uint64_t now_usec, bool adopted) {
        UnitActivity activity = activity_from_string(active_state);
        uint64_t realtime = mam_now_realtime();
        bool changed = false;

        if (strcmp(r->active_state, active_state) != 0) {
                snprintf(r->active_state, sizeof(r->active_state), "%s", active_state);
                r->dirty |= REPLICA_DIRTY_UNIT;
        }
        if (activity != r->activity) {
                r->activity = activity;
                r->activity_since_usec = now_usec;
        }

        switch (activity) {
        case UNIT_ACTIVE:
                free(r->failure);
                r->failure = NULL;
                changed = health_note_active(&r->health, adopted, now_usec, realtime);
                break;
        case UNIT_ACTIVATING:
                changed = health_note_starting(&r->health, realtime);
                break;
        case UNIT_INACTIVE:
                r->memory_max = 0;
                free(r->control_group);
                r->control_group = NULL;
                r->control_group_asked = false;
                replica_read_exit(r);
                changed = health_note_stopped(&r->health, realtime);
                break;
        default:
                break;
        }
        if (activity != UNIT_ACTIVE) {
                replica_drop_probe(r);
                r->health_reason[0] = '\0';
        }
        if (changed)
                r->dirty |= REPLICA_DIRTY_HEALTH;
}

void replica_apply(Replica *r, const UnitChange *c, uint64_t now_usec, bool adopted) {
        assert(r);
        assert(c);

        if (c->fields & UNIT_FIELD_JOB) {
                r->job = c->job;
                if (r->own_job == REPLICA_OWN_JOB_UNKNOWN && c->job > 0)
                        r->own_job = c->job;
        }
        if (c->fields & UNIT_FIELD_RESULT)
                snprintf(r->result, sizeof(r->result), "%s", c->result);
        if (c->fields & UNIT_FIELD_SUB_STATE && strcmp(r->sub_state, c->sub_state) != 0) {
                snprintf(r->sub_state, sizeof(r->sub_state), "%s", c->sub_state);
                r->dirty |= REPLICA_DIRTY_UNIT;
        }
        if (c->fields & UNIT_FIELD_MAIN_PID && r->main_pid != c->main_pid) {
                r->main_pid = c->main_pid;
                r->dirty |= REPLICA_DIRTY_PROCESS;
        }
        if (c->fields & UNIT_FIELD_STARTED && r->started_usec != c->started_usec) {
                r->started_usec = c->started_usec;
                r->dirty |= REPLICA_DIRTY_PROCESS;
        }
        if (c->fields & UNIT_FIELD_STATUS_TEXT && replace_string(&r->status_text, c->status_text))
                r->dirty |= REPLICA_DIRTY_STATUS;
        if (c->fields & UNIT_FIELD_CONTROL_GROUP)
                (void) replace_string(&r->control_group, c->control_group);
        if (c->fields & UNIT_FIELD_CPU_LIMIT && c->fields & UNIT_FIELD_MEMORY_LIMIT) {
                r->unit_cpu_usec = c->cpu_limit_usec;
                r->unit_memory_bytes = c->memory_limit_bytes;
                r->unit_limits_known = true;
        }
        if (c->fields & UNIT_FIELD_ACTIVE_STATE)
                apply_active_state(r, c->active_state, now_usec, adopted);
        if (c->fields & UNIT_FIELD_N_RESTARTS)
                apply_restarts(r, c->n_restarts, now_usec);
}

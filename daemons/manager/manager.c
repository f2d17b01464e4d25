/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Manager: the object that owns all others
 */

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-daemon.h>
#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"
#include "manager/alerts.h"
#include "manager/autoscaler.h"
#include "manager/chaos.h"
#include "manager/events.h"
#include "manager/job.h"
#include "manager/keys.h"
#include "manager/manager.h"
#include "manager/operations.h"
#include "manager/rollout.h"

#define TIMER_ACCURACY_MAX_USEC (250 * MAM_USEC_PER_MSEC)

static int on_pass(sd_event_source *source, void *userdata) {
        manager_pass(userdata);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        manager_pass(userdata);
        return 0;
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        Manager *m = userdata;
        int r;

        (void) sd_notifyf(
                        false,
                        "RELOADING=1\nMONOTONIC_USEC=%llu",
                        (unsigned long long) mam_now_monotonic());
        r = manager_load_config(m);
        if (r < 0)
                (void) mam_error_errno(r, "Cannot read the configuration again; the old one stands");
        (void) sd_notify(false, "READY=1");
        return 0;
}

/* A state file that cannot be read is kept for a person to look at, and nothing is assumed from it. */
static int load_state(Manager *m) {
        char aside[4096];
        int r;

        r = state_load(&m->state, m->state_path, m->boot_id);
        if (r >= 0)
                return 0;
        if (r != -ENOENT) {
                snprintf(aside, sizeof(aside), "%s.bad", m->state_path);
                mam_log_id(LOG_WARNING,
                           MAM_MESSAGE_STATE_UNUSABLE,
                           "Cannot use %s (%s): moved aside to %s; what runs is adopted",
                           m->state_path,
                           strerror(-r),
                           aside);
                if (rename(m->state_path, aside) < 0)
                        mam_warning("Cannot move it aside: %s", strerror(errno));
        }
        return state_new(&m->state);
}

static int copy(char **ret, const char *text) {
        if (!text)
                return 0;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

static int add_sources(Manager *m) {
        int r;

        r = sd_event_add_defer(m->event, &m->pass, on_pass, m);
        if (r >= 0)
                r = sd_event_source_set_enabled(m->pass, SD_EVENT_OFF);
        /* After everything that has arrived: one pass for a whole burst of signals. */
        if (r >= 0)
                r = sd_event_source_set_priority(m->pass, SD_EVENT_PRIORITY_NORMAL + 2);
        if (r >= 0) {
                r = sd_event_add_time(
                                m->event,
                                &m->timer,
                                CLOCK_MONOTONIC,
                                0,
                                TIMER_ACCURACY_MAX_USEC,
                                on_timer,
                                m);
        }
        if (r >= 0)
                r = sd_event_source_set_enabled(m->timer, SD_EVENT_OFF);
        return r;
}

/* They lie beside the state; where no state is kept, no keys are. */
static int new_keys(Manager *m) {
        const char *slash = m->state_path ? strrchr(m->state_path, '/') : NULL, *problem = NULL;
        char path[PATH_MAX];
        int r;

        if (slash)
                (void) snprintf(path,
                                sizeof(path),
                                "%.*s/keys.json",
                                (int) (slash - m->state_path),
                                m->state_path);
        r = keys_new(&m->keys, slash ? path : NULL, &problem);
        if (r >= 0 && problem)
                mam_log_id(LOG_WARNING,
                           MAM_MESSAGE_STATE_UNUSABLE,
                           "Cannot use %s (%s): moved aside to %s.bad; there are no API keys",
                           path,
                           problem,
                           path);
        return r;
}

static int new_chaos(Manager *m, const char *folder) {
        char path[4096];

        snprintf(path, sizeof(path), "%s/chaos.json", folder ? folder : "");
        return chaos_new(&m->chaos, m, folder ? path : NULL);
}

int manager_new(Manager **ret, sd_event *event, sd_bus *bus, const ManagerOptions *options) {
        _cleanup_(manager_freep) Manager *m = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(bus);
        assert(options);

        r = mam_bus_errors_register();
        if (r < 0)
                return r;

        m = calloc(1, sizeof(*m));
        if (!m)
                return -ENOMEM;

        m->event = sd_event_ref(event);
        m->bus = sd_bus_ref(bus);
        m->state_text = "stopped";
        m->revision_base = mam_now_realtime() / MAM_USEC_PER_MSEC;

        r = state_boot_id(m->boot_id, options->runtime_dir);
        if (r < 0)
                return r;

        r = events_new(&m->events, m);
        if (r >= 0)
                r = alerts_new(&m->alerts, m, options->runtime_dir);
        if (r >= 0)
                r = copy(&m->config_dir, options->config_dir);
        if (r >= 0)
                r = copy(&m->last_good_dir, options->last_good_dir);
        if (r >= 0)
                r = copy(&m->state_path, options->state_path);
        if (r >= 0)
                r = load_state(m);
        if (r >= 0)
                r = new_keys(m);
        if (r >= 0)
                r = state_new(&m->before);
        if (r >= 0)
                r = add_sources(m);
        if (r >= 0)
                r = mam_polkit_new(&m->polkit, bus);
        if (r >= 0)
                r = systemd_new(&m->systemd, bus, &manager_systemd_handlers, m);
        if (r >= 0)
                r = manager_load_config(m);
        if (r >= 0)
                r = load_new(&m->load, m);
        if (r >= 0)
                r = rollouts_new(&m->rollouts, m, options);
        if (r >= 0)
                r = autoscaler_new(&m->autoscaler, m, options->state_path);
        if (r >= 0)
                r = new_chaos(m, options->runtime_dir);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(m);
        return 0;
}

Manager *manager_free(Manager *m) {
        Service *s, *next;

        if (!m)
                return NULL;

        /* First what still answers callers and calls back into the others. */
        sd_event_source_disable_unref(m->pass);
        sd_event_source_disable_unref(m->timer);
        sd_event_source_disable_unref(m->hangup);
        m->pass = m->timer = m->hangup = NULL;
        m->autoscaler = autoscaler_free(m->autoscaler);
        m->load = load_free(m->load);
        systemd_free(m->systemd);
        m->chaos = chaos_free(m->chaos);
        init_operation_free(m->init);
        m->rollouts = rollouts_free(m->rollouts);
        mam_polkit_free(m->polkit);
        while (m->jobs)
                job_free(m->jobs);
        DL_FOREACH_SAFE(m->services, s, next) {
                DL_DELETE(m->services, s);
                service_free(s);
        }
        config_unref(m->config);
        state_free(m->state);
        state_free(m->before);
        alerts_free(m->alerts);
        keys_free(m->keys);
        events_free(m->events);
        sd_bus_slot_unref(m->name_slot);
        free(m->gateway_document);
        free(m->config_dir);
        free(m->last_good_dir);
        free(m->state_path);
        sd_bus_unref(m->bus);
        sd_event_unref(m->event);
        free(m);
        return NULL;
}

int manager_start(Manager *m) {
        int r;

        assert(m);

        r = sd_event_add_signal(m->event, &m->hangup, SIGHUP, on_hangup, m);
        if (r < 0)
                return r;
        return systemd_start(m->systemd);
}

void manager_queue_pass(Manager *m) {
        if (m->pass)
                (void) sd_event_source_set_enabled(m->pass, SD_EVENT_ONESHOT);
}

void manager_arm_timer(Manager *m, uint64_t when_usec) {
        uint64_t now_usec = mam_now_monotonic(), accuracy;

        if (!m->timer)
                return;
        if (when_usec == MAM_USEC_INFINITY) {
                (void) sd_event_source_set_enabled(m->timer, SD_EVENT_OFF);
                return;
        }

        /* Precise where something waits, lax for routine. */
        accuracy = when_usec > now_usec ? (when_usec - now_usec) / 16 : 1;
        accuracy = accuracy < MAM_USEC_PER_MSEC ? MAM_USEC_PER_MSEC : accuracy;
        (void) sd_event_source_set_time_accuracy(
                        m->timer,
                        accuracy < TIMER_ACCURACY_MAX_USEC ? accuracy : TIMER_ACCURACY_MAX_USEC);
        (void) sd_event_source_set_time(m->timer, when_usec);
        (void) sd_event_source_set_enabled(m->timer, SD_EVENT_ONESHOT);
}

void manager_queue_save(Manager *m, uint64_t delay_usec) {
        uint64_t due = mam_now_monotonic() + delay_usec;

        if (!m->state_dirty || due < m->state_due_usec)
                m->state_due_usec = due;
        m->state_dirty = true;
}

int manager_save_state(Manager *m) {
        int r;

        assert(m);

        r = state_save(m->state, m->state_path, m->boot_id);
        if (m->state_failed != (r < 0 ? r : 0))
                manager_queue_pass(m); /* an alert begins or ends */
        m->state_failed = r < 0 ? r : 0;
        if (r < 0) {
                mam_log_id(LOG_ERR,
                           MAM_MESSAGE_STATE_UNUSABLE,
                           "Cannot write %s: %s",
                           m->state_path,
                           strerror(-r));
                m->state_dirty = true;
                m->state_due_usec = mam_now_monotonic() + 5 * MAM_USEC_PER_SEC;
                return r;
        }
        m->state_dirty = false;
        return 0;
}

Service *manager_find_service(Manager *m, const char *id) {
        Service *s;

        DL_FOREACH(m->services, s) {
                if (strcmp(s->config->id, id) == 0)
                        return s;
        }
        return NULL;
}

bool manager_service_is_external(const Manager *m, const char *id) {
        const MamConfig *c = m->config->config;

        return (strcmp(id, "postgresql") == 0 && c->postgresql_dsn) ||
               (strcmp(id, "redis") == 0 && c->redis_dsn);
}

bool manager_gateway_runs(Manager *m) {
        const Service *s;

        DL_FOREACH(m->services, s) {
                if (s->config->type == MAM_SERVICE_TYPE_GATEWAY && s->counts.ready > 0)
                        return true;
        }
        return false;
}

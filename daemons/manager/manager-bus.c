/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.manageragent.Manager1: what changes something, and the object tree
 *
 * Every handler: read, validate, authorise, act, reply. It runs twice (see bus-polkit.h), so nothing is
 * changed before the check.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-daemon.h>
#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/bus/bus-log-control.h"
#include "libmam/obs/log.h"
#include "libmam/util/quantity.h"
#include "mam-build.h"
#include "manager/actions.h"
#include "manager/alerts.h"
#include "manager/events.h"
#include "manager/explain.h"
#include "manager/job.h"
#include "manager/keys.h"
#include "manager/manager-bus.h"
#include "manager/operations.h"
#include "manager/plan.h"
#include "manager/rollout.h"
#include "manager/token.h"

/* ---- methods ---- */

static int method_init(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;
        uint64_t flags;
        int r;

        r = sd_bus_message_read(message, "t", &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r < 0)
                return r;
        if (m->init)
                return sd_bus_error_setf(error, MAM_BUS_ERROR_BUSY, "Another Init is under way");

        r = manager_bus_authorize(m, message, MAM_ACTION_CONFIGURE, "init", "", error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        r = init_operation_start(m, message);
        return r < 0 ? r : 1;
}

/* "" leaves *limit as it is, "default" makes it 0. */
static int read_limit(
                const char *text,
                int (*parse)(const char *, uint64_t *),
                const char *what,
                uint64_t *limit,
                sd_bus_error *error) {
        int r;

        if (!*text)
                return 0;
        if (strcmp(text, "default") == 0) {
                *limit = 0;
                return 0;
        }

        r = parse(text, limit);
        if (r < 0) {
                return sd_bus_error_setf(
                                error,
                                r == -ERANGE ? MAM_BUS_ERROR_OUT_OF_RANGE : SD_BUS_ERROR_INVALID_ARGS,
                                "'%.32s' is not a possible limit of %s",
                                text,
                                what);
        }
        return 0;
}

/* What a process cannot even start in is a typing mistake. */
#define MEMORY_LIMIT_MIN (4ULL * 1024 * 1024)
#define CPU_LIMIT_MIN    10U

static int method_set_limits(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        uint64_t flags, cpu_millis, memory_bytes;
        const char *id, *cpu, *memory;
        Manager *m = userdata;
        Service *s = NULL;
        int r;

        r = sd_bus_message_read(message, "ssst", &id, &cpu, &memory, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r >= 0)
                r = manager_bus_read_service(m, id, false, &s, error);
        if (r >= 0)
                r = manager_bus_check_usable(m, s, error);
        if (r < 0)
                return r;

        cpu_millis = s->state->cpu_millis;
        memory_bytes = s->state->memory_bytes;
        r = read_limit(cpu, mam_quantity_parse_cpu, "CPU", &cpu_millis, error);
        if (r >= 0)
                r = read_limit(memory, mam_quantity_parse_bytes, "memory", &memory_bytes, error);
        if (r < 0)
                return r;
        if ((cpu_millis > 0 && cpu_millis < CPU_LIMIT_MIN) ||
            (memory_bytes > 0 && memory_bytes < MEMORY_LIMIT_MIN)) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_OUT_OF_RANGE,
                                "The least possible limits are 10m of CPU and 4Mi of memory");
        }

        r = manager_bus_authorize(m, message, MAM_ACTION_SET_LIMITS, "set-limits", id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        s->state->cpu_millis = cpu_millis;
        s->state->memory_bytes = memory_bytes;
        if (*cpu)
                s->state->auto_cpu_millis = 0;
        if (*memory)
                s->state->auto_memory_bytes = 0;
        s->state->runtime_limits = true;
        s->dirty |= SERVICE_DIRTY_LIMITS;
        r = manager_bus_commit(m, error);
        if (r < 0)
                return r;
        event_log(m,
                  LOG_NOTICE,
                  NULL,
                  id,
                  0,
                  "resized",
                  "limits per replica set by a person: CPU %llum, memory %llu MiB",
                  (unsigned long long) service_cpu_millis(s),
                  (unsigned long long) (service_memory_bytes(s) / (1024 * 1024)));
        manager_queue_pass(m);

        r = limits_operation_start(s, message);
        return r < 0 ? r : 1;
}

static int method_issue_token(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) char *token = NULL;
        const char *subject, *reason = NULL;
        TokenRequest request = { 0 };
        Manager *m = userdata;
        uint64_t flags;
        int r;

        r = sd_bus_message_read(message, "s", &subject);
        if (r >= 0)
                r = sd_bus_message_enter_container(message, 'a', "s");
        if (r < 0)
                return r;
        for (;;) {
                const char *role;

                r = sd_bus_message_read(message, "s", &role);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                if (request.n_roles >= TOKEN_ROLES_MAX) {
                        return sd_bus_error_setf(
                                        error,
                                        SD_BUS_ERROR_INVALID_ARGS,
                                        "More than %u roles",
                                        TOKEN_ROLES_MAX);
                }
                request.roles[request.n_roles++] = role;
        }
        r = sd_bus_message_exit_container(message);
        if (r >= 0)
                r = sd_bus_message_read(message, "tt", &request.ttl_usec, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r < 0)
                return r;

        request.subject = subject;
        if (!token_request_is_valid(&request, &reason))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%s", reason);

        r = manager_bus_authorize(m, message, MAM_ACTION_SECRETS, "issue-token", "", error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        r = token_issue(&token, &request, mam_now_realtime());
        if (r == -ENOENT) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_NOT_INITIALIZED,
                                "There is no signing key yet: run 'mamctl init' and 'systemctl restart mam-manager'");
        }
        if (r < 0)
                return r;

        mam_notice("Issued a token for subject '%s'", subject);
        return sd_bus_reply_method_return(message, "s", token);
}

/* ---- properties ---- */

static int property_get_version(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", MAM_VERSION);
}

static int property_get_initialized(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        Manager *m = userdata;

        return sd_bus_message_append(reply, "b", (int) m->state->initialized);
}

static int property_get_state(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        Manager *m = userdata;

        return sd_bus_message_append(reply, "s", m->state_text);
}

static int property_get_problems(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        Manager *m = userdata;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        for (size_t i = 0; r >= 0 && i < m->config->config->n_problems; i++) {
                _cleanup_(mam_freep) char *text = NULL;

                if (m->config->config->problems[i].level == MAM_PROBLEM_NOTICE)
                        continue; /* told by Init, once */
                r = mam_config_problem_format(&text, &m->config->config->problems[i]);
                if (r >= 0)
                        r = sd_bus_message_append(reply, "s", text);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS(
                        "Init",
                        SD_BUS_ARGS("t", flags),
                        SD_BUS_RESULT("a(ss)", report),
                        method_init,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Start",
                        SD_BUS_ARGS("s", service, "t", flags),
                        SD_BUS_RESULT("o", job),
                        manager_bus_start,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Stop",
                        SD_BUS_ARGS("s", service, "t", flags),
                        SD_BUS_RESULT("o", job),
                        manager_bus_stop,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Restart",
                        SD_BUS_ARGS("s", service, "t", flags),
                        SD_BUS_RESULT("o", job),
                        manager_bus_restart,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Scale",
                        SD_BUS_ARGS("s", service, "u", replicas, "t", flags),
                        SD_BUS_RESULT("o", job),
                        manager_bus_scale,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "SetLimits",
                        SD_BUS_ARGS("s", service, "s", cpu, "s", memory, "t", flags),
                        SD_BUS_NO_RESULT,
                        method_set_limits,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "SetAutoscaling",
                        SD_BUS_ARGS("s", service, "s", horizontal, "s", vertical, "t", flags),
                        SD_BUS_NO_RESULT,
                        manager_bus_set_autoscaling,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "List",
                        SD_BUS_NO_ARGS,
                        SD_BUS_RESULT("a(ssssuuuo)", services),
                        manager_bus_list,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Status",
                        SD_BUS_ARGS("s", service),
                        SD_BUS_RESULT("a(sa{sv}a(sa{sv}))", services),
                        manager_bus_status,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Health",
                        SD_BUS_ARGS("s", service),
                        SD_BUS_RESULT("a(sssst)", replicas),
                        manager_bus_health,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Metrics",
                        SD_BUS_ARGS("s", service),
                        SD_BUS_RESULT("a(ssa{sd})", metrics),
                        manager_bus_metrics,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "ListEndpoints",
                        SD_BUS_ARGS("s", service),
                        SD_BUS_RESULT("t", revision, "a(sssus)", endpoints, "a(su)", split),
                        manager_bus_list_endpoints,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "GetGateway",
                        SD_BUS_NO_ARGS,
                        SD_BUS_RESULT("t", generation, "s", document),
                        manager_bus_get_gateway,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Plan",
                        SD_BUS_ARGS("s", service, "t", flags),
                        SD_BUS_RESULT("a(sssss)", differences),
                        manager_bus_plan,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Explain",
                        SD_BUS_ARGS("s", service, "t", flags),
                        SD_BUS_RESULT("a(ssssta{sd})", reasons),
                        manager_bus_explain,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "ListAlerts",
                        SD_BUS_NO_ARGS,
                        SD_BUS_RESULT("a(sssssst)", alerts),
                        manager_bus_list_alerts,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "ListEvents",
                        SD_BUS_ARGS("s", service, "t", after, "u", max),
                        SD_BUS_RESULT("a(ttsssss)", events),
                        manager_bus_list_events,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Deploy",
                        SD_BUS_ARGS("s", service, "a{sv}", options, "t", flags),
                        SD_BUS_RESULT("o", rollout),
                        manager_bus_deploy,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "GetRollout",
                        SD_BUS_ARGS("s", service),
                        SD_BUS_RESULT("o", rollout),
                        manager_bus_get_rollout,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "ListRevisions",
                        SD_BUS_ARGS("s", service),
                        SD_BUS_RESULT("a(sstsss)", revisions),
                        manager_bus_list_revisions,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Chaos",
                        SD_BUS_ARGS("s", kind, "s", service, "u", percent, "t", duration_usec, "t", flags),
                        SD_BUS_RESULT("o", job),
                        manager_bus_chaos,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "IssueToken",
                        SD_BUS_ARGS("s", subject, "as", roles, "t", ttl_usec, "t", flags),
                        SD_BUS_RESULT("s", token),
                        method_issue_token,
                        SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS(
                        "CreateKey",
                        SD_BUS_ARGS("s",
                                    name,
                                    "s",
                                    subject,
                                    "as",
                                    roles,
                                    "as",
                                    scopes,
                                    "t",
                                    ttl_usec,
                                    "t",
                                    flags),
                        SD_BUS_RESULT("s", id, "s", key),
                        manager_bus_create_key,
                        SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS(
                        "ListKeys",
                        SD_BUS_NO_ARGS,
                        SD_BUS_RESULT("a(sssasasttttt)", keys),
                        manager_bus_list_keys,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "RotateKey",
                        SD_BUS_ARGS("s", id, "t", grace_usec, "t", flags),
                        SD_BUS_RESULT("s", key),
                        manager_bus_rotate_key,
                        SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS(
                        "RevokeKey",
                        SD_BUS_ARGS("s", id, "t", flags),
                        SD_BUS_NO_RESULT,
                        manager_bus_revoke_key,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "GetKeys",
                        SD_BUS_NO_ARGS,
                        SD_BUS_RESULT("t", generation, "s", keys),
                        manager_bus_get_keys,
                        SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS(
                        "ReportKeyUse",
                        SD_BUS_ARGS("a(stt)", uses),
                        SD_BUS_NO_RESULT,
                        manager_bus_report_key_use,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("KeysChanged", SD_BUS_ARGS("t", generation), 0),
        SD_BUS_SIGNAL_WITH_ARGS("GatewayChanged", SD_BUS_ARGS("t", generation), 0),
        SD_BUS_SIGNAL_WITH_ARGS(
                        "EndpointsChanged",
                        SD_BUS_ARGS("s", service, "t", revision, "a(sssus)", endpoints, "a(su)", split),
                        0),
        SD_BUS_SIGNAL_WITH_ARGS(
                        "Alert",
                        SD_BUS_ARGS("s",
                                    fingerprint,
                                    "s",
                                    name,
                                    "s",
                                    severity,
                                    "s",
                                    service,
                                    "s",
                                    replica,
                                    "s",
                                    summary,
                                    "t",
                                    started_usec,
                                    "t",
                                    ended_usec),
                        0),
        SD_BUS_SIGNAL_WITH_ARGS(
                        "Event",
                        SD_BUS_ARGS("t",
                                    sequence,
                                    "t",
                                    time_usec,
                                    "s",
                                    severity,
                                    "s",
                                    service,
                                    "s",
                                    replica,
                                    "s",
                                    type,
                                    "s",
                                    message),
                        0),
        SD_BUS_SIGNAL_WITH_ARGS(
                        "ChaosEnded",
                        SD_BUS_ARGS("o", job, "s", service, "a{sd}", before, "a{sd}", during),
                        0),
        SD_BUS_SIGNAL_WITH_ARGS("RolloutNew", SD_BUS_ARGS("o", rollout, "s", service), 0),
        SD_BUS_SIGNAL_WITH_ARGS(
                        "RolloutRemoved",
                        SD_BUS_ARGS("o", rollout, "s", service, "s", result, "s", message),
                        0),
        SD_BUS_SIGNAL_WITH_ARGS("JobNew", SD_BUS_ARGS("o", job, "s", verb, "s", service), 0),
        SD_BUS_SIGNAL_WITH_ARGS(
                        "JobProgress",
                        SD_BUS_ARGS("o", job, "s", service, "u", done, "u", total, "s", message),
                        0),
        SD_BUS_SIGNAL_WITH_ARGS(
                        "JobRemoved",
                        SD_BUS_ARGS("o", job, "s", service, "s", result, "s", message),
                        0),
        SD_BUS_PROPERTY("Version", "s", property_get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Initialized",
                        "b",
                        property_get_initialized,
                        0,
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("State", "s", property_get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ConfigurationProblems",
                        "as",
                        property_get_problems,
                        0,
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

int manager_export(Manager *m) {
        int r;

        assert(m);

        r = sd_bus_add_object_manager(m->bus, NULL, MAM_BUS_PATH);
        if (r >= 0) {
                r = sd_bus_add_object_vtable(
                                m->bus,
                                NULL,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                manager_vtable,
                                m);
        }
        if (r >= 0)
                r = service_export(m);
        if (r >= 0)
                r = replica_export(m);
        if (r >= 0)
                r = job_export(m);
        if (r >= 0)
                r = rollout_export(m);
        if (r >= 0)
                r = mam_log_control_export(m->bus, NULL, "mam-manager");
        return r;
}

/* ---- our name ---- */

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        Manager *m = userdata;
        uint32_t result = 0;
        size_t n = 0;
        Service *s;

        m->name_slot = sd_bus_slot_unref(m->name_slot);
        if (e || sd_bus_message_read(reply, "u", &result) < 0 || (result != 1 && result != 4)) {
                mam_error("Cannot own the bus name %s: %s",
                          MAM_BUS_NAME,
                          e ? e->message : "somebody else has it");
                return sd_event_exit(m->event, EXIT_FAILURE);
        }

        m->ready = true;
        DL_FOREACH(m->services, s) {
                s->endpoints_announced = false; /* nobody was listening yet */
                n++;
        }
        manager_queue_pass(m);
        companions_follow(m);
        (void) sd_notifyf(false, "READY=1\nSTATUS=Managing %zu services", n);
        return 0;
}

int manager_request_name(Manager *m) {
        return sd_bus_request_name_async(m->bus, &m->name_slot, MAM_BUS_NAME, 0, on_name, m);
}

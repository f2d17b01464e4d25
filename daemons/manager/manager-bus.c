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
#include "manager/job.h"
#include "manager/manager-bus.h"
#include "manager/operations.h"
#include "manager/token.h"

static int check_flags(uint64_t flags, sd_bus_error *error) {
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
static int read_service(Manager *m, const char *id, bool all_allowed, Service **ret, sd_bus_error *error) {
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
static int check_usable(Manager *m, const Service *s, sd_bus_error *error) {
        if (!s->configured)
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_BAD_CONFIG,
                                "Service '%s' is no longer configured; it can only be stopped",
                                s->config->id);
        if (manager_service_is_external(m, s->config->id))
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_BAD_CONFIG,
                                "Service '%s' is replaced by an external one (microservices.json: external.%s)",
                                s->config->id,
                                s->config->id);
        return 0;
}

static int authorize(
                Manager *m,
                sd_bus_message *message,
                const char *action,
                const char *verb,
                const char *id,
                sd_bus_error *error) {
        const char *const details[] = { "service", id, "verb", verb, NULL };

        return mam_polkit_check(m->polkit, message, action, details, error);
}

/* ---- members of a job ---- */

typedef struct MemberSet {
        Service *services[STATE_SERVICES_MAX];
        size_t n;
} MemberSet;

static bool set_has(const MemberSet *set, const Service *s) {
        for (size_t i = 0; i < set->n; i++)
                if (set->services[i] == s)
                        return true;
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

        DL_FOREACH(m->services, other)
        if (other != s && !set_has(set, other) && service_depends_on(other, s->config->id) &&
            (other->state->running || other->counts.existing > 0))
                set_add_with_dependents(m, set, other);
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

        r = job_new(&job, m, verb, id, members, n);
        if (r == -EDQUOT) {
                free(members);
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_QUOTA,
                                "There are %u jobs already",
                                MANAGER_JOBS_MAX);
        }
        if (r < 0) {
                free(members);
                return r;
        }

        r = job_path(job, &path);
        if (r < 0)
                return r;

        /* Stored before anything is done: a manager that is killed now goes on where it was. */
        (void) manager_save_state(m);
        mam_info("Job %u: %s %s", job->id, job_verb_to_string(verb), *id ? id : "all services");
        job_emit_new(job);
        manager_queue_pass(m);
        return sd_bus_reply_method_return(message, "o", path);
}

/* ---- methods ---- */

static int method_init(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;
        uint64_t flags;
        int r;

        r = sd_bus_message_read(message, "t", &flags);
        if (r >= 0)
                r = check_flags(flags, error);
        if (r < 0)
                return r;
        if (m->init)
                return sd_bus_error_setf(error, MAM_BUS_ERROR_BUSY, "Another Init is under way");

        r = authorize(m, message, MAM_ACTION_CONFIGURE, "init", "", error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        r = init_operation_start(m, message);
        return r < 0 ? r : 1;
}

static int method_start(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) JobMember *members = NULL;
        MemberSet set = { .n = 0 };
        Manager *m = userdata;
        Service *s = NULL, *i;
        uint64_t flags;
        const char *id;
        int r;

        r = sd_bus_message_read(message, "st", &id, &flags);
        if (r >= 0)
                r = check_flags(flags, error);
        if (r >= 0)
                r = read_service(m, id, true, &s, error);
        if (r >= 0 && s)
                r = check_usable(m, s, error);
        if (r < 0)
                return r;

        r = authorize(m, message, MAM_ACTION_CONTROL, "start", id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        if (s)
                set_add_with_dependencies(m, &set, s);
        else
                DL_FOREACH(m->services, i)
        if (i->configured && !manager_service_is_external(m, i->config->id))
                set_add_with_dependencies(m, &set, i);

        members = calloc(set.n + 1, sizeof(*members));
        if (!members)
                return -ENOMEM;
        for (size_t k = 0; k < set.n; k++) {
                members[k].service = set.services[k];
                service_want_running(set.services[k]);
        }
        return begin_job(m, message, JOB_START, id, MAM_TAKE(members), set.n, error);
}

static int method_stop(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) JobMember *members = NULL;
        MemberSet set = { .n = 0 };
        Manager *m = userdata;
        Service *s = NULL, *i;
        uint64_t flags;
        const char *id;
        int r;

        r = sd_bus_message_read(message, "st", &id, &flags);
        if (r >= 0)
                r = check_flags(flags, error);
        if (r >= 0)
                r = read_service(m, id, true, &s, error);
        if (r < 0)
                return r;

        r = authorize(m, message, MAM_ACTION_CONTROL, "stop", id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        if (s)
                set_add_with_dependents(m, &set, s);
        else
                DL_FOREACH(m->services, i)
        set_add_with_dependents(m, &set, i);

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

static int method_restart(sd_bus_message *message, void *userdata, sd_bus_error *error) {
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
                r = check_flags(flags, error);
        if (r >= 0)
                r = read_service(m, id, true, &s, error);
        if (r >= 0 && s)
                r = check_usable(m, s, error);
        if (r >= 0 && s && !s->state->running)
                r = sd_bus_error_setf(
                                error,
                                SD_BUS_ERROR_FAILED,
                                "Service '%s' does not run; start it instead",
                                id);
        if (r < 0)
                return r;

        r = authorize(m, message, MAM_ACTION_CONTROL, "restart", id, error);
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

                if (!member || (s && member != s) || !member->state->running)
                        continue;
                members[n].service = member;
                members[n++].todo = member->state->numbers;
        }
        return begin_job(m, message, JOB_RESTART, id, MAM_TAKE(members), n, error);
}

static int method_scale(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) JobMember *members = NULL;
        Numbers removed = NUMBERS_INIT;
        Manager *m = userdata;
        Service *s = NULL;
        uint32_t replicas;
        uint64_t flags;
        const char *id;
        int r;

        r = sd_bus_message_read(message, "sut", &id, &replicas, &flags);
        if (r >= 0)
                r = check_flags(flags, error);
        if (r >= 0)
                r = read_service(m, id, false, &s, error);
        if (r >= 0)
                r = check_usable(m, s, error);
        if (r < 0)
                return r;
        if (replicas < s->config->min_replicas || replicas > service_max_number(s) || replicas < 1)
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_OUT_OF_RANGE,
                                "Service '%s' can have %u to %u replicas, not %u",
                                id,
                                s->config->min_replicas > 0 ? s->config->min_replicas : 1,
                                service_max_number(s),
                                replicas);

        r = authorize(m, message, MAM_ACTION_SCALE, "scale", id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        members = calloc(1, sizeof(*members));
        if (!members)
                return -ENOMEM;
        members->service = s;
        s->state->replicas = replicas;
        s->dirty |= SERVICE_DIRTY_STATE;
        if (s->state->running)
                service_want_count(s, replicas, NULL, &removed);
        NUMBERS_FOREACH(n, &removed)
        if (numbers_has(&s->state->stopping, n))
                numbers_add(&members->todo, n);
        return begin_job(m, message, JOB_SCALE, id, MAM_TAKE(members), 1, error);
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
        if (r < 0)
                return sd_bus_error_setf(
                                error,
                                r == -ERANGE ? MAM_BUS_ERROR_OUT_OF_RANGE : SD_BUS_ERROR_INVALID_ARGS,
                                "'%.32s' is not a possible limit of %s",
                                text,
                                what);
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
                r = check_flags(flags, error);
        if (r >= 0)
                r = read_service(m, id, false, &s, error);
        if (r >= 0)
                r = check_usable(m, s, error);
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
            (memory_bytes > 0 && memory_bytes < MEMORY_LIMIT_MIN))
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_OUT_OF_RANGE,
                                "The least possible limits are 10m of CPU and 4Mi of memory");

        r = authorize(m, message, MAM_ACTION_SET_LIMITS, "set-limits", id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        s->state->cpu_millis = cpu_millis;
        s->state->memory_bytes = memory_bytes;
        s->dirty |= SERVICE_DIRTY_LIMITS;
        (void) manager_save_state(m);
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
                if (request.n_roles >= TOKEN_ROLES_MAX)
                        return sd_bus_error_setf(
                                        error,
                                        SD_BUS_ERROR_INVALID_ARGS,
                                        "More than %u roles",
                                        TOKEN_ROLES_MAX);
                request.roles[request.n_roles++] = role;
        }
        r = sd_bus_message_exit_container(message);
        if (r >= 0)
                r = sd_bus_message_read(message, "tt", &request.ttl_usec, &flags);
        if (r >= 0)
                r = check_flags(flags, error);
        if (r < 0)
                return r;

        request.subject = subject;
        if (!token_request_is_valid(&request, &reason))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%s", reason);

        r = authorize(m, message, MAM_ACTION_SECRETS, "issue-token", "", error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        r = token_issue(&token, &request, mam_now_realtime());
        if (r == -ENOENT)
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_NOT_INITIALIZED,
                                "There is no signing key yet: run 'mamctl init' and 'systemctl restart mam-manager'");
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
                        method_start,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Stop",
                        SD_BUS_ARGS("s", service, "t", flags),
                        SD_BUS_RESULT("o", job),
                        method_stop,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Restart",
                        SD_BUS_ARGS("s", service, "t", flags),
                        SD_BUS_RESULT("o", job),
                        method_restart,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "Scale",
                        SD_BUS_ARGS("s", service, "u", replicas, "t", flags),
                        SD_BUS_RESULT("o", job),
                        method_scale,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "SetLimits",
                        SD_BUS_ARGS("s", service, "s", cpu, "s", memory, "t", flags),
                        SD_BUS_NO_RESULT,
                        method_set_limits,
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
                        SD_BUS_RESULT("t", revision, "a(sssu)", endpoints),
                        manager_bus_list_endpoints,
                        SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                        "IssueToken",
                        SD_BUS_ARGS("s", subject, "as", roles, "t", ttl_usec, "t", flags),
                        SD_BUS_RESULT("s", token),
                        method_issue_token,
                        SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_SIGNAL_WITH_ARGS(
                        "EndpointsChanged",
                        SD_BUS_ARGS("s", service, "t", revision, "a(sssu)", endpoints),
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
        if (r >= 0)
                r = sd_bus_add_object_vtable(
                                m->bus,
                                NULL,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                manager_vtable,
                                m);
        if (r >= 0)
                r = service_export(m);
        if (r >= 0)
                r = replica_export(m);
        if (r >= 0)
                r = job_export(m);
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
        (void) sd_notifyf(false, "READY=1\nSTATUS=Managing %zu services", n);
        return 0;
}

int manager_request_name(Manager *m) {
        return sd_bus_request_name_async(m->bus, &m->name_slot, MAM_BUS_NAME, 0, on_name, m);
}

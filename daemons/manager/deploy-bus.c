/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Deploy: what is asked for, whether it can be, and the beginning of the rollout
 *
 * A revision needs its definition where the generator looks for it. mam-setup (root) puts it there; if it is
 * not there yet, Deploy has systemd run mam-setup.service first, once, and answers after that.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "manager/actions.h"
#include "manager/chaos.h"
#include "manager/job.h"
#include "manager/manager-bus.h"
#include "manager/rollout-internal.h"

#define SETUP_UNIT "mam-setup.service"

#define TEXT_MAX             4095U
#define PAUSE_MAX_USEC       (24 * 3600 * MAM_USEC_PER_SEC)
#define MIN_HEALTHY_MAX_USEC (3600 * MAM_USEC_PER_SEC)
#define DEADLINE_MIN_USEC    (1 * MAM_USEC_PER_SEC)
#define DEADLINE_MAX_USEC    (7 * 24 * 3600 * MAM_USEC_PER_SEC)
#define STEPS_TEXT           "steps are 1 to 100 (percent), rising, at most 16 of them"

typedef struct Options {
        const char *version, *exec, *image, *revision; /* borrowed from the message; NULL: not given */
        bool steps, pause, surge, unavailable, progress_deadline; /* given */
        RolloutPlan plan;
} Options;

struct DeployOperation {
        Manager *manager;        /* weak: the manager's rollouts own us */
        sd_bus_message *message; /* owned; the caller we owe an answer */
        uint32_t job;            /* of mam-setup.service; 0: not known yet */
        DeployOperation *prev, *next;
};

/* ---- options ---- */

static int wrong(sd_bus_error *error, const char *format, ...) _printf_(2, 3);
static int wrong(sd_bus_error *error, const char *format, ...) {
        va_list ap;
        int r;

        va_start(ap, format);
        r = sd_bus_error_setfv(error, SD_BUS_ERROR_INVALID_ARGS, format, ap);
        va_end(ap);
        return r;
}

static int read_steps(sd_bus_message *m, RolloutPlan *p, sd_bus_error *error) {
        const uint32_t *steps;
        size_t size, n;
        int r;

        r = sd_bus_message_enter_container(m, 'v', "au");
        if (r >= 0)
                r = sd_bus_message_read_array(m, 'u', (const void **) &steps, &size);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;

        n = size / sizeof(*steps);
        if (n < 1 || n > ROLLOUT_STEPS_MAX - 1)
                return wrong(error, STEPS_TEXT);
        for (size_t i = 0; i < n; i++) {
                if (steps[i] < 1 || steps[i] > 100 || (i > 0 && steps[i] <= steps[i - 1]))
                        return wrong(error, STEPS_TEXT);
                p->steps[i] = steps[i];
        }
        p->n_steps = (uint32_t) n;
        if (p->steps[n - 1] < 100)
                p->steps[p->n_steps++] = 100; /* in the end it gets everything */
        return 0;
}

static int read_usec(
                sd_bus_message *m,
                const char *key,
                uint64_t min,
                uint64_t max,
                uint64_t *ret,
                sd_bus_error *error) {
        char least[48], most[48];
        uint64_t value;
        int r;

        r = sd_bus_message_read(m, "v", "t", &value);
        if (r < 0)
                return r;
        if (value < min || value > max) {
                mam_format_timespan(least, min);
                mam_format_timespan(most, max);
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_OUT_OF_RANGE,
                                "Option '%s' can be %s to %s",
                                key,
                                least,
                                most);
        }
        *ret = value;
        return 0;
}

static int read_number(sd_bus_message *m, const char *key, uint32_t *ret, sd_bus_error *error) {
        uint32_t value;
        int r;

        r = sd_bus_message_read(m, "v", "u", &value);
        if (r < 0)
                return r;
        if (value > MAM_CONFIG_REPLICAS_MAX) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_OUT_OF_RANGE,
                                "Option '%s' can be 0 to %u",
                                key,
                                MAM_CONFIG_REPLICAS_MAX);
        }
        *ret = value;
        return 0;
}

static int read_text(sd_bus_message *m, const char *key, const char **ret, sd_bus_error *error) {
        const char *text;
        int r;

        r = sd_bus_message_read(m, "v", "s", &text);
        if (r < 0)
                return r;
        if (!*text || strlen(text) > TEXT_MAX)
                return wrong(error, "Option '%s' must be 1 to %u bytes long", key, TEXT_MAX);
        *ret = text;
        return 0;
}

static int read_strategy(sd_bus_message *m, RolloutPlan *p, sd_bus_error *error) {
        const char *text = NULL;
        int r;

        r = read_text(m, "strategy", &text, error);
        if (r < 0)
                return r;
        p->strategy = rollout_strategy_from_string(text);
        if (p->strategy < 0)
                return wrong(error, "'%.32s' is none of the strategies rolling, canary, blue-green", text);
        return 0;
}

static int read_option(sd_bus_message *m, const char *key, Options *o, sd_bus_error *error) {
        RolloutPlan *p = &o->plan;
        int flag, r;

        if (strcmp(key, "version") == 0)
                return read_text(m, key, &o->version, error);
        if (strcmp(key, "exec") == 0)
                return read_text(m, key, &o->exec, error);
        if (strcmp(key, "image") == 0)
                return read_text(m, key, &o->image, error);
        if (strcmp(key, "revision") == 0)
                return read_text(m, key, &o->revision, error);
        if (strcmp(key, "strategy") == 0)
                return read_strategy(m, p, error);
        if (strcmp(key, "steps") == 0) {
                o->steps = true;
                return read_steps(m, p, error);
        }
        if (strcmp(key, "pause_usec") == 0) {
                o->pause = true;
                return read_usec(m, key, 0, PAUSE_MAX_USEC, &p->pause_usec, error);
        }
        if (strcmp(key, "max_surge") == 0) {
                o->surge = true;
                return read_number(m, key, &p->max_surge, error);
        }
        if (strcmp(key, "max_unavailable") == 0) {
                o->unavailable = true;
                return read_number(m, key, &p->max_unavailable, error);
        }
        if (strcmp(key, "min_healthy_usec") == 0)
                return read_usec(m, key, 0, MIN_HEALTHY_MAX_USEC, &p->min_healthy_usec, error);
        if (strcmp(key, "healthy_deadline_usec") == 0)
                return read_usec(
                                m,
                                key,
                                DEADLINE_MIN_USEC,
                                DEADLINE_MAX_USEC,
                                &p->healthy_deadline_usec,
                                error);
        if (strcmp(key, "progress_deadline_usec") == 0) {
                o->progress_deadline = true;
                return read_usec(
                                m,
                                key,
                                DEADLINE_MIN_USEC,
                                DEADLINE_MAX_USEC,
                                &p->progress_deadline_usec,
                                error);
        }
        if (strcmp(key, "auto_revert") == 0) {
                r = sd_bus_message_read(m, "v", "b", &flag);
                if (r >= 0)
                        p->auto_revert = flag;
                return r;
        }
        return wrong(error, "There is no option '%.32s'", key);
}

static int read_options(sd_bus_message *m, Options *o, sd_bus_error *error) {
        const char *key;
        int r;

        rollout_plan_init(&o->plan, 1, mam_now_monotonic());
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r < 0)
                        return r;
                r = read_option(m, key, o, error);
                if (r < 0 && !sd_bus_error_is_set(error))
                        return wrong(error, "Option '%.32s' is of another type", key);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* ---- what fits together ---- */

static int check_times(Options *o, sd_bus_error *error) {
        RolloutPlan *p = &o->plan;

        if (!o->progress_deadline && p->progress_deadline_usec < p->healthy_deadline_usec)
                p->progress_deadline_usec = p->healthy_deadline_usec;
        if (p->min_healthy_usec >= p->healthy_deadline_usec)
                return wrong(error, "min_healthy_usec must be less than healthy_deadline_usec");
        if (p->healthy_deadline_usec > p->progress_deadline_usec)
                return wrong(error, "healthy_deadline_usec must not be more than progress_deadline_usec");
        return 0;
}

static int check_plan(const Service *s, Options *o, sd_bus_error *error) {
        uint32_t wanted = numbers_count(&s->state->numbers), max = mam_service_instances_max(s->config);
        RolloutPlan *p = &o->plan;

        if (o->revision && (o->version || o->exec || o->image))
                return wrong(error, "A revision has its version, exec and image already");
        if ((o->steps || o->pause) && p->strategy != ROLLOUT_CANARY)
                return wrong(error, "steps and pause_usec are options of the strategy canary");
        if ((o->surge || o->unavailable) && p->strategy == ROLLOUT_BLUE_GREEN)
                return wrong(error,
                             "max_surge and max_unavailable are no options of the strategy blue-green");
        if (p->strategy != ROLLOUT_BLUE_GREEN && p->max_surge == 0 && p->max_unavailable == 0)
                return wrong(error, "With max_surge and max_unavailable 0 nothing could be replaced");
        if (p->strategy == ROLLOUT_BLUE_GREEN && max < 2 * wanted) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_OUT_OF_RANGE,
                                "Blue-green needs %u replicas of '%s' at a time, and it can have %u",
                                2 * wanted,
                                s->config->id,
                                max);
        }
        if (p->strategy == ROLLOUT_CANARY && max <= wanted) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_OUT_OF_RANGE,
                                "A canary needs one replica more than the %u of '%s', and it can have %u",
                                wanted,
                                s->config->id,
                                max);
        }
        return check_times(o, error);
}

static int check_path(const char *what, const char *path, bool folder, sd_bus_error *error) {
        _cleanup_(mam_freep) char *problem = NULL;
        int r;

        if (!path)
                return 0;
        r = mam_revision_check_path(path, folder, &problem);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return wrong(error, "%s: %s", what, problem ? problem : strerror(-r));
        return 0;
}

/* ---- which revision ---- */

static int find_revision(const Service *s, const char *name, MamRevision *ret, sd_bus_error *error) {
        const MamDeployService *ds = mam_deploy_find(s->manager->rollouts->deploy, s->config->id);
        const MamRevision *v = ds ? mam_deploy_revision(ds, name) : NULL;

        if (!v)
                return wrong(error,
                             "'%.16s' is no revision of '%s': see mamctl history %s",
                             name,
                             s->config->id,
                             s->config->id);
        *ret = *v;
        return 0;
}

static int make_revision(const Service *s, const Options *o, MamRevision *ret, sd_bus_error *error) {
        int r;

        *ret = (MamRevision){ .version = (char *) (o->version ? o->version : ""),
                              .exec = (char *) o->exec,
                              .image = (char *) o->image };
        r = mam_definition_name(ret->definition, s->config);
        if (r >= 0)
                r = mam_revision_name(ret->name, s->config, o->version, o->exec, o->image);
        if (r == -EINVAL)
                return wrong(error,
                             "A version has at most 64 letters, digits and the characters . _ + ~ - and begins with a letter or digit; paths are absolute and clean");
        return r;
}

/* 1: its definition is missing so far. */
static int check_revision(const Service *s, const MamRevision *v, sd_bus_error *error) {
        _cleanup_(mam_service_config_freep) MamServiceConfig *c = NULL;
        _cleanup_(mam_freep) char *problem = NULL;
        int r;

        r = mam_revision_apply(&c, s->config, v, s->manager->rollouts->definitions_dir, &problem);
        if (r >= 0)
                return 0;
        if (r == -ENOENT)
                return 1;
        if (r == -EPERM)
                return wrong(error, "%s", problem ? problem : "The program may not be used");
        if (r == -EBADMSG || r == -EXDEV) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_BAD_CONFIG,
                                "Revision %s: %s",
                                v->name,
                                problem ? problem : "it is not valid any more");
        }
        return r;
}

static bool runs_everywhere(const Service *s, const char *revision) {
        NUMBERS_FOREACH(n, &s->state->numbers) {
                if (s->replicas[n] && s->replicas[n]->revision[0] &&
                    strcmp(s->replicas[n]->revision, revision) != 0)
                        return false;
        }
        return true;
}

static int check_new(const Service *s, const RolloutRequest *q, sd_bus_error *error) {
        bool mixed = !runs_everywhere(s, q->from.name);

        if (strcmp(q->from.name, q->to.name) == 0 && !mixed) {
                return wrong(error,
                             "'%s' runs revision %s already%s",
                             s->config->id,
                             q->to.name,
                             service_revision(s)[0]
                                             ? ""
                                             : ", which is what is configured; to have its replicas read a changed configuration, restart it");
        }
        if (mixed && q->plan.strategy != ROLLOUT_ROLLING)
                return wrong(error,
                             "Replicas of '%s' run several revisions: only the strategy rolling can mend that",
                             s->config->id);
        return 0;
}

/* Everything there is to say no to, before and after authorisation. *ret borrows from the message and from
 * deploy.json. 1: a definition is missing so far. */
static int prepare(
                sd_bus_message *message,
                Manager *m,
                Service **ret_service,
                RolloutRequest *ret,
                sd_bus_error *error) {
        Options o = { .version = NULL };
        Service *s = NULL;
        uint64_t flags;
        const char *id;
        int missing, r;

        r = sd_bus_message_rewind(message, true);
        if (r >= 0)
                r = sd_bus_message_read(message, "s", &id);
        if (r >= 0)
                r = read_options(message, &o, error);
        if (r >= 0)
                r = sd_bus_message_read(message, "t", &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r >= 0)
                r = manager_bus_read_service(m, id, false, &s, error);
        if (r >= 0)
                r = manager_bus_check_usable(m, s, error);
        if (r < 0)
                return r;
        if (s->rollout) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_BUSY,
                                "Rollout %u of '%s' is under way, to revision %s",
                                s->rollout->id,
                                id,
                                s->rollout->to);
        }
        if (chaos_of(m->chaos, id)) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_BUSY,
                                "There is chaos (%s) at '%s': no new revision could be judged",
                                chaos_of(m->chaos, id),
                                id);
        }

        r = check_plan(s, &o, error);
        if (r >= 0 && !o.image)
                r = check_path("exec", o.exec, false, error);
        if (r >= 0)
                r = check_path("image", o.image, true, error);
        if (r < 0)
                return r;

        *ret = (RolloutRequest){ .plan = o.plan };
        r = o.revision ? find_revision(s, o.revision, &ret->to, error)
                       : make_revision(s, &o, &ret->to, error);
        if (r < 0)
                return r;
        if (service_revision(s)[0]) {
                r = find_revision(s, service_revision(s), &ret->from, error);
        } else {
                const Options as_configured = { .version = NULL };

                r = make_revision(s, &as_configured, &ret->from, error);
        }
        if (r >= 0)
                r = check_new(s, ret, error);
        if (r < 0)
                return r;
        missing = check_revision(s, &ret->to, error);
        if (missing < 0)
                return missing;
        r = service_revision(s)[0] ? 0 : check_revision(s, &ret->from, error);
        if (r < 0 && r != -ENOMEM && !s->state->running) {
                sd_bus_error_free(error); /* nothing has to be gone back to */
                ret->from.name[0] = '\0';
                r = 0;
        }
        if (r < 0)
                return r;
        *ret_service = s;
        return r > 0 || missing > 0;
}

static int begin(sd_bus_message *message, Service *s, const RolloutRequest *q, sd_bus_error *error) {
        _cleanup_(mam_freep) char *path = NULL;
        uint32_t id;
        int r;

        jobs_end_restarts(s->manager, s);
        r = rollout_begin(s, q, &id);
        if (r == -EDQUOT)
                return sd_bus_error_setf(error, MAM_BUS_ERROR_QUOTA, "There are too many revisions in use");
        if (r < 0)
                return r;
        r = rollout_path_of(id, &path);
        return r < 0 ? r : sd_bus_reply_method_return(message, "o", path);
}

/* ---- a definition that is missing ---- */

static DeployOperation *operation_free(DeployOperation *o) {
        Rollouts *rs = o->manager->rollouts;

        if (o->message)
                (void) sd_bus_reply_method_errorf(o->message, MAM_BUS_ERROR_CANCELLED, "Cancelled");
        sd_bus_message_unref(o->message);
        DL_DELETE(rs->operations, o);
        rs->n_operations--;
        free(o);
        return NULL;
}

void deploy_operations_free(Rollouts *rs) {
        while (rs->operations)
                operation_free(rs->operations);
}

/* Setup is through, well or badly: once more, and now for good. */
static void resume(DeployOperation *o, const char *problem) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = MAM_TAKE(o->message);
        Manager *m = o->manager;
        RolloutRequest q;
        Service *s;
        int r;

        operation_free(o);
        r = prepare(message, m, &s, &q, &error);
        if (r > 0) {
                r = sd_bus_error_setf(
                                &error,
                                MAM_BUS_ERROR_BAD_CONFIG,
                                "The definition of '%s' is not kept below %s%s%s: run mamctl init",
                                s->config->id,
                                m->rollouts->definitions_dir,
                                problem ? "; setup: " : "",
                                problem ? problem : "");
        } else if (r == 0)
                r = begin(message, s, &q, &error);
        if (r < 0)
                (void) sd_bus_reply_method_errno(message, r, &error);
}

static void on_setup_started(uint32_t job, const sd_bus_error *error, void *userdata) {
        DeployOperation *o = userdata;

        if (sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED))
                return; /* we are ending: our owner frees us */
        if (error || job == 0) {
                resume(o, error ? error->message : "no job");
                return;
        }
        o->job = job;
}

void deploy_job_removed(Manager *m, uint32_t job, const char *result) {
        DeployOperation *o, *next;

        DL_FOREACH_SAFE(m->rollouts->operations, o, next) {
                if (o->job == 0 || o->job != job)
                        continue;
                resume(o, strcmp(result, "done") == 0 ? NULL : result);
        }
}

static int wait_for_definition(Manager *m, sd_bus_message *message, sd_bus_error *error) {
        Rollouts *rs = m->rollouts;
        DeployOperation *o;
        int r;

        if (rs->n_operations >= DEPLOY_OPERATIONS_MAX)
                return sd_bus_error_setf(error, MAM_BUS_ERROR_QUOTA, "Too many are being deployed");
        o = calloc(1, sizeof(*o));
        if (!o)
                return -ENOMEM;
        o->manager = m;
        DL_APPEND(rs->operations, o);
        rs->n_operations++;
        r = systemd_start_unit(m->systemd, SETUP_UNIT, "replace", on_setup_started, o);
        if (r < 0) {
                operation_free(o); /* nothing is owed yet: the handler answers */
                return r;
        }
        o->message = sd_bus_message_ref(message);
        return 1;
}

int manager_bus_deploy(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;
        RolloutRequest q;
        Service *s;
        int missing, r;

        missing = prepare(message, m, &s, &q, error);
        if (missing < 0)
                return missing;

        r = manager_bus_authorize(m, message, MAM_ACTION_DEPLOY, "deploy", s->config->id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        if (missing > 0)
                return wait_for_definition(m, message, error);
        return begin(message, s, &q, error);
}

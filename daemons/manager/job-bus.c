/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.manageragent.Job1
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "manager/actions.h"
#include "manager/chaos.h"
#include "manager/job.h"

#define JOB_PREFIX MAM_BUS_PATH "/job"

int job_path(const Job *job, char **ret) {
        return asprintf(ret, JOB_PREFIX "/%u", job->id) < 0 ? -ENOMEM : 0;
}

static int property_get(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        const Job *job = userdata;

        if (strcmp(property, "Id") == 0)
                return sd_bus_message_append(reply, "u", job->id);
        if (strcmp(property, "Verb") == 0)
                return sd_bus_message_append(reply, "s", job_verb_to_string(job->verb));
        if (strcmp(property, "Service") == 0)
                return sd_bus_message_append(reply, "s", job->service);
        if (strcmp(property, "Done") == 0)
                return sd_bus_message_append(reply, "u", job->done);
        if (strcmp(property, "Total") == 0)
                return sd_bus_message_append(reply, "u", job->total);
        return sd_bus_message_append(reply, "s", job->message);
}

static int method_cancel(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Job *job = userdata;
        const char *const details[] = { "service", job->service, "verb", "cancel", NULL };
        int r;

        r = mam_polkit_check(job->manager->polkit, message, MAM_ACTION_CONTROL, details, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        if (job->verb == JOB_CHAOS) {
                chaos_cancel(job->manager->chaos, job); /* the job ends when everything is taken back */
        } else {
                job_end(job, "cancelled", "Cancelled; what was done stays done");
        }
        return sd_bus_reply_method_return(message, NULL);
}

static const sd_bus_vtable job_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Cancel", NULL, NULL, method_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Verb", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Service", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Done", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Total", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Message", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

static int find_job(
                sd_bus *bus,
                const char *path,
                const char *interface,
                void *userdata,
                void **ret_found,
                sd_bus_error *error) {
        unsigned long id;
        Manager *m = userdata;
        const char *text;
        char *end;
        Job *job;

        if (strncmp(path, JOB_PREFIX "/", strlen(JOB_PREFIX) + 1) != 0)
                return 0;
        text = path + strlen(JOB_PREFIX) + 1;
        id = strtoul(text, &end, 10);
        if (end == text || *end)
                return 0;

        DL_FOREACH(m->jobs, job) {
                if (job->id == id) {
                        *ret_found = job;
                        return 1;
                }
        }
        return sd_bus_error_setf(error, MAM_BUS_ERROR_NO_SUCH_JOB, "Job %lu has ended or never was", id);
}

static int enumerate_jobs(
                sd_bus *bus,
                const char *prefix,
                void *userdata,
                char ***ret_nodes,
                sd_bus_error *error) {
        Manager *m = userdata;
        size_t i = 0;
        char **list;
        Job *job;

        list = calloc(m->n_jobs + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;

        DL_FOREACH(m->jobs, job) {
                if (job_path(job, &list[i]) >= 0)
                        i++;
        }
        list[i] = NULL;
        *ret_nodes = list;
        return 1;
}

int job_export(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(m->bus, NULL, JOB_PREFIX, MAM_IFACE_JOB, job_vtable, find_job, m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, JOB_PREFIX, enumerate_jobs, m);
}

void job_emit_new(Job *job) {
        _cleanup_(mam_freep) char *path = NULL;
        Manager *m = job->manager;
        int r;

        r = job_path(job, &path);
        if (r >= 0)
                r = sd_bus_emit_object_added(m->bus, path);
        if (r >= 0) {
                r = sd_bus_emit_signal(
                                m->bus,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "JobNew",
                                "oss",
                                path,
                                job_verb_to_string(job->verb),
                                job->service);
        }
        if (r < 0)
                (void) mam_error_errno(r, "Cannot announce job %u", job->id);
}

void job_emit_progress(Job *job) {
        _cleanup_(mam_freep) char *path = NULL;
        Manager *m = job->manager;
        int r;

        r = job_path(job, &path);
        if (r >= 0) {
                r = sd_bus_emit_signal(
                                m->bus,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "JobProgress",
                                "osuus",
                                path,
                                job->service,
                                job->done,
                                job->total,
                                job->message);
        }
        if (r >= 0) {
                r = sd_bus_emit_properties_changed(
                                m->bus,
                                path,
                                MAM_IFACE_JOB,
                                "Done",
                                "Total",
                                "Message",
                                NULL);
        }
        if (r < 0)
                (void) mam_error_errno(r, "Cannot announce the progress of job %u", job->id);
}

void job_emit_removed(Job *job, const char *result, const char *message) {
        _cleanup_(mam_freep) char *path = NULL;
        bool good = strcmp(result, "done") == 0;
        Manager *m = job->manager;
        int r;

        mam_log_id(good ? LOG_INFO : LOG_WARNING,
                   MAM_MESSAGE_JOB_ENDED,
                   "Job %u (%s %s): %s%s%s",
                   job->id,
                   job_verb_to_string(job->verb),
                   job->service[0] ? job->service : "all services",
                   result,
                   *message ? ": " : "",
                   message);

        r = job_path(job, &path);
        if (r >= 0) {
                r = sd_bus_emit_signal(
                                m->bus,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "JobRemoved",
                                "osss",
                                path,
                                job->service,
                                result,
                                message);
        }
        if (r >= 0)
                r = sd_bus_emit_object_removed(m->bus, path);
        if (r < 0)
                (void) mam_error_errno(r, "Cannot announce the end of job %u", job->id);
}

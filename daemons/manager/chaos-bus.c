/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Chaos on the bus: the method, and what users saw
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "manager/actions.h"
#include "manager/chaos.h"
#include "manager/job.h"
#include "manager/manager-bus.h"

static int refuse(const char *id, int error, const char *why, sd_bus_error *ret) {
        switch (error) {
        case -EBUSY:
                return sd_bus_error_setf(ret, MAM_BUS_ERROR_BUSY, "No chaos at '%s': %s", id, why);
        case -EDQUOT:
                return sd_bus_error_setf(ret, MAM_BUS_ERROR_QUOTA, "No chaos at '%s': %s", id, why);
        case -ERANGE:
                return sd_bus_error_setf(ret, MAM_BUS_ERROR_OUT_OF_RANGE, "No chaos at '%s': %s", id, why);
        case -EOPNOTSUPP:
                return sd_bus_error_setf(ret, SD_BUS_ERROR_NOT_SUPPORTED, "No chaos at '%s': %s", id, why);
        default:
                return sd_bus_error_setf(ret, SD_BUS_ERROR_FAILED, "No chaos at '%s': %s", id, why);
        }
}

static int check_numbers(const char *kind, uint32_t percent, uint64_t duration_usec, sd_bus_error *error) {
        if (chaos_kind_from_string(kind) < 0)
                return sd_bus_error_setf(
                                error,
                                SD_BUS_ERROR_INVALID_ARGS,
                                "There is no chaos '%.32s'; there is kill, stop, cpu, memory, latency, io",
                                kind);
        if (percent < 1 || percent > 100)
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_OUT_OF_RANGE,
                                "%u percent is not 1 to 100",
                                percent);
        if (duration_usec < CHAOS_DURATION_MIN_USEC || duration_usec > CHAOS_DURATION_MAX_USEC)
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_OUT_OF_RANGE,
                                "Chaos lasts between one second and one hour");
        return 0;
}

int manager_bus_chaos(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(mam_freep) char *path = NULL;
        const char *kind, *id, *why = NULL;
        uint64_t duration_usec, flags;
        Manager *m = userdata;
        uint32_t percent;
        Service *s = NULL;
        Job *job = NULL;
        int r;

        r = sd_bus_message_read(message, "ssutt", &kind, &id, &percent, &duration_usec, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r >= 0)
                r = manager_bus_read_service(m, id, false, &s, error);
        if (r >= 0)
                r = manager_bus_check_usable(m, s, error);
        if (r >= 0)
                r = check_numbers(kind, percent, duration_usec, error);
        if (r < 0)
                return r;
        r = chaos_check(m->chaos, s, chaos_kind_from_string(kind), percent, &why);
        if (r < 0)
                return refuse(id, r, why, error);

        r = manager_bus_authorize(m, message, MAM_ACTION_CHAOS, kind, id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        r = chaos_start(&job, m->chaos, s, chaos_kind_from_string(kind), percent, duration_usec);
        if (r == -EDQUOT)
                return refuse(id, r, "there are too many jobs", error);
        if (r < 0)
                return r;
        r = job_path(job, &path);
        if (r < 0) {
                chaos_cancel(m->chaos, job);
                return r;
        }
        job_emit_new(job);
        manager_queue_pass(m);
        return sd_bus_reply_method_return(message, "o", path);
}

static int append_pair(sd_bus_message *m, const char *name, double value) {
        return sd_bus_message_append(m, "{sd}", name, value);
}

static int append_totals(sd_bus_message *m, const LoadTotals *t, double seconds) {
        double p50 = load_quantile_usec(t, 0.5), p99 = load_quantile_usec(t, 0.99);
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sd}");
        if (r >= 0 && seconds > 0) {
                r = append_pair(m, "seconds", seconds);
                if (r >= 0)
                        r = append_pair(m, "requests", (double) t->requests);
                if (r >= 0)
                        r = append_pair(m, "errors", (double) t->errors);
                if (r >= 0)
                        r = append_pair(m, "requests_per_second", (double) t->requests / seconds);
                if (r >= 0 && p50 >= 0)
                        r = append_pair(m, "p50_seconds", p50 / (double) MAM_USEC_PER_SEC);
                if (r >= 0 && p99 >= 0)
                        r = append_pair(m, "p99_seconds", p99 / (double) MAM_USEC_PER_SEC);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

void chaos_emit_ended(Manager *m, const Job *job, const ChaosReport *report) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *signal = NULL;
        _cleanup_(mam_freep) char *path = NULL;
        int r;

        assert(m);
        assert(job);
        assert(report);

        r = job_path(job, &path);
        if (r >= 0)
                r = sd_bus_message_new_signal(
                                m->bus,
                                &signal,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "ChaosEnded");
        if (r >= 0)
                r = sd_bus_message_append(signal, "os", path, job->service);
        if (r >= 0)
                r = append_totals(signal, &report->before, report->before_seconds);
        if (r >= 0)
                r = append_totals(signal, &report->during, report->during_seconds);
        if (r >= 0)
                r = sd_bus_send(m->bus, signal, NULL);
        if (r < 0)
                (void) mam_error_errno(r, "Cannot announce the end of chaos");
}

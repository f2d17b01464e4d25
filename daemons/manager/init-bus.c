/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Init: setup, configuration, units, report
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "manager/manager.h"
#include "manager/operations.h"

#define SETUP_UNIT "mam-setup.service"

/* The largest report: a row per problem of the configuration and a few of our own. */
#define ROWS_MAX 512U

typedef enum InitPhase {
        INIT_SETUP,  /* mam-setup.service runs */
        INIT_RELOAD, /* systemd loads the units */
} InitPhase;

typedef struct Row {
        const char *level; /* a literal */
        char *text;        /* owned */
} Row;

struct InitOperation {
        Manager *manager;        /* weak: the manager owns us */
        sd_bus_message *message; /* owned; the caller we owe an answer */
        InitPhase phase;
        uint32_t setup_job;
        unsigned n_calls; /* to systemd, under way: we live until they are answered */
        Row rows[ROWS_MAX];
        size_t n_rows;
};

InitOperation *init_operation_free(InitOperation *o) {
        if (!o)
                return NULL;

        if (o->message)
                (void) sd_bus_reply_method_errorf(o->message, MAM_BUS_ERROR_CANCELLED, "Cancelled");
        sd_bus_message_unref(o->message);
        for (size_t i = 0; i < o->n_rows; i++)
                free(o->rows[i].text);
        if (o->manager)
                o->manager->init = NULL;
        free(o);
        return NULL;
}

static void add_row(InitOperation *o, const char *level, const char *format, ...) _printf_(3, 4);
static void add_row(InitOperation *o, const char *level, const char *format, ...) {
        char *text = NULL;
        va_list ap;
        int n;

        if (o->n_rows >= ROWS_MAX)
                return;
        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n >= 0)
                o->rows[o->n_rows++] = (Row){ .level = level, .text = text };
}

static void add_problems(InitOperation *o, const MamConfig *c) {
        static const char *const levels[] = { [MAM_PROBLEM_ERROR] = "error",
                                              [MAM_PROBLEM_WARNING] = "warning",
                                              [MAM_PROBLEM_NOTICE] = "notice" };

        for (size_t i = 0; i < c->n_problems; i++) {
                _cleanup_(mam_freep) char *text = NULL;

                if (mam_config_problem_format(&text, &c->problems[i]) >= 0)
                        add_row(o, levels[c->problems[i].level], "%s", text);
        }
}

static int send_report(InitOperation *o) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(o->message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ss)");
        for (size_t i = 0; r >= 0 && i < o->n_rows; i++)
                r = sd_bus_message_append(reply, "(ss)", o->rows[i].level, o->rows[i].text);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        return r;
}

/* The last step. Frees. */
static void finish(InitOperation *o) {
        Manager *m = o->manager;
        size_t n = m->config->config->n_services;
        int r;

        if (n > 0) {
                add_row(o, "ok", "%zu services are configured in %s", n, m->config_dir);
        } else {
                add_row(o, "error", "No service is configured in %s", m->config_dir);
        }
        add_problems(o, m->config->config);

        if (!m->state->initialized) {
                m->state->initialized = true;
                (void) manager_save_state(m);
                (void) sd_bus_emit_properties_changed(
                                m->bus,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "Initialized",
                                NULL);
        }

        r = send_report(o);
        if (r < 0)
                (void) sd_bus_reply_method_errno(o->message, r, NULL);
        o->message = sd_bus_message_unref(o->message);
        init_operation_free(o);
}

static void on_reload_done(uint32_t job, const sd_bus_error *error, void *userdata) {
        InitOperation *o = userdata;

        o->n_calls--;
        if (sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED))
                return; /* we are ending: the manager frees us */
        if (error) {
                add_row(o, "error", "systemd could not load the units: %s", error->message);
        } else {
                add_row(o, "ok", "systemd has loaded the units");
        }
        finish(o);
}

/* Setup is through, well or badly. */
static void after_setup(InitOperation *o) {
        Manager *m = o->manager;
        int r;

        r = manager_load_config(m);
        if (r < 0) {
                add_row(o, "error", "Cannot read %s: %s", m->config_dir, strerror(-r));
                finish(o);
                return;
        }
        if (!manager_needs_daemon_reload(m)) {
                add_row(o, "ok", "The units are up to date");
                finish(o);
                return;
        }

        o->phase = INIT_RELOAD;
        r = systemd_reload(m->systemd, on_reload_done, o);
        if (r < 0) {
                add_row(o, "error", "Cannot ask systemd to load the units: %s", strerror(-r));
                finish(o);
                return;
        }
        o->n_calls++;
}

void init_operation_job_removed(InitOperation *o, uint32_t job, const char *result) {
        assert(o);

        if (o->phase != INIT_SETUP || o->setup_job == 0 || o->setup_job != job)
                return;
        o->setup_job = 0;
        if (strcmp(result, "done") == 0) {
                add_row(o, "ok", "Credentials, keys and last good definitions are in place");
        } else {
                add_row(o, "error", "Setup failed (%s): see journalctl -u " SETUP_UNIT, result);
        }
        after_setup(o);
}

static void on_setup_started(uint32_t job, const sd_bus_error *error, void *userdata) {
        InitOperation *o = userdata;

        o->n_calls--;
        if (sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED))
                return;
        if (error || job == 0) {
                add_row(o, "error", "Setup could not be started: %s", error ? error->message : "no job");
                after_setup(o);
                return;
        }
        o->setup_job = job;
}

int init_operation_start(Manager *m, sd_bus_message *message) {
        InitOperation *o;
        int r;

        assert(m);
        assert(!m->init);

        o = calloc(1, sizeof(*o));
        if (!o)
                return -ENOMEM;

        o->manager = m;
        r = systemd_start_unit(m->systemd, SETUP_UNIT, "replace", on_setup_started, o);
        if (r < 0) {
                init_operation_free(o); /* nothing is owed yet: the handler answers */
                return r;
        }

        o->n_calls++;
        o->message = sd_bus_message_ref(message);
        m->init = o;
        mam_info("Init: running " SETUP_UNIT);
        return 0;
}

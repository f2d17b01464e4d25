/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What happened
 *
 * To follow, subscribe first and list then: an event in between comes twice, and its sequence tells.
 */

#include <string.h>
#include <time.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/event-bus.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

typedef struct Follow {
        Client *client;      /* borrowed */
        const char *service; /* borrowed; "" is all */
        uint64_t last;       /* sequence of the newest that was printed */
        bool lost;           /* the connection is gone */
} Follow;

static const char *const event_keys[] = { "sequence", "time_usec", "severity", "service",
                                          "replica",  "type",      "message" };

static void print_event(const Client *c, json_object *o) {
        _cleanup_(mam_freep) char *message = text_clean(json_text(o, "message")), *where = NULL;
        const char *severity = json_text(o, "severity"), *replica = json_text(o, "replica"),
                   *service = json_text(o, "service");
        Colour colour = colour_of_state(severity);
        time_t seconds = (time_t) (json_number(o, "time_usec") / MAM_USEC_PER_SEC);
        char when[32] = "";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
                (void) strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
        where = text_clean(*replica ? replica : *service ? service : "mam");
        printf("%s  %s%-7s%s  %-20s  %-12s  %s\n",
               when,
               colour_start(c->terminal.out_colour, colour),
               severity,
               colour_end(c->terminal.out_colour, colour),
               where ? where : "",
               json_text(o, "type"),
               message ? message : "");
}

static ExitCode print_one(const Client *c, json_object *o) {
        if (!c->invocation->json) {
                print_event(c, o);
                return EXIT_CODE_OK;
        }
        puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        return EXIT_CODE_OK;
}

/* How many of the newest, as ListEvents takes it: 0 is all. */
static uint32_t lines_wanted(const Invocation *i) {
        uint32_t n = 0;

        if (!i->lines)
                return i->follow && i->since_usec == 0 ? 10 : 0;
        if (strcmp(i->lines, "all") == 0 || value_parse_count(i->lines, &n) < 0)
                return 0;
        return n;
}

/* Those since the time asked for, as an array. */
static int only_since(json_object *rows, uint64_t since_usec, json_object **ret) {
        _cleanup_(json_object_putp) json_object *list = NULL;

        list = json_object_new_array();
        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i);

                if (json_number(row, "time_usec") < since_usec)
                        continue;
                if (json_object_array_add(list, json_object_get(row)) < 0) {
                        json_object_put(row);
                        return -ENOMEM;
                }
        }
        *ret = MAM_TAKE(list);
        return 0;
}

static ExitCode list_events(Client *c, const char *service, json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(json_object_putp) json_object *rows = NULL;
        uint64_t now = mam_now_realtime(), span = c->invocation->since_usec, since;
        ExitCode e;
        int r;

        e = client_read(c, &reply, "ListEvents", "stu", service, UINT64_C(0), lines_wanted(c->invocation));
        if (e != EXIT_CODE_OK)
                return e;
        r = bus_json_read_rows(reply, event_keys, MAM_ELEMENTSOF(event_keys), &rows);
        if (r <= 0)
                return client_bad_reply(c, r < 0 ? r : -EBADMSG);
        since = span > 0 && span < now ? now - span : 0;
        if (c->invocation->lines && strspn(c->invocation->lines, "0") == strlen(c->invocation->lines))
                since = UINT64_MAX; /* none, while the bus takes 0 for all */
        r = only_since(rows, since, ret);
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

static int on_event(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        Follow *f = userdata;
        const char *service;
        int r;

        o = json_object_new_object();
        if (!o)
                return -ENOMEM;
        for (size_t i = 0; i < MAM_ELEMENTSOF(event_keys); i++) {
                json_object *value = NULL;

                r = bus_json_read(m, &value);
                if (r <= 0)
                        return r;
                if (json_object_object_add(o, event_keys[i], value) < 0) {
                        json_object_put(value);
                        return -ENOMEM;
                }
        }

        service = json_text(o, "service");
        if ((*f->service && strcmp(service, f->service) != 0) || json_number(o, "sequence") <= f->last)
                return 0;
        f->last = json_number(o, "sequence");
        (void) print_one(f->client, o);
        return 0;
}

/* A manager that starts anew counts anew. */
static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *old_owner, *new_owner;
        Follow *f = userdata;
        int r;

        r = sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner);
        if (r < 0)
                return 0;
        f->last = 0;
        if (!f->client->invocation->quiet && !f->client->invocation->json)
                fprintf(stderr, "mam-manager %s\n", *new_owner ? "is back." : "went away.");
        return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Follow *f = userdata;

        f->lost = true;
        return 0;
}

static int subscribe(Follow *f) {
        sd_bus *bus = f->client->bus;
        int r;

        r = sd_bus_match_signal(
                        bus,
                        NULL,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "Event",
                        on_event,
                        f);
        if (r < 0)
                return r;
        r = sd_bus_match_signal(
                        bus,
                        NULL,
                        "org.freedesktop.DBus.Local",
                        "/org/freedesktop/DBus/Local",
                        "org.freedesktop.DBus.Local",
                        "Disconnected",
                        on_disconnected,
                        f);
        if (r < 0)
                return r;
        return sd_bus_add_match(
                        bus,
                        NULL,
                        "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                        "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" MAM_BUS_NAME "'",
                        on_owner_changed,
                        f);
}

/* Until the reader of a pipe has gone, the bus is lost, or Ctrl-C. */
static ExitCode follow(Follow *f) {
        int r;

        for (;;) {
                r = sd_bus_process(f->client->bus, NULL);
                if (f->lost || r == -ECONNRESET || r == -ENOTCONN)
                        return client_explain(f->client, NULL, -ECONNRESET, NULL);
                if (r < 0)
                        return client_explain(f->client, NULL, r, NULL);
                if (r > 0)
                        continue;
                if (fflush(stdout) != 0)
                        return EXIT_CODE_FAILURE;
                r = sd_bus_wait(f->client->bus, UINT64_MAX);
                if (r < 0 && r != -EINTR)
                        return client_explain(f->client, NULL, r, NULL);
        }
}

ExitCode verb_events(Client *c) {
        const char *service = c->invocation->arguments[0] ? c->invocation->arguments[0] : "";
        _cleanup_(json_object_putp) json_object *rows = NULL;
        Follow f = { .client = c, .service = service };
        ExitCode e;
        int r;

        if (event_bus_is_word(service))
                return event_bus_run(c);
        if (c->invocation->n_arguments > 1) {
                client_complain(c, "events takes one service, or what it is to do with the event bus.");
                return EXIT_CODE_USAGE;
        }
        if (c->invocation->follow) {
                e = client_connect(c);
                if (e != EXIT_CODE_OK)
                        return e;
                r = subscribe(&f);
                if (r < 0)
                        return client_explain(c, NULL, r, NULL);
        }

        e = list_events(c, service, &rows);
        if (e != EXIT_CODE_OK)
                return e;
        if (!c->invocation->follow && c->invocation->json)
                return client_print_json_list(c, "events", rows);

        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i);

                f.last = json_number(row, "sequence");
                (void) print_one(c, row);
        }
        if (!c->invocation->follow && json_length(rows) == 0)
                client_say(c, "No events.");
        return c->invocation->follow ? follow(&f) : EXIT_CODE_OK;
}

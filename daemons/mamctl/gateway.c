/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the gateways do now: routes, upstreams, and both as they change
 *
 * Each gateway is asked over its replica socket, and what they say is added up. They answer root only.
 */

#include <math.h>
#include <string.h>

#include "libmam/http/http-client.h"
#include "libmam/util/buffer.h"
#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/format-table.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

#define GATEWAY_SERVICE  "api-gateway"
#define STATUS_PATH      "/status"
#define ASK_TIMEOUT_USEC (5 * MAM_USEC_PER_SEC)
#define ANSWER_MAX       (32U * 1024U * 1024U)

/* One gateway while it is asked. */
typedef struct Question {
        MamBuffer body;
        unsigned status;
        int error;
        bool ended;
} Question;

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Question *q = userdata;

        q->status = head->status;
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Question *q = userdata;

        return mam_buffer_append(&q->body, data, size);
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Question *q = userdata;

        q->error = error;
        q->ended = true;
}

/* The answer of the gateway at this address. -EACCES: not for us. */
static int ask(sd_event *event, const char *address, json_object **ret) {
        static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                                    .on_data = on_data,
                                                    .on_end = on_end };
        _cleanup_(mam_http_client_freep) MamHttpClient *client = NULL;
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        Question q = { .body = { .max = ANSWER_MAX } };
        int r;

        r = mam_http_client_new(&client, event, address, NULL);
        if (r >= 0)
                r = mam_http_call_new(&call, client, "GET", STATUS_PATH, &callbacks, &q);
        if (r < 0)
                return r;
        mam_http_call_set_timeout(call, ASK_TIMEOUT_USEC);
        r = mam_http_call_start(call);
        while (r >= 0 && !q.ended)
                r = sd_event_run(event, UINT64_MAX);
        text = q.body;
        if (r < 0)
                return r;
        if (q.error < 0)
                return q.error;
        if (q.status != 200)
                return -EACCES;
        return mam_json_parse(ret, mam_buffer_bytes(&text), text.size, NULL);
}

static ExitCode list_gateways(Client *c, json_object **ret) {
        static const char *const keys[] = { "replica", "address", "state", "weight", "group" };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        uint64_t revision;
        ExitCode e;
        int r;

        e = client_read(c, &reply, "ListEndpoints", "s", GATEWAY_SERVICE);
        if (e != EXIT_CODE_OK)
                return e;
        r = sd_bus_message_read(reply, "t", &revision);
        if (r >= 0)
                r = bus_json_read_rows(reply, keys, MAM_ELEMENTSOF(keys), ret);
        return r <= 0 ? client_bad_reply(c, r < 0 ? r : -EBADMSG) : EXIT_CODE_OK;
}

/* Row of list whose key has this value, borrowed; made if it is missing. */
static json_object *row_for(json_object *list, const char *key, const char *value) {
        json_object *row;

        for (size_t i = 0; i < json_length(list); i++) {
                row = json_object_array_get_idx(list, i);
                if (strcmp(json_text(row, key), value) == 0)
                        return row;
        }
        row = json_object_new_object();
        if (row && json_object_array_add(list, row) < 0) {
                json_object_put(row);
                return NULL;
        }
        return row;
}

static int add_number(json_object *to, json_object *from, const char *key) {
        json_object *sum = json_object_new_uint64(json_number(to, key) + json_number(from, key));

        if (sum && json_object_object_add(to, key, sum) >= 0)
                return 0;
        json_object_put(sum);
        return -ENOMEM;
}

static int copy(json_object *to, json_object *from, const char *key) {
        json_object *value = json_member(from, key);

        return json_object_object_add(to, key, json_object_get(value)) < 0 ? -ENOMEM : 0;
}

/* Sums of these keys, and what the others say as it is. */
static int merge_row(json_object *list, const char *name, json_object *from, const char *const *sums) {
        json_object *to = row_for(list, name, json_text(from, name));
        int r = to ? 0 : -ENOMEM;

        json_object_object_foreach(from, key, value) {
                bool sum = false;

                (void) value;
                for (const char *const *s = sums; *s && !sum; s++)
                        sum = strcmp(*s, key) == 0;
                if (r >= 0 && strcmp(key, "endpoints") != 0)
                        r = sum ? add_number(to, from, key) : copy(to, from, key);
        }
        return r;
}

/* The list in o, borrowed; made if it is missing. */
static json_object *list_in(json_object *o, const char *key) {
        json_object *list = json_member(o, key);

        if (list)
                return list;
        list = json_object_new_array();
        if (list && json_object_object_add(o, key, list) < 0) {
                json_object_put(list);
                return NULL;
        }
        return list;
}

static int merge_upstream(json_object *upstreams, json_object *from) {
        static const char *const sums[] = { "waiting", "unserved", NULL };
        static const char *const endpoint_sums[] = { "in_flight", "requests", "errors", NULL };
        json_object *endpoints = json_member(from, "endpoints"), *list;
        int r;

        r = merge_row(upstreams, "service", from, sums);
        if (r < 0)
                return r;
        list = list_in(row_for(upstreams, "service", json_text(from, "service")), "endpoints");
        r = list ? 0 : -ENOMEM;
        for (size_t i = 0; i < json_length(endpoints) && r >= 0; i++)
                r = merge_row(list, "replica", json_object_array_get_idx(endpoints, i), endpoint_sums);
        return r;
}

static int merge(json_object *all, json_object *one) {
        static const char *const sums[] = {
                "requests", "errors", "refused", "duration_usec", "bytes", NULL
        };
        json_object *routes = list_in(all, "routes"), *upstreams = list_in(all, "upstreams");
        json_object *from = json_member(one, "routes");
        int r = routes && upstreams ? 0 : -ENOMEM;

        for (size_t i = 0; i < json_length(from) && r >= 0; i++)
                r = merge_row(routes, "route", json_object_array_get_idx(from, i), sums);
        from = json_member(one, "upstreams");
        for (size_t i = 0; i < json_length(from) && r >= 0; i++)
                r = merge_upstream(upstreams, json_object_array_get_idx(from, i));
        return r;
}

static ExitCode explain(Client *c, const char *replica, int r) {
        if (r == -EACCES || r == -EPERM) {
                client_complain(c, "Gateways answer root only: try again with sudo");
                return EXIT_CODE_ACCESS_DENIED;
        }
        client_complain(c, "%s does not answer: %s", replica, strerror(-r));
        return EXIT_CODE_FAILURE;
}

/* Asks them all. A gateway that is just going is left out, unless none is left. */
static ExitCode gather(Client *c, json_object **ret) {
        _cleanup_(json_object_putp) json_object *gateways = NULL, *all = json_object_new_object();
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        unsigned n = 0;
        ExitCode e;
        int r, last = -ENOENT;

        e = list_gateways(c, &gateways);
        if (e != EXIT_CODE_OK)
                return e;
        r = sd_event_new(&event);
        if (r < 0 || !all)
                return client_explain(c, NULL, r < 0 ? r : -ENOMEM, NULL);
        for (size_t i = 0; i < json_length(gateways); i++) {
                _cleanup_(json_object_putp) json_object *one = NULL;
                json_object *row = json_object_array_get_idx(gateways, i);

                r = ask(event, json_text(row, "address"), &one);
                if (r == -EACCES || r == -EPERM || r == -ENOMEM)
                        return explain(c, json_text(row, "replica"), r);
                if (r < 0) {
                        last = r;
                        continue;
                }
                r = merge(all, one);
                if (r < 0)
                        return client_explain(c, NULL, r, NULL);
                n++;
        }
        if (n == 0 && json_length(gateways) == 0) {
                client_complain(c, "No gateway runs");
                return EXIT_CODE_FAILURE;
        }
        if (n == 0)
                return explain(c, "The gateway", last);
        (void) json_object_object_add(all, "gateways", json_object_new_uint64(n));
        *ret = MAM_TAKE(all);
        return EXIT_CODE_OK;
}

/* ---- tables ---- */

static void add_count(Table *t, uint64_t n, Colour if_positive) {
        table_add(t, n > 0 ? if_positive : COLOUR_NONE, "%llu", (unsigned long long) n);
}

static void add_mean(Table *t, uint64_t usec, uint64_t n) {
        char text[48];

        if (n == 0) {
                table_add(t, COLOUR_GREY, "-");
                return;
        }
        mam_format_timespan(text, usec / n);
        table_add(t, COLOUR_NONE, "%s", text);
}

static void add_marks(Table *t, json_object *marks) {
        char text[128] = "";
        size_t n = 0;

        for (size_t i = 0; i < json_length(marks) && n < sizeof(text); i++)
                n += (size_t) snprintf(
                                text + n,
                                sizeof(text) - n,
                                "%s%s",
                                i > 0 ? ", " : "",
                                json_object_get_string(json_object_array_get_idx(marks, i)));
        table_add(t,
                  strstr(text, "maintenance") || strstr(text, "fault") ? COLOUR_YELLOW : COLOUR_NONE,
                  "%s",
                  text);
}

static ExitCode print(Client *c, Table *t, int r) {
        if (r >= 0)
                r = table_print(t, stdout, c->terminal.columns, c->terminal.out_colour);
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

static ExitCode print_routes(Client *c, json_object *all) {
        static const TableColumn columns[] = {
                { "ROUTE", false, true },  { "SERVICE", false, false }, { "REQUESTS", true, false },
                { "ERRORS", true, false }, { "REFUSED", true, false },  { "MEAN", true, false },
                { "MARKS", false, true },
        };
        json_object *routes = json_member(all, "routes");
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        for (size_t i = 0; i < json_length(routes) && r >= 0; i++) {
                json_object *row = json_object_array_get_idx(routes, i);

                table_add(t, COLOUR_NONE, "%s", json_text(row, "route"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "service"));
                add_count(t, json_number(row, "requests"), COLOUR_NONE);
                add_count(t, json_number(row, "errors"), COLOUR_RED);
                add_count(t, json_number(row, "refused"), COLOUR_YELLOW);
                add_mean(t, json_number(row, "duration_usec"), json_number(row, "requests"));
                add_marks(t, json_member(row, "marks"));
        }
        if (json_length(routes) == 0)
                client_say(c, "No routes.");
        return print(c, t, r);
}

static void add_endpoint(Table *t, json_object *e) {
        const char *state = json_text(e, "state");
        bool out = json_object_get_boolean(json_member(e, "out"));
        char cost[48];

        mam_format_timespan(cost, json_number(e, "cost_usec"));
        table_add(t, COLOUR_NONE, "  %s", json_text(e, "replica"));
        table_add(t,
                  out                           ? COLOUR_RED
                  : strcmp(state, "ready") == 0 ? COLOUR_GREEN
                                                : COLOUR_YELLOW,
                  "%s",
                  out ? "ejected" : state);
        add_count(t, json_number(e, "in_flight"), COLOUR_NONE);
        add_count(t, json_number(e, "limit"), COLOUR_NONE);
        table_add(t, COLOUR_NONE, "%s", cost);
        add_count(t, json_number(e, "requests"), COLOUR_NONE);
        add_count(t, json_number(e, "errors"), COLOUR_RED);
}

static ExitCode print_upstreams(Client *c, json_object *all) {
        static const TableColumn columns[] = {
                { "UPSTREAM", false, true }, { "STATE", false, false }, { "IN FLIGHT", true, false },
                { "LIMIT", true, false },    { "COST", true, false },   { "REQUESTS", true, false },
                { "ERRORS", true, false },
        };
        json_object *upstreams = json_member(all, "upstreams");
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        for (size_t i = 0; i < json_length(upstreams) && r >= 0; i++) {
                json_object *u = json_object_array_get_idx(upstreams, i),
                            *list = json_member(u, "endpoints");

                table_add_line(t,
                               0,
                               COLOUR_BOLD,
                               "%s (%s), %llu waiting, %llu unserved%s",
                               json_text(u, "service"),
                               json_text(u, "protocol"),
                               (unsigned long long) json_number(u, "waiting"),
                               (unsigned long long) json_number(u, "unserved"),
                               json_object_get_boolean(json_member(u, "open")) ? ", circuit open" : "");
                for (size_t k = 0; k < json_length(list); k++)
                        add_endpoint(t, json_object_array_get_idx(list, k));
        }
        if (json_length(upstreams) == 0)
                client_say(c, "No upstreams.");
        return print(c, t, r);
}

/* ---- what changes ---- */

static json_object *find_route(json_object *all, const char *label) {
        json_object *routes = json_member(all, "routes");

        for (size_t i = 0; i < json_length(routes); i++) {
                json_object *row = json_object_array_get_idx(routes, i);

                if (strcmp(json_text(row, "route"), label) == 0)
                        return row;
        }
        return NULL;
}

/* Counters begin anew with a gateway. */
static uint64_t grown(json_object *now, json_object *then, const char *key) {
        uint64_t a = json_number(now, key), b = then ? json_number(then, key) : 0;

        return a > b ? a - b : 0;
}

static int put_rate(json_object *o, const char *key, double value) {
        json_object *v = json_object_new_double(round(value * 1000) / 1000);

        if (v)
                json_object_set_serializer(v, json_object_double_to_json_string, (void *) "%.15g", NULL);
        if (v && json_object_object_add(o, key, v) >= 0)
                return 0;
        json_object_put(v);
        return -ENOMEM;
}

static int rates(json_object *now, json_object *then, double seconds, json_object **ret) {
        _cleanup_(json_object_putp) json_object *list = json_object_new_array();
        json_object *routes = json_member(now, "routes");
        int r = list ? 0 : -ENOMEM;

        for (size_t i = 0; i < json_length(routes) && r >= 0; i++) {
                json_object *row = json_object_array_get_idx(routes, i), *old, *o;
                uint64_t requests;

                old = find_route(then, json_text(row, "route"));
                o = row_for(list, "route", json_text(row, "route"));
                requests = grown(row, old, "requests");
                r = o ? copy(o, row, "route") : -ENOMEM;
                if (r >= 0)
                        r = copy(o, row, "service");
                if (r >= 0)
                        r = put_rate(o, "requests_per_second", (double) requests / seconds);
                if (r >= 0)
                        r = put_rate(o, "errors_per_second", (double) grown(row, old, "errors") / seconds);
                if (r >= 0)
                        r = put_rate(o, "bytes_per_second", (double) grown(row, old, "bytes") / seconds);
                if (r >= 0 && requests > 0)
                        r = put_rate(o,
                                     "mean_seconds",
                                     (double) grown(row, old, "duration_usec") / (double) requests /
                                                     (double) MAM_USEC_PER_SEC);
        }
        if (r >= 0)
                *ret = MAM_TAKE(list);
        return r;
}

static ExitCode print_rates(Client *c, json_object *list) {
        static const TableColumn columns[] = {
                { "ROUTE", false, true }, { "SERVICE", false, false }, { "REQ/S", true, false },
                { "ERR/S", true, false }, { "MEAN", true, false },     { "BYTES/S", true, false },
        };
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        for (size_t i = 0; i < json_length(list) && r >= 0; i++) {
                json_object *row = json_object_array_get_idx(list, i);
                double errors = json_real(row, "errors_per_second");
                char bytes[32], mean[48] = "-";

                text_format_bytes(bytes, json_real(row, "bytes_per_second"));
                if (json_member(row, "mean_seconds"))
                        mam_format_timespan(
                                        mean,
                                        (uint64_t) (json_real(row, "mean_seconds") *
                                                    (double) MAM_USEC_PER_SEC));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "route"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "service"));
                table_add(t, COLOUR_NONE, "%.1f", json_real(row, "requests_per_second"));
                table_add(t, errors > 0 ? COLOUR_RED : COLOUR_NONE, "%.1f", errors);
                table_add(t, COLOUR_NONE, "%s", mean);
                table_add(t, COLOUR_NONE, "%s", bytes);
        }
        return print(c, t, r);
}

/* One table per interval, until it is ended; on a terminal each in the place of the one before. */
static ExitCode top(Client *c) {
        uint64_t interval =
                        c->invocation->interval_usec > 0 ? c->invocation->interval_usec : MAM_USEC_PER_SEC;
        _cleanup_(json_object_putp) json_object *before = NULL;
        bool once = invocation_has(c->invocation, OPTION_ONCE) || c->invocation->json;
        uint64_t then;
        ExitCode e;

        e = gather(c, &before);
        then = mam_now_monotonic();
        while (e == EXIT_CODE_OK) {
                _cleanup_(json_object_putp) json_object *now = NULL, *list = NULL;
                struct timespec pause = {
                        .tv_sec = (time_t) (interval / MAM_USEC_PER_SEC),
                        .tv_nsec = (long) (interval % MAM_USEC_PER_SEC * 1000),
                };
                uint64_t usec;
                int r;

                while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
                        ;
                e = gather(c, &now);
                if (e != EXIT_CODE_OK)
                        return e;
                usec = mam_now_monotonic();
                r = rates(now, before, (double) (usec - then) / (double) MAM_USEC_PER_SEC, &list);
                if (r < 0)
                        return client_explain(c, NULL, r, NULL);
                if (c->invocation->json)
                        return client_print_json_list(c, "routes", list);
                if (!once && c->terminal.out_colour)
                        (void) fputs("\033[H\033[2J", stdout);
                e = print_rates(c, list);
                (void) fflush(stdout);
                if (once)
                        return e;
                json_object_put(before);
                before = MAM_TAKE(now);
                then = usec;
        }
        return e;
}

ExitCode verb_gateway(Client *c) {
        const char *what = c->invocation->arguments[0];
        _cleanup_(json_object_putp) json_object *all = NULL;
        ExitCode e;

        if (c->invocation->host) {
                client_complain(c, "Gateways are asked over sockets of their own machine: run mamctl there");
                return EXIT_CODE_USAGE;
        }
        if (strcmp(what, "top") == 0)
                return top(c);
        e = gather(c, &all);
        if (e != EXIT_CODE_OK)
                return e;
        if (strcmp(what, "routes") == 0)
                return c->invocation->json ? client_print_json_list(c, "routes", json_member(all, "routes"))
                                           : print_routes(c, all);
        return c->invocation->json ? client_print_json_list(c, "upstreams", json_member(all, "upstreams"))
                                   : print_upstreams(c, all);
}

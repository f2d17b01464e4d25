/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Load: asking the gateways, and what their answers add up to
 *
 * Per gateway it is remembered what it said last of each replica; only what came on top is added to the
 * totals. A gateway that began anew counts from 0; one that counts backwards otherwise is believed from
 * where it is now.
 */

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-event.h>
#include <uthash.h>
#include <utlist.h>

#include "libmam/http/http-client.h"
#include "libmam/json/json.h"
#include "libmam/obs/log.h"
#include "libmam/util/buffer.h"
#include "manager/autoscaler.h"
#include "manager/load.h"
#include "manager/manager.h"

#define ANSWER_MAX       (4UL * 1024 * 1024)
#define ASK_TIMEOUT_USEC (2 * MAM_USEC_PER_SEC)
#define COUNT_MAX        INT64_C(1000000000000000) /* more was not served by anybody */
#define IN_FLIGHT_MAX    INT64_C(10000000)

/* What one gateway said of one replica. */
typedef struct Entry {
        char id[40]; /* "alpha:2" */
        LoadTotals totals;
        uint32_t in_flight;
        bool mentioned; /* in the answer that is being read */
        UT_hash_handle hh;
} Entry;

typedef struct Gateway {
        Load *load; /* weak */
        char id[32];
        uint32_t number;
        MamHttpClient *client; /* owned */
        MamHttpCall *call;     /* owned; NULL: not being asked */
        MamBuffer answer;
        unsigned status;
        uint64_t started_usec; /* realtime; 0: it has not answered yet */
        Entry *entries;        /* owned */
        bool ended, failed, complained;
        bool seen; /* by the round that begins */
        struct Gateway *prev, *next;
} Gateway;

struct Load {
        Manager *manager;       /* weak: it owns us */
        sd_event_source *timer; /* owned */
        Gateway *gateways;      /* owned list */
        unsigned n_calls;       /* under way */
        unsigned n_often;
        uint64_t created_realtime_usec;
        uint64_t asked_usec;
};

/* ---- one answer ---- */

static int read_totals(json_object *object, LoadTotals *ret, uint32_t *ret_in_flight) {
        int64_t requests = 0, errors = 0, in_flight = 0;
        json_object *latency = NULL;
        LoadTotals t = { .requests = 0 };

        if (!json_object_is_type(object, json_type_object) ||
            mam_json_get_int(object, "", "requests", 0, COUNT_MAX, &requests, NULL) < 0 ||
            mam_json_get_int(object, "", "errors", 0, COUNT_MAX, &errors, NULL) < 0 ||
            mam_json_get_int(object, "", "in_flight", 0, IN_FLIGHT_MAX, &in_flight, NULL) < 0 ||
            mam_json_get_array(object, "", "latency", &latency, NULL) <= 0 ||
            json_object_array_length(latency) != LOAD_BUCKETS)
                return -EBADMSG;

        for (size_t i = 0; i < LOAD_BUCKETS; i++) {
                json_object *item = json_object_array_get_idx(latency, i);
                int64_t n;

                if (!json_object_is_type(item, json_type_int))
                        return -EBADMSG;
                n = json_object_get_int64(item);
                if (n < 0 || n > COUNT_MAX)
                        return -EBADMSG;
                t.buckets[i] = (uint64_t) n;
        }
        t.requests = (uint64_t) requests;
        t.errors = (uint64_t) errors;
        *ret = t;
        *ret_in_flight = (uint32_t) in_flight;
        return 0;
}

/* What a gateway of another version counts in other buckets would be nonsense in ours. */
static bool bounds_are_ours(json_object *root) {
        json_object *bounds = NULL;

        if (mam_json_get_array(root, "", "bounds_usec", &bounds, NULL) <= 0 ||
            json_object_array_length(bounds) != LOAD_BUCKETS - 1)
                return false;
        for (unsigned i = 0; i + 1 < LOAD_BUCKETS; i++) {
                json_object *item = json_object_array_get_idx(bounds, i);
                double ours = LOAD_FIRST_BOUND_USEC * pow(M_SQRT2, i);

                if (!json_object_is_type(item, json_type_int) &&
                    !json_object_is_type(item, json_type_double))
                        return false;
                if (fabs(json_object_get_double(item) - ours) > 1 + ours / 1000)
                        return false;
        }
        return true;
}

static bool runs_backwards(const LoadTotals *now, const LoadTotals *before) {
        if (now->requests < before->requests || now->errors < before->errors)
                return true;
        for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
                if (now->buckets[i] < before->buckets[i])
                        return true;
        }
        return false;
}

static int read_replica(Gateway *g, const char *id, json_object *object, bool before_us, uint64_t now_usec) {
        Manager *m = g->load->manager;
        LoadTotals totals, more;
        uint32_t number, in_flight;
        char unit[64], service[32];
        Entry *e = NULL;
        Service *s;
        Replica *replica;
        int r;

        r = read_totals(object, &totals, &in_flight);
        if (r < 0)
                return r;
        if (strlen(id) >= sizeof(e->id))
                return -EBADMSG;
        snprintf(unit, sizeof(unit), "mam@%s.service", id);
        r = mam_unit_parse_replica(unit, service, &number);
        if (r < 0 || !numbers_is_valid(number))
                return -EBADMSG;
        s = manager_find_service(m, service);
        if (!s)
                return 0; /* its configuration is older or newer than ours */

        HASH_FIND_STR(g->entries, id, e);
        if (!e) {
                e = calloc(1, sizeof(*e));
                if (!e)
                        return -ENOMEM;
                snprintf(e->id, sizeof(e->id), "%s", id);
                HASH_ADD_STR(g->entries, id, e);
        }
        more = runs_backwards(&totals, &e->totals) ? (LoadTotals){ .requests = 0 }
                                                   : load_since(&totals, &e->totals);
        e->totals = totals;
        e->in_flight = in_flight;
        e->mentioned = true;

        load_add(&s->load, &more);
        replica = s->replicas[number];
        if (replica)
                load_add(&replica->load, &more);
        if (before_us) /* who knows when */
                more = (LoadTotals){ .requests = 0 };
        load_recent_add(&s->load_recent, &more, now_usec);
        if (replica)
                load_recent_add(&replica->load_recent, &more, now_usec);
        return 0;
}

static void gateway_forget(Gateway *g, bool all) {
        Entry *e, *next;

        HASH_ITER(hh, g->entries, e, next) {
                if (e->mentioned && !all)
                        continue;
                HASH_DEL(g->entries, e);
                free(e);
        }
}

static int read_waiting(Gateway *g, json_object *services) {
        json_object_object_foreach(services, id, object) {
                int64_t waiting = 0;
                Service *s;

                if (!json_object_is_type(object, json_type_object) ||
                    mam_json_get_int(object, "", "waiting", 0, IN_FLIGHT_MAX, &waiting, NULL) < 0)
                        return -EBADMSG;
                s = manager_find_service(g->load->manager, id);
                if (s)
                        s->waiting_round += (uint32_t) waiting;
        }
        return 0;
}

static int read_answer(Gateway *g, const char *text, size_t size, uint64_t now_usec) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        json_object *replicas = NULL, *services = NULL;
        int64_t started = 0;
        bool before_us;
        Entry *e, *next;
        int r;

        r = mam_json_parse(&root, text, size, NULL);
        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_object) ||
            mam_json_get_int(root, "", "started_usec", 1, INT64_MAX, &started, NULL) <= 0 ||
            mam_json_get_object(root, "", "replicas", &replicas, NULL) <= 0 ||
            mam_json_get_object(root, "", "services", &services, NULL) < 0 || !bounds_are_ours(root))
                return -EBADMSG;

        before_us = g->started_usec == 0 && (uint64_t) started < g->load->created_realtime_usec;
        if (g->started_usec != (uint64_t) started)
                gateway_forget(g, true);
        g->started_usec = (uint64_t) started;
        HASH_ITER(hh, g->entries, e, next) {
                e->mentioned = false;
        }
        json_object_object_foreach(replicas, id, object) {
                r = read_replica(g, id, object, before_us, now_usec);
                if (r < 0)
                        return r;
        }
        gateway_forget(g, false);
        return services ? read_waiting(g, services) : 0;
}

/* ---- a round ---- */

static Gateway *gateway_free(Gateway *g) {
        if (!g)
                return NULL;

        if (g->call && !g->ended)
                g->load->n_calls--;
        mam_http_call_free(g->call);
        mam_http_client_free(g->client);
        mam_buffer_done(&g->answer);
        gateway_forget(g, true);
        DL_DELETE(g->load->gateways, g);
        free(g);
        return NULL;
}

static Gateway *gateway_get(Load *l, const char *id, uint32_t number) {
        Gateway *g;

        DL_FOREACH(l->gateways, g) {
                if (g->number == number && strcmp(g->id, id) == 0)
                        return g;
        }

        g = calloc(1, sizeof(*g));
        if (!g)
                return NULL;

        g->load = l;
        g->number = number;
        g->ended = true;
        snprintf(g->id, sizeof(g->id), "%s", id);
        DL_APPEND(l->gateways, g);
        return g;
}

static void round_begin(Load *l) {
        Gateway *g;
        Service *s;

        DL_FOREACH(l->gateways, g) {
                g->seen = g->failed = false;
        }
        DL_FOREACH(l->manager->services, s) {
                s->waiting_round = 0;
        }
}

static void round_end(Load *l, uint64_t now_usec) {
        bool any = false, all = true;
        Gateway *g;
        Service *s;

        DL_FOREACH(l->manager->services, s) {
                s->waiting = s->waiting_round;
                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                        if (s->replicas[n])
                                s->replicas[n]->in_flight = 0;
                }
        }
        DL_FOREACH(l->gateways, g) {
                Entry *e, *after;

                if (!g->seen)
                        continue;
                any = true;
                all = all && !g->failed;
                HASH_ITER(hh, g->entries, e, after) {
                        uint32_t number = (uint32_t) strtoul(strchr(e->id, ':') + 1, NULL, 10);
                        char id[32];

                        snprintf(id, sizeof(id), "%.*s", (int) strcspn(e->id, ":"), e->id);
                        s = manager_find_service(l->manager, id);
                        if (s && numbers_is_valid(number) && s->replicas[number])
                                s->replicas[number]->in_flight += e->in_flight;
                }
        }
        DL_FOREACH(l->manager->services, s) {
                s->load_known = any && all;
        }
        if (any && all)
                l->asked_usec = now_usec;
        if (l->manager->autoscaler)
                autoscaler_on_load(l->manager->autoscaler, now_usec);
}

static void gateway_end(Gateway *g, int error) {
        Load *l = g->load;

        g->ended = true;
        g->failed = error < 0;
        if (error < 0 && !g->complained && error != -ECONNREFUSED && error != -ENOENT)
                mam_debug("%s:%u does not tell its load: %s", g->id, g->number, strerror(-error));
        g->complained = error < 0;
        if (--l->n_calls == 0)
                round_end(l, mam_now_monotonic());
}

int load_take_answer(
                Load *l,
                const char *gateway,
                uint32_t number,
                const char *text,
                size_t size,
                uint64_t now_usec) {
        Gateway *g;
        int r;

        assert(l);
        assert(gateway);
        assert(text);

        round_begin(l);
        g = gateway_get(l, gateway, number);
        if (!g)
                return -ENOMEM;
        g->seen = true;
        r = read_answer(g, text, size, now_usec);
        g->failed = r < 0;
        round_end(l, now_usec);
        return r;
}

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Gateway *g = userdata;

        g->status = head->status;
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Gateway *g = userdata;

        if (g->answer.size + size > ANSWER_MAX)
                return -EFBIG;
        return mam_buffer_append(&g->answer, data, size);
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Gateway *g = userdata;

        if (error >= 0 && g->status != 200)
                error = -EPROTO;
        if (error >= 0)
                error = read_answer(g, mam_buffer_bytes(&g->answer), g->answer.size, mam_now_monotonic());
        gateway_end(g, error);
}

static int gateway_ask(Gateway *g) {
        static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                                    .on_data = on_data,
                                                    .on_end = on_end };
        const MamHttpClientOptions options = { .connections_max = 1,
                                               .idle_max = 1,
                                               .connect_timeout_usec = ASK_TIMEOUT_USEC,
                                               .idle_timeout_usec = 30 * MAM_USEC_PER_SEC };
        char address[MAM_UNIT_NAME_MAX];
        int r = 0;

        g->call = mam_http_call_free(g->call);
        mam_buffer_reset(&g->answer);
        g->status = 0;
        g->ended = g->failed = false;
        if (!g->client) {
                mam_replica_socket_path(address, g->id, g->number);
                r = mam_http_client_new(&g->client, g->load->manager->event, address, &options);
        }
        if (r >= 0)
                r = mam_http_call_new(&g->call, g->client, "GET", "/load", &callbacks, g);
        if (r >= 0) {
                mam_http_call_set_timeout(g->call, ASK_TIMEOUT_USEC);
                r = mam_http_call_start(g->call);
        }
        if (r < 0) {
                g->call = mam_http_call_free(g->call);
                g->ended = g->failed = true;
                return r;
        }
        g->load->n_calls++;
        return 0;
}

static void find_gateways(Load *l) {
        Gateway *g, *next;
        Service *s;

        round_begin(l);
        DL_FOREACH(l->manager->services, s) {
                if (s->config->type != MAM_SERVICE_TYPE_GATEWAY ||
                    !mam_service_has_replica_socket(s->config))
                        continue;
                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                        if (!s->replicas[n] || !replica_is_ready(s->replicas[n]))
                                continue;
                        g = gateway_get(l, s->config->id, n);
                        if (g)
                                g->seen = true;
                }
        }
        /* One that is away for a moment and comes back has not lost its counters. */
        DL_FOREACH_SAFE(l->gateways, g, next) {
                if (!manager_find_service(l->manager, g->id))
                        gateway_free(g);
        }
}

static void load_arm(Load *l, uint64_t delay_usec) {
        (void) sd_event_source_set_time_relative(l->timer, delay_usec);
        (void) sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Load *l = userdata;
        Gateway *g;

        load_arm(l, l->n_often > 0 ? LOAD_BUSY_USEC : LOAD_IDLE_USEC);
        if (l->n_calls > 0)
                return 0; /* the round before is not through yet */

        find_gateways(l);
        DL_FOREACH(l->gateways, g) {
                if (g->seen)
                        (void) gateway_ask(g);
        }
        if (l->n_calls == 0)
                round_end(l, mam_now_monotonic());
        return 0;
}

int load_new(Load **ret, Manager *m) {
        Load *l;
        int r;

        assert(ret);
        assert(m);

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;

        l->manager = m;
        l->created_realtime_usec = mam_now_realtime();
        r = sd_event_add_time_relative(
                        m->event,
                        &l->timer,
                        CLOCK_MONOTONIC,
                        LOAD_BUSY_USEC,
                        100 * MAM_USEC_PER_MSEC,
                        on_timer,
                        l);
        if (r < 0) {
                free(l);
                return r;
        }

        *ret = l;
        return 0;
}

Load *load_free(Load *l) {
        if (!l)
                return NULL;

        sd_event_source_disable_unref(l->timer);
        while (l->gateways)
                gateway_free(l->gateways);
        free(l);
        return NULL;
}

void load_want_often(Load *l) {
        assert(l);

        if (l->n_often++ == 0 && l->n_calls == 0)
                load_arm(l, 0);
}

void load_want_less(Load *l) {
        assert(l);
        assert(l->n_often > 0);

        l->n_often--;
}

uint64_t load_asked_usec(const Load *l) {
        return l ? l->asked_usec : 0;
}

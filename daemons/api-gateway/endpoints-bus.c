/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/endpoints-internal.h"

#include <assert.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/config/config.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/backoff.h"
#include "libmam/util/time.h"

#define RETRY_FIRST_USEC (250 * MAM_USEC_PER_MSEC)
#define RETRY_MAX_USEC   (5 * MAM_USEC_PER_SEC)

struct Listing {
        EndpointsBus *bus;  /* weak */
        Upstream *upstream; /* weak */
        unsigned replicas;  /* to assume */
        sd_bus_slot *call;  /* owned; unref cancels it */
        uint64_t revision;  /* of the current owner */
        bool due;           /* to be listed when the timer says so */
        bool settled;       /* listed, or failed to, at least once */
};

/* One word of the manager. */
typedef struct EndpointSet {
        EndpointSpec specs[UPSTREAM_ENDPOINTS_MAX];
        size_t n;
        SplitShare shares[SPLIT_GROUPS_MAX];
        size_t n_shares;
} EndpointSet;

/* What the configuration says: a replica that is not there refuses, and the next one is asked. */
static void assume_endpoints(Listing *l) {
        char ids[UPSTREAM_ENDPOINTS_MAX][64], addresses[UPSTREAM_ENDPOINTS_MAX][MAM_UNIT_NAME_MAX];
        EndpointSpec specs[UPSTREAM_ENDPOINTS_MAX];
        unsigned n = l->replicas < UPSTREAM_ENDPOINTS_MAX ? l->replicas : UPSTREAM_ENDPOINTS_MAX;

        for (unsigned i = 0; i < n; i++) {
                (void) snprintf(ids[i], sizeof(ids[i]), "%s:%u", l->upstream->service, i + 1);
                mam_replica_socket_path(addresses[i], l->upstream->service, i + 1);
                specs[i] = (EndpointSpec){ ids[i], addresses[i], ENDPOINT_READY, 1, NULL };
        }
        upstream_set_split(l->upstream, NULL, 0);
        (void) gateway_set_endpoints(l->bus->gateway, l->upstream, specs, n);
        l->upstream->known = false; /* the first word of the manager replaces it */
}

void endpoints_bus_settle(EndpointsBus *b) {
        if (b->said_listed || !b->configuration.settled)
                return;
        for (size_t i = 0; i < b->n_listings; i++)
                if (!b->listings[i]->settled)
                        return;
        b->said_listed = true;
        b->on_listed(b->userdata);
}

static void settle(Listing *l) {
        l->settled = true;
        endpoints_bus_settle(l->bus);
}

void endpoints_bus_arm(EndpointsBus *b) {
        uint64_t wait = mam_backoff_usec(b->n_failures, RETRY_FIRST_USEC, RETRY_MAX_USEC);
        int enabled = SD_EVENT_OFF;

        (void) sd_event_source_get_enabled(b->timer, &enabled);
        if (enabled != SD_EVENT_OFF)
                return;
        b->n_failures++;
        (void) sd_event_source_set_time_relative(b->timer, wait);
        (void) sd_event_source_set_enabled(b->timer, SD_EVENT_ONESHOT);
}

void endpoints_bus_say_gone(EndpointsBus *b, const char *why) {
        if (b->said_gone)
                return;
        b->said_gone = true;
        mam_log_id(LOG_WARNING,
                   MAM_MESSAGE_GATEWAY_MANAGER_GONE,
                   "Cannot ask the manager for endpoints: %s; going on with %s",
                   why,
                   b->answered ? "those that are known" : "what the configuration says");
}

void endpoints_bus_say_back(EndpointsBus *b) {
        b->answered = true;
        b->n_failures = 0;
        if (!b->said_gone)
                return;
        b->said_gone = false;
        mam_log_id(LOG_NOTICE, MAM_MESSAGE_GATEWAY_MANAGER_BACK, "The manager tells endpoints again");
}

/* "a(sssus)a(su)" of a reply or a signal; what it points to is the message's. */
static int read_endpoints(sd_bus_message *m, EndpointSet *ret) {
        const char *id, *address, *state, *group;
        uint32_t weight;
        int r;

        ret->n = ret->n_shares = 0;
        r = sd_bus_message_enter_container(m, 'a', "(sssus)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(sssus)", &id, &address, &state, &weight, &group)) > 0) {
                EndpointState s = endpoint_state_from_string(state);

                if (ret->n >= MAM_ELEMENTSOF(ret->specs))
                        continue;
                /* A state of a later version of mam is not one that we know to take traffic. */
                ret->specs[ret->n++] =
                                (EndpointSpec){ id, address, s < 0 ? ENDPOINT_UNREADY : s, weight, group };
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;

        r = sd_bus_message_enter_container(m, 'a', "(su)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(su)", &group, &weight)) > 0)
                if (ret->n_shares < MAM_ELEMENTSOF(ret->shares))
                        ret->shares[ret->n_shares++] = (SplitShare){ group, weight };
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static void take_endpoints(Listing *l, uint64_t revision, const EndpointSet *set) {
        EndpointsBus *b = l->bus;
        int r;

        l->revision = revision;
        upstream_set_split(l->upstream, set->shares, set->n_shares);
        r = gateway_set_endpoints(b->gateway, l->upstream, set->specs, set->n);
        if (r < 0)
                (void) mam_error_errno(r, "Cannot take all endpoints of %s", l->upstream->service);
        mam_debug("%s: %u of %zu endpoints are ready, %zu groups have a share",
                  l->upstream->service,
                  upstream_ready(l->upstream),
                  set->n,
                  set->n_shares);
        b->on_change(b->userdata);
}

static void list_failed(Listing *l, const char *why) {
        EndpointsBus *b = l->bus;

        endpoints_bus_say_gone(b, why);
        if (!l->upstream->known && l->upstream->n_endpoints == 0) {
                assume_endpoints(l);
                b->on_change(b->userdata);
        }
        l->due = true;
        endpoints_bus_arm(b);
        settle(l);
}

void endpoints_bus_note_owner(EndpointsBus *b, sd_bus_message *reply) {
        const char *sender = sd_bus_message_get_sender(reply);

        if (!sender || (b->owner && strcmp(b->owner, sender) == 0))
                return;
        free(b->owner);
        b->owner = strdup(sender);
}

static int on_list_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        Listing *l = userdata;
        EndpointsBus *b = l->bus;
        uint64_t revision;
        EndpointSet set;
        int r;

        l->call = sd_bus_slot_unref(l->call);
        if (e) {
                list_failed(l, e->message ? e->message : e->name);
                return 0;
        }
        r = sd_bus_message_read(reply, "t", &revision);
        if (r >= 0)
                r = read_endpoints(reply, &set);
        if (r < 0) {
                list_failed(l, "its answer makes no sense");
                return 0;
        }

        endpoints_bus_note_owner(b, reply);
        endpoints_bus_say_back(b);
        take_endpoints(l, revision, &set);
        settle(l);
        return 0;
}

static int list_send(Listing *l) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        EndpointsBus *b = l->bus;
        int r;

        r = sd_bus_message_new_method_call(
                        b->bus,
                        &m,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "ListEndpoints");
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "s", l->upstream->service);
        if (r < 0)
                return r;
        /* Who has stopped the manager on purpose does not want it started again by us. */
        r = sd_bus_message_set_auto_start(m, !b->answered);
        if (r < 0)
                return r;
        return sd_bus_call_async(b->bus, &l->call, m, on_list_reply, l, ENDPOINTS_CALL_TIMEOUT_USEC);
}

static void list(Listing *l) {
        int r;

        l->due = false;
        l->call = sd_bus_slot_unref(
                        l->call); /* an older question: its answer may be older than what we look for */
        r = list_send(l);
        if (r < 0)
                list_failed(l, strerrordesc_np(-r) ? strerrordesc_np(-r) : "unknown error");
}

static Listing *find_listing(const EndpointsBus *b, const char *service) {
        for (size_t i = 0; i < b->n_listings; i++)
                if (strcmp(b->listings[i]->upstream->service, service) == 0)
                        return b->listings[i];
        return NULL;
}

static int on_endpoints_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *service, *sender = sd_bus_message_get_sender(m);
        EndpointsBus *b = userdata;
        uint64_t revision;
        EndpointSet set;
        Listing *l;
        int r;

        /* The bus lets everybody send a signal to us; requests carry identities to where this one says. */
        if (!sender || !b->owner || strcmp(sender, b->owner) != 0)
                return 0;

        r = sd_bus_message_read(m, "st", &service, &revision);
        if (r < 0)
                return 0;
        l = find_listing(b, service);
        if (!l || revision <= l->revision)
                return 0;
        r = read_endpoints(m, &set);
        if (r < 0) {
                list(l);
                return 0;
        }
        take_endpoints(l, revision, &set);
        return 0;
}

static int on_name_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *old_owner, *new_owner;
        EndpointsBus *b = userdata;

        if (sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner) < 0 ||
            strcmp(name, MAM_BUS_NAME) != 0)
                return 0;

        free(b->owner);
        b->owner = *new_owner ? strdup(new_owner) : NULL;
        for (size_t i = 0; i < b->n_listings; i++) {
                b->listings[i]->revision = 0;
                if (*new_owner)
                        list(b->listings[i]);
        }
        if (*new_owner)
                configuration_ask(b);
        return 0;
}

static void disconnect(EndpointsBus *b) {
        for (size_t i = 0; i < b->n_listings; i++)
                b->listings[i]->call = sd_bus_slot_unref(b->listings[i]->call);
        configuration_disconnect(b);
        b->match_change = sd_bus_slot_unref(b->match_change);
        b->match_owner = sd_bus_slot_unref(b->match_owner);
        b->match_closed = sd_bus_slot_unref(b->match_closed);
        free(MAM_TAKE(b->owner));
        b->bus = sd_bus_close_unref(b->bus);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        EndpointsBus *b = userdata;

        endpoints_bus_say_gone(b, "the system bus has closed the connection");
        for (size_t i = 0; i < b->n_listings; i++) {
                Listing *l = b->listings[i];

                l->call = sd_bus_slot_unref(l->call);
                l->due = true;
                if (!l->settled)
                        list_failed(l, "the system bus has closed the connection");
        }
        b->configuration.call = sd_bus_slot_unref(b->configuration.call);
        configuration_failed(b, "the system bus has closed the connection");
        /* The connection itself goes when the timer comes: it is at work just now. */
        free(MAM_TAKE(b->owner));
        endpoints_bus_arm(b);
        return 0;
}

static int add_matches(EndpointsBus *b) {
        int r;

        r = configuration_add_match(b);
        if (r < 0)
                return r;
        r = sd_bus_match_signal_async(
                        b->bus,
                        &b->match_change,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "EndpointsChanged",
                        on_endpoints_changed,
                        NULL,
                        b);
        if (r < 0)
                return r;
        r = sd_bus_add_match_async(
                        b->bus,
                        &b->match_owner,
                        "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                        "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" MAM_BUS_NAME "'",
                        on_name_owner_changed,
                        NULL,
                        b);
        if (r < 0)
                return r;
        return sd_bus_match_signal(
                        b->bus,
                        &b->match_closed,
                        "org.freedesktop.DBus.Local",
                        "/org/freedesktop/DBus/Local",
                        "org.freedesktop.DBus.Local",
                        "Disconnected",
                        on_disconnected,
                        b);
}

static int connect_bus(EndpointsBus *b) {
        int r;

        r = sd_bus_open_system_with_description(&b->bus, "api-gateway");
        if (r < 0)
                return r;
        r = sd_bus_set_exit_on_disconnect(b->bus, false);
        if (r < 0)
                return r;
        r = sd_bus_attach_event(b->bus, b->gateway->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        return add_matches(b);
}

/* Connects if need be, and asks for what is due. */
static void look(EndpointsBus *b) {
        int r;

        if (b->bus && sd_bus_is_open(b->bus) <= 0)
                disconnect(b);
        if (!b->bus) {
                r = connect_bus(b);
                for (size_t i = 0; i < b->n_listings; i++) {
                        b->listings[i]->revision = 0;
                        b->listings[i]->due = true;
                }
                b->configuration.due = true;
                if (r < 0) {
                        disconnect(b);
                        configuration_failed(b, strerrordesc_np(-r) ? strerrordesc_np(-r) : "unknown error");
                        for (size_t i = 0; i < b->n_listings; i++)
                                list_failed(b->listings[i],
                                            strerrordesc_np(-r) ? strerrordesc_np(-r) : "unknown error");
                        return;
                }
        }
        for (size_t i = 0; i < b->n_listings; i++)
                if (b->listings[i]->due)
                        list(b->listings[i]);
        if (b->configuration.due)
                configuration_ask(b);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        look(userdata);
        return 0;
}

int endpoints_bus_new(
                EndpointsBus **ret,
                Gateway *g,
                void (*on_change)(void *userdata),
                void (*on_listed)(void *userdata),
                void *userdata) {
        _cleanup_(endpoints_bus_freep) EndpointsBus *b = NULL;
        int r;

        assert(ret);
        assert(g);
        assert(on_change);
        assert(on_listed);

        b = calloc(1, sizeof(*b));
        if (!b)
                return -ENOMEM;
        b->gateway = g;
        b->on_change = on_change;
        b->on_listed = on_listed;
        b->userdata = userdata;
        r = sd_event_add_time(g->event, &b->timer, CLOCK_MONOTONIC, UINT64_MAX, 0, on_timer, b);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(b->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(b);
        return 0;
}

EndpointsBus *endpoints_bus_free(EndpointsBus *b) {
        if (!b)
                return NULL;

        disconnect(b);
        sd_event_source_disable_unref(b->timer);
        for (size_t i = 0; i < b->n_listings; i++)
                free(b->listings[i]);
        free(b->listings);
        free(b);
        return NULL;
}

int endpoints_bus_add(EndpointsBus *b, Upstream *u, unsigned replicas) {
        Listing **listings, *l;

        assert(b);
        assert(u);

        l = find_listing(b, u->service);
        if (l) {
                l->replicas = replicas;
                return 0;
        }
        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        *l = (Listing){ .bus = b, .upstream = u, .replicas = replicas };
        listings = reallocarray(b->listings, b->n_listings + 1, sizeof(*listings));
        if (!listings) {
                free(l);
                return -ENOMEM;
        }
        b->listings = listings;
        listings[b->n_listings++] = l;
        if (!b->started)
                return 0;
        if (b->bus && sd_bus_is_open(b->bus) > 0)
                list(l);
        else
                list_failed(l, "there is no connection to the system bus");
        return 0;
}

static void remove_listing(EndpointsBus *b, size_t i) {
        sd_bus_slot_unref(b->listings[i]->call);
        free(b->listings[i]);
        b->n_listings--;
        memmove(b->listings + i, b->listings + i + 1, (b->n_listings - i) * sizeof(*b->listings));
}

int endpoints_bus_configure(EndpointsBus *b, const MamGatewayConfig *c) {
        int r;

        assert(b);
        assert(c);

        for (size_t i = 0; i < b->n_listings;)
                if (mam_gateway_config_find(c, b->listings[i]->upstream->service))
                        i++;
                else
                        remove_listing(b, i);
        for (size_t i = 0; i < c->n_services; i++) {
                Upstream *u = gateway_find_upstream(b->gateway, c->services[i].id);

                assert(u);
                r = endpoints_bus_add(b, u, c->services[i].assumed);
                if (r < 0)
                        return r;
        }
        gateway_reap(b->gateway); /* nobody looks at them any more */
        b->on_change(b->userdata);
        return 0;
}

int endpoints_bus_start(EndpointsBus *b) {
        assert(b);

        b->started = true;
        look(b);
        return 0;
}

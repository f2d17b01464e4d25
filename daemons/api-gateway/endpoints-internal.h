/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of EndpointsBus: endpoints-bus.c has the connection and the endpoints, configuration-bus.c the
 * configuration that the manager tells
 */

#include <systemd/sd-bus.h>

#include "api-gateway/endpoints-bus.h"

#define ENDPOINTS_CALL_TIMEOUT_USEC (10 * MAM_USEC_PER_SEC)

typedef struct Listing Listing;

/* The configuration, as one more thing that is asked for. */
typedef struct ConfigurationQuestion {
        sd_bus_slot *call;   /* owned; unref cancels it */
        sd_bus_slot *match;  /* owned */
        uint64_t generation; /* of the current owner; 0: not known */
        bool due;            /* to be asked for when the timer says so */
        bool settled;        /* answered, or failed to, at least once */
        bool said_bad;       /* what it told could not be used */
} ConfigurationQuestion;

struct EndpointsBus {
        Gateway *gateway;                                       /* weak */
        sd_bus *bus;                                            /* owned; NULL: not connected */
        sd_bus_slot *match_change, *match_owner, *match_closed; /* owned */
        char *owner;            /* owned; unique name of the manager, or NULL */
        sd_event_source *timer; /* owned */
        unsigned n_failures;    /* in a row */
        bool answered;          /* the manager has, at least once */
        bool said_gone;
        bool said_listed;
        bool started;
        ConfigurationQuestion configuration;
        Listing **listings; /* owned, and each of them */
        size_t n_listings;
        void (*on_change)(void *userdata);
        void (*on_listed)(void *userdata);
        void *userdata;
};

/* endpoints-bus.c */
void endpoints_bus_say_gone(EndpointsBus *b, const char *why);
void endpoints_bus_say_back(EndpointsBus *b);
/* Something is due: the timer comes. */
void endpoints_bus_arm(EndpointsBus *b);
/* Something is settled: READY, if that was the last. */
void endpoints_bus_settle(EndpointsBus *b);
/* Whoever owns the manager's name has answered: only its signals count. */
void endpoints_bus_note_owner(EndpointsBus *b, sd_bus_message *reply);

/* configuration-bus.c */
int configuration_add_match(EndpointsBus *b);
/* Asks; an older question is forgotten. */
void configuration_ask(EndpointsBus *b);
void configuration_failed(EndpointsBus *b, const char *why);
/* Without the connection. */
void configuration_disconnect(EndpointsBus *b);

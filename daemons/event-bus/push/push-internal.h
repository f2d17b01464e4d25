/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of push/ share: who owns whom
 *
 * A Pusher owns endpoints (one per URL: consent, circuit, rate) and lanes (one per push subscription). A
 * lane owns the items that it has taken and not settled, at most as many as may be under way, and the
 * requests that carry them. An item is waiting, with a request, or settled and waiting for the next
 * settlement to go out.
 */

#include <sys/queue.h>

#include "event-bus/push/address.h"
#include "event-bus/push/circuit.h"
#include "event-bus/push/push.h"
#include "event-bus/push/signature.h"
#include "libmam/fetch/fetch.h"
#include "libmam/util/macro.h"

#define PUSH_BATCH_MAX      100U
#define PUSH_BATCH_BYTES    (1024U * 1024U)
#define PUSH_PARALLEL_MAX   64U
#define PUSH_DEADLINE_USEC  (15 * MAM_USEC_PER_SEC)
#define PUSH_ASK_AGAIN_USEC (600 * MAM_USEC_PER_SEC)
#define PUSH_RATE_ASKED     60000U /* requests a minute; who grants as many does not limit us */

typedef struct PushEndpoint PushEndpoint;
typedef struct PushLane PushLane;
typedef struct PushItem PushItem;
typedef struct PushRequest PushRequest;

typedef LIST_HEAD(PushEndpoints, PushEndpoint) PushEndpoints;
typedef LIST_HEAD(PushLanes, PushLane) PushLanes;
typedef TAILQ_HEAD(PushItems, PushItem) PushItems;
typedef LIST_HEAD(PushRequests, PushRequest) PushRequests;

struct Pusher {
        sd_event *event;    /* owned reference */
        Delivery *delivery; /* borrowed */
        PushNetworks allow;
        bool allow_http;
        char *origin; /* owned */
        PushKey key;
        bool has_key;
        MamFetcher *https, *http; /* owned; with different rules */
        PushEndpoints endpoints;
        PushLanes lanes;
        PushFigures figures;
};

/* url.c */

/* As pusher_check_url(), with networks that were read already. */
int push_url_check(
                const PushOptions *options,
                const PushNetworks *allow,
                const char *url,
                char **ret_problem);

/* endpoint.c */

typedef enum PushConsent {
        PUSH_CONSENT_UNKNOWN,
        PUSH_CONSENT_GIVEN,
        PUSH_CONSENT_REFUSED,
} PushConsent;

struct PushEndpoint {
        Pusher *pusher; /* weak */
        LIST_ENTRY(PushEndpoint) endpoints;
        unsigned n_ref;
        char *url;    /* owned */
        char *origin; /* owned; what may be logged of it */
        bool is_http;
        PushConsent consent;
        MamFetch *asking; /* owned */
        PushCircuit circuit;
        uint64_t interval_usec;     /* between requests; 0: as fast as it goes */
        uint64_t next_usec;         /* not before */
        uint64_t ask_usec;          /* again, after a refusal */
        sd_event_source *timer;     /* owned; all lanes look again */
        bool was_open, was_refused; /* what was logged last */
};

int push_endpoint_get(PushEndpoint **ret, Pusher *p, const char *url);
PushEndpoint *push_endpoint_unref(PushEndpoint *e);
/* How many requests may begin now. 0: all lanes are called when it is time to ask again. */
unsigned push_endpoint_room(PushEndpoint *e, unsigned parallel);
void push_endpoint_begin(PushEndpoint *e);
void push_endpoint_ended(PushEndpoint *e, const MamFetchResult *result);
MamFetcher *push_endpoint_fetcher(const PushEndpoint *e);

/* request.c: one request, made of a lane's items */

struct PushRequest {
        PushLane *lane; /* weak */
        LIST_ENTRY(PushRequest) requests;
        MamFetch *fetch;                 /* owned */
        PushItem *items[PUSH_BATCH_MAX]; /* weak; the lane's */
        size_t n;
};

/* Begins; what cannot be sent at all gives -EBADMSG. */
int push_request_new(PushLane *l, PushItem *const *items, size_t n);
PushRequest *push_request_free(PushRequest *q);

/* lane.c */

typedef enum PushItemState {
        PUSH_ITEM_WAITING,
        PUSH_ITEM_SENT,
        PUSH_ITEM_OVER, /* to be settled */
        PUSH_ITEM_SETTLING,
} PushItemState;

struct PushItem {
        TAILQ_ENTRY(PushItem) items;
        PushItemState state;
        SettleKind how; /* once over */
        uint64_t delay_usec;
        uint64_t leased_usec; /* when it was taken, or extended */
        bool extending;
        unsigned attempt;
        int64_t position;
        char ack_id[72];
        const char *key, *text; /* in this allocation */
        size_t size;
        char memory[];
};

typedef enum PushMode {
        PUSH_MODE_STRUCTURED,
        PUSH_MODE_BINARY,
        PUSH_MODE_BATCH,
} PushMode;

struct PushLane {
        Pusher *pusher; /* weak */
        LIST_ENTRY(PushLane) lanes;
        char *name;                    /* owned */
        SubscriptionSettings settings; /* texts owned */
        int64_t version;
        PushMode mode;
        unsigned parallel;
        PushSecrets secrets;
        PushEndpoint *endpoint; /* owned reference; NULL: nothing can be sent */
        PushItems items;
        size_t n_items;
        PushRequests requests;
        DeliveryCall *take, *settle, *pause; /* owned */
        unsigned failures;                   /* of the database, in a row */
        sd_event_source *defer;              /* owned; look again */
        sd_event_source *timer;              /* owned; leases, and after failures */
};

int push_lane_new(PushLane **ret, Pusher *p, const char *name, const SubscriptionInfo *s);
PushLane *push_lane_free(PushLane *l);
/* In the next turn of the loop it does what can be done. */
void push_lane_look(PushLane *l);
/* From the request, which is freed afterwards. */
void push_lane_answered(PushLane *l, PushRequest *q, const MamFetchResult *result);

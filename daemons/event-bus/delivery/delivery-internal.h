/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of delivery/ share: who owns whom
 *
 * The Delivery owns subscriptions and calls. A call is in one list at a time: what its subscription waits to
 * do (takes, operations), what the state that is being saved was made with, what waits for the database, or
 * the answers. Answers are given by delivery_deliver() only, the last act of the deferred handler, so that a
 * callback may free anything.
 *
 * A subscription works in rounds (subscription-round.c). A round applies everything that waits to the state
 * in memory and saves it; what comes meanwhile waits for the next round. If somebody else has saved in
 * between, the state is replaced by theirs and the calls of the round are applied again.
 */

#include <sys/queue.h>

#include "event-bus/delivery/delivery.h"
#include "event-bus/delivery/store.h"
#include "event-bus/delivery/window.h"

#define DELIVERY_TAKE_MAX      5000U
#define DELIVERY_SETTLE_MAX    10000U
#define DELIVERY_CALLS_MAX     10000U                /* of one subscription */
#define DELIVERY_ITEMS_MAX     200000U               /* waiting to be settled, of one subscription */
#define DELIVERY_BYTES_MAX     (32U * 1024U * 1024U) /* bodies, all subscriptions together */
#define DELIVERY_SUB_BYTES_MAX (4U * 1024U * 1024U)
#define DELIVERY_SUB_BYTES_MIN (64U * 1024U) /* also when all of the above is used */
#define DELIVERY_ACK_ID_SIZE   40U
#define DELIVERY_REDRIVE_MAX   1000U
#define DELIVERY_BUCKETS       256U

typedef struct Subscription Subscription;
typedef TAILQ_HEAD(DeliveryCalls, DeliveryCall) DeliveryCalls;
typedef LIST_HEAD(Subscriptions, Subscription) Subscriptions;

typedef enum CallKind {
        CALL_TAKE,
        CALL_SETTLE,
        CALL_SEEK,
        CALL_REDRIVE,
        CALL_RELEASE, /* a lease that nobody got */
        CALL_INFO,    /* create, change, get */
        CALL_DELETE,
        CALL_LIST,
        CALL_DEAD_LIST,
} CallKind;

struct DeliveryCall {
        Delivery *delivery; /* weak; NULL: answered */
        Subscription *sub;  /* weak; NULL: it concerns none that is in memory */
        DeliveryCalls *list;
        TAILQ_ENTRY(DeliveryCall) entry;
        CallKind kind;
        bool has_handle; /* the caller frees it */
        bool is_unheard; /* nobody waits for the answer */
        bool is_again;   /* REDRIVE: its letters are to be looked up (again); INFO: it is a change */
        bool is_listing; /* LIST: rows are being handed out */
        int result;
        uint64_t deadline_usec; /* monotonic: TAKE: answers nothing then; operations: the last error then */
        MamPgQuery *query;      /* owned */
        char *name;             /* owned; of the subscription */
        void *userdata;
        union {
                DeliveryTaken taken;
                DeliverySettled settled;
                SubscriptionCallback info;
                DeadLetterCallback letters;
                void (*redriven)(int r, size_t n, void *userdata);
        } callback;
        /* TAKE */
        unsigned events_max;
        size_t bytes_max;
        bool wants_probe; /* its time is short: the log is asked before "nothing" is answered */
        bool was_probed;
        bool was_checked; /* the row was looked at since, so that "no" is not hearsay */
        uint64_t lease;
        GroupPick *picks; /* owned */
        size_t n_picks;
        WindowBody **bodies; /* owned, n_picks of them, once it is saved */
        /* SETTLE */
        GroupItem *items; /* owned */
        int *results;     /* owned */
        char **reasons;   /* owned; NULL: none has one */
        size_t n_items;
        /* SEEK */
        int64_t to;
        /* REDRIVE: letters by number, and their positions in ascending order */
        char *numbers; /* owned; an array literal, NULL: all */
        int64_t *found, *positions;
        size_t n_found;
};

struct Subscription {
        Delivery *delivery;                     /* weak */
        LIST_ENTRY(Subscription) subscriptions; /* of its bucket */
        char *name;
        unsigned n_calls; /* that name it */

        /* the row */
        int64_t id, version, token, dead;
        SubscriptionSettings settings; /* owned texts */
        TopicKind kind;
        Filter *filter; /* owned */
        bool is_bad;    /* filter or state cannot be read: nothing is handed out */
        bool is_ready;  /* group is what the database said with that token */
        bool is_stale;  /* look at the row before the next round */
        bool is_asked;  /* look at the row even if nobody waits */
        bool is_unsure; /* nobody knows whether the round was saved: the row will tell */
        bool is_told_push;
        int64_t told_version;
        Group group;
        int64_t saved_floor;
        uint64_t epoch;        /* of the window: group.epoch when it was begun */
        SubscriptionInfo info; /* figures of the last refresh */
        uint64_t refreshed;    /* number of the refresh that saw it */
        int64_t topic_last;

        /* the round */
        MamPgQuery *query;                  /* owned; loading or saving */
        DeliveryCalls takes, ops, in_round; /* owned */
        size_t n_items;                     /* of ops */
        int64_t new_token;
        unsigned failures, conflicts;
        uint64_t retry_usec; /* monotonic: not before */
        bool frees;          /* the round in the database makes room: others should look */
        bool is_dirty;       /* in the Delivery's list of those to be looked at */
        STAILQ_ENTRY(Subscription) dirty;

        /* the window */
        Window window;
        Follower *follower;         /* owned */
        int64_t main_from, main_to; /* what the follower has brought */
        int64_t first;              /* everything before was dropped; 0: not known */
        unsigned credit;            /* wanted of the follower and not come */
        unsigned demand;            /* what takers asked for lately */
        uint64_t event_size;        /* average */
        LogCall *read;              /* owned; under way */
        MamPgQuery *letters;        /* owned; under way */
        int64_t read_from, read_to; /* what is under way */
        bool is_probe;
        bool is_starving; /* takers wait and nothing that is at hand may go */
        int64_t letters_missed;
        int64_t gap_to;      /* the last position of a durable topic that the log no longer had */
        int64_t letters_to;  /* redriven ones up to here are in the window */
        int64_t wanted_from; /* what a round lacks; 0: nothing */
        int64_t wanted_to;
        int64_t need_to;      /* operations need to know everything up to here */
        uint64_t used_usec;   /* monotonic, as the following */
        uint64_t taker_usec;  /* somebody waited to take */
        uint64_t looked_usec; /* at the row */

        sd_event_source *timer; /* owned */
        uint64_t wake_usec;     /* monotonic: something is held until then */
        uint64_t tell_usec;     /* when others were told last */
        bool tell_later;
};

struct Delivery {
        sd_event *event; /* owned */
        MamPg *pg;       /* borrowed, as the following */
        Log *log;
        Tail *tail;
        Subscriptions subscriptions[DELIVERY_BUCKETS];
        STAILQ_HEAD(, Subscription) dirty;
        DeliveryCalls waiting, answers;   /* waiting: for the database */
        sd_event_source *defer, *refresh; /* owned */
        MamPgQuery *list;                 /* owned; the refresh under way */
        uint64_t refreshes;
        size_t bytes; /* of all windows */
        void (*on_push)(const char *name, const SubscriptionInfo *s, void *userdata);
        void *push_userdata;
        uint64_t lots; /* state of the generator of lease ids and tokens */
        bool is_closing;
        bool *gone; /* set while answering; tells that we were freed */
};

/* delivery.c */
void delivery_wake(Delivery *d);
Subscription *delivery_find(Delivery *d, const char *name);
/* Finds it, or makes one that is not loaded. */
int delivery_get(Delivery *d, const char *name, Subscription **ret);
void delivery_refresh_soon(Delivery *d);
void delivery_tell_settings(Delivery *d, const char *name);
/* 1 to 2^48 - 1: lease ids, which must not be guessed right by accident. */
uint64_t delivery_lot(Delivery *d);

/* delivery-call.c */
int delivery_call_new(
                DeliveryCall **ret,
                DeliveryCall **ret_handle,
                Delivery *d,
                CallKind kind,
                const char *name,
                void *userdata);
void delivery_call_move(DeliveryCall *c, DeliveryCalls *list);
void delivery_call_move_first(DeliveryCall *c, DeliveryCalls *list);
/* The answer is known: it is given later. */
void delivery_call_finish(DeliveryCall *c, int result);
/* Gives all answers. False: the Delivery is gone. */
bool delivery_deliver(Delivery *d);
/* Frees a call that was not handed out. */
DeliveryCall *delivery_call_destroy(DeliveryCall *c);
MAM_DEFINE_CLEANUP(DeliveryCall, delivery_call_destroy);
int delivery_release(Subscription *s, uint64_t lease);

/* subscription.c */
int subscription_new(Subscription **ret, Delivery *d, const char *name);
Subscription *subscription_free(Subscription *s);
MAM_DEFINE_CLEANUP(Subscription, subscription_free);
/* Looks at it at the end of this turn of the event loop. */
void subscription_wake(Subscription *s);
/* Takes in a row; -EBADMSG: it cannot be read, is_bad is set. */
int subscription_take_row(Subscription *s, const StoreRow *row);
/* There is no such subscription (any more): answers all of its calls. */
void subscription_gone(Subscription *s);
void subscription_load(Subscription *s);
void subscription_info(const Subscription *s, SubscriptionInfo *ret);
/* Forgets what is large and can be read again. */
void subscription_sleep(Subscription *s);
void subscription_failed(Subscription *s, int error);
GroupPolicy subscription_policy(const Subscription *s);
void subscription_tell_push(Subscription *s, bool gone);

void subscription_set_timer(Subscription *s);

/* subscription-round.c */
/* May free it. */
void subscription_run(Subscription *s);
/* The outcome of a save is known: its calls are answered, or wait for the next round. */
void subscription_end_round(Subscription *s, bool was_saved);

/* delivery-redrive.c */
/* Looks up its letters (again). */
int delivery_redrive_find(DeliveryCall *c);

/* subscription-read.c: fills the window */
/* The window begins anew at the group's floor. */
void subscription_restart_window(Subscription *s);
/* Theirs is the state now: what was missing in the log may be out at their consumers. */
void subscription_check_window(Subscription *s);
/* Gets what is wanted, as far as memory allows. */
void subscription_read(Subscription *s);
/* Asks the log whether there is anything behind what is known. */
void subscription_probe(Subscription *s);
void subscription_stop_reading(Subscription *s);
/* Tells the Delivery how much memory it has. */
void subscription_count_bytes(Subscription *s, size_t before);

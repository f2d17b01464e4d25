/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of tail share: who owns whom
 *
 * A follower is in at most one queue: of its topic (waiting for what is not there yet), or of the Tail
 * (ready: the ring has something for it; lagging: it needs a page of its own; served: a page that is being
 * handed out right now). Without credit, or after an answer that ends it, it is in none. A topic lives as
 * long as somebody refers to it: its followers, pages under way, and code that is just calling followers.
 */

#include <sys/queue.h>

#include "event-bus/log/doorbell.h"
#include "event-bus/log/read.h"
#include "event-bus/log/tail-ring.h"
#include "event-bus/log/tail.h"
#include "libmam/util/time.h"

#define TAIL_BUCKETS     256U
#define TAIL_PAGES_MAX   2U /* of laggards, at once */
#define TAIL_PAGE_EVENTS 1000U
#define TAIL_PAGE_BYTES  ((size_t) 1024 * 1024)
#define TAIL_RINGS_BYTES ((size_t) 64 * 1024 * 1024)
#define TAIL_SAFETY_USEC (2 * MAM_USEC_PER_SEC)
#define TAIL_RETRY_FIRST (50 * MAM_USEC_PER_MSEC)
#define TAIL_RETRY_LIMIT (2 * MAM_USEC_PER_SEC)
#define TAIL_WORK_USEC   (5 * MAM_USEC_PER_MSEC)
#define TAIL_ACCURACY    (5 * MAM_USEC_PER_MSEC)
#define TAIL_TELLER_SIZE 17U

typedef struct TailTopic TailTopic;
typedef struct TailPage TailPage;
typedef struct TailTelling TailTelling;
typedef TAILQ_HEAD(FollowerQueue, Follower) FollowerQueue;
typedef LIST_HEAD(TailTopics, TailTopic) TailTopics;

struct Follower {
        Tail *tail;           /* weak; valid while topic is */
        TailTopic *topic;     /* a reference; NULL: the Tail is gone */
        FollowerQueue *queue; /* weak; where entry is linked, or NULL */
        TAILQ_ENTRY(Follower) entry;
        LIST_ENTRY(Follower) followers;
        int64_t after;    /* it has everything up to here: at least position, farther over a hole */
        int64_t position; /* of the last event that came */
        unsigned credit;
        bool ended; /* nothing comes any more, until it seeks or for ever */
        FollowerCallback callback;
        void *userdata;
};

struct TailTopic {
        unsigned n_ref;
        Tail *tail;                   /* weak */
        LIST_ENTRY(TailTopic) topics; /* of a bucket, or of those that are gone */
        LIST_HEAD(, Follower) followers;
        FollowerQueue waiting;
        TailRing ring;
        int64_t id;             /* 0: not known yet */
        int64_t first;          /* as last seen */
        int64_t known_last;     /* by bell, by poll, by reading; too high for one read at most */
        int64_t heard_last;     /* while reading */
        LogCall *reading;       /* owned; the page behind the ring's end */
        sd_event_source *retry; /* owned */
        unsigned failures;
        bool resting; /* until retry is due */
        bool gone;    /* deleted */
        char name[];
};

/* A page of the log for those whom the ring does not serve. */
struct TailPage {
        Tail *tail;
        TailTopic *topic; /* a reference; NULL: free */
        LogCall *reading; /* owned */
        int64_t from;
};

struct Tail {
        sd_event *event; /* owned */
        Log *log;
        MamRedis *listen; /* owned */
        MamRedis *ring;   /* borrowed */
        char teller[TAIL_TELLER_SIZE];
        Doorbell bell;
        TailTelling *telling;  /* a message is on its way; frees itself */
        sd_event_source *work; /* owned; followers that are ready, and the bell */
        sd_event_source *poll; /* owned */
        LogCall *heads;        /* owned; a poll under way */
        bool awake;            /* work is due */
        bool poll_again, poll_failed;
        TailTopics buckets[TAIL_BUCKETS];
        TailTopics gone;             /* deleted, but still referred to */
        size_t n_topics, ring_bytes; /* of those in buckets */
        FollowerQueue ready, lagging, served;
        TailPage pages[TAIL_PAGES_MAX];
        Follower *current; /* weak; the one that is being called */
        void (*on_told)(const char *word, void *userdata);
        void *on_told_userdata;
};

/* tail.c */
TailTopic *tail_topic_find(Tail *t, const char *name);
TailTopic *tail_topic_ref(TailTopic *o);
TailTopic *tail_topic_unref(TailTopic *o);
MAM_DEFINE_CLEANUP(TailTopic, tail_topic_unref);
/* Something was heard about it; head->id 0: it is not there. */
void tail_topic_heard(TailTopic *o, const LogHead *head);
/* Its last position is at least this. */
void tail_topic_grew(TailTopic *o, int64_t last);
void tail_wake(Tail *t);

/* tail-reads.c: what is read, and when */
/* Reads behind the ring's end if somebody waits for what is there. */
void tail_topic_advance(TailTopic *o);
/* Begins pages for laggards. */
void tail_pages_start(Tail *t);
void tail_page_done(TailPage *p);

/* tail.c, for tail-reads.c */
void tail_topic_gone(TailTopic *o);
void tail_follower_queue(Follower *f, FollowerQueue *queue);
/* Puts it where it belongs. */
void tail_follower_schedule(Follower *f);
/* Hands out at most its credit of a run of events in order, then schedules it. end: covered with the last.
 */
void tail_follower_deliver(Follower *f, const LogEvent *events, size_t n, int64_t end);
/* Ends it. */
void tail_follower_end(Follower *f, int error, int64_t first);

/* tail-bell.c: Redis and polling */
int tail_bell_init(Tail *t);
int tail_bell_listen(Tail *t, MamRedis *listen); /* takes it on success */
void tail_bell_done(Tail *t);
/* Sends what waits, if it can be sent. */
void tail_bell_flush(Tail *t);
/* Asks for the heads of all topics now. */
void tail_bell_poll(Tail *t);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The doorbell over Redis, and polling in its place
 *
 * What is to be told while a message is on its way goes with the next one. While this process does not hear
 * the others it asks the log for the heads of all followed topics every TAIL_POLL_USEC, in one query;
 * otherwise every TAIL_SAFETY_USEC, as a message can be lost with a connection.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "event-bus/log/tail-internal.h"

/* Survives its Tail: a command to Redis cannot be taken back. */
struct TailTelling {
        Tail *tail; /* weak */
};

/* Polling */

static void on_heads(int r, const LogHead *heads, size_t n, void *userdata) {
        Tail *t = userdata;
        LogCall *call = MAM_TAKE(t->heads); /* heads are in it */
        TailTopic *o;

        t->poll_failed = r < 0;
        for (size_t i = 0; i < n && r >= 0; i++) {
                o = tail_topic_find(t, heads[i].topic);
                if (heads[i].error < 0)
                        t->poll_failed = true;
                else if (o)
                        tail_topic_heard(o, heads + i);
        }

        call = log_call_free(call);
        if (t->poll_again) {
                t->poll_again = false;
                tail_bell_poll(t);
        }
}

void tail_bell_poll(Tail *t) {
        _cleanup_(mam_freep) const char **names = NULL;
        size_t n = 0;
        TailTopic *o;

        if (t->n_topics == 0)
                return;
        if (t->heads) {
                t->poll_again = true; /* it may have looked before */
                return;
        }

        t->poll_failed = true;
        names = calloc(t->n_topics, sizeof(*names));
        if (!names)
                return;
        for (size_t i = 0; i < TAIL_BUCKETS; i++) {
                LIST_FOREACH(o, t->buckets + i, topics)
                        names[n++] = o->name;
        }

        t->poll_failed = log_heads(t->log, &t->heads, names, n, on_heads, t) < 0;
}

static bool is_deaf(const Tail *t) {
        return !mam_redis_is_connected(t->listen);
}

static void poll_arm(Tail *t) {
        bool soon = is_deaf(t) || t->poll_failed || !doorbell_is_empty(&t->bell);

        (void) sd_event_source_set_time_relative(t->poll, soon ? TAIL_POLL_USEC : TAIL_SAFETY_USEC);
        (void) sd_event_source_set_enabled(t->poll, SD_EVENT_ONESHOT);
}

static void told(Tail *t, const char *word) {
        if (t->on_told)
                t->on_told(word, t->on_told_userdata);
}

static int on_poll(sd_event_source *s, uint64_t usec, void *userdata) {
        Tail *t = userdata;

        tail_bell_flush(t);
        if (!t->heads)
                tail_bell_poll(t);
        poll_arm(t);
        if (is_deaf(t))
                told(t, "*");
        return 0;
}

/* Hearing */

static bool on_topic(const char *topic, int64_t last, void *userdata) {
        TailTopic *o = tail_topic_find(userdata, topic);

        if (o)
                tail_topic_grew(o, last);
        return true;
}

static bool on_word(const char *word, void *userdata) {
        Tail *t = userdata;

        if (strcmp(word, "topics") == 0)
                tail_bell_poll(t); /* one that we follow may be gone */
        told(t, word);
        return true;
}

static void on_message(MamRedis *r, const char *data, size_t size, void *userdata) {
        Tail *t = userdata;

        doorbell_read(data, size, t->teller, on_topic, on_word, t);
}

static void on_listening(MamRedis *r, bool connected, void *userdata) {
        Tail *t = userdata;

        poll_arm(t);
        if (!connected)
                return;
        tail_bell_poll(t); /* for what was told before */
        told(t, "*");
}

int tail_bell_listen(Tail *t, MamRedis *listen) {
        int r;

        r = mam_redis_listen(listen, DOORBELL_CHANNEL, on_message, t);
        if (r < 0)
                return r;

        t->listen = listen;
        mam_redis_set_on_state(listen, on_listening, t);
        return 0;
}

/* Telling */

static void on_published(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        _cleanup_(mam_freep) TailTelling *telling = userdata;

        if (!telling->tail)
                return;
        telling->tail->telling = NULL;
        if (!doorbell_is_empty(&telling->tail->bell))
                tail_wake(telling->tail);
}

void tail_bell_flush(Tail *t) {
        _cleanup_(mam_buffer_done) MamBuffer message = MAM_BUFFER_INIT;
        _cleanup_(mam_freep) TailTelling *telling = NULL;
        const char *argv[3] = { "PUBLISH", DOORBELL_CHANNEL };
        size_t sizes[3] = { strlen(argv[0]), strlen(argv[1]) };

        if (t->telling || doorbell_is_empty(&t->bell) || !mam_redis_is_connected(t->ring))
                return; /* on_published() or on_poll() comes back to it */

        telling = calloc(1, sizeof(*telling));
        if (!telling || doorbell_take(&t->bell, t->teller, &message) < 0)
                return;

        telling->tail = t;
        argv[2] = mam_buffer_bytes(&message);
        sizes[2] = message.size;
        if (mam_redis_command(t->ring, argv, sizes, MAM_ELEMENTSOF(argv), on_published, telling) < 0)
                return; /* the others poll */
        t->telling = MAM_TAKE(telling);
}

void tail_appended(Tail *t, const char *topic, int64_t last) {
        TailTopic *o;

        assert(t);
        assert(topic);

        o = tail_topic_find(t, topic);
        if (o)
                tail_topic_grew(o, last);
        if (t->ring && doorbell_add_topic(&t->bell, topic, last) >= 0)
                tail_wake(t);
}

void tail_tell(Tail *t, const char *word) {
        assert(t);
        assert(word);

        if (strcmp(word, "topics") == 0)
                tail_bell_poll(t); /* our followers are not told by others */
        if (t->ring && doorbell_add_word(&t->bell, word) >= 0)
                tail_wake(t);
}

void tail_set_on_told(Tail *t, void (*on_told)(const char *word, void *userdata), void *userdata) {
        assert(t);

        t->on_told = on_told;
        t->on_told_userdata = userdata;
}

/* Life */

int tail_bell_init(Tail *t) {
        uint64_t lot = 0;
        int r;

        if (getrandom(&lot, sizeof(lot), GRND_NONBLOCK) != (ssize_t) sizeof(lot))
                lot = mam_now_monotonic() ^ (uint64_t) getpid() << 32;
        (void) snprintf(t->teller, sizeof(t->teller), "%016llx", (unsigned long long) lot);

        r = sd_event_add_time_relative(
                        t->event,
                        &t->poll,
                        CLOCK_MONOTONIC,
                        TAIL_POLL_USEC,
                        TAIL_ACCURACY,
                        on_poll,
                        t);
        return r < 0 ? r : 0;
}

void tail_bell_done(Tail *t) {
        if (t->telling)
                t->telling->tail = NULL;
        t->heads = log_call_free(t->heads);
        t->poll = sd_event_source_disable_unref(t->poll);
        t->listen = mam_redis_free(t->listen);
        doorbell_done(&t->bell);
}

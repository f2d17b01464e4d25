/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Keeping: rounds over the topics
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "event-bus/log/keep-internal.h"
#include "event-bus/log/log-internal.h"

#define INTERVAL_DEFAULT  (10 * MAM_USEC_PER_SEC)
#define GARBAGE_DEFAULT   (30 * MAM_USEC_PER_SEC)
#define TOMBSTONE_DEFAULT (24 * 3600 * MAM_USEC_PER_SEC)
#define DIRTY_DEFAULT     33U
#define STEPS_MAX         256U /* of compacting one topic, in one round: others are waiting */
#define ACCURACY          (100 * MAM_USEC_PER_MSEC)

static const MamPgStatement keep_sweep = { "keep_sweep", "SELECT keep_sweep($1::bigint)", true };
static const MamPgStatement keep_topics = {
        "keep_topics",
        "SELECT id, archive::integer, compact::integer, name FROM topics WHERE kind = 'durable' ORDER BY id",
        true,
};
static const MamPgStatement keep_retain = {
        "keep_retain",
        "SELECT closed_first, closed_last, closed_events, dropped_first, dropped_last, dropped_events"
        " FROM keep_retain($1::bigint)",
        false,
};
static const MamPgStatement keep_compact = {
        "keep_compact",
        "SELECT more::integer, first, last, removed FROM keep_compact($1::bigint, $2::integer, $3::bigint)",
        false,
};

/* Rounds */

static void timer_set(Keep *k, uint64_t usec) {
        (void) sd_event_source_set_time_relative(k->timer, usec);
        (void) sd_event_source_set_enabled(k->timer, SD_EVENT_ONESHOT);
}

/* Replicas begin at different times. */
static uint64_t interval(const Keep *k) {
        uint64_t usec = k->options.interval_usec, lot = 0;

        if (getrandom(&lot, sizeof(lot), GRND_NONBLOCK) != (ssize_t) sizeof(lot))
                lot = 0;
        return usec - usec / 4 + lot % (usec / 2 + 1);
}

int keep_query(Keep *k,
               const MamPgStatement *s,
               const char *const *parameters,
               size_t n,
               MamPgCallback callback) {
        k->query = mam_pg_query_free(k->query);
        return mam_pg_query(k->pg, &k->query, s, parameters, n, callback, k);
}

bool keep_tell(Keep *k, const KeepNews *news) {
        bool gone = false;

        if (!k->callback)
                return true;

        k->gone = &gone;
        k->callback(k, news, k->userdata);
        if (gone)
                return false;
        k->gone = NULL;
        return true;
}

static void round_end(Keep *k) {
        void (*done)(Keep * k, void *userdata) = MAM_TAKE(k->done);

        free(MAM_TAKE(k->topics));
        k->n_topics = k->at = 0;
        k->in_round = false;
        timer_set(k, k->again ? 1 : interval(k));
        if (k->again) {
                k->again = false;
                k->done = MAM_TAKE(k->next_done);
                k->done_userdata = k->next_userdata;
        }
        if (done)
                done(k, k->done_userdata);
}

const KeepTopic *keep_topic(const Keep *k) {
        return k->topics + k->at;
}

static void topic_next(Keep *k) {
        k->at++;
        k->n_steps = 0;
        k->archived = false;
        if (k->at < k->n_topics)
                keep_topic_retain(k);
        else
                round_end(k);
}

void keep_failed(Keep *k, KeepWork work, int error, const char *message) {
        KeepNews news = { .work = work,
                          .topic = k->at < k->n_topics ? keep_topic(k)->name : NULL,
                          .error = error,
                          .message = message };

        if (!keep_tell(k, &news))
                return;
        if (error == -ENOTCONN || k->at >= k->n_topics)
                round_end(k);
        else
                topic_next(k);
}

/* Compacting */

static void on_compacted(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Keep *k = userdata;
        KeepNews news = { .work = KEEP_COMPACTED, .topic = keep_topic(k)->name };

        if (error < 0) {
                keep_failed(k, KEEP_COMPACTED, log_error(error), message);
                return;
        }
        if (mam_pg_int(result, 0, 3) > 0) {
                news.first = mam_pg_int(result, 0, 1);
                news.last = mam_pg_int(result, 0, 2);
                news.events = (uint64_t) mam_pg_int(result, 0, 3);
                if (!keep_tell(k, &news))
                        return;
        }

        if (mam_pg_int(result, 0, 0) && ++k->n_steps < STEPS_MAX)
                keep_topic_compact(k);
        else
                topic_next(k);
}

void keep_topic_compact(Keep *k) {
        char topic[24], percent[16], tombstone[24];
        const char *parameters[] = { topic, percent, tombstone };
        int r;

        (void) snprintf(topic, sizeof(topic), "%lld", (long long) keep_topic(k)->id);
        (void) snprintf(percent, sizeof(percent), "%u", k->options.dirty_percent);
        (void) snprintf(tombstone,
                        sizeof(tombstone),
                        "%llu",
                        (unsigned long long) k->options.tombstone_usec);
        r = keep_query(k, &keep_compact, parameters, MAM_ELEMENTSOF(parameters), on_compacted);
        if (r < 0)
                keep_failed(k, KEEP_COMPACTED, r, NULL);
}

/* Retention */

static void topic_go_on(Keep *k) {
        int r;

        if (keep_topic(k)->archive && k->archive && !k->archived) {
                r = keep_archive(k);
                if (r < 0)
                        keep_failed(k, KEEP_ARCHIVED, r, NULL);
        } else if (keep_topic(k)->compact) {
                keep_topic_compact(k);
        } else {
                topic_next(k);
        }
}

void keep_archived(Keep *k) {
        if (k->archived)
                keep_topic_retain(k); /* what is archived may be dropped */
        else if (keep_topic(k)->compact)
                keep_topic_compact(k);
        else
                topic_next(k);
}

static void on_retained(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        static const KeepWork works[] = { KEEP_CLOSED, KEEP_DROPPED };
        Keep *k = userdata;

        if (error < 0) {
                keep_failed(k, KEEP_DROPPED, log_error(error), message);
                return;
        }

        for (size_t i = 0; i < MAM_ELEMENTSOF(works); i++) {
                KeepNews news = { .work = works[i],
                                  .topic = keep_topic(k)->name,
                                  .first = mam_pg_int(result, 0, 3 * i),
                                  .last = mam_pg_int(result, 0, 3 * i + 1),
                                  .events = (uint64_t) mam_pg_int(result, 0, 3 * i + 2) };

                if (news.last > 0 && !keep_tell(k, &news))
                        return;
        }
        topic_go_on(k);
}

void keep_topic_retain(Keep *k) {
        char topic[24];
        const char *parameters[] = { topic };
        int r;

        (void) snprintf(topic, sizeof(topic), "%lld", (long long) keep_topic(k)->id);
        r = keep_query(k, &keep_retain, parameters, MAM_ELEMENTSOF(parameters), on_retained);
        if (r < 0)
                keep_failed(k, KEEP_DROPPED, r, NULL);
}

/* Beginning */

static void on_topics(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        size_t n = mam_pg_rows(result);
        Keep *k = userdata;

        if (error == 0 && n > 0) {
                k->topics = calloc(n, sizeof(*k->topics));
                if (!k->topics)
                        error = -ENOMEM;
        }
        if (error < 0) {
                keep_failed(k, KEEP_DROPPED, log_error(error), message);
                return;
        }

        for (; k->n_topics < n; k->n_topics++) {
                KeepTopic *t = k->topics + k->n_topics;

                t->id = mam_pg_int(result, k->n_topics, 0);
                t->archive = mam_pg_int(result, k->n_topics, 1);
                t->compact = mam_pg_int(result, k->n_topics, 2);
                (void) snprintf(t->name, sizeof(t->name), "%s", mam_pg_text(result, k->n_topics, 3));
        }

        k->n_steps = 0;
        k->archived = false;
        if (n > 0)
                keep_topic_retain(k);
        else
                round_end(k);
}

static void on_swept(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Keep *k = userdata;
        KeepNews news = { .work = KEEP_REMOVED, .error = log_error(error), .message = message };
        int r;

        if (error == 0)
                news.events = (uint64_t) mam_pg_int(result, 0, 0);
        if ((error < 0 || news.events > 0) && !keep_tell(k, &news))
                return;
        if (news.error == -ENOTCONN) {
                round_end(k);
                return;
        }

        r = keep_query(k, &keep_topics, NULL, 0, on_topics);
        if (r < 0)
                keep_failed(k, KEEP_DROPPED, r, NULL);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        Keep *k = userdata;
        char garbage[24];
        const char *parameters[] = { garbage };
        int r;

        k->in_round = true;
        (void) snprintf(garbage, sizeof(garbage), "%llu", (unsigned long long) k->options.garbage_usec);
        r = keep_query(k, &keep_sweep, parameters, MAM_ELEMENTSOF(parameters), on_swept);
        if (r < 0)
                keep_failed(k, KEEP_REMOVED, r, NULL);
        return 0;
}

void keep_now(Keep *k, void (*done)(Keep *k, void *userdata), void *userdata) {
        assert(k);

        if (k->in_round) {
                k->again = true;
                k->next_done = done;
                k->next_userdata = userdata;
                return;
        }

        k->done = done;
        k->done_userdata = userdata;
        timer_set(k, 1);
}

/* Life */

static int keep_init(Keep *k, sd_event *event, const KeepOptions *o) {
        uint64_t lot = 0;
        int r;

        k->event = sd_event_ref(event);
        k->options = *o;
        k->options.interval_usec = o->interval_usec ?: INTERVAL_DEFAULT;
        k->options.garbage_usec = o->garbage_usec ?: GARBAGE_DEFAULT;
        k->options.tombstone_usec = o->tombstone_usec ?: TOMBSTONE_DEFAULT;
        k->options.dirty_percent = o->dirty_percent ?: DIRTY_DEFAULT;
        k->archive = o->archive ? strdup(o->archive) : NULL;
        if (o->archive && !k->archive)
                return -ENOMEM;
        k->options.archive = k->archive;

        if (getrandom(&lot, sizeof(lot), 0) != (ssize_t) sizeof(lot))
                return -EIO;
        (void) snprintf(k->me, sizeof(k->me), "%016llx", (unsigned long long) lot);

        r = sd_event_add_time_relative(
                        event,
                        &k->timer,
                        CLOCK_MONOTONIC,
                        interval(k),
                        ACCURACY,
                        on_timer,
                        k);
        return r < 0 ? r : 0;
}

int keep_new(Keep **ret,
             sd_event *event,
             MamPg *pg,
             const KeepOptions *options,
             KeepCallback callback,
             void *userdata) {
        static const KeepOptions defaults = { 0 };
        _cleanup_(keep_freep) Keep *k = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(pg);

        k = calloc(1, sizeof(*k));
        if (!k)
                return -ENOMEM;

        k->pg = pg;
        k->callback = callback;
        k->userdata = userdata;
        r = keep_init(k, event, options ?: &defaults);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(k);
        return 0;
}

Keep *keep_free(Keep *k) {
        if (!k)
                return NULL;

        if (k->gone)
                *k->gone = true;
        k->query = mam_pg_query_free(k->query);
        keep_archive_stop(k);
        k->timer = sd_event_source_disable_unref(k->timer);
        sd_event_unref(k->event);
        free(k->topics);
        free(k->archive);
        free(k);
        return NULL;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A subscription in memory: its row, when it is looked at again, and its end
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/delivery/delivery-internal.h"
#include "libmam/obs/log.h"
#include "libmam/util/backoff.h"
#include "libmam/util/time.h"

#define RETRY_FIRST (50 * MAM_USEC_PER_MSEC)
#define RETRY_LIMIT (1 * MAM_USEC_PER_SEC)
#define IDLE_USEC   (30 * MAM_USEC_PER_SEC)
#define POLL_USEC   (2 * MAM_USEC_PER_SEC)
#define FLUSH_USEC  (2 * MAM_USEC_PER_SEC)

void subscription_wake(Subscription *s) {
        if (!s->is_dirty) {
                s->is_dirty = true;
                STAILQ_INSERT_TAIL(&s->delivery->dirty, s, dirty);
        }
        delivery_wake(s->delivery);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        subscription_wake(userdata);
        return 0;
}

int subscription_new(Subscription **ret, Delivery *d, const char *name) {
        _cleanup_(subscription_freep) Subscription *s = NULL;
        int r;

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        TAILQ_INIT(&s->takes);
        TAILQ_INIT(&s->ops);
        TAILQ_INIT(&s->in_round);
        s->event_size = 1024;

        s->name = strdup(name);
        if (!s->name)
                return -ENOMEM;
        r = sd_event_add_time(d->event, &s->timer, CLOCK_MONOTONIC, 0, MAM_USEC_PER_MSEC, on_timer, s);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;

        s->delivery = d;
        *ret = MAM_TAKE(s);
        return 0;
}

Subscription *subscription_free(Subscription *s) {
        if (!s)
                return NULL;

        if (s->delivery) {
                assert(s->n_calls == 0);
                LIST_REMOVE(s, subscriptions);
                if (s->is_dirty)
                        STAILQ_REMOVE(&s->delivery->dirty, s, Subscription, dirty);
                subscription_stop_reading(s);
                s->delivery->bytes -= s->window.bytes;
        }

        s->query = mam_pg_query_free(s->query);
        s->timer = sd_event_source_disable_unref(s->timer);
        s->filter = filter_free(s->filter);
        window_done(&s->window);
        group_done(&s->group);
        store_settings_done(&s->settings);
        free(s->name);
        free(s);
        return NULL;
}

GroupPolicy subscription_policy(const Subscription *s) {
        GroupPolicy p = {
                .backoff_min_usec = s->settings.backoff_min_usec,
                .backoff_max_usec = s->settings.backoff_max_usec,
                .attempts_max = s->settings.attempts_max,
                .outstanding_max = s->settings.outstanding_max,
        };

        p.lot = delivery_lot(s->delivery);
        return p;
}

/* The row */

static int parse_filter(Filter **ret, const char *text) {
        _cleanup_(json_object_putp) json_object *array = NULL;
        int r;

        *ret = NULL;
        if (!text)
                return 0;
        r = mam_json_parse(&array, text, strlen(text), NULL);
        if (r < 0)
                return r;
        return filter_parse(ret, array, "", NULL);
}

static bool same_text(const char *a, const char *b) {
        return a == b || (a && b && strcmp(a, b) == 0);
}

static int take_settings(Subscription *s, const StoreRow *row) {
        _cleanup_(filter_freep) Filter *filter = NULL;
        SubscriptionSettings settings;
        int r;

        r = parse_filter(&filter, row->settings.filters);
        if (r < 0)
                return r == -ENOMEM ? r : -EBADMSG;
        r = store_settings_copy(&settings, &row->settings);
        if (r < 0)
                return r;

        /* the window holds what the old filter wanted of the old topic */
        if (s->id != row->id || !same_text(s->settings.filters, settings.filters))
                s->epoch = UINT64_MAX;

        store_settings_done(&s->settings);
        s->settings = settings;
        (void) filter_free(s->filter);
        s->filter = MAM_TAKE(filter);
        s->version = row->version;
        if (s->id != row->id)
                s->first = s->topic_last = 0;
        s->id = row->id;
        s->kind = row->kind;
        return 0;
}

int subscription_take_row(Subscription *s, const StoreRow *row) {
        Group group = { 0 };
        int r;

        s->is_bad = false;
        if (s->id != row->id) {
                s->is_ready = false;
                subscription_sleep(s);
        }
        if (s->id != row->id || s->version != row->version) {
                r = take_settings(s, row);
                if (r < 0) {
                        s->is_bad = r == -EBADMSG;
                        return r;
                }
        }

        s->dead = row->dead;
        if (s->is_ready && s->token == row->token)
                return 0;

        r = group_decode(&group, row->state);
        if (r < 0) {
                s->is_bad = r != -ENOMEM;
                return r;
        }

        group_done(&s->group);
        s->group = group;
        s->token = row->token;
        s->saved_floor = group.floor;
        s->is_ready = true;
        subscription_check_window(s);
        return 0;
}

/* Loading */

static void on_loaded(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Subscription *s = userdata;
        StoreRow row;
        int r;

        s->query = mam_pg_query_free(s->query);
        s->looked_usec = mam_now_monotonic();
        if (error < 0) {
                subscription_failed(s, store_error(error));
                return;
        }
        if (mam_pg_rows(result) == 0) {
                subscription_gone(s);
                return;
        }

        store_read(&row, result, 0, false);
        if (s->is_unsure)
                subscription_end_round(s, row.was_saved);
        r = subscription_take_row(s, &row);
        if (r < 0) {
                mam_warning("Subscription %s cannot be read: %s", s->name, strerror(-r));
                subscription_failed(s, r);
                return;
        }

        s->is_stale = false;
        s->failures = 0;
        subscription_tell_push(s, false);
        subscription_wake(s);
}

void subscription_load(Subscription *s) {
        char token[STORE_NUMBER_SIZE];
        const char *const parameters[] = { s->name, token };
        int r;

        assert(!s->query);
        (void) snprintf(token, sizeof(token), "%" PRIi64, s->new_token);
        r =
                        mam_pg_query(s->delivery->pg,
                                     &s->query,
                                     &store_load,
                                     parameters,
                                     MAM_ELEMENTSOF(parameters),
                                     on_loaded,
                                     s);
        if (r < 0)
                subscription_failed(s, r);
}

/* Takes go on waiting until their time is over; operations until their patience is. */
void subscription_failed(Subscription *s, int error) {
        uint64_t now = mam_now_monotonic();
        DeliveryCall *c, *next;

        s->is_stale = true;
        s->retry_usec = now + mam_backoff_usec(s->failures++, RETRY_FIRST, RETRY_LIMIT);
        for (c = TAILQ_FIRST(&s->ops); c; c = next) {
                next = TAILQ_NEXT(c, entry);
                if (c->deadline_usec <= now || s->is_bad)
                        delivery_call_finish(c, error);
        }
        for (c = s->is_bad ? TAILQ_FIRST(&s->takes) : NULL; c; c = next) {
                next = TAILQ_NEXT(c, entry);
                delivery_call_finish(c, error);
        }
        subscription_wake(s);
}

static void finish_all(DeliveryCalls *calls, int result) {
        DeliveryCall *c;

        while ((c = TAILQ_FIRST(calls))) {
                c->n_picks = 0;
                delivery_call_finish(c, result);
        }
}

void subscription_gone(Subscription *s) {
        subscription_tell_push(s, true);
        finish_all(&s->in_round, -ENOENT);
        finish_all(&s->ops, -ENOENT);
        finish_all(&s->takes, -ENOENT);
        s->query = mam_pg_query_free(s->query);
        s->is_ready = s->is_unsure = s->is_stale = false;
        s->id = s->version = 0;
        subscription_sleep(s);
        group_done(&s->group);
        subscription_wake(s); /* which frees it, once nobody names it */
}

void subscription_sleep(Subscription *s) {
        size_t before = s->window.bytes;

        subscription_stop_reading(s);
        window_done(&s->window);
        subscription_count_bytes(s, before);
        s->epoch = UINT64_MAX;
        s->demand = 0;
}

/* What is told */

void subscription_info(const Subscription *s, SubscriptionInfo *ret) {
        uint64_t now = mam_now_realtime();
        int64_t last = s->topic_last > s->main_to ? s->topic_last : s->main_to, recorded = 0;
        GroupWindow w = window_view(&s->window);

        *ret = s->info;
        ret->name = s->name;
        ret->settings = s->settings;
        ret->settings.push_secret = NULL;
        ret->version = s->version;
        ret->dead = s->dead > 0 ? (uint64_t) s->dead : 0;
        if (!s->is_ready)
                return;

        if (w.n_entries > 0) {
                size_t i = group_window_find(&w, s->group.floor + 1);

                recorded = i < w.n_entries ? (int64_t) w.entries[i].recorded_usec : 0;
        } else if (s->info.oldest_usec > 0) {
                recorded = (int64_t) (now - s->info.oldest_usec);
        }
        store_figures(ret, &s->group, last, recorded, s->kind, now);
}

void subscription_tell_push(Subscription *s, bool gone) {
        Delivery *d = s->delivery;
        bool is_push = !gone && s->id > 0 && s->settings.push_url;
        SubscriptionInfo info;

        if (!d->on_push || (!is_push && !s->is_told_push) ||
            (is_push && s->is_told_push && s->told_version == s->version))
                return;

        s->is_told_push = is_push;
        s->told_version = s->version;
        if (is_push) {
                subscription_info(s, &info);
                info.settings.push_secret = s->settings.push_secret;
        }
        d->on_push(s->name, is_push ? &info : NULL, d->push_userdata);
}

/* When to look again */

static uint64_t earlier(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static uint64_t next_take(const Subscription *s, uint64_t now) {
        uint64_t at = UINT64_MAX;
        DeliveryCall *c;

        TAILQ_FOREACH(c, &s->takes, entry) {
                /* past it only what it still waits for wakes us */
                if (c->deadline_usec > now || !c->wants_probe || c->was_probed)
                        at = earlier(at, c->deadline_usec);
        }
        return at;
}

static uint64_t next_expiry(const Subscription *s, uint64_t now) {
        uint64_t at = group_next_expiry(&s->group), realtime = mam_now_realtime();

        if (at == UINT64_MAX)
                return at;
        return at > realtime ? now + (at - realtime) : now;
}

void subscription_set_timer(Subscription *s) {
        bool takes = !TAILQ_EMPTY(&s->takes), ops = !TAILQ_EMPTY(&s->ops) || s->is_unsure;
        uint64_t at = UINT64_MAX, now = mam_now_monotonic();

        if (takes) {
                at = next_take(s, now);
                if (s->is_ready && !s->query) {
                        at = earlier(at, s->wake_usec);
                        at = earlier(at, next_expiry(s, now));
                }
                at = earlier(at, now + POLL_USEC); /* in case nobody tells us */
        }
        if (ops)
                at = earlier(at, now + POLL_USEC);
        if ((takes || ops) && s->retry_usec > now)
                at = earlier(at, s->retry_usec);
        if (s->is_ready && s->group.floor != s->saved_floor)
                at = earlier(at, now + FLUSH_USEC);
        if (s->tell_later)
                at = earlier(at, s->tell_usec);
        if (!takes && !ops && (s->follower || s->window.n_allocated > 0))
                at = earlier(at, s->used_usec + IDLE_USEC);
        if (at == UINT64_MAX) {
                (void) sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
                return;
        }

        if (at <= now)
                at = now + MAM_USEC_PER_MSEC; /* whatever it is, not in a circle */
        (void) sd_event_source_set_time(s->timer, at);
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

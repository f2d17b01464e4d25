/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Lanes: what one push subscription has in hand
 *
 * Decisions are made in one place, look(), which runs once per turn of the loop however many reasons there
 * are: settle what is over, send what may be sent, take what there is room for.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/push/push-internal.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/backoff.h"

#define TAKE_WAIT_USEC     (20 * MAM_USEC_PER_SEC)
#define TAKE_BYTES_MAX     (4U * 1024U * 1024U)
#define RETRY_FIRST_USEC   (200 * MAM_USEC_PER_MSEC)
#define RETRY_LIMIT_USEC   (10 * MAM_USEC_PER_SEC)
#define SETTLE_MAX         1000U
#define LEASE_DEFAULT_USEC (30 * MAM_USEC_PER_SEC)

void push_lane_look(PushLane *l) {
        (void) sd_event_source_set_enabled(l->defer, SD_EVENT_ONESHOT);
}

static uint64_t lease_usec(const PushLane *l) {
        return l->settings.ack_usec ?: LEASE_DEFAULT_USEC;
}

static void look_again_in(PushLane *l, uint64_t usec) {
        (void) sd_event_source_set_time_relative(l->timer, usec);
        (void) sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
}

/* The database does not answer: nothing is lost, as leases end. */
static void database_failed(PushLane *l) {
        look_again_in(l, mam_backoff_usec(l->failures++, RETRY_FIRST_USEC, RETRY_LIMIT_USEC));
}

static void item_free(PushLane *l, PushItem *item) {
        TAILQ_REMOVE(&l->items, item, items);
        l->n_items--;
        free(item);
}

/* ---- settling ---- */

static void item_over(PushItem *item, SettleKind how, uint64_t delay_usec) {
        item->state = PUSH_ITEM_OVER;
        item->how = how;
        item->delay_usec = delay_usec;
}

static void on_settled(int r, const int *results, size_t n, void *userdata) {
        PushLane *l = userdata;
        PushItem *next;

        l->settle = delivery_call_free(l->settle);
        for (PushItem *i = TAILQ_FIRST(&l->items); i; i = next) {
                next = TAILQ_NEXT(i, items);
                if (i->extending && r >= 0)
                        i->leased_usec = mam_now_monotonic();
                i->extending = false;
                if (i->state != PUSH_ITEM_SETTLING)
                        continue;
                if (r >= 0 || r == -ENOENT)
                        item_free(l, i); /* even if it came too late: then it is somebody's again */
                else
                        i->state = PUSH_ITEM_OVER;
        }
        if (r < 0)
                database_failed(l);
        else {
                l->failures = 0;
                push_lane_look(l);
        }
}

/* What is over, and the leases of what is not and has waited for a third of its time. */
static void settle(PushLane *l) {
        Settlement items[SETTLE_MAX];
        uint64_t now = mam_now_monotonic();
        PushItem *i;
        size_t n = 0;

        if (l->settle)
                return;
        TAILQ_FOREACH(i, &l->items, items) {
                if (n == SETTLE_MAX)
                        break;
                if (i->state == PUSH_ITEM_OVER) {
                        items[n++] = (Settlement){
                                .kind = i->how,
                                .ack_id = i->ack_id,
                                .delay_usec = i->delay_usec,
                        };
                        i->state = PUSH_ITEM_SETTLING;
                } else if (i->leased_usec + lease_usec(l) / 3 <= now) {
                        items[n++] = (Settlement){
                                .kind = SETTLE_EXTEND,
                                .ack_id = i->ack_id,
                                .delay_usec = lease_usec(l),
                        };
                        i->extending = true;
                }
        }
        if (n == 0)
                return;
        if (delivery_settle(l->pusher->delivery, &l->settle, l->name, items, n, on_settled, l) < 0)
                on_settled(-EAGAIN, NULL, 0, l);
}

/* ---- sending ---- */

static bool is_held(const PushLane *l, const PushItem *item, PushItem *const *chosen, size_t n) {
        const PushItem *i;

        TAILQ_FOREACH(i, &l->items, items) {
                bool is_chosen = false;

                if (i == item)
                        return false;
                if (i->state != PUSH_ITEM_WAITING && i->state != PUSH_ITEM_SENT)
                        continue;
                if (strcmp(i->key, item->key) != 0)
                        continue;
                for (size_t k = 0; k < n; k++)
                        is_chosen = is_chosen || chosen[k] == i;
                if (!is_chosen)
                        return true;
        }
        return false;
}

/* What the next request carries: one item, or a batch in which a key's items are in their order. */
static size_t choose(PushLane *l, PushItem **chosen) {
        size_t n = 0, bytes = 0, max = l->mode == PUSH_MODE_BATCH ? PUSH_BATCH_MAX : 1;
        PushItem *i;

        TAILQ_FOREACH(i, &l->items, items) {
                if (n == max || (n > 0 && bytes + i->size > PUSH_BATCH_BYTES))
                        break;
                if (i->state != PUSH_ITEM_WAITING || is_held(l, i, chosen, n))
                        continue;
                chosen[n++] = i;
                bytes += i->size;
        }
        return n;
}

/* Later ones of its key, which come again behind it. */
static void drop_later(PushLane *l, const PushItem *item) {
        PushItem *next;

        for (PushItem *i = TAILQ_NEXT(item, items); i; i = next) {
                next = TAILQ_NEXT(i, items);
                if (i->state == PUSH_ITEM_WAITING && strcmp(i->key, item->key) == 0)
                        item_free(l, i);
        }
}

static void on_paused(int r, const SubscriptionInfo *s, void *userdata) {
        PushLane *l = userdata;

        l->pause = delivery_call_free(l->pause);
        if (r < 0 && r != -ESTALE && r != -ENOENT) {
                l->settings.paused = false; /* the next 410 tries again */
                database_failed(l);
        }
}

static void pause_subscription(PushLane *l) {
        SubscriptionSettings settings = l->settings;
        int r;

        if (l->pause)
                return;
        settings.paused = true;
        r = delivery_subscription_change(
                        l->pusher->delivery,
                        &l->pause,
                        l->name,
                        &settings,
                        l->version,
                        on_paused,
                        l);
        if (r >= 0) {
                mam_log_id(LOG_NOTICE,
                           MAM_MESSAGE_PUSH_REFUSED,
                           "The webhook of subscription %s is gone (410): the subscription is paused",
                           l->name);
                l->settings.paused = true; /* nothing more meanwhile */
        }
}

void push_lane_answered(PushLane *l, PushRequest *q, const MamFetchResult *result) {
        bool good = result->status / 100 == 2;

        for (size_t i = 0; i < q->n; i++) {
                PushItem *item = q->items[i];

                if (good)
                        item_over(item, SETTLE_ACK, 0);
                else {
                        item_over(item, SETTLE_NACK, result->retry_after_usec ?: UINT64_MAX);
                        drop_later(l, item);
                }
        }
        push_endpoint_ended(l->endpoint, result);
        if (result->status == 410)
                pause_subscription(l);
        push_request_free(q);
        push_lane_look(l);
}

static void send_items(PushLane *l) {
        PushItem *chosen[PUSH_BATCH_MAX];
        size_t n;
        int r;

        while ((n = choose(l, chosen)) > 0 && push_endpoint_room(l->endpoint, l->parallel) > 0) {
                r = push_request_new(l, chosen, n);
                if (r == -ENOMEM) {
                        look_again_in(l, RETRY_FIRST_USEC);
                        return;
                }
                for (size_t i = 0; r < 0 && i < n; i++)
                        item_over(chosen[i], SETTLE_DEAD, 0);
                if (r < 0)
                        push_lane_look(l);
        }
}

/* ---- taking ---- */

static void keep(PushLane *l, const Delivered *d) {
        size_t key_size = strlen(d->event.key) + 1;
        PushItem *item = calloc(1, sizeof(*item) + key_size + d->event.size + 1);

        if (!item)
                return; /* its lease ends */
        memcpy(item->memory, d->event.key, key_size);
        memcpy(item->memory + key_size, d->event.text, d->event.size);
        item->key = item->memory;
        item->text = item->memory + key_size;
        item->size = d->event.size;
        item->position = d->event.position;
        item->attempt = d->attempt;
        item->leased_usec = mam_now_monotonic();
        (void) snprintf(item->ack_id, sizeof(item->ack_id), "%s", d->ack_id);
        TAILQ_INSERT_TAIL(&l->items, item, items);
        l->n_items++;
}

static void on_taken(int r, const Delivered *events, size_t n, void *userdata) {
        PushLane *l = userdata;

        for (size_t i = 0; r >= 0 && i < n; i++)
                keep(l, events + i);
        l->take = delivery_call_free(l->take);
        if (r < 0)
                database_failed(l); /* also -ENOENT: we are told when it is gone */
        else {
                l->failures = 0;
                push_lane_look(l);
        }
}

static void take(PushLane *l) {
        unsigned room;
        size_t max;

        if (l->take || l->settings.paused)
                return;
        room = push_endpoint_room(l->endpoint, l->parallel);
        max = (size_t) room * (l->mode == PUSH_MODE_BATCH ? PUSH_BATCH_MAX : 1);
        if (l->n_items >= max)
                return;
        max -= l->n_items;
        if (delivery_take(l->pusher->delivery,
                          &l->take,
                          l->name,
                          (unsigned) max,
                          TAKE_BYTES_MAX,
                          TAKE_WAIT_USEC,
                          on_taken,
                          l) < 0)
                database_failed(l);
}

static int on_look(sd_event_source *source, void *userdata) {
        PushLane *l = userdata;
        int on = SD_EVENT_OFF;

        settle(l);
        if (!l->endpoint)
                return 0;
        if (!l->settings.paused)
                send_items(l);
        take(l);
        (void) sd_event_source_get_enabled(l->timer, &on);
        if (on == SD_EVENT_OFF && l->n_items > 0)
                look_again_in(l, lease_usec(l) / 3);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        push_lane_look(userdata);
        return 0;
}

/* ---- life ---- */

static int copy_text(const char **ret, const char *text) {
        char *copy = text ? strdup(text) : NULL;

        if (text && !copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

static int copy_settings(PushLane *l, const SubscriptionSettings *s) {
        int r;

        l->settings = *s;
        l->settings.topic = l->settings.filters = l->settings.push_url = l->settings.push_secret =
                        l->settings.push_mode = NULL;
        r = copy_text(&l->settings.topic, s->topic);
        if (r >= 0)
                r = copy_text(&l->settings.filters, s->filters);
        if (r >= 0)
                r = copy_text(&l->settings.push_url, s->push_url);
        if (r >= 0)
                r = copy_text(&l->settings.push_secret, s->push_secret);
        if (r >= 0)
                r = copy_text(&l->settings.push_mode, s->push_mode);
        return r;
}

static int open_secrets(PushLane *l) {
        char *text = NULL;
        int r;

        if (!l->settings.push_secret || !l->settings.push_secret[0])
                return 0;
        if (!l->pusher->has_key)
                return -ENOKEY;
        r = push_secret_open(&text, &l->pusher->key, l->name, l->settings.push_secret);
        if (r < 0)
                return r;
        r = push_secrets_parse(&l->secrets, text);
        explicit_bzero(text, strlen(text));
        free(text);
        return r;
}

/* What keeps it from being sent is logged once; it changes with the subscription. */
static int open_endpoint(PushLane *l) {
        const PushOptions options = { .allow_http = l->pusher->allow_http };
        _cleanup_(mam_freep) char *problem = NULL;
        int r;

        r = open_secrets(l);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                mam_log_id(LOG_WARNING,
                           MAM_MESSAGE_PUSH_REFUSED,
                           "The webhook of subscription %s is not called: its secret cannot be read; set it anew",
                           l->name);
                return 0;
        }
        r = push_url_check(&options, &l->pusher->allow, l->settings.push_url, &problem);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                mam_log_id(LOG_WARNING,
                           MAM_MESSAGE_PUSH_REFUSED,
                           "The webhook of subscription %s is not called: its URL %s",
                           l->name,
                           problem ? problem : "is not usable");
                return 0;
        }
        return push_endpoint_get(&l->endpoint, l->pusher, l->settings.push_url);
}

int push_lane_new(PushLane **ret, Pusher *p, const char *name, const SubscriptionInfo *s) {
        const char *mode = s->settings.push_mode ?: "structured";
        PushLane *l;
        int r;

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->pusher = p;
        LIST_INSERT_HEAD(&p->lanes, l, lanes);
        TAILQ_INIT(&l->items);
        LIST_INIT(&l->requests);
        l->version = s->version;
        l->mode = strcmp(mode, "binary") == 0  ? PUSH_MODE_BINARY
                  : strcmp(mode, "batch") == 0 ? PUSH_MODE_BATCH
                                               : PUSH_MODE_STRUCTURED;
        l->parallel = s->settings.push_parallel ?: 8;
        if (l->parallel > PUSH_PARALLEL_MAX)
                l->parallel = PUSH_PARALLEL_MAX;
        l->name = strdup(name);
        r = l->name ? copy_settings(l, &s->settings) : -ENOMEM;
        if (r >= 0)
                r = sd_event_add_defer(p->event, &l->defer, on_look, l);
        if (r >= 0)
                r = sd_event_add_time(p->event, &l->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer, l);
        if (r >= 0)
                r = sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
        if (r >= 0)
                r = open_endpoint(l);
        if (r < 0) {
                push_lane_free(l);
                return r;
        }

        *ret = l;
        return 0;
}

PushLane *push_lane_free(PushLane *l) {
        PushRequest *q;
        PushItem *i;

        if (!l)
                return NULL;

        delivery_call_free(l->take);
        delivery_call_free(l->settle);
        delivery_call_free(l->pause);
        while ((q = LIST_FIRST(&l->requests)))
                push_request_free(q);
        while ((i = TAILQ_FIRST(&l->items)))
                item_free(l, i);
        push_endpoint_unref(l->endpoint);
        sd_event_source_disable_unref(l->defer);
        sd_event_source_disable_unref(l->timer);
        push_secrets_wipe(&l->secrets);
        free((char *) l->settings.topic);
        free((char *) l->settings.filters);
        free((char *) l->settings.push_url);
        free((char *) l->settings.push_secret);
        free((char *) l->settings.push_mode);
        free(l->name);
        LIST_REMOVE(l, lanes);
        free(l);
        return NULL;
}

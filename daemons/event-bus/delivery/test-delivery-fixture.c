/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * For tests of delivery
 */

#include "event-bus/delivery/test-delivery-fixture.h"

unsigned lot(World *w, unsigned below) {
        w->random ^= w->random << 13;
        w->random ^= w->random >> 7;
        w->random ^= w->random << 17;
        return (unsigned) ((w->random >> 11) % below);
}

typedef struct Told {
        World *world;
        size_t delivery;
} Told;

static void on_told(const char *word, void *userdata) {
        Told *told = userdata;
        Delivery *d = told->world->d[told->delivery];

        if (!d)
                return;
        if (strcmp(word, "*") == 0) {
                delivery_told(d, NULL);
        } else if (strncmp(word, "subscription ", 13) == 0) {
                delivery_told(d, word + 13);
        }
}

void world_open_delivery(World *w, size_t i) {
        static Told told[REPLICAS_MAX];
        Replica *r = w->f.replicas + i;

        ASSERT_OK(delivery_new(w->d + i, w->f.event, r->pg, r->log, r->tail));
        told[i] = (Told){ w, i };
        tail_set_on_told(r->tail, on_told, told + i);
}

void world_open(World *w, size_t n_deliveries) {
        memset(w, 0, sizeof(*w));
        w->random = 88172645463325252U;
        w->keys = 10;
        fixture_open(&w->f, n_deliveries, true);
        for (size_t i = 0; i < n_deliveries; i++)
                world_open_delivery(w, i);
        topic_make(&w->f, "t", NULL);
}

void world_close(World *w) {
        consumers_stop(w);
        for (size_t i = 0; i < MAM_ELEMENTSOF(w->d); i++)
                w->d[i] = delivery_free(w->d[i]);
        fixture_close(&w->f);
}

/* Single calls */

static void on_info(int r, const SubscriptionInfo *s, void *userdata) {
        World *w = userdata;

        w->done = true;
        w->error = r;
        w->info = s ? *s : (SubscriptionInfo){ 0 };
}

#define WAIT(w, call)                          \
        do {                                   \
                (w)->done = false;             \
                ASSERT_OK(call);               \
                ASSERT_TRUE(!(w)->done);       \
                RUN_UNTIL(&(w)->f, (w)->done); \
        } while (0)

void subscribe(World *w, const char *name, const SubscriptionSettings *s) {
        SubscriptionSettings settings = s ? *s : (SubscriptionSettings){ 0 };

        settings.topic = settings.topic ?: "t";
        WAIT(w, delivery_subscription_create(w->d[0], NULL, name, &settings, on_info, w));
        ASSERT_EQ(w->error, 0);
}

static void on_taken(int r, const Delivered *events, size_t n, void *userdata) {
        World *w = userdata;

        w->done = true;
        w->error = r;
        w->n = n;
        ASSERT_TRUE(n <= BATCH_MAX);
        for (size_t i = 0; i < n; i++) {
                ASSERT_TRUE(strlen(events[i].ack_id) <= 64);
                (void) snprintf(w->ids[i], sizeof(w->ids[i]), "%s", events[i].ack_id);
                w->numbers[i] = number_of(&events[i].event);
                w->attempts[i] = events[i].attempt;
                ASSERT_TRUE(events[i].event.key);
        }
}

void take(World *w, size_t delivery, const char *name, unsigned max, uint64_t wait_usec) {
        WAIT(w, delivery_take(w->d[delivery], NULL, name, max, 0, wait_usec, on_taken, w));
}

void take_bytes(World *w,
                size_t delivery,
                const char *name,
                unsigned max,
                size_t bytes_max,
                uint64_t wait_usec) {
        WAIT(w, delivery_take(w->d[delivery], NULL, name, max, bytes_max, wait_usec, on_taken, w));
}

static void on_settled(int r, const int *results, size_t n, void *userdata) {
        World *w = userdata;

        w->done = true;
        w->error = r;
        for (size_t i = 0; i < n; i++)
                w->results[i] = results[i];
}

void settle(World *w, size_t delivery, const char *name, const Settlement *items, size_t n) {
        WAIT(w, delivery_settle(w->d[delivery], NULL, name, items, n, on_settled, w));
}

void settle_one(World *w,
                size_t delivery,
                const char *name,
                SettleKind kind,
                const char *id,
                uint64_t delay) {
        const Settlement item = { .kind = kind,
                                  .ack_id = id,
                                  .delay_usec = delay,
                                  .reason = "it is poison" };

        settle(w, delivery, name, &item, 1);
        ASSERT_EQ(w->error, 0);
}

void get_info(World *w, const char *name) {
        WAIT(w, delivery_subscription_get(w->d[0], NULL, name, on_info, w));
}

static void on_letters(int r, const DeadLetter *letters, size_t n, void *userdata) {
        World *w = userdata;

        w->done = true;
        w->error = r;
        w->n = n;
        ASSERT_TRUE(n <= MAM_ELEMENTSOF(w->letters));
        for (size_t i = 0; i < n; i++) {
                const LogEvent e = { .text = letters[i].text ?: "", .size = strlen(letters[i].text ?: "") };

                w->letters[i] = letters[i];
                (void) snprintf(w->reasons[i], sizeof(w->reasons[i]), "%s", letters[i].reason);
                w->letter_events[i] = number_of(&e);
        }
}

void list_dead(World *w, const char *name) {
        WAIT(w, delivery_dead_list(w->d[0], NULL, name, 0, 100, on_letters, w));
}

static void on_redriven(int r, size_t n, void *userdata) {
        World *w = userdata;

        w->done = true;
        w->error = r;
        w->n = n;
}

void redrive(World *w, size_t delivery, const char *name, const int64_t *numbers, size_t n) {
        WAIT(w, delivery_redrive(w->d[delivery], NULL, name, numbers, n, on_redriven, w));
}

void seek(World *w, size_t delivery, const char *name, int64_t to) {
        WAIT(w, delivery_seek(w->d[delivery], NULL, name, to, on_info, w));
        ASSERT_EQ(w->error, 0);
}

static void on_appended(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        World *w = userdata;

        w->done = true;
        ASSERT_EQ(r, 0);
}

void append_large(
                World *w,
                const char *topic,
                const char *key,
                unsigned first_number,
                unsigned n,
                size_t size) {
        for (unsigned i = 0; i < n; i++) {
                char *text = malloc(size + 256), id[24];
                LogEntry entry = { .key = key,
                                   .id = id,
                                   .source = "/large",
                                   .type = "t",
                                   .expected_version = LOG_VERSION_ANY,
                                   .text = text };
                int start;

                ASSERT_TRUE(text);
                (void) snprintf(id, sizeof(id), "%u", first_number + i);
                start = snprintf(
                                text,
                                256,
                                "{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/large\",\"type\":\"t\",\"data\":%s,\"x\":\"",
                                id,
                                id);
                memset(text + start, 'x', size);
                strcpy(text + (size_t) start + size, "\"}");
                entry.size = strlen(text);
                WAIT(w, log_append(w->f.replicas[0].log, NULL, topic, &entry, 1, on_appended, w));
                free(text);
        }
}

/* Consumers */

static void consumer_take(Consumer *c);

/* Behind everything of its key that was settled, while nobody else has any of it. */
static void check_event(Consumer *c, unsigned number, int64_t position) {
        World *w = c->world;
        unsigned key = number % w->keys;

        ASSERT_TRUE(number < WORLD_EVENTS);
        w->n_delivered++;
        if (w->seen[number] != SEEN_NOT) {
                w->n_again++;
                ASSERT_TRUE(w->may_repeat);
        }
        w->seen[number] = SEEN_OUT;
        if (w->may_repeat)
                return;

        ASSERT_TRUE(position > w->settled_to[key]);
        ASSERT_TRUE(w->n_out[key] == 0 || w->owner[key] == c);
        ASSERT_TRUE(w->n_out[key] == 0 || position > w->last_out[key]);
        w->n_out[key]++;
        w->owner[key] = c;
        w->last_out[key] = position;
}

static void check_settled(World *w, unsigned number, int64_t position, bool ack) {
        unsigned key = number % w->keys;

        w->seen[number] = ack ? SEEN_SENT : SEEN_NOT;
        if (w->may_repeat)
                return;
        w->n_out[key]--;
        if (ack)
                w->settled_to[key] = position;
}

static void on_consumer_settled(int r, const int *results, size_t n, void *userdata) {
        Consumer *c = userdata;
        World *w = c->world;

        c->settle = NULL;
        if (r < 0)
                w->n_errors++;
        for (size_t i = 0; i < c->n_items; i++) {
                bool ack = c->items[i].kind == SETTLE_ACK;

                if (r < 0 || results[i] < 0) {
                        w->n_stale++;
                } else if (ack && w->seen[c->numbers[i]] != SEEN_ACKED) {
                        w->seen[c->numbers[i]] = SEEN_ACKED;
                        w->n_acked++;
                }
        }
        consumer_take(c);
}

/* A nack brings later ones of its key back: they are not settled then. */
static void consumer_settle(Consumer *c) {
        World *w = c->world;
        bool refused[WORLD_KEYS] = { false };
        size_t n = 0;

        for (size_t i = 0; i < c->n_items; i++) {
                unsigned number = c->numbers[i], key = number % w->keys;

                ASSERT_TRUE(w->keys <= MAM_ELEMENTSOF(refused));
                if (!refused[key]) {
                        refused[key] = lot(w, 100) < c->nack_of_100;
                        check_settled(w, number, c->positions[i], !refused[key]);
                        c->items[n].kind = refused[key] ? SETTLE_NACK : SETTLE_ACK;
                } else {
                        check_settled(w, number, c->positions[i], false);
                        continue;
                }
                memmove(c->ids[n], c->ids[i], sizeof(c->ids[n]));
                c->items[n].ack_id = c->ids[n];
                c->items[n].delay_usec = 0;
                c->numbers[n++] = number;
        }

        c->n_items = n;
        ASSERT_OK(delivery_settle(w->d[c->delivery], NULL, "s", c->items, n, on_consumer_settled, c));
}

static void on_consumer_taken(int r, const Delivered *events, size_t n, void *userdata) {
        Consumer *c = userdata;
        World *w = c->world;

        c->take = delivery_call_free(c->take);
        if (r == -ECANCELED)
                return;
        if (r < 0)
                w->n_errors++;
        for (size_t i = 0; i < n; i++) {
                c->numbers[i] = number_of(&events[i].event);
                (void) snprintf(c->ids[i], sizeof(c->ids[i]), "%s", events[i].ack_id);
                c->positions[i] = events[i].event.position;
                check_event(c, c->numbers[i], c->positions[i]);
        }
        c->n_batches += n > 0;
        c->n_events += (unsigned) n;
        c->n_items = n;
        if (n == 0) {
                consumer_take(c);
        } else if (!c->holds) {
                consumer_settle(c);
        }
}

static void consumer_take(Consumer *c) {
        Delivery *d = c->world->d[c->delivery];

        if (c->max > 0 && d)
                ASSERT_OK(
                                delivery_take(d,
                                              &c->take,
                                              "s",
                                              c->max,
                                              0,
                                              30 * MAM_USEC_PER_SEC,
                                              on_consumer_taken,
                                              c));
}

Consumer *consume(World *w, size_t delivery, const char *name, unsigned max, unsigned nack_of_100) {
        Consumer *c = w->consumers + w->n_consumers++;

        ASSERT_STREQ(name, "s");
        ASSERT_TRUE(w->n_consumers <= WORLD_CONSUMERS);
        *c = (Consumer){ .world = w, .delivery = delivery, .max = max, .nack_of_100 = nack_of_100 };
        consumer_take(c);
        return c;
}

void consumers_stop(World *w) {
        for (size_t i = 0; i < w->n_consumers; i++) {
                w->consumers[i].max = 0;
                w->consumers[i].take = delivery_call_free(w->consumers[i].take);
        }
        w->n_consumers = 0;
}

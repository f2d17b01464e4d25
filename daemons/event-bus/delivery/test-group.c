/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A group beside a model that keeps every event by itself
 */

#include <inttypes.h>

#include "event-bus/delivery/group.h"
#include "libmam/util/test.h"

#define N_EVENTS  6000
#define N_KEYS    40
#define N_TICKETS 4000
#define SECOND    1000000ULL

typedef struct Event {
        uint64_t key;
        bool is_wanted, is_dropped;
        /* the model */
        GroupKind kind;
        uint64_t lease, until_usec;
        uint32_t attempts;
        bool is_delivered, is_lost, is_dead;
} Event;

typedef struct Ticket {
        int64_t position;
        uint64_t lease;
} Ticket;

typedef struct Lease {
        uint64_t id, until_usec;
} Lease;

/* Everything a case needs; positions are 1 to n. */
typedef struct World {
        Event *events;
        int64_t n, dropped;
        Group group;
        GroupEntry *entries;
        GroupRange known[1], gone[100];
        GroupPolicy policy;
        Ticket *tickets;
        size_t n_tickets;
        Lease leases[GROUP_LEASES_MAX];
        size_t n_leases;
        uint64_t now, next_lease, random;
        uint64_t n_taken, n_acked, n_nacked, n_dead, n_expired, n_redriven, n_stale, n_steps;
        size_t code_max;
        unsigned keys, wanted_of_ten, weight_nack;
        uint64_t lost;
} World;

static uint64_t lot(World *w, uint64_t below) {
        w->random ^= w->random << 13;
        w->random ^= w->random >> 7;
        w->random ^= w->random << 17;
        return (w->random >> 11) % below;
}

static void world_init(World *w, uint64_t seed) {
        *w = (World){ .now = 1700000000 * SECOND, .random = seed * 0x9e3779b97f4a7c15U + 1 };
        w->events = calloc(N_EVENTS + 1, sizeof(*w->events));
        w->entries = calloc(N_EVENTS + 1, sizeof(*w->entries));
        w->tickets = calloc(N_TICKETS, sizeof(*w->tickets));
        ASSERT_TRUE(w->events && w->entries && w->tickets);
        w->policy = (GroupPolicy){
                .backoff_min_usec = SECOND,
                .backoff_max_usec = 60 * SECOND,
                .attempts_max = 5,
                .outstanding_max = 300,
        };
        w->keys = N_KEYS;
        w->wanted_of_ten = 10;
        w->weight_nack = 30;
        group_init(&w->group, 0);
}

static void world_done(World *w) {
        free(w->events);
        free(w->entries);
        free(w->tickets);
        group_done(&w->group);
}

static void world_append(World *w, unsigned n) {
        for (; n > 0 && w->n < N_EVENTS; n--)
                w->events[++w->n] = (Event){ .key = 1 + lot(w, w->keys),
                                             .is_wanted = lot(w, 10) < w->wanted_of_ten };
}

/* As a replica knows it: everything up to known_to; some bodies are not at hand. */
static GroupWindow world_window(World *w, int64_t known_to, bool all_bodies) {
        GroupWindow window = { .entries = w->entries, .known = w->known, .gone = w->gone };

        for (int64_t p = w->group.floor + 1; p <= known_to; p++) {
                Event *e = w->events + p;

                if (e->is_dropped && e->kind == GROUP_LEASED && window.n_gone < MAM_ELEMENTSOF(w->gone))
                        w->gone[window.n_gone++] = (GroupRange){ p, p };
                if (!e->is_wanted || e->is_dropped)
                        continue;
                w->entries[window.n_entries++] = (GroupEntry){
                        .position = p,
                        .key = e->key,
                        .body = all_bodies || lot(w, 10) > 0 ? w : NULL,
                        .size = 10,
                };
        }

        if (known_to > w->group.floor) {
                w->known[0] = (GroupRange){ w->group.floor + 1, known_to };
                window.n_known = 1;
        }
        return window;
}

static Lease *find_lease(World *w, uint64_t id) {
        for (size_t i = 0; i < w->n_leases; i++) {
                if (w->leases[i].id == id)
                        return w->leases + i;
        }
        return NULL;
}

static void recode(World *w) {
        MamBuffer text = MAM_BUFFER_INIT, again = MAM_BUFFER_INIT;
        Group copy = { 0 };

        ASSERT_OK(group_encode(&w->group, &text));
        if (text.size > w->code_max)
                w->code_max = text.size;
        ASSERT_OK(group_decode(&copy, mam_buffer_bytes(&text)));
        ASSERT_OK(group_encode(&copy, &again));
        ASSERT_STREQ(mam_buffer_bytes(&again), mam_buffer_bytes(&text));
        group_done(&w->group);
        w->group = copy;
        mam_buffer_done(&text);
        mam_buffer_done(&again);
}

/* Whatever the group says of an event that is wanted, the model says too. */
static void compare(World *w) {
        uint64_t outstanding = 0;

        for (int64_t p = 1; p <= w->n; p++) {
                const Event *e = w->events + p;
                const GroupSpan *span = NULL;
                GroupKind kind = group_kind_at(&w->group, p, &span);

                if (!e->is_wanted)
                        continue;
                /* what is no longer there is passed over when somebody looks */
                if (kind != e->kind && !(e->is_dropped && e->kind == GROUP_PENDING))
                        printf("# position %" PRIi64 " after %" PRIu64 " steps\n", p, w->n_steps);
                if (e->is_dropped && e->kind == GROUP_PENDING)
                        continue;
                ASSERT_EQ(kind, e->kind);
                if (kind == GROUP_LEASED) {
                        ASSERT_EQ(w->group.leases[span->lease].id, e->lease);
                        outstanding++;
                }
                if (kind != GROUP_SETTLED)
                        ASSERT_EQ(span ? span->attempts : 0, e->attempts);
                if (kind == GROUP_PENDING && e->until_usec > w->now)
                        ASSERT_EQ(span ? span->until_usec : 0, e->until_usec);
        }

        ASSERT_EQ(group_outstanding(&w->group), outstanding);
        ASSERT_TRUE(w->group.n_spans <= GROUP_SPANS_MAX + GROUP_WINDOW_MAX);
        for (size_t i = 1; i < w->group.n_spans; i++)
                ASSERT_TRUE(w->group.spans[i - 1].to < w->group.spans[i].from);
}

/* Order per key, for one event that was handed out with a lease. */
static void check_order(World *w, int64_t position, uint64_t lease) {
        const Event *e = w->events + position;

        for (int64_t p = w->group.floor + 1; p <= w->n; p++) {
                const Event *other = w->events + p;

                if (other->key != e->key || !other->is_wanted || p == position ||
                    other->kind == GROUP_SETTLED)
                        continue;
                if (other->kind == GROUP_LEASED)
                        ASSERT_EQ(other->lease, lease); /* nobody else has any of that key */
                if (other->attempts >= w->policy.attempts_max && other->until_usec <= w->now)
                        continue; /* becomes a dead letter in the same pass */
                if (p < position && !other->is_dropped)
                        ASSERT_EQ(other->kind, GROUP_LEASED); /* earlier ones are out, with the same take */
        }
}

static void model_expire(World *w) {
        for (size_t i = 0; i < w->n_leases;) {
                Lease l = w->leases[i];

                if (l.until_usec > w->now) {
                        i++;
                        continue;
                }
                w->leases[i] = w->leases[--w->n_leases];
                w->n_expired++;
                for (int64_t p = 1; p <= w->n; p++) {
                        Event *e = w->events + p;
                        const GroupSpan *span = NULL;

                        if (e->kind != GROUP_LEASED || e->lease != l.id)
                                continue;
                        e->kind = GROUP_PENDING;
                        e->attempts++;
                        ASSERT_EQ(group_kind_at(&w->group, p, &span), GROUP_PENDING);
                        ASSERT_TRUE(span);
                        /* drawn by lot within bounds */
                        ASSERT_TRUE(span->until_usec >= w->now + w->policy.backoff_min_usec / 2);
                        ASSERT_TRUE(span->until_usec <= w->now + w->policy.backoff_max_usec + 1000);
                        e->until_usec = span->until_usec;
                }
        }
}

static void step_expire(World *w) {
        w->policy.lot = lot(w, UINT64_MAX);
        ASSERT_OK(group_expire(&w->group, &w->policy, w->now));
        model_expire(w);
}

/* One take of a pass. */
static int take_once(World *w, GroupScan *scan, const GroupWindow *window, unsigned max) {
        GroupPick picks[500];
        uint64_t lease = ++w->next_lease, until = w->now + (1 + lot(w, 30)) * SECOND;
        int n;

        n = group_scan_take(scan, lease, until, max, max % 3 == 0 ? 200 : SIZE_MAX, picks);
        ASSERT_OK(n);
        ASSERT_TRUE((unsigned) n <= max);
        if (n == 0)
                return 0;

        w->leases[w->n_leases++] = (Lease){ lease, (until + 999) / 1000 * 1000 };
        for (int i = 0; i < n; i++) {
                Event *e = w->events + picks[i].position;

                ASSERT_TRUE(i == 0 || picks[i].position > picks[i - 1].position);
                ASSERT_EQ(window->entries[picks[i].entry].position, picks[i].position);
                ASSERT_TRUE(e->is_wanted && !e->is_dropped);
                ASSERT_EQ(e->kind, GROUP_PENDING);
                ASSERT_TRUE(e->until_usec <= w->now);
                ASSERT_EQ(picks[i].attempts, e->attempts);
                ASSERT_TRUE(e->attempts < w->policy.attempts_max);
                e->kind = GROUP_LEASED;
                e->lease = lease;
                e->is_delivered = true;
                if (w->n_tickets < N_TICKETS)
                        w->tickets[w->n_tickets++] = (Ticket){ picks[i].position, lease };
        }
        w->n_taken += (unsigned) n;
        for (int i = 0; i < n; i++)
                check_order(w, picks[i].position, lease);
        return n;
}

static unsigned step_take(World *w, unsigned n_takes, unsigned max, bool whole) {
        int64_t known = whole ? w->n
                              : w->group.floor + (int64_t) lot(w, (uint64_t) (w->n - w->group.floor) + 1);
        GroupWindow window = world_window(w, known, whole);
        unsigned taken = 0;
        GroupScan scan;

        step_expire(w);
        window = world_window(w, known < w->group.floor ? w->group.floor : known, whole);
        ASSERT_OK(group_scan_begin(&scan, &w->group, &window, &w->policy, w->now));
        for (unsigned i = 0; i < n_takes; i++)
                taken += (unsigned) take_once(w, &scan, &window, max);
        for (size_t i = 0; i < scan.n_dead; i++) {
                Event *e = w->events + scan.dead[i].position;

                ASSERT_EQ(e->kind, GROUP_PENDING);
                ASSERT_EQ(e->attempts, scan.dead[i].attempts);
                ASSERT_TRUE(e->attempts >= w->policy.attempts_max);
                e->kind = GROUP_SETTLED;
                e->is_dead = true;
                w->n_dead++;
        }
        ASSERT_OK(group_scan_end(&scan));
        group_scan_done(&scan);
        return taken;
}

static int by_order(const void *a, const void *b) {
        const GroupItem *x = *(GroupItem *const *) a, *y = *(GroupItem *const *) b;

        if (x->position != y->position)
                return x->position < y->position ? -1 : 1;
        if ((x->kind == GROUP_ACK) != (y->kind == GROUP_ACK))
                return x->kind == GROUP_ACK ? -1 : 1;
        return x < y ? -1 : 1;
}

static void model_nack(World *w, const GroupItem *item, uint64_t until, const bool *named) {
        Event *e = w->events + item->position;

        e->kind = GROUP_PENDING;
        e->attempts++;
        e->until_usec = until;
        w->n_nacked++;
        for (int64_t p = item->position + 1; p <= w->n && !e->is_dropped; p++) {
                Event *later = w->events + p;

                if (later->kind != GROUP_LEASED || later->lease != item->lease || later->key != e->key ||
                    named[p] || later->is_dropped)
                        continue;
                later->kind = GROUP_PENDING;
                later->until_usec = 0;
        }
}

static void model_settle(World *w, GroupItem *items, size_t n) {
        static bool named[N_EVENTS + 1];
        GroupItem *order[500];
        size_t n_order = 0;

        memset(named, 0, sizeof(named));
        for (size_t i = 0; i < n; i++) {
                Event *e = w->events + items[i].position;
                bool valid = e->kind == GROUP_LEASED && e->lease == items[i].lease;

                if (items[i].kind == GROUP_EXTEND) {
                        ASSERT_EQ(items[i].result, valid ? 0 : -ESTALE);
                        if (valid)
                                find_lease(w, items[i].lease)->until_usec =
                                                (w->now + items[i].delay_usec + 999) / 1000 * 1000;
                        continue;
                }
                if (!valid) {
                        ASSERT_EQ(items[i].result, -ESTALE);
                        w->n_stale++;
                        continue;
                }
                order[n_order++] = items + i;
                named[items[i].position] = true;
        }

        qsort(order, n_order, sizeof(*order), by_order);
        for (size_t i = 0; i < n_order; i++) {
                GroupItem *item = order[i];
                Event *e = w->events + item->position;
                const GroupSpan *span = NULL;

                if (i > 0 && order[i - 1]->position == item->position) {
                        ASSERT_EQ(item->result, -ESTALE);
                        continue;
                }
                ASSERT_EQ(item->result, 0);
                ASSERT_EQ(item->attempts, e->attempts + 1);
                if (item->kind == GROUP_ACK) {
                        ASSERT_TRUE(!item->dead);
                        e->kind = GROUP_SETTLED;
                        w->n_acked++;
                } else if (item->kind == GROUP_DEAD || e->attempts + 1 >= w->policy.attempts_max) {
                        ASSERT_TRUE(item->dead);
                        e->kind = GROUP_SETTLED;
                        e->is_dead = true;
                        w->n_dead++;
                } else {
                        ASSERT_TRUE(!item->dead);
                        ASSERT_EQ(group_kind_at(&w->group, item->position, &span), GROUP_PENDING);
                        model_nack(w, item, span->until_usec, named);
                        if (item->delay_usec != UINT64_MAX)
                                ASSERT_EQ(e->until_usec, (w->now + item->delay_usec + 999) / 1000 * 1000);
                }
        }
}

/* Leases of which everything is settled are over. */
static void model_close(World *w) {
        for (size_t i = 0; i < w->n_leases;) {
                bool open = false;

                for (int64_t p = w->group.floor + 1; p <= w->n && !open; p++)
                        open = w->events[p].kind == GROUP_LEASED && w->events[p].lease == w->leases[i].id &&
                               w->events[p].is_wanted;
                if (open) {
                        i++;
                } else {
                        w->leases[i] = w->leases[--w->n_leases];
                }
        }
        ASSERT_EQ(w->n_leases, w->group.n_leases);
}

static void step_settle(World *w, unsigned most) {
        GroupWindow window = world_window(w, w->n, true);
        GroupItem items[500];
        size_t n = 1 + lot(w, most);

        for (size_t i = 0; i < n; i++) {
                size_t at = lot(w, w->n_tickets);
                uint64_t kind = lot(w, 100);

                items[i] = (GroupItem){
                        .position = w->tickets[at].position,
                        .lease = w->tickets[at].lease,
                        .kind = kind < w->weight_nack       ? GROUP_NACK
                                : kind < w->weight_nack + 3 ? GROUP_EXTEND
                                : kind < w->weight_nack + 5 ? GROUP_DEAD
                                                            : GROUP_ACK,
                        .delay_usec = kind % 2 == 0 ? UINT64_MAX : (1 + lot(w, 20)) * SECOND,
                };
                if (items[i].kind == GROUP_EXTEND)
                        items[i].delay_usec = (1 + lot(w, 20)) * SECOND;
                ASSERT_EQ(group_settle_needs(&w->group, &window, items + i), 0);
                if (lot(w, 10) > 0)
                        w->tickets[at] = w->tickets[--w->n_tickets];
                if (w->n_tickets == 0) {
                        n = i + 1;
                        break;
                }
        }

        w->policy.lot = lot(w, UINT64_MAX);
        ASSERT_OK(group_settle(&w->group, &window, &w->policy, w->now, items, n));
        model_settle(w, items, n);
        model_close(w);
}

static void step_release(World *w) {
        Lease l = w->leases[lot(w, w->n_leases)];

        ASSERT_OK(group_release(&w->group, l.id));
        for (int64_t p = 1; p <= w->n; p++) {
                Event *e = w->events + p;

                if (e->kind != GROUP_LEASED || e->lease != l.id)
                        continue;
                e->kind = GROUP_PENDING;
                e->until_usec = 0;
        }
        model_close(w);
}

static void step_redrive(World *w) {
        int64_t positions[20];
        size_t n = 0;

        for (int64_t p = 1; p <= w->n && n < MAM_ELEMENTSOF(positions); p++) {
                Event *e = w->events + p;

                if (!e->is_dead || lot(w, 3) > 0)
                        continue;
                positions[n++] = p;
                e->is_dead = false;
                e->kind = GROUP_PENDING;
                e->attempts = 0;
                e->until_usec = 0;
                w->n_redriven++;
        }
        ASSERT_OK(group_redrive(&w->group, positions, n));
}

static void step_drop(World *w) {
        int64_t first = w->group.floor + 1 + (int64_t) lot(w, 10);

        if (first > w->n)
                return;
        for (int64_t p = 1; p < first; p++) {
                Event *e = w->events + p;

                e->is_dropped = true;
                if (e->kind == GROUP_PENDING && p > w->group.redriven_to && p > w->group.floor) {
                        e->kind = GROUP_SETTLED;
                        e->is_lost = true;
                }
        }
        ASSERT_OK(group_drop(&w->group, first));
}

static void step(World *w) {
        uint64_t what = lot(w, 1000);

        w->n_steps++;
        if (what < 250) {
                world_append(w, (unsigned) lot(w, 20));
        } else if (what < 550) {
                (void) step_take(w, 1 + (unsigned) lot(w, 3), 1 + (unsigned) lot(w, 40), lot(w, 3) > 0);
        } else if (what < 900 && w->n_tickets > 0) {
                step_settle(w, lot(w, 5) == 0 ? 100 : 8);
        } else if (what < 980) {
                w->now += lot(w, 4 * SECOND);
        } else if (what < 984) {
                w->now += lot(w, 200 * SECOND);
        } else if (what < 990 && w->n_leases > 0) {
                step_release(w);
        } else if (what < 994) {
                step_redrive(w);
        } else if (what == 999) {
                step_drop(w);
        }

        recode(w);
        if (w->n_steps % 7 == 0)
                compare(w);
}

/* Everything that is left is handed out and settled in the end. */
static void finish(World *w) {
        for (unsigned round = 0; round < 100000; round++) {
                w->n_tickets = 0;
                w->now += 100 * SECOND;
                if (step_take(w, 1, 400, true) == 0 && w->group.floor == w->n)
                        break;
                w->weight_nack = 0;
                for (size_t i = 0; i < w->n_tickets; i++) {
                        GroupWindow window = world_window(w, w->n, true);
                        GroupItem item = { .kind = GROUP_ACK,
                                           .position = w->tickets[i].position,
                                           .lease = w->tickets[i].lease };

                        ASSERT_OK(group_settle(&w->group, &window, &w->policy, w->now, &item, 1));
                        ASSERT_EQ(item.result, 0);
                        w->events[item.position].kind = GROUP_SETTLED;
                }
                model_close(w);
                recode(w);
        }

        compare(w);
        ASSERT_EQ(w->group.floor, w->n);
        ASSERT_EQ(w->group.n_spans, 0);
        ASSERT_EQ(w->group.n_leases, 0);
        for (int64_t p = 1; p <= w->n; p++) {
                const Event *e = w->events + p;

                ASSERT_TRUE(!e->is_wanted || e->is_delivered || e->is_lost || e->is_dropped);
        }
}

static void campaign(
                uint64_t seed,
                unsigned keys,
                unsigned wanted_of_ten,
                unsigned weight_nack,
                unsigned steps) {
        World w;

        world_init(&w, seed);
        w.keys = keys;
        w.wanted_of_ten = wanted_of_ten;
        w.weight_nack = weight_nack;
        for (unsigned i = 0; i < steps; i++) {
                /* another stretch of the log, when this one is used up */
                if (w.n >= N_EVENTS - 20 || w.n_leases > GROUP_LEASES_MAX - 10) {
                        finish(&w);
                        group_seek(&w.group, 1);
                        memset(w.events, 0, (N_EVENTS + 1) * sizeof(*w.events));
                        w.n = 0;
                        w.n_tickets = w.n_leases = 0;
                        w.weight_nack = weight_nack;
                }
                step(&w);
        }
        finish(&w);
        ASSERT_TRUE(w.n_taken > steps / 4);
        ASSERT_TRUE(w.n_acked > 0 && w.n_expired > 0 && w.n_stale > 0);
        printf("# seed %" PRIu64 ": %" PRIu64 " taken, %" PRIu64 " acked, %" PRIu64 " nacked, %" PRIu64
               " dead, %" PRIu64 " redriven, %" PRIu64 " leases ended, %" PRIu64
               " stale, %zu bytes at most\n",
               seed,
               w.n_taken,
               w.n_acked,
               w.n_nacked,
               w.n_dead,
               w.n_redriven,
               w.n_expired,
               w.n_stale,
               w.code_max);
        world_done(&w);
}

/* MAM_TEST_STEPS: more of them. */
static unsigned n_steps(void) {
        const char *text = getenv("MAM_TEST_STEPS");

        return text ? (unsigned) atoi(text) : 6500;
}

TEST(many_keys_agree_with_the_model) {
        for (uint64_t seed = 1; seed <= 4; seed++)
                campaign(seed, 1000, 10, 20, n_steps());
}

TEST(few_keys_agree_with_the_model) {
        for (uint64_t seed = 11; seed <= 14; seed++)
                campaign(seed, 5, 10, 30, n_steps());
}

TEST(filtered_events_agree_with_the_model) {
        for (uint64_t seed = 21; seed <= 24; seed++)
                campaign(seed, N_KEYS, (unsigned) (seed % 4) * 2 + 1, 30, n_steps());
}

TEST(refused_events_agree_with_the_model) {
        for (uint64_t seed = 31; seed <= 34; seed++)
                campaign(seed, N_KEYS, 9, 80, n_steps());
}

/* Whatever is there instead of a state: an error, or a state that can be used. */
TEST(garbage_is_no_state) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *const bad[] = { "", "A", "AAAA", "AQ==", "!!!!", "AQEBAQEBAQE=", "====" };
        World w = { .random = 99 };
        unsigned n_good = 0;
        char text[401];

        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++) {
                Group g = { 0 };

                ASSERT_EQ(group_decode(&g, bad[i]), -EBADMSG);
        }

        for (unsigned i = 0; i < 20000; i++) {
                size_t size = 4 + 4 * lot(&w, 99);
                Group g = { 0 };

                memcpy(text, "AQ", 2);
                for (size_t j = 2; j < size; j++)
                        text[j] = digits[lot(&w, lot(&w, 3) ? 6 : 64)];
                text[size] = '\0';
                if (group_decode(&g, text) < 0)
                        continue;
                n_good++;
                for (size_t j = 0; j < g.n_spans; j++) {
                        ASSERT_TRUE(g.spans[j].from <= g.spans[j].to && g.spans[j].from > g.floor);
                        ASSERT_TRUE(g.spans[j].kind != GROUP_LEASED || g.spans[j].lease < g.n_leases);
                }
                group_done(&g);
        }
        printf("# %u of 20000 are states\n", n_good);
}

/* The worst that consumers can make of it: every second one settled, all others refused with times of their
 * own. */
TEST(the_worst_state_is_bounded) {
        enum {
                N = 10000
        };
        GroupEntry *entries = calloc(GROUP_WINDOW_MAX, sizeof(*entries));
        GroupPick *picks = calloc(N, sizeof(*picks));
        GroupPolicy policy = { .backoff_min_usec = SECOND,
                               .backoff_max_usec = SECOND,
                               .attempts_max = UINT32_MAX,
                               .outstanding_max = N };
        GroupRange known = { 1, GROUP_WINDOW_MAX };
        GroupWindow window = { .entries = entries,
                               .n_entries = GROUP_WINDOW_MAX,
                               .known = &known,
                               .n_known = 1 };
        MamBuffer text = MAM_BUFFER_INIT;
        uint64_t now = 1700000000 * SECOND;
        Group g;
        int n;

        ASSERT_TRUE(entries && picks);
        for (unsigned i = 0; i < GROUP_WINDOW_MAX; i++)
                entries[i] = (GroupEntry){ .position = i + 1,
                                           .key = i * 0x9e3779b97f4a7c15U,
                                           .body = picks,
                                           .size = 1 };
        group_init(&g, 0);
        for (unsigned round = 0; round < 20; round++) {
                GroupScan scan;

                ASSERT_OK(group_scan_begin(&scan, &g, &window, &policy, now));
                n = group_scan_take(&scan, 0xffffffffff00 + round, now + SECOND, N, SIZE_MAX, picks);
                ASSERT_OK(n);
                ASSERT_OK(group_scan_end(&scan));
                group_scan_done(&scan);
                for (int i = 0; i < n; i++) {
                        GroupItem item = { .kind = i % 2 ? GROUP_ACK : GROUP_NACK,
                                           .position = picks[i].position,
                                           .lease = 0xffffffffff00 + round,
                                           .delay_usec = (3600 + (uint64_t) i) * SECOND };

                        ASSERT_OK(group_settle(&g, &window, &policy, now, &item, 1));
                        ASSERT_EQ(item.result, 0);
                        i += g.n_spans > 2000 ? 9 : 0; /* and some are left to their lease */
                }
                now += 2 * SECOND;
                ASSERT_OK(group_expire(&g, &policy, now));
        }

        ASSERT_OK(group_encode(&g, &text));
        printf("# %zu spans are %zu bytes\n", g.n_spans, text.size);
        ASSERT_TRUE(g.n_spans <= GROUP_SPANS_MAX + 2 * N);
        ASSERT_TRUE(text.size < GROUP_CODE_MAX / 4);
        mam_buffer_done(&text);
        group_done(&g);
        free(entries);
        free(picks);
}

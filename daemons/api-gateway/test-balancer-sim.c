/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The balancer and the queue against simulated replicas, and against other ways to choose
 *
 * Each replica has workers and a queue of its own; requests come at random (Poisson), work takes a random
 * time (exponential around the replica's mean). Everything comes from one seed: the figures are the same on
 * every machine. Two gateways balance side by side, and see only what they sent themselves.
 */

#include <math.h>

#include "api-gateway/balancer.h"
#include "api-gateway/outlier.h"
#include "api-gateway/queue-policy.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

#define REPLICAS 4U
#define WORKERS  8U
#define GATEWAYS 2U
#define REQUESTS 60000U
#define WARM_UP  10000U
#define QUEUE    65536U

typedef enum Policy {
        LATENCY,
        LEAST,
        TURNS,
        TWO_CHOICES, /* the cheaper of two drawn by lot */
} Policy;

typedef struct Job {
        double arrived, ends; /* seconds */
        unsigned gateway;
        bool fails;
} Job;

typedef struct Server {
        double mean;  /* seconds of work */
        double fails; /* share of requests that it answers at once, with an error */
        Job running[WORKERS];
        unsigned n_running;
        Job queue[QUEUE];
        unsigned head, tail;
} Server;

typedef struct View { /* of one gateway */
        BalancerStats stats[REPLICAS];
        Outlier outliers[REPLICAS];
        uint32_t pending[REPLICAS];
        unsigned turn;
} View;

typedef struct Result {
        double p50, p99;      /* of what succeeded, seconds */
        double failed;        /* share */
        double slowest_share; /* of requests that replica 0 got */
} Result;

static uint64_t seed;

static double lot(void) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (double) (seed >> 11) / 9007199254740992.0;
}

static double exponential(double mean) {
        return -mean * log(1.0 - lot());
}

static uint64_t usec(double seconds) {
        return 1000000000ULL + (uint64_t) (seconds * 1e6);
}

static unsigned choose(View *v, Policy policy, bool eject, double now) {
        static const BalancerKind kinds[] = { [LATENCY] = BALANCER_LATENCY,
                                              [LEAST] = BALANCER_LEAST,
                                              [TURNS] = BALANCER_TURNS };
        BalancerCandidate c[REPLICAS];
        unsigned n_out = 0;

        for (unsigned i = 0; i < REPLICAS; i++) {
                bool out = eject && outlier_is_out(&v->outliers[i], usec(now));

                c[i] = (BalancerCandidate){ &v->stats[i], v->pending[i], 1, !out };
                n_out += out;
        }
        ASSERT_TRUE(n_out < REPLICAS);
        if (policy == TWO_CHOICES) {
                unsigned a = (unsigned) (lot() * REPLICAS), b = (unsigned) (lot() * (REPLICAS - 1));
                double x, y;

                b += b >= a;
                x = fmax(balancer_cost(&v->stats[a], usec(now)), BALANCER_COST_FLOOR_USEC) *
                    (v->pending[a] + 1.0);
                y = fmax(balancer_cost(&v->stats[b], usec(now)), BALANCER_COST_FLOOR_USEC) *
                    (v->pending[b] + 1.0);
                return x <= y ? a : b;
        }
        return (unsigned) balancer_pick(
                        &(BalancerChoice){ .kind = kinds[policy] },
                        c,
                        REPLICAS,
                        &v->turn,
                        usec(now));
}

static void begin_work(Server *s, Job job, double now) {
        job.fails = lot() < s->fails;
        job.ends = now + (job.fails ? 0.0005 : exponential(s->mean));
        s->running[s->n_running++] = job;
}

static int compare(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return x < y ? -1 : x > y;
}

/* The server whose next job ends first, or -1. */
static int next_end(const Server *servers, unsigned *ret_worker, double *ret_time) {
        int found = -1;

        for (unsigned i = 0; i < REPLICAS; i++)
                for (unsigned k = 0; k < servers[i].n_running; k++)
                        if (found < 0 || servers[i].running[k].ends < *ret_time) {
                                found = (int) i;
                                *ret_worker = k;
                                *ret_time = servers[i].running[k].ends;
                        }
        return found;
}

static void tell(View *v, unsigned i, const Job *job, bool eject) {
        v->pending[i]--;
        balancer_sample(&v->stats[i],
                        job->fails ? BALANCER_FAILURE_USEC : (uint64_t) ((job->ends - job->arrived) * 1e6),
                        usec(job->ends));
        if (eject && outlier_count(&v->outliers[i], job->fails, usec(job->ends)))
                outlier_eject(&v->outliers[i], 0.5, usec(job->ends));
}

/* rate: requests a second, of all gateways. means and fails: of the replicas. */
static Result simulate(Policy policy, bool eject, double rate, const double *means, const double *fails) {
        static Server servers[REPLICAS];
        static View views[GATEWAYS];
        static double latencies[REQUESTS];
        double now = 0, next = 0, when = 0;
        unsigned n = 0, sent = 0, failed = 0, first = 0, counted = 0;
        Result result;

        seed = 88172645463325252ULL;
        memset(servers, 0, sizeof(servers));
        memset(views, 0, sizeof(views));
        for (unsigned i = 0; i < REPLICAS; i++) {
                servers[i].mean = means[i];
                servers[i].fails = fails ? fails[i] : 0;
        }
        while (counted < REQUESTS) {
                unsigned worker = 0;
                int i = next_end(servers, &worker, &when);

                if (i >= 0 && (when <= next || sent >= REQUESTS)) {
                        Server *s = &servers[i];
                        Job job = s->running[worker];

                        now = when;
                        s->running[worker] = s->running[--s->n_running];
                        tell(&views[job.gateway], (unsigned) i, &job, eject);
                        if (s->head < s->tail)
                                begin_work(s, s->queue[s->head++ % QUEUE], now);
                        counted++;
                        if (counted <= WARM_UP)
                                continue;
                        failed += job.fails;
                        first += i == 0;
                        if (!job.fails)
                                latencies[n++] = job.ends - job.arrived;
                        continue;
                }

                now = next;
                next = sent + 1 < REQUESTS ? now + exponential(1.0 / rate) : INFINITY;
                unsigned g = sent++ % GATEWAYS, k = choose(&views[g], policy, eject, now);
                Job job = { .arrived = now, .gateway = g };

                views[g].pending[k]++;
                if (servers[k].n_running < WORKERS)
                        begin_work(&servers[k], job, now);
                else {
                        ASSERT_TRUE(servers[k].tail - servers[k].head < QUEUE);
                        servers[k].queue[servers[k].tail++ % QUEUE] = job;
                }
        }
        qsort(latencies, n, sizeof(*latencies), compare);
        result = (Result){
                .p50 = latencies[n / 2],
                .p99 = latencies[n * 99 / 100],
                .failed = (double) failed / (REQUESTS - WARM_UP),
                .slowest_share = (double) first / (REQUESTS - WARM_UP),
        };
        return result;
}

static const double healthy[REPLICAS] = { 0.01, 0.01, 0.01, 0.01 };
static const char *const names[] = { "latency", "least", "turns", "two choices" };

/* Runs all policies and prints what they come to. */
static void compare_all(const char *what, double rate, const double *means, Result results[4]) {
        for (Policy p = LATENCY; p <= TWO_CHOICES; p++) {
                results[p] = simulate(p, false, rate, means, NULL);
                printf("# %s, %s: p50 %.1f ms, p99 %.1f ms, share of the first %.1f %%\n",
                       what,
                       names[p],
                       results[p].p50 * 1e3,
                       results[p].p99 * 1e3,
                       results[p].slowest_share * 100);
        }
}

/* 4 × 8 workers of 10 ms do 3200 requests a second; here half of it is asked. */
TEST(with_healthy_replicas_it_is_as_good_as_any) {
        Result r[4];

        compare_all("healthy", 1600, healthy, r);
        ASSERT_TRUE(r[LATENCY].p99 <= r[TURNS].p99 * 1.1);
        ASSERT_TRUE(r[LATENCY].p99 <= r[TWO_CHOICES].p99 * 1.1);
}

TEST(one_replica_ten_times_slower_hardly_shows) {
        static const double means[REPLICAS] = { 0.1, 0.01, 0.01, 0.01 };
        Result base = simulate(LATENCY, false, 1600, healthy, NULL), r[4];

        compare_all("one 10 × slower", 1600, means, r);
        ASSERT_TRUE(r[LATENCY].p99 <= base.p99 * 1.5);
        ASSERT_TRUE(r[LATENCY].p99 <= r[TWO_CHOICES].p99);
        ASSERT_TRUE(r[LATENCY].p99 <= r[LEAST].p99);
        ASSERT_TRUE(r[TURNS].p99 > base.p99 * 10); /* it diverges: a quarter goes where an eighth fits */
}

TEST(one_replica_of_half_the_speed_hardly_shows) {
        static const double means[REPLICAS] = { 0.02, 0.01, 0.01, 0.01 };
        Result base = simulate(LATENCY, false, 1600, healthy, NULL), r[4];

        compare_all("one of half the speed", 1600, means, r);
        ASSERT_TRUE(r[LATENCY].p99 <= base.p99 * 1.5);
        ASSERT_TRUE(r[LATENCY].p99 <= r[TURNS].p99);
        ASSERT_TRUE(r[LATENCY].p99 <= r[TWO_CHOICES].p99 * 1.1);
}

TEST(what_fails_fast_attracts_nothing) {
        static const double fails[REPLICAS] = { 1.0, 0, 0, 0 };
        Result with = simulate(LATENCY, true, 1600, healthy, fails),
               without = simulate(LEAST, false, 1600, healthy, fails);

        printf("# one fails fast: latency with ejection %.2f %% failed, least without %.2f %%\n",
               with.failed * 100,
               without.failed * 100);
        ASSERT_TRUE(with.failed < 0.01);
        ASSERT_TRUE(without.failed > 0.25); /* more than its share: it is always free */
}

TEST(what_fails_now_and_then_is_put_out) {
        static const double fails[REPLICAS] = { 0.4, 0, 0, 0 };
        Result with = simulate(TURNS, true, 1600, healthy, fails),
               without = simulate(TURNS, false, 1600, healthy, fails);

        printf("# one fails 40 %% of its requests: by turns with ejection %.2f %% failed, without %.2f %%\n",
               with.failed * 100,
               without.failed * 100);
        ASSERT_TRUE(without.failed > 0.09);
        ASSERT_TRUE(with.failed < 0.02);
}

/* ---- overload: one service that can do 1000 a second is asked for 2000, by senders who wait for two
 * ---- */

#define CAPACITY 1000.0
#define PATIENCE 2.0 /* of the senders, seconds */

static double goodput(bool with_policy, unsigned max, double *ret_p99) {
        static double waiting[QUEUE];
        static double latencies[REQUESTS];
        double now = 0, next_arrival = 0, next_slot = 0, begin = 10.0;
        unsigned head = 0, tail = 0, good = 0, n = 0;
        QueuePolicy q = { 0 };

        seed = 88172645463325252ULL;
        while (now < 60.0) {
                if (next_arrival <= next_slot) {
                        now = next_arrival;
                        next_arrival += exponential(1.0 / (2.0 * CAPACITY));
                        if (with_policy ? !queue_policy_admits(
                                                          &q,
                                                          tail - head,
                                                          max,
                                                          (uint64_t) (PATIENCE * 1e6))
                                        : tail - head >= max)
                                continue;
                        queue_policy_entered(&q, usec(now));
                        waiting[tail++ % QUEUE] = now;
                        continue;
                }
                now = next_slot;
                next_slot += 1.0 / CAPACITY;
                while (head < tail) {
                        double waited = now - waiting[head++ % QUEUE];
                        bool keep = !with_policy ||
                                    queue_policy_keeps(&q, usec(waited) - usec(0), 10000, usec(now));

                        queue_policy_left(&q, keep, tail - head, usec(now));
                        if (!keep)
                                continue;
                        if (now > begin && waited < PATIENCE)
                                good++;
                        if (now > begin)
                                latencies[n++] = waited;
                        break;
                }
        }
        qsort(latencies, n, sizeof(*latencies), compare);
        *ret_p99 = n > 0 ? latencies[n * 99 / 100] : 0;
        return good / (CAPACITY * (60.0 - begin));
}

TEST(under_twice_the_load_what_is_served_is_served_in_time) {
        double p99_with, p99_without, with, without;

        with = goodput(true, 16384, &p99_with);
        without = goodput(false, 16384, &p99_without);
        printf("# twice the load: with the policy %.0f %% of capacity in time, wait p99 %.0f ms; without %.0f %%, %.0f ms\n",
               with * 100,
               p99_with * 1e3,
               without * 100,
               p99_without * 1e3);
        ASSERT_TRUE(with > 0.95);
        ASSERT_TRUE(p99_with <= QUEUE_PATIENCE_USEC / 1e6 + 0.001);
        ASSERT_TRUE(without < 0.05); /* everybody waits in vain */
}

TEST(a_burst_is_taken_and_nobody_is_let_in_who_cannot_be_served_in_time) {
        QueuePolicy q = { 0 };
        uint64_t now = 1000 * MAM_USEC_PER_SEC;

        ASSERT_TRUE(!queue_policy_admits(&q, 8, 8, MAM_USEC_INFINITY));
        ASSERT_TRUE(queue_policy_admits(&q, 7, 8, 1));
        queue_policy_entered(&q, now);
        /* One a millisecond leaves: the tenth in line needs some ten of them. */
        for (unsigned i = 0; i < 200; i++)
                queue_policy_left(&q, true, 10, now += MAM_USEC_PER_MSEC);
        ASSERT_TRUE(!queue_policy_admits(&q, 10, 100, 9 * MAM_USEC_PER_MSEC));
        ASSERT_TRUE(queue_policy_admits(&q, 10, 100, 12 * MAM_USEC_PER_MSEC));
        /* The queue has stood for 200 ms now: that may be a burst yet. */
        ASSERT_TRUE(queue_policy_keeps(&q, 1100 * MAM_USEC_PER_MSEC, 0, now));
        now += QUEUE_STANDING_USEC;
        ASSERT_TRUE(!queue_policy_keeps(&q, 1100 * MAM_USEC_PER_MSEC, 0, now));
        ASSERT_TRUE(queue_policy_keeps(&q, 900 * MAM_USEC_PER_MSEC, 0, now)); /* it moves: that is healthy */
        queue_policy_left(&q, true, 0, now);
        queue_policy_entered(&q, now);
        ASSERT_TRUE(queue_policy_keeps(&q, 1100 * MAM_USEC_PER_MSEC, 0, now + MAM_USEC_PER_SEC));
}

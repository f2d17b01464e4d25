/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rollouts: what the replicas are like, and how well the two revisions serve
 */

#include <assert.h>
#include <string.h>

#include "manager/rollout-internal.h"
#include "manager/rollout-judge.h"

/* A new replica that died, or could not be started, so often since it was begun does not stay up. */
#define DEATHS_MAX 3U
/* How long the first answers of a new replica say more about its caches than about its revision: a quarter
 * of the time it is looked at, at most this. */
#define WARM_UP_MAX_USEC (5 * MAM_USEC_PER_SEC)
/* Gateways that have not answered for so long are not waited for. */
#define STALE_USEC (10 * MAM_USEC_PER_SEC)

static RolloutSide side_of(const Rollout *ro, const char *revision) {
        if (strcmp(revision, ro->to) == 0)
                return ROLLOUT_NEW;
        return strcmp(revision, ro->from) == 0 ? ROLLOUT_OLD : ROLLOUT_OTHER;
}

static bool is_wanted(const Rollout *ro, uint32_t n) {
        return numbers_has(&ro->service->state->numbers, n);
}

static bool does_not_stay_up(const Rollout *ro, const Replica *r, RolloutSide side) {
        const RolloutWatch *w = &ro->watches[r->number];
        RolloutSide target = ro->plan.reverting ? ROLLOUT_OLD : ROLLOUT_NEW;
        uint32_t deaths = r->deaths > w->deaths ? r->deaths - w->deaths : 0;

        if (r->hold[0])
                return true;
        return side == target && side == ROLLOUT_NEW && deaths + r->backoff.failures >= DEATHS_MAX;
}

static RolloutSlotState state_of(const Rollout *ro, uint32_t n, RolloutSide *ret_side) {
        RolloutSide target = ro->plan.reverting ? ROLLOUT_OLD : ROLLOUT_NEW;
        const ServiceState *state = ro->service->state;
        const Replica *r = ro->service->replicas[n];

        if (!is_wanted(ro, n)) {
                bool gone = !r || (r->activity == UNIT_INACTIVE && r->n_calls == 0 && r->own_job == 0 &&
                                   r->job == 0 && !numbers_has(&state->stopping, n));

                *ret_side = side_of(
                                ro,
                                gone ? rollouts_loaded(ro->manager->rollouts, ro->service->config->id, n)
                                     : r->revision);
                return gone ? ROLLOUT_ABSENT : ROLLOUT_LEAVING;
        }
        if (ro->watches[n].replacing) {
                *ret_side = target;
                return ROLLOUT_STARTING;
        }
        *ret_side = r ? side_of(ro, r->revision) : target;
        if (!r)
                return ROLLOUT_STARTING;
        if (does_not_stay_up(ro, r, *ret_side))
                return ROLLOUT_FAILED;
        if (replica_is_ready(r) && !replica_is_draining(r) && !numbers_has(&state->starting, n))
                return ROLLOUT_READY;
        return ROLLOUT_STARTING;
}

void rollout_watch(Rollout *ro, uint64_t now_usec) {
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                RolloutWatch *w = &ro->watches[n];
                RolloutSlotState state;
                RolloutSide side;

                state = state_of(ro, n, &side);
                if (w->known && w->state == state && w->side == side)
                        continue;
                w->known = true;
                w->state = state;
                w->side = side;
                w->since_usec = now_usec;
                if (state == ROLLOUT_ABSENT) {
                        w->seen = (LoadTotals){ 0 };
                        w->traffic_usec = 0;
                        w->deaths = 0; /* the next one of this number is another object */
                }
        }
}

void rollout_view(const Rollout *ro, RolloutView *ret) {
        const MamServiceConfig *c = ro->service->config;

        *ret = (RolloutView){ .plan = &ro->plan,
                              .max_number = mam_service_instances_max(c),
                              .trigger = service_needs_first(ro->service),
                              .verdict = ro->verdict,
                              .verdict_reason = ro->verdict_reason };
        if (ret->max_number > MAM_CONFIG_REPLICAS_MAX)
                ret->max_number = MAM_CONFIG_REPLICAS_MAX;
        ret->seen_usec = ro->seen_usec;
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                RolloutSlot *s = &ret->slots[n];

                s->state = state_of(ro, n, &s->side);
                s->since_usec = ro->watches[n].since_usec;
        }
}

/* ---- how well they serve ---- */

static uint64_t warm_up_usec(const RolloutPlan *p) {
        uint64_t watched = p->strategy == ROLLOUT_CANARY ? p->pause_usec : p->min_healthy_usec;

        return watched / 4 < WARM_UP_MAX_USEC ? watched / 4 : WARM_UP_MAX_USEC;
}

static void count_load(Rollout *ro, const Replica *r, uint64_t now_usec) {
        RolloutWatch *w = &ro->watches[r->number];
        RolloutSide side = side_of(ro, r->revision);
        LoadTotals more;

        if (r->load.requests < w->seen.requests) /* counted anew: another object of that number */
                w->seen = (LoadTotals){ 0 };
        more = load_since(&r->load, &w->seen);
        w->seen = r->load;
        if (w->begun_usec > 0) {
                if (ro->asked_usec > w->begun_usec || !manager_gateway_runs(ro->manager))
                        w->begun_usec = 0;
                if (w->traffic_usec == 0 && more.requests > 0)
                        w->traffic_usec = now_usec;
                if (ro->asked_usec > 0)
                        return;
        }
        if (more.requests == 0 || side == ROLLOUT_OTHER)
                return;

        load_add(&ro->errors[side], &more);
        if (w->traffic_usec == 0)
                w->traffic_usec = now_usec;
        if (side == ROLLOUT_OLD || now_usec >= w->traffic_usec + warm_up_usec(&ro->plan))
                load_add(&ro->latency[side], &more);
}

/* Nobody to be asked, or nobody who answers, must not stop everything; and who wants less time than gateways
 * are asked in does not wait for them. */
static bool is_known_later(const Rollout *ro, uint64_t asked_usec, uint64_t now_usec) {
        const RolloutPlan *p = &ro->plan;

        if (p->min_healthy_usec < LOAD_BUSY_USEC &&
            (p->strategy != ROLLOUT_CANARY || p->pause_usec < LOAD_BUSY_USEC))
                return false;
        return asked_usec + STALE_USEC > now_usec && manager_gateway_runs(ro->manager);
}

void rollout_judge(Rollout *ro, uint64_t now_usec) {
        uint64_t asked_usec = load_asked_usec(ro->manager->load);
        bool fresh = asked_usec != ro->asked_usec;

        ro->seen_usec = is_known_later(ro, asked_usec, now_usec) ? asked_usec : now_usec;
        ro->asked_usec = asked_usec;
        if (!fresh && now_usec < ro->judged_usec + LOAD_BUSY_USEC / 4)
                return;
        ro->judged_usec = now_usec;
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (ro->service->replicas[n])
                        count_load(ro, ro->service->replicas[n], now_usec);
        }
        ro->verdict = judge_is_bad(&ro->errors[ROLLOUT_OLD],
                                   &ro->errors[ROLLOUT_NEW],
                                   &ro->latency[ROLLOUT_OLD],
                                   &ro->latency[ROLLOUT_NEW],
                                   ro->plan.strategy == ROLLOUT_BLUE_GREEN,
                                   ro->verdict_reason,
                                   sizeof(ro->verdict_reason))
                                      ? ROLLOUT_VERDICT_BAD
                                      : ROLLOUT_VERDICT_OPEN;
}

void rollout_judge_anew(Rollout *ro) {
        memset(ro->errors, 0, sizeof(ro->errors));
        memset(ro->latency, 0, sizeof(ro->latency));
        ro->verdict = ROLLOUT_VERDICT_OPEN;
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const Replica *r = ro->service->replicas[n];

                ro->watches[n].seen = r ? r->load : (LoadTotals){ 0 };
        }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Intentions: how many replicas of a service there should be, and which
 */

#include <assert.h>
#include <string.h>

#include "manager/autoscaler.h"
#include "manager/manager.h"
#include "manager/rollout.h"
#include "manager/service.h"

#define ADOPTION_SETTLE_USEC (1 * MAM_USEC_PER_SEC)

static void rank_victims(const Service *s, VictimRank ranks[static MAM_CONFIG_REPLICAS_MAX + 1]) {
        for (uint32_t n = 0; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const Replica *r = s->replicas[n];

                if (n == 1 && service_needs_first(s)) {
                        ranks[n] = VICTIM_TRIGGER;
                } else if (!r || r->activity == UNIT_INACTIVE || r->backoff.held_until_usec > 0) {
                        ranks[n] = VICTIM_FAILED;
                } else {
                        ranks[n] = replica_is_ready(r) ? VICTIM_READY : VICTIM_NOT_READY;
                }
        }
}

static void want_number(Service *s, uint32_t n) {
        Replica *r;

        numbers_add(&s->state->numbers, n);
        numbers_remove(&s->state->stopping, n);
        r = service_replica(s, n);
        /* Also one that is still active while a stop of ours is on its way: it will have to be started
         * again, and must not look as if somebody else had stopped it. */
        if (!r || r->activity != UNIT_ACTIVE || r->n_calls > 0 || r->own_job > 0)
                numbers_add(&s->state->starting, n);
        if (!r)
                return;

        rollout_note_wanted(r);
        r->drain_until_usec = 0;
        if (r->activity != UNIT_ACTIVE) {
                backoff_reset(&r->backoff);
                if (r->hold[0]) {
                        r->hold[0] = '\0';
                        r->dirty |= REPLICA_DIRTY_HOLD;
                }
        }
}

static void unwant_number(Service *s, uint32_t n) {
        Replica *r = s->replicas[n];

        numbers_remove(&s->state->numbers, n);
        numbers_remove(&s->state->starting, n);
        if (!r)
                return;

        backoff_reset(&r->backoff);
        r->restart = RESTART_NONE;
        if (r->hold[0]) {
                r->hold[0] = '\0';
                r->dirty |= REPLICA_DIRTY_HOLD;
        }
        /* Also one that does not run may have left its socket open. */
        if (r->activity != UNIT_INACTIVE || r->job > 0 || r->n_calls > 0 ||
            (!r->socket_closed && mam_service_has_replica_socket(s->config)))
                numbers_add(&s->state->stopping, n);
}

void service_want_number(Service *s, uint32_t number) {
        want_number(s, number);
        s->dirty |= SERVICE_DIRTY_STATE;
}

void service_unwant_number(Service *s, uint32_t number) {
        unwant_number(s, number);
        s->dirty |= SERVICE_DIRTY_STATE;
}

void service_want_count(Service *s, uint32_t count, Numbers *ret_added, Numbers *ret_removed) {
        VictimRank ranks[MAM_CONFIG_REPLICAS_MAX + 1];
        Numbers add, rem;

        assert(s);
        assert(s->state->running);

        if (s->rollout) { /* it carries that out */
                rollout_set_wanted(s->rollout, count);
                s->settle_usec = 0;
                s->dirty |= SERVICE_DIRTY_STATE;
                if (ret_added)
                        *ret_added = (Numbers) NUMBERS_INIT;
                if (ret_removed)
                        *ret_removed = (Numbers) NUMBERS_INIT;
                return;
        }

        rank_victims(s, ranks);
        reconcile_scale(&s->state->numbers, count, service_max_number(s), ranks, &add, &rem);
        NUMBERS_FOREACH(n, &add) {
                want_number(s, n);
        }
        NUMBERS_FOREACH(n, &rem) {
                unwant_number(s, n);
        }

        if (!numbers_is_empty(&s->state->numbers))
                s->state->asleep = false;
        s->settle_usec = 0;
        s->dirty |= SERVICE_DIRTY_STATE;
        if (ret_added)
                *ret_added = add;
        if (ret_removed)
                *ret_removed = rem;
}

void service_want_running(Service *s) {
        uint32_t count, configured;

        assert(s);

        configured = s->state->replicas > 0 ? s->state->replicas : s->config->replicas;
        s->state->fresh = false;
        if (!s->state->running) {
                s->state->running = true;
                s->state->numbers = service_existing(s); /* what is still there is not stopped after all */
                NUMBERS_FOREACH(n, &s->state->numbers) {
                        if (n > mam_service_instances_max(s->config)) /* a rollout may have left it */
                                numbers_remove(&s->state->numbers, n);
                }
        }

        /* Also a fresh try for what is held back, and again what an administrator had stopped. */
        NUMBERS_FOREACH(n, &s->state->numbers) {
                want_number(s, n);
        }
        if (s->rollout)
                return;
        count = numbers_count(&s->state->numbers);
        if (count == 0 && configured == 0 && service_can_sleep(s)) {
                service_sleep(s, NULL); /* there when somebody asks for it */
                return;
        }
        configured = configured > 0 ? configured : 1;
        service_want_count(s, count > configured ? count : configured, NULL, NULL);
}

void service_want_stopped(Service *s) {
        Numbers all;

        assert(s);

        all = service_existing(s);
        for (size_t i = 0; i < MAM_ELEMENTSOF(all.bits); i++)
                all.bits[i] |= s->state->numbers.bits[i];
        NUMBERS_FOREACH(n, &all) {
                unwant_number(s, n);
        }
        s->state->running = false;
        s->state->fresh = false;
        s->settle_usec = 0;
        s->dirty |= SERVICE_DIRTY_STATE;
}

void service_adopt_running(Service *s, uint32_t number, uint64_t now_usec) {
        assert(s);

        if (!s->state->running) {
                s->state->running = true;
                /* systemd starts the configured number; a stored one is reached when it is through with
                 * that. */
                if (s->state->replicas > 0)
                        s->settle_usec = now_usec + ADOPTION_SETTLE_USEC;
        }
        s->state->fresh = false;
        numbers_add(&s->state->numbers, number);
        numbers_remove(&s->state->starting, number);
        numbers_remove(&s->state->stopping, number);
        s->dirty |= SERVICE_DIRTY_STATE;
}

void service_adopt_stopped(Service *s, uint32_t number) {
        assert(s);

        numbers_remove(&s->state->numbers, number);
        numbers_remove(&s->state->starting, number);
        if (numbers_is_empty(&s->state->numbers))
                s->state->running = false;
        s->dirty |= SERVICE_DIRTY_STATE;
}

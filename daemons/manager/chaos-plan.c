/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Chaos: who is hit, and what is next
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/util/macro.h"
#include "libmam/util/time.h"
#include "manager/chaos.h"

static const char *const kind_names[_CHAOS_KIND_MAX] = {
        [CHAOS_KILL] = "kill",     [CHAOS_STOP] = "stop",       [CHAOS_CPU] = "cpu",
        [CHAOS_MEMORY] = "memory", [CHAOS_LATENCY] = "latency", [CHAOS_IO] = "io",
};

const char *chaos_kind_to_string(ChaosKind k) {
        assert(k >= 0 && k < _CHAOS_KIND_MAX);

        return kind_names[k];
}

ChaosKind chaos_kind_from_string(const char *text) {
        assert(text);

        for (int i = 0; i < _CHAOS_KIND_MAX; i++) {
                if (strcmp(kind_names[i], text) == 0)
                        return (ChaosKind) i;
        }
        return _CHAOS_KIND_INVALID;
}

/* splitmix64: S. Vigna, public domain reference algorithm; any state is good. */
uint64_t chaos_random(uint64_t *state) {
        uint64_t z;

        assert(state);

        z = *state += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

Numbers chaos_choose(const Numbers *candidates, uint32_t percent, uint64_t seed) {
        uint32_t left = numbers_count(candidates), want;
        Numbers chosen = NUMBERS_INIT;

        assert(percent >= 1 && percent <= 100);

        want = left * percent / 100;
        if (want == 0)
                want = 1;
        if (want >= left && percent < 100)
                want = left > 0 ? left - 1 : 0;

        /* Each is taken with the probability that leaves every choice of so many equally likely. */
        NUMBERS_FOREACH(n, candidates) {
                if (chaos_random(&seed) % left < want) {
                        numbers_add(&chosen, n);
                        want--;
                }
                left--;
        }
        return chosen;
}

uint64_t chaos_turn_usec(uint32_t n_victims) {
        uint64_t turn_usec = n_victims * MAM_USEC_PER_SEC / CHAOS_SIGNALS_PER_SEC;

        return turn_usec > CHAOS_TURN_USEC ? turn_usec : CHAOS_TURN_USEC;
}

uint64_t chaos_cpu_millis(uint64_t limit_millis) {
        uint64_t millis = limit_millis / CHAOS_CPU_DIVISOR;

        return millis > CHAOS_CPU_MIN_MILLIS ? millis : CHAOS_CPU_MIN_MILLIS;
}

static ChaosAct wanted(ChaosKind kind, const ChaosVictim *v, uint32_t pid, bool ending) {
        bool halted = v->halted && v->pid == pid;

        if (ending) {
                if (v->halted)
                        return CHAOS_ACT_CONTINUE;
                return v->squeezed ? CHAOS_ACT_RELEASE : CHAOS_NOTHING;
        }
        if (pid == 0)
                return CHAOS_NOTHING; /* it is on its way up again, or gone */

        switch (kind) {
        case CHAOS_KILL:
                return CHAOS_ACT_KILL;
        case CHAOS_STOP:
                return halted ? CHAOS_NOTHING : CHAOS_ACT_HALT;
        case CHAOS_LATENCY:
                return halted ? CHAOS_ACT_CONTINUE : CHAOS_ACT_HALT;
        default:
                return v->squeezed ? CHAOS_NOTHING : CHAOS_ACT_SQUEEZE;
        }
}

ChaosAct chaos_decide(
                ChaosKind kind,
                const ChaosVictim *v,
                uint32_t pid,
                bool ending,
                uint64_t now_usec,
                uint64_t *again_usec) {
        ChaosAct act;

        assert(v);
        assert(again_usec);

        if (v->act != CHAOS_NOTHING)
                return CHAOS_NOTHING; /* one thing at a time: systemd may answer in another order */

        act = wanted(kind, v, pid, ending);
        /* Nothing is waited for at the end, but the next try of what failed. */
        if (act != CHAOS_NOTHING && (!ending || v->failed > 0) && v->next_usec > now_usec) {
                if (v->next_usec < *again_usec)
                        *again_usec = v->next_usec;
                return CHAOS_NOTHING;
        }
        return act;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "alerts/table.h"

#include <assert.h>
#include <string.h>

#include "libmam/util/time.h"

static uint8_t bit(unsigned slot) {
        assert(slot < RECEIVERS_MAX);
        return (uint8_t) (1U << slot);
}

static void alert_free(Alert *a) {
        if (!a)
                return;

        free(a->fingerprint);
        free(a->name);
        free(a->severity);
        free(a->replica);
        free(a->summary);
        free(a);
}

static void group_free(AlertGroup *g) {
        Alert *a;

        if (!g)
                return;

        while ((a = TAILQ_FIRST(&g->alerts))) {
                TAILQ_REMOVE(&g->alerts, a, alerts);
                alert_free(a);
        }
        free(g->service);
        free(g);
}

void alert_table_init(AlertTable *t) {
        assert(t);

        *t = (AlertTable){ 0 };
        TAILQ_INIT(&t->groups);
}

void alert_table_done(AlertTable *t) {
        AlertGroup *g;

        assert(t);

        while ((g = TAILQ_FIRST(&t->groups))) {
                TAILQ_REMOVE(&t->groups, g, groups);
                group_free(g);
        }
        alert_table_init(t);
}

/* What nobody has to be told any more goes. */
static void sweep(AlertTable *t) {
        AlertGroup *g, *next_g;
        Alert *a, *next_a;

        for (g = TAILQ_FIRST(&t->groups); g; g = next_g) {
                next_g = TAILQ_NEXT(g, groups);
                for (a = TAILQ_FIRST(&g->alerts); a; a = next_a) {
                        next_a = TAILQ_NEXT(a, alerts);
                        if (a->ended_usec == 0 || (t->receivers & ~a->told_ended) || a->sent_firing ||
                            a->sent_ended)
                                continue;
                        TAILQ_REMOVE(&g->alerts, a, alerts);
                        alert_free(a);
                        t->n--;
                }
                if (!TAILQ_EMPTY(&g->alerts))
                        continue;
                TAILQ_REMOVE(&t->groups, g, groups);
                group_free(g);
        }
}

static Alert *find(const AlertTable *t, const char *fingerprint) {
        AlertGroup *g;
        Alert *a;

        TAILQ_FOREACH(g, &t->groups, groups)
        TAILQ_FOREACH(a, &g->alerts, alerts)
        if (strcmp(a->fingerprint, fingerprint) == 0)
                return a;
        return NULL;
}

static int group_get(AlertTable *t, AlertGroup **ret, const char *service) {
        AlertGroup *g;

        TAILQ_FOREACH(g, &t->groups, groups)
        if (strcmp(g->service, service) == 0) {
                *ret = g;
                return 0;
        }

        g = calloc(1, sizeof(*g));
        if (!g)
                return -ENOMEM;
        TAILQ_INIT(&g->alerts);
        g->service = strndup(service, ALERT_TEXT_MAX);
        if (!g->service) {
                group_free(g);
                return -ENOMEM;
        }
        TAILQ_INSERT_TAIL(&t->groups, g, groups);
        *ret = g;
        return 0;
}

static int alert_new(AlertTable *t, const AlertNews *news, uint64_t now_usec) {
        AlertGroup *g;
        Alert *a;
        int r;

        if (t->n >= ALERTS_MAX)
                return -EDQUOT;
        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->fingerprint = strndup(news->fingerprint, ALERT_TEXT_MAX);
        a->name = strndup(news->name, ALERT_TEXT_MAX);
        a->severity = strndup(news->severity, ALERT_TEXT_MAX);
        a->replica = strndup(news->replica, ALERT_TEXT_MAX);
        a->summary = strndup(news->summary, ALERT_TEXT_MAX);
        if (!a->fingerprint || !a->name || !a->severity || !a->replica || !a->summary) {
                alert_free(a);
                return -ENOMEM;
        }
        a->started_usec = news->started_usec;
        a->ended_usec = news->ended_usec;
        a->changed_usec = now_usec;
        r = group_get(t, &g, news->service);
        if (r < 0) {
                alert_free(a);
                return r;
        }
        a->group = g;
        TAILQ_INSERT_TAIL(&g->alerts, a, alerts);
        t->n++;
        return 1;
}

/* It fires again, before or after all have heard that it was over. */
static void alert_begin_again(Alert *a, const AlertNews *news, uint64_t now_usec) {
        uint8_t believe_ended = a->told_ended | a->sent_ended;

        a->started_usec = news->started_usec;
        a->ended_usec = 0;
        a->changed_usec = now_usec;
        a->told_firing &= (uint8_t) ~believe_ended;
        a->told_ended = 0;
}

int alert_table_take(AlertTable *t, const AlertNews *news, uint64_t now_usec) {
        char *summary;
        Alert *a;
        int r;

        assert(t);
        assert(news);

        a = find(t, news->fingerprint);
        if (!a) {
                r = alert_new(t, news, now_usec);
                sweep(t); /* over already, and nobody is to be told */
                return r;
        }

        a->missing = false;
        if (strcmp(a->summary, news->summary) != 0) { /* goes with the next message */
                summary = strndup(news->summary, ALERT_TEXT_MAX);
                if (!summary)
                        return -ENOMEM;
                free(a->summary);
                a->summary = summary;
        }
        if (news->ended_usec == 0) {
                if (a->ended_usec == 0)
                        return 0;
                alert_begin_again(a, news, now_usec);
                return 1;
        }
        if (a->ended_usec != 0)
                return 0;
        a->ended_usec = news->ended_usec;
        a->changed_usec = now_usec;
        sweep(t);
        return 1;
}

void alert_table_list_begin(AlertTable *t) {
        AlertGroup *g;
        Alert *a;

        assert(t);

        TAILQ_FOREACH(g, &t->groups, groups)
        TAILQ_FOREACH(a, &g->alerts, alerts)
        a->missing = a->ended_usec == 0;
}

unsigned alert_table_list_end(AlertTable *t, bool final, uint64_t realtime_usec, uint64_t now_usec) {
        unsigned n = 0;
        AlertGroup *g;
        Alert *a;

        assert(t);

        TAILQ_FOREACH(g, &t->groups, groups)
        TAILQ_FOREACH(a, &g->alerts, alerts) {
                if (!a->missing)
                        continue;
                n++;
                a->missing = false;
                if (!final)
                        continue;
                a->ended_usec = realtime_usec;
                a->changed_usec = now_usec;
        }
        sweep(t);
        return n;
}

void alert_table_add_receiver(AlertTable *t, unsigned slot) {
        AlertGroup *g;
        Alert *a;

        assert(t);

        t->receivers |= bit(slot);
        TAILQ_FOREACH(g, &t->groups, groups) {
                g->sent_usec[slot] = g->tried_usec[slot] = 0;
                TAILQ_FOREACH(a, &g->alerts, alerts) {
                        a->told_firing &= (uint8_t) ~bit(slot);
                        a->told_ended &= (uint8_t) ~bit(slot);
                        if (a->ended_usec != 0)
                                a->told_ended |= bit(slot);
                }
        }
}

void alert_table_remove_receiver(AlertTable *t, unsigned slot) {
        AlertGroup *g;
        Alert *a;

        assert(t);

        t->receivers &= (uint8_t) ~bit(slot);
        TAILQ_FOREACH(g, &t->groups, groups)
        TAILQ_FOREACH(a, &g->alerts, alerts) {
                a->sent_firing &= (uint8_t) ~bit(slot);
                a->sent_ended &= (uint8_t) ~bit(slot);
        }
        sweep(t);
}

bool alert_is_for(const Alert *a, unsigned slot) {
        return a->ended_usec == 0 || !(a->told_ended & bit(slot));
}

static bool is_news(const Alert *a, unsigned slot) {
        return a->ended_usec == 0 ? !(a->told_firing & bit(slot)) : !(a->told_ended & bit(slot));
}

uint64_t alert_group_due_usec(const AlertGroup *g, unsigned slot) {
        uint64_t news = MAM_USEC_INFINITY, due;
        bool fires = false;
        const Alert *a;

        TAILQ_FOREACH(a, &g->alerts, alerts) {
                fires |= a->ended_usec == 0;
                if (is_news(a, slot) && a->changed_usec < news)
                        news = a->changed_usec;
        }
        if (news == MAM_USEC_INFINITY) {
                return fires && g->sent_usec[slot] != 0 ? g->sent_usec[slot] + REPEAT_INTERVAL_USEC
                                                        : MAM_USEC_INFINITY;
        }
        due = news + GROUP_WAIT_USEC;
        if (g->sent_usec[slot] != 0 && due < g->sent_usec[slot] + GROUP_INTERVAL_USEC)
                due = g->sent_usec[slot] + GROUP_INTERVAL_USEC;
        return due;
}

AlertGroup *alert_table_pick(AlertTable *t, unsigned slot, uint64_t now_usec, uint64_t *ret_next_usec) {
        AlertGroup *g, *found = NULL;

        assert(t);
        assert(ret_next_usec);

        *ret_next_usec = MAM_USEC_INFINITY;
        TAILQ_FOREACH(g, &t->groups, groups) {
                uint64_t due = alert_group_due_usec(g, slot);

                if (due < *ret_next_usec)
                        *ret_next_usec = due;
                /* One that a receiver chokes on must not stand in the way of the others. */
                if (due <= now_usec && (!found || g->tried_usec[slot] < found->tried_usec[slot]))
                        found = g;
        }
        return found;
}

void alert_group_sent(AlertGroup *g, unsigned slot, uint64_t now_usec) {
        Alert *a;

        assert(g);

        g->tried_usec[slot] = now_usec;
        TAILQ_FOREACH(a, &g->alerts, alerts) {
                if (a->ended_usec == 0) {
                        a->sent_firing |= bit(slot);
                } else if (alert_is_for(a, slot)) {
                        a->sent_ended |= bit(slot);
                }
        }
}

void alert_table_arrived(AlertTable *t, unsigned slot, bool told, uint64_t now_usec) {
        uint8_t b = bit(slot);
        AlertGroup *g;
        Alert *a;

        assert(t);

        TAILQ_FOREACH(g, &t->groups, groups)
        TAILQ_FOREACH(a, &g->alerts, alerts) {
                if (told && ((a->sent_firing | a->sent_ended) & b))
                        g->sent_usec[slot] = now_usec;
                if (told && (a->sent_firing & b))
                        a->told_firing |= b;
                if (told && (a->sent_ended & b)) {
                        if (a->ended_usec != 0) {
                                a->told_ended |= b;
                        } else { /* it fires again, and the receiver believes that it is over */
                                a->told_firing &= (uint8_t) ~b;
                        }
                }
                a->sent_firing &= (uint8_t) ~b;
                a->sent_ended &= (uint8_t) ~b;
        }
        sweep(t);
}

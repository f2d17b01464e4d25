/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The window against a model of transactions: whatever their order, every row that is visible is read once,
 * none is skipped, and what one transaction wrote after another's commit comes after it
 */

#include <inttypes.h>

#include "event-bus/outbox/window.h"
#include "libmam/util/test.h"

#define TRANSACTIONS 64U
#define ROWS_MAX     4096U

typedef enum State {
        STATE_NONE, /* has no id */
        STATE_OPEN,
        STATE_OVER,
} State;

typedef struct Row {
        uint64_t transaction;
        bool is_visible, is_taken;
} Row;

/* A database: transactions get ids and draw numbers in any order, and end in any order. */
typedef struct Model {
        uint32_t seed;
        struct {
                State state;
                uint64_t id;
        } slots[TRANSACTIONS];
        uint64_t next_id, completed; /* completed: the last id that has ended */
        Row rows[ROWS_MAX];          /* row n has number n + 1 */
        size_t n_rows;
        size_t reads, looked_at;
} Model;

static uint32_t draw(Model *m, uint32_t below) {
        m->seed = m->seed * 1664525U + 1013904223U;
        return (m->seed >> 8) % below;
}

static void model_end(Model *m, size_t slot, bool commits) {
        uint64_t id = m->slots[slot].id;

        for (size_t i = 0; i < m->n_rows; i++) {
                if (m->rows[i].transaction == id && commits)
                        m->rows[i].is_visible = true;
        }
        if (id > m->completed)
                m->completed = id;
        m->slots[slot].state = STATE_NONE;
}

static void model_step(Model *m, unsigned transactions) {
        size_t slot = draw(m, transactions);

        if (m->slots[slot].state == STATE_NONE) {
                m->slots[slot].state = STATE_OPEN;
                m->slots[slot].id = m->next_id++;
        } else if (draw(m, 3) > 0) {
                if (m->n_rows < ROWS_MAX)
                        m->rows[m->n_rows++] = (Row){ .transaction = m->slots[slot].id };
        } else if (slot > 0 || draw(m, 200) == 0) /* the first one likes to stay open */
                model_end(m, slot, draw(m, 8) > 0);
}

static int compare_ids(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

/* As pg_current_snapshot(): nothing at or beyond xmax is listed. */
static void model_snapshot(const Model *m, char *ret, size_t size) {
        uint64_t ids[TRANSACTIONS], xmax = m->completed + 1;
        size_t n = 0, at;

        for (size_t i = 0; i < TRANSACTIONS; i++) {
                if (m->slots[i].state == STATE_OPEN && m->slots[i].id < xmax)
                        ids[n++] = m->slots[i].id;
        }
        qsort(ids, n, sizeof(ids[0]), compare_ids);
        at = (size_t) snprintf(ret, size, "%" PRIu64 ":%" PRIu64 ":", n > 0 ? ids[0] : xmax, xmax);
        for (size_t i = 0; i < n; i++)
                at += (size_t) snprintf(ret + at, size - at, "%s%" PRIu64, i > 0 ? "," : "", ids[i]);
}

static bool model_is_open(const Model *m, uint64_t id) {
        for (size_t i = 0; i < TRANSACTIONS; i++) {
                if (m->slots[i].state == STATE_OPEN && m->slots[i].id == id)
                        return true;
        }
        return false;
}

/* As outbox_read() */
static int64_t model_since(const Model *m, const RelayWindow *w) {
        int64_t since = w->base;

        for (size_t i = 0; i < w->n; i++) {
                const RelayPending *p = w->pending + i;
                bool applies = p->first != p->last ? p->first <= m->completed
                                                   : p->first <= m->completed && !model_is_open(m, p->first);

                if (applies && p->base < since)
                        since = p->base;
        }
        return since;
}

/* Takes what is visible beyond the window, at most limit; then everything visible must be taken if that was
 * all. */
static void model_read(Model *m, RelayWindow *w, unsigned limit, unsigned transactions) {
        char snapshot[TRANSACTIONS * 24];
        int64_t since = model_since(m, w), last = 0, high;
        uint64_t next;
        bool more = false;
        unsigned n = 0;

        model_snapshot(m, snapshot, sizeof(snapshot));
        m->reads++;
        for (size_t i = (size_t) since; i < m->n_rows && !more; i++) {
                m->looked_at++;
                if (!m->rows[i].is_visible || m->rows[i].is_taken)
                        continue;
                if (n == limit) {
                        more = true;
                        break;
                }
                m->rows[i].is_taken = true;
                last = (int64_t) i + 1;
                n++;
        }
        for (size_t i = 0; i < (more ? (size_t) last : m->n_rows); i++)
                ASSERT_TRUE(!m->rows[i].is_visible || m->rows[i].is_taken);
        /* others begin, draw and end after the snapshot, and between the one and the other */
        for (unsigned i = draw(m, 6); transactions > 0 && i > 0; i--)
                model_step(m, transactions);
        high = (int64_t) m->n_rows;
        for (unsigned i = draw(m, 6); transactions > 0 && i > 0; i--)
                model_step(m, transactions);
        next = m->next_id;
        ASSERT_OK(relay_window_advance(w, snapshot, high, next, more ? last : RELAY_WINDOW_ALL));
}

static void run_model(uint32_t seed, unsigned transactions, unsigned limit) {
        static Model m;
        RelayWindow *w = calloc(1, sizeof(*w));

        memset(&m, 0, sizeof(m));
        m.seed = seed;
        m.next_id = 700;
        m.completed = 699;
        ASSERT_TRUE(w);
        relay_window_init(w);
        for (unsigned i = 0; i < 6000; i++) {
                model_step(&m, transactions);
                if (draw(&m, 5) == 0)
                        model_read(&m, w, limit, transactions);
        }
        for (size_t i = 0; i < TRANSACTIONS; i++) {
                if (m.slots[i].state == STATE_OPEN)
                        model_end(&m, i, true);
        }
        for (unsigned i = 0; i < ROWS_MAX; i++)
                model_read(&m, w, limit, 0);
        for (size_t i = 0; i < m.n_rows; i++)
                ASSERT_TRUE(!m.rows[i].is_visible || m.rows[i].is_taken);
        free(w);
}

TEST(nothing_is_skipped_whatever_order_transactions_end_in) {
        for (uint32_t seed = 1; seed <= 60; seed++)
                run_model(seed, 2 + seed % 30, 1 + seed % 40);
}

TEST(one_that_stays_open_makes_no_read_begin_further_back) {
        static Model m;
        RelayWindow *w = calloc(1, sizeof(*w));
        size_t before;

        memset(&m, 0, sizeof(m));
        m.next_id = 10;
        m.completed = 9;
        relay_window_init(w);
        m.slots[0].state = STATE_OPEN;
        m.slots[0].id = m.next_id++;
        m.rows[m.n_rows++] = (Row){ .transaction = m.slots[0].id };
        for (unsigned i = 0; i < 2000; i++) {
                m.slots[1].state = STATE_OPEN;
                m.slots[1].id = m.next_id++;
                m.rows[m.n_rows++] = (Row){ .transaction = m.slots[1].id };
                model_end(&m, 1, true);
                model_read(&m, w, 100, 0);
        }
        ASSERT_TRUE(m.looked_at < 2 * m.reads + 10);

        before = m.looked_at;
        model_end(&m, 0, true);
        model_read(&m, w, 100, 0); /* once all the way back */
        ASSERT_TRUE(m.rows[0].is_taken);
        ASSERT_TRUE(m.looked_at >= before + 2000);
        before = m.looked_at;
        model_read(&m, w, 100, 0);
        ASSERT_EQ(m.looked_at, before);
        free(w);
}

TEST(text_that_is_no_snapshot_is_refused_and_the_window_begins_again) {
        static const char *const bad[] = { "", "1", "1:2", "a:b:c", "1:2:x", "1:2:1;", "1:2:-1" };
        RelayWindow *w = calloc(1, sizeof(*w));

        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++) {
                relay_window_init(w);
                ASSERT_OK(relay_window_advance(w, "5:9:5,7", 40, 12, RELAY_WINDOW_ALL));
                ASSERT_EQ(w->base, 40);
                ASSERT_EQ(relay_window_advance(w, bad[i], 50, 13, RELAY_WINDOW_ALL), -EBADMSG);
                ASSERT_EQ(w->base, 0);
                ASSERT_EQ(w->n, 0);
        }
        free(w);
}

TEST(arrays_are_written_as_postgresql_reads_them) {
        _cleanup_(mam_buffer_done) MamBuffer first = MAM_BUFFER_INIT, last = MAM_BUFFER_INIT,
                                             bases = MAM_BUFFER_INIT;
        RelayWindow *w = calloc(1, sizeof(*w));

        relay_window_init(w);
        ASSERT_OK(relay_window_format(w, &first, &last, &bases));
        ASSERT_STREQ(mam_buffer_bytes(&first), "{}");
        mam_buffer_reset(&first);
        mam_buffer_reset(&last);
        mam_buffer_reset(&bases);
        ASSERT_OK(relay_window_advance(w, "5:9:5,7", 40, 12, RELAY_WINDOW_ALL));
        ASSERT_OK(relay_window_advance(w, "7:14:7", 50, 20, RELAY_WINDOW_ALL));
        ASSERT_OK(relay_window_format(w, &first, &last, &bases));
        ASSERT_STREQ(mam_buffer_bytes(&first), "{7,14}");
        ASSERT_STREQ(mam_buffer_bytes(&last), "{7,19}");
        ASSERT_STREQ(mam_buffer_bytes(&bases), "{0,40}");
        free(w);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A log on real servers, for tests: each case has a schema of its own
 */

#include <libpq-fe.h>

#include "event-bus/log/log.h"
#include "event-bus/migrations.h"
#include "libmam/db/test-server.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

typedef struct Fixture {
        sd_event *event;
        MamPg *pg;
        MamRedis *redis; /* NULL: not asked for */
        Log *log;
        PGconn *sql; /* what a test looks at and turns behind the log's back */
        int64_t hook_last;
        unsigned n_hook, n_changed;
        char hook_topic[160];
} Fixture;

/* What a call answered; one per call. */
typedef struct Answer {
        unsigned n; /* answers */
        int r;
        size_t at, n_appended;
        LogAppended appended[LOG_APPEND_MAX];
        TopicInfo info;
        bool has_info;
        unsigned n_listed;
        char names[512], text[64];
        int64_t value, first, last; /* position, version; of a page */
        size_t n_events;
        LogEvent events[64]; /* texts are gone */
} Answer;

#define RUN_UNTIL(f, condition)                                                       \
        do {                                                                          \
                uint64_t _end = mam_now_monotonic() + 60 * MAM_USEC_PER_SEC;          \
                while (!(condition)) {                                                \
                        ASSERT_OK(sd_event_run((f)->event, 100 * MAM_USEC_PER_MSEC)); \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                      \
                }                                                                     \
        } while (0)

MamTestServer *test_postgres(void);
MamTestServer *test_redis(void);
void fixture_setup(Fixture *f);
void fixture_setup_redis(Fixture *f);
void fixture_teardown(Fixture *f);
/* Another Log on the same database, with a pool of its own. timeout: of a statement; 0: 5 s. */
void fixture_another(Fixture *f, uint64_t timeout_usec, MamPg **ret_pg, Log **ret);
void sql(Fixture *f, const char *statement);
int64_t sql_number(Fixture *f, const char *statement);

void on_topic(int r, const TopicInfo *topic, void *userdata);
void on_appended(int r, size_t at, const LogAppended *appended, size_t n, void *userdata);
void on_snapshot(int r, int64_t version, const char *text, void *userdata);
void topic_make(Fixture *f, const char *name, const TopicSettings *s);
/* Appends one event with this id, and waits. */
Answer *append_one(Fixture *f, Answer *a, const char *topic, const char *id);
Answer *append_all(Fixture *f, Answer *a, const char *topic, const LogEntry *entries, size_t n);
LogEntry entry_of(const char *id, const char *stream, int64_t expected);

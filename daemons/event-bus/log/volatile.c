/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Volatile topics: a Redis stream each, at "event-bus:topic:ID"
 *
 * An entry has the event (e), its ordering key (k) and the position of the entry before it (p), by which a
 * reader sees whether something was dropped. Each operation is one script, so it happens whole or not at
 * all; what was appended within 24 h is remembered in "event-bus:seen:ID:DIGEST". Redis forgets when it
 * restarts, or needs the memory: positions then go on, as they follow the clock, and the gap shows as
 * dropped events. Such topics are bounded by number and time, not by bytes.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/log-internal.h"
#include "libmam/util/time.h"

#define SEEN_SEC  "86400"
#define LIMIT_MAX 1000U
#define BYTES_MAX ((size_t) 4 * 1024 * 1024)
#define KEY_SIZE  48U

struct VolatileOp {
        /* Reads the reply and calls back; error < 0: just that. */
        void (*answer)(VolatileOp *op, const MamRedisReply *reply, int error);
        union {
                LogAppendCallback on_appended;
                LogReadCallback on_read;
                LogPositionCallback on_position;
        };
        void *userdata;
        bool is_open;      /* Redis owes an answer */
        bool is_cancelled; /* its owner is gone */
        LogRange range;
        size_t n;
        LogAppended appended[];
};

/* Positions are exact in Lua's numbers. */
#define LAST_ID                                                               \
        "local last\n"                                                        \
        "if redis.call('EXISTS', KEYS[1]) == 1 then\n"                        \
        "  local info = redis.call('XINFO', 'STREAM', KEYS[1])\n"             \
        "  for i = 1, #info, 2 do\n"                                          \
        "    if info[i] == 'last-generated-id' then last = info[i + 1] end\n" \
        "  end\n"                                                             \
        "end\n"

/* ARGV: events at most, microseconds at most, then digest, key and event of each. An answer is a position,
 * of a duplicate a negative one. */
static const char append_script[] = LAST_ID
                "local time = redis.call('TIME')\n"
                "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
                "local ms, n = 0, 0\n"
                "if last then\n"
                "  local a, b = string.match(last, '^(%d+)-(%d+)$')\n"
                "  ms, n = tonumber(a), tonumber(b)\n"
                "end\n"
                "local function position() return (ms - 1735689600000) * 4096 + n end\n"
                "local answer = {}\n"
                "for i = 3, #ARGV, 3 do\n"
                "  local before = last and position()\n"
                "  local old_ms, old_n = ms, n\n"
                "  if now > ms then ms, n = now, 0 else n = n + 1 end\n"
                "  if n > 4095 then ms, n = ms + 1, 0 end\n"
                "  local at = string.format('%.0f', position())\n"
                "  local seen = redis.call('SET', KEYS[2] .. ARGV[i], at, 'EX', " SEEN_SEC ", 'NX', 'GET')\n"
                "  if seen then\n"
                "    ms, n = old_ms, old_n\n"
                "    answer[#answer + 1] = '-' .. seen\n"
                "  else\n"
                "    redis.call('XADD', KEYS[1], string.format('%.0f-%.0f', ms, n), 'e', ARGV[i + 2], 'k', ARGV[i + 1], "
                "'p', string.format('%.0f', before or position() - 1))\n"
                "    last = true\n"
                "    answer[#answer + 1] = at\n"
                "  end\n"
                "end\n"
                "redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', ARGV[1])\n"
                "redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f', math.max(0, now - ARGV[2])))\n"
                "return answer\n";

/* ARGV: command, from, to, events at most, bytes at most */
static const char read_script[] =
                LAST_ID "if not last then return {} end\n"
                        "local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)\n"
                        "local found = redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])\n"
                        "local left, answer = tonumber(ARGV[5]), {}\n"
                        "for i = 1, #found do\n"
                        "  if left <= 0 then break end\n"
                        "  answer[i] = found[i]\n"
                        "  left = left - #found[i][2][2]\n"
                        "end\n"
                        "return { last, oldest[1] and oldest[1][2][6] or '', answer }\n";

void volatile_id(char ret[static VOLATILE_ID_SIZE], int64_t position) {
        if (position < 0)
                position = 0;
        (void) snprintf(ret,
                        VOLATILE_ID_SIZE,
                        "%lld-%lld",
                        VOLATILE_EPOCH_MSEC + (position >> VOLATILE_SHIFT),
                        (long long) position & ((1 << VOLATILE_SHIFT) - 1));
}

int64_t volatile_position(const char *id) {
        long long msec, n;
        char *end;

        msec = strtoll(id, &end, 10);
        if (*end != '-')
                return 0;
        n = strtoll(end + 1, &end, 10);
        if (*end != '\0' || msec < VOLATILE_EPOCH_MSEC || n < 0 || n >= 1 << VOLATILE_SHIFT ||
            msec - VOLATILE_EPOCH_MSEC > INT64_MAX >> VOLATILE_SHIFT)
                return 0;

        return ((msec - VOLATILE_EPOCH_MSEC) << VOLATILE_SHIFT) + n;
}

static const char *text_of(const MamRedisReply *r) {
        size_t size;

        return mam_redis_type(r) == MAM_REDIS_STRING ? mam_redis_text(r, &size) : "";
}

/* Operations */

static int op_new(VolatileOp **ret, size_t n, void *userdata) {
        VolatileOp *op = calloc(1, sizeof(*op) + n * sizeof(op->appended[0]));

        if (!op)
                return -ENOMEM;
        op->n = n;
        op->userdata = userdata;
        *ret = op;
        return 0;
}

VolatileOp *volatile_op_free(VolatileOp *op) {
        if (!op)
                return NULL;

        op->is_cancelled = true;
        if (!op->is_open)
                free(op);
        return NULL;
}

static void on_reply(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        VolatileOp *op = userdata;

        if (op->is_cancelled) {
                free(op);
                return;
        }

        /* still open for its owner, who may free it in the callback; then it is ours */
        op->answer(op, reply, error == -ETIMEDOUT ? -ECANCELED : error);
        op->is_open = false;
        if (op->is_cancelled)
                free(op);
}

static int op_send(VolatileOp *op, Log *l, const char *const *argv, const size_t *sizes, size_t argc) {
        int r;

        if (!l->redis)
                return -ENOTCONN;
        r = mam_redis_command(l->redis, argv, sizes, argc, on_reply, op);
        if (r < 0)
                return r;
        op->is_open = true;
        return 0;
}

static void keys_of(char stream[static KEY_SIZE], char seen[static KEY_SIZE], int64_t topic) {
        (void) snprintf(stream, KEY_SIZE, "event-bus:topic:%" PRIi64, topic);
        (void) snprintf(seen, KEY_SIZE, "event-bus:seen:%" PRIi64 ":", topic);
}

/* Append */

static void on_appended(VolatileOp *op, const MamRedisReply *reply, int error) {
        if (error == 0 && (mam_redis_type(reply) != MAM_REDIS_ARRAY || mam_redis_count(reply) != op->n))
                error = -EIO;
        for (size_t i = 0; error == 0 && i < op->n; i++) {
                int64_t position = strtoll(text_of(mam_redis_item(reply, i)), NULL, 10);

                op->appended[i] = (LogAppended){
                        .position = position < 0 ? -position : position,
                        .is_duplicate = position < 0,
                };
        }

        op->on_appended(error, 0, error == 0 ? op->appended : NULL, error == 0 ? op->n : 0, op->userdata);
}

static int append_send(
                VolatileOp *op,
                Log *l,
                const Topic *t,
                const LogEntry *entries,
                size_t n,
                const char **argv,
                size_t *sizes,
                char (*digests)[LOG_DIGEST_SIZE]) {
        char stream[KEY_SIZE], seen[KEY_SIZE], events[24], msec[24];
        uint64_t retention = t->info.settings.retention_usec;
        const char *const begin[] = { "EVAL", append_script, "2", stream, seen, events, msec };
        size_t k = MAM_ELEMENTSOF(begin);
        int r;

        r = log_digests(entries, n, digests);
        if (r < 0)
                return r;

        keys_of(stream, seen, t->info.id);
        (void) snprintf(events, sizeof(events), "%" PRIu64, t->info.settings.retention_events);
        (void) snprintf(msec,
                        sizeof(msec),
                        "%" PRIu64,
                        (retention < INT64_MAX ? retention : INT64_MAX) / MAM_USEC_PER_MSEC);
        for (size_t i = 0; i < k; i++) {
                argv[i] = begin[i];
                sizes[i] = strlen(begin[i]);
        }
        for (size_t i = 0; i < n; i++) {
                argv[k] = digests[i];
                sizes[k++] = LOG_DIGEST_SIZE - 1;
                argv[k] = entries[i].key;
                sizes[k++] = strlen(entries[i].key);
                argv[k] = entries[i].text;
                sizes[k++] = entries[i].size;
        }

        return op_send(op, l, argv, sizes, k);
}

int volatile_append(
                VolatileOp **ret,
                Log *l,
                const Topic *t,
                const LogEntry *entries,
                size_t n,
                LogAppendCallback callback,
                void *userdata) {
        _cleanup_(mam_freep) const char **argv = calloc(7 + 3 * n, sizeof(*argv));
        _cleanup_(mam_freep) size_t *sizes = calloc(7 + 3 * n, sizeof(*sizes));
        _cleanup_(mam_freep) char(*digests)[LOG_DIGEST_SIZE] = calloc(n, sizeof(*digests));
        VolatileOp *op;
        int r;

        if (!argv || !sizes || !digests)
                return -ENOMEM;
        r = op_new(&op, n, userdata);
        if (r < 0)
                return r;
        op->answer = on_appended;
        op->on_appended = callback;
        r = append_send(op, l, t, entries, n, argv, sizes, digests);
        if (r < 0) {
                volatile_op_free(op);
                return r;
        }

        *ret = op;
        return 0;
}

/* Read */

static bool event_read(LogEvent *ret, const MamRedisReply *entry) {
        const MamRedisReply *fields;
        size_t size;

        if (mam_redis_type(entry) != MAM_REDIS_ARRAY || mam_redis_count(entry) != 2)
                return false;
        fields = mam_redis_item(entry, 1);
        if (mam_redis_type(fields) != MAM_REDIS_ARRAY || mam_redis_count(fields) != 6)
                return false;

        *ret = (LogEvent){
                .position = volatile_position(text_of(mam_redis_item(entry, 0))),
                .key = text_of(mam_redis_item(fields, 3)),
                .text = mam_redis_text(mam_redis_item(fields, 1), &size),
                .size = size,
        };
        ret->recorded_usec = (uint64_t) (VOLATILE_EPOCH_MSEC + (ret->position >> VOLATILE_SHIFT)) *
                             MAM_USEC_PER_MSEC;
        return true;
}

static void on_read(VolatileOp *op, const MamRedisReply *reply, int error) {
        _cleanup_(mam_freep) LogEvent *events = NULL;
        const MamRedisReply *found;
        int64_t first = 1, last = 0;
        const char *before;
        size_t n = 0;

        if (error == 0 && mam_redis_type(reply) != MAM_REDIS_ARRAY)
                error = -EIO;
        if (error == 0 && mam_redis_count(reply) == 3) {
                last = volatile_position(text_of(mam_redis_item(reply, 0)));
                before = text_of(mam_redis_item(reply, 1));
                first = before[0] ? strtoll(before, NULL, 10) + 1 : last + 1;
                found = mam_redis_item(reply, 2);
                n = mam_redis_count(found);
                events = n > 0 ? calloc(n, sizeof(*events)) : NULL;
                if (n > 0 && !events)
                        error = -ENOMEM;
                for (size_t i = 0; error == 0 && i < n; i++) {
                        if (!event_read(events + i, mam_redis_item(found, i)))
                                error = -EIO;
                }
        }

        if (error < 0) {
                op->on_read(error, NULL, 0, 0, 0, op->userdata);
        } else {
                op->on_read(0, events, n, first, last, op->userdata);
        }
}

static int read_send(VolatileOp *op, Log *l, const Topic *t) {
        const LogRange *g = &op->range;
        char stream[KEY_SIZE], seen[KEY_SIZE], id[VOLATILE_ID_SIZE], limit[24], bytes[24];
        unsigned n = g->limit > 0 && g->limit < LIMIT_MAX ? g->limit : LIMIT_MAX;
        bool newest = g->backwards && g->from <= 0;
        const char *const argv[] = {
                "EVAL",
                read_script,
                "1",
                stream,
                g->backwards ? "XREVRANGE" : "XRANGE",
                newest ? "+" : id,
                g->backwards ? "-" : "+",
                limit,
                bytes,
        };

        keys_of(stream, seen, t->info.id);
        volatile_id(id, g->from);
        (void) snprintf(limit, sizeof(limit), "%u", n);
        (void) snprintf(bytes, sizeof(bytes), "%zu", g->bytes_max > 0 ? g->bytes_max : BYTES_MAX);
        return op_send(op, l, argv, NULL, MAM_ELEMENTSOF(argv));
}

int volatile_read(
                VolatileOp **ret,
                Log *l,
                const Topic *t,
                const LogRange *range,
                LogReadCallback callback,
                void *userdata) {
        VolatileOp *op;
        int r;

        if (range->stream)
                return -EOPNOTSUPP;
        r = op_new(&op, 0, userdata);
        if (r < 0)
                return r;
        op->answer = on_read;
        op->on_read = callback;
        op->range = *range;
        r = read_send(op, l, t);
        if (r < 0) {
                volatile_op_free(op);
                return r;
        }

        *ret = op;
        return 0;
}

static void on_position(VolatileOp *op, const MamRedisReply *reply, int error) {
        int64_t position = 1;

        if (error == 0 && mam_redis_type(reply) != MAM_REDIS_ARRAY)
                error = -EIO;
        if (error == 0 && mam_redis_count(reply) == 3) {
                const MamRedisReply *found = mam_redis_item(reply, 2);

                position = mam_redis_count(found) > 0
                                           ? volatile_position(text_of(
                                                             mam_redis_item(mam_redis_item(found, 0), 0)))
                                           : volatile_position(text_of(mam_redis_item(reply, 0))) + 1;
        }

        op->on_position(error, error == 0 ? position : 0, op->userdata);
}

int volatile_position_at(
                VolatileOp **ret,
                Log *l,
                const Topic *t,
                uint64_t usec,
                LogPositionCallback callback,
                void *userdata) {
        uint64_t msec = usec / MAM_USEC_PER_MSEC + (usec % MAM_USEC_PER_MSEC > 0);
        VolatileOp *op;
        int r;

        r = op_new(&op, 0, userdata);
        if (r < 0)
                return r;
        op->answer = on_position;
        op->on_position = callback;
        op->range = (LogRange){ .limit = 1, .bytes_max = 1 };
        if (msec > (uint64_t) VOLATILE_EPOCH_MSEC) {
                msec -= (uint64_t) VOLATILE_EPOCH_MSEC;
                op->range.from = msec > INT64_MAX >> VOLATILE_SHIFT ? INT64_MAX
                                                                    : (int64_t) (msec << VOLATILE_SHIFT);
        }
        r = read_send(op, l, t);
        if (r < 0) {
                volatile_op_free(op);
                return r;
        }

        *ret = op;
        return 0;
}

static void on_deleted(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
}

void volatile_delete(Log *l, int64_t topic) {
        char stream[KEY_SIZE], seen[KEY_SIZE];
        const char *const argv[] = { "UNLINK", stream };

        keys_of(stream, seen, topic);
        if (l->redis) /* where it fails, its id is never used again, and Redis needs the memory some time */
                (void) mam_redis_command(l->redis, argv, NULL, MAM_ELEMENTSOF(argv), on_deleted, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Redis: commands with deadlines on a connection that comes back by itself
 *
 * All commands have the same time, so the oldest is always the first to expire and one timer serves all. A
 * command that expired is answered at once; its late reply, if any, is dropped. A server that stays silent
 * for SILENCE_USEC longer is taken for dead and connected anew.
 */

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/cache/redis-internal.h"
#include "libmam/util/backoff.h"
#include "libmam/util/time.h"

#define TIMEOUT_DEFAULT   (500 * MAM_USEC_PER_MSEC)
#define IN_FLIGHT_DEFAULT 1024U
#define SILENCE_USEC      (2 * MAM_USEC_PER_SEC)
#define CONNECT_USEC      (3 * MAM_USEC_PER_SEC)
#define BACKOFF_FIRST     (50 * MAM_USEC_PER_MSEC)
#define BACKOFF_LIMIT     (2 * MAM_USEC_PER_SEC)
#define ACCURACY          (1 * MAM_USEC_PER_MSEC)

typedef TAILQ_HEAD(MamRedisCommands, MamRedisCommand) MamRedisCommands;

struct MamRedisCommand {
        MamRedis *redis; /* weak; NULL: freed */
        TAILQ_ENTRY(MamRedisCommand) entry;
        MamRedisCallback callback; /* NULL: answered */
        void *userdata;
        uint64_t deadline_usec;
        bool is_auth;
};

struct MamRedis {
        sd_event *event; /* owned */
        char *address, *user, *password;
        char *channel; /* owned; NULL: not one that listens */
        MamRedisMessage on_message;
        void *on_message_userdata;
        uint64_t timeout_usec;
        unsigned in_flight_max, n_in_flight;
        MamRedisLink *link;         /* owned while not NULL */
        sd_event_source *reconnect; /* owned; back-off, or the deadline of connecting */
        sd_event_source *deadline;  /* owned; of the oldest command */
        sd_event_source *announce;  /* owned; calls on_state */
        MamRedisCommands commands;  /* in the order sent; hiredis drops them in this order */
        unsigned failures;
        bool connected, announced;
        void (*on_state)(MamRedis *r, bool connected, void *userdata);
        void *on_state_userdata;
};

static uint64_t redis_now(const MamRedis *r) {
        uint64_t now = 0;

        (void) sd_event_now(r->event, CLOCK_MONOTONIC, &now);
        return now;
}

static void timer_set(sd_event_source *s, uint64_t usec) {
        (void) sd_event_source_set_time(s, usec);
        (void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void set_connected(MamRedis *r, bool connected) {
        r->connected = connected;
        (void) sd_event_source_set_enabled(r->announce, SD_EVENT_ONESHOT);
}

/* Answers */

static const redisReply *native(const MamRedisReply *r) {
        return (const redisReply *) r;
}

static int error_of(const char *message) {
        static const char *const denied[] = { "NOPERM", "NOAUTH", "WRONGPASS" };

        for (size_t i = 0; i < MAM_ELEMENTSOF(denied); i++) {
                if (strncmp(message, denied[i], strlen(denied[i])) == 0)
                        return -EACCES;
        }

        return -EIO;
}

static void command_answer(MamRedisCommand *c, const redisReply *reply, int error, const char *message) {
        MamRedisCallback callback = c->callback;

        c->callback = NULL;
        if (callback) {
                callback(c->redis,
                         (const MamRedisReply *) (error == 0 ? reply : NULL),
                         error,
                         message,
                         c->userdata);
        }
}

static void redis_down(MamRedis *r) {
        MamRedisLink *l = MAM_TAKE(r->link);

        set_connected(r, false);
        timer_set(r->reconnect,
                  redis_now(r) + mam_backoff_usec(r->failures++, BACKOFF_FIRST, BACKOFF_LIMIT));
        mam_redis_link_close(l);
}

static void redis_settled(MamRedis *r) {
        r->failures = 0;
        (void) sd_event_source_set_enabled(r->reconnect, SD_EVENT_OFF);
        set_connected(r, true);
}

/* Entered for each message, for the confirmation, and with NULL when the connection ends. The link may
 * outlive r. */
static void on_published(redisAsyncContext *ac, void *data, void *userdata) {
        const MamRedisLink *l = ac->ev.data;
        const redisReply *reply = data;
        MamRedis *r = l && reply ? l->redis : NULL;

        if (!r)
                return;
        if (reply->type == REDIS_REPLY_ERROR) { /* may not listen there */
                redis_down(r);
                return;
        }
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 3 ||
            reply->element[0]->type != REDIS_REPLY_STRING)
                return;
        if (strcmp(reply->element[0]->str, "subscribe") == 0)
                redis_settled(r);
        else if (strcmp(reply->element[0]->str, "message") == 0 &&
                 reply->element[2]->type == REDIS_REPLY_STRING)
                r->on_message(r, reply->element[2]->str, reply->element[2]->len, r->on_message_userdata);
}

/* Nobody hears a peer that has vanished while only listening: the kernel asks after it. */
static void redis_subscribe(MamRedis *r) {
        const char *argv[2] = { "SUBSCRIBE", r->channel };

        if (r->address[0] != '/')
                (void) redisEnableKeepAlive(&r->link->ac->c);
        if (redisAsyncCommandArgv(r->link->ac, on_published, NULL, 2, argv, NULL) != REDIS_OK)
                redis_down(r);
}

/* Known to the server, as far as it wants to know. */
static void redis_admitted(MamRedis *r) {
        if (r->channel)
                redis_subscribe(r);
        else
                redis_settled(r);
}

static void redis_authenticated(MamRedis *r, const redisReply *reply) {
        if (reply->type == REDIS_REPLY_ERROR)
                redis_down(r);
        else
                redis_admitted(r);
}

/* Entered once per command, by hiredis: with its reply, or with NULL when the connection ends. The last
 * thing done is the callback, which may free everything. */
static void on_reply(redisAsyncContext *ac, void *data, void *userdata) {
        _cleanup_(mam_freep) MamRedisCommand *c = userdata;
        const redisReply *reply = data;
        MamRedis *r = c->redis;

        if (!r)
                return; /* answered by mam_redis_free() */

        TAILQ_REMOVE(&r->commands, c, entry);
        r->n_in_flight--;
        if (!reply)
                r->connected = false; /* so that the callback's next command is refused */

        if (c->is_auth) {
                if (reply)
                        redis_authenticated(r, reply);
        } else if (!reply) {
                command_answer(c, NULL, -ENOTCONN, "connection lost");
        } else if (reply->type == REDIS_REPLY_ERROR) {
                command_answer(c, NULL, error_of(reply->str), reply->str);
        } else {
                command_answer(c, reply, 0, NULL);
        }
}

/* Commands */

static int redis_send(
                MamRedis *r,
                const char *const *argv,
                const size_t *sizes,
                size_t argc,
                bool is_auth,
                MamRedisCallback callback,
                void *userdata) {
        _cleanup_(mam_freep) MamRedisCommand *c = NULL;

        if (argc == 0 || argc > INT_MAX)
                return -EINVAL;

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;

        *c = (MamRedisCommand){
                .redis = r,
                .callback = callback,
                .userdata = userdata,
                .deadline_usec = redis_now(r) + r->timeout_usec,
                .is_auth = is_auth,
        };
        if (redisAsyncCommandArgv(r->link->ac, on_reply, c, (int) argc, (const char **) argv, sizes) !=
            REDIS_OK)
                return -ENOTCONN;

        if (TAILQ_EMPTY(&r->commands))
                timer_set(r->deadline, c->deadline_usec);
        r->n_in_flight++;
        TAILQ_INSERT_TAIL(&r->commands, c, entry);
        (void) MAM_TAKE(c); /* on_reply() frees it */
        return 0;
}

int mam_redis_command(
                MamRedis *r,
                const char *const *argv,
                const size_t *sizes,
                size_t argc,
                MamRedisCallback callback,
                void *userdata) {
        assert(r);
        assert(argv);

        if (!r->connected || !r->link || r->channel)
                return -ENOTCONN;
        if (r->n_in_flight >= r->in_flight_max)
                return -EAGAIN;

        return redis_send(r, argv, sizes, argc, false, callback, userdata);
}

static MamRedisCommand *first_unanswered(MamRedis *r) {
        MamRedisCommand *c;

        TAILQ_FOREACH(c, &r->commands, entry)
        if (c->callback)
                return c;

        return NULL;
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata) {
        MamRedis *r = userdata;
        MamRedisCommand *first = TAILQ_FIRST(&r->commands), *c;
        uint64_t now = redis_now(r);

        if (!first)
                return 0; /* the next command starts it again */

        c = first_unanswered(r);
        if (c && c->deadline_usec <= now) {
                timer_set(s, now); /* once per turn for each, as the callback may free r */
                command_answer(c, NULL, -ETIMEDOUT, "no answer in time");
                return 0;
        }

        if (now >= first->deadline_usec + SILENCE_USEC) {
                redis_down(r);
        } else {
                timer_set(s, c ? c->deadline_usec : first->deadline_usec + SILENCE_USEC);
        }

        return 0;
}

/* Connection */

void mam_redis_on_connected(MamRedis *r) {
        const char *argv[3] = { "AUTH" };
        size_t argc = 1;

        if (!r->password) {
                redis_admitted(r);
                return;
        }

        if (r->user)
                argv[argc++] = r->user;
        argv[argc++] = r->password;
        if (redis_send(r, argv, NULL, argc, true, NULL, NULL) < 0)
                redis_down(r);
}

void mam_redis_on_lost(MamRedis *r) {
        r->link = NULL; /* hiredis frees it */
        redis_down(r);
}

static int on_reconnect(sd_event_source *s, uint64_t usec, void *userdata) {
        MamRedis *r = userdata;

        if (r->link) { /* connecting or authenticating took too long */
                redis_down(r);
                return 0;
        }

        timer_set(s, redis_now(r) + CONNECT_USEC);
        if (mam_redis_link_new(&r->link, r, r->event, r->address) < 0)
                redis_down(r);

        return 0;
}

static int on_announce(sd_event_source *s, void *userdata) {
        MamRedis *r = userdata;

        if (r->connected == r->announced)
                return 0;

        r->announced = r->connected;
        if (r->on_state)
                r->on_state(r, r->connected, r->on_state_userdata);
        return 0;
}

/* Life */

static int copy_text(char **ret, const char *text) {
        char *copy;

        if (!text)
                return 0;
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

static int redis_init(MamRedis *r, sd_event *event, const char *address, const MamRedisOptions *o) {
        int error;

        r->event = sd_event_ref(event);
        r->timeout_usec = o->timeout_usec ?: TIMEOUT_DEFAULT;
        r->in_flight_max = o->in_flight_max ?: IN_FLIGHT_DEFAULT;
        if (copy_text(&r->address, address) < 0 || copy_text(&r->user, o->user) < 0 ||
            copy_text(&r->password, o->password) < 0)
                return -ENOMEM;

        error = sd_event_add_time(event, &r->deadline, CLOCK_MONOTONIC, 0, ACCURACY, on_deadline, r);
        if (error < 0)
                return error;
        error = sd_event_source_set_enabled(r->deadline, SD_EVENT_OFF);
        if (error < 0)
                return error;
        error = sd_event_add_defer(event, &r->announce, on_announce, r);
        if (error < 0)
                return error;

        /* due at once: the first turn of the loop connects */
        return sd_event_add_time(event, &r->reconnect, CLOCK_MONOTONIC, 0, ACCURACY, on_reconnect, r);
}

/* hiredis writes with write(2): where nobody has decided about SIGPIPE, a lost server would end the process.
 */
static void ignore_sigpipe(void) {
        struct sigaction action;

        if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
                (void) signal(SIGPIPE, SIG_IGN);
}

int mam_redis_new(MamRedis **ret, sd_event *event, const char *address, const MamRedisOptions *options) {
        static const MamRedisOptions defaults = { 0 };
        _cleanup_(mam_redis_freep) MamRedis *r = NULL;
        int error;

        assert(ret);
        assert(event);
        assert(address);

        if (address[0] != '/' && !strchr(address, ':'))
                return -EINVAL;

        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        TAILQ_INIT(&r->commands);

        ignore_sigpipe();
        error = redis_init(r, event, address, options ?: &defaults);
        if (error < 0)
                return error;

        *ret = MAM_TAKE(r);
        return 0;
}

MamRedis *mam_redis_free(MamRedis *r) {
        MamRedisCommand *c;

        if (!r)
                return NULL;

        r->connected = false; /* callbacks must not ask anew */
        while ((c = TAILQ_FIRST(&r->commands))) {
                TAILQ_REMOVE(&r->commands, c, entry);
                command_answer(c, NULL, -ECANCELED, "the connection was closed");
                c->redis = NULL;
        }
        mam_redis_link_close(MAM_TAKE(r->link)); /* frees the commands */

        sd_event_source_disable_unref(r->reconnect);
        sd_event_source_disable_unref(r->deadline);
        sd_event_source_disable_unref(r->announce);
        sd_event_unref(r->event);
        if (r->password)
                explicit_bzero(r->password, strlen(r->password));
        free(r->password);
        free(r->channel);
        free(r->user);
        free(r->address);
        free(r);
        return NULL;
}

int mam_redis_listen(MamRedis *r, const char *channel, MamRedisMessage on_message, void *userdata) {
        assert(r);
        assert(channel);
        assert(on_message);

        if (r->channel || r->link)
                return -EALREADY;
        r->channel = strdup(channel);
        if (!r->channel)
                return -ENOMEM;
        r->on_message = on_message;
        r->on_message_userdata = userdata;
        return 0;
}

bool mam_redis_is_connected(const MamRedis *r) {
        return r && r->connected;
}

void mam_redis_set_on_state(
                MamRedis *r,
                void (*on_state)(MamRedis *r, bool connected, void *userdata),
                void *userdata) {
        assert(r);

        r->on_state = on_state;
        r->on_state_userdata = userdata;
}

/* Replies */

MamRedisType mam_redis_type(const MamRedisReply *r) {
        if (!r)
                return MAM_REDIS_NIL;

        switch (native(r)->type) {
        case REDIS_REPLY_STRING:
        case REDIS_REPLY_STATUS:
                return MAM_REDIS_STRING;
        case REDIS_REPLY_INTEGER:
                return MAM_REDIS_INTEGER;
        case REDIS_REPLY_ARRAY:
                return MAM_REDIS_ARRAY;
        default:
                return MAM_REDIS_NIL; /* also an error inside of an array: a miss */
        }
}

const char *mam_redis_text(const MamRedisReply *r, size_t *ret_size) {
        bool is_text = mam_redis_type(r) == MAM_REDIS_STRING;

        if (ret_size)
                *ret_size = is_text ? native(r)->len : 0;
        return is_text ? native(r)->str : "";
}

int64_t mam_redis_integer(const MamRedisReply *r) {
        return mam_redis_type(r) == MAM_REDIS_INTEGER ? native(r)->integer : 0;
}

size_t mam_redis_count(const MamRedisReply *r) {
        return mam_redis_type(r) == MAM_REDIS_ARRAY ? native(r)->elements : 0;
}

const MamRedisReply *mam_redis_item(const MamRedisReply *r, size_t i) {
        return i < mam_redis_count(r) ? (const MamRedisReply *) native(r)->element[i] : NULL;
}

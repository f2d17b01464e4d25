/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Publishing in one's own transaction
 */

#include <assert.h>

#include "libmam/events/events.h"

/* Twice is harmless: the log knows an event by its source and id. */
static const MamPgStatement publish = {
        .name = "mam_event_publish",
        .sql = "SELECT event_bus.publish($1, $2)",
        .idempotent = true,
};

MamPublication mam_event_publish(const char *topic, const MamEvent *e) {
        assert(topic);
        assert(e);

        return (MamPublication){
                .statement = &publish,
                .parameters = { topic, mam_event_text(e, NULL) },
                .n_parameters = 2,
        };
}

static void on_rung(
                MamRedis *redis,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        /* nobody waits for it: the relay looks by itself, too */
}

void mam_event_wake(MamRedis *redis) {
        static const char *const argv[] = { "PUBLISH", MAM_EVENT_BELL, "outbox" };

        if (redis)
                (void) mam_redis_command(redis, argv, NULL, MAM_ELEMENTSOF(argv), on_rung, NULL);
}

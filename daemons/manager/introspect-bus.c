/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * --bus-introspect
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <utlist.h>

#include "manager/introspect.h"
#include "manager/job.h"
#include "manager/manager.h"
#include "manager/rollout-internal.h"

#define WAIT_USEC (5 * MAM_USEC_PER_SEC)

typedef struct Question {
        char *xml; /* owned */
        int error;
        bool answered;
} Question;

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        Question *q = userdata;
        const char *xml;
        int r;

        q->answered = true;
        if (sd_bus_message_is_method_error(reply, NULL)) {
                q->error = -sd_bus_message_get_errno(reply);
                return 0;
        }
        r = sd_bus_message_read(reply, "s", &xml);
        if (r < 0) {
                q->error = r;
                return 0;
        }
        q->xml = strdup(xml);
        q->error = q->xml ? 0 : -ENOMEM;
        return 0;
}

static int connect_pair(sd_event *event, sd_bus **ret_server, sd_bus **ret_client) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *server = NULL, *client = NULL;
        const sd_id128_t id = SD_ID128_MAKE(0d, e5, 1c, 77, 01, ad, 4e, 5d, 8e, 0e, 0c, 4b, 7b, 2a, 5c, 11);
        int fds[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;

        r = sd_bus_new(&server);
        if (r >= 0)
                r = sd_bus_set_fd(server, fds[0], fds[0]);
        if (r < 0) {
                close(fds[0]);
                close(fds[1]);
                return r;
        }
        r = sd_bus_new(&client);
        if (r >= 0)
                r = sd_bus_set_fd(client, fds[1], fds[1]);
        if (r < 0) {
                close(fds[1]);
                return r;
        }

        r = sd_bus_set_server(server, true, id);
        if (r >= 0)
                r = sd_bus_start(server);
        if (r >= 0)
                r = sd_bus_attach_event(server, event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_start(client);
        if (r >= 0)
                r = sd_bus_attach_event(client, event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;

        *ret_server = MAM_TAKE(server);
        *ret_client = MAM_TAKE(client);
        return 0;
}

/* One object of each kind. */
static int add_samples(Manager *m) {
        static char id[] = "sample";
        static const MamServiceConfig config = { .id = id, .name = id, .probe = MAM_PROBE_TCP };
        JobMember *members;
        Service *s;
        Job *job;
        int r;

        r = service_new(&s, m, NULL, &config);
        if (r < 0)
                return r;
        DL_APPEND(m->services, s);
        if (!service_replica(s, 1))
                return -ENOMEM;

        s->rollout = calloc(1, sizeof(*s->rollout));
        if (!s->rollout)
                return -ENOMEM;
        s->rollout->manager = m;
        s->rollout->service = s;
        s->rollout->id = 1;

        members = calloc(1, sizeof(*members));
        if (!members)
                return -ENOMEM;
        r = job_new(&job, m, JOB_START, id, members, 0);
        if (r < 0)
                free(members);
        return r;
}

int introspect(char **ret, const char *path) {
        const ManagerOptions options = { .state_path = "/nonexistent" }; /* no configuration, no state */
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *server = NULL, *client = NULL;
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(manager_freep) Manager *m = NULL;
        Question q = { .xml = NULL };
        int r;

        assert(ret);
        assert(path);

        if (!sd_bus_object_path_is_valid(path))
                return -EINVAL;

        r = sd_event_new(&event);
        if (r >= 0)
                r = connect_pair(event, &server, &client);
        if (r >= 0)
                r = manager_new(&m, event, server, &options);
        if (r >= 0)
                r = manager_export(m);
        if (r >= 0)
                r = add_samples(m);
        if (r >= 0) {
                r = sd_bus_call_method_async(
                                client,
                                NULL,
                                NULL,
                                path,
                                "org.freedesktop.DBus.Introspectable",
                                "Introspect",
                                on_answer,
                                &q,
                                NULL);
        }
        while (r >= 0 && !q.answered) {
                r = sd_event_run(event, WAIT_USEC);
                if (r == 0)
                        r = -ETIMEDOUT;
        }
        if (r >= 0)
                r = q.error;
        if (r < 0) {
                free(q.xml);
                return r;
        }

        *ret = q.xml;
        return 0;
}

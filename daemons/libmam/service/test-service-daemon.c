/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A small daemon on libmam/service: what test-service drives from outside
 */

#include <string.h>

#include "libmam/obs/log.h"
#include "libmam/service/service.h"
#include "libmam/util/time.h"

typedef struct Daemon {
        MamService *service;
        sd_event_source *setup_timer;
} Daemon;

static int handle_hello(MamHttpExchange *x, void *userdata) {
        char text[256];
        int n;

        n = snprintf(text,
                     sizeof(text),
                     "hello %s from %s:%u\n",
                     mam_route_parameter(x, "name"),
                     mam_service_id(((Daemon *) userdata)->service),
                     mam_service_replica(((Daemon *) userdata)->service));
        return mam_http_exchange_respond(x, 200, "text/plain", text, (size_t) n);
}

static int handle_whoami(MamHttpExchange *x, void *userdata) {
        const MamIdentity *i = mam_service_identity(x);
        char text[512];

        snprintf(text, sizeof(text), "%s", i->authenticated ? i->subject : "nobody");
        for (size_t k = 0; k < i->n_roles; k++) {
                strncat(text, k == 0 ? " " : ",", sizeof(text) - strlen(text) - 1);
                strncat(text, i->roles[k], sizeof(text) - strlen(text) - 1);
        }
        return mam_http_exchange_respond(x, 200, "text/plain", text, strlen(text));
}

/* Answers after a while, as a handler that waits for a database does. Both userdata slots of the exchange
 * are used. */
static int on_slow_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        return mam_http_exchange_respond(userdata, 200, "text/plain", "slow\n", 5);
}

static void on_slow_done(MamHttpExchange *x, void *userdata) {
        sd_event_source_disable_unref(mam_http_exchange_userdata(x));
}

static int handle_slow(MamHttpExchange *x, void *userdata) {
        sd_event_source *timer = NULL;
        int r;

        r = sd_event_add_time_relative(
                        mam_service_event(((Daemon *) userdata)->service),
                        &timer,
                        CLOCK_MONOTONIC,
                        30 * MAM_USEC_PER_MSEC,
                        1,
                        on_slow_timer,
                        x);
        if (r < 0)
                return r;
        mam_http_exchange_set_userdata(x, timer);
        mam_http_exchange_set_on_done(x, on_slow_done, NULL);
        return 0;
}

static int handle_broken(MamHttpExchange *x, void *userdata) {
        return -EIO;
}

static int handle_away(MamHttpExchange *x, void *userdata) {
        bool away = strcmp(mam_http_exchange_method(x), "POST") == 0;

        mam_service_set_not_ready(
                        ((Daemon *) userdata)->service,
                        "thing",
                        away ? "the thing is away" : NULL);
        return mam_http_exchange_respond(x, 204, NULL, NULL, 0);
}

static int on_setup_done(sd_event_source *source, uint64_t usec, void *userdata) {
        Daemon *d = userdata;

        mam_service_set_status(d->service, "Doing %s", "fine");
        return mam_service_ready(d->service);
}

static void teardown(void *userdata) {
        Daemon *d = userdata;

        sd_event_source_disable_unref(d->setup_timer);
        free(d);
        mam_notice("torn down");
}

static int setup(MamService *s, void **ret) {
        const char *delay = getenv("TEST_SETUP_MSEC"), *fail = getenv("TEST_SETUP_FAIL");
        Daemon *d;
        int r;

        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        d->service = s;
        r = sd_event_add_time_relative(
                        mam_service_event(s),
                        &d->setup_timer,
                        CLOCK_MONOTONIC,
                        (uint64_t) atoi(delay ? delay : "0") * MAM_USEC_PER_MSEC,
                        1,
                        on_setup_done,
                        d);
        if (r < 0) {
                free(d);
                return r;
        }
        if (fail)
                mam_service_fail(s, -EACCES, "Cannot open the %s", fail);
        *ret = d;
        return 0;
}

static const MamRoute routes[] = {
        { .method = "GET", .path = "/hello/{name}", .handler = handle_hello, .anonymous = true },
        { .method = "GET", .path = "/slow", .handler = handle_slow, .anonymous = true },
        { .method = "GET", .path = "/open", .handler = handle_whoami, .anonymous = true },
        { .method = "GET", .path = "/whoami", .handler = handle_whoami },
        { .method = "GET", .path = "/editors", .handler = handle_whoami, .role = "editor" },
        { .method = "GET", .path = "/broken", .handler = handle_broken, .anonymous = true },
        { .method = "POST", .path = "/away", .handler = handle_away, .anonymous = true },
        { .method = "DELETE", .path = "/away", .handler = handle_away, .anonymous = true },
        { 0 },
};

int main(int argc, char **argv) {
        static const MamServiceInfo info = { .id = "test",
                                             .routes = routes,
                                             .setup = setup,
                                             .teardown = teardown };

        return mam_service_run(argc, argv, &info);
}

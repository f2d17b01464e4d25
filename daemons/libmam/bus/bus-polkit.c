/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Asking polkit, without waiting
 */

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-event.h>
#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/bus/bus-polkit.h"
#include "libmam/util/time.h"

/* With interaction somebody types a password; without, polkitd only reads its rules. */
#define TIMEOUT_INTERACTIVE_USEC (5ULL * 60 * MAM_USEC_PER_SEC)
#define TIMEOUT_USEC             (25 * MAM_USEC_PER_SEC)

#define DETAILS_MAX 8U

typedef struct Check Check;

struct Check {
        MamPolkit *polkit;              /* weak: the registry owns us */
        sd_bus_message *message;        /* owned; the parked call */
        sd_bus_slot *slot;              /* owned; the question under way */
        sd_event_source *expiry;        /* owned; runs if nobody collected the answer */
        char *action;                   /* owned */
        char *details[DETAILS_MAX + 1]; /* owned */
        bool answered;
        bool allowed, challenge;
        sd_bus_error failure; /* owned; set where the question itself went wrong */
        Check *prev, *next;
};

struct MamPolkit {
        sd_bus *bus;   /* owned */
        Check *checks; /* owned */
        unsigned n_checks;
};

int mam_polkit_new(MamPolkit **ret, sd_bus *bus) {
        MamPolkit *p;

        assert(ret);
        assert(bus);

        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;

        p->bus = sd_bus_ref(bus);
        *ret = p;
        return 0;
}

static Check *check_free(Check *c) {
        if (!c)
                return NULL;

        if (c->polkit) {
                DL_DELETE(c->polkit->checks, c);
                c->polkit->n_checks--;
        }
        sd_event_source_disable_unref(c->expiry);
        sd_bus_slot_unref(c->slot);
        sd_bus_message_unref(c->message);
        sd_bus_error_free(&c->failure);
        free(c->action);
        for (size_t i = 0; i < DETAILS_MAX; i++)
                free(c->details[i]);
        free(c);
        return NULL;
}

MAM_DEFINE_CLEANUP(Check, check_free);

MamPolkit *mam_polkit_free(MamPolkit *p) {
        if (!p)
                return NULL;

        while (p->checks) {
                (void) sd_bus_reply_method_errorf(p->checks->message, MAM_BUS_ERROR_CANCELLED, "Cancelled");
                check_free(p->checks);
        }
        sd_bus_unref(p->bus);
        free(p);
        return NULL;
}

static const char *sender_of(sd_bus_message *message) {
        const char *sender = sd_bus_message_get_sender(message);

        return sender ? sender : "";
}

static bool check_is_about(const Check *c, const char *action, const char *const *details) {
        size_t i = 0;

        if (strcmp(c->action, action) != 0)
                return false;
        for (; details && details[i]; i++) {
                if (i >= DETAILS_MAX || !c->details[i] || strcmp(c->details[i], details[i]) != 0)
                        return false;
        }
        return !c->details[i];
}

static int check_new(Check **ret, sd_bus_message *message, const char *action, const char *const *details) {
        _cleanup_(check_freep) Check *c = NULL;

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;

        c->message = sd_bus_message_ref(message);
        c->action = strdup(action);
        if (!c->action)
                return -ENOMEM;
        for (size_t i = 0; details && details[i]; i++) {
                assert(i < DETAILS_MAX);
                c->details[i] = strdup(details[i]);
                if (!c->details[i])
                        return -ENOMEM;
        }

        *ret = MAM_TAKE(c);
        return 0;
}

/* The handler did not come back for the answer: it changed its mind about the action, or the message was
 * dropped. */
static int on_expired(sd_event_source *source, void *userdata) {
        check_free(userdata);
        return 0;
}

/* Runs the parked handler again. If even that fails the caller hears so from here. */
static void check_answered(Check *c) {
        sd_event *event = sd_bus_get_event(c->polkit->bus);
        int r;

        c->answered = true;
        c->slot = sd_bus_slot_unref(c->slot);

        r = sd_bus_enqueue_for_read(c->polkit->bus, c->message);
        if (r >= 0 && event) {
                r = sd_event_add_defer(event, &c->expiry, on_expired, c);
                if (r >= 0) /* after the bus has emptied its queue */
                        r = sd_event_source_set_priority(c->expiry, SD_EVENT_PRIORITY_NORMAL + 1);
                if (r >= 0)
                        return;
                return; /* the message is queued: the check is freed when it is collected */
        }
        if (r < 0) {
                (void) sd_bus_reply_method_errno(c->message, r, NULL);
                check_free(c);
        }
}

static int on_sender_uid(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        Check *c = userdata;
        uint32_t uid;

        if (!sd_bus_message_is_method_error(reply, NULL) && sd_bus_message_read(reply, "u", &uid) >= 0)
                c->allowed = uid == 0;
        check_answered(c);
        return 1;
}

/* There is no polkit: the bus itself knows who root is. */
static int ask_for_uid(Check *c) {
        c->slot = sd_bus_slot_unref(c->slot);
        return sd_bus_call_method_async(
                        c->polkit->bus,
                        &c->slot,
                        "org.freedesktop.DBus",
                        "/org/freedesktop/DBus",
                        "org.freedesktop.DBus",
                        "GetConnectionUnixUser",
                        on_sender_uid,
                        c,
                        "s",
                        sender_of(c->message));
}

static int on_polkit_reply(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        Check *c = userdata;
        const sd_bus_error *e;
        int allowed, challenge, r;

        e = sd_bus_message_get_error(reply);
        if (sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
            sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
            sd_bus_error_has_name(e, "org.freedesktop.systemd1.NoSuchUnit")) {
                r = ask_for_uid(c);
                if (r >= 0)
                        return 1;
                check_answered(c); /* not allowed */
                return 1;
        }
        if (e) {
                (void) sd_bus_error_copy(&c->failure, e);
        } else {
                r = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
                if (r >= 0)
                        r = sd_bus_message_read(reply, "bb", &allowed, &challenge);
                if (r < 0) {
                        sd_bus_error_set_errno(&c->failure, r);
                } else {
                        c->allowed = allowed;
                        c->challenge = challenge;
                }
        }
        check_answered(c);
        return 1;
}

static int check_ask(Check *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        bool interactive = sd_bus_message_get_allow_interactive_authorization(c->message) > 0;
        int r;

        r = sd_bus_message_new_method_call(
                        c->polkit->bus,
                        &m,
                        "org.freedesktop.PolicyKit1",
                        "/org/freedesktop/PolicyKit1/Authority",
                        "org.freedesktop.PolicyKit1.Authority",
                        "CheckAuthorization");
        if (r < 0)
                return r;

        r = sd_bus_message_append(
                        m,
                        "(sa{sv})s",
                        "system-bus-name",
                        1,
                        "name",
                        "s",
                        sender_of(c->message),
                        c->action);
        if (r < 0)
                return r;

        r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (size_t i = 0; r >= 0 && i + 1 < DETAILS_MAX && c->details[i]; i += 2)
                r = sd_bus_message_append(m, "{ss}", c->details[i], c->details[i + 1]);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_message_append(m, "us", (uint32_t) interactive, "");
        if (r < 0)
                return r;

        return sd_bus_call_async(
                        c->polkit->bus,
                        &c->slot,
                        m,
                        on_polkit_reply,
                        c,
                        interactive ? TIMEOUT_INTERACTIVE_USEC : TIMEOUT_USEC);
}

/* The second pass: what polkit said. */
static int check_result(const Check *c, sd_bus_error *error) {
        if (sd_bus_error_is_set(&c->failure)) {
                return sd_bus_error_setf(
                                error,
                                SD_BUS_ERROR_ACCESS_DENIED,
                                "polkit could not be asked: %s",
                                c->failure.message);
        }
        if (c->allowed)
                return 1;
        if (c->challenge) {
                return sd_bus_error_setf(
                                error,
                                SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                                "Interactive authorization is required for %s",
                                c->action);
        }
        return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED, "Not authorized for %s", c->action);
}

int mam_polkit_check(
                MamPolkit *p,
                sd_bus_message *message,
                const char *action,
                const char *const *details,
                sd_bus_error *error) {
        _cleanup_(check_freep) Check *c = NULL;
        unsigned n_sender = 0;
        Check *i;
        int r;

        assert(p);
        assert(message);
        assert(action);

        DL_FOREACH(p->checks, i) {
                if (i->message == message) {
                        c = i; /* collected: freed on return, with any answer */
                        break;
                }
                if (strcmp(sender_of(i->message), sender_of(message)) == 0)
                        n_sender++;
        }

        if (c) {
                if (!c->answered || !check_is_about(c, action, details)) {
                        return sd_bus_error_setf(
                                        error,
                                        SD_BUS_ERROR_ACCESS_DENIED,
                                        "The question has changed");
                }
                return check_result(c, error);
        }

        if (n_sender >= MAM_POLKIT_CHECKS_PER_SENDER || p->n_checks >= MAM_POLKIT_CHECKS_MAX) {
                return sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_QUOTA,
                                "Too many calls wait for authorization");
        }

        r = check_new(&c, message, action, details);
        if (r < 0)
                return r;

        c->polkit = p;
        DL_APPEND(p->checks, c);
        p->n_checks++;

        r = check_ask(c);
        if (r < 0)
                return r;

        (void) MAM_TAKE(c); /* the registry owns it until the second pass */
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tokens for the HTTP APIs
 */

#include <pwd.h>
#include <string.h>

#include "libmam/util/time.h"
#include "mamctl/verbs.h"

#define TTL_DEFAULT_USEC (3600 * MAM_USEC_PER_SEC) /* what the manager takes 0 for */

/* Whoever sits there: with sudo the person, not root. Borrowed. */
static const char *default_subject(void) {
        const char *sudo = getenv("SUDO_USER");
        const struct passwd *p;

        if (geteuid() == 0 && sudo && *sudo)
                return sudo;
        p = getpwuid(getuid());
        return p ? p->pw_name : "nobody";
}

/* "a,b" as well as one by one. */
static int append_roles(sd_bus_message *m, const Invocation *i) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "s");
        if (r < 0)
                return r;

        for (size_t n = 0; n < i->n_roles; n++) {
                _cleanup_(mam_freep) char *list = strdup(i->roles[n]);
                char *rest = list;
                const char *role;

                if (!list)
                        return -ENOMEM;
                while ((role = strsep(&rest, ","))) {
                        if (!*role)
                                return -EINVAL;
                        r = sd_bus_message_append(m, "s", role);
                        if (r < 0)
                                return r;
                }
        }
        return sd_bus_message_close_container(m);
}

static ExitCode print_token(Client *c, const char *token, const char *subject) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        uint64_t ttl = c->invocation->ttl_usec;

        if (!c->invocation->json) {
                puts(token);
                return EXIT_CODE_OK;
        }

        o = json_object_new_object();
        if (!o)
                return client_explain(c, NULL, -ENOMEM, NULL);
        json_object_object_add(o, "token", json_object_new_string(token));
        json_object_object_add(o, "subject", json_object_new_string(subject));
        json_object_object_add(
                        o,
                        "ttl_seconds",
                        json_object_new_uint64((ttl > 0 ? ttl : TTL_DEFAULT_USEC) / MAM_USEC_PER_SEC));
        return client_print_json(c, o);
}

ExitCode verb_token(Client *c) {
        const char *token, *subject = c->invocation->subject ? c->invocation->subject : default_subject();
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        ExitCode e;
        int r;

        e = client_new_call(c, &m, "IssueToken");
        if (e != EXIT_CODE_OK)
                return e;

        r = sd_bus_message_append(m, "s", subject);
        if (r >= 0)
                r = append_roles(m, c->invocation);
        if (r == -EINVAL) {
                client_complain(c, "--role: an empty role.");
                return EXIT_CODE_USAGE;
        }
        if (r >= 0)
                r = sd_bus_message_append(m, "tt", c->invocation->ttl_usec, UINT64_C(0));
        if (r < 0)
                return client_explain(c, NULL, r, NULL);

        e = client_send(c, m, true, &reply);
        if (e != EXIT_CODE_OK)
                return e;

        r = sd_bus_message_read(reply, "s", &token);
        return r < 0 ? client_bad_reply(c, r) : print_token(c, token, subject);
}

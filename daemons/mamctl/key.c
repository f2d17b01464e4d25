/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * API keys
 */

#include <string.h>

#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/format-table.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

#define GRACE_DEFAULT_USEC (24ULL * 3600 * MAM_USEC_PER_SEC)

/* "a,b" as well as one by one. -EINVAL: an empty one. */
static int append_names(sd_bus_message *m, const char *const *lists, size_t n) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "s");
        for (size_t i = 0; r >= 0 && i < n; i++) {
                _cleanup_(mam_freep) char *list = strdup(lists[i]);
                char *rest = list;
                const char *name;

                if (!list)
                        return -ENOMEM;
                while (r >= 0 && (name = strsep(&rest, ",")))
                        r = *name ? sd_bus_message_append(m, "s", name) : -EINVAL;
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* The key alone goes to stdout: it can be given to a file. */
static ExitCode print_key(Client *c, const char *id, const char *key) {
        _cleanup_(json_object_putp) json_object *o = NULL;

        if (!c->invocation->json) {
                puts(key);
                return EXIT_CODE_OK;
        }
        o = json_object_new_object();
        if (!o)
                return client_explain(c, NULL, -ENOMEM, NULL);
        json_object_object_add(o, "id", json_object_new_string(id));
        json_object_object_add(o, "key", json_object_new_string(key));
        return client_print_json(c, o);
}

static ExitCode key_create(Client *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const Invocation *i = c->invocation;
        const char *id, *key;
        ExitCode e;
        int r;

        e = client_new_call(c, &m, "CreateKey");
        if (e != EXIT_CODE_OK)
                return e;
        r = sd_bus_message_append(m, "ss", i->arguments[1], i->subject ? i->subject : "");
        if (r >= 0)
                r = append_names(m, i->roles, i->n_roles);
        if (r == -EINVAL) {
                client_complain(c, "--role: an empty role.");
                return EXIT_CODE_USAGE;
        }
        if (r >= 0)
                r = append_names(m, i->scopes, i->n_scopes);
        if (r == -EINVAL) {
                client_complain(c, "--scope: an empty scope.");
                return EXIT_CODE_USAGE;
        }
        if (r >= 0)
                r = sd_bus_message_append(m, "tt", i->ttl_usec, UINT64_C(0));
        if (r < 0)
                return client_explain(c, NULL, r, NULL);

        e = client_send(c, m, true, &reply);
        if (e != EXIT_CODE_OK)
                return e;
        r = sd_bus_message_read(reply, "ss", &id, &key);
        return r < 0 ? client_bad_reply(c, r) : print_key(c, id, key);
}

static ExitCode key_rotate(Client *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const Invocation *i = c->invocation;
        uint64_t grace = invocation_has(i, OPTION_GRACE) ? i->grace_usec : GRACE_DEFAULT_USEC;
        const char *key;
        ExitCode e;
        int r;

        e = client_act(c, &reply, "RotateKey", "stt", i->arguments[1], grace, UINT64_C(0));
        if (e != EXIT_CODE_OK)
                return e;
        r = sd_bus_message_read(reply, "s", &key);
        return r < 0 ? client_bad_reply(c, r) : print_key(c, i->arguments[1], key);
}

static ExitCode key_revoke(Client *c) {
        const char *id = c->invocation->arguments[1];
        ExitCode e;

        e = client_act(c, NULL, "RevokeKey", "st", id, UINT64_C(0));
        if (e == EXIT_CODE_OK)
                client_say(c, "Key %s is revoked.", id);
        return e;
}

/* ---- list ---- */

static int read_names(sd_bus_message *m, json_object *to, const char *key) {
        json_object *array = json_object_new_array();
        const char *name;
        int r;

        if (!array || json_object_object_add(to, key, array) < 0) {
                json_object_put(array);
                return -ENOMEM;
        }
        r = sd_bus_message_enter_container(m, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read(m, "s", &name)) > 0)
                if (json_object_array_add(array, json_object_new_string(name)) < 0)
                        return -ENOMEM;
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* One more in the list, or 0 behind its end. */
static int read_key(sd_bus_message *m, json_object *list) {
        static const char *const times[] = { "created_usec",
                                             "expires_usec",
                                             "previous_until_usec",
                                             "used_usec",
                                             "uses" };
        _cleanup_(json_object_putp) json_object *o = NULL;
        const char *id, *name, *subject;
        int r;

        r = sd_bus_message_enter_container(m, 'r', "sssasasttttt");
        if (r <= 0)
                return r;
        o = json_object_new_object();
        if (!o)
                return -ENOMEM;
        r = sd_bus_message_read(m, "sss", &id, &name, &subject);
        if (r < 0)
                return r;
        json_object_object_add(o, "id", json_object_new_string(id));
        json_object_object_add(o, "name", json_object_new_string(name));
        json_object_object_add(o, "subject", json_object_new_string(subject));
        r = read_names(m, o, "roles");
        if (r >= 0)
                r = read_names(m, o, "scopes");
        for (size_t i = 0; r >= 0 && i < MAM_ELEMENTSOF(times); i++) {
                uint64_t n;

                r = sd_bus_message_read(m, "t", &n);
                if (r >= 0)
                        json_object_object_add(o, times[i], json_object_new_uint64(n));
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        return json_object_array_add(list, MAM_TAKE(o)) < 0 ? -ENOMEM : 1;
}

static void add_names(Table *t, json_object *row, const char *key) {
        json_object *list = json_member(row, key);
        char text[256] = "";
        size_t n = 0;

        for (size_t i = 0; i < json_length(list) && n < sizeof(text); i++)
                n += (size_t) snprintf(
                                text + n,
                                sizeof(text) - n,
                                "%s%s",
                                i > 0 ? "," : "",
                                json_object_get_string(json_object_array_get_idx(list, i)));
        table_add(t, COLOUR_NONE, "%s", *text ? text : "-");
}

static void add_when(Table *t, uint64_t usec, uint64_t now) {
        char length[48];

        if (usec == 0) {
                table_add(t, COLOUR_GREY, "never");
                return;
        }
        text_format_seconds(length, usec > now ? usec - now : now - usec);
        table_add(t, COLOUR_NONE, "%s%s%s", usec > now ? "in " : "", length, usec > now ? "" : " ago");
}

static ExitCode print_list(Client *c, json_object *list) {
        static const TableColumn columns[] = {
                { "ID", false, false },   { "NAME", false, true },   { "SUBJECT", false, true },
                { "ROLES", false, true }, { "SCOPES", false, true }, { "EXPIRES", true, false },
                { "USED", true, false },  { "USES", true, false },
        };
        _cleanup_(table_freep) Table *t = NULL;
        uint64_t now = mam_now_realtime();
        int r;

        if (json_length(list) == 0) {
                client_say(c, "There are no API keys. 'mamctl key create NAME' makes one.");
                return EXIT_CODE_OK;
        }
        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);
        for (size_t i = 0; i < json_length(list); i++) {
                json_object *row = json_object_array_get_idx(list, i);
                uint64_t previous = json_number(row, "previous_until_usec");

                table_add(t, COLOUR_NONE, "%s", json_text(row, "id"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "name"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "subject"));
                add_names(t, row, "roles");
                add_names(t, row, "scopes");
                add_when(t, json_number(row, "expires_usec"), now);
                add_when(t, json_number(row, "used_usec"), now);
                table_add(t, COLOUR_NONE, "%llu", (unsigned long long) json_number(row, "uses"));
                if (previous > now) {
                        char length[48];

                        text_format_seconds(length, previous - now);
                        table_add_line(t, 2, COLOUR_GREY, "the secret before it holds for %s more", length);
                }
        }
        r = table_print(t, stdout, c->terminal.columns, c->terminal.out_colour);
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

static ExitCode key_list(Client *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(json_object_putp) json_object *list = NULL;
        ExitCode e;
        int r;

        e = client_act(c, &reply, "ListKeys", "");
        if (e != EXIT_CODE_OK)
                return e;
        list = json_object_new_array();
        if (!list)
                return client_explain(c, NULL, -ENOMEM, NULL);
        r = sd_bus_message_enter_container(reply, 'a', "(sssasasttttt)");
        while (r >= 0 && (r = read_key(reply, list)) > 0)
                ;
        if (r == -ENOMEM)
                return client_explain(c, NULL, r, NULL);
        if (r < 0)
                return client_bad_reply(c, r);
        return c->invocation->json ? client_print_json_list(c, "keys", list) : print_list(c, list);
}

ExitCode verb_key(Client *c) {
        const Invocation *i = c->invocation;
        const char *what = i->arguments[0];
        bool is_list = strcmp(what, "list") == 0;

        if (is_list != (i->n_arguments == 1)) {
                if (is_list)
                        client_complain(c, "key list takes nothing more.");
                else
                        client_complain(c,
                                        "key %s needs %s.",
                                        what,
                                        strcmp(what, "create") == 0
                                                        ? "a name for the key"
                                                        : "the id of the key; see 'mamctl key list'");
                return EXIT_CODE_USAGE;
        }
        if (is_list)
                return key_list(c);
        if (strcmp(what, "create") == 0)
                return key_create(c);
        return strcmp(what, "rotate") == 0 ? key_rotate(c) : key_revoke(c);
}

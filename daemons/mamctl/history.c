/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The revisions of a service, and how two of them differ
 */

#include <string.h>

#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/diff.h"
#include "mamctl/format-table.h"
#include "mamctl/revisions.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

#define CONTEXT 3

static ExitCode print_history(Client *c, json_object *list) {
        static const TableColumn columns[] = {
                { "REVISION", false, false }, { "VERSION", false, true }, { "STATUS", false, false },
                { "DEPLOYED", true, false },  { "WHY", false, true },
        };
        _cleanup_(table_freep) Table *t = NULL;
        uint64_t now = mam_now_realtime();
        int r;

        if (json_length(list) == 0) {
                client_say(c, "It was never deployed: it runs what is configured.");
                return EXIT_CODE_OK;
        }

        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);
        for (size_t i = 0; i < json_length(list); i++) {
                json_object *row = json_object_array_get_idx(list, i);
                const char *version = json_text(row, "version"), *status = json_text(row, "status");
                uint64_t deployed = json_number(row, "deployed_usec");
                char ago[48] = "";

                if (deployed > 0 && deployed <= now)
                        text_format_seconds(ago, now - deployed);
                table_add(t, COLOUR_NONE, "%s", json_text(row, "revision"));
                table_add(t, COLOUR_NONE, "%s", *version ? version : "-");
                table_add(t, colour_of_state(status), "%s", status);
                table_add(t, COLOUR_NONE, "%s%s", ago, *ago ? " ago" : "");
                table_add(t, COLOUR_NONE, "%s", json_text(row, "reason"));
        }
        r = table_print(t, stdout, c->terminal.columns, c->terminal.out_colour);
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

/* "0123456789ab (version 2)" */
static int revision_title(char **ret, json_object *row) {
        const char *version = json_text(row, "version");

        if (asprintf(ret,
                     "%s%s%s%s",
                     json_text(row, "revision"),
                     *version ? " (version " : "",
                     version,
                     *version ? ")" : "") < 0) {
                *ret = NULL;
                return -ENOMEM;
        }
        return 0;
}

static int make_diff(char **ret, json_object *from, json_object *to) {
        _cleanup_(mam_freep) char *a = NULL, *b = NULL, *name_a = NULL, *name_b = NULL;
        int r;

        r = diff_canonical(&a, json_member(from, "definition"));
        if (r >= 0)
                r = diff_canonical(&b, json_member(to, "definition"));
        if (r >= 0)
                r = revision_title(&name_a, from);
        if (r >= 0)
                r = revision_title(&name_b, to);
        return r < 0 ? r : diff_unified(ret, a, b, name_a, name_b, CONTEXT);
}

static Colour colour_of_line(const char *line) {
        if (strncmp(line, "---", 3) == 0 || strncmp(line, "+++", 3) == 0)
                return COLOUR_BOLD;
        if (*line == '-')
                return COLOUR_RED;
        if (*line == '+')
                return COLOUR_GREEN;
        return *line == '@' ? COLOUR_GREY : COLOUR_NONE;
}

static ExitCode print_diff(Client *c, char *text) {
        char *line;

        if (!*text)
                client_say(c, "They are the same.");
        while (*text && (line = strsep(&text, "\n"))) {
                _cleanup_(mam_freep) char *clean = text_clean(line);
                Colour colour = colour_of_line(line);

                if (!clean)
                        return client_explain(c, NULL, -ENOMEM, NULL);
                printf("%s%s%s\n",
                       colour_start(c->terminal.out_colour, colour),
                       clean,
                       colour_end(c->terminal.out_colour, colour));
                if (!text)
                        break;
        }
        return EXIT_CODE_OK;
}

static ExitCode show_diff(Client *c, json_object *list) {
        const char *service = c->invocation->arguments[0], *other = c->invocation->arguments[1];
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *from = NULL, *to = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        ExitCode e;
        int r;

        e = revisions_resolve(c, list, service, c->invocation->diff, &from);
        if (e == EXIT_CODE_OK && other)
                e = revisions_resolve(c, list, service, other, &to);
        if (e != EXIT_CODE_OK)
                return e;
        if (!other)
                to = revisions_with_status(list, "current");
        if (!to) {
                client_complain(c,
                                "%s has no current revision. Name two: mamctl history %s --diff %s REVISION.",
                                service,
                                service,
                                c->invocation->diff);
                return EXIT_CODE_FAILURE;
        }

        r = make_diff(&text, from, to);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);
        if (!c->invocation->json)
                return print_diff(c, text);

        o = json_object_new_object();
        if (!o)
                return client_explain(c, NULL, -ENOMEM, NULL);
        json_object_object_add(o, "service", json_object_new_string(service));
        json_object_object_add(o, "from", json_object_new_string(json_text(from, "revision")));
        json_object_object_add(o, "to", json_object_new_string(json_text(to, "revision")));
        json_object_object_add(o, "diff", json_object_new_string(text));
        return client_print_json(c, o);
}

ExitCode verb_history(Client *c) {
        const Invocation *i = c->invocation;
        _cleanup_(json_object_putp) json_object *list = NULL, *o = NULL;
        ExitCode e;

        if (i->arguments[1] && !i->diff) {
                client_complain(c,
                                "A revision needs --diff: mamctl history %s --diff %s.",
                                i->arguments[0],
                                i->arguments[1]);
                return EXIT_CODE_USAGE;
        }

        e = revisions_read(c, i->arguments[0], &list);
        if (e != EXIT_CODE_OK)
                return e;
        if (i->diff)
                return show_diff(c, list);
        if (!i->json)
                return print_history(c, list);

        o = json_object_new_object();
        if (!o)
                return client_explain(c, NULL, -ENOMEM, NULL);
        json_object_object_add(o, "service", json_object_new_string(i->arguments[0]));
        json_object_object_add(o, "revisions", MAM_TAKE(list));
        return client_print_json(c, o);
}

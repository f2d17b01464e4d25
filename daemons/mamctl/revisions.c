/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The revisions of a service, and what a person means by one
 */

#include <assert.h>
#include <string.h>

#include "mamctl/bus-json.h"
#include "mamctl/revisions.h"

ExitCode revisions_read(Client *c, const char *service, json_object **ret) {
        static const char *const keys[] = { "revision", "version", "deployed_usec",
                                            "status",   "reason",  "definition" };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(json_object_putp) json_object *rows = NULL;
        ExitCode e;
        int r;

        e = client_read(c, &reply, "ListRevisions", "s", service);
        if (e != EXIT_CODE_OK)
                return e;
        r = bus_json_read_rows(reply, keys, MAM_ELEMENTSOF(keys), &rows);
        if (r <= 0)
                return client_bad_reply(c, r < 0 ? r : -EBADMSG);

        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i), *definition = NULL;
                const char *text = json_text(row, "definition");

                r = *text ? mam_json_parse(&definition, text, strlen(text), NULL) : 0;
                if (r < 0)
                        return client_bad_reply(c, r);
                if (json_object_object_add(row, "definition", definition) < 0) {
                        json_object_put(definition);
                        return client_explain(c, NULL, -ENOMEM, NULL);
                }
        }
        *ret = MAM_TAKE(rows);
        return EXIT_CODE_OK;
}

json_object *revisions_find(json_object *list, const char *word, bool *ret_ambiguous) {
        json_object *by_version = NULL, *by_prefix = NULL;
        bool several = false;

        assert(word && *word);
        assert(ret_ambiguous);

        *ret_ambiguous = false;
        for (size_t i = 0; i < json_length(list); i++) {
                json_object *row = json_object_array_get_idx(list, i);
                const char *name = json_text(row, "revision");

                if (strcmp(name, word) == 0)
                        return row;
                if (strncmp(name, word, strlen(word)) == 0) {
                        several = several || by_prefix;
                        by_prefix = row;
                }
                if (!by_version && strcmp(json_text(row, "version"), word) == 0)
                        by_version = row;
        }

        /* a version is what a person wrote; that it is also how a name begins is chance */
        if (by_version)
                return by_version;
        *ret_ambiguous = several;
        return several ? NULL : by_prefix;
}

json_object *revisions_with_status(json_object *list, const char *status) {
        for (size_t i = 0; i < json_length(list); i++) {
                json_object *row = json_object_array_get_idx(list, i);

                if (strcmp(json_text(row, "status"), status) == 0)
                        return row;
        }
        return NULL;
}

ExitCode revisions_resolve(
                Client *c,
                json_object *list,
                const char *service,
                const char *word,
                json_object **ret) {
        bool ambiguous;
        json_object *row = revisions_find(list, word, &ambiguous);

        if (!row) {
                client_complain(c,
                                ambiguous ? "More than one revision of %s begins with '%s'. 'mamctl history %s' lists them."
                                          : "%s has no revision '%s'. 'mamctl history %s' lists them.",
                                service,
                                word,
                                service);
                return EXIT_CODE_FAILURE;
        }
        *ret = row;
        return EXIT_CODE_OK;
}

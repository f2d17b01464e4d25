/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Projects: what of them a client may set
 */

#include <assert.h>

#include "project-manager/project.h"

const char *const project_states[] = { "active", "archived", NULL };

void project_draft_read(ProjectDraft *ret, json_object *body, bool patch, FieldErrors *e) {
        static const char *const known_new[] = { "key", "name", "description", "state", NULL };
        static const char *const read_only_new[] = { "id",         "version",    "created_at",
                                                     "updated_at", "created_by", NULL };
        static const char *const known[] = { "name", "description", "state", NULL };
        static const char *const read_only[] = { "id",         "key",        "version", "created_at",
                                                 "updated_at", "created_by", NULL };
        static const FieldRule key_rule = { .min = 1, .max = 10 }, name_rule = { .min = 1, .max = 200 },
                               description_rule = { .max = DESCRIPTION_MAX,
                                                    .lines = true,
                                                    .nullable = true };
        ProjectDraft d = { 0 };

        assert(ret);
        assert(e);

        if (!json_object_is_type(body, json_type_object)) {
                field_error(e, NULL, "must be an object");
                return;
        }
        field_check_unknown(body, patch ? known : known_new, patch ? read_only : read_only_new, e);

        if (!patch) {
                field_read_text(body, "key", &key_rule, &d.key, e);
                if (d.key.set && !project_key_is_valid(d.key.value))
                        field_error(e, "key", "must be 2 to 10 of A-Z and 0-9, the first a letter");
                if (!json_object_object_get_ex(body, "key", NULL))
                        field_error(e, "key", "is required");
                if (!json_object_object_get_ex(body, "name", NULL))
                        field_error(e, "name", "is required");
        }
        field_read_text(body, "name", &name_rule, &d.name, e);
        field_read_text(body, "description", &description_rule, &d.description, e);
        field_read_choice(body, "state", project_states, &d.state, e);
        if (d.description.set && !d.description.value)
                d.description.value = "";

        *ret = d;
}

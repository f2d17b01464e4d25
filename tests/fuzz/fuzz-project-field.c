/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Bodies, conditions, keys and cursors of the project manager. The first byte says which.
 */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "project-manager/project.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_body(const char *text, size_t size, bool patch) {
        _cleanup_(json_object_putp) json_object *body = NULL, *problem = NULL, *again = NULL;
        FieldErrors project_errors = { 0 }, task_errors = { 0 };
        ProjectDraft project = { 0 };
        TaskDraft task = { 0 };
        const char *s;

        if (mam_json_parse(&body, text, size, NULL) < 0)
                return;
        project_draft_read(&project, body, patch, &project_errors);
        task_draft_read(&task, body, patch, &task_errors);

        /* What is wrong can always be said, in JSON that our own strict parser reads. */
        problem = field_errors_to_problem(project_errors.n > 0 ? &project_errors : &task_errors);
        assert(problem);
        s = mam_json_to_string(problem);
        assert(mam_json_parse(&again, s, strlen(s), NULL) >= 0);
        if (project_errors.n == 0 && project.key.set)
                assert(project_key_is_valid(project.key.value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(mam_freep) char *text = NULL;
        char project[11], array[CONDITION_TEXT_SIZE];
        Condition condition = { 0 };
        Cursor cursor = { 0 };
        int32_t number;

        if (size < 1)
                return 0;
        text = malloc(size);
        if (!text)
                return 0;
        memcpy(text, data + 1, size - 1);
        text[size - 1] = '\0';

        switch (data[0] % 4) {
        case 0:
        case 1:
                try_body(text, size - 1, data[0] % 4 == 1);
                break;
        case 2:
                if (condition_parse(&condition, text, data[0] & 4) >= 0) {
                        const char *s = condition_to_array(&condition, array);

                        assert(!s || (s[0] == '{' && s[strlen(s) - 1] == '}'));
                }
                break;
        default:
                if (cursor_parse(&cursor, 'p', text) >= 0)
                        assert(uuid_is_valid(cursor.id) && cursor.created_usec >= 0);
                if (task_key_parse(text, project, &number))
                        assert(project_key_is_valid(project) && number > 0);
                (void) content_type_is_json(text, true);
                (void) idempotency_key_is_valid(text);
                (void) field_text_is_plain(text);
        }
        return 0;
}

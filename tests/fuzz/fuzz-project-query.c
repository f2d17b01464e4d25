/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The query language of the project manager: whatever is accepted makes SQL that names just its own
 * parameters
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "project-manager/project.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FIRST 9U

/* Every parameter has a use, as PostgreSQL refuses one whose type it cannot tell; quotation marks are ours
 * alone. */
static void check_sql(const char *sql, size_t n_parameters) {
        bool used[QUERY_PARAMETERS_MAX] = { false };
        int open = 0;

        for (const char *p = sql; *p; p++) {
                open += (*p == '(') - (*p == ')');
                assert(open >= 0);
                if (*p == '\'')
                        assert(strncmp(p, "'english'", 9) == 0 || strncmp(p - 8, "'english'", 9) == 0);
                if (*p == '$') {
                        unsigned long k = strtoul(p + 1, NULL, 10);

                        assert(k >= FIRST && k < FIRST + n_parameters);
                        used[k - FIRST] = true;
                }
        }
        assert(open == 0);
        for (size_t i = 0; i < n_parameters; i++)
                assert(used[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const QueryContext context = { .me = "ann", .now_usec = (uint64_t) 1774951200 * 1000000 };
        _cleanup_(mam_freep) char *text = NULL;
        _cleanup_(query_freep) Query *q = NULL;
        _cleanup_(mam_buffer_done) MamBuffer sql = MAM_BUFFER_INIT;
        const char *const *parameters;
        QueryError error;
        size_t n;

        text = malloc(size + 1);
        if (!text)
                return 0;
        memcpy(text, data, size);
        text[size] = '\0';

        if (query_parse(&q, text, &task_query_fuzzy, &context, &error) < 0) {
                assert(error.offset <= size);
                assert(*error.message);
                return 0;
        }
        assert(query_to_sql(q, FIRST, &sql) >= 0);
        parameters = query_parameters(q, &n);
        for (size_t i = 0; i < n; i++)
                assert(parameters[i]);
        check_sql(mam_buffer_bytes(&sql), n);
        (void) query_words(q);
        return 0;
}

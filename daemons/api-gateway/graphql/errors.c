/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql/errors.h"

#include <assert.h>

GqlError *gql_error(GqlErrors *e, const char *code, GqlPlace place, const char *format, ...) {
        GqlError *error;
        va_list ap;

        assert(e);
        assert(e->arena);

        if (e->n++ >= GQL_ERRORS_MAX)
                return NULL;
        error = GQL_NEW(e->arena, GqlError);
        if (!error)
                return NULL;

        va_start(ap, format);
        error->message = gql_vprintf(e->arena, format, ap);
        va_end(ap);
        error->code = code;
        if (place.line > 0)
                error->places[error->n_places++] = place;
        if (e->last)
                e->last->next = error;
        else
                e->first = error;
        e->last = error;
        return error;
}

void gql_errors_done(GqlErrors *e) {
        for (GqlError *error = e->first; error; error = error->next)
                json_object_put(error->problems);
        e->first = e->last = NULL;
}

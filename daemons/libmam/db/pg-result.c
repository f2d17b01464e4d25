/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading a result: MamPgResult is libpq's PGresult under a name of ours
 */

#include <stdlib.h>

#include "libmam/db/pg-internal.h"

static const PGresult *native(const MamPgResult *r) {
        return (const PGresult *) r;
}

static bool has_cell(const MamPgResult *r, size_t row, size_t column) {
        return r && row < mam_pg_rows(r) && column < (size_t) PQnfields(native(r));
}

size_t mam_pg_rows(const MamPgResult *r) {
        return r ? (size_t) PQntuples(native(r)) : 0;
}

size_t mam_pg_affected(const MamPgResult *r) {
        /* PQcmdTuples() lacks the const, it changes nothing */
        return r ? strtoull(PQcmdTuples((PGresult *) native(r)), NULL, 10) : 0;
}

bool mam_pg_is_null(const MamPgResult *r, size_t row, size_t column) {
        return !has_cell(r, row, column) || PQgetisnull(native(r), (int) row, (int) column);
}

const char *mam_pg_text(const MamPgResult *r, size_t row, size_t column) {
        return mam_pg_is_null(r, row, column) ? "" : PQgetvalue(native(r), (int) row, (int) column);
}

int64_t mam_pg_int(const MamPgResult *r, size_t row, size_t column) {
        return mam_pg_is_null(r, row, column)
                               ? 0
                               : strtoll(PQgetvalue(native(r), (int) row, (int) column), NULL, 10);
}

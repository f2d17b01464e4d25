/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * SQLSTATE to errno, once for all of mam
 */

#include <string.h>

#include "libmam/db/pg-internal.h"

static bool has_class(const char *sqlstate, const char *class) {
        return strncmp(sqlstate, class, 2) == 0;
}

int mam_pg_error_from_sqlstate(const char *sqlstate) {
        static const struct {
                const char *sqlstate;
                int error;
        } table[] = {
                { "23505", -EEXIST },    /* unique_violation */
                { "23503", -ENOENT },    /* foreign_key_violation */
                { "40001", -EAGAIN },    /* serialization_failure */
                { "40P01", -EAGAIN },    /* deadlock_detected */
                { "55P03", -EAGAIN },    /* lock_not_available */
                { "57014", -ECANCELED }, /* query_canceled */
        };

        if (!sqlstate)
                return -ECONNRESET; /* libpq's own: the connection */

        for (size_t i = 0; i < MAM_ELEMENTSOF(table); i++) {
                if (strcmp(sqlstate, table[i].sqlstate) == 0)
                        return table[i].error;
        }

        if (mam_pg_error_is_fatal(sqlstate))
                return -ECONNRESET;
        if (has_class(sqlstate, "22") || has_class(sqlstate, "23"))
                return -EINVAL;

        return -EIO;
}

bool mam_pg_error_is_fatal(const char *sqlstate) {
        static const char *const table[] = {
                "57P01", /* admin_shutdown */
                "57P02", /* crash_shutdown */
                "57P03", /* cannot_connect_now */
                "57P04", /* database_dropped */
                "57P05", /* idle_session_timeout */
                "25P03", /* idle_in_transaction_session_timeout */
        };

        if (!sqlstate || has_class(sqlstate, "08"))
                return true;

        for (size_t i = 0; i < MAM_ELEMENTSOF(table); i++) {
                if (strcmp(sqlstate, table[i]) == 0)
                        return true;
        }

        return false;
}

bool mam_pg_error_is_retryable(const char *sqlstate) {
        return strcmp(sqlstate, "40001") == 0 || strcmp(sqlstate, "40P01") == 0;
}

bool mam_pg_error_is_stale_plan(const char *sqlstate) {
        /* invalid_sql_statement_name: after DISCARD, or a pooler in between; feature_not_supported: "cached
         * plan must not change result type" after a migration. A statement that is itself not supported
         * fails once more and then for good. */
        return strcmp(sqlstate, "26000") == 0 || strcmp(sqlstate, "0A000") == 0;
}

void mam_pg_error_line(char *ret, size_t size, const char *message) {
        size_t n;

        if (!message)
                message = "";
        n = strcspn(message, "\n");
        if (n >= size)
                n = size - 1;
        memcpy(ret, message, n);
        ret[n] = '\0';
}

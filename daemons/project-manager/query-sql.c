/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A query as a condition in SQL
 *
 * Every term is true or false and never NULL, so that NOT means "all others": what has no value is not
 * "assignee:ann", and is "-assignee:ann".
 */

#include <assert.h>

#include "project-manager/query-internal.h"

typedef struct Writer {
        const Query *query;
        MamBuffer *sql;
        unsigned first; /* number of the first parameter */
} Writer;

static const char *cast_of(QueryType type) {
        switch (type) {
        case QUERY_DATE:
                return "date";
        case QUERY_TIME:
                return "timestamptz";
        case QUERY_NUMBER:
                return "numeric";
        case QUERY_CHOICE:
        case QUERY_NAME:
                return "text[]";
        }
        assert(false);
        return "";
}

static int compare(const Writer *w, const QueryField *f, const char *operator, unsigned parameter) {
        return mam_buffer_appendf(
                        w->sql,
                        "%s %s $%u::%s",
                        f->column,
                        operator,
                        w->first + parameter,
                        cast_of(f->type));
}

/* Low is inclusive; high is not, but for a number. */
static int write_range(const Writer *w, const QueryField *f, const QueryRange *range) {
        bool number = f->type == QUERY_NUMBER;
        int r = mam_buffer_append_string(w->sql, "(");

        if (r >= 0 && range->low != QUERY_UNBOUNDED)
                r = compare(w, f, ">=", range->low);
        if (r >= 0 && range->low != QUERY_UNBOUNDED && range->high != QUERY_UNBOUNDED)
                r = mam_buffer_append_string(w->sql, " AND ");
        if (r >= 0 && range->high != QUERY_UNBOUNDED)
                r = compare(w, f, number ? "<=" : "<", range->high);
        return r < 0 ? r : mam_buffer_append_string(w->sql, ")");
}

static int write_ranges(const Writer *w, const QueryNode *n) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n->n_ranges; i++) {
                if (i > 0)
                        r = mam_buffer_append_string(w->sql, " OR ");
                if (r >= 0)
                        r = write_range(w, n->field, n->ranges + i);
        }
        return r;
}

/* A day is before another if it ends before that begins, and not after it unless it begins behind its end.
 */
static int write_ordered(const Writer *w, const QueryNode *n) {
        const QueryRange *range = n->ranges;
        bool number = n->field->type == QUERY_NUMBER;

        switch (n->operator) {
        case QUERY_LESS:
                return compare(w, n->field, "<", range->low);
        case QUERY_LESS_OR_EQUAL:
                return compare(w, n->field, number ? "<=" : "<", range->high);
        case QUERY_GREATER:
                return compare(w, n->field, number ? ">" : ">=", range->high);
        default:
                return compare(w, n->field, ">=", range->low);
        }
}

static int write_comparison(const Writer *w, const QueryNode *n) {
        if (n->field->type == QUERY_CHOICE || n->field->type == QUERY_NAME)
                return mam_buffer_appendf(
                                w->sql,
                                n->field->is_list ? "%s && $%u::text[]" : "%s = ANY ($%u::text[])",
                                n->field->column,
                                w->first + n->parameter);
        return n->operator== QUERY_IS || n->operator== QUERY_IS_NOT ? write_ranges(w, n)
                                                                    : write_ordered(w, n);
}

static int write_term(const Writer *w, const QueryNode *n) {
        int r;

        if (n->operator== QUERY_NONE || n->operator== QUERY_ANY) {
                if (n->field->is_list)
                        return mam_buffer_appendf(
                                        w->sql,
                                        "(cardinality(%s) %s 0)",
                                        n->field->column,
                                        n->operator== QUERY_NONE ? "=" : ">");
                return mam_buffer_appendf(
                                w->sql,
                                "(%s IS %sNULL)",
                                n->field->column,
                                n->operator== QUERY_ANY ? "NOT " : "");
        }
        /* Only where it is negated does NULL have to become false: an index serves the plain form. */
        r = mam_buffer_append_string(w->sql, n->operator== QUERY_IS_NOT ? "(NOT COALESCE((" : "((");
        if (r >= 0)
                r = write_comparison(w, n);
        return r < 0 ? r
                     : mam_buffer_append_string(w->sql, n->operator== QUERY_IS_NOT ? "), false))" : "))");
}

static int write_text(const Writer *w, const QueryNode *n) {
        const QuerySchema *schema = w->query->schema;
        const char *function = n->type == QUERY_PHRASE   ? "phraseto_tsquery"
                               : n->type == QUERY_PREFIX ? "to_tsquery"
                                                         : "plainto_tsquery";
        unsigned k = w->first + n->parameter;
        int r;

        r = mam_buffer_appendf(w->sql, "(%s @@ %s('english', $%u::text)", schema->text_column, function, k);
        /* a word that says nothing ("the") must not hide everything */
        if (r >= 0)
                r = mam_buffer_appendf(w->sql, " OR numnode(%s('english', $%u::text)) = 0", function, k);
        if (r >= 0 && n->type == QUERY_WORDS && schema->fuzzy_column)
                r = mam_buffer_appendf(
                                w->sql,
                                " OR %s OPERATOR(extensions.%%>) $%u::text",
                                schema->fuzzy_column,
                                k);
        return r < 0 ? r : mam_buffer_append_string(w->sql, ")");
}

static int write_node(const Writer *w, unsigned index) {
        const QueryNode *n = w->query->nodes + index;
        int r;

        switch (n->type) {
        case QUERY_TERM:
                return write_term(w, n);
        case QUERY_WORDS:
        case QUERY_PHRASE:
        case QUERY_PREFIX:
                return write_text(w, n);
        case QUERY_NOT:
                r = mam_buffer_append_string(w->sql, "(NOT COALESCE(");
                if (r >= 0)
                        r = write_node(w, n->left);
                return r < 0 ? r : mam_buffer_append_string(w->sql, ", false))");
        case QUERY_AND:
        case QUERY_OR:
                r = mam_buffer_append_string(w->sql, "(");
                if (r >= 0)
                        r = write_node(w, n->left);
                if (r >= 0)
                        r = mam_buffer_append_string(w->sql, n->type == QUERY_AND ? " AND " : " OR ");
                if (r >= 0)
                        r = write_node(w, n->right);
                return r < 0 ? r : mam_buffer_append_string(w->sql, ")");
        }
        assert(false);
        return -EINVAL;
}

int query_to_sql(const Query *q, unsigned first_parameter, MamBuffer *sql) {
        Writer w = { .query = q, .sql = sql, .first = first_parameter };

        assert(q && sql);

        return q->is_empty ? mam_buffer_append_string(sql, "true") : write_node(&w, q->root);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How two JSON documents differ, line by line
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/json/json.h"
#include "libmam/util/macro.h"
#include "mamctl/diff.h"

#define DEPTH_MAX 32U

static int write_value(FILE *f, json_object *o, unsigned depth, const char *end);

static int compare_keys(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static int write_key(FILE *f, const char *key, unsigned depth) {
        _cleanup_(json_object_putp) json_object *text = json_object_new_string(key);

        if (!text)
                return -ENOMEM;
        fprintf(f,
                "%*s%s: ",
                (int) depth * 2,
                "",
                json_object_to_json_string_ext(text, JSON_C_TO_STRING_NOSLASHESCAPE));
        return 0;
}

static int write_object(FILE *f, json_object *o, unsigned depth, const char *end) {
        _cleanup_(mam_freep) const char **keys = NULL;
        size_t n = 0;
        int r;

        keys = calloc((size_t) json_object_object_length(o) + 1, sizeof(*keys));
        if (!keys)
                return -ENOMEM;
        json_object_object_foreach(o, key, value) {
                (void) value;
                keys[n++] = key;
        }
        qsort(keys, n, sizeof(*keys), compare_keys);

        fputs(n > 0 ? "{\n" : "{", f);
        for (size_t i = 0; i < n; i++) {
                r = write_key(f, keys[i], depth + 1);
                if (r < 0)
                        return r;
                r = write_value(f, json_object_object_get(o, keys[i]), depth + 1, i + 1 < n ? ",\n" : "\n");
                if (r < 0)
                        return r;
        }
        fprintf(f, "%*s}%s", n > 0 ? (int) depth * 2 : 0, "", end);
        return 0;
}

static int write_array(FILE *f, json_object *o, unsigned depth, const char *end) {
        size_t n = json_object_array_length(o);
        int r;

        fputs(n > 0 ? "[\n" : "[", f);
        for (size_t i = 0; i < n; i++) {
                fprintf(f, "%*s", (int) (depth + 1) * 2, "");
                r = write_value(f, json_object_array_get_idx(o, i), depth + 1, i + 1 < n ? ",\n" : "\n");
                if (r < 0)
                        return r;
        }
        fprintf(f, "%*s]%s", n > 0 ? (int) depth * 2 : 0, "", end);
        return 0;
}

static int write_value(FILE *f, json_object *o, unsigned depth, const char *end) {
        if (depth > DEPTH_MAX)
                return -E2BIG;
        if (json_object_is_type(o, json_type_object))
                return write_object(f, o, depth, end);
        if (json_object_is_type(o, json_type_array))
                return write_array(f, o, depth, end);
        fprintf(f,
                "%s%s",
                o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE) : "null",
                end);
        return 0;
}

int diff_canonical(char **ret, json_object *o) {
        _cleanup_(mam_freep) char *text = NULL;
        size_t size;
        FILE *f;
        int r;

        assert(ret);

        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        r = write_value(f, o, 0, "\n");
        if (fclose(f) != 0 && r >= 0)
                r = -ENOMEM;
        if (r < 0)
                return r;
        *ret = MAM_TAKE(text);
        return 0;
}

/* A text as lines, without their ends. */
typedef struct Lines {
        char *text;   /* owned; line breaks become NUL */
        char **lines; /* owned array, borrowed lines */
        size_t n;
} Lines;

static void lines_done(Lines *l) {
        free(l->text);
        free(l->lines);
}

static int lines_init(Lines *l, const char *text) {
        char *rest, *line;
        size_t max = 1;

        for (const char *p = text; *p; p++)
                max += *p == '\n';
        l->text = strdup(text);
        l->lines = calloc(max, sizeof(*l->lines));
        if (!l->text || !l->lines)
                return -ENOMEM;

        rest = l->text;
        while ((line = strsep(&rest, "\n"))) {
                if (rest || *line)
                        l->lines[l->n++] = line;
        }
        return 0;
}

/* One line of the result: in a (' ' or '-'), else of b ('+'). */
typedef struct Edit {
        char op;
        const char *line;
} Edit;

/* Edits of the middle parts, without the common head and tail, in order. Appends to edits. */
static int edit_middle(Edit *edits, size_t *n_edits, char **a, size_t n, char **b, size_t m) {
        _cleanup_(mam_freep) uint32_t *common = NULL; /* of a[i…] and b[j…], at [i * (m + 1) + j] */
        size_t i = 0, j = 0;

        if (n > 0 && m > 0 && n <= DIFF_CELLS_MAX / m) {
                common = calloc((n + 1) * (m + 1), sizeof(*common));
                if (!common)
                        return -ENOMEM;
                for (size_t x = n; x-- > 0;) {
                        for (size_t y = m; y-- > 0;) {
                                uint32_t down = common[(x + 1) * (m + 1) + y],
                                         right = common[x * (m + 1) + y + 1];

                                if (strcmp(a[x], b[y]) == 0) {
                                        common[x * (m + 1) + y] = common[(x + 1) * (m + 1) + y + 1] + 1;
                                } else {
                                        common[x * (m + 1) + y] = down > right ? down : right;
                                }
                        }
                }
        }

        while (common && i < n && j < m) {
                if (strcmp(a[i], b[j]) == 0) {
                        edits[(*n_edits)++] = (Edit){ ' ', a[i++] };
                        j++;
                } else if (common[(i + 1) * (m + 1) + j] >= common[i * (m + 1) + j + 1]) {
                        edits[(*n_edits)++] = (Edit){ '-', a[i++] };
                } else {
                        edits[(*n_edits)++] = (Edit){ '+', b[j++] };
                }
        }
        while (i < n)
                edits[(*n_edits)++] = (Edit){ '-', a[i++] };
        while (j < m)
                edits[(*n_edits)++] = (Edit){ '+', b[j++] };
        return 0;
}

static int edit_all(Edit *edits, size_t *n_edits, const Lines *a, const Lines *b) {
        size_t head = 0, tail = 0, shorter = a->n < b->n ? a->n : b->n;
        int r;

        while (head < shorter && strcmp(a->lines[head], b->lines[head]) == 0)
                head++;
        while (tail < shorter - head && strcmp(a->lines[a->n - 1 - tail], b->lines[b->n - 1 - tail]) == 0)
                tail++;

        for (size_t i = 0; i < head; i++)
                edits[(*n_edits)++] = (Edit){ ' ', a->lines[i] };
        r = edit_middle(edits,
                        n_edits,
                        a->lines + head,
                        a->n - head - tail,
                        b->lines + head,
                        b->n - head - tail);
        if (r < 0)
                return r;
        for (size_t i = a->n - tail; i < a->n; i++)
                edits[(*n_edits)++] = (Edit){ ' ', a->lines[i] };
        return 0;
}

/* "12,3": a range of no lines is named by the line before it, as diff(1) does. */
static void write_range(FILE *f, char sign, size_t start, size_t count) {
        fprintf(f, "%c%zu", sign, count > 0 ? start + 1 : start);
        if (count != 1)
                fprintf(f, ",%zu", count);
}

/* The end of the hunk that begins with the change at first: the last change that is near the one before,
 * with the context behind it. */
static size_t hunk_end(const Edit *edits, size_t n, size_t first, size_t context) {
        size_t last = first;

        for (size_t i = first + 1; i < n && i - last <= 2 * context + 1; i++) {
                if (edits[i].op != ' ')
                        last = i;
        }
        return last + 1 + context < n ? last + 1 + context : n;
}

static void write_hunks(FILE *f, const Edit *edits, size_t n, size_t context) {
        size_t i = 0, at_a = 0, at_b = 0;

        while (i < n) {
                size_t first = i, start, end, count_a = 0, count_b = 0;

                while (first < n && edits[first].op == ' ')
                        first++;
                if (first == n)
                        return;
                start = first - i > context ? first - context : i;
                end = hunk_end(edits, n, first, context);
                at_a += start - i; /* what is skipped is in both */
                at_b += start - i;

                for (size_t k = start; k < end; k++) {
                        count_a += edits[k].op != '+';
                        count_b += edits[k].op != '-';
                }
                fputs("@@ ", f);
                write_range(f, '-', at_a, count_a);
                fputc(' ', f);
                write_range(f, '+', at_b, count_b);
                fputs(" @@\n", f);
                for (size_t k = start; k < end; k++)
                        fprintf(f, "%c%s\n", edits[k].op, edits[k].line);
                at_a += count_a;
                at_b += count_b;
                i = end;
        }
}

int diff_unified(
                char **ret,
                const char *a,
                const char *b,
                const char *name_a,
                const char *name_b,
                size_t context) {
        _cleanup_(lines_done) Lines la = { 0 }, lb = { 0 };
        _cleanup_(mam_freep) Edit *edits = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        size_t n = 0, size;
        FILE *f;
        int r;

        assert(ret);

        r = lines_init(&la, a);
        if (r >= 0)
                r = lines_init(&lb, b);
        if (r < 0)
                return r;
        edits = calloc(la.n + lb.n + 1, sizeof(*edits));
        if (!edits)
                return -ENOMEM;
        r = edit_all(edits, &n, &la, &lb);
        if (r < 0)
                return r;

        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        if (strcmp(a, b) != 0)
                fprintf(f, "--- %s\n+++ %s\n", name_a, name_b);
        write_hunks(f, edits, n, context);
        if (fclose(f) != 0)
                return -ENOMEM;
        *ret = MAM_TAKE(text);
        return 0;
}

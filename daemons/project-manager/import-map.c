/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Names and values that other trackers use
 */

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "project-manager/import-map.h"
#include "project-manager/project.h"

#define NAME_MAX_SIZE 64U

typedef struct Alias {
        const char *from; /* as name_normalise() makes it */
        const char *to;
} Alias;

static const char *const target_names[] = { "external", "title", "description", "status", "priority",
                                            "assignee", "due",   "estimate",    "labels" };

static const Alias columns[] = {
        { "id", "external" },
        { "key", "external" },
        { "issuekey", "external" },
        { "issueid", "external" },
        { "number", "external" },
        { "summary", "title" },
        { "name", "title" },
        { "subject", "title" },
        { "body", "description" },
        { "details", "description" },
        { "state", "status" },
        { "assignedto", "assignee" },
        { "owner", "assignee" },
        { "duedate", "due" },
        { "deadline", "due" },
        { "storypoint", "estimate" },
        { "storypoints", "estimate" },
        { "points", "estimate" },
        { "label", "labels" },
        { "tags", "labels" },
        { "customfieldstorypoints", "estimate" },
        { "tag", "labels" },
        { "components", "labels" },
};

static const Alias statuses[] = {
        { "todo", "todo" },
        { "open", "todo" },
        { "new", "todo" },
        { "backlog", "todo" },
        { "reopened", "todo" },
        { "selectedfordevelopment", "todo" },
        { "inprogress", "in_progress" },
        { "started", "in_progress" },
        { "doing", "in_progress" },
        { "inreview", "in_progress" },
        { "done", "done" },
        { "closed", "done" },
        { "resolved", "done" },
        { "fixed", "done" },
        { "completed", "done" },
        { "complete", "done" },
        { "cancelled", "cancelled" },
        { "canceled", "cancelled" },
        { "wontfix", "cancelled" },
        { "wontdo", "cancelled" },
        { "duplicate", "cancelled" },
        { "rejected", "cancelled" },
};

static const Alias priorities[] = {
        { "lowest", "low" },     { "low", "low" },        { "minor", "low" },     { "trivial", "low" },
        { "normal", "normal" },  { "medium", "normal" },  { "none", "normal" },   { "high", "high" },
        { "major", "high" },     { "highest", "urgent" }, { "urgent", "urgent" }, { "critical", "urgent" },
        { "blocker", "urgent" },
};

const char *import_target_name(ImportTarget t) {
        return t < IMPORT_IGNORED ? target_names[t] : NULL;
}

/* Letters and digits alone, small. */
static void name_normalise(char ret[static NAME_MAX_SIZE], const char *name) {
        size_t n = 0;

        for (; *name && n + 1 < NAME_MAX_SIZE; name++) {
                if (isalnum((unsigned char) *name))
                        ret[n++] = (char) tolower((unsigned char) *name);
        }
        ret[n] = '\0';
}

static const char *alias_find(const Alias *aliases, size_t n, const char *name) {
        char normal[NAME_MAX_SIZE];

        name_normalise(normal, name);
        for (size_t i = 0; i < n; i++) {
                if (strcmp(aliases[i].from, normal) == 0)
                        return aliases[i].to;
        }
        return NULL;
}

/* ---- columns ---- */

static ImportTarget target_find(const char *name) {
        for (unsigned t = 0; t < IMPORT_IGNORED; t++) {
                if (strcasecmp(target_names[t], name) == 0)
                        return t;
        }
        return IMPORT_IGNORED;
}

static ImportTarget column_target(const char *column, const char *const names[static IMPORT_IGNORED]) {
        const char *name;
        ImportTarget t;

        for (unsigned i = 0; i < IMPORT_IGNORED; i++) {
                if (names[i] && strcmp(names[i], column) == 0)
                        return i;
        }
        t = target_find(column);
        if (t == IMPORT_IGNORED && (name = alias_find(columns, MAM_ELEMENTSOF(columns), column)))
                t = target_find(name);
        /* what somebody named is not guessed */
        return t < IMPORT_IGNORED && names[t] ? IMPORT_IGNORED : t;
}

int import_map_read(
                ImportMap *ret,
                const CsvRecord *header,
                const char *const names[static IMPORT_IGNORED],
                char message[static 200]) {
        size_t seen[IMPORT_IGNORED + 1] = { 0 }, first[IMPORT_IGNORED + 1] = { 0 };

        assert(ret && header && header->n <= CSV_FIELDS_MAX);

        ret->n = header->n;
        for (size_t i = 0; i < header->n; i++) {
                ImportTarget t = column_target(header->fields[i], names);

                ret->targets[i] = t;
                if (t < IMPORT_LABELS && seen[t] > 0) {
                        (void) snprintf(message,
                                        200,
                                        "Two columns may be the %s: \"%.40s\" and \"%.40s\"; say which with column.%s=NAME",
                                        target_names[t],
                                        header->fields[first[t]],
                                        header->fields[i],
                                        target_names[t]);
                        return -EBADMSG;
                }
                if (seen[t]++ == 0)
                        first[t] = i;
        }
        for (unsigned t = 0; t < IMPORT_IGNORED; t++) {
                if (names[t] && seen[t] == 0) {
                        (void) snprintf(message,
                                        200,
                                        "There is no column \"%.100s\", named for the %s",
                                        names[t],
                                        target_names[t]);
                        return -EBADMSG;
                }
        }
        if (seen[IMPORT_TITLE] == 0) {
                (void) snprintf(message,
                                200,
                                "No column is called title, summary, name or subject: say which it is with column.title=NAME");
                return -EBADMSG;
        }
        return 0;
}

/* ---- values ---- */

static int put_alias(
                json_object *o,
                const char *key,
                const Alias *aliases,
                size_t n,
                const char *value,
                FieldErrors *e) {
        const char *known = alias_find(aliases, n, value);

        if (!known) {
                field_error(e, key, "\"%.40s\" is not known", value);
                return 0;
        }
        return field_put(o, key, json_object_new_string(known));
}

/* Numbers as they are written: what is none stays a text, which is an error then. */
static int put_number(json_object *o, const char *key, const char *value) {
        char *end;
        double number = strtod(value, &end);
        bool is_number = strspn(value, "0123456789.") == strlen(value) && end != value && *end == '\0';

        return field_put(
                        o,
                        key,
                        is_number ? json_object_new_double_s(number, value) : json_object_new_string(value));
}

/* "2026-12-31", also with a time behind it. */
static int put_date(json_object *o, const char *key, const char *value) {
        size_t n = strcspn(value, "T ");

        return field_put(o, key, json_object_new_string_len(value, (int) n));
}

static bool list_has(json_object *list, const char *text, size_t size) {
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                json_object *other = json_object_array_get_idx(list, i);

                if ((size_t) json_object_get_string_len(other) == size &&
                    memcmp(json_object_get_string(other), text, size) == 0)
                        return true;
        }
        return false;
}

/* Commas, semicolons and, where there are none, spaces separate labels; what is there twice is there once.
 */
static int put_labels(json_object *o, const char *value) {
        const char *separators = strpbrk(value, ",;") ? ",;" : " ";
        json_object *list;
        int r = 0;

        if (!json_object_object_get_ex(o, "labels", &list)) {
                list = json_object_new_array();
                r = field_put(o, "labels", list);
        }
        while (r >= 0 && *value) {
                const char *start = value + strspn(value, " "), *end;

                value += strcspn(value, separators);
                for (end = value; end > start && end[-1] == ' '; end--)
                        ;
                if (end > start && !list_has(list, start, (size_t) (end - start)))
                        r = field_append(list, json_object_new_string_len(start, (int) (end - start)));
                value += *value != '\0';
        }
        return r;
}

/* What cannot be shown, and line breaks where there is one line, become spaces: no reason to refuse a row.
 */
static int put_text(json_object *o, const char *key, const char *value, bool lines) {
        _cleanup_(mam_freep) char *text = strdup(value);
        size_t n = 0;

        if (!text)
                return -ENOMEM;
        for (const char *p = value; *p; p++) {
                unsigned char c = (unsigned char) *p, next = (unsigned char) p[1];
                bool is_c1 = c == 0xc2 && next < 0xa0; /* UTF-8, so a byte follows */

                if (c == '\r' && next == '\n')
                        continue;
                if (is_c1 || c == 0x7f || (c < 0x20 && !(lines && (c == '\n' || c == '\t'))))
                        text[n++] = ' ';
                else
                        text[n++] = *p;
                p += is_c1;
        }
        return field_put(o, key, json_object_new_string_len(text, (int) n));
}

static int put_value(json_object *o, ImportTarget t, const char *value, FieldErrors *e) {
        const char *key = target_names[t];

        switch (t) {
        case IMPORT_STATUS:
                return put_alias(o, key, statuses, MAM_ELEMENTSOF(statuses), value, e);
        case IMPORT_PRIORITY:
                return put_alias(o, key, priorities, MAM_ELEMENTSOF(priorities), value, e);
        case IMPORT_ESTIMATE:
                return put_number(o, key, value);
        case IMPORT_DUE:
                return put_date(o, key, value);
        case IMPORT_LABELS:
                return put_labels(o, value);
        default:
                return put_text(o, key, value, t == IMPORT_DESCRIPTION);
        }
}

int import_map_row(const ImportMap *map, const CsvRecord *row, json_object **ret, FieldErrors *e) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        TaskDraft draft = { 0 };
        int r;

        assert(map && row && ret && e);

        o = json_object_new_object();
        if (!o)
                return -ENOMEM;
        if (row->n != map->n)
                field_error(e, NULL, "has %zu fields, where the header has %zu", row->n, map->n);
        for (size_t i = 0; i < map->n && i < row->n; i++) {
                const char *value = row->fields[i];

                if (map->targets[i] == IMPORT_IGNORED || *value == '\0' || strcmp(value, "NULL") == 0)
                        continue;
                if (!field_text_is_utf8(value)) {
                        field_error(e, target_names[map->targets[i]], "is not UTF-8");
                        continue;
                }
                r = put_value(o, map->targets[i], value, e);
                if (r < 0)
                        return r;
        }
        if (e->n == 0)
                task_draft_read(&draft, o, false, e);
        task_draft_done(&draft);
        *ret = MAM_TAKE(o);
        return 0;
}

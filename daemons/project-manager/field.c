/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What clients send: fields of bodies, conditions, keys and cursors
 */

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "libmam/auth/jwt.h"
#include "project-manager/field.h"

void field_error(FieldErrors *e, const char *key, const char *format, ...) {
        FieldError *error;
        size_t n = 0;
        va_list ap;

        assert(e);
        assert(format);

        if (e->n++ >= FIELD_ERRORS_MAX)
                return;

        error = &e->errors[e->n - 1];
        if (key)
                error->pointer[n++] = '/';
        for (; key && *key && n + 3 < sizeof(error->pointer); key++) {
                if (*key == '~' || *key == '/')
                        error->pointer[n++] = '~';
                error->pointer[n++] = (char) (*key == '~' ? '0' : *key == '/' ? '1' : *key);
        }
        /* A name that was cut may end within a character, which JSON text must not. */
        while (key && *key && n > 0 && ((unsigned char) error->pointer[n - 1] & 0x80))
                n--;
        error->pointer[n] = '\0';

        va_start(ap, format);
        (void) vsnprintf(error->detail, sizeof(error->detail), format, ap);
        va_end(ap);
}

int field_put(json_object *o, const char *key, json_object *value) {
        if (!value || json_object_object_add(o, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

int field_append(json_object *list, json_object *element) {
        if (!element || json_object_array_add(list, element) < 0) {
                json_object_put(element);
                return -ENOMEM;
        }
        return 0;
}

json_object *field_errors_to_problem(const FieldErrors *e) {
        _cleanup_(json_object_putp) json_object *problem = json_object_new_object(),
                                                *list = json_object_new_array();
        size_t kept;
        char detail[64];

        assert(e);

        kept = e->n < FIELD_ERRORS_MAX ? e->n : FIELD_ERRORS_MAX;
        (void) snprintf(detail, sizeof(detail), "The body has %zu error%s", e->n, e->n == 1 ? "" : "s");
        if (!problem || !list || field_put(problem, "type", json_object_new_string("about:blank")) < 0 ||
            field_put(problem, "title", json_object_new_string("Unprocessable Content")) < 0 ||
            field_put(problem, "status", json_object_new_int(422)) < 0 ||
            field_put(problem, "detail", json_object_new_string(detail)) < 0)
                return NULL;

        for (size_t i = 0; i < kept; i++) {
                _cleanup_(json_object_putp) json_object *item = json_object_new_object();

                if (!item || field_put(item, "detail", json_object_new_string(e->errors[i].detail)) < 0 ||
                    field_put(item, "pointer", json_object_new_string(e->errors[i].pointer)) < 0 ||
                    json_object_array_add(list, item) < 0)
                        return NULL;
                item = NULL; /* the list's now */
        }
        if (field_put(problem, "errors", MAM_TAKE(list)) < 0)
                return NULL;
        return MAM_TAKE(problem);
}

/* Characters of valid UTF-8. */
static size_t count_characters(const char *s) {
        size_t n = 0;

        for (; *s; s++)
                if (((unsigned char) *s & 0xc0) != 0x80)
                        n++;
        return n;
}

/* Control characters: C0, DEL and C1 (which is C2 80 to C2 9F). */
static bool has_control(const char *s, bool lines) {
        for (; *s; s++) {
                unsigned char c = (unsigned char) *s;

                if (lines && (c == '\n' || c == '\r' || c == '\t'))
                        continue;
                if (c < 0x20 || c == 0x7f)
                        return true;
                if (c == 0xc2 && (unsigned char) s[1] < 0xa0)
                        return true;
        }
        return false;
}

/* The Unicode standard, table 3-7. */
bool field_text_is_utf8(const char *text) {
        for (const unsigned char *s = (const unsigned char *) text; *s;) {
                unsigned char low = 0x80, high = 0xbf;
                size_t n;

                if (*s < 0x80)
                        n = 1;
                else if (*s >= 0xc2 && *s <= 0xdf)
                        n = 2;
                else if (*s >= 0xe0 && *s <= 0xef) {
                        n = 3;
                        low = *s == 0xe0 ? 0xa0 : 0x80;
                        high = *s == 0xed ? 0x9f : 0xbf;
                } else if (*s >= 0xf0 && *s <= 0xf4) {
                        n = 4;
                        low = *s == 0xf0 ? 0x90 : 0x80;
                        high = *s == 0xf4 ? 0x8f : 0xbf;
                } else
                        return false;
                for (size_t i = 1; i < n; i++) {
                        if (s[i] < low || s[i] > high) /* also the end of the text */
                                return false;
                        low = 0x80;
                        high = 0xbf;
                }
                s += n;
        }
        return true;
}

bool field_text_is_plain(const char *text) {
        return field_text_is_utf8(text) && !has_control(text, false);
}

/* true: *ret is the text to check further. */
static bool read_string(
                json_object *o,
                const char *key,
                bool nullable,
                FieldText *ret,
                const char **ret_text,
                FieldErrors *e) {
        MamJsonError error;
        json_object *member;
        int r;

        if (!json_object_object_get_ex(o, key, &member))
                return false;
        if (!member) {
                if (nullable)
                        *ret = (FieldText){ .set = true };
                else
                        field_error(e, key, "must not be null");
                return false;
        }
        r = mam_json_get_string(o, "", key, ret_text, &error);
        if (r < 0)
                field_error(e, key, "%.150s", error.message);
        return r > 0;
}

void field_read_text(
                json_object *o,
                const char *key,
                const FieldRule *rule,
                FieldText *ret,
                FieldErrors *e) {
        const char *text = NULL;
        size_t n;

        if (!read_string(o, key, rule->nullable, ret, &text, e))
                return;

        n = count_characters(text);
        if (n < rule->min || (rule->min > 0 && text[strspn(text, " ")] == '\0'))
                field_error(e, key, "must not be empty");
        else if (n > rule->max)
                field_error(e, key, "must have at most %zu characters", rule->max);
        else if (has_control(text, rule->lines))
                field_error(e, key, "must not contain control characters");
        else
                *ret = (FieldText){ .set = true, .value = text };
}

bool field_is_choice(const char *value, const char *const *values) {
        for (; *values; values++)
                if (strcmp(value, *values) == 0)
                        return true;
        return false;
}

int field_array_add(MamBuffer *array, const char *text) {
        int r;

        /* it is closed again each time, so it is whole at any time */
        if (array->size == 0)
                r = mam_buffer_append_string(array, "{\"");
        else {
                array->size--;
                r = mam_buffer_append_string(array, ",\"");
        }
        for (const char *p = text; r >= 0 && *p; p++) {
                if (*p == '"' || *p == '\\')
                        r = mam_buffer_append(array, "\\", 1);
                if (r >= 0)
                        r = mam_buffer_append(array, p, 1);
        }
        return r < 0 ? r : mam_buffer_append_string(array, "\"}");
}

void field_read_number(json_object *o, const char *key, unsigned max, FieldNumber *ret, FieldErrors *e) {
        json_object *member;
        double value, cents;

        if (!json_object_object_get_ex(o, key, &member))
                return;
        if (!member) {
                *ret = (FieldNumber){ .set = true };
                return;
        }
        if (!json_object_is_type(member, json_type_int) && !json_object_is_type(member, json_type_double)) {
                field_error(e, key, "must be a number");
                return;
        }
        value = json_object_get_double(member);
        if (!(value >= 0 && value <= max)) {
                field_error(e, key, "must be from 0 to %u", max);
                return;
        }
        cents = value * 100;
        if (cents - (double) (int64_t) (cents + 0.5) > 1e-6 ||
            (double) (int64_t) (cents + 0.5) - cents > 1e-6) {
                field_error(e, key, "must have at most two decimals");
                return;
        }
        ret->set = true;
        (void) snprintf(ret->text, sizeof(ret->text), "%.2f", value);
}

void field_set_done(FieldSet *s) {
        mam_buffer_done(&s->array);
}

static bool is_repeated(json_object *list, size_t at, const char *text) {
        for (size_t i = 0; i < at; i++) {
                json_object *other = json_object_array_get_idx(list, i);

                if (json_object_is_type(other, json_type_string) &&
                    strcmp(json_object_get_string(other), text) == 0)
                        return true;
        }
        return false;
}

static void read_element(
                json_object *list,
                size_t i,
                const char *key,
                const FieldRule *rule,
                FieldSet *ret,
                FieldErrors *e) {
        json_object *element = json_object_array_get_idx(list, i);
        const char *text = json_object_get_string(element);
        size_t n;

        if (!json_object_is_type(element, json_type_string)) {
                field_error(e, key, "must hold strings only");
                return;
        }
        n = count_characters(text);
        if (n < rule->min || n > rule->max || strlen(text) != (size_t) json_object_get_string_len(element) ||
            has_control(text, false) || text[0] == ' ' || (n > 0 && text[strlen(text) - 1] == ' '))
                field_error(e,
                            key,
                            "element %zu must have %zu to %zu characters, without control characters or spaces around",
                            i + 1,
                            rule->min,
                            rule->max);
        else if (is_repeated(list, i, text))
                field_error(e, key, "element %zu is there twice", i + 1);
        else if (field_array_add(&ret->array, text) < 0)
                field_error(e, key, "cannot be kept: out of memory");
}

void field_read_set(json_object *o, const char *key, const FieldRule *rule, FieldSet *ret, FieldErrors *e) {
        json_object *list;

        if (!json_object_object_get_ex(o, key, &list))
                return;
        ret->set = true;
        if (list && !json_object_is_type(list, json_type_array)) {
                field_error(e, key, "must be an array");
                return;
        }
        if (list && json_object_array_length(list) > FIELD_SET_MAX) {
                field_error(e, key, "must have at most %u elements", FIELD_SET_MAX);
                return;
        }
        for (size_t i = 0; list && i < json_object_array_length(list); i++)
                read_element(list, i, key, rule, ret, e);
        if (ret->array.size == 0 && mam_buffer_append_string(&ret->array, "{}") < 0)
                field_error(e, key, "cannot be kept: out of memory");
}

void field_read_choice(
                json_object *o,
                const char *key,
                const char *const *values,
                FieldText *ret,
                FieldErrors *e) {
        const char *text = NULL;
        char list[128] = "";

        if (!read_string(o, key, false, ret, &text, e))
                return;
        if (field_is_choice(text, values)) {
                *ret = (FieldText){ .set = true, .value = text };
                return;
        }

        for (; *values; values++) {
                size_t used = strlen(list);

                (void) snprintf(list + used, sizeof(list) - used, "%s%s", used > 0 ? ", " : "", *values);
        }
        field_error(e, key, "must be one of %s", list);
}

static bool date_is_valid(const char *s) {
        static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
        int year, month, day;

        if (strlen(s) != 10 || s[4] != '-' || s[7] != '-')
                return false;
        for (size_t i = 0; i < 10; i++)
                if (i != 4 && i != 7 && !(s[i] >= '0' && s[i] <= '9'))
                        return false;

        year = atoi(s);
        month = atoi(s + 5);
        day = atoi(s + 8);
        if (year < 1 || month < 1 || month > 12 || day < 1)
                return false;
        if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
                return day <= 29;
        return day <= days[month - 1];
}

void field_read_date(json_object *o, const char *key, FieldText *ret, FieldErrors *e) {
        const char *text = NULL;

        if (!read_string(o, key, true, ret, &text, e))
                return;
        if (date_is_valid(text))
                *ret = (FieldText){ .set = true, .value = text };
        else
                field_error(e, key, "must be a date as 2026-12-31");
}

void field_check_unknown(
                json_object *o,
                const char *const *known,
                const char *const *read_only,
                FieldErrors *e) {
        json_object_object_foreach(o, key, value) {
                (void) value;
                if (field_is_choice(key, known))
                        continue;
                field_error(e,
                            key,
                            field_is_choice(key, read_only) ? "cannot be set" : "is not a known field");
        }
}

static bool is_hex(char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool uuid_is_valid(const char *s) {
        if (strlen(s) != 36)
                return false;
        for (size_t i = 0; i < 36; i++)
                if (i == 8 || i == 13 || i == 18 || i == 23 ? s[i] != '-' : !is_hex(s[i]))
                        return false;
        return true;
}

bool project_key_is_valid(const char *s) {
        size_t n = strlen(s);

        if (n < 2 || n > 10 || !(*s >= 'A' && *s <= 'Z'))
                return false;
        return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == n;
}

bool task_key_parse(const char *text, char ret_project[static 11], int32_t *ret_number) {
        const char *dash = strchr(text, '-');
        char project[11];
        long number;
        size_t n;

        if (!dash || (size_t) (dash - text) >= sizeof(project))
                return false;
        n = (size_t) (dash - text);
        memcpy(project, text, n);
        project[n] = '\0';
        if (!project_key_is_valid(project))
                return false;

        /* one way to write each number */
        n = strlen(dash + 1);
        if (n < 1 || n > 10 || dash[1] == '0' || strspn(dash + 1, "0123456789") != n)
                return false;
        number = strtol(dash + 1, NULL, 10);
        if (number > INT32_MAX)
                return false;

        strcpy(ret_project, project);
        *ret_number = (int32_t) number;
        return true;
}

bool idempotency_key_is_valid(const char *text) {
        size_t n = strlen(text);

        if (n < 1 || n > 128)
                return false;
        for (; *text; text++)
                if (*text <= 0x20 || *text >= 0x7f)
                        return false;
        return true;
}

bool content_type_is_json(const char *value, bool patch) {
        size_t n;

        if (!value)
                return false;
        n = strcspn(value, "; \t");
        if (value[n + strspn(value + n, " \t")] != ';' && value[n + strspn(value + n, " \t")] != '\0')
                return false;
        return (n == 16 && strncasecmp(value, "application/json", n) == 0) ||
               (patch && n == 28 && strncasecmp(value, "application/merge-patch+json", n) == 0);
}

/* One entity tag at *p (RFC 9110, section 8.8.3). 1: a version; 0: a tag that cannot be one of ours;
 * -EINVAL. */
static int parse_tag(const char **p, bool strong, int64_t *ret) {
        const char *s = *p, *start;
        bool weak = strncmp(s, "W/", 2) == 0;
        int64_t version;
        size_t n;

        if (weak)
                s += 2;
        if (*s++ != '"')
                return -EINVAL;
        start = s;
        while (*s && *s != '"') {
                if ((unsigned char) *s <= 0x20 || *s == 0x7f)
                        return -EINVAL;
                s++;
        }
        if (*s != '"')
                return -EINVAL;
        n = (size_t) (s - start);
        *p = s + 1;

        if ((weak && strong) || n < 1 || n > 18 || *start == '0' || strspn(start, "0123456789") < n)
                return 0;
        version = strtoll(start, NULL, 10);
        *ret = version;
        return 1;
}

int condition_parse(Condition *ret, const char *value, bool strong) {
        Condition c = { 0 };
        size_t n_tags = 0;
        const char *p = value;
        int r;

        assert(ret);
        assert(value);

        p += strspn(p, " \t");
        if (p[0] == '*' && p[1 + strspn(p + 1, " \t")] == '\0') {
                ret->any = true;
                ret->n = 0;
                return 0;
        }

        for (;;) {
                int64_t version = 0;

                p += strspn(p, " \t,"); /* empty members of a list are allowed */
                if (*p == '\0')
                        break;
                if (n_tags++ >= CONDITION_TAGS_MAX)
                        return -E2BIG;
                r = parse_tag(&p, strong, &version);
                if (r < 0)
                        return r;
                if (r > 0)
                        c.versions[c.n++] = version;
                p += strspn(p, " \t");
                if (*p != ',' && *p != '\0')
                        return -EINVAL;
        }
        if (n_tags == 0)
                return -EINVAL;

        *ret = c;
        return 0;
}

bool condition_matches(const Condition *c, int64_t version) {
        assert(c);

        if (c->any)
                return true;
        for (size_t i = 0; i < c->n; i++)
                if (c->versions[i] == version)
                        return true;
        return false;
}

const char *condition_to_array(const Condition *c, char ret[static CONDITION_TEXT_SIZE]) {
        size_t used = 1;

        assert(c);

        if (c->any)
                return NULL;
        strcpy(ret, "{");
        for (size_t i = 0; i < c->n; i++)
                used += (size_t) snprintf(
                                ret + used,
                                CONDITION_TEXT_SIZE - used,
                                "%s%" PRIi64,
                                i > 0 ? "," : "",
                                c->versions[i]);
        (void) snprintf(ret + used, CONDITION_TEXT_SIZE - used, "}");
        return ret;
}

int cursor_format(char ret[static CURSOR_TEXT_SIZE], char kind, const Cursor *c) {
        _cleanup_(mam_freep) char *encoded = NULL;
        char text[80];
        int n, r;

        assert(c);

        n = snprintf(text, sizeof(text), "%c1:%" PRIi64 ":%s", kind, c->created_usec, c->id);
        r = mam_base64url_encode(&encoded, text, (size_t) n);
        if (r < 0)
                return r;
        if (strlen(encoded) >= CURSOR_TEXT_SIZE)
                return -ENOBUFS;
        strcpy(ret, encoded);
        return 0;
}

int cursor_parse(Cursor *ret, char kind, const char *text) {
        char plain[96] = "", *end;
        Cursor c = { 0 };
        ssize_t n;

        assert(ret);
        assert(text);

        if (strlen(text) >= CURSOR_TEXT_SIZE)
                return -EINVAL;
        n = mam_base64url_decode(plain, sizeof(plain) - 1, text, strlen(text));
        if (n < 4 || memchr(plain, '\0', (size_t) n))
                return -EINVAL;
        plain[n] = '\0';

        if (plain[0] != kind || plain[1] != '1' || plain[2] != ':' || !isdigit((unsigned char) plain[3]))
                return -EINVAL;
        errno = 0;
        c.created_usec = strtoll(plain + 3, &end, 10);
        /* up to the year 9999: PostgreSQL's time ends much later */
        if (errno != 0 || *end != ':' || c.created_usec > INT64_C(253402300800000000) ||
            !uuid_is_valid(end + 1))
                return -EINVAL;
        strcpy(c.id, end + 1);

        *ret = c;
        return 0;
}

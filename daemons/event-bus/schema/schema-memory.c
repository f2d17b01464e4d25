/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The registry in memory: subjects, compiled forms, judging
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "event-bus/schema/schema-internal.h"

#define NAME_BASE "subject:/" /* names that are no URIs become some below it */

static const char *const compatibilities[_SCHEMA_COMPATIBILITY_MAX] = {
        [SCHEMA_BACKWARD] = "backward", [SCHEMA_BACKWARD_TRANSITIVE] = "backward-transitive",
        [SCHEMA_FORWARD] = "forward",   [SCHEMA_FORWARD_TRANSITIVE] = "forward-transitive",
        [SCHEMA_FULL] = "full",         [SCHEMA_FULL_TRANSITIVE] = "full-transitive",
        [SCHEMA_ANY] = "none",
};

const char *schema_compatibility_to_string(SchemaCompatibility c) {
        assert(c >= 0 && c < _SCHEMA_COMPATIBILITY_MAX);

        return compatibilities[c];
}

SchemaCompatibility schema_compatibility_from_string(const char *s) {
        assert(s);

        for (int i = 0; i < _SCHEMA_COMPATIBILITY_MAX; i++)
                if (strcmp(compatibilities[i], s) == 0)
                        return (SchemaCompatibility) i;
        return _SCHEMA_COMPATIBILITY_INVALID;
}

/* ---- subjects ---- */

/* Where name is, or would be. */
static size_t position_of(const SchemaRegistry *r, const char *name, bool *ret_found) {
        size_t low = 0, high = r->n_subjects;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int c = strcmp(name, r->subjects[middle]->name);

                if (c == 0) {
                        *ret_found = true;
                        return middle;
                }
                if (c < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        *ret_found = false;
        return low;
}

Subject *schema_find(const SchemaRegistry *r, const char *name) {
        bool found;
        size_t at = position_of(r, name, &found);

        return found ? r->subjects[at] : NULL;
}

static Version *version_free(Version *v) {
        if (!v)
                return NULL;
        free(v->text);
        json_object_put(v->refs);
        free(v->created_at);
        free(v->created_by);
        mam_json_schema_free(v->compiled);
        free(v);
        return NULL;
}
MAM_DEFINE_CLEANUP(Version, version_free);

void schema_forget_all(SchemaRegistry *r) {
        for (size_t i = 0; i < r->n_subjects; i++) {
                Subject *s = r->subjects[i];

                for (unsigned n = 0; n < s->n_versions; n++)
                        version_free(s->versions[n]);
                free(s->name);
                free(s);
        }
        free(r->subjects);
        r->subjects = NULL;
        r->n_subjects = 0;
        r->total = r->compiled = 0;
        TAILQ_INIT(&r->used);
}

static int add_subject(SchemaRegistry *r, const char *name, Subject **ret) {
        Subject **subjects;
        bool found;
        size_t at = position_of(r, name, &found);
        Subject *s;

        if (found) {
                *ret = r->subjects[at];
                return 0;
        }
        subjects = realloc(r->subjects, (r->n_subjects + 1) * sizeof(Subject *));
        if (!subjects)
                return -ENOMEM;
        r->subjects = subjects;
        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->name = strdup(name);
        if (!s->name) {
                free(s);
                return -ENOMEM;
        }
        memmove(subjects + at + 1, subjects + at, (r->n_subjects - at) * sizeof(Subject *));
        subjects[at] = s;
        r->n_subjects++;
        *ret = s;
        return 0;
}

int schema_learn_subject(SchemaRegistry *r, const char *name, SchemaCompatibility compatibility) {
        Subject *s;
        int k;

        k = add_subject(r, name, &s);
        if (k < 0)
                return k;
        s->compatibility = compatibility;
        return 0;
}

int schema_learn_version(
                SchemaRegistry *r,
                const char *subject,
                unsigned version,
                const char *text,
                const char *refs,
                const char *created_at,
                const char *created_by) {
        _cleanup_(version_freep) Version *v = NULL;
        Subject *s;
        int k;

        k = add_subject(r, subject, &s);
        if (k < 0)
                return k;
        if (version != s->n_versions + 1 || version > SCHEMA_VERSIONS_MAX)
                return 0; /* known already: pages of a refresh may overlap */
        v = calloc(1, sizeof(*v));
        if (!v)
                return -ENOMEM;
        v->subject = s;
        v->number = version;
        v->size = strlen(text);
        v->text = strdup(text);
        v->created_at = strdup(created_at);
        v->created_by = created_by ? strdup(created_by) : NULL;
        if (!v->text || !v->created_at || (created_by && !v->created_by))
                return -ENOMEM;
        k = mam_json_parse(&v->refs, refs, strlen(refs), NULL);
        if (k == -ENOMEM)
                return k;
        r->total += v->size;
        s->versions[s->n_versions++] = MAM_TAKE(v);
        return 0;
}

void schema_describe(const Version *v, SchemaInfo *ret) {
        *ret = (SchemaInfo){
                .subject = v->subject->name,
                .compatibility = v->subject->compatibility,
                .version = v->number,
                .newest = v->subject->n_versions,
                .text = v->text,
                .size = v->size,
                .created_at = v->created_at,
                .created_by = v->created_by,
        };
}

/* ---- compiling ---- */

typedef struct Resolving {
        SchemaRegistry *registry;
        const json_object *pinned; /* of a stored version; NULL: the newest */
        json_object *used;         /* what was asked for is noted here, if not NULL */
} Resolving;

/* A reference to another subject, by its name. */
static int resolve(json_object **ret, const char *uri, void *userdata) {
        Resolving *q = userdata;
        const char *name = strncmp(uri, NAME_BASE, strlen(NAME_BASE)) == 0 ? uri + strlen(NAME_BASE) : uri;
        const Subject *s = schema_find(q->registry, name);
        json_object *pin = NULL, *number;
        unsigned version;
        int r;

        if (!s || s->n_versions == 0)
                return -ENOENT;
        version = s->n_versions;
        if (q->pinned && json_object_object_get_ex(q->pinned, name, &pin))
                version = (unsigned) json_object_get_int(pin);
        if (version < 1 || version > s->n_versions)
                return -ENOENT;
        r = mam_json_parse(ret, s->versions[version - 1]->text, s->versions[version - 1]->size, NULL);
        if (r < 0 || !q->used)
                return r;
        number = json_object_new_int((int) version);
        if (!number || json_object_object_add(q->used, name, number) < 0) {
                json_object_put(number);
                json_object_put(*ret);
                return -ENOMEM;
        }
        return 0;
}

static int compile(
                MamJsonSchema **ret,
                const char *subject,
                json_object *schema,
                Resolving *resolving,
                MamJsonError *error) {
        char uri[SCHEMA_SUBJECT_MAX + sizeof(NAME_BASE)];
        const MamJsonSchemaOptions options = {
                .uri = uri,
                .resolver = resolve,
                .userdata = resolving,
                .steps_max = SCHEMA_STEPS_MAX,
        };

        (void) snprintf(uri, sizeof(uri), "%s%s", strchr(subject, ':') ? "" : NAME_BASE, subject);
        return mam_json_schema_compile(ret, schema, &options, error);
}

/* Drops compiled forms that were not used for the longest time, but not keep. */
static void make_room(SchemaRegistry *r, const Version *keep) {
        while (r->compiled > SCHEMA_COMPILED_MAX) {
                Version *v = TAILQ_FIRST(&r->used);

                if (!v || v == keep)
                        return;
                TAILQ_REMOVE(&r->used, v, used);
                r->compiled -= mam_json_schema_size(v->compiled);
                v->compiled = mam_json_schema_free(v->compiled);
        }
}

int schema_compiled(SchemaRegistry *r, Version *v, const MamJsonSchema **ret) {
        _cleanup_(json_object_putp) json_object *schema = NULL;
        Resolving resolving = { .registry = r, .pinned = v->refs };
        int k;

        if (v->is_bad)
                return -EBADMSG;
        if (v->compiled) {
                TAILQ_REMOVE(&r->used, v, used);
                TAILQ_INSERT_TAIL(&r->used, v, used);
                *ret = v->compiled;
                return 0;
        }
        k = mam_json_parse(&schema, v->text, v->size, NULL);
        if (k >= 0)
                k = compile(&v->compiled, v->subject->name, schema, &resolving, NULL);
        if (k == -EFBIG)
                k = -EBADMSG;
        if (k < 0) {
                v->is_bad = k == -EBADMSG;
                return k;
        }
        r->compiled += mam_json_schema_size(v->compiled);
        TAILQ_INSERT_TAIL(&r->used, v, used);
        make_room(r, v);
        *ret = v->compiled;
        return 0;
}

/* ---- judging ---- */

static int incompatible(MamJsonError *error, const char *direction) {
        char message[sizeof(error->message)];

        if (!error)
                return -EPROTO;
        memcpy(message, error->message, sizeof(message));
        (void) snprintf(error->message,
                        sizeof(error->message),
                        "not %s compatible: %.220s",
                        direction,
                        message);
        return -EPROTO;
}

static int compare(
                SchemaRegistry *r,
                const MamJsonSchema *candidate,
                Version *v,
                bool backward,
                bool forward,
                MamJsonError *error) {
        const MamJsonSchema *old;
        char name[32];
        int k;

        (void) snprintf(name, sizeof(name), "version %u", v->number);
        k = schema_compiled(r, v, &old);
        if (k == -EBADMSG) {
                if (error)
                        (void) mam_json_fail(error, "", NULL, "%s cannot be used any more", name);
                return incompatible(error, "seen to be");
        }
        if (k < 0)
                return k;
        if (backward) {
                k = mam_json_schema_covers(candidate, old, "the new one", name, error);
                if (k == -EBADMSG || k == -EOVERFLOW)
                        return incompatible(error, "backward");
                if (k < 0)
                        return k;
        }
        if (forward) {
                k = mam_json_schema_covers(old, candidate, name, "the new one", error);
                if (k == -EBADMSG || k == -EOVERFLOW)
                        return incompatible(error, "forward");
        }
        return k;
}

static bool is_in(SchemaCompatibility c, SchemaCompatibility a, SchemaCompatibility b) {
        return c == a || c == b;
}

static int check_room(const SchemaRegistry *r, const Subject *s, size_t size, MamJsonError *error) {
        const char *what = NULL;

        if (!s && r->n_subjects >= SCHEMA_SUBJECTS_MAX)
                what = "there are as many subjects as are allowed";
        else if (s && s->n_versions >= SCHEMA_VERSIONS_MAX)
                what = "the subject has as many versions as are allowed";
        else if (size > SCHEMA_TEXT_MAX)
                what = "the schema is larger than is allowed";
        else if (r->total + size > SCHEMA_TOTAL_MAX)
                what = "the schemas take as much memory as is allowed";
        if (!what)
                return 0;
        if (error)
                (void) mam_json_fail(error, "", NULL, "%s", what);
        return -ENOSPC;
}

int schema_judge(
                SchemaRegistry *r,
                const char *subject,
                json_object *schema,
                json_object **ret_refs,
                MamJsonError *error) {
        _cleanup_(mam_json_schema_freep) MamJsonSchema *candidate = NULL;
        _cleanup_(json_object_putp) json_object *refs = json_object_new_object();
        Resolving resolving = { .registry = r, .used = refs };
        const Subject *s = schema_find(r, subject);
        SchemaCompatibility c = s ? s->compatibility : SCHEMA_BACKWARD;
        bool transitive = is_in(c, SCHEMA_BACKWARD_TRANSITIVE, SCHEMA_FORWARD_TRANSITIVE) ||
                          c == SCHEMA_FULL_TRANSITIVE;
        bool full = is_in(c, SCHEMA_FULL, SCHEMA_FULL_TRANSITIVE);
        int k;

        if (!refs)
                return -ENOMEM;
        k = check_room(r, s, strlen(mam_json_to_string(schema)), error);
        if (k < 0)
                return k;
        k = compile(&candidate, subject, schema, &resolving, error);
        if (k < 0)
                return k == -EFBIG ? -EBADMSG : k;
        for (unsigned n = s && c != SCHEMA_ANY ? s->n_versions : 0; n > 0; n = transitive ? n - 1 : 0) {
                k = compare(r,
                            candidate,
                            s->versions[n - 1],
                            full || is_in(c, SCHEMA_BACKWARD, SCHEMA_BACKWARD_TRANSITIVE),
                            full || is_in(c, SCHEMA_FORWARD, SCHEMA_FORWARD_TRANSITIVE),
                            error);
                if (k < 0)
                        return k;
        }
        *ret_refs = MAM_TAKE(refs);
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The registry: what others ask, and how it is kept the same as the database
 *
 * Everything is read by revision, a page at a time. A change is written, then read back like everybody
 * else's, and answered when it was seen. Of refreshes only one is under way; one that is asked for meanwhile
 * begins behind it.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/schema/schema-internal.h"
#include "libmam/util/backoff.h"
#include "libmam/util/time.h"

#define PAGE             "200" /* rows */
#define PAGE_ROWS        200U
#define REFRESH_USEC     (30 * MAM_USEC_PER_SEC) /* should a word of another replica be lost */
#define RETRY_FIRST_USEC (500 * MAM_USEC_PER_MSEC)
#define ATTEMPTS_MAX     8U /* of a put that others overtake */
#define CALLS_MAX        256U

static const MamPgStatement refresh_statement = {
        .name = "schema-refresh",
        .sql = "SELECT revision, subject, compatibility, NULL::integer AS version, NULL, NULL, NULL, NULL "
               "FROM schema_subjects WHERE revision > $1::bigint "
               "UNION ALL SELECT revision, subject, NULL, version, schema, refs, "
               "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), created_by "
               "FROM schemas WHERE revision > $1::bigint ORDER BY 1, version NULLS FIRST LIMIT " PAGE,
        .idempotent = true,
};

static const MamPgStatement put_statement = {
        .name = "schema-put",
        .sql = "SELECT the_version, is_new FROM put_schema($1::text, $2::integer, $3::text, $4::text, $5::text)",
        .idempotent = true,
};

static const MamPgStatement set_statement = {
        .name = "schema-set",
        .sql = "SELECT set_schema_compatibility($1::text, $2::text)",
        .idempotent = true,
};

static void refresh_start(SchemaRegistry *r);

/* ---- calls ---- */

SchemaCall *schema_call_free(SchemaCall *c) {
        if (!c)
                return NULL;
        if (c->registry)
                TAILQ_REMOVE(&c->registry->calls, c, calls);
        mam_pg_query_free(c->query);
        free(c->subject);
        json_object_put(c->schema);
        free(c->by);
        free(c);
        return NULL;
}

static void answer(SchemaCall *c, int error, const SchemaInfo *info, const MamJsonError *e) {
        TAILQ_REMOVE(&c->registry->calls, c, calls);
        c->registry = NULL;
        c->query = mam_pg_query_free(c->query);
        if (c->is_loose) {
                SchemaCallback callback = c->callback;
                void *userdata = c->userdata;
                bool is_new = c->is_new;

                schema_call_free(c);
                callback(error, info, is_new, e, userdata);
        } else
                c->callback(error, info, c->is_new, e, c->userdata);
}

static void wake(SchemaRegistry *r) {
        (void) sd_event_source_set_enabled(r->defer, SD_EVENT_ONESHOT);
}

/* Once it is read back. */
static void answer_changed(SchemaCall *c) {
        const Subject *s = schema_find(c->registry, c->subject);
        SchemaInfo info;

        if (!s || (c->action == SCHEMA_PUT && c->version > s->n_versions)) {
                answer(c, -EAGAIN, NULL, NULL); /* it was not seen after all */
                return;
        }
        if (c->action == SCHEMA_PUT)
                schema_describe(s->versions[c->version - 1], &info);
        else if (s->n_versions > 0)
                schema_describe(s->versions[s->n_versions - 1], &info);
        else
                info = (SchemaInfo){ .subject = s->name, .compatibility = s->compatibility };
        answer(c, 0, &info, NULL);
}

/* The change is committed: reads it back, and tells the others. */
static void changed(SchemaCall *c) {
        SchemaRegistry *r = c->registry;

        c->waits_for = ++r->wanted;
        refresh_start(r);
        if (r->on_changed)
                r->on_changed(r->userdata);
}

static void on_put(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        SchemaCall *c = userdata;

        c->query = mam_pg_query_free(c->query);
        if (error < 0) {
                answer(c,
                       error == -EIO || error == -EINVAL || error == -EEXIST ? -EAGAIN : error,
                       NULL,
                       NULL);
                return;
        }
        if (mam_pg_is_null(result, 0, 0)) {
                /* Another one was put meanwhile: it is judged anew when that is known. */
                c->waits_for = ++c->registry->wanted;
                refresh_start(c->registry);
                return;
        }
        c->version = (unsigned) mam_pg_int(result, 0, 0);
        c->is_new = strcmp(mam_pg_text(result, 0, 1), "t") == 0;
        changed(c);
}

static void on_set(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        SchemaCall *c = userdata;

        c->query = mam_pg_query_free(c->query);
        if (error < 0)
                answer(c, error == -EIO || error == -EINVAL ? -EAGAIN : error, NULL, NULL);
        else {
                c->is_new = true;
                changed(c);
        }
}

static int send_put(SchemaCall *c, MamJsonError *error) {
        SchemaRegistry *r = c->registry;
        _cleanup_(json_object_putp) json_object *refs = NULL;
        const Subject *s = schema_find(r, c->subject);
        char expected[16];
        int k;

        if (++c->attempts > ATTEMPTS_MAX)
                return -EAGAIN;
        k = schema_judge(r, c->subject, c->schema, &refs, error);
        if (k < 0)
                return k;
        (void) snprintf(expected, sizeof(expected), "%u", s ? s->n_versions : 0);
        const char *const parameters[] = {
                c->subject, expected, mam_json_to_string(c->schema), mam_json_to_string(refs), c->by,
        };
        return mam_pg_query(
                        r->pg,
                        &c->query,
                        &put_statement,
                        parameters,
                        MAM_ELEMENTSOF(parameters),
                        on_put,
                        c);
}

static int send_set(SchemaCall *c) {
        SchemaRegistry *r = c->registry;
        const char *const parameters[] = { c->subject, schema_compatibility_to_string(c->compatibility) };

        if (!schema_find(r, c->subject) && r->n_subjects >= SCHEMA_SUBJECTS_MAX)
                return -ENOSPC;
        return mam_pg_query(
                        r->pg,
                        &c->query,
                        &set_statement,
                        parameters,
                        MAM_ELEMENTSOF(parameters),
                        on_set,
                        c);
}

static bool is_waiting(const SchemaCall *c) {
        return c->failed == 0 && (c->query || !c->registry->is_loaded || c->waits_for > c->registry->done);
}

/* Takes a call that waits for nothing a step further. */
static void go_on(SchemaCall *c) {
        MamJsonError error = { .offset = SIZE_MAX };
        int k;

        if (c->failed < 0) {
                answer(c, c->failed, NULL, NULL);
                return;
        }
        if (c->version > 0 || (c->action == SCHEMA_SET && c->is_new)) {
                answer_changed(c);
                return;
        }
        k = c->action == SCHEMA_PUT ? send_put(c, &error) : send_set(c);
        if (k < 0)
                answer(c, k, NULL, k == -EBADMSG || k == -EPROTO || k == -ENOSPC ? &error : NULL);
}

/* One at a time: an answer may be the last thing that happens to the registry. */
static int on_defer(sd_event_source *source, void *userdata) {
        SchemaRegistry *r = userdata;
        SchemaCall *c;

        TAILQ_FOREACH(c, &r->calls, calls)
        if (!is_waiting(c)) {
                wake(r);
                go_on(c);
                break;
        }
        return 0;
}

/* The database does not answer: nor can we those who wait for it. */
static void fail_calls(SchemaRegistry *r, int error) {
        SchemaCall *c;

        TAILQ_FOREACH(c, &r->calls, calls)
        if (!c->query && is_waiting(c))
                c->failed = error;
        wake(r);
}

static int call_new(
                SchemaRegistry *r,
                SchemaCall **ret,
                const char *subject,
                SchemaCallback callback,
                void *userdata) {
        SchemaCall *c, *other;
        size_t n = 0;

        if (*subject == '\0' || strlen(subject) > SCHEMA_SUBJECT_MAX)
                return -EINVAL;
        for (const char *s = subject; *s; s++)
                if ((unsigned char) *s <= 0x20 || *s == 0x7f || *s == '#')
                        return -EINVAL;
        TAILQ_FOREACH(other, &r->calls, calls)
        n++;
        if (n >= CALLS_MAX)
                return -EAGAIN;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->subject = strdup(subject);
        if (!c->subject) {
                free(c);
                return -ENOMEM;
        }
        c->registry = r;
        c->callback = callback;
        c->userdata = userdata;
        c->is_loose = true; /* until the caller takes it */
        TAILQ_INSERT_TAIL(&r->calls, c, calls);
        *ret = c;
        return 0;
}

static void call_begin(SchemaCall *c, SchemaCall **ret) {
        wake(c->registry);
        if (ret) {
                c->is_loose = false;
                *ret = c;
        }
}

int schema_registry_put(
                SchemaRegistry *r,
                SchemaCall **ret,
                const char *subject,
                json_object *schema,
                const char *by,
                SchemaCallback callback,
                void *userdata) {
        SchemaCall *c;
        int k;

        assert(r);
        assert(subject);
        assert(callback);

        k = call_new(r, &c, subject, callback, userdata);
        if (k < 0)
                return k;
        c->action = SCHEMA_PUT;
        c->by = by ? strdup(by) : NULL;
        if (by && !c->by) {
                schema_call_free(c);
                return -ENOMEM;
        }
        c->schema = json_object_get(schema);
        call_begin(c, ret);
        return 0;
}

int schema_registry_set_compatibility(
                SchemaRegistry *r,
                SchemaCall **ret,
                const char *subject,
                SchemaCompatibility compatibility,
                SchemaCallback callback,
                void *userdata) {
        SchemaCall *c;
        int k;

        assert(r);
        assert(subject);
        assert(compatibility >= 0 && compatibility < _SCHEMA_COMPATIBILITY_MAX);
        assert(callback);

        k = call_new(r, &c, subject, callback, userdata);
        if (k < 0)
                return k;
        c->action = SCHEMA_SET;
        c->compatibility = compatibility;
        call_begin(c, ret);
        return 0;
}

/* ---- reading ---- */

static int learn(SchemaRegistry *r, const MamPgResult *result) {
        int k = 0;

        for (size_t i = 0; i < mam_pg_rows(result) && k >= 0; i++) {
                const char *subject = mam_pg_text(result, i, 1);
                SchemaCompatibility c;

                if (!mam_pg_is_null(result, i, 3)) {
                        k = schema_learn_version(
                                        r,
                                        subject,
                                        (unsigned) mam_pg_int(result, i, 3),
                                        mam_pg_text(result, i, 4),
                                        mam_pg_text(result, i, 5),
                                        mam_pg_text(result, i, 6),
                                        mam_pg_is_null(result, i, 7) ? NULL : mam_pg_text(result, i, 7));
                        continue;
                }
                c = schema_compatibility_from_string(mam_pg_text(result, i, 2));
                k = schema_learn_subject(r, subject, c < 0 ? SCHEMA_BACKWARD : c);
        }
        return k;
}

static void set_timer(SchemaRegistry *r, uint64_t usec) {
        (void) sd_event_source_set_time_relative(r->timer, usec);
        (void) sd_event_source_set_enabled(r->timer, SD_EVENT_ONESHOT);
}

static void refresh_failed(SchemaRegistry *r, int error) {
        set_timer(r, mam_backoff_usec(r->failures++, RETRY_FIRST_USEC, REFRESH_USEC));
        fail_calls(r, error);
}

static void on_refresh(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        SchemaRegistry *r = userdata;
        size_t n;

        r->query = mam_pg_query_free(r->query);
        if (error >= 0)
                error = learn(r, result);
        if (error < 0) {
                refresh_failed(r,
                               error == -ENOTCONN || error == -ECANCELED || error == -ECONNRESET ? error
                                                                                                 : -EAGAIN);
                return;
        }
        r->failures = 0;
        n = mam_pg_rows(result);
        if (n > 0)
                r->revision = mam_pg_int(result, n - 1, 0);
        if (n == PAGE_ROWS) {
                r->revision--; /* of the last revision only a part may have come */
                refresh_start(r);
                return;
        }
        r->is_loaded = true;
        r->done = r->running;
        set_timer(r, REFRESH_USEC);
        wake(r);
        if (r->wanted > r->done)
                refresh_start(r);
}

static void refresh_start(SchemaRegistry *r) {
        char revision[24];
        const char *const parameters[] = { revision };
        int k;

        if (r->query)
                return;
        r->running = r->wanted;
        (void) snprintf(revision, sizeof(revision), "%" PRIi64, r->revision);
        k = mam_pg_query(r->pg, &r->query, &refresh_statement, parameters, 1, on_refresh, r);
        if (k < 0)
                set_timer(r, mam_backoff_usec(r->failures++, RETRY_FIRST_USEC, REFRESH_USEC));
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        schema_registry_refresh(userdata);
        return 0;
}

void schema_registry_refresh(SchemaRegistry *r) {
        assert(r);

        r->wanted++;
        refresh_start(r);
}

bool schema_registry_is_loaded(const SchemaRegistry *r) {
        return r->is_loaded;
}

int schema_registry_get(SchemaRegistry *r, SchemaInfo *ret, const char *subject, unsigned version) {
        const Subject *s;

        assert(r);
        assert(ret);
        assert(subject);

        if (!r->is_loaded)
                return -EAGAIN;
        s = schema_find(r, subject);
        if (!s || version > s->n_versions)
                return -ENOENT;
        if (s->n_versions == 0) {
                *ret = (SchemaInfo){ .subject = s->name, .compatibility = s->compatibility };
                return 0;
        }
        schema_describe(s->versions[(version > 0 ? version : s->n_versions) - 1], ret);
        return 0;
}

int schema_registry_list(SchemaRegistry *r, const char *after, SchemaListed listed, void *userdata) {
        SchemaInfo info;

        assert(r);
        assert(listed);

        if (!r->is_loaded)
                return -EAGAIN;
        for (size_t i = 0; i < r->n_subjects; i++) {
                if (after && strcmp(r->subjects[i]->name, after) <= 0)
                        continue;
                (void) schema_registry_get(r, &info, r->subjects[i]->name, 0);
                if (!listed(&info, userdata))
                        break;
        }
        return 0;
}

int schema_registry_test(SchemaRegistry *r, const char *subject, json_object *schema, MamJsonError *error) {
        _cleanup_(json_object_putp) json_object *refs = NULL;

        assert(r);
        assert(subject);

        if (!r->is_loaded)
                return -EAGAIN;
        if (*subject == '\0' || strlen(subject) > SCHEMA_SUBJECT_MAX)
                return -EINVAL;
        return schema_judge(r, subject, schema, &refs, error);
}

/* ---- checking ---- */

/* The event's schema: of its dataschema if that is known, else of its type. */
static const Subject *subject_of(const SchemaRegistry *r, const MamEvent *e) {
        const char *name = mam_event_data_schema(e);
        const Subject *s = name ? schema_find(r, name) : NULL;

        if (!s || s->n_versions == 0)
                s = schema_find(r, mam_event_type(e));
        return s && s->n_versions > 0 ? s : NULL;
}

static int version_of(const Subject *s, const MamEvent *e, Version **ret, MamJsonError *error) {
        const char *text = mam_event_attribute(e, "dataschemaversion");
        unsigned long version = s->n_versions;
        char *end;

        if (text) {
                errno = 0;
                version = strtoul(text, &end, 10);
                if (*text < '1' || *text > '9' || *end != '\0' || errno != 0 || version > s->n_versions)
                        return mam_json_fail(
                                        error,
                                        "",
                                        "dataschemaversion",
                                        "is no version of %.100s: 1 to %u",
                                        s->name,
                                        s->n_versions);
        }
        *ret = s->versions[version - 1];
        return 0;
}

int schema_registry_check(SchemaRegistry *r, SchemaMode mode, MamEvent *e, MamJsonError *error) {
        const MamJsonSchema *schema;
        const Subject *s;
        Version *v = NULL;
        int k;

        assert(r);
        assert(e);

        if (mode == SCHEMA_NONE)
                return 0;
        if (!r->is_loaded)
                return -EAGAIN;
        s = subject_of(r, e);
        if (!s)
                return mode == SCHEMA_REQUIRE ? -ENOKEY : 0;
        k = version_of(s, e, &v, error);
        if (k < 0)
                return k;
        k = schema_compiled(r, v, &schema);
        if (k == -EBADMSG)
                return mam_json_fail(error, "/data", NULL, "its schema cannot be used");
        if (k < 0)
                return k;
        k = mam_json_schema_validate(schema, mam_event_data(e), "/data", error);
        return k == -EOVERFLOW ? -EBADMSG : k;
}

/* ---- life ---- */

int schema_registry_new(
                SchemaRegistry **ret,
                sd_event *event,
                MamPg *pg,
                void (*on_changed)(void *userdata),
                void *userdata) {
        _cleanup_(schema_registry_freep) SchemaRegistry *r = NULL;
        int k;

        assert(ret);
        assert(event);
        assert(pg);

        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->pg = pg;
        r->on_changed = on_changed;
        r->userdata = userdata;
        TAILQ_INIT(&r->calls);
        TAILQ_INIT(&r->used);
        k = sd_event_add_defer(event, &r->defer, on_defer, r);
        if (k >= 0)
                k = sd_event_source_set_enabled(r->defer, SD_EVENT_OFF);
        if (k >= 0)
                k = sd_event_add_time_relative(
                                event,
                                &r->timer,
                                CLOCK_MONOTONIC,
                                REFRESH_USEC,
                                0,
                                on_timer,
                                r);
        if (k < 0)
                return k;
        schema_registry_refresh(r);
        *ret = MAM_TAKE(r);
        return 0;
}

SchemaRegistry *schema_registry_free(SchemaRegistry *r) {
        if (!r)
                return NULL;
        while (!TAILQ_EMPTY(&r->calls)) {
                SchemaCall *c = TAILQ_FIRST(&r->calls);

                answer(c, -ECANCELED, NULL, NULL);
        }
        mam_pg_query_free(r->query);
        sd_event_source_disable_unref(r->timer);
        sd_event_source_disable_unref(r->defer);
        schema_forget_all(r);
        free(r);
        return NULL;
}

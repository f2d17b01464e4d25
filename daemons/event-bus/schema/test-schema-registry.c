/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The registry on a real, private PostgreSQL; two registries are two replicas
 */

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "event-bus/migrations.h"
#include "event-bus/schema/schema-registry.h"
#include "libmam/db/test-server.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

static MamTestServer server;

static void stop_server(void) {
        mam_test_server_done(&server);
}

typedef struct Answer {
        unsigned n;
        int r;
        bool is_new;
        unsigned version, newest;
        SchemaCompatibility compatibility;
        char text[512], pointer[128], message[300], created_at[64], created_by[64];
} Answer;

typedef struct Fixture {
        sd_event *event;
        MamPg *pg;
        SchemaRegistry *a, *b;
        unsigned n_changed;
        bool is_migrated;
        Answer answer;
} Fixture;

#define RUN_UNTIL(f, condition)                                                       \
        do {                                                                          \
                uint64_t _end = mam_now_monotonic() + 60 * MAM_USEC_PER_SEC;          \
                while (!(condition)) {                                                \
                        ASSERT_OK(sd_event_run((f)->event, 100 * MAM_USEC_PER_MSEC)); \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                      \
                }                                                                     \
        } while (0)

static void on_migrated(int error, const char *message, void *userdata) {
        Fixture *f = userdata;

        if (error < 0)
                mam_test_fail_string(__FILE__, __LINE__, "migrates", message);
        f->is_migrated = true;
}

/* What the first replica changes is told to the second one. */
static void on_changed(void *userdata) {
        Fixture *f = userdata;

        f->n_changed++;
        if (f->b)
                schema_registry_refresh(f->b);
}

static void fixture_setup(Fixture *f) {
        static const MamPgOptions options = { .schema = "event_bus" };
        char conninfo[160];

        *f = (Fixture){ 0 };
        if (!server.folder[0]) {
                mam_test_postgres_init(&server);
                (void) atexit(stop_server);
        }
        if (!server.pid)
                mam_test_postgres_start(&server);
        (void) snprintf(conninfo, sizeof(conninfo), "host=%s dbname=postgres user=postgres", server.folder);
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_pg_new(&f->pg, f->event, conninfo, &options));
        ASSERT_OK(
                        mam_pg_migrate(f->pg,
                                       "event_bus",
                                       event_bus_migrations,
                                       event_bus_n_migrations,
                                       on_migrated,
                                       f));
        RUN_UNTIL(f, f->is_migrated);
}

static void on_cleared(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        bool *done = userdata;

        ASSERT_OK(error);
        *done = true;
}

static void fixture_open(Fixture *f) {
        static const MamPgStatement clear = { "clear-schemas", "TRUNCATE schemas, schema_subjects", false };
        bool done = false;

        fixture_setup(f);
        ASSERT_OK(mam_pg_query(f->pg, NULL, &clear, NULL, 0, on_cleared, &done));
        RUN_UNTIL(f, done);
        ASSERT_OK(schema_registry_new(&f->a, f->event, f->pg, on_changed, f));
        ASSERT_OK(schema_registry_new(&f->b, f->event, f->pg, NULL, NULL));
}

static void fixture_close(Fixture *f) {
        schema_registry_free(f->a);
        schema_registry_free(f->b);
        mam_pg_free(f->pg);
        sd_event_unref(f->event);
}

static json_object *parse(const char *text) {
        json_object *o = NULL;

        if (mam_json_parse(&o, text, strlen(text), NULL) < 0)
                mam_test_fail_string(__FILE__, __LINE__, "is JSON", text);
        return o;
}

static void on_answer(
                int r,
                const SchemaInfo *info,
                bool is_new,
                const MamJsonError *error,
                void *userdata) {
        Answer *a = userdata;

        *a = (Answer){ .n = a->n + 1, .r = r, .is_new = is_new };
        if (info) {
                a->version = info->version;
                a->newest = info->newest;
                a->compatibility = info->compatibility;
                (void) snprintf(a->text, sizeof(a->text), "%s", info->text ? info->text : "");
                (void) snprintf(a->created_at,
                                sizeof(a->created_at),
                                "%s",
                                info->created_at ? info->created_at : "");
                (void) snprintf(a->created_by,
                                sizeof(a->created_by),
                                "%s",
                                info->created_by ? info->created_by : "");
        }
        if (error) {
                (void) snprintf(a->pointer, sizeof(a->pointer), "%.127s", error->pointer);
                (void) snprintf(a->message, sizeof(a->message), "%s", error->message);
        }
}

static int put(Fixture *f, SchemaRegistry *r, const char *subject, const char *text) {
        _cleanup_(json_object_putp) json_object *schema = parse(text);
        _cleanup_(schema_call_freep) SchemaCall *c = NULL;
        unsigned n = f->answer.n;

        ASSERT_OK(schema_registry_put(r, &c, subject, schema, "me", on_answer, &f->answer));
        ASSERT_EQ(f->answer.n, n); /* not from within the call */
        RUN_UNTIL(f, f->answer.n > n);
        return f->answer.r;
}

static int set(Fixture *f, SchemaRegistry *r, const char *subject, SchemaCompatibility compatibility) {
        unsigned n = f->answer.n;

        ASSERT_OK(schema_registry_set_compatibility(r, NULL, subject, compatibility, on_answer, &f->answer));
        RUN_UNTIL(f, f->answer.n > n);
        return f->answer.r;
}

static MamEvent *make_event(const char *type, const char *more) {
        char text[2048];
        MamEvent *e = NULL;

        (void) snprintf(text,
                        sizeof(text),
                        "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"%s\"%s}",
                        type,
                        more);
        ASSERT_OK(mam_event_parse(&e, text, strlen(text), NULL));
        return e;
}

static int check(
                SchemaRegistry *r,
                SchemaMode mode,
                const char *type,
                const char *more,
                MamJsonError *error) {
        _cleanup_(mam_event_freep) MamEvent *e = make_event(type, more);

        *error = (MamJsonError){ 0 };
        return schema_registry_check(r, mode, e, error);
}

TEST(a_schema_is_put_once_and_seen_by_other_replicas) {
        Fixture f;
        SchemaInfo info;

        fixture_open(&f);
        ASSERT_EQ(schema_registry_get(f.a, &info, "order", 0), -EAGAIN);
        ASSERT_OK(put(&f, f.a, "order", "{ \"type\": \"object\" }"));
        ASSERT_TRUE(f.answer.is_new);
        ASSERT_EQ(f.answer.version, 1);
        ASSERT_STREQ(f.answer.text, "{\"type\":\"object\"}");
        ASSERT_STREQ(f.answer.created_by, "me");
        ASSERT_TRUE(strlen(f.answer.created_at) > 20);
        ASSERT_EQ(f.n_changed, 1);

        ASSERT_OK(put(&f, f.a, "order", "{\"type\":\"object\"}"));
        ASSERT_TRUE(!f.answer.is_new);
        ASSERT_EQ(f.answer.version, 1);
        RUN_UNTIL(&f, schema_registry_get(f.b, &info, "order", 1) == 0);
        ASSERT_STREQ(info.text, "{\"type\":\"object\"}");
        ASSERT_EQ(schema_registry_get(f.b, &info, "order", 2), -ENOENT);
        ASSERT_EQ(schema_registry_get(f.b, &info, "other", 0), -ENOENT);
        fixture_close(&f);
}

TEST(compatibility_is_asked_for_as_the_subject_says) {
        static const char closed[] =
                        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},\"additionalProperties\":false}";
        static const char wider[] =
                        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"number\"},\"b\":{}},\"additionalProperties\":false}";
        Fixture f;

        fixture_open(&f);
        ASSERT_OK(put(&f, f.a, "s", closed));
        ASSERT_EQ(f.answer.compatibility, SCHEMA_BACKWARD);
        ASSERT_OK(put(&f, f.a, "s", wider));
        ASSERT_EQ(f.answer.version, 2);
        ASSERT_EQ(put(&f, f.a, "s", closed), -EPROTO);
        ASSERT_STREQ(f.answer.message,
                     "not backward compatible: version 2 allows numbers with a fraction, the new one does not (type)");
        ASSERT_STREQ(f.answer.pointer, "/a");

        ASSERT_OK(set(&f, f.a, "s", SCHEMA_FORWARD));
        ASSERT_EQ(f.answer.compatibility, SCHEMA_FORWARD);
        ASSERT_EQ(f.answer.newest, 2);
        ASSERT_OK(put(&f, f.a, "s", closed));
        ASSERT_EQ(f.answer.version, 3);
        ASSERT_EQ(put(&f, f.a, "s", wider), -EPROTO);
        ASSERT_STREQ(f.answer.message,
                     "not forward compatible: the new one allows numbers with a fraction, version 3 does not (type)");

        /* With the newest one it is, with the second not. */
        ASSERT_OK(set(&f, f.a, "s", SCHEMA_BACKWARD_TRANSITIVE));
        ASSERT_EQ(put(&f,
                      f.a,
                      "s",
                      "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"c\":{}},\"additionalProperties\":false}"),
                  -EPROTO);
        ASSERT_TRUE(strstr(f.answer.message, "version 2"));
        ASSERT_OK(set(&f, f.a, "s", SCHEMA_FULL));
        ASSERT_EQ(put(&f, f.a, "s", wider), -EPROTO);
        ASSERT_OK(set(&f, f.a, "s", SCHEMA_ANY));
        ASSERT_OK(put(&f, f.a, "s", "{\"type\":\"null\"}"));
        ASSERT_EQ(f.answer.version, 4);
        fixture_close(&f);
}

TEST(what_is_no_schema_and_wrong_names_are_refused) {
        _cleanup_(json_object_putp) json_object *schema = parse("{}");
        Fixture f;
        MamJsonError error = { 0 };

        fixture_open(&f);
        ASSERT_EQ(put(&f, f.a, "s", "{\"properties\":{\"a\":{\"type\":\"text\"}}}"), -EBADMSG);
        ASSERT_STREQ(f.answer.pointer, "/properties/a/type");
        ASSERT_EQ(schema_registry_put(f.a, NULL, "", schema, NULL, on_answer, &f.answer), -EINVAL);
        ASSERT_EQ(schema_registry_put(f.a, NULL, "a b", schema, NULL, on_answer, &f.answer), -EINVAL);
        ASSERT_OK(schema_registry_test(f.a, "s", schema, &error));
        ASSERT_OK(set(&f, f.a, "later", SCHEMA_FULL));
        ASSERT_EQ(f.answer.newest, 0);
        ASSERT_OK(put(&f, f.a, "later", "{}"));
        ASSERT_EQ(f.answer.compatibility, SCHEMA_FULL);
        fixture_close(&f);
}

static bool on_listed(const SchemaInfo *info, void *userdata) {
        char *names = userdata;

        (void) snprintf(names + strlen(names), 64 - strlen(names), "%s:%u ", info->subject, info->version);
        return true;
}

TEST(subjects_are_listed_in_order) {
        Fixture f;
        char names[64] = "";

        fixture_open(&f);
        ASSERT_OK(put(&f, f.a, "b", "{}"));
        ASSERT_OK(put(&f, f.a, "a", "{\"type\":\"null\"}"));
        ASSERT_OK(put(&f, f.a, "a", "{}"));
        ASSERT_OK(put(&f, f.a, "https://h/c", "{}"));
        ASSERT_OK(schema_registry_list(f.a, NULL, on_listed, names));
        ASSERT_STREQ(names, "a:2 b:1 https://h/c:1 ");
        names[0] = '\0';
        ASSERT_OK(schema_registry_list(f.a, "a", on_listed, names));
        ASSERT_STREQ(names, "b:1 https://h/c:1 ");
        fixture_close(&f);
}

TEST(events_are_checked_against_their_schema) {
        static const char data[] = ",\"datacontenttype\":\"application/json\",\"data\":";
        char more[256];
        Fixture f;
        MamJsonError error;

        fixture_open(&f);
        ASSERT_EQ(check(f.a, SCHEMA_CHECK, "order", "", &error), -EAGAIN);
        ASSERT_OK(check(f.a, SCHEMA_NONE, "order", "", &error));
        ASSERT_OK(put(&f,
                      f.a,
                      "order",
                      "{\"properties\":{\"n\":{\"type\":\"integer\"}},\"required\":[\"n\"],\"type\":\"object\"}"));
        ASSERT_OK(put(&f,
                      f.a,
                      "order",
                      "{\"properties\":{\"n\":{\"type\":\"number\"}},\"type\":\"object\"}"));
        ASSERT_OK(put(&f, f.a, "https://h/s", "{\"const\":5}"));

        (void) snprintf(more, sizeof(more), "%s{\"n\":1.5}", data);
        ASSERT_OK(check(f.a, SCHEMA_REQUIRE, "order", more, &error));
        (void) snprintf(more, sizeof(more), ",\"dataschemaversion\":\"1\"%s{\"n\":1.5}", data);
        ASSERT_EQ(check(f.a, SCHEMA_CHECK, "order", more, &error), -EBADMSG);
        ASSERT_STREQ(error.pointer, "/data/n");
        ASSERT_STREQ(error.message, "must be an integer (type)");
        (void) snprintf(more, sizeof(more), ",\"dataschemaversion\":\"3\"%s{\"n\":1}", data);
        ASSERT_EQ(check(f.a, SCHEMA_CHECK, "order", more, &error), -EBADMSG);
        ASSERT_STREQ(error.pointer, "/dataschemaversion");

        /* The schema that the event names comes first, if it is known. */
        (void) snprintf(more, sizeof(more), ",\"dataschema\":\"https://h/s\"%s5", data);
        ASSERT_OK(check(f.a, SCHEMA_CHECK, "order", more, &error));
        (void) snprintf(more, sizeof(more), ",\"dataschema\":\"https://h/unknown\"%s5", data);
        ASSERT_EQ(check(f.a, SCHEMA_CHECK, "order", more, &error), -EBADMSG);
        ASSERT_EQ(check(f.a, SCHEMA_CHECK, "order", "", &error), -EBADMSG);
        ASSERT_STREQ(error.pointer, "/data");
        ASSERT_OK(check(f.a, SCHEMA_CHECK, "other", more, &error));
        ASSERT_EQ(check(f.a, SCHEMA_REQUIRE, "other", more, &error), -ENOKEY);
        fixture_close(&f);
}

TEST(references_keep_to_the_version_they_were_made_with) {
        static const char order[] =
                        "{\"properties\":{\"by\":{\"$ref\":\"customer\"}},\"required\":[\"by\"],\"type\":\"object\"}";
        Fixture f;
        MamJsonError error;

        fixture_open(&f);
        ASSERT_EQ(put(&f, f.a, "order", order), -EBADMSG);
        ASSERT_STREQ(f.answer.message, "there is no schema at subject:/customer");
        ASSERT_OK(put(&f, f.a, "customer", "{\"type\":\"integer\"}"));
        ASSERT_OK(put(&f, f.a, "order", order));
        ASSERT_OK(put(&f, f.a, "customer", "{\"type\":[\"integer\",\"string\"]}"));
        ASSERT_EQ(check(f.a, SCHEMA_CHECK, "order", ",\"data\":{\"by\":\"x\"}", &error), -EBADMSG);
        ASSERT_STREQ(error.pointer, "/data/by");

        /* The same text with a newer reference is another version. */
        ASSERT_OK(put(&f, f.a, "order", order));
        ASSERT_TRUE(f.answer.is_new);
        ASSERT_EQ(f.answer.version, 2);
        ASSERT_OK(check(f.a, SCHEMA_CHECK, "order", ",\"data\":{\"by\":\"x\"}", &error));
        RUN_UNTIL(&f, check(f.b, SCHEMA_REQUIRE, "order", ",\"data\":{\"by\":\"x\"}", &error) == 0);
        fixture_close(&f);
}

/* Both judge against version 1, and neither has heard of the other: the later one is judged anew. */
TEST(replicas_that_put_at_once_do_not_pass_each_other) {
        _cleanup_(json_object_putp) json_object *x = parse("{\"type\":[\"null\",\"string\"]}"),
                                                *y = parse("{\"type\":[\"null\",\"integer\"]}");
        Answer a = { 0 }, b = { 0 };
        SchemaInfo info;
        Fixture f;

        fixture_open(&f);
        ASSERT_OK(put(&f, f.a, "s", "{\"type\":\"null\"}"));
        RUN_UNTIL(&f, schema_registry_get(f.b, &info, "s", 1) == 0);
        ASSERT_OK(schema_registry_put(f.a, NULL, "s", x, NULL, on_answer, &a));
        ASSERT_OK(schema_registry_put(f.b, NULL, "s", y, NULL, on_answer, &b));
        RUN_UNTIL(&f, a.n == 1 && b.n == 1);
        ASSERT_EQ((a.r == 0) + (b.r == 0), 1);
        ASSERT_EQ(a.r + b.r, -EPROTO);
        RUN_UNTIL(&f, schema_registry_get(f.a, &info, "s", 2) == 0);
        ASSERT_EQ(info.newest, 2);
        fixture_close(&f);
}

TEST(many_versions_are_read_page_by_page) {
        Fixture f;
        SchemaInfo info;
        char subject[32], text[64];

        fixture_open(&f);
        for (unsigned i = 0; i < 250; i++) {
                (void) snprintf(subject, sizeof(subject), "s%u", i % 120);
                (void) snprintf(text, sizeof(text), "{\"maxLength\":%u}", i + 10);
                ASSERT_OK(put(&f, f.a, subject, text));
        }
        schema_registry_free(f.b);
        f.b = NULL;
        ASSERT_OK(schema_registry_new(&f.b, f.event, f.pg, NULL, NULL));
        RUN_UNTIL(&f, schema_registry_is_loaded(f.b));
        for (unsigned i = 0; i < 120; i++) {
                (void) snprintf(subject, sizeof(subject), "s%u", i);
                ASSERT_OK(schema_registry_get(f.b, &info, subject, 0));
                ASSERT_EQ(info.newest, i < 10 ? 3 : 2);
        }
        fixture_close(&f);
}

TEST(a_cancelled_call_is_never_answered) {
        _cleanup_(json_object_putp) json_object *schema = parse("{}");
        Fixture f;
        SchemaCall *c = NULL;
        Answer never = { 0 }, last = { 0 };

        fixture_open(&f);
        ASSERT_OK(schema_registry_put(f.a, &c, "x", schema, NULL, on_answer, &never));
        c = schema_call_free(c);
        ASSERT_OK(put(&f, f.a, "s", "{}"));
        ASSERT_OK(schema_registry_put(f.a, NULL, "y", schema, NULL, on_answer, &last));
        f.a = schema_registry_free(f.a);
        ASSERT_EQ(last.r, -ECANCELED);
        ASSERT_EQ(never.n, 0);
        fixture_close(&f);
}

/* While the database is away what is known goes on to be used, and a change says that it may be tried again.
 */
TEST(the_database_may_be_away) {
        Fixture f;
        MamJsonError error;

        fixture_open(&f);
        ASSERT_OK(put(&f, f.a, "s", "{\"type\":\"null\"}"));
        mam_test_server_kill(&server, SIGKILL);
        ASSERT_EQ(check(f.a, SCHEMA_CHECK, "s", ",\"data\":1", &error), -EBADMSG);
        ASSERT_TRUE(put(&f, f.a, "s", "{}") < 0);
        ASSERT_TRUE(f.answer.r == -ENOTCONN || f.answer.r == -ECONNRESET || f.answer.r == -ECANCELED ||
                    f.answer.r == -EAGAIN);
        mam_test_postgres_start(&server);
        for (unsigned i = 0; f.answer.r < 0 && i < 50; i++)
                (void) put(&f, f.a, "s", "{}");
        ASSERT_OK(f.answer.r);
        ASSERT_EQ(f.answer.version, 2);
        fixture_close(&f);
}

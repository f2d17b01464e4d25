/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The CloudEvents codec: what the specification asks for (core 1.0.2, JSON format 1.0.2, HTTP binding 1.0.2)
 */

#include <errno.h>
#include <string.h>

#include "libmam/events/event.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

#define MINIMAL "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""

static MamEvent *parse(const char *text) {
        MamEvent *e = NULL;
        MamJsonError error;

        if (mam_event_parse(&e, text, strlen(text), &error) < 0)
                mam_test_fail_string(__FILE__, __LINE__, text, error.message);
        return e;
}

static void refuse(const char *text, const char *pointer) {
        MamEvent *e = NULL;
        MamJsonError error = { 0 };

        if (mam_event_parse(&e, text, strlen(text), &error) != -EBADMSG)
                mam_test_fail_string(__FILE__, __LINE__, "must be refused", text);
        if (strcmp(error.pointer, pointer) != 0)
                mam_test_fail_string(__FILE__, __LINE__, text, error.pointer);
        ASSERT_TRUE(error.message[0]);
        ASSERT_TRUE(!e);
}

TEST(all_attributes_are_read) {
        _cleanup_(mam_event_freep) MamEvent *e = parse(
                        "{\"specversion\":\"1.0\",\"id\":\"A-1\",\"source\":\"https://a.example/x?y=1#z\","
                        "\"type\":\"com.example.made\",\"subject\":\"order/\\u00e9\",\"time\":\"2024-02-29T23:59:"
                        "60.5+01:00\",\"datacontenttype\":\"application/vnd.a+json; charset=utf-8\","
                        "\"dataschema\":\"urn:x:1\",\"partitionkey\":\"k\",\"comexampleext\":\"v\",\"n\":-7,"
                        "\"b\":true,\"data\":{\"a\":[1,2]}}");
        json_object *data = mam_event_data(e);

        ASSERT_STREQ(mam_event_id(e), "A-1");
        ASSERT_STREQ(mam_event_source(e), "https://a.example/x?y=1#z");
        ASSERT_STREQ(mam_event_type(e), "com.example.made");
        ASSERT_STREQ(mam_event_subject(e), "order/\xc3\xa9");
        ASSERT_STREQ(mam_event_time(e), "2024-02-29T23:59:60.5+01:00");
        ASSERT_STREQ(mam_event_content_type(e), "application/vnd.a+json; charset=utf-8");
        ASSERT_STREQ(mam_event_data_schema(e), "urn:x:1");
        ASSERT_STREQ(mam_event_key(e), "k");
        ASSERT_STREQ(mam_event_attribute(e, "comexampleext"), "v");
        ASSERT_STREQ(mam_event_attribute(e, "n"), "-7");
        ASSERT_STREQ(mam_event_attribute(e, "b"), "true");
        ASSERT_STREQ(mam_event_attribute(e, "specversion"), "1.0");
        ASSERT_TRUE(!mam_event_attribute(e, "nothing"));
        ASSERT_STREQ(json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN), "{\"a\":[1,2]}");
        ASSERT_TRUE(mam_event_data(e) == data);
}

TEST(the_key_falls_back_to_subject_and_source) {
        _cleanup_(mam_event_freep) MamEvent *with = parse("{" MINIMAL ",\"subject\":\"u\"}");
        _cleanup_(mam_event_freep) MamEvent *without = parse("{" MINIMAL "}");

        ASSERT_STREQ(mam_event_key(with), "u");
        ASSERT_STREQ(mam_event_key(without), "/s");
        ASSERT_TRUE(!mam_event_subject(without));
        ASSERT_TRUE(!mam_event_data(without));
}

TEST(the_text_has_attributes_first_and_no_white_space) {
        _cleanup_(mam_event_freep) MamEvent *e = parse(
                        " { \"data\" : { \"x y\" : [ 1 , \" \\\" \" ] } ,\n" MINIMAL ", \"ext\" : null } ");
        _cleanup_(mam_event_freep) MamEvent *again = NULL;
        size_t size;

        ASSERT_STREQ(mam_event_text(e, &size), "{" MINIMAL ",\"data\":{\"x y\":[1,\" \\\" \"]}}");
        ASSERT_EQ(size, strlen(mam_event_text(e, NULL)));
        ASSERT_TRUE(!mam_event_attribute(e, "ext"));

        again = parse(mam_event_text(e, NULL));
        ASSERT_STREQ(mam_event_text(again, NULL), mam_event_text(e, NULL));
}

TEST(what_the_specification_forbids_is_refused_with_its_place) {
        static const struct {
                const char *text, *pointer;
        } cases[] = {
                { "[]", "" },
                { "{}", "/specversion" },
                { "{" MINIMAL "} x", "" },
                { "{" MINIMAL ",}", "" },
                { "{\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"/\",\"type\":\"t\"}", "/specversion" },
                { "{\"specversion\":\"1.0\\u0000\",\"id\":\"1\",\"source\":\"/\",\"type\":\"t\"}",
                  "/specversion" },
                { "{\"specversion\":\"1.0\",\"source\":\"/\",\"type\":\"t\"}", "/id" },
                { "{\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"/\",\"type\":\"t\"}", "/id" },
                { "{\"specversion\":\"1.0\",\"id\":7,\"source\":\"/\",\"type\":\"t\"}", "/id" },
                { "{\"specversion\":\"1.0\",\"id\":null,\"source\":\"/\",\"type\":\"t\"}", "/id" },
                { "{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"t\"}", "/source" },
                { "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"a b\",\"type\":\"t\"}", "/source" },
                { "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"1:b\",\"type\":\"t\"}", "/source" },
                { "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"%2\",\"type\":\"t\"}", "/source" },
                { "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"\xc3\xa9\",\"type\":\"t\"}",
                  "/source" },
                { "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/\"}", "/type" },
                { "{" MINIMAL ",\"subject\":\"\"}", "/subject" },
                { "{" MINIMAL ",\"partitionkey\":\"\"}", "/partitionkey" },
                { "{" MINIMAL ",\"partitionkey\":1}", "/partitionkey" },
                { "{" MINIMAL ",\"dataschema\":\"relative/one\"}", "/dataschema" },
                { "{" MINIMAL ",\"datacontenttype\":\"json\"}", "/datacontenttype" },
                { "{" MINIMAL ",\"datacontenttype\":\"a/b; c\"}", "/datacontenttype" },
                { "{" MINIMAL ",\"time\":\"2023-02-29T00:00:00Z\"}", "/time" },
                { "{" MINIMAL ",\"time\":\"2023-02-28 00:00:00Z\"}", "/time" },
                { "{" MINIMAL ",\"time\":\"2023-02-28T00:00:00\"}", "/time" },
                { "{" MINIMAL ",\"time\":\"2023-02-28T00:00:00.Z\"}", "/time" },
                { "{" MINIMAL ",\"Ext\":\"v\"}", "/Ext" },
                { "{" MINIMAL ",\"my_ext\":\"v\"}", "/my_ext" },
                { "{" MINIMAL ",\"\":\"v\"}", "/" },
                { "{" MINIMAL ",\"ext\":1.5}", "/ext" },
                { "{" MINIMAL ",\"ext\":2147483648}", "/ext" },
                { "{" MINIMAL ",\"ext\":-0}", "/ext" },
                { "{" MINIMAL ",\"ext\":{}}", "/ext" },
                { "{" MINIMAL ",\"ext\":[]}", "/ext" },
                { "{" MINIMAL ",\"ext\":\"\\u0007\"}", "/ext" },
                { "{" MINIMAL ",\"ext\":\"\\u0085\"}", "/ext" },
                { "{" MINIMAL ",\"ext\":\"\\ufdd0\"}", "/ext" },
                { "{" MINIMAL ",\"ext\":\"\\ud83f\\udfff\"}", "/ext" },
                { "{" MINIMAL ",\"ext\":\"\\ud83f\"}", "/ext" },
                { "{" MINIMAL ",\"id\":\"2\"}", "/id" },
                { "{" MINIMAL ",\"\\u0069d\":\"2\"}", "/\\u0069d" },
                { "{" MINIMAL ",\"data\":1,\"data\":2}", "/data" },
                { "{" MINIMAL ",\"data\":1,\"data_base64\":\"AA==\"}", "/data_base64" },
                { "{" MINIMAL ",\"data_base64\":1}", "/data_base64" },
                { "{" MINIMAL ",\"data_base64\":\"AA=\"}", "/data_base64" },
                { "{" MINIMAL ",\"data_base64\":\"A A=\"}", "/data_base64" },
                { "{" MINIMAL ",\"data_base64\":\"AB==\"}", "/data_base64" },
                { "{" MINIMAL ",\"data_base64\":\"AA-_\"}", "/data_base64" },
                { "{" MINIMAL ",\"data\":{\"a\":{\"b\":1,\"b\":2}}}", "/data/a/b" },
                { "{" MINIMAL ",\"data\":[0,nul]}", "/data/1" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++)
                refuse(cases[i].text, cases[i].pointer);
}

TEST(sizes_are_bounded) {
        static char text[MAM_EVENT_SIZE_MAX + 200];
        MamEvent *e = NULL;
        MamJsonError error;
        size_t n;

        n = (size_t) snprintf(text, sizeof(text), "{" MINIMAL ",\"ext\":\"");
        memset(text + n, 'x', MAM_EVENT_ATTRIBUTE_MAX + 1);
        strcpy(text + n + MAM_EVENT_ATTRIBUTE_MAX + 1, "\"}");
        refuse(text, "/ext");

        n = (size_t) snprintf(text, sizeof(text), "{" MINIMAL ",\"data\":\"");
        memset(text + n, 'x', MAM_EVENT_SIZE_MAX);
        strcpy(text + n + MAM_EVENT_SIZE_MAX, "\"}");
        ASSERT_EQ(mam_event_parse(&e, text, strlen(text), &error), -EFBIG);

        n = (size_t) snprintf(text, sizeof(text), "{" MINIMAL);
        for (unsigned i = 0; i < MAM_EVENT_ATTRIBUTES_MAX; i++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, ",\"e%u\":1", i);
        strcpy(text + n, "}");
        refuse(text, "");
}

TEST(a_batch_is_read_without_trees) {
        static const char good[] = " [ {" MINIMAL "} , {" MINIMAL ",\"data\":{}} ] ";
        static const char bad[] = "[{" MINIMAL "},{" MINIMAL ",\"time\":\"x\"}]";
        MamEvent *events[3] = { 0 };
        MamJsonError error;
        size_t n = 0;

        ASSERT_OK(mam_event_parse_batch(events, 3, &n, good, strlen(good), &error));
        ASSERT_EQ(n, 2);
        ASSERT_STREQ(mam_event_text(events[1], NULL), "{" MINIMAL ",\"data\":{}}");
        mam_event_free(events[0]);
        mam_event_free(events[1]);

        ASSERT_EQ(mam_event_parse_batch(events, 3, &n, bad, strlen(bad), &error), -EBADMSG);
        ASSERT_STREQ(error.pointer, "/1/time");
        ASSERT_EQ(mam_event_parse_batch(events, 1, &n, good, strlen(good), &error), -EFBIG);
        ASSERT_OK(mam_event_parse_batch(events, 1, &n, "[]", 2, &error));
        ASSERT_EQ(n, 0);
        ASSERT_EQ(mam_event_parse_batch(events, 1, &n, "{}", 2, &error), -EBADMSG);
        ASSERT_EQ(mam_event_parse_batch(events, 1, &n, "[] 1", 4, &error), -EBADMSG);
}

TEST(a_parsed_value_becomes_an_event) {
        static const char text[] = "{ \"data\":{\"a\":\"/\"}, " MINIMAL " }";
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_(json_object_putp) json_object *wrong = json_object_new_object();
        _cleanup_(mam_event_freep) MamEvent *e = NULL;
        MamEvent *none = NULL;
        MamJsonError error;

        ASSERT_OK(mam_json_parse(&o, text, strlen(text), NULL));
        ASSERT_OK(mam_event_from_json(&e, o, "/3", &error));
        ASSERT_STREQ(mam_event_text(e, NULL), "{" MINIMAL ",\"data\":{\"a\":\"/\"}}");
        ASSERT_EQ(mam_event_from_json(&none, wrong, "/3", &error), -EBADMSG);
        ASSERT_STREQ(error.pointer, "/3/specversion");
}

TEST(stored_text_is_read_again) {
        _cleanup_(mam_event_freep) MamEvent *first =
                        parse("{\"data\":{\"a\":1}," MINIMAL ",\"subject\":\"a\\\"b\",\"ext\":true}");
        _cleanup_(mam_event_freep) MamEvent *e = NULL;
        size_t size;
        const char *text = mam_event_text(first, &size);

        ASSERT_OK(mam_event_from_stored(&e, text, size));
        ASSERT_STREQ(mam_event_text(e, NULL), text);
        ASSERT_STREQ(mam_event_subject(e), "a\"b");
        ASSERT_STREQ(mam_event_attribute(e, "ext"), "true");
        ASSERT_TRUE(json_object_is_type(mam_event_data(e), json_type_object));
        e = mam_event_free(e);
        ASSERT_OK(mam_event_from_stored(&e, "{" MINIMAL "}", strlen("{" MINIMAL "}")));
        ASSERT_TRUE(!mam_event_data(e));
}

typedef struct Field {
        const char *name, *value;
} Field;

static bool next_field(size_t n, const char **ret_name, const char **ret_value, void *userdata) {
        const Field *fields = userdata;

        if (!fields[n].name)
                return false;
        *ret_name = fields[n].name;
        *ret_value = fields[n].value;
        return true;
}

#define BINARY_MINIMAL                                                          \
        { "ce-specversion", "1.0" }, { "CE-Id", "1" }, { "Ce-Source", "/s" }, { \
                "ce-type", "t"                                                  \
        }

static MamEvent *from_binary(Field *fields, const char *body) {
        MamEvent *e = NULL;
        MamJsonError error;

        if (mam_event_from_binary(&e, next_field, fields, body, strlen(body), &error) < 0)
                mam_test_fail_string(__FILE__, __LINE__, body, error.message);
        return e;
}

TEST(the_binary_form_is_read) {
        Field fields[] = { BINARY_MINIMAL,
                           { "Host", "x" },
                           { "ce-subject", "Euro%20%E2%82%AC%20%f0%9f%98%80" },
                           { "ce-quoted", "\"a \\\"b\\\" %41\"" },
                           { "Content-Type", "application/json" },
                           { NULL, NULL } };
        _cleanup_(mam_event_freep) MamEvent *e = from_binary(fields, " {\"a\": 1} ");

        ASSERT_STREQ(mam_event_subject(e), "Euro \xe2\x82\xac \xf0\x9f\x98\x80");
        ASSERT_STREQ(mam_event_attribute(e, "quoted"), "a \"b\" A");
        ASSERT_STREQ(mam_event_content_type(e), "application/json");
        ASSERT_TRUE(strstr(mam_event_text(e, NULL), ",\"data\":{\"a\":1}}"));
}

TEST(binary_data_that_is_not_json_becomes_base64) {
        Field text[] = { BINARY_MINIMAL, { "content-type", "text/plain" }, { NULL, NULL } };
        Field bare[] = { BINARY_MINIMAL, { NULL, NULL } };
        _cleanup_(mam_event_freep) MamEvent *e = from_binary(text, "hello");
        _cleanup_(mam_event_freep) MamEvent *none = from_binary(text, "");
        _cleanup_(mam_event_freep) MamEvent *untyped = from_binary(bare, "{}");

        ASSERT_TRUE(strstr(mam_event_text(e, NULL), ",\"data_base64\":\"aGVsbG8=\"}"));
        ASSERT_TRUE(!mam_event_data(e));
        ASSERT_TRUE(!strstr(mam_event_text(none, NULL), "data_base64"));
        ASSERT_TRUE(strstr(mam_event_text(untyped, NULL), ",\"data_base64\":\"e30=\"}"));
}

static void refuse_binary(Field *fields, const char *body, const char *pointer) {
        MamEvent *e = NULL;
        MamJsonError error = { 0 };

        ASSERT_EQ(mam_event_from_binary(&e, next_field, fields, body, strlen(body), &error), -EBADMSG);
        ASSERT_STREQ(error.pointer, pointer);
}

TEST(a_wrong_binary_form_is_refused) {
        Field none[] = { { "Host", "x" }, { NULL, NULL } };
        Field twice[] = { BINARY_MINIMAL, { "ce-id", "2" }, { NULL, NULL } };
        Field name[] = { BINARY_MINIMAL, { "ce-my-ext", "2" }, { NULL, NULL } };
        Field data[] = { BINARY_MINIMAL, { "ce-data", "{}" }, { NULL, NULL } };
        Field percent[] = { BINARY_MINIMAL, { "ce-ext", "100%" }, { NULL, NULL } };
        Field utf8[] = { BINARY_MINIMAL, { "ce-ext", "%C3" }, { NULL, NULL } };
        Field control[] = { BINARY_MINIMAL, { "ce-ext", "%00" }, { NULL, NULL } };
        Field type[] = { BINARY_MINIMAL, { "ce-datacontenttype", "a/b" }, { NULL, NULL } };
        Field json[] = { BINARY_MINIMAL, { "content-type", "text/json" }, { NULL, NULL } };

        refuse_binary(none, "", "/specversion");
        refuse_binary(twice, "", "/id");
        refuse_binary(name, "", "/my-ext");
        refuse_binary(data, "", "/data");
        refuse_binary(percent, "", "/ext");
        refuse_binary(utf8, "", "/ext");
        refuse_binary(control, "", "/ext");
        refuse_binary(type, "", "/datacontenttype");
        refuse_binary(json, "1,\"id\":\"x\"", "/data");
}

TEST(the_binary_form_is_written) {
        _cleanup_(mam_event_freep) MamEvent *e = parse(
                        "{" MINIMAL ",\"subject\":\"100% \\u20ac \\\"x\\\"\",\"n\":1,\"datacontenttype\":"
                        "\"text/plain\",\"data\":\"a\\n\\\"b\\\"\"}");
        _cleanup_(mam_event_freep) MamEvent *bytes = parse("{" MINIMAL ",\"data_base64\":\"AAEC/w==\"}");
        _cleanup_(mam_event_freep) MamEvent *json = parse("{" MINIMAL ",\"data\":\"x\"}");
        _cleanup_(mam_buffer_done) MamBuffer fields = MAM_BUFFER_INIT, body = MAM_BUFFER_INIT;

        ASSERT_OK(mam_event_to_binary(e, &fields, &body));
        ASSERT_STREQ(mam_buffer_bytes(&fields),
                     "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n"
                     "ce-subject: 100%25%20%E2%82%AC%20%22x%22\r\nce-n: 1\r\ncontent-type: text/plain\r\n");
        ASSERT_STREQ(mam_buffer_bytes(&body), "a\n\"b\"");

        mam_buffer_reset(&fields);
        mam_buffer_reset(&body);
        ASSERT_OK(mam_event_to_binary(bytes, &fields, &body));
        ASSERT_EQ(body.size, 4);
        ASSERT_TRUE(memcmp(mam_buffer_bytes(&body), "\x00\x01\x02\xff", 4) == 0);
        ASSERT_TRUE(!strstr(mam_buffer_bytes(&fields), "content-type"));

        mam_buffer_reset(&fields);
        mam_buffer_reset(&body);
        ASSERT_OK(mam_event_to_binary(json, &fields, &body));
        ASSERT_STREQ(mam_buffer_bytes(&body), "\"x\"");
        ASSERT_TRUE(strstr(mam_buffer_bytes(&fields), "content-type: application/json\r\n"));
}

TEST(new_ones_are_made) {
        MamEventDraft draft = { .source = "/svc", .type = "a.b", .data = " {\"x\":1}", .data_size = 8 };
        MamEventDraft binary = { .id = "i\"1",
                                 .source = "/svc",
                                 .type = "a.b",
                                 .time = "2026-01-02T03:04:05Z",
                                 .content_type = "image/png",
                                 .partition_key = "k",
                                 .traceparent = "00-1",
                                 .data = "\xff",
                                 .data_size = 1,
                                 .data_is_binary = true };
        MamEventDraft injected = { .source = "/svc", .type = "a.b", .data = "1,\"b\":2", .data_size = 7 };
        MamEventDraft incomplete = { .source = "/svc" };
        _cleanup_(mam_event_freep) MamEvent *e = NULL;
        _cleanup_(mam_event_freep) MamEvent *b = NULL;
        MamEvent *none = NULL;
        MamJsonError error;

        ASSERT_OK(mam_event_new(&e, &draft, &error));
        ASSERT_EQ(strlen(mam_event_id(e)), 36);
        ASSERT_TRUE(mam_event_time(e));
        ASSERT_TRUE(
                        strstr(mam_event_text(e, NULL),
                               ",\"datacontenttype\":\"application/json\",\"data\":{\"x\":1}}"));

        ASSERT_OK(mam_event_new(&b, &binary, &error));
        ASSERT_STREQ(mam_event_id(b), "i\"1");
        ASSERT_STREQ(mam_event_attribute(b, "traceparent"), "00-1");
        ASSERT_TRUE(strstr(mam_event_text(b, NULL), ",\"data_base64\":\"/w==\"}"));

        ASSERT_EQ(mam_event_new(&none, &injected, &error), -EBADMSG);
        ASSERT_EQ(mam_event_new(&none, &incomplete, &error), -EBADMSG);
        ASSERT_STREQ(error.pointer, "/type");
}

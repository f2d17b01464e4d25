/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * JSON: strictness, members, pointers, lines
 */

#include <errno.h>
#include <stdint.h>

#include "libmam/json/json-scan.h"
#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

static json_object *parse(const char *text) {
        json_object *o = NULL;
        MamJsonError error;

        if (mam_json_parse(&o, text, strlen(text), &error) < 0)
                mam_test_fail_string(__FILE__, __LINE__, text, error.message);
        return o;
}

TEST(what_rfc_8259_allows_is_read) {
        static const char *const texts[] = {
                "0",
                "-0",
                " \t\r\n{} ",
                "[]",
                "\"\"",
                "null",
                "true",
                "-1.5e+10",
                "1E400000",
                "[1,2,[3,{\"a\":null}]]",
                "\"\\u00e9\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
                "\"\xc3\xa9\xf0\x9f\x98\x80\"",
                "18446744073709551615",
                "123456789012345678901234567890",
                "{\"a\":{\"a\":1},\"b\":{\"a\":1}}",
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(texts); i++) {
                _cleanup_(json_object_putp) json_object *o = NULL;

                if (strcmp(texts[i], "1E400000") == 0) {
                        ASSERT_EQ(mam_json_parse(&o, texts[i], strlen(texts[i]), NULL), -EBADMSG);
                        continue;
                }
                o = parse(texts[i]);
        }
}

TEST(what_rfc_8259_forbids_is_refused_with_its_place) {
        static const struct {
                const char *text;
                const char *pointer;
                const char *message;
                size_t offset;
        } cases[] = {
                { "", "", "unexpected end of the document", 0 },
                { "  ", "", "unexpected end of the document", 2 },
                { "nul", "", "unexpected character", 0 },
                { "True", "", "unexpected character", 0 },
                { "NaN", "", "unexpected character", 0 },
                { "-Infinity", "", "a digit is missing", 1 },
                { "01", "", "a number must not begin with a zero", 1 },
                { "+1", "", "unexpected character", 0 },
                { "1.", "", "unexpected end of the document", 2 },
                { "[1.x]", "/0", "a digit is missing", 3 },
                { ".5", "", "unexpected character", 0 },
                { "1e", "", "unexpected end of the document", 2 },
                { "0x10", "", "nothing may follow the document", 1 },
                { "{} {}", "", "nothing may follow the document", 3 },
                { "{} // comment", "", "nothing may follow the document", 3 },
                { "{/* c */}", "", "a key in double quotes is expected", 1 },
                { "{'a':1}", "", "a key in double quotes is expected", 1 },
                { "{a:1}", "", "a key in double quotes is expected", 1 },
                { "{\"a\" 1}", "", "':' is expected", 5 },
                { "{\"a\":1,}", "", "a key in double quotes is expected", 7 },
                { "[1,]", "/1", "unexpected character", 3 },
                { "[1 2]", "", "',' or ']' is expected", 3 },
                { "{\"a\":1 \"b\":2}", "", "',' or '}' is expected", 7 },
                { "{\"a\":[1,{\"b\":tru}]}", "/a/1/b", "unexpected character", 13 },
                { "{\"a\":1,\"b\":2,\"a\":3}", "/a", "duplicate key", 13 },
                { "{\"x\":{\"a\":1,\"\\u0061\":3}}", "/x/a", "duplicate key", 12 },
                { "{\"a/b~\":x}", "/a~1b~0", "unexpected character", 8 },
                { "{\"a\\u0000\":1}", "", "a key must not contain a NUL character", 1 },
                { "\"\x01\"", "", "a control character in a string must be escaped", 1 },
                { "\"\n\"", "", "a control character in a string must be escaped", 1 },
                { "\"\xc3\x28\"", "", "the text is not valid UTF-8", 1 },
                { "\"\xc0\xaf\"", "", "the text is not valid UTF-8", 1 },
                { "\"\xed\xa0\x80\"", "", "the text is not valid UTF-8", 1 },
                { "\"\xf4\x90\x80\x80\"", "", "the text is not valid UTF-8", 1 },
                { "\"\\x41\"", "", "unknown escape sequence", 2 },
                { "\"\\u12g4\"", "", "four hexadecimal digits must follow \\u", 5 },
                { "\"\\ud800\"", "", "a high surrogate stands alone", 7 },
                { "\"\\udc00\"", "", "a low surrogate stands alone", 7 },
                { "\"\\ud800\\u0041\"", "", "a high surrogate stands alone", 13 },
                { "\"abc", "", "unexpected end of the document", 4 },
                { "\xef\xbb\xbf{}", "", "unexpected character", 0 },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                json_object *o = NULL;
                MamJsonError error = { .offset = 4711 };

                if (mam_json_parse(&o, cases[i].text, strlen(cases[i].text), &error) != -EBADMSG || o)
                        mam_test_fail_string(__FILE__, __LINE__, "must be refused", cases[i].text);
                ASSERT_STREQ(error.message, cases[i].message);
                ASSERT_STREQ(error.pointer, cases[i].pointer);
                ASSERT_EQ(error.offset, cases[i].offset);
        }
}

TEST(nul_bytes_and_depth_are_bounded) {
        char deep[2 * MAM_JSON_DEPTH_MAX + 2];
        json_object *o = NULL;
        MamJsonError error;

        ASSERT_EQ(mam_json_parse(&o, "1\0", 2, NULL), -EBADMSG);
        ASSERT_EQ(mam_json_parse(&o, "\"\0\"", 3, NULL), -EBADMSG);

        memset(deep, '[', MAM_JSON_DEPTH_MAX);
        memset(deep + MAM_JSON_DEPTH_MAX, ']', MAM_JSON_DEPTH_MAX);
        ASSERT_OK(mam_json_parse(&o, deep, 2 * MAM_JSON_DEPTH_MAX, NULL));
        o = (json_object_put(o), NULL);

        memset(deep, '[', MAM_JSON_DEPTH_MAX + 1);
        ASSERT_EQ(mam_json_parse(&o, deep, MAM_JSON_DEPTH_MAX + 1, &error), -EBADMSG);
        ASSERT_STREQ(error.message, "nested too deeply");
}

TEST(members_are_typed_and_errors_name_them) {
        _cleanup_(json_object_putp) json_object *o = parse(
                        "{\"s\":\"x\",\"n\":null,\"i\":42,\"b\":true,\"o\":{},\"a\":[],\"big\":18446744073709551615,\"f\":1.5,"
                        "\"nul\":\"a\\u0000b\"}");
        const char *s = "untouched";
        json_object *c = NULL;
        bool b = false;
        int64_t i = -1;
        MamJsonError e;

        ASSERT_EQ(mam_json_get_string(o, "", "s", &s, &e), 1);
        ASSERT_STREQ(s, "x");
        ASSERT_EQ(mam_json_get_string(o, "", "n", &s, &e), 0);
        ASSERT_EQ(mam_json_get_string(o, "", "none", &s, &e), 0);
        ASSERT_STREQ(s, "x");
        ASSERT_EQ(mam_json_get_string(o, "/p", "i", &s, &e), -EBADMSG);
        ASSERT_STREQ(e.pointer, "/p/i");
        ASSERT_STREQ(e.message, "must be a string");
        ASSERT_EQ(e.offset == SIZE_MAX, 1);
        ASSERT_EQ(mam_json_get_string(o, "", "nul", &s, &e), -EBADMSG);
        ASSERT_STREQ(e.message, "must not contain a NUL character");
        ASSERT_EQ(mam_json_get_bool(o, "", "b", &b, &e), 1);
        ASSERT_TRUE(b);
        ASSERT_EQ(mam_json_get_bool(o, "", "i", &b, NULL), -EBADMSG);
        ASSERT_EQ(mam_json_get_int(o, "", "i", 0, 42, &i, &e), 1);
        ASSERT_EQ(i, 42);
        ASSERT_EQ(mam_json_get_int(o, "", "i", 0, 41, &i, &e), -EBADMSG);
        ASSERT_STREQ(e.message, "must be an integer from 0 to 41");
        ASSERT_EQ(mam_json_get_int(o, "", "big", 0, INT64_MAX, &i, &e), -EBADMSG);
        ASSERT_EQ(mam_json_get_int(o, "", "f", 0, 5, &i, &e), -EBADMSG);
        ASSERT_STREQ(e.message, "must be an integer");
        ASSERT_EQ(mam_json_get_object(o, "", "o", &c, &e), 1);
        ASSERT_EQ(mam_json_get_object(o, "", "a", &c, &e), -EBADMSG);
        ASSERT_EQ(mam_json_get_array(o, "", "a", &c, &e), 1);
        ASSERT_EQ(mam_json_get_array(c, "/a", "a", &c, &e), -EBADMSG);
        ASSERT_STREQ(e.pointer, "/a");
        ASSERT_STREQ(e.message, "must be an object");
        ASSERT_STREQ(mam_json_unknown_key(o, (const char *const[]){ "s", "n", "b", NULL }), "i");
}

TEST(long_pointers_are_cut_at_a_character) {
        MamJsonError e;
        char key[400];

        for (size_t i = 0; i + 2 < sizeof(key); i += 2)
                memcpy(key + i, "\xc3\xa9", 3);
        ASSERT_EQ(mam_json_fail(&e, "/p", key, "%s", key), -EBADMSG);
        ASSERT_TRUE(strlen(e.pointer) < sizeof(e.pointer));
        ASSERT_STREQ(e.pointer + strlen(e.pointer) - 3, "\xe2\x80\xa6");
        ASSERT_EQ((unsigned char) e.pointer[strlen(e.pointer) - 4], 0xa9);
        ASSERT_STREQ(e.message + strlen(e.message) - 3, "\xe2\x80\xa6");
}

TEST(pointers_lead_to_lines) {
        static const char text[] = "{\n"
                                   " \"a\": 1,\n"
                                   " \"b}\\\"\": {\n"
                                   "   \"c\": [1, \"]\",\n"
                                   "     {\"d\": 2}\n"
                                   "   ]},\n"
                                   " \"e/f\":\n"
                                   "   true,\n"
                                   " \"\\u0067\": 1\n"
                                   "}\n";
        static const struct {
                const char *pointer;
                unsigned line;
        } cases[] = {
                { "", 1 },          { "/a", 2 },        { "/b}\"", 3 },       { "/b}\"/c", 4 },
                { "/b}\"/c/1", 4 }, { "/b}\"/c/2", 5 }, { "/b}\"/c/2/d", 5 }, { "/b}\"/c/7", 4 },
                { "/b}\"/x/y", 3 }, { "/e~1f", 8 },     { "/g", 9 },          { "/missing", 1 },
                { "/a/b/c", 2 },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++)
                if (mam_json_locate(text, sizeof(text) - 1, cases[i].pointer) != cases[i].line)
                        mam_test_fail_string(__FILE__, __LINE__, "wrong line", cases[i].pointer);
        for (size_t n = 0; n < sizeof(text); n++) { /* a document cut anywhere is survived */
                _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

                ASSERT_OK(mam_buffer_append(&b, text, n));
                ASSERT_TRUE(mam_json_locate(mam_buffer_bytes(&b), n, "/b}\"/c/2/d") >= 1);
        }
        ASSERT_EQ(mam_json_line_of_offset("a\nb\nc", 5, 4), 3);
        ASSERT_EQ(mam_json_line_of_offset("a\nb", 3, 99), 2);
}

TEST(values_are_found_to_the_byte) {
        static const char text[] = "{ \"a\" : { \"t\" : \"x \\\" y\" , \"n\": 12 \n } , \"l\":[1,{}] }";
        static const struct {
                const char *pointer, *want;
        } cases[] = {
                { "/a/t", "\"x \\\" y\"" }, { "/a/n", "12" },   { "/l/0", "1" },
                { "/l/1", "{}" },           { "/l", "[1,{}]" },
        };
        size_t start = 0, end = 0;

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                ASSERT_OK(mam_json_find(text, sizeof(text) - 1, cases[i].pointer, &start, &end));
                ASSERT_EQ(end - start, strlen(cases[i].want));
                ASSERT_EQ(memcmp(text + start, cases[i].want, end - start), 0);
        }
        ASSERT_EQ(mam_json_find(text, sizeof(text) - 1, "/a/x", &start, &end), -ENOENT);
        ASSERT_EQ(mam_json_find("", 0, "", &start, &end), -ENOENT);
}

TEST(text_keeps_slashes_and_numbers) {
        _cleanup_(json_object_putp) json_object *o =
                        parse("{ \"a\" : \"/x/\" , \"d\": 1.10, \"u\": 18446744073709551615 }");

        ASSERT_STREQ(mam_json_to_string(o), "{\"a\":\"/x/\",\"d\":1.10,\"u\":18446744073709551615}");
}

/* Whether the scanner judges a text as the parser does, and says the same of the same place. */
static void compare_scan(const char *text, size_t size) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        MamJsonError parsed = { 0 }, scanned = { 0 };
        MamJsonSlice slice;
        MamJsonScan s;
        int p, r;

        p = mam_json_parse(&o, text, size, &parsed);
        mam_json_scan_init(&s, text, size, &scanned);
        r = mam_json_scan_value(&s, &slice);
        if (r >= 0)
                r = mam_json_scan_end(&s);
        if (r == p && r < 0 && strcmp(parsed.message, "duplicate key") == 0)
                return; /* it may find something else that is wrong first */
        if (r != p || strcmp(parsed.pointer, scanned.pointer) != 0 ||
            strcmp(parsed.message, scanned.message) != 0)
                mam_test_fail_string(__FILE__, __LINE__, text, scanned.message);
}

TEST(the_scanner_judges_as_the_parser_does) {
        static const char *const texts[] = {
                " {\"a\" : [1, -2.5e3, true, false, null, \"x\\u00e9\\ud83d\\ude00\\n\"], \"b\" : {\"c\":\"\"}} ",
                "[\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 plain text of some length\",{\"k\\u0041\":1,\"kB\":2}]",
                "{\"a\":1,\"b\":2,\"c\":{\"a\":1,\"b\":{\"a\":0}},\"aa\":[[],{},[[]]],\"bb\":0.10E-5}",
        };
        static const char with[] = "\"\\{}[]:,0-.eE+utx \t\x01\x7f\x80\xc3\xed\xf5";

        for (size_t i = 0; i < MAM_ELEMENTSOF(texts); i++) {
                _cleanup_(mam_freep) char *copy = strdup(texts[i]);
                size_t size = strlen(texts[i]);

                ASSERT_TRUE(copy);
                for (size_t at = 0; at <= size; at++) {
                        compare_scan(texts[i], at);
                        for (size_t w = 0; w < sizeof(with) && at < size; w++) {
                                copy[at] = with[w];
                                compare_scan(copy, size);
                        }
                        copy[at] = texts[i][at];
                }
        }
        compare_scan("{\"a\":1,\"\\u0061\":2}", strlen("{\"a\":1,\"\\u0061\":2}"));
        compare_scan("{\"\\u0000\":1}", strlen("{\"\\u0000\":1}"));
        compare_scan("{\"\\\\u0000\":1}", strlen("{\"\\\\u0000\":1}"));
        compare_scan("1e999", 5);
}

TEST(objects_with_many_keys_and_deep_ones_are_scanned_to_the_same_end) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        char deep[2 * MAM_JSON_DEPTH_MAX + 4];

        for (unsigned n = 1; n < 100; n += 7) {
                mam_buffer_reset(&b);
                for (unsigned i = 0; i < n; i++)
                        ASSERT_OK(mam_buffer_appendf(&b, "%c\"k%u\":%u", i == 0 ? '{' : ',', i, i));
                ASSERT_OK(mam_buffer_append_string(&b, ",\"k0\":0}"));
                compare_scan(mam_buffer_bytes(&b), b.size);
                compare_scan(mam_buffer_bytes(&b), b.size - 8);
        }
        for (size_t depth = MAM_JSON_DEPTH_MAX - 1; depth <= MAM_JSON_DEPTH_MAX + 1; depth++) {
                memset(deep, '[', depth);
                memset(deep + depth, ']', depth);
                compare_scan(deep, 2 * depth);
        }
}

TEST(slices_are_copied_compact_and_unescaped) {
        static const char text[] = " {\"a b\" : [ 1 , \" \\\" \" ]}";
        static const char string[] = "\"\\u00e9\\ud83d\\ude00\\\"\\\\\\/\\n\"";
        MamJsonSlice slice;
        MamJsonError error;
        MamJsonScan s;
        char to[64];
        size_t n;

        mam_json_scan_init(&s, text, strlen(text), &error);
        ASSERT_OK(mam_json_scan_value(&s, &slice));
        ASSERT_TRUE(slice.has_space && slice.has_escape && slice.kind == MAM_JSON_OBJECT);
        n = mam_json_copy_compact(to, text + slice.start, slice.size);
        to[n] = '\0';
        ASSERT_STREQ(to, "{\"a b\":[1,\" \\\" \"]}");
        n = mam_json_copy_unescaped(to, string, strlen(string));
        ASSERT_EQ(n, 10);
        ASSERT_STREQ(to, "\xc3\xa9\xf0\x9f\x98\x80\"\\/\n");
}

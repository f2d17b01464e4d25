/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: filters of events, as JSON, in their short form, and CESQL
 *
 * An input that begins with "[" is an array of filters; one that begins with "=" is an expression behind
 * that; any other is a list of terms, one a line. Each is matched against a few events. Beside memory errors
 * it looks for broken promises: something refused without an error, an answer that differs the second time,
 * an expression that matches with an error.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/filter/cesql.h"
#include "event-bus/filter/filter.h"

#define TERMS_MAX 16U

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int ok) {
        if (!ok)
                abort();
}

static const char *const texts[] = {
        "{\"specversion\":\"1.0\",\"id\":\"a\",\"source\":\"/s\",\"type\":\"t.u\"}",
        "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"https://h/%C3%A4\",\"type\":\"t\",\"subject\":\"order/5\","
        "\"time\":\"2024-01-01T00:00:00Z\",\"n\":-2147483648,\"b\":true,\"x\":\"\xc3\x84 ''%_\\\\\",\"data\":{\"a\":"
        "[1,2.5,null,\"x\",{\"b/c\":true}],\"\":0}}",
};

static MamEvent *events[2];

static void match(const Filter *f) {
        for (size_t i = 0; i < 2; i++)
                check(filter_matches(f, events[i]) == filter_matches(f, events[i]));
}

static void run_json(const char *text, size_t size) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_(filter_freep) Filter *f = NULL;
        MamJsonError error = { 0 };
        int r;

        if (mam_json_parse(&o, text, size, NULL) < 0)
                return;
        r = filter_parse(&f, o, "/f", &error);
        check(r == 0 || r == -ENOMEM || (r == -EBADMSG && error.message[0] != '\0' && !f));
        check(r == 0 || strncmp(error.pointer, "/f", 2) == 0);
        if (r == 0)
                match(f);
}

static void run_expression(const char *text, size_t size) {
        _cleanup_(cesql_freep) Cesql *c = NULL;
        MamJsonError error = { 0 };
        char result[256];
        int r;

        r = cesql_parse(&c, text, size, "", &error);
        check(r == 0 || r == -ENOMEM || (r == -EBADMSG && error.message[0] != '\0' && !c));
        for (size_t i = 0; i < 2 && r == 0; i++) {
                bool matches = cesql_matches(c, events[i]);

                cesql_explain(c, events[i], result, sizeof(result));
                check(!matches || strncmp(result, "error", 5) != 0);
        }
}

static void run_terms(char *text) {
        _cleanup_(filter_freep) Filter *f = NULL;
        const char *terms[TERMS_MAX];
        MamJsonError error = { 0 };
        size_t n = 0;
        int r;

        for (char *term = strtok_r(text, "\n", &text); term && n < TERMS_MAX;
             term = strtok_r(NULL, "\n", &text))
                terms[n++] = term;
        r = filter_parse_short(&f, terms, n, &error);
        check(r == 0 || r == -ENOMEM || (r == -EBADMSG && error.message[0] != '\0' && !f));
        if (r == 0)
                match(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        _cleanup_(mam_freep) char *text = malloc(size + 1);

        check(text != NULL);
        memcpy(text, bytes, size);
        text[size] = '\0';
        for (size_t i = 0; i < 2 && !events[i]; i++)
                check(mam_event_parse(&events[i], texts[i], strlen(texts[i]), NULL) >= 0);
        if (*text == '[')
                run_json(text, size);
        else if (*text == '=')
                run_expression(text + 1, size - 1);
        else
                run_terms(text);
        return 0;
}

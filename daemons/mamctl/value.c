/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Values of options
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mamctl/value.h"

/* Up to the first byte that is no digit. */
static int parse_digits(const char *text, uint32_t *ret, const char **ret_end) {
        uint64_t n = 0;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        while (*text >= '0' && *text <= '9') {
                n = n * 10 + (uint64_t) (*text++ - '0');
                if (n > UINT32_MAX)
                        return -EINVAL;
        }
        *ret = (uint32_t) n;
        *ret_end = text;
        return 0;
}

int value_parse_count(const char *text, uint32_t *ret) {
        const char *end;
        uint32_t n;
        int r;

        assert(text);
        assert(ret);

        r = parse_digits(text, &n, &end);
        if (r < 0)
                return r;
        if (*end)
                return -EINVAL;
        *ret = n;
        return 0;
}

/* Up to what stands behind the percentage. */
static int parse_percent(const char *text, uint32_t *ret, const char **ret_end) {
        const char *end;
        uint32_t n;
        int r;

        r = parse_digits(text, &n, &end);
        if (r < 0)
                return r;
        if (n < 1 || n > 100)
                return -EINVAL;
        *ret = n;
        *ret_end = *end == '%' ? end + 1 : end;
        return 0;
}

int value_parse_percent(const char *text, uint32_t *ret) {
        const char *end;
        uint32_t n;
        int r;

        assert(text);
        assert(ret);

        r = parse_percent(text, &n, &end);
        if (r < 0)
                return r;
        if (*end)
                return -EINVAL;
        *ret = n;
        return 0;
}

int value_parse_steps(const char *text, uint32_t ret[static VALUE_STEPS_MAX], size_t *ret_n) {
        uint32_t steps[VALUE_STEPS_MAX], before = 0;
        size_t n = 0;
        int r;

        assert(text);
        assert(ret_n);

        for (;;) {
                if (n >= VALUE_STEPS_MAX)
                        return -EINVAL;
                r = parse_percent(text, &steps[n], &text);
                if (r < 0)
                        return r;
                if (steps[n] <= before)
                        return -EINVAL;
                before = steps[n++];
                if (!*text)
                        break;
                if (*text++ != ',')
                        return -EINVAL;
        }

        memcpy(ret, steps, n * sizeof(*steps));
        *ret_n = n;
        return 0;
}

bool value_is_clean_path(const char *text) {
        assert(text);

        if (*text != '/')
                return false;
        while (*text == '/') {
                size_t length = strcspn(++text, "/");

                if (length == 0 || (length == 1 && *text == '.') ||
                    (length == 2 && strncmp(text, "..", 2) == 0))
                        return false;
                text += length;
        }
        return true;
}

const char *value_word(const char *words, size_t n, size_t *ret_length) {
        assert(words);
        assert(ret_length);

        for (; n > 0; n--) {
                words += strcspn(words, "|");
                if (!*words)
                        return NULL;
                words++;
        }
        *ret_length = strcspn(words, "|");
        return words;
}

bool value_is_one_of(const char *text, const char *words) {
        const char *word;
        size_t length;

        assert(text);

        for (size_t n = 0; (word = value_word(words, n, &length)); n++) {
                if (strlen(text) == length && strncmp(text, word, length) == 0)
                        return true;
        }
        return false;
}

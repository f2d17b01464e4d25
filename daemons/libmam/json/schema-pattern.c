/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Regular expressions
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libmam/json/schema-internal.h"
#include "libmam/util/macro.h"

/* General categories by the long names that ECMA-262 has and PCRE2 has not. */
static const struct {
        const char *name, *code;
} categories[] = {
        { "Letter", "L" },
        { "Cased_Letter", "L&" },
        { "Uppercase_Letter", "Lu" },
        { "Lowercase_Letter", "Ll" },
        { "Titlecase_Letter", "Lt" },
        { "Modifier_Letter", "Lm" },
        { "Other_Letter", "Lo" },
        { "Mark", "M" },
        { "Combining_Mark", "M" },
        { "Nonspacing_Mark", "Mn" },
        { "Spacing_Mark", "Mc" },
        { "Enclosing_Mark", "Me" },
        { "Number", "N" },
        { "Decimal_Number", "Nd" },
        { "digit", "Nd" },
        { "Letter_Number", "Nl" },
        { "Other_Number", "No" },
        { "Punctuation", "P" },
        { "punct", "P" },
        { "Connector_Punctuation", "Pc" },
        { "Dash_Punctuation", "Pd" },
        { "Open_Punctuation", "Ps" },
        { "Close_Punctuation", "Pe" },
        { "Initial_Punctuation", "Pi" },
        { "Final_Punctuation", "Pf" },
        { "Other_Punctuation", "Po" },
        { "Symbol", "S" },
        { "Math_Symbol", "Sm" },
        { "Currency_Symbol", "Sc" },
        { "Modifier_Symbol", "Sk" },
        { "Other_Symbol", "So" },
        { "Separator", "Z" },
        { "Space_Separator", "Zs" },
        { "Line_Separator", "Zl" },
        { "Paragraph_Separator", "Zp" },
        { "Other", "C" },
        { "Control", "Cc" },
        { "cntrl", "Cc" },
        { "Format", "Cf" },
        { "Surrogate", "Cs" },
        { "Private_Use", "Co" },
        { "Unassigned", "Cn" },
};

static const char *category_of(const char *name, size_t n) {
        static const char *const prefixes[] = { "General_Category=", "gc=" };

        for (size_t i = 0; i < MAM_ELEMENTSOF(prefixes); i++)
                if (n > strlen(prefixes[i]) && strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
                        name += strlen(prefixes[i]);
                        n -= strlen(prefixes[i]);
                }
        for (size_t i = 0; i < MAM_ELEMENTSOF(categories); i++)
                if (strlen(categories[i].name) == n && memcmp(categories[i].name, name, n) == 0)
                        return categories[i].code;
        return NULL;
}

/* \p{Letter} becomes \p{L}. The result is never longer; returns its size. */
static size_t shorten_categories(char *out, const char *s, size_t n) {
        size_t at = 0;

        for (size_t i = 0; i < n;) {
                const char *end, *code;

                if (s[i] != '\\' || n - i < 2) {
                        out[at++] = s[i++];
                        continue;
                }
                out[at++] = s[i++];
                out[at++] = s[i++];
                if ((s[i - 1] != 'p' && s[i - 1] != 'P') || i == n || s[i] != '{')
                        continue;
                end = memchr(s + i, '}', n - i);
                code = end ? category_of(s + i + 1, (size_t) (end - s) - i - 1) : NULL;
                if (!code)
                        continue;
                out[at++] = '{';
                memcpy(out + at, code, strlen(code));
                at += strlen(code);
                i = (size_t) (end - s);
        }
        return at;
}

int mam_json_pattern_compile(pcre2_code **ret, const char *text, size_t n, char *message, size_t size) {
        const uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX |
                                 PCRE2_MATCH_UNSET_BACKREF | PCRE2_ALLOW_EMPTY_CLASS |
                                 PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT;
        pcre2_compile_context *context;
        char pattern[MAM_JSON_SCHEMA_PATTERN_MAX + 1];
        pcre2_code *code;
        PCRE2_SIZE offset = 0;
        int e = 0;

        if (n > MAM_JSON_SCHEMA_PATTERN_MAX) {
                (void) snprintf(message, size, "is longer than %u bytes", MAM_JSON_SCHEMA_PATTERN_MAX);
                return -EBADMSG;
        }
        context = pcre2_compile_context_create(NULL);
        if (!context)
                return -ENOMEM;
        (void) pcre2_set_compile_extra_options(context, PCRE2_EXTRA_ALT_BSUX);
        n = shorten_categories(pattern, text, n);
        code = pcre2_compile((PCRE2_SPTR) pattern, n, options, &e, &offset, context);
        pcre2_compile_context_free(context);
        if (!code && e == PCRE2_ERROR_NOMEMORY)
                return -ENOMEM;
        if (!code) {
                unsigned char reason[128] = "";

                (void) pcre2_get_error_message(e, reason, sizeof(reason));
                (void) snprintf(message,
                                size,
                                "is not a regular expression: %s at byte %zu",
                                (const char *) reason,
                                (size_t) offset);
                return -EBADMSG;
        }
        *ret = code;
        return 0;
}

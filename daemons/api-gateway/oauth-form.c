/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/oauth-form.h"

#include <string.h>
#include <strings.h>

#include "libmam/auth/jwt.h"

static int hex_value(char c) {
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : -1;
}

/* In place, NUL-terminated; the text has room for that. */
static int decode(char *text, size_t size) {
        char *to = text;

        for (size_t i = 0; i < size; i++) {
                char c = text[i];

                if (c == '+')
                        c = ' ';
                else if (c == '%') {
                        int high = size - i > 2 ? hex_value(text[i + 1]) : -1;
                        int low = size - i > 2 ? hex_value(text[i + 2]) : -1;

                        if (high < 0 || low < 0)
                                return -EBADMSG;
                        c = (char) (high << 4 | low);
                        i += 2;
                }
                if (c == '\0')
                        return -EBADMSG;
                *to++ = c;
        }
        *to = '\0';
        return 0;
}

void oauth_form_done(OauthForm *f) {
        if (f->text)
                explicit_bzero(f->text, f->size);
        free(f->text);
        *f = (OauthForm){ 0 };
}

static int add_field(OauthForm *f, char *field, size_t size) {
        char *equals = memchr(field, '=', size), *value = equals ? equals + 1 : field + size;
        size_t name_size = equals ? (size_t) (equals - field) : size;
        int r;

        if (f->n_fields >= OAUTH_FORM_FIELDS_MAX)
                return -EDQUOT;
        r = decode(value, (size_t) (field + size - value));
        if (r >= 0)
                r = decode(field, name_size);
        if (r < 0)
                return r;
        for (size_t i = 0; i < f->n_fields; i++)
                if (strcmp(f->fields[i].name, field) == 0)
                        return -EBADMSG;
        f->fields[f->n_fields].name = field;
        f->fields[f->n_fields++].value = value;
        return 0;
}

int oauth_form_parse(OauthForm *ret, const char *text, size_t size) {
        _cleanup_(oauth_form_done) OauthForm f = { 0 };
        char *p;
        int r;

        if (size > OAUTH_FORM_SIZE_MAX)
                return -EBADMSG;
        f.size = size + 1;
        f.text = malloc(f.size);
        if (!f.text)
                return -ENOMEM;
        memcpy(f.text, text, size);
        f.text[size] = '\0';

        for (p = f.text; p < f.text + size;) {
                char *end = memchr(p, '&', (size_t) (f.text + size - p));

                if (!end)
                        end = f.text + size;
                if (end > p) {
                        r = add_field(&f, p, (size_t) (end - p));
                        if (r < 0)
                                return r;
                }
                p = end + 1;
        }
        *ret = f;
        f = (OauthForm){ 0 };
        return 0;
}

const char *oauth_form_get(const OauthForm *f, const char *name) {
        for (size_t i = 0; i < f->n_fields; i++)
                if (strcmp(f->fields[i].name, name) == 0)
                        return *f->fields[i].value ? f->fields[i].value : NULL;
        return NULL;
}

void oauth_basic_done(OauthBasic *b) {
        if (b->text)
                explicit_bzero(b->text, b->size);
        free(b->text);
        *b = (OauthBasic){ 0 };
}

/* base64 of RFC 4648, section 4, with its padding, is base64url without and with two other characters. */
static ssize_t decode_base64(char *ret, size_t ret_size, const char *text, size_t size) {
        _cleanup_(mam_freep) char *url = NULL;
        size_t padding = 0;
        ssize_t n;

        if (size == 0 || size % 4 != 0)
                return -EBADMSG;
        while (padding < 2 && text[size - 1 - padding] == '=')
                padding++;
        url = strndup(text, size - padding);
        if (!url)
                return -ENOMEM;
        for (char *p = url; *p; p++) {
                if (*p == '-' || *p == '_')
                        return -EBADMSG;
                if (*p == '+')
                        *p = '-';
                else if (*p == '/')
                        *p = '_';
        }
        n = mam_base64url_decode(ret, ret_size, url, size - padding);
        explicit_bzero(url, size - padding);
        return n < 0 ? -EBADMSG : n;
}

int oauth_basic_parse(OauthBasic *ret, const char *header) {
        _cleanup_(oauth_basic_done) OauthBasic b = { 0 };
        size_t size;
        char *colon;
        ssize_t n;

        if (!header || strncasecmp(header, "Basic ", 6) != 0)
                return 0;
        header += 6 + strspn(header + 6, " ");
        size = strlen(header);
        if (size > OAUTH_FORM_SIZE_MAX)
                return -EBADMSG;
        b.size = size + 1;
        b.text = calloc(1, b.size);
        if (!b.text)
                return -ENOMEM;
        n = decode_base64(b.text, size, header, size);
        if (n < 0)
                return (int) n;
        colon = memchr(b.text, ':', (size_t) n);
        if (!colon)
                return -EBADMSG;
        if (decode(colon + 1, (size_t) (b.text + n - colon - 1)) < 0 ||
            decode(b.text, (size_t) (colon - b.text)) < 0)
                return -EBADMSG;
        b.id = b.text;
        b.secret = colon + 1;
        *ret = b;
        b.text = NULL;
        return 1;
}

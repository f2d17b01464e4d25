/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What clients send to /auth, and what the manager tells of keys. The first byte says what the rest is: 'f'
 * a form, 'b' the value of Authorization, 'r' a refresh token, 'k' an API key, 'd' the document of keys, 'm'
 * a word of another gateway.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api-gateway/key-table.h"
#include "api-gateway/oauth-form.h"
#include "api-gateway/revoked.h"
#include "api-gateway/sessions.h"

#define CHECK(expr)              \
        do {                     \
                if (!(expr))     \
                        abort(); \
        } while (0)

static void check_form(const char *text, size_t size) {
        _cleanup_(oauth_form_done) OauthForm f = { 0 };
        int r;

        r = oauth_form_parse(&f, text, size);
        CHECK(r == 0 || r == -EBADMSG || r == -EDQUOT || r == -ENOMEM);
        CHECK(r == 0 || !f.text);
        CHECK(f.n_fields <= OAUTH_FORM_FIELDS_MAX);
        for (size_t i = 0; i < f.n_fields; i++) {
                const char *value = oauth_form_get(&f, f.fields[i].name);

                CHECK(!value || value == f.fields[i].value);
                CHECK(strlen(f.fields[i].name) + strlen(f.fields[i].value) <= size);
        }
}

static void check_basic(const char *text) {
        _cleanup_(oauth_basic_done) OauthBasic b = { 0 };
        int r;

        r = oauth_basic_parse(&b, text);
        CHECK(r == 0 || r == 1 || r == -EBADMSG || r == -ENOMEM);
        CHECK((r == 1) == (b.text != NULL));
        if (r == 1)
                CHECK(strlen(b.id) + strlen(b.secret) < strlen(text));
}

static void check_refresh(const char *text, size_t size) {
        char id[SESSION_ID_SIZE + 1], again[REFRESH_TOKEN_MAX];
        uint64_t number = 0;

        if (refresh_token_parse(text, size, "secret", 6, id, &number) == 1) {
                CHECK(refresh_token_format(again, "secret", 6, id, number) == 0);
                CHECK(strlen(again) == size && memcmp(again, text, size) == 0);
        }
}

static void check_key(const char *text, size_t size) {
        char id[MAM_API_KEY_ID_SIZE + 1];

        if (mam_api_key_parse(text, size, id))
                CHECK(mam_api_key_id_is_valid(id) && memcmp(id, text + 4, MAM_API_KEY_ID_SIZE) == 0);
}

static void check_document(const char *text, size_t size) {
        _cleanup_(key_table_freep) KeyTable *t = NULL;
        int r;

        CHECK(key_table_new(&t) == 0);
        r = key_table_load(t, text, size);
        CHECK(r == 0 || r == -EBADMSG || r == -ENOMEM);
        CHECK(key_table_is_loaded(t) == (r == 0) && key_table_size(t) <= KEY_TABLE_MAX);
        for (size_t i = 0; i < key_table_size(t); i++)
                CHECK(key_table_find(t, key_table_at(t, i)->id));
}

static void on_revoked(const char *member, void *userdata) {
        CHECK((member[0] == 's' || member[0] == 't') && member[1] == ':');
}

static void check_message(const char *text, size_t size) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(revoked_freep) Revoked *v = NULL;

        CHECK(sd_event_new(&event) >= 0);
        CHECK(revoked_new(&v, event, on_revoked, NULL) == 0);
        revoked_take_message(v, text, size);
        CHECK(revoked_count(v) <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(mam_freep) char *text = NULL;

        if (size == 0)
                return 0;
        text = malloc(size);
        if (!text)
                return 0;
        memcpy(text, data + 1, size - 1);
        text[size - 1] = '\0';
        switch (data[0]) {
        case 'f':
                check_form(text, size - 1);
                break;
        case 'b':
                check_basic(text);
                break;
        case 'r':
                check_refresh(text, size - 1);
                break;
        case 'k':
                check_key(text, size - 1);
                break;
        case 'd':
                check_document(text, size - 1);
                break;
        case 'm':
                check_message(text, size - 1);
                break;
        default:
                break;
        }
        return 0;
}

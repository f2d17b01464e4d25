/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a client posts to the endpoints of OAuth 2.0 (pure)
 *
 * application/x-www-form-urlencoded, strict: each name once (RFC 6749, section 3.2), valid percent-encoding,
 * no NUL.
 */

#include <stddef.h>

#include "libmam/util/macro.h"

#define OAUTH_FORM_FIELDS_MAX 16U
#define OAUTH_FORM_SIZE_MAX   16384U

typedef struct OauthForm {
        char *text; /* owned, wiped; what the fields point into */
        size_t size;
        struct {
                const char *name, *value; /* decoded */
        } fields[OAUTH_FORM_FIELDS_MAX];
        size_t n_fields;
} OauthForm;

/* 0; -EBADMSG: not such a form; -EDQUOT: more than OAUTH_FORM_FIELDS_MAX; -ENOMEM. */
int oauth_form_parse(OauthForm *ret, const char *text, size_t size);
void oauth_form_done(OauthForm *f);
/* Borrowed; NULL: absent or empty, which is the same (RFC 6749, section 3.1). */
const char *oauth_form_get(const OauthForm *f, const char *name);

/* "Basic …" with id and secret, each form-encoded within (RFC 6749, section 2.3.1). 1: there are some, to be
 * freed with oauth_basic_done(); 0: another scheme; -EBADMSG; -ENOMEM. */
typedef struct OauthBasic {
        char *text; /* owned, wiped */
        size_t size;
        const char *id, *secret;
} OauthBasic;
int oauth_basic_parse(OauthBasic *ret, const char *header);
void oauth_basic_done(OauthBasic *b);

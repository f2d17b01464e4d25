/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Access behind a real server, with real keys: whoever is permitted is told who they are
 *
 * What a route asks is chosen by the path: /open is for everybody, /ops/… for the role "ops", /scoped for
 * the scope "x".
 */

#include "api-gateway/access-internal.h"
#include "api-gateway/gateway-redis.h"
#include "libmam/http/http-client.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"

typedef struct Fixture {
        char folder[64], path[96], jwks[96];
        sd_event *event;
        MamMetrics *metrics;
        MamRedis *redis; /* NULL: without */
        Access *access;
        MamHttpServer *server;
        MamHttpClient *client;
        char *pem; /* mam's own key */
        char key_text[MAM_API_KEY_TEXT_SIZE + 1], key_id[MAM_API_KEY_ID_SIZE + 1];

        /* the last answer */
        unsigned status;
        bool ended;
        uint32_t place; /* where the credential of its connection was found last */
        char fields[4096];
        MamBuffer body;
        json_object *json; /* of the body, or NULL */
} Fixture;

#define TEST_SECRET "a secret of the gateways"

#define RUN_UNTIL(f, condition)                                                       \
        do {                                                                          \
                uint64_t _end = mam_now_monotonic() + 20 * MAM_USEC_PER_SEC;          \
                while (!(condition)) {                                                \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                      \
                        ASSERT_OK(sd_event_run((f)->event, 100 * MAM_USEC_PER_MSEC)); \
                }                                                                     \
        } while (0)

/* gateway: the section "gateway", or NULL. redis: path of its socket, or NULL. */
void access_setup(Fixture *f, const char *gateway, const char *redis);
void access_done(Fixture *f);
void access_use(Fixture *f, const char *gateway);
/* Tells one API key with these roles and scopes (JSON lists); expires_usec 0: never. */
void access_tell_key(Fixture *f, const char *roles, const char *scopes, uint64_t expires_usec);
/* The keys are none. */
void access_tell_no_key(Fixture *f);
/* A new key pair: its private half; its set of public keys goes to path. Caller frees. */
char *make_keys(const char *path);
/* Caller frees. claims: JSON without iss, aud, exp, to which those are added unless they are there. */
char *make_token(const char *pem, const char *issuer, const char *claims, int64_t expires_in);

/* fields: NULL-terminated pairs of name and value, or NULL; form: a body to post, or NULL. The answer is in
 * f; returns its status. */
unsigned ask(Fixture *f,
             const char *method,
             const char *target,
             const char *const *fields,
             const char *form);
unsigned ask_with(Fixture *f, const char *target, const char *token); /* GET with a bearer token, or NULL */
/* A member of the answer, "" where there is none. */
const char *member(const Fixture *f, const char *key);

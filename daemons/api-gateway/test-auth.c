/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The gateway's own endpoints below /auth, with a real Redis
 */

#include <signal.h>
#include <string.h>

#include "api-gateway/oauth-form.h"
#include "api-gateway/sessions.h"
#include "api-gateway/test-access.h"
#include "libmam/db/test-server.h"

typedef struct World {
        MamTestServer server;
        char address[96];
        Fixture f;
        char refresh[REFRESH_TOKEN_MAX], access[4096];
} World;

static void world_setup(World *w, const char *gateway) {
        *w = (World){ 0 };
        mam_test_server_init(&w->server);
        mam_test_redis_start(&w->server, NULL);
        (void) snprintf(w->address, sizeof(w->address), "%s/redis.sock", w->server.folder);
        access_setup(&w->f, gateway, w->address);
        access_tell_key(&w->f, "[\"viewer\",\"ops\"]", "[]", 0);
}

static void world_done(World *w) {
        access_done(&w->f);
        mam_test_server_done(&w->server);
}

static unsigned post(World *w, const char *target, const char *format, ...) _printf_(3, 4);
static unsigned post(World *w, const char *target, const char *format, ...) {
        char form[8192];
        unsigned status;
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(form, sizeof(form), format, ap);
        va_end(ap);
        status = ask(&w->f, "POST", target, NULL, form);
        if (status == 200 && *member(&w->f, "access_token")) {
                (void) snprintf(w->refresh, sizeof(w->refresh), "%s", member(&w->f, "refresh_token"));
                (void) snprintf(w->access, sizeof(w->access), "%s", member(&w->f, "access_token"));
        }
        return status;
}

static void begin_session(World *w) {
        ASSERT_EQ(post(w,
                       "/auth/token",
                       "grant_type=client_credentials&scope=offline_access&client_secret=%s",
                       w->f.key_text),
                  200);
        ASSERT_TRUE(w->refresh[0]);
}

TEST(an_api_key_becomes_a_short_token) {
        char text[256], *basic = NULL;
        World w;

        world_setup(&w, NULL);
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=client_credentials&client_secret=%s", w.f.key_text),
                  200);
        ASSERT_TRUE(strstr(w.f.fields, "Cache-Control: no-store\n"));
        ASSERT_STREQ(member(&w.f, "token_type"), "Bearer");
        ASSERT_STREQ(member(&w.f, "expires_in"), "300");
        ASSERT_STREQ(member(&w.f, "refresh_token"), "");
        ASSERT_EQ(ask_with(&w.f, "/ops/x", w.access), 200);
        ASSERT_STREQ(member(&w.f, "subject"), "robot");
        ASSERT_STREQ(member(&w.f, "key"), w.f.key_id);

        /* As other clients do it: Basic, or the key as for any request. */
        (void) snprintf(text, sizeof(text), "%s:%s", w.f.key_id, w.f.key_text);
        ASSERT_OK(mam_base64url_encode(&basic, text, strlen(text)));
        (void) snprintf(text, sizeof(text), "Basic %s%s", basic, &"=="[2 - (4 - strlen(basic) % 4) % 4]);
        for (char *p = text + 6; *p; p++)
                *p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
        ASSERT_EQ(ask(&w.f,
                      "POST",
                      "/auth/token",
                      (const char *[]){ "Authorization", text, NULL },
                      "grant_type=client_credentials"),
                  200);
        ASSERT_EQ(ask(&w.f,
                      "POST",
                      "/auth/token",
                      (const char *[]){ "X-API-Key", w.f.key_text, NULL },
                      "grant_type=client_credentials"),
                  200);

        /* The token goes with the key. */
        ASSERT_EQ(ask_with(&w.f, "/x", w.access), 200);
        access_tell_no_key(&w.f);
        ASSERT_EQ(ask_with(&w.f, "/x", w.access), 401);
        free(basic);
        world_done(&w);
}

TEST(scopes_are_given_as_far_as_the_key_has_them) {
        World w;

        world_setup(&w, NULL);
        access_tell_key(&w.f, "[\"admin\"]", "[\"x\",\"y\"]", 0);
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=client_credentials&client_secret=%s", w.f.key_text),
                  200);
        ASSERT_STREQ(member(&w.f, "scope"), "x y");
        ASSERT_EQ(post(&w,
                       "/auth/token",
                       "grant_type=client_credentials&scope=y&client_secret=%s",
                       w.f.key_text),
                  200);
        ASSERT_STREQ(member(&w.f, "scope"), "y");
        ASSERT_EQ(ask_with(&w.f, "/scoped", w.access), 403);
        ASSERT_EQ(post(&w,
                       "/auth/token",
                       "grant_type=client_credentials&scope=y+z&client_secret=%s",
                       w.f.key_text),
                  400);
        ASSERT_STREQ(member(&w.f, "error"), "invalid_scope");
        ASSERT_EQ(post(&w,
                       "/auth/token",
                       "grant_type=client_credentials&scope=x+offline_access&client_secret=%s",
                       w.f.key_text),
                  200);
        ASSERT_STREQ(member(&w.f, "scope"), "x");
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=refresh_token&scope=y&refresh_token=%s", w.refresh),
                  400);
        ASSERT_STREQ(member(&w.f, "error"), "invalid_scope");
        world_done(&w);
}

TEST(what_is_asked_wrongly_is_refused_as_oauth_says) {
        static const struct {
                const char *form, *error;
                unsigned status;
        } cases[] = {
                { "", "invalid_request", 400 },
                { "grant_type=", "invalid_request", 400 },
                { "grant_type=password", "unsupported_grant_type", 400 },
                { "grant_type=client_credentials", "invalid_client", 401 },
                { "grant_type=client_credentials&client_secret=nonsense", "invalid_client", 401 },
                { "grant_type=client_credentials&grant_type=client_credentials", "invalid_request", 400 },
                { "grant_type=%zz", "invalid_request", 400 },
                { "grant_type=a%00b", "invalid_request", 400 },
                { "grant_type=refresh_token", "invalid_request", 400 },
                { "grant_type=refresh_token&refresh_token=x", "invalid_grant", 400 },
                { "grant_type=refresh_token&refresh_token=mamr_0123456789abcdef0123456789abcdef_1_AAAA",
                  "invalid_grant",
                  400 },
                { "a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q&r", "invalid_request", 400 },
        };
        World w;

        world_setup(&w, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                ASSERT_EQ(ask(&w.f, "POST", "/auth/token", NULL, cases[i].form), cases[i].status);
                ASSERT_STREQ(member(&w.f, "error"), cases[i].error);
        }
        ASSERT_EQ(ask(&w.f, "GET", "/auth/token", NULL, NULL), 405);
        ASSERT_EQ(ask(&w.f, "POST", "/auth/token", NULL, NULL), 415);
        ASSERT_EQ(ask(&w.f, "GET", "/auth/other", NULL, NULL), 401); /* a path like others */
        ASSERT_EQ(ask(&w.f, "PUT", "/auth/sessions", NULL, NULL), 405);
        ASSERT_EQ(ask(&w.f, "DELETE", "/auth/sessions/..", NULL, NULL), 404);
        access_use(&w.f, "{\"auth\":{\"tokens\":{\"enabled\":false}}}");
        ASSERT_EQ(ask(&w.f, "POST", "/auth/token", NULL, "grant_type=client_credentials"), 401);
        world_done(&w);
}

TEST(a_refresh_token_is_good_once_and_a_second_use_ends_the_family) {
        char first[REFRESH_TOKEN_MAX], second[REFRESH_TOKEN_MAX], forged[REFRESH_TOKEN_MAX], access[4096];
        World w;

        world_setup(&w, NULL);
        begin_session(&w);
        memcpy(first, w.refresh, sizeof(first));
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=refresh_token&refresh_token=%s", first), 200);
        memcpy(second, w.refresh, sizeof(second));
        memcpy(access, w.access, sizeof(access));
        ASSERT_TRUE(strcmp(first, second) != 0);
        ASSERT_EQ(ask_with(&w.f, "/ops/x", access), 200);
        ASSERT_STREQ(member(&w.f, "subject"), "robot");

        /* One that was never issued does no harm. */
        memcpy(forged, second, sizeof(forged));
        forged[strlen(forged) - 2] ^= 1;
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=refresh_token&refresh_token=%s", forged), 400);
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=refresh_token&refresh_token=%s", second), 200);
        memcpy(second, w.refresh, sizeof(second));

        ASSERT_EQ(post(&w, "/auth/token", "grant_type=refresh_token&refresh_token=%s", first), 400);
        ASSERT_STREQ(member(&w.f, "error"), "invalid_grant");
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=refresh_token&refresh_token=%s", second), 400);
        RUN_UNTIL(&w.f, ask_with(&w.f, "/x", access) == 401); /* heard through Redis */
        RUN_UNTIL(&w.f, ask_with(&w.f, "/x", w.access) == 401);
        world_done(&w);
}

TEST(a_session_ends_with_its_key) {
        World w;

        world_setup(&w, NULL);
        begin_session(&w);
        access_tell_no_key(&w.f);
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=refresh_token&refresh_token=%s", w.refresh), 400);
        access_tell_key(&w.f, "[]", "[]", 0); /* also if it should come back */
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=refresh_token&refresh_token=%s", w.refresh), 400);
        world_done(&w);
}

static size_t count_sessions(World *w, const char *token) {
        json_object *list = NULL;

        ASSERT_EQ(ask_with(&w->f, "/auth/sessions", token), 200);
        ASSERT_TRUE(json_object_object_get_ex(w->f.json, "sessions", &list));
        return json_object_array_length(list);
}

static unsigned end_session(World *w, const char *token, const char *id) {
        char target[128], value[4200];

        (void) snprintf(target, sizeof(target), "/auth/sessions%s%s", *id ? "/" : "", id);
        (void) snprintf(value, sizeof(value), "Bearer %s", token);
        return ask(&w->f, "DELETE", target, (const char *[]){ "Authorization", value, NULL }, NULL);
}

TEST(sessions_are_shown_and_ended_by_their_owner) {
        char id[64], *other;
        json_object *list;
        World w;

        world_setup(&w, "{\"auth\":{\"tokens\":{\"sessionsPerSubject\":3}}}");
        other = make_token(w.f.pem, "mam", "{\"sub\":\"ada\"}", 60);
        ASSERT_EQ(ask(&w.f, "GET", "/auth/sessions", NULL, NULL), 401);
        begin_session(&w);
        begin_session(&w);
        ASSERT_EQ(count_sessions(&w, w.access), 2);
        ASSERT_EQ(count_sessions(&w, other), 0);
        ASSERT_EQ(count_sessions(&w, w.access), 2);
        list = json_object_object_get(w.f.json, "sessions");
        (void) snprintf(id,
                        sizeof(id),
                        "%s",
                        json_object_get_string(
                                        json_object_object_get(json_object_array_get_idx(list, 0), "id")));

        ASSERT_EQ(end_session(&w, other, id), 404); /* somebody else's */
        ASSERT_EQ(count_sessions(&w, w.access), 2);
        ASSERT_EQ(end_session(&w, w.f.key_text, id), 204);
        ASSERT_EQ(end_session(&w, w.f.key_text, id), 404);
        ASSERT_EQ(count_sessions(&w, w.f.key_text), 1);

        for (unsigned i = 0; i < 4; i++)
                begin_session(&w);
        ASSERT_EQ(count_sessions(&w, w.f.key_text), 3); /* the oldest made room */
        ASSERT_EQ(end_session(&w, w.f.key_text, ""), 204);
        ASSERT_EQ(count_sessions(&w, w.f.key_text), 0);
        RUN_UNTIL(&w.f, ask_with(&w.f, "/x", w.access) == 401);
        free(other);
        world_done(&w);
}

TEST(what_was_revoked_is_refused_everywhere) {
        char *token, access[4096];
        Fixture second;
        World w;

        world_setup(&w, NULL);
        token = make_token(w.f.pem, "mam", "{\"sub\":\"ada\",\"jti\":\"4711\"}", 3600);
        ASSERT_EQ(ask_with(&w.f, "/x", token), 200);
        ASSERT_EQ(post(&w, "/auth/revoke", "token=%s", token), 200);
        RUN_UNTIL(&w.f, ask_with(&w.f, "/x", token) == 401);
        ASSERT_EQ(post(&w, "/auth/revoke", "token=%s", token), 200); /* again is no error */
        ASSERT_EQ(post(&w, "/auth/revoke", "token=nonsense"), 200);
        ASSERT_EQ(post(&w, "/auth/revoke", "x=y"), 400);

        begin_session(&w);
        memcpy(access, w.access, sizeof(access));
        ASSERT_EQ(ask_with(&w.f, "/x", access), 200);
        ASSERT_EQ(post(&w, "/auth/revoke", "token_type_hint=refresh_token&token=%s", w.refresh), 200);
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=refresh_token&refresh_token=%s", w.refresh), 400);
        RUN_UNTIL(&w.f, ask_with(&w.f, "/x", access) == 401);

        /* A gateway that comes later learns what was revoked before. */
        access_setup(&second, NULL, w.address);
        RUN_UNTIL(&second, revoked_count(second.access->revoked) == 2);
        ASSERT_TRUE(revoked_has(second.access->revoked, 't', "4711", mam_now_realtime() / MAM_USEC_PER_SEC));
        access_done(&second);
        free(token);
        world_done(&w);
}

TEST(who_may_can_look_into_tokens) {
        char *admin, *nobody, value[4200];
        const char *fields[] = { "Authorization", value, NULL };
        World w;

        world_setup(&w, NULL);
        admin = make_token(w.f.pem, "mam", "{\"sub\":\"root\",\"roles\":[\"admin\"]}", 60);
        nobody = make_token(w.f.pem, "mam", "{\"sub\":\"ada\",\"roles\":[\"viewer\"]}", 60);
        begin_session(&w);
        ASSERT_EQ(post(&w, "/auth/introspect", "token=%s", nobody), 401);
        (void) snprintf(value, sizeof(value), "Bearer %s", nobody);
        ASSERT_EQ(ask(&w.f, "POST", "/auth/introspect", fields, "token=x"), 403);

        (void) snprintf(value, sizeof(value), "Bearer %s", admin);
        ASSERT_EQ(ask(&w.f, "POST", "/auth/introspect", fields, "token=x"), 200);
        ASSERT_STREQ(member(&w.f, "active"), "false");
        for (unsigned i = 0; i < 4; i++) {
                const char *tokens[] = { nobody, w.access, w.f.key_text, w.refresh };
                const char *subjects[] = { "ada", "robot", "robot", "robot" };
                char form[4200];

                (void) snprintf(form, sizeof(form), "token=%s", tokens[i]);
                ASSERT_EQ(ask(&w.f, "POST", "/auth/introspect", fields, form), 200);
                ASSERT_STREQ(member(&w.f, "active"), "true");
                ASSERT_STREQ(member(&w.f, "sub"), subjects[i]);
        }
        free(admin);
        free(nobody);
        world_done(&w);
}

TEST(without_redis_the_gateway_works_but_for_sessions) {
        char *token;
        World w;

        world_setup(&w, NULL);
        begin_session(&w);
        token = make_token(w.f.pem, "mam", "{\"sub\":\"ada\",\"jti\":\"1\"}", 3600);
        mam_test_server_kill(&w.server, SIGKILL);
        RUN_UNTIL(&w.f, !mam_redis_is_connected(w.f.redis));
        ASSERT_EQ(ask_with(&w.f, "/x", token), 200);
        ASSERT_EQ(ask_with(&w.f, "/x", w.access), 200);
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=refresh_token&refresh_token=%s", w.refresh), 503);
        ASSERT_TRUE(strstr(w.f.fields, "Retry-After: 1\n"));
        ASSERT_EQ(post(&w, "/auth/revoke", "token=%s", token), 503);
        ASSERT_EQ(ask_with(&w.f, "/auth/sessions", token), 503);
        ASSERT_EQ(post(&w, "/auth/token", "grant_type=client_credentials&client_secret=%s", w.f.key_text),
                  200);
        ASSERT_EQ(ask_with(&w.f, "/x", w.access), 200);

        mam_test_redis_start(&w.server, NULL);
        RUN_UNTIL(&w.f, mam_redis_is_connected(w.f.redis));
        begin_session(&w);
        free(token);
        world_done(&w);
}

/* ---- pure ---- */

TEST(a_refresh_token_has_one_spelling) {
        static const char id[] = "0123456789abcdef0123456789abcdef";
        char token[REFRESH_TOKEN_MAX], got[SESSION_ID_SIZE + 1];
        uint64_t number = 0;

        ASSERT_OK(refresh_token_format(token, "s", 1, id, 31));
        ASSERT_EQ(refresh_token_parse(token, strlen(token), "s", 1, got, &number), 1);
        ASSERT_STREQ(got, id);
        ASSERT_EQ(number, 31);
        ASSERT_EQ(refresh_token_parse(token, strlen(token), "t", 1, got, &number), 0);
        ASSERT_EQ(refresh_token_parse(token, strlen(token) - 1, "s", 1, got, &number), 0);
        for (size_t i = 0; i < strlen(token); i++) {
                char c = token[i];

                token[i] = c == '0' ? '1' : '0';
                ASSERT_EQ(refresh_token_parse(token, strlen(token), "s", 1, got, &number), 0);
                token[i] = c;
        }
}

TEST(a_word_of_another_gateway_is_checked) {
        static const char *const bad[] = {
                "",        "x",     "1",      "1 ",     " s:a",
                "1 s:",    "1 x:a", "-1 s:a", "1  s:a", "99999999999999999999 s:a",
                "1 s:a b",
        };
        Fixture f;

        access_setup(&f, NULL, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++)
                revoked_take_message(f.access->revoked, bad[i], strlen(bad[i]));
        ASSERT_EQ(revoked_count(f.access->revoked), 0);
        revoked_take_message(f.access->revoked, "100 s:a", 7);
        ASSERT_TRUE(revoked_has(f.access->revoked, 's', "a", 99));
        ASSERT_TRUE(!revoked_has(f.access->revoked, 's', "a", 100));
        ASSERT_TRUE(!revoked_has(f.access->revoked, 't', "a", 99));
        for (unsigned i = 0; i < REVOKED_MAX + 100; i++) { /* bounded */
                char text[32];
                int n = snprintf(text, sizeof(text), "%u s:%u", i + 100, i);

                revoked_take_message(f.access->revoked, text, (size_t) n);
        }
        ASSERT_EQ(revoked_count(f.access->revoked), REVOKED_MAX);
        access_done(&f);
}

TEST(forms_are_read_strictly) {
        OauthForm form = { 0 };

        ASSERT_OK(oauth_form_parse(&form, "a=1&b=x%20y+z&&c&d=%3D", 22));
        ASSERT_STREQ(oauth_form_get(&form, "a"), "1");
        ASSERT_STREQ(oauth_form_get(&form, "b"), "x y z");
        ASSERT_TRUE(!oauth_form_get(&form, "c"));
        ASSERT_STREQ(oauth_form_get(&form, "d"), "=");
        ASSERT_TRUE(!oauth_form_get(&form, "e"));
        oauth_form_done(&form);
        ASSERT_EQ(oauth_form_parse(&form, "a=1&%61=2", 9), -EBADMSG);
        ASSERT_EQ(oauth_form_parse(&form, "a=%4", 4), -EBADMSG);
}

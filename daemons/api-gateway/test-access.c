/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who asks, and may they
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "api-gateway/access-policy.h"
#include "api-gateway/test-access.h"
#include "libmam/util/file.h"

/* ---- tokens ---- */

TEST(a_token_says_who_asks_as_long_as_it_holds) {
        char *good, *late, *foreign, *other_pem;
        Fixture f;

        access_setup(&f, NULL, NULL);
        good = make_token(f.pem, "mam", "{\"sub\":\"ada\",\"roles\":[\"viewer\"]}", 60);
        late = make_token(f.pem, "mam", "{\"sub\":\"ada\"}", -120);
        foreign = make_token(f.pem, "https://elsewhere.example", "{\"sub\":\"ada\"}", 60);

        ASSERT_EQ(ask_with(&f, "/x", NULL), 401);
        ASSERT_TRUE(strstr(f.fields, "WWW-Authenticate: Bearer realm=\"mam\"\n"));
        ASSERT_EQ(ask_with(&f, "/open", NULL), 200);
        ASSERT_STREQ(member(&f, "kind"), "nobody");
        for (unsigned i = 0; i < 3; i++) { /* verified, then remembered */
                ASSERT_EQ(ask_with(&f, "/x", good), 200);
                ASSERT_STREQ(member(&f, "kind"), "token");
                ASSERT_STREQ(member(&f, "subject"), "ada");
                ASSERT_STREQ(member(&f, "role"), "viewer");
        }
        ASSERT_EQ(ask_with(&f, "/open", good), 200);
        ASSERT_STREQ(member(&f, "subject"), "ada");
        for (unsigned i = 0; i < 2; i++) {
                ASSERT_EQ(ask_with(&f, "/x", late), 401);
                ASSERT_TRUE(strstr(f.fields, "error=\"invalid_token\""));
                ASSERT_EQ(ask_with(&f, "/x", foreign), 401);
                ASSERT_EQ(ask_with(&f, "/open", late), 401); /* also where nobody need be known */
        }
        good[strlen(good) - 3] = good[strlen(good) - 3] == 'A' ? 'B' : 'A';
        ASSERT_EQ(ask_with(&f, "/x", good), 401);
        ASSERT_EQ(ask_with(&f, "/x", "no token"), 401);

        /* Other keys: what was remembered is not believed any more. */
        free(good);
        good = make_token(f.pem, "mam", "{\"sub\":\"ada\"}", 60);
        ASSERT_EQ(ask_with(&f, "/x", good), 200);
        other_pem = make_keys(f.jwks);
        RUN_UNTIL(&f, ask_with(&f, "/x", good) == 401);
        free(late);
        late = make_token(other_pem, "mam", "{\"sub\":\"bob\"}", 60);
        ASSERT_EQ(ask_with(&f, "/x", late), 200);

        free(good);
        free(late);
        free(foreign);
        free(other_pem);
        access_done(&f);
}

static Caller *somebody(const char *subject, uint64_t expires_sec) {
        Caller *c = NULL;

        ASSERT_OK(
                        caller_new(&c,
                                   &(CallerSpec){
                                                   .kind = CALLER_TOKEN,
                                                   .subject = subject,
                                                   .expires_sec = expires_sec,
                                   }));
        return c;
}

static bool is_bob(const Caller *c, void *userdata) {
        return strcmp(c->identity.subject, "bob") == 0;
}

TEST(a_place_is_as_good_as_what_lies_there) {
        static const char ada_text[] = "the token of ada", bob_text[] = "the token of bob";
        char long_text[CALLER_CACHE_TEXT_MAX + 1] = { 0 };
        Caller *ada = somebody("ada", UINT64_MAX), *bob = somebody("bob", 1030);
        uint32_t ada_place = 0, bob_place = 0, long_place = 0;
        _cleanup_(caller_cache_freep) CallerCache *k = NULL;
        CredentialDigest ada_digest, bob_digest, long_digest;
        size_t n = strlen(ada_text);

        ASSERT_OK(caller_cache_new(&k));
        ASSERT_OK(caller_cache_digest(k, &ada_digest, ada_text, n));
        ASSERT_OK(caller_cache_digest(k, &bob_digest, bob_text, n));
        ASSERT_OK(caller_cache_digest(k, &long_digest, long_text, sizeof(long_text)));
        caller_cache_keep(k, &ada_digest, ada_text, n, ada, 1000);
        caller_cache_keep(k, &bob_digest, bob_text, n, bob, 1000);
        caller_cache_keep(k, &long_digest, long_text, sizeof(long_text), ada, 1000);
        ASSERT_TRUE(caller_cache_find(k, &ada_digest, 1000, &ada_place) == ada);
        ASSERT_TRUE(caller_cache_find(k, &bob_digest, 1000, &bob_place) == bob);
        ASSERT_TRUE(caller_cache_find(k, &long_digest, 1000, &long_place) == ada);

        /* The very same text, in its place, at its time. */
        ASSERT_TRUE(caller_cache_recall(k, ada_place, ada_text, n, 1000) == ada);
        ASSERT_TRUE(caller_cache_recall(k, bob_place, bob_text, n, 1029) == bob);
        ASSERT_TRUE(!caller_cache_recall(k, bob_place, bob_text, n, 1030));
        ASSERT_TRUE(!caller_cache_recall(k, bob_place, bob_text, n, 999));
        ASSERT_TRUE(!caller_cache_recall(k, ada_place, ada_text, n, 1000 + CALLER_CACHE_GOOD_SEC));
        ASSERT_TRUE(!caller_cache_recall(k, ada_place, bob_text, n, 1000));
        ASSERT_TRUE(!caller_cache_recall(k, ada_place, ada_text, n - 1, 1000));
        ASSERT_TRUE(!caller_cache_recall(k, ada_place, "The token of ada", n, 1000));
        ASSERT_TRUE(!caller_cache_recall(k, ada_place, "the token of adb", n, 1000));
        ASSERT_TRUE(!caller_cache_recall(k, 0, ada_text, n, 1000));
        ASSERT_TRUE(!caller_cache_recall(k, UINT32_MAX, ada_text, n, 1000));
        ASSERT_TRUE(!caller_cache_recall(k, long_place, long_text, sizeof(long_text), 1000));

        /* What the place forgets is forgotten. */
        caller_cache_drop(k, is_bob, NULL);
        ASSERT_TRUE(!caller_cache_recall(k, bob_place, bob_text, n, 1000));
        ASSERT_TRUE(caller_cache_recall(k, ada_place, ada_text, n, 1000) == ada);
        caller_cache_drop(k, NULL, NULL);
        ASSERT_TRUE(!caller_cache_recall(k, ada_place, ada_text, n, 1000));
        caller_unref(ada);
        caller_unref(bob);
}

TEST(who_asks_is_told_anew_for_each_request_of_a_connection) {
        char *ada, *bob;
        Fixture f;

        access_setup(&f, NULL, NULL);
        ada = make_token(f.pem, "mam", "{\"sub\":\"ada\"}", 60);
        bob = make_token(f.pem, "mam", "{\"sub\":\"bob\"}", 60);
        for (unsigned i = 0; i < 3; i++) { /* as a proxy in front would send them */
                for (unsigned k = 0; k < 3; k++) {
                        ASSERT_EQ(ask_with(&f, "/x", ada), 200);
                        ASSERT_STREQ(member(&f, "subject"), "ada");
                }
                ASSERT_TRUE(f.place > 0);
                ASSERT_EQ(ask_with(&f, "/x", NULL), 401);
                for (unsigned k = 0; k < 3; k++) {
                        ASSERT_EQ(ask_with(&f, "/x", bob), 200);
                        ASSERT_STREQ(member(&f, "subject"), "bob");
                }
        }
        ASSERT_TRUE(f.place > 0);
        access_use(&f, "{}"); /* forgets who was known, as all changes do */
        ASSERT_TRUE(!caller_cache_recall(
                        f.access->cache,
                        f.place,
                        bob,
                        strlen(bob),
                        mam_now_realtime() / MAM_USEC_PER_SEC));
        ASSERT_EQ(ask_with(&f, "/x", bob), 200);
        free(ada);
        free(bob);
        access_done(&f);
}

TEST(one_credential_is_enough_and_two_are_too_many) {
        char *token, value[8192];
        Fixture f;

        access_setup(&f, NULL, NULL);
        access_tell_key(&f, "[]", "[]", 0);
        token = make_token(f.pem, "mam", "{\"sub\":\"ada\"}", 60);
        (void) snprintf(value, sizeof(value), "bearer   %s", token);
        ASSERT_EQ(ask(&f, "GET", "/x", (const char *[]){ "authorization", value, NULL }, NULL), 200);
        ASSERT_EQ(ask(&f,
                      "GET",
                      "/x",
                      (const char *[]){ "Authorization", value, "Authorization", value, NULL },
                      NULL),
                  401);
        ASSERT_EQ(ask(&f,
                      "GET",
                      "/x",
                      (const char *[]){ "Authorization", value, "X-API-Key", f.key_text, NULL },
                      NULL),
                  401);
        ASSERT_EQ(ask(&f, "GET", "/open", (const char *[]){ "Authorization", "Basic eDp5", NULL }, NULL),
                  200);
        ASSERT_STREQ(member(&f, "kind"), "nobody"); /* a scheme of somebody else's */
        ASSERT_EQ(ask(&f, "GET", "/x", (const char *[]){ "Authorization", "Bearer ", NULL }, NULL), 401);
        free(token);
        access_done(&f);
}

/* ---- API keys ---- */

TEST(an_api_key_is_somebody_until_it_ends) {
        char wrong[MAM_API_KEY_TEXT_SIZE + 1];
        Fixture f;

        access_setup(&f, NULL, NULL);
        ASSERT_EQ(ask(&f, "GET", "/x", (const char *[]){ "X-API-Key", f.key_text, NULL }, NULL), 503);
        ASSERT_TRUE(strstr(f.fields, "Retry-After: 1\n")); /* nobody has told the keys yet */
        access_tell_key(&f, "[\"deploy\"]", "[\"a\",\"b\"]", 0);
        for (unsigned i = 0; i < 2; i++) {
                ASSERT_EQ(ask(&f, "GET", "/x", (const char *[]){ "X-API-Key", f.key_text, NULL }, NULL),
                          200);
                ASSERT_STREQ(member(&f, "kind"), "key");
                ASSERT_STREQ(member(&f, "subject"), "robot");
                ASSERT_STREQ(member(&f, "role"), "deploy");
                ASSERT_STREQ(member(&f, "scope"), "a");
        }
        ASSERT_EQ(ask_with(&f, "/x", f.key_text), 200);
        ASSERT_EQ(key_table_find(f.access->keys, f.key_id)->uses, 3);

        ASSERT_OK(mam_api_key_generate_for(wrong, f.key_id));
        ASSERT_EQ(ask_with(&f, "/x", wrong), 401);
        ASSERT_EQ(ask(&f, "GET", "/x", (const char *[]){ "X-API-Key", "nonsense", NULL }, NULL), 401);

        access_tell_key(&f, "[\"deploy\"]", "[]", mam_now_realtime() - 1);
        ASSERT_EQ(ask_with(&f, "/x", f.key_text), 401);
        access_tell_key(&f, "[\"deploy\"]", "[]", mam_now_realtime() + 3600 * MAM_USEC_PER_SEC);
        ASSERT_EQ(ask_with(&f, "/x", f.key_text),
                  200); /* that it was refused is forgotten with the old list */
        ASSERT_EQ(key_table_find(f.access->keys, f.key_id)->uses, 4);
        access_tell_no_key(&f);
        ASSERT_EQ(ask_with(&f, "/x", f.key_text), 401);
        access_done(&f);
}

/* ---- other issuers ---- */

#define IDP "https://idp.example"

TEST(tokens_of_another_issuer_are_somebody_else) {
        char other[128], config[1024], *pem, *token, *admin, *wrong;
        Fixture f;

        access_setup(&f, NULL, NULL);
        (void) snprintf(other, sizeof(other), "%s/other.json", f.folder);
        pem = make_keys(other);
        (void) snprintf(config,
                        sizeof(config),
                        "{\"auth\":{\"issuers\":[{\"issuer\":\"" IDP
                        "\",\"audience\":\"my-api\",\"jwksFile\":\"%s\","
                        "\"rolesClaim\":\"realm_access.roles\",\"roles\":[\"ops\",\"viewer\"]}]}}",
                        other);
        access_use(&f, config);
        token = make_token(
                        pem,
                        IDP,
                        "{\"sub\":\"1\",\"aud\":[\"a\",\"my-api\"],\"roles\":\"not ours\",\"scope\":\"x y\","
                        "\"realm_access\":{\"roles\":[\"made up\",\"admin\",\"ops\"]}}",
                        60);
        ASSERT_EQ(ask_with(&f, "/x", token), 200);
        ASSERT_STREQ(member(&f, "subject"), IDP "#1");
        ASSERT_STREQ(member(&f, "role"), "ops"); /* "admin" is not in the list */
        ASSERT_EQ(ask_with(&f, "/ops/y", token), 200);
        ASSERT_EQ(ask_with(&f, "/scoped", token), 200);

        wrong = make_token(pem, IDP, "{\"sub\":\"1\"}", 60); /* for another audience */
        ASSERT_EQ(ask_with(&f, "/x", wrong), 401);
        admin = make_token(pem, "mam", "{\"sub\":\"root\",\"roles\":[\"admin\"]}", 60);
        ASSERT_EQ(ask_with(&f, "/x", admin), 401); /* its keys are good for its own tokens only */
        access_use(&f, "{}");
        ASSERT_EQ(ask_with(&f, "/x", token), 401);
        free(pem);
        free(token);
        free(admin);
        free(wrong);
        access_done(&f);
}

typedef struct Idp {
        MamHttpServer *server;
        unsigned port, n_requests;
        bool broken;
        char *jwks, *pem;
} Idp;

static int on_idp_request(MamHttpExchange *x, void *userdata) {
        Idp *i = userdata;

        i->n_requests++;
        if (i->broken)
                return mam_http_exchange_respond(x, 500, "text/plain", "no", 2);
        return mam_http_exchange_respond(x, 200, "application/json", i->jwks, strlen(i->jwks));
}

static void idp_renew(Idp *i) {
        free(i->jwks);
        free(i->pem);
        i->jwks = i->pem = NULL;
        ASSERT_OK(mam_jwt_generate_ed25519(&i->pem, &i->jwks));
}

static void idp_start(Idp *i, sd_event *event) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        static const MamHttpServerOptions options = { 0 };
        socklen_t size = sizeof(a);
        int fd;

        *i = (Idp){ 0 };
        idp_renew(i);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ASSERT_OK(fd);
        ASSERT_EQ(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
        ASSERT_EQ(listen(fd, 16), 0);
        ASSERT_EQ(getsockname(fd, (struct sockaddr *) &a, &size), 0);
        i->port = ntohs(a.sin_port);
        ASSERT_OK(mam_http_server_new(&i->server, event, &options, on_idp_request, i));
        ASSERT_OK(mam_http_server_listen(i->server, fd, false, 0));
}

TEST(keys_at_a_url_are_fetched_and_kept_over_its_failures) {
        char config[512], *first, *second;
        uint64_t asked;
        Fixture f;
        Idp idp;

        access_setup(&f, NULL, NULL);
        idp_start(&idp, f.event);
        (void) snprintf(config,
                        sizeof(config),
                        "{\"auth\":{\"issuers\":[{\"issuer\":\"" IDP
                        "\",\"audience\":\"mam\",\"jwksUrl\":\"http://127.0.0.1:%u/jwks\"}]}}",
                        idp.port);
        access_use(&f, config);
        first = make_token(idp.pem, IDP, "{\"sub\":\"1\",\"roles\":[\"viewer\",\"admin\"]}", 600);
        /* Not known yet is not wrong: 503, and a moment later it is known. */
        if (ask_with(&f, "/x", first) != 200)
                ASSERT_EQ(f.status, 503);
        RUN_UNTIL(&f, ask_with(&f, "/x", first) == 200);
        ASSERT_STREQ(member(&f, "role"), "viewer");
        ASSERT_EQ(idp.n_requests, 1);

        /* The same configuration again does not fetch them again. */
        access_use(&f, config);
        ASSERT_EQ(ask_with(&f, "/x", first), 200);
        ASSERT_EQ(idp.n_requests, 1);

        /* A key that is not known has them fetched, but not at each request. */
        idp_renew(&idp);
        second = make_token(idp.pem, IDP, "{\"sub\":\"2\"}", 600);
        asked = mam_now_monotonic();
        for (unsigned i = 0; i < 50; i++)
                ASSERT_TRUE(ask_with(&f, "/x", second) != 200 ||
                            mam_now_monotonic() >= asked + MAM_KEY_SOURCE_UNKNOWN_USEC / 2);
        ASSERT_TRUE(idp.n_requests <= 2 + (mam_now_monotonic() - asked) / MAM_KEY_SOURCE_UNKNOWN_USEC);

        free(first);
        free(second);
        mam_http_server_free(idp.server);
        free(idp.jwks);
        free(idp.pem);
        access_done(&f);
}

typedef struct SourceWatch {
        unsigned n_good, n_bad;
} SourceWatch;

static void on_source(MamKeySource *s, const char *problem, void *userdata) {
        SourceWatch *w = userdata;

        if (problem)
                w->n_bad++;
        else
                w->n_good++;
}

TEST(a_key_source_that_fails_keeps_what_it_has) {
        MamFetcher *fetcher = NULL;
        MamKeySource *s = NULL;
        SourceWatch w = { 0 };
        char url[64];
        Fixture f;
        Idp idp;

        access_setup(&f, NULL, NULL);
        idp_start(&idp, f.event);
        (void) snprintf(url, sizeof(url), "http://127.0.0.1:%u/", idp.port);
        ASSERT_OK(mam_fetcher_new(&fetcher, f.event, "test"));
        ASSERT_OK(mam_key_source_new_url(&s, f.event, fetcher, url, 50 * MAM_USEC_PER_MSEC, on_source, &w));
        RUN_UNTIL(&f, w.n_good == 2); /* and again when it is time */
        idp.broken = true;
        RUN_UNTIL(&f, w.n_bad == 1);
        ASSERT_TRUE(mam_key_source_keys(s));
        idp.broken = false;
        RUN_UNTIL(&f, w.n_good >= 3);
        mam_key_source_free(s);
        mam_fetcher_free(fetcher);
        mam_http_server_free(idp.server);
        free(idp.jwks);
        free(idp.pem);
        access_done(&f);
}

/* ---- may they (pure) ---- */

typedef struct PolicyCase {
        const char *role, *project, *project_role, *scope, *service;
        const char *method, *path, *to;
        unsigned status;
} PolicyCase;

static const char policy[] =
                "{\"auth\":{\"roles\":{"
                "\"viewer\":[\"GET /api/...\"],"
                "\"editor\":[\"GET,POST /api/projects/{project}/...\",\"* /api/projects/{project}\"],"
                "\"cook\":[\"/kitchen\",\"DELETE /kitchen/*/pots\"]},"
                "\"scopes\":{\"read\":[\"GET /...\"]}},"
                "\"callers\":{\"billing\":[\"things\",\"GET,PUT stores/api/x\"]}}";

static const PolicyCase policy_cases[] = {
        { .role = "viewer", .method = "GET", .path = "/api/x", .status = 200 },
        { .role = "viewer", .method = "HEAD", .path = "/api/x", .status = 200 },
        { .role = "viewer", .method = "GET", .path = "/api", .status = 200 },
        { .role = "viewer", .method = "GET", .path = "/apiary", .status = 403 },
        { .role = "viewer", .method = "POST", .path = "/api/x", .status = 403 },
        { .role = "viewer", .method = "GET", .path = "/%61pi/x", .status = 403 },
        { .role = "admin", .method = "PURGE", .path = "/anything", .status = 200 },
        { .role = "stranger", .method = "GET", .path = "/api/x", .status = 403 },
        { .role = "cook", .method = "PURGE", .path = "/kitchen", .status = 200 },
        { .role = "cook", .method = "GET", .path = "/kitchen/", .status = 403 },
        { .role = "cook", .method = "DELETE", .path = "/kitchen/3/pots", .status = 200 },
        { .role = "cook", .method = "DELETE", .path = "/kitchen//pots", .status = 403 },
        { .role = "cook", .method = "DELETE", .path = "/kitchen/3/pots/4", .status = 403 },
        { .role = "editor", .method = "POST", .path = "/api/projects/A/tasks", .status = 200 },
        { .project = "A",
          .project_role = "editor",
          .method = "POST",
          .path = "/api/projects/A/tasks",
          .status = 200 },
        { .project = "A",
          .project_role = "editor",
          .method = "DELETE",
          .path = "/api/projects/A",
          .status = 200 },
        { .project = "A",
          .project_role = "editor",
          .method = "POST",
          .path = "/api/projects/%41/t",
          .status = 200 },
        { .project = "A",
          .project_role = "editor",
          .method = "POST",
          .path = "/api/projects/B/tasks",
          .status = 403 },
        { .project = "A",
          .project_role = "editor",
          .method = "POST",
          .path = "/api/projects/A%2f/t",
          .status = 403 },
        { .project = "A",
          .project_role = "editor",
          .method = "POST",
          .path = "/api/projects/A%/t",
          .status = 403 },
        { .project = "A",
          .project_role = "editor",
          .method = "POST",
          .path = "/api/projects/A%00/t",
          .status = 403 },
        { .project = "A", .project_role = "viewer", .method = "GET", .path = "/api/x", .status = 403 },
        { .project = "A",
          .project_role = "admin",
          .method = "GET",
          .path = "/api/projects/A",
          .status = 403 },
        { .role = "admin", .scope = "read", .method = "GET", .path = "/x", .status = 200 },
        { .role = "admin", .scope = "read", .method = "POST", .path = "/x", .status = 403 },
        { .role = "admin", .scope = "unknown", .method = "GET", .path = "/x", .status = 403 },
        { .service = "billing", .method = "DELETE", .path = "/any", .to = "things", .status = 200 },
        { .service = "billing", .method = "GET", .path = "/api/x", .to = "stores", .status = 200 },
        { .service = "billing", .method = "POST", .path = "/api/x", .to = "stores", .status = 403 },
        { .service = "billing", .method = "GET", .path = "/api/x/y", .to = "stores", .status = 403 },
        { .service = "billing", .method = "GET", .path = "/api/x", .to = "others", .status = 403 },
        { .service = "gossip", .method = "GET", .path = "/any", .to = "things", .status = 403 },
        /* for somebody: both must be permitted */
        { .service = "billing",
          .role = "viewer",
          .method = "GET",
          .path = "/api/x",
          .to = "things",
          .status = 200 },
        { .service = "billing",
          .role = "viewer",
          .method = "POST",
          .path = "/api/x",
          .to = "things",
          .status = 403 },
        { .service = "billing",
          .role = "admin",
          .method = "GET",
          .path = "/api/y",
          .to = "stores",
          .status = 403 },
};

TEST(what_is_not_permitted_is_refused) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *config = NULL;
        _cleanup_(mam_freep) char *problem = NULL, *text = NULL;

        ASSERT_TRUE(asprintf(&text, "{\"gateway\":%s,\"services\":{}}", policy) > 0);
        ASSERT_OK(mam_gateway_config_parse(&config, text, strlen(text), &problem));
        for (size_t i = 0; i < MAM_ELEMENTSOF(policy_cases); i++) {
                const PolicyCase *p = &policy_cases[i];
                _cleanup_(caller_unrefp) Caller *c = NULL;
                CallerProjectRole project = { p->project, p->project_role };
                bool is_service = p->service && !p->role;
                const char *reason = NULL;
                unsigned status;

                ASSERT_OK(caller_new(
                                &c,
                                &(CallerSpec){
                                                .kind = is_service ? CALLER_SERVICE : CALLER_TOKEN,
                                                .subject = "ada",
                                                .roles = &p->role,
                                                .n_roles = p->role != NULL,
                                                .projects = &project,
                                                .n_projects = p->project != NULL,
                                                .scopes = &p->scope,
                                                .n_scopes = p->scope != NULL,
                                                .scoped = p->scope != NULL,
                                                .service = p->service,
                                                .expires_sec = UINT64_MAX,
                                }));
                status = access_policy_decide(
                                &config->auth,
                                &config->callers,
                                &(AccessQuestion){
                                                .caller = c,
                                                .service = p->to ? p->to : "things",
                                                .method = p->method,
                                                .path = p->path,
                                                .path_size = strlen(p->path),
                                },
                                &reason);
                if (status != p->status)
                        (void) fprintf(stderr, "# case %zu: %s %s\n", i, p->method, p->path);
                ASSERT_EQ(status, p->status);
                ASSERT_EQ(reason != NULL, status != 200);
        }
}

TEST(a_route_may_ask_for_more) {
        char *viewer, *ops, *scoped;
        Fixture f;

        access_setup(&f, NULL, NULL);
        viewer = make_token(f.pem, "mam", "{\"sub\":\"ada\",\"roles\":[\"viewer\"]}", 60);
        ops = make_token(f.pem, "mam", "{\"sub\":\"ops\",\"roles\":[\"viewer\",\"ops\"]}", 60);
        scoped = make_token(f.pem, "mam", "{\"sub\":\"s\",\"roles\":[\"admin\"],\"scope\":\"y x\"}", 60);
        ASSERT_EQ(ask_with(&f, "/ops/x", viewer), 403);
        ASSERT_EQ(ask_with(&f, "/ops/x", ops), 200);
        ASSERT_EQ(ask_with(&f, "/ops/x", scoped), 200);
        ASSERT_EQ(ask_with(&f, "/scoped", ops), 403);
        ASSERT_EQ(ask_with(&f, "/scoped", scoped), 200);
        access_use(&f, "{\"auth\":{\"required\":false}}");
        ASSERT_EQ(ask_with(&f, "/x", NULL), 200);
        ASSERT_EQ(ask_with(&f, "/ops/x", NULL), 401);
        free(viewer);
        free(ops);
        free(scoped);
        access_done(&f);
}

/* ---- audit ---- */

TEST(the_audit_has_a_bound_and_says_what_it_left_out) {
        uint64_t written, left_out, now = 10 * MAM_USEC_PER_SEC;
        AuditRecord record = { .message_id = "0", .what = "refused", .reason = "a\nb" };
        Audit *a = NULL;

        ASSERT_OK(audit_new(&a));
        audit_configure(a, MAM_AUDIT_DENIED, 5);
        for (unsigned i = 0; i < 20; i++)
                audit_write(a, &record, now + i);
        audit_counts(a, &written, &left_out);
        ASSERT_EQ(written, 5);
        ASSERT_EQ(left_out, 15);
        audit_write(a, &record, now + MAM_USEC_PER_SEC);
        audit_counts(a, &written, &left_out);
        ASSERT_EQ(written, 6);
        audit_configure(a, MAM_AUDIT_OFF, 5);
        audit_write(a, &record, now + 5 * MAM_USEC_PER_SEC);
        audit_counts(a, &written, &left_out);
        ASSERT_EQ(written, 6);
        audit_free(a);
}

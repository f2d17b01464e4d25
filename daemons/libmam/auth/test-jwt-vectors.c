/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Public test vectors: Project Wycheproof's for JWS and JWK, and the IETF JOSE cookbook
 *
 * They lie beside the checkout and not in it; where they are absent these cases skip.
 */

#include <limits.h>
#include <string.h>

#include "libmam/auth/jwt-internal.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

/* Vectors of wycheproof-json_web_signature_test.json where we differ on purpose. */
static const struct {
        int id;
        bool accepted; /* what we do */
        const char *reason;
} exceptions[] = {
        { 346, false, "the key says RS256, the token PS384: a key is for one algorithm" },
        { 350, false, "the key says RS256, the token PS384: a key is for one algorithm" },
        { 347,
          false,
          "the key says ES521, which does not exist (its own JWK vectors 19 and 20 refuse that)" },
        { 351,
          false,
          "the key says ES521, which does not exist (its own JWK vectors 19 and 20 refuse that)" },
        { 367, true, "the same bytes as 357, which is valid: the padding it means to add is not there" },
        { 370, true, "the same bytes as 357, which is valid: the padding it means to add is not there" },
        { 372, false, "a character outside of base64url in the header: RFC 7515, section 2" },
        { 373, false, "a character outside of base64url in the payload: RFC 7515, section 2" },
};

static json_object *load(const char *name) {
        _cleanup_(mam_freep) char *text = NULL;
        const char *data = mam_test_shared_data();
        json_object *o = NULL;
        char path[PATH_MAX];
        size_t size;

        if (!data)
                mam_test_skip("the public vectors are not here");
        (void) snprintf(path, sizeof(path), "%s/jose/%s", data, name);
        if (mam_file_read(&text, &size, path, 4U * 1024U * 1024U) < 0)
                mam_test_skip("the public vectors are not here");
        o = json_tokener_parse(text);
        ASSERT_TRUE(o);
        return o;
}

static json_object *member(json_object *o, const char *key) {
        json_object *v = NULL;

        (void) json_object_object_get_ex(o, key, &v);
        return v;
}

/* key: one JWK or a set */
static int verify(json_object *key, const char *token) {
        _cleanup_(mam_jwks_freep) MamJwks *set = NULL;
        _cleanup_(mam_freep) char *json = NULL, *payload = NULL;
        const char *reason, *text = json_object_to_json_string(key);
        size_t n;
        int r;

        ASSERT_TRUE(asprintf(&json, member(key, "keys") ? "%s" : "{\"keys\":[%s]}", text) > 0);
        r = mam_jwks_parse(&set, json, strlen(json), &reason);
        ASSERT_TRUE(r == 0 || r == -EBADMSG);
        if (r < 0)
                return r;
        return mam_jws_verify_compact(&payload, &n, set, token, strlen(token));
}

static bool is_accepted(int id, bool valid, bool with_exceptions) {
        for (size_t i = 0; with_exceptions && i < MAM_ELEMENTSOF(exceptions); i++)
                if (exceptions[i].id == id)
                        return exceptions[i].accepted;
        return valid;
}

static void run_wycheproof(const char *file, bool with_exceptions, unsigned expected) {
        _cleanup_(json_object_putp) json_object *root = load(file);
        json_object *groups = member(root, "testGroups");
        unsigned n = 0, wrong = 0;

        for (size_t i = 0; i < json_object_array_length(groups); i++) {
                json_object *group = json_object_array_get_idx(groups, i);
                json_object *tests = member(group, "tests");
                json_object *key =
                                member(group, "public") ? member(group, "public") : member(group, "private");

                for (size_t j = 0; j < json_object_array_length(tests); j++) {
                        json_object *t = json_object_array_get_idx(tests, j);
                        int id = json_object_get_int(member(t, "tcId"));
                        bool valid = strcmp(json_object_get_string(member(t, "result")), "valid") == 0,
                             accepted;
                        int r;

                        r = verify(key, json_object_get_string(member(t, "jws")));
                        accepted = r == MAM_JWT_OK;
                        n++;
                        if (accepted == is_accepted(id, valid, with_exceptions))
                                continue;
                        fprintf(stderr,
                                "%s %d (%s): %s, we say %d\n",
                                file,
                                id,
                                json_object_get_string(member(t, "comment")),
                                valid ? "valid" : "invalid",
                                r);
                        wrong++;
                }
        }
        ASSERT_EQ(wrong, 0);
        ASSERT_EQ(n, json_object_get_int(member(root, "numberOfTests")));
        ASSERT_TRUE(n >= expected);
}

TEST(wycheproof_signatures) {
        run_wycheproof("wycheproof-json_web_signature_test.json", true, 401);
}

TEST(wycheproof_keys) {
        run_wycheproof("wycheproof-json_web_key_test.json", false, 26);
}

/* The examples of the cookbook that exist in the compact form; the key gets the algorithm that the example
 * names. */
TEST(cookbook_signatures) {
        static const struct {
                const char *file;
                int result;
        } examples[] = {
                { "jws/4_1.rsa_v15_signature.json", MAM_JWT_OK },
                { "jws/4_2.rsa-pss_signature.json", MAM_JWT_OK },
                { "jws/4_3.ecdsa_signature.json", MAM_JWT_OK },
                { "jws/4_4.hmac-sha2_integrity_protection.json", MAM_JWT_OK },
                { "jws/4_5.signature_with_detached_content.json",
                  MAM_JWT_E_SIGNATURE }, /* the content is elsewhere */
                { "curve25519/jws.json", MAM_JWT_OK },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(examples); i++) {
                _cleanup_(json_object_putp) json_object *root = load(examples[i].file);
                json_object *input = member(root, "input"), *key = member(input, "key");

                json_object_object_add(key, "alg", json_object_get(member(input, "alg")));
                ASSERT_EQ(verify(key, json_object_get_string(member(member(root, "output"), "compact"))),
                          examples[i].result);
        }
}

static const char *text_member(json_object *o, const char *key) {
        return member(o, key) ? json_object_get_string(member(o, key)) : "";
}

/* The examples that exist as JSON only: each signature is taken over into the compact form. What protects no
 * header cannot be: nothing would say by which algorithm. */
TEST(cookbook_signatures_of_the_json_form) {
        static const struct {
                const char *file;
                int results[3];
        } examples[] = {
                { "jws/4_6.protecting_specific_header_fields.json", { MAM_JWT_OK } },
                { "jws/4_7.protecting_content_only.json", { MAM_JWT_E_MALFORMED } },
                { "jws/4_8.multiple_signatures.json", { MAM_JWT_OK, MAM_JWT_E_MALFORMED, MAM_JWT_OK } },
                { "rfc7797/4.2.hmac-sha2_b64_false.json", { MAM_JWT_E_CRITICAL } },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(examples); i++) {
                _cleanup_(json_object_putp) json_object *root = load(examples[i].file);
                json_object *input = member(root, "input"), *keys = member(input, "key");
                json_object *algs = member(input, "alg"), *json = member(member(root, "output"), "json");
                json_object *list = member(json, "signatures");

                for (size_t k = 0; k < json_object_array_length(list); k++) {
                        bool several = json_object_is_type(keys, json_type_array);
                        json_object *key = several ? json_object_array_get_idx(keys, k) : keys;
                        json_object *alg = several ? json_object_array_get_idx(algs, k) : algs;
                        json_object *one = json_object_array_get_idx(list, k);
                        _cleanup_(mam_freep) char *token = NULL;

                        json_object_object_add(key, "alg", json_object_get(alg));
                        ASSERT_TRUE(asprintf(&token,
                                             "%s.%s.%s",
                                             text_member(one, "protected"),
                                             text_member(json, "payload"),
                                             text_member(one, "signature")) > 0);
                        ASSERT_EQ(verify(key, token), examples[i].results[k]);
                }
        }
}

/* RFC 7797 is an extension that changes what is signed: a token that uses it must say so, and is refused. */
TEST(unencoded_payloads_are_refused) {
        _cleanup_(json_object_putp) json_object *root = load("rfc7797/hmac-sha2_b64_false.json");
        json_object *input = member(root, "input"), *key = member(input, "key"), *compact;

        json_object_object_add(key, "alg", json_object_get(member(input, "alg")));
        compact = member(member(root, "output"), "compact");
        if (!compact)
                compact = member(member(root, "output"), "compact_detached");
        ASSERT_TRUE(compact);
        ASSERT_EQ(verify(key, json_object_get_string(compact)), MAM_JWT_E_CRITICAL);
}

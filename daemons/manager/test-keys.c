/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The list of API keys and its file
 */

#include <string.h>
#include <sys/stat.h>

#include "libmam/util/file.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"
#include "manager/keys.h"

#define SECRET     "not much of a secret"
#define SECRET_LEN (sizeof(SECRET) - 1)
#define NOW        (1700000000ULL * MAM_USEC_PER_SEC)

typedef struct Fixture {
        char folder[64], path[96];
        Keys *keys;
} Fixture;

static void fixture_load(Fixture *f, bool is_bad) {
        const char *problem = NULL;

        f->keys = keys_free(f->keys);
        ASSERT_OK(keys_new(&f->keys, f->path, &problem));
        ASSERT_EQ(problem != NULL, is_bad);
}

static void fixture_setup(Fixture *f) {
        *f = (Fixture){ .folder = "/tmp/test-keys-XXXXXX" };
        ASSERT_TRUE(mkdtemp(f->folder));
        (void) snprintf(f->path, sizeof(f->path), "%s/keys.json", f->folder);
        fixture_load(f, false);
}

static void fixture_done(Fixture *f) {
        char bad[128];

        f->keys = keys_free(f->keys);
        (void) snprintf(bad, sizeof(bad), "%s.bad", f->path);
        (void) unlink(bad);
        (void) unlink(f->path);
        ASSERT_EQ(rmdir(f->folder), 0);
}

static ApiKey *create(Fixture *f, const char *name, char text[static MAM_API_KEY_TEXT_SIZE + 1]) {
        static char *roles[] = { (char *) "viewer", (char *) "editor", NULL }, *scopes[] = { NULL };
        KeyRequest q = { .name = name, .subject = "", .roles = roles, .scopes = scopes, .ttl_usec = 0 };
        const char *reason = NULL;
        ApiKey *key = NULL;

        ASSERT_TRUE(key_request_is_valid(&q, &reason));
        ASSERT_OK(keys_create(f->keys, &q, SECRET, SECRET_LEN, NOW, &key, text));
        return key;
}

static bool fits(const uint8_t *mac, const char *text) {
        uint8_t other[MAM_API_KEY_MAC_SIZE];

        ASSERT_OK(mam_api_key_mac(other, SECRET, SECRET_LEN, text, strlen(text)));
        return mam_api_key_mac_equal(mac, other);
}

TEST(a_key_is_kept_without_being_known) {
        _cleanup_(mam_freep) char *file = NULL;
        char text[MAM_API_KEY_TEXT_SIZE + 1], other[MAM_API_KEY_TEXT_SIZE + 1], id[MAM_API_KEY_ID_SIZE + 1];
        struct stat st;
        Fixture f;
        ApiKey *key;

        fixture_setup(&f);
        key = create(&f, "deploy robot", text);
        ASSERT_TRUE(mam_api_key_parse(text, strlen(text), id));
        ASSERT_STREQ(id, key->id);
        (void) create(&f, "another", other);
        ASSERT_TRUE(strcmp(text, other) != 0);

        ASSERT_EQ(stat(f.path, &st), 0);
        ASSERT_EQ(st.st_mode & 0777, 0600);
        ASSERT_OK(mam_file_read(&file, NULL, f.path, 65536));
        ASSERT_TRUE(!strstr(file, text + 21)); /* the secret part */

        fixture_load(&f, false);
        ASSERT_EQ(f.keys->n_keys, 2);
        key = keys_find(f.keys, id);
        ASSERT_TRUE(key && fits(key->mac, text) && !fits(key->mac, other));
        ASSERT_STREQ(key->name, "deploy robot");
        ASSERT_EQ(strncmp(key->subject, "key:", 4), 0);
        ASSERT_STREQ(key->roles[1], "editor");
        ASSERT_TRUE(!key->roles[2] && !key->scopes[0]);
        ASSERT_EQ(key->created_usec, NOW);
        fixture_done(&f);
}

TEST(a_rotated_key_has_two_secrets_for_a_while) {
        char first[MAM_API_KEY_TEXT_SIZE + 1], second[MAM_API_KEY_TEXT_SIZE + 1];
        json_object *o = NULL, *list, *previous;
        uint64_t generation;
        Fixture f;
        ApiKey *key;

        fixture_setup(&f);
        key = create(&f, "robot", first);
        generation = f.keys->generation;
        ASSERT_OK(keys_rotate(f.keys, key, SECRET, SECRET_LEN, MAM_USEC_PER_SEC, NOW, second));
        ASSERT_TRUE(f.keys->generation > generation);
        ASSERT_TRUE(fits(key->mac, second) && fits(key->previous_mac, first));
        ASSERT_EQ(strncmp(first, second, 20), 0); /* the same id */

        for (unsigned i = 0; i < 2; i++) { /* gateways are told of it while it holds */
                ASSERT_OK(keys_format_for_gateway(f.keys, NOW + i * 2 * MAM_USEC_PER_SEC, &o));
                list = json_object_object_get(o, "keys");
                previous = NULL;
                ASSERT_EQ(json_object_object_get_ex(
                                          json_object_array_get_idx(list, 0),
                                          "previousMac",
                                          &previous),
                          i == 0);
                ASSERT_TRUE(!json_object_object_get_ex(
                                json_object_array_get_idx(list, 0),
                                "name",
                                &previous));
                json_object_put(o);
        }
        ASSERT_OK(keys_rotate(f.keys, key, SECRET, SECRET_LEN, 0, NOW, first));
        ASSERT_EQ(key->previous_until_usec, 0);
        fixture_done(&f);
}

TEST(a_revoked_key_is_gone_and_use_is_counted) {
        char text[MAM_API_KEY_TEXT_SIZE + 1], id[MAM_API_KEY_ID_SIZE + 1];
        uint64_t generation;
        Fixture f;
        ApiKey *key;

        fixture_setup(&f);
        key = create(&f, "one", text);
        (void) create(&f, "two", text);
        memcpy(id, key->id, sizeof(id));
        generation = f.keys->generation;
        keys_note_use(f.keys, id, 3, NOW + 5);
        keys_note_use(f.keys, id, 4, NOW + 2);
        keys_note_use(f.keys, "0000000000000000", 1, NOW);
        ASSERT_EQ(f.keys->generation, generation);
        ASSERT_OK(keys_save(f.keys));
        fixture_load(&f, false);
        key = keys_find(f.keys, id);
        ASSERT_TRUE(key);
        ASSERT_EQ(key->uses, 7);
        ASSERT_EQ(key->used_usec, NOW + 5);

        ASSERT_OK(keys_revoke(f.keys, key));
        api_key_free(key);
        ASSERT_TRUE(!keys_find(f.keys, id));
        ASSERT_EQ(f.keys->n_keys, 1);
        fixture_load(&f, false);
        ASSERT_EQ(f.keys->n_keys, 1);
        fixture_done(&f);
}

TEST(a_key_answers_to_its_name_if_only_one_has_it) {
        char text[MAM_API_KEY_TEXT_SIZE + 1];
        bool several = true;
        Fixture f;
        ApiKey *one, *two;

        fixture_setup(&f);
        one = create(&f, "one", text);
        two = create(&f, "two", text);
        ASSERT_TRUE(keys_find_called(f.keys, "two", &several) == two && !several);
        ASSERT_TRUE(keys_find_called(f.keys, one->id, &several) == one && !several);
        ASSERT_TRUE(!keys_find_called(f.keys, "three", &several) && !several);
        (void) create(&f, "two", text);
        ASSERT_TRUE(!keys_find_called(f.keys, "two", &several) && several);
        ASSERT_TRUE(keys_find_called(f.keys, two->id, &several) == two && !several);
        fixture_done(&f);
}

TEST(what_cannot_be_stored_does_not_happen) {
        static char *none[] = { NULL };
        KeyRequest q = { .name = "x", .subject = "", .roles = none, .scopes = none };
        char text[MAM_API_KEY_TEXT_SIZE + 1];
        const char *problem = NULL;
        Keys *keys = NULL;
        ApiKey *key = NULL;

        ASSERT_OK(keys_new(&keys, "/nonexistent/keys.json", &problem));
        ASSERT_TRUE(keys_create(keys, &q, SECRET, SECRET_LEN, NOW, &key, text) < 0);
        ASSERT_EQ(keys->n_keys, 0);
        keys_free(keys);
}

TEST(a_file_that_is_not_ours_is_moved_aside) {
        static const char *const wrong[] = {
                "",
                "[]",
                "{\"keys\":[7]}",
                "{\"keys\":[{\"id\":\"zz\"}]}",
                "{\"keys\":[{\"id\":\"0123456789abcdef\",\"name\":\"n\",\"subject\":\"s\",\"roles\":[],\"scopes\":[],\"mac\":\"12\"}]}",
        };
        Fixture f;

        fixture_setup(&f);
        for (size_t i = 0; i < MAM_ELEMENTSOF(wrong); i++) {
                ASSERT_OK(mam_file_write_atomic(f.path, wrong[i], strlen(wrong[i]), 0600));
                fixture_load(&f, true);
                ASSERT_EQ(f.keys->n_keys, 0);
        }
        fixture_done(&f);
}

TEST(what_could_not_travel_is_refused) {
        static char *comma[] = { (char *) "a,b", NULL }, *none[] = { NULL },
                    *quote[] = { (char *) "a\"b", NULL };
        static const struct {
                KeyRequest q;
                bool good;
        } cases[] = {
                { { .name = "n", .subject = "", .roles = none, .scopes = none }, true },
                { { .name = "Ünï n",
                    .subject = "ci",
                    .roles = none,
                    .scopes = none,
                    .ttl_usec = MAM_USEC_PER_SEC },
                  true },
                { { .name = "", .subject = "", .roles = none, .scopes = none }, false },
                { { .name = "a\nb", .subject = "", .roles = none, .scopes = none }, false },
                { { .name = "n", .subject = "a b", .roles = none, .scopes = none }, false },
                { { .name = "n", .subject = "", .roles = comma, .scopes = none }, false },
                { { .name = "n", .subject = "", .roles = none, .scopes = quote }, false },
                { { .name = "n", .subject = "", .roles = none, .scopes = none, .ttl_usec = 5 }, false },
                { { .name = "n", .subject = "", .roles = none, .scopes = none, .ttl_usec = UINT64_MAX },
                  false },
        };
        const char *reason;

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++)
                ASSERT_EQ(key_request_is_valid(&cases[i].q, &reason), cases[i].good);
}

TEST(only_a_key_looks_like_one) {
        char text[MAM_API_KEY_TEXT_SIZE + 1], id[MAM_API_KEY_ID_SIZE + 1];

        ASSERT_OK(mam_api_key_generate(text, id));
        ASSERT_EQ(strlen(text), MAM_API_KEY_TEXT_SIZE);
        ASSERT_TRUE(mam_api_key_parse(text, MAM_API_KEY_TEXT_SIZE, id));
        ASSERT_TRUE(!mam_api_key_parse(text, MAM_API_KEY_TEXT_SIZE - 1, id));
        for (unsigned i = 0; i < MAM_API_KEY_TEXT_SIZE; i++) {
                char c = text[i];

                text[i] = i < 4 || i == 20 ? 'X' : '!';
                ASSERT_TRUE(!mam_api_key_parse(text, MAM_API_KEY_TEXT_SIZE, id));
                text[i] = c;
        }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Addresses, circuit, signatures and sealed secrets
 */

#include <arpa/inet.h>
#include <netinet/in.h>

#include "event-bus/push/address.h"
#include "event-bus/push/base64.h"
#include "event-bus/push/circuit.h"
#include "event-bus/push/secret.h"
#include "event-bus/push/signature.h"
#include "libmam/util/test.h"

typedef struct Sockaddr {
        struct sockaddr_storage storage;
        socklen_t size;
} Sockaddr;

static const struct sockaddr *address_of(Sockaddr *s, const char *text) {
        *s = (Sockaddr){ 0 };
        if (strchr(text, ':')) {
                struct sockaddr_in6 in = { .sin6_family = AF_INET6, .sin6_port = 443 };

                ASSERT_EQ(inet_pton(AF_INET6, text, &in.sin6_addr), 1);
                memcpy(&s->storage, &in, sizeof(in));
                s->size = sizeof(in);
        } else {
                struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = 443 };

                ASSERT_EQ(inet_pton(AF_INET, text, &in.sin_addr), 1);
                memcpy(&s->storage, &in, sizeof(in));
                s->size = sizeof(in);
        }
        return (const struct sockaddr *) &s->storage;
}

static bool allowed(const PushNetworks *allow, const char *text) {
        Sockaddr s;
        const struct sockaddr *a = address_of(&s, text);

        return push_address_is_allowed(allow, a, s.size);
}

TEST(only_addresses_that_everybody_can_reach_are_allowed) {
        static const char *const good[] = {
                "1.1.1.1",         "8.8.8.8",         "9.255.255.255",     "11.0.0.0",
                "100.63.255.255",  "100.128.0.0",     "126.255.255.255",   "128.0.0.0",
                "169.253.255.255", "169.255.0.0",     "172.15.255.255",    "172.32.0.0",
                "192.0.1.0",       "192.167.255.255", "192.169.0.0",       "198.17.255.255",
                "198.20.0.0",      "223.255.255.255", "168.63.129.15",     "2606:4700::1111",
                "2a00:1450::5",    "3ffe::1",         "::ffff:8.8.8.8",    "64:ff9b::8.8.8.8",
                "2002:808:808::1", "2001:200::1",     "2001:4860:4860::1",
        };
        static const char *const bad[] = {
                "0.0.0.0",
                "0.1.2.3",
                "10.0.0.1",
                "10.255.255.255",
                "100.64.0.0",
                "100.100.100.200",
                "100.127.255.255",
                "127.0.0.1",
                "127.255.255.254",
                "169.254.0.1",
                "169.254.169.254",
                "168.63.129.16",
                "172.16.0.1",
                "172.31.255.255",
                "192.0.0.192",
                "192.0.2.1",
                "192.88.99.1",
                "192.168.0.1",
                "198.18.0.1",
                "198.19.255.255",
                "198.51.100.7",
                "203.0.113.7",
                "224.0.0.1",
                "239.255.255.255",
                "240.0.0.1",
                "255.255.255.255",
                "::",
                "::1",
                "::7f00:1", /* IPv4-compatible */
                "::ffff:127.0.0.1",
                "::ffff:10.0.0.1",
                "::ffff:169.254.169.254",
                "64:ff9b::127.0.0.1",
                "64:ff9b::10.1.2.3",
                "64:ff9b::a9fe:a9fe",
                "64:ff9b:1::8.8.8.8",
                "2002:7f00:1::",
                "2002:a9fe:a9fe::1",
                "2002:c0a8:101::1",
                "2001::1",
                "2001:0:4136:e378:8000:63bf:3fff:fdd2", /* Teredo */
                "2001:10::1",
                "2001:db8::1",
                "3fff::1",
                "100::1",
                "fc00::1",
                "fd00:ec2::254",
                "fe80::1",
                "fec0::1",
                "ff02::1",
                "5f00::1",
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(good); i++) {
                if (!allowed(NULL, good[i]))
                        mam_test_fail_string(__FILE__, __LINE__, "allowed", good[i]);
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++) {
                if (allowed(NULL, bad[i]))
                        mam_test_fail_string(__FILE__, __LINE__, "refused", bad[i]);
        }
}

TEST(other_kinds_of_addresses_are_refused) {
        struct sockaddr_storage s = { .ss_family = AF_UNIX };

        ASSERT_TRUE(!push_address_is_allowed(NULL, (struct sockaddr *) &s, sizeof(s)));
        s.ss_family = AF_INET6;
        ASSERT_TRUE(!push_address_is_allowed(NULL, (struct sockaddr *) &s, sizeof(struct sockaddr_in)));
}

TEST(what_the_administrator_names_is_allowed_however_it_is_written) {
        static const char *const names[] = { "10.1.0.0/16",
                                             "127.0.0.1",
                                             "fd00:1::/32",
                                             "192.168.7.64/26",
                                             NULL };
        PushNetworks allow;
        Sockaddr s;
        const struct sockaddr *a;

        ASSERT_OK(push_networks_parse(&allow, names, NULL));
        ASSERT_TRUE(allowed(&allow, "10.1.255.255"));
        ASSERT_TRUE(!allowed(&allow, "10.2.0.0"));
        ASSERT_TRUE(allowed(&allow, "127.0.0.1"));
        ASSERT_TRUE(!allowed(&allow, "127.0.0.2"));
        ASSERT_TRUE(allowed(&allow, "::ffff:10.1.2.3"));
        ASSERT_TRUE(allowed(&allow, "64:ff9b::10.1.2.3"));
        ASSERT_TRUE(!allowed(&allow, "::ffff:10.2.2.3"));
        ASSERT_TRUE(allowed(&allow, "fd00:1:ffff::1"));
        ASSERT_TRUE(!allowed(&allow, "fd00:2::1"));
        ASSERT_TRUE(allowed(&allow, "192.168.7.127"));
        ASSERT_TRUE(!allowed(&allow, "192.168.7.128"));

        a = address_of(&s, "10.1.0.7");
        ASSERT_TRUE(push_address_is_named(&allow, a, s.size));
        a = address_of(&s, "8.8.8.8");
        ASSERT_TRUE(!push_address_is_named(&allow, a, s.size));
}

TEST(networks_that_are_none_are_named) {
        static const char *const bad[] = {
                "",          "10.0.0.0/33",
                "10.0.0.0/", "10.0.0.0/-1",
                "10.0.0/8",  "::/129",
                "localhost", "10.0.0.0/8x",
                "1.2.3.4.5", "1111111111111111111111111111111111111111111111111111:"
        };
        const char *const two[] = { "10.0.0.0/8", "nonsense", NULL };
        const char *which = NULL;
        PushNetworks allow;
        PushNetwork n;

        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++)
                ASSERT_EQ(push_network_parse(&n, bad[i]), -EINVAL);
        ASSERT_EQ(push_networks_parse(&allow, two, &which), -EINVAL);
        ASSERT_STREQ(which, "nonsense");
        ASSERT_OK(push_network_parse(&n, "0.0.0.0/0"));
        ASSERT_EQ(n.bits, 0);
}

/* The example of the specification's own libraries. */
TEST(signatures_are_those_of_standard_webhooks) {
        static const char body[] = "{\"test\": 2432232314}";
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        PushSecrets s;

        ASSERT_OK(push_secrets_parse(&s, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        ASSERT_EQ(s.n, 1);
        ASSERT_OK(push_sign(&b, &s, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, strlen(body)));
        ASSERT_STREQ(mam_buffer_bytes(&b), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

TEST(each_secret_signs_while_one_replaces_another) {
        _cleanup_(mam_buffer_done) MamBuffer both = MAM_BUFFER_INIT, first = MAM_BUFFER_INIT,
                                             second = MAM_BUFFER_INIT;
        static const char a[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        static const char c[] = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        char text[128];
        PushSecrets s;

        ASSERT_OK(push_secrets_parse(&s, a));
        ASSERT_OK(push_sign(&first, &s, "m", 7, "x", 1));
        ASSERT_OK(push_secrets_parse(&s, c));
        ASSERT_EQ(s.sizes[0], 32);
        ASSERT_OK(push_sign(&second, &s, "m", 7, "x", 1));
        (void) snprintf(text, sizeof(text), "%s %s", a, c);
        ASSERT_OK(push_secrets_parse(&s, text));
        ASSERT_OK(push_sign(&both, &s, "m", 7, "x", 1));
        (void) snprintf(text, sizeof(text), "%s %s", mam_buffer_bytes(&first), mam_buffer_bytes(&second));
        ASSERT_STREQ(mam_buffer_bytes(&both), text);
}

TEST(secrets_that_are_none_are_refused) {
        static const char *const bad[] = {
                "",
                " ",
                "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "whsec_",
                "whsec_AAEC",
                "whsec_MfKQ9r8GKYqrTwjU!D8ILPZIo2LaLaSw",
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw x",
                "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        };
        static const char one[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw ";
        char many[sizeof(one) * 6] = "";
        PushSecrets s;

        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++)
                ASSERT_EQ(push_secrets_parse(&s, bad[i]), -EINVAL);
        for (size_t i = 0; i < 5; i++)
                strcat(many, one);
        ASSERT_EQ(push_secrets_parse(&s, many), -E2BIG);
}

TEST(base64_is_read_and_written) {
        static const char *const pairs[][2] = { { "", "" },
                                                { "f", "Zg==" },
                                                { "fo", "Zm8=" },
                                                { "foo", "Zm9v" },
                                                { "foob", "Zm9vYg==" },
                                                { "fooba", "Zm9vYmE=" },
                                                { "foobar", "Zm9vYmFy" } };
        uint8_t bytes[8];
        char text[16];

        for (size_t i = 0; i < MAM_ELEMENTSOF(pairs); i++) {
                size_t n = strlen(pairs[i][0]);

                push_base64_encode(text, (const uint8_t *) pairs[i][0], n);
                ASSERT_STREQ(text, pairs[i][1]);
                ASSERT_EQ(push_base64_decode(bytes, sizeof(bytes), text, strlen(text)), n);
                ASSERT_EQ(memcmp(bytes, pairs[i][0], n), 0);
        }
        ASSERT_EQ(push_base64_decode(bytes, sizeof(bytes), "Z", 1), -EINVAL);
        ASSERT_EQ(push_base64_decode(bytes, sizeof(bytes), "Zg=", 3), -EINVAL);
        ASSERT_EQ(push_base64_decode(bytes, sizeof(bytes), "====", 4), -EINVAL);
        ASSERT_EQ(push_base64_decode(bytes, 2, "Zm9v", 4), -EINVAL);
        ASSERT_EQ(push_base64_decode(bytes, sizeof(bytes), "Zm\0v", 4), -EINVAL);
}

TEST(secrets_are_sealed_for_one_subscription_and_key) {
        static const char plain[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        static const char digits[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
        _cleanup_(mam_freep) char *sealed = NULL, *again = NULL, *opened = NULL;
        PushKey key, other;
        char *bad = NULL;

        ASSERT_OK(push_key_parse(&key, digits));
        ASSERT_EQ(key.bytes[1], 0x11);
        ASSERT_EQ(push_key_parse(&other, "0011"), -EINVAL);
        ASSERT_EQ(push_key_parse(&other, "zz112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
                  -EINVAL);

        ASSERT_OK(push_secret_seal(&sealed, &key, "orders", plain));
        ASSERT_TRUE(strncmp(sealed, "v1:", 3) == 0 && !strstr(sealed, "MfKQ"));
        ASSERT_OK(push_secret_seal(&again, &key, "orders", plain));
        ASSERT_TRUE(strcmp(sealed, again) != 0); /* another nonce */
        ASSERT_OK(push_secret_open(&opened, &key, "orders", sealed));
        ASSERT_STREQ(opened, plain);

        ASSERT_EQ(push_secret_open(&bad, &key, "other", sealed), -EBADMSG);
        other = key;
        other.bytes[31] ^= 1;
        ASSERT_EQ(push_secret_open(&bad, &other, "orders", sealed), -EBADMSG);
        sealed[20] = sealed[20] == 'A' ? 'B' : 'A';
        ASSERT_EQ(push_secret_open(&bad, &key, "orders", sealed), -EBADMSG);
        ASSERT_EQ(push_secret_open(&bad, &key, "orders", plain), -EBADMSG);
        ASSERT_EQ(push_secret_open(&bad, &key, "orders", "v1:AAAA"), -EBADMSG);
}

static void fail(PushCircuit *c, uint64_t now) {
        push_circuit_begin(c);
        push_circuit_failed(c, now, 0);
}

TEST(a_circuit_opens_after_failures_in_a_row) {
        uint64_t now = 1000 * MAM_USEC_PER_SEC, when = 0;
        PushCircuit c = { 0 };

        ASSERT_EQ(push_circuit_room(&c, 8, now, &when), 8);
        for (unsigned i = 1; i < PUSH_FAILURES_MAX; i++)
                fail(&c, now);
        ASSERT_TRUE(!push_circuit_is_open(&c));
        push_circuit_begin(&c);
        push_circuit_succeeded(&c);
        for (unsigned i = 1; i < PUSH_FAILURES_MAX; i++)
                fail(&c, now);
        ASSERT_TRUE(!push_circuit_is_open(&c));
        fail(&c, now);
        ASSERT_TRUE(push_circuit_is_open(&c));
        ASSERT_EQ(push_circuit_room(&c, 8, now, &when), 0);
        ASSERT_TRUE(when > now && when <= now + PUSH_OPEN_MIN_USEC);
        ASSERT_EQ(push_circuit_room(&c, 8, when - 1, &when), 0);
        ASSERT_EQ(push_circuit_room(&c, 8, when, &when), 1); /* half open */
}

TEST(a_half_open_circuit_lets_one_through_and_waits_longer_each_time) {
        uint64_t now = 1000 * MAM_USEC_PER_SEC, when = 0, before = 0;
        PushCircuit c = { 0 };

        for (unsigned i = 0; i < PUSH_FAILURES_MAX; i++)
                fail(&c, now);
        for (unsigned i = 0; i < 20; i++) {
                ASSERT_EQ(push_circuit_room(&c, 8, now, &when), 0);
                ASSERT_TRUE(when - now >= before / 2 && when - now <= PUSH_OPEN_MAX_USEC);
                before = when - now;
                now = when;
                ASSERT_EQ(push_circuit_room(&c, 8, now, &when), 1);
                push_circuit_begin(&c);
                ASSERT_EQ(push_circuit_room(&c, 8, now, &when), 0);
                ASSERT_EQ(when, MAM_USEC_INFINITY);
                push_circuit_failed(&c, now, 0);
        }
        ASSERT_TRUE(before >= PUSH_OPEN_MAX_USEC / 2);

        ASSERT_EQ(push_circuit_room(&c, 8, now, &when), 0);
        now = when;
        push_circuit_begin(&c);
        push_circuit_succeeded(&c);
        ASSERT_TRUE(!push_circuit_is_open(&c));
        ASSERT_EQ(push_circuit_room(&c, 8, now, &when), 8);
        for (unsigned i = 0; i < PUSH_FAILURES_MAX; i++)
                fail(&c, now);
        ASSERT_EQ(push_circuit_room(&c, 8, now, &when), 0);
        ASSERT_TRUE(when <= now + PUSH_OPEN_MIN_USEC); /* from the beginning again */
}

TEST(failures_of_requests_under_way_when_it_opened_count_once) {
        uint64_t now = 1000 * MAM_USEC_PER_SEC, when = 0;
        PushCircuit c = { 0 };

        for (unsigned i = 0; i < 64; i++)
                push_circuit_begin(&c);
        for (unsigned i = 0; i < 64; i++)
                push_circuit_failed(&c, now, 0);
        ASSERT_EQ(push_circuit_room(&c, 8, now, &when), 0);
        ASSERT_TRUE(when <= now + PUSH_OPEN_MIN_USEC);
}

TEST(what_retry_after_says_is_kept_to) {
        uint64_t now = 1000 * MAM_USEC_PER_SEC, when = 0;
        PushCircuit c = { 0 };

        push_circuit_begin(&c);
        push_circuit_failed(&c, now, 90 * MAM_USEC_PER_SEC);
        ASSERT_TRUE(!push_circuit_is_open(&c));
        ASSERT_EQ(push_circuit_room(&c, 8, now + 89 * MAM_USEC_PER_SEC, &when), 0);
        ASSERT_EQ(when, now + 90 * MAM_USEC_PER_SEC);
        ASSERT_EQ(push_circuit_room(&c, 8, when, &when), 8);
}

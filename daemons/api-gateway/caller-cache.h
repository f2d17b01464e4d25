/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who has shown what: credentials that were verified
 *
 * A token or API key is known by its SHA-256. A good one gives its Caller until it ends, for
 * CALLER_CACHE_GOOD_SEC at most; a bad one is remembered for CALLER_CACHE_BAD_SEC, so that repeating it
 * costs a hash and no signature. Both tables have a fixed size and replace what ends first among the few
 * places an entry may take.
 *
 * A client shows the same credential with each request of a connection. So the connection remembers the
 * place where its last one was found, and if the very same text lies there, and still counts, not even a
 * hash is needed. What decides is the place alone: whatever makes it forget (time, revocation, other keys,
 * another configuration) counts for this way too. The text is kept for that, up to CALLER_CACHE_TEXT_MAX
 * bytes, for as long as the place is in use, and then wiped.
 */

#include "api-gateway/caller.h"
#include "libmam/auth/digest.h"

typedef struct CallerCache CallerCache;
typedef struct CredentialDigest CredentialDigest;

#define CALLER_CACHE_GOOD_SEC 60U
#define CALLER_CACHE_BAD_SEC  10U
#define CALLER_CACHE_TEXT_MAX 1024U /* longer ones are hashed each time */

struct CredentialDigest {
        uint8_t bytes[MAM_SHA256_SIZE];
};

int caller_cache_new(CallerCache **ret);
CallerCache *caller_cache_free(CallerCache *k);
MAM_DEFINE_CLEANUP(CallerCache, caller_cache_free);

/* 0, or -ENOMEM. */
int caller_cache_digest(CallerCache *k, CredentialDigest *ret, const void *data, size_t size);
/* Borrowed, or NULL. place: what an earlier caller_cache_find() gave, or any other number. */
Caller *caller_cache_recall(
                const CallerCache *k,
                uint32_t place,
                const void *data,
                size_t size,
                uint64_t now_sec);
/* Borrowed, or NULL. *ret_place: where it is, never 0. */
Caller *caller_cache_find(
                const CallerCache *k,
                const CredentialDigest *d,
                uint64_t now_sec,
                uint32_t *ret_place);
bool caller_cache_is_bad(const CallerCache *k, const CredentialDigest *d, uint64_t now_sec);
/* Takes another reference. data: what the digest is of. */
void caller_cache_keep(
                CallerCache *k,
                const CredentialDigest *d,
                const void *data,
                size_t size,
                Caller *c,
                uint64_t now_sec);
void caller_cache_keep_bad(CallerCache *k, const CredentialDigest *d, uint64_t now_sec);
/* Who was bad may be good now. */
void caller_cache_forget_bad(CallerCache *k);
/* All of those that match; match NULL: all, and the bad ones too. */
void caller_cache_drop(CallerCache *k, bool (*match)(const Caller *c, void *userdata), void *userdata);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where keys come from: a JWKS document in a file, or at a URL
 *
 * A file is looked at no more than once a second while somebody asks, and at once (at most ten times a
 * second) when a token names a key that is not known. A URL is fetched at the start, every refresh_usec, and
 * when a token names an unknown key, but not more often than every KEY_SOURCE_UNKNOWN_USEC. As long as it
 * fails, the old keys stand, for KEY_SOURCE_STALE_USEC at most, and it is tried again with back-off.
 */

#include "libmam/auth/jwt.h"
#include "libmam/fetch/fetch.h"
#include "libmam/util/time.h"

typedef struct MamKeySource MamKeySource;

#define MAM_KEY_SOURCE_SIZE_MAX     (256UL * 1024UL)
#define MAM_KEY_SOURCE_UNKNOWN_USEC (10 * MAM_USEC_PER_SEC)
#define MAM_KEY_SOURCE_STALE_USEC   (24ULL * 3600 * MAM_USEC_PER_SEC)

/* The keys are others (problem NULL), or could not be had (what it says is fit for a log). The same problem
 * is told once. */
typedef void (*MamKeySourceChanged)(MamKeySource *s, const char *problem, void *userdata);

int mam_key_source_new_file(
                MamKeySource **ret,
                const char *path,
                MamKeySourceChanged on_changed,
                void *userdata);
/* The fetcher must outlive it. -EINVAL: not a URL. */
int mam_key_source_new_url(
                MamKeySource **ret,
                sd_event *event,
                MamFetcher *fetcher,
                const char *url,
                uint64_t refresh_usec,
                MamKeySourceChanged on_changed,
                void *userdata);
MamKeySource *mam_key_source_free(MamKeySource *s);
MAM_DEFINE_CLEANUP(MamKeySource, mam_key_source_free);

/* Borrowed until the next call of any function or turn of the loop; NULL: there are none. */
const MamJwks *mam_key_source_keys(const MamKeySource *s);
/* Somebody uses the keys now; unknown_key: and has just met a key that is not among them. */
void mam_key_source_look(MamKeySource *s, bool unknown_key, uint64_t now_usec);
/* They are being fetched: who did not find a key may find it soon. */
bool mam_key_source_is_busy(const MamKeySource *s);
const char *mam_key_source_place(const MamKeySource *s); /* the path, or the URL */

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "libmam/auth/key-source.h"

#include <assert.h>
#include <string.h>
#include <sys/stat.h>

#include "libmam/util/backoff.h"
#include "libmam/util/file.h"

#define LOOK_USEC        MAM_USEC_PER_SEC
#define LOOK_AGAIN_USEC  (100 * MAM_USEC_PER_MSEC)
#define RETRY_FIRST_USEC (2 * MAM_USEC_PER_SEC)
#define RETRY_MAX_USEC   (5ULL * 60 * MAM_USEC_PER_SEC)

struct MamKeySource {
        char *place;   /* owned; path or URL */
        MamJwks *keys; /* owned; or NULL */
        MamKeySourceChanged on_changed;
        void *userdata;
        char problem[160]; /* that was told last; "" if none */

        struct stat seen;     /* of a file: which one was tried last */
        uint64_t looked_usec; /* monotonic; 0: never */

        MamFetcher *fetcher;    /* borrowed; NULL: a file */
        MamFetch *fetch;        /* owned; under way */
        sd_event *event;        /* owned reference */
        sd_event_source *timer; /* owned; of the next fetch */
        uint64_t refresh_usec;
        uint64_t begun_usec; /* monotonic; of the last fetch */
        uint64_t good_usec;  /* monotonic; when the keys were got */
        unsigned failures;
};

static void tell(MamKeySource *s, const char *problem) {
        if (problem && strncmp(problem, s->problem, sizeof(s->problem) - 1) == 0)
                return;
        (void) snprintf(s->problem, sizeof(s->problem), "%s", problem ? problem : "");
        s->on_changed(s, problem, s->userdata);
}

/* A set without a usable key says nothing good: the old one stands. NULL, or what is wrong. */
static const char *take_keys(MamKeySource *s, const char *text, size_t size) {
        _cleanup_(mam_jwks_freep) MamJwks *keys = NULL;
        const char *reason = "unknown reason";
        int r;

        r = mam_jwks_parse(&keys, text, size, &reason);
        if (r < 0)
                return r == -ENOMEM ? "out of memory" : reason;
        if (mam_jwks_size(keys) == 0)
                return "no usable key in it";
        mam_jwks_free(s->keys);
        s->keys = MAM_TAKE(keys);
        return NULL;
}

static MamKeySource *source_new(const char *place, MamKeySourceChanged on_changed, void *userdata) {
        MamKeySource *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        s->place = strdup(place);
        s->on_changed = on_changed;
        s->userdata = userdata;
        return s->place ? s : mam_key_source_free(s);
}

/* ---- file ---- */

int mam_key_source_new_file(
                MamKeySource **ret,
                const char *path,
                MamKeySourceChanged on_changed,
                void *userdata) {
        MamKeySource *s;

        assert(ret);
        assert(path);
        assert(on_changed);

        s = source_new(path, on_changed, userdata);
        if (!s)
                return -ENOMEM;
        *ret = s;
        return 0;
}

static bool same_file(const struct stat *a, const struct stat *b) {
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
               a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void look_at_file(MamKeySource *s, bool unknown_key, uint64_t now_usec) {
        uint64_t interval = unknown_key || !s->keys ? LOOK_AGAIN_USEC : LOOK_USEC;
        _cleanup_(mam_freep) char *text = NULL;
        struct stat st = { 0 };
        const char *problem;
        size_t size;
        int r;

        if (s->looked_usec != 0 && now_usec < s->looked_usec + interval)
                return;
        s->looked_usec = now_usec;
        /* A missing file is tried as well: that is how it comes to be said. */
        if (stat(s->place, &st) < 0)
                st = (struct stat){ 0 };
        if (same_file(&st, &s->seen) && (s->keys || s->problem[0]))
                return;
        s->seen = st;

        r = mam_file_read(&text, &size, s->place, MAM_KEY_SOURCE_SIZE_MAX);
        problem = r < 0 ? strerrordesc_np(-r) : take_keys(s, text, size);
        if (!problem)
                s->problem[0] = '\0';
        tell(s, problem);
}

/* ---- URL ---- */

static uint64_t source_now(const MamKeySource *s) {
        uint64_t now = 0;

        (void) sd_event_now(s->event, CLOCK_MONOTONIC, &now);
        return now;
}

static void source_plan(MamKeySource *s, uint64_t delay_usec) {
        (void) sd_event_source_set_time(s->timer, source_now(s) + delay_usec);
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static void source_failed(MamKeySource *s, const char *problem) {
        uint64_t now = source_now(s);

        source_plan(s, mam_backoff_usec(s->failures++, RETRY_FIRST_USEC, RETRY_MAX_USEC));
        if (s->keys && now >= s->good_usec + MAM_KEY_SOURCE_STALE_USEC) {
                s->keys = mam_jwks_free(s->keys);
                s->problem[0] = '\0';
                problem = "could not be fetched for a day: its keys are not believed any more";
        }
        tell(s, problem);
}

static void on_fetched(const MamFetchResult *result, void *userdata) {
        MamKeySource *s = userdata;
        const char *problem = NULL;

        s->fetch = NULL; /* freed behind us */
        if (result->status < 200 || result->status > 299 || result->is_cut)
                problem = result->problem ? result->problem : "no answer";
        else
                problem = take_keys(s, result->body, result->body_size);
        if (problem) {
                source_failed(s, problem);
                return;
        }
        s->good_usec = source_now(s);
        s->failures = 0;
        s->problem[0] = '\0';
        source_plan(s, s->refresh_usec);
        tell(s, NULL);
}

static void source_fetch(MamKeySource *s) {
        static const char *const fields[] = { "Accept: application/jwk-set+json, application/json", NULL };
        int r;

        if (s->fetch)
                return;
        s->begun_usec = source_now(s);
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
        r =
                        mam_fetch_new(&s->fetch,
                                      s->fetcher,
                                      &(MamFetchRequest){
                                                      .url = s->place,
                                                      .fields = fields,
                                                      .answer_max = MAM_KEY_SOURCE_SIZE_MAX,
                                      },
                                      on_fetched,
                                      s);
        if (r < 0)
                source_failed(s, strerrordesc_np(-r));
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata) {
        source_fetch(userdata);
        return 0;
}

int mam_key_source_new_url(
                MamKeySource **ret,
                sd_event *event,
                MamFetcher *fetcher,
                const char *url,
                uint64_t refresh_usec,
                MamKeySourceChanged on_changed,
                void *userdata) {
        _cleanup_(mam_key_source_freep) MamKeySource *s = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(fetcher);
        assert(on_changed);

        s = source_new(url, on_changed, userdata);
        if (!s)
                return -ENOMEM;
        s->event = sd_event_ref(event);
        s->fetcher = fetcher;
        s->refresh_usec = refresh_usec;
        /* Due at once: the first turn of the loop fetches. */
        r = sd_event_add_time(event, &s->timer, CLOCK_MONOTONIC, 0, 0, on_time, s);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(s->timer, "key-source");

        *ret = MAM_TAKE(s);
        return 0;
}

MamKeySource *mam_key_source_free(MamKeySource *s) {
        if (!s)
                return NULL;

        mam_fetch_free(s->fetch);
        sd_event_source_disable_unref(s->timer);
        sd_event_unref(s->event);
        mam_jwks_free(s->keys);
        free(s->place);
        free(s);
        return NULL;
}

const MamJwks *mam_key_source_keys(const MamKeySource *s) {
        return s->keys;
}

void mam_key_source_look(MamKeySource *s, bool unknown_key, uint64_t now_usec) {
        assert(s);

        if (!s->fetcher)
                look_at_file(s, unknown_key, now_usec);
        else if (unknown_key && now_usec >= s->begun_usec + MAM_KEY_SOURCE_UNKNOWN_USEC)
                source_fetch(s);
}

bool mam_key_source_is_busy(const MamKeySource *s) {
        return s->fetch || (s->fetcher && s->begun_usec == 0);
}

const char *mam_key_source_place(const MamKeySource *s) {
        return s->place;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "alerts/post.h"

#include <assert.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#include <curl/curl.h>

#include "libmam/util/backoff.h"
#include "libmam/util/time.h"

#include "mam-build.h"

#define RETRY_FIRST_USEC     (1 * MAM_USEC_PER_SEC)
#define RETRY_MAX_USEC       (60 * MAM_USEC_PER_SEC)
#define RETRY_AFTER_MAX_USEC (3600 * MAM_USEC_PER_SEC)
#define CONNECTIONS_MAX      8L

struct Poster {
        sd_event *event;           /* owned reference */
        CURLM *multi;              /* owned */
        sd_event_source *timer;    /* owned */
        struct curl_slist *fields; /* owned */
};

struct Post {
        Poster *poster; /* weak */
        CURL *easy;     /* owned */
        size_t n_read;
        char problem[CURL_ERROR_SIZE];
        PostCallback callback;
        void *userdata;
};

PostVerdict post_verdict(long status, bool is_url_bad) {
        if (status >= 200 && status <= 299)
                return POST_DONE;
        if (status == 0)
                return is_url_bad ? POST_REFUSED : POST_RETRY;
        return status == 429 || status >= 500 ? POST_RETRY : POST_REFUSED;
}

uint64_t post_backoff_usec(unsigned attempt, uint64_t retry_after_usec) {
        uint64_t wait = mam_backoff_usec(attempt, RETRY_FIRST_USEC, RETRY_MAX_USEC);

        if (retry_after_usec > RETRY_AFTER_MAX_USEC)
                retry_after_usec = RETRY_AFTER_MAX_USEC;
        return wait > retry_after_usec ? wait : retry_after_usec;
}

int post_url_origin(char **ret, const char *url) {
        _cleanup_(mam_freep) char *origin = NULL;
        char *scheme = NULL, *host = NULL, *port = NULL;
        int r = -EINVAL;
        CURLU *u;

        assert(ret);
        assert(url);

        u = curl_url();
        if (!u)
                return -ENOMEM;
        if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
            curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
            curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
            (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0)) {
                bool has_port = curl_url_get(u, CURLUPART_PORT, &port, 0) == CURLUE_OK;

                r = asprintf(&origin,
                             "%s://%s%s%s",
                             scheme,
                             host,
                             has_port ? ":" : "",
                             has_port ? port : "");
                if (r < 0)
                        origin = NULL;
                r = r < 0 ? -ENOMEM : 0;
        }
        curl_free(scheme);
        curl_free(host);
        curl_free(port);
        curl_url_cleanup(u);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(origin);
        return 0;
}

static const char *describe(const Post *post, CURLcode code, long status) {
        if (status > 0)
                return "the answer is not 2xx";
        return post->problem[0] ? post->problem : curl_easy_strerror(code);
}

static void post_ended(Post *post, CURLcode code) {
        bool is_url_bad = code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL;
        curl_off_t retry_after = 0;
        PostResult result;
        long status = 0;

        (void) curl_easy_getinfo(post->easy, CURLINFO_RESPONSE_CODE, &status);
        (void) curl_easy_getinfo(post->easy, CURLINFO_RETRY_AFTER, &retry_after);
        if (retry_after < 0 || (uint64_t) retry_after > RETRY_AFTER_MAX_USEC / MAM_USEC_PER_SEC)
                retry_after = (curl_off_t) (RETRY_AFTER_MAX_USEC / MAM_USEC_PER_SEC);
        result = (PostResult){
                .verdict = post_verdict(status, is_url_bad),
                .status = status,
                .retry_after_usec = (uint64_t) retry_after * MAM_USEC_PER_SEC,
                .problem = describe(post, code, status),
        };
        post->callback(&result, post->userdata);
        post_free(post);
}

/* Tells those whose posts have ended. */
static void collect(Poster *p) {
        CURLMsg *message;
        int left;

        while ((message = curl_multi_info_read(p->multi, &left))) {
                CURLcode code = message->data.result;
                Post *post = NULL;

                if (message->msg != CURLMSG_DONE)
                        continue;
                (void) curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &post);
                post_ended(post, code); /* message is gone with it */
        }
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Poster *p = userdata;
        int flags = 0, running;

        if (revents & (EPOLLIN | EPOLLHUP))
                flags |= CURL_CSELECT_IN;
        if (revents & EPOLLOUT)
                flags |= CURL_CSELECT_OUT;
        if (revents & EPOLLERR)
                flags |= CURL_CSELECT_ERR;
        (void) curl_multi_socket_action(p->multi, fd, flags, &running);
        collect(p);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Poster *p = userdata;
        int running;

        (void) curl_multi_socket_action(p->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        collect(p);
        return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_userdata) {
        sd_event_source *source = socket_userdata;
        Poster *p = userdata;
        uint32_t events = 0;
        int r;

        if (what == CURL_POLL_REMOVE) {
                (void) curl_multi_assign(p->multi, fd, NULL);
                sd_event_source_disable_unref(source);
                return 0;
        }
        if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
                events |= EPOLLIN;
        if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
                events |= EPOLLOUT;
        if (source)
                return sd_event_source_set_io_events(source, events) < 0 ? -1 : 0;

        r = sd_event_add_io(p->event, &source, fd, events, on_io, p);
        if (r < 0)
                return -1;
        (void) curl_multi_assign(p->multi, fd, source);
        return 0;
}

static int on_timeout(CURLM *multi, long msec, void *userdata) {
        Poster *p = userdata;

        if (msec < 0)
                return sd_event_source_set_enabled(p->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
        /* Never from in here, not even for 0: libcurl does not like to be called back. */
        if (sd_event_source_set_time_relative(p->timer, (uint64_t) msec * MAM_USEC_PER_MSEC) < 0)
                return -1;
        return sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

static int poster_setup(Poster *p) {
        static const char *const fields[] = {
                "Content-Type: application/json",
                ("User-Agent: mam-alerts/" MAM_VERSION),
                "Expect:", /* no 100-continue for so little */
        };
        struct curl_slist *list;

        for (size_t i = 0; i < MAM_ELEMENTSOF(fields); i++) {
                list = curl_slist_append(p->fields, fields[i]);
                if (!list)
                        return -ENOMEM;
                p->fields = list;
        }
        p->multi = curl_multi_init();
        if (!p->multi)
                return -ENOMEM;
        if (curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
            curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p) != CURLM_OK ||
            curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, on_timeout) != CURLM_OK ||
            curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p) != CURLM_OK ||
            curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX) != CURLM_OK)
                return -EINVAL;
        return 0;
}

int poster_new(Poster **ret, sd_event *event) {
        _cleanup_(poster_freep) Poster *p = NULL;
        int r;

        assert(ret);
        assert(event);

        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) /* counted: each has its cleanup */
                return -ENOMEM;
        p = calloc(1, sizeof(*p));
        if (!p) {
                curl_global_cleanup();
                return -ENOMEM;
        }
        p->event = sd_event_ref(event);
        r = sd_event_add_time(event, &p->timer, CLOCK_MONOTONIC, UINT64_MAX, MAM_USEC_PER_MSEC, on_timer, p);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = poster_setup(p);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(p);
        return 0;
}

Poster *poster_free(Poster *p) {
        if (!p)
                return NULL;

        if (p->multi)
                (void) curl_multi_cleanup(p->multi);
        curl_slist_free_all(p->fields);
        sd_event_source_disable_unref(p->timer);
        sd_event_unref(p->event);
        free(p);
        curl_global_cleanup();
        return NULL;
}

static size_t on_answer(char *data, size_t size, size_t n, void *userdata) {
        Post *post = userdata;

        post->n_read += size * n;
        return post->n_read <= POST_ANSWER_MAX ? size * n : 0; /* less than given: the post ends */
}

static int post_setup(Post *post, const char *url, const char *body) {
        CURL *e = post->easy;
        CURLcode c;

        c = curl_easy_setopt(e, CURLOPT_URL, url);
        c = c ? c : curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
        c = c ? c : curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
        c = c ? c : curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
        c = c ? c : curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
        c = c ? c : curl_easy_setopt(e, CURLOPT_HTTPHEADER, post->poster->fields);
        c = c ? c : curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, body);
        c = c ? c : curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long) (POST_DEADLINE_USEC / MAM_USEC_PER_MSEC));
        c = c ? c : curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
        c = c ? c : curl_easy_setopt(e, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
        c = c ? c : curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_answer);
        c = c ? c : curl_easy_setopt(e, CURLOPT_WRITEDATA, post);
        c = c ? c : curl_easy_setopt(e, CURLOPT_ERRORBUFFER, post->problem);
        c = c ? c : curl_easy_setopt(e, CURLOPT_PRIVATE, post);
        if (c == CURLE_OUT_OF_MEMORY)
                return -ENOMEM;
        return c == CURLE_OK ? 0 : -EINVAL;
}

int post_new(Post **ret,
             Poster *p,
             const char *url,
             const char *body,
             PostCallback callback,
             void *userdata) {
        _cleanup_(mam_freep) char *origin = NULL;
        Post *post;
        int r;

        assert(ret);
        assert(p);
        assert(body);
        assert(callback);

        r = post_url_origin(&origin, url);
        if (r < 0)
                return r;
        post = calloc(1, sizeof(*post));
        if (!post)
                return -ENOMEM;
        post->poster = p;
        post->callback = callback;
        post->userdata = userdata;
        post->easy = curl_easy_init();
        r = post->easy ? post_setup(post, url, body) : -ENOMEM;
        if (r >= 0 && curl_multi_add_handle(p->multi, post->easy) != CURLM_OK)
                r = -ENOMEM;
        if (r < 0) {
                post_free(post);
                return r;
        }

        *ret = post;
        return 0;
}

Post *post_free(Post *post) {
        if (!post)
                return NULL;

        if (post->easy) {
                (void) curl_multi_remove_handle(post->poster->multi, post->easy);
                curl_easy_cleanup(post->easy);
        }
        free(post);
        return NULL;
}

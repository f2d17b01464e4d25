/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "libmam/fetch/fetch.h"

#include <assert.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <curl/curl.h>

#include "libmam/util/buffer.h"
#include "libmam/util/time.h"

#include "mam-build.h"

#define RETRY_AFTER_MAX_USEC (3600 * MAM_USEC_PER_SEC)
#define CONNECTIONS_MAX      8L

struct MamFetcher {
        sd_event *event;        /* owned reference */
        CURLM *multi;           /* owned */
        sd_event_source *timer; /* owned */
        char user_agent[64];
        MamFetchRule rule; /* or NULL */
        void *rule_userdata;
};

struct MamFetch {
        MamFetcher *fetcher;       /* weak */
        CURL *easy;                /* owned */
        struct curl_slist *fields; /* owned */
        MamBuffer answer;
        size_t answer_max;
        bool is_refused; /* an address */
        char problem[CURL_ERROR_SIZE];
        MamFetchCallback callback;
        void *userdata;
};

int mam_fetch_origin(char **ret, const char *url) {
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

static const char *describe(const MamFetch *f, CURLcode code, long status) {
        if (status > 0)
                return "the answer is not 2xx";
        if (f->is_refused)
                return "its address is not allowed";
        return f->problem[0] ? f->problem : curl_easy_strerror(code);
}

static void fetch_ended(MamFetch *f, CURLcode code) {
        curl_off_t retry_after = 0;
        MamFetchResult result;
        long status = 0;

        (void) curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
        (void) curl_easy_getinfo(f->easy, CURLINFO_RETRY_AFTER, &retry_after);
        if (retry_after < 0 || (uint64_t) retry_after > RETRY_AFTER_MAX_USEC / MAM_USEC_PER_SEC)
                retry_after = (curl_off_t) (RETRY_AFTER_MAX_USEC / MAM_USEC_PER_SEC);
        result = (MamFetchResult){
                .status = status,
                .is_cut = status > 0 && code != CURLE_OK,
                .is_url_bad = code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL,
                .is_refused = status == 0 && f->is_refused,
                .body = "",
                .fetch = f,
                .retry_after_usec = (uint64_t) retry_after * MAM_USEC_PER_SEC,
                .problem = describe(f, code, status),
        };
        if (status > 0 && code == CURLE_OK && f->answer.size > 0 &&
            mam_buffer_append(&f->answer, "", 1) >= 0) {
                result.body = mam_buffer_bytes(&f->answer);
                result.body_size = f->answer.size - 1;
        }
        f->callback(&result, f->userdata);
        mam_fetch_free(f);
}

/* Tells those whose fetches have ended. */
static void collect(MamFetcher *p) {
        CURLMsg *message;
        int left;

        while ((message = curl_multi_info_read(p->multi, &left))) {
                CURLcode code = message->data.result;
                MamFetch *f = NULL;

                if (message->msg != CURLMSG_DONE)
                        continue;
                (void) curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &f);
                fetch_ended(f, code); /* message is gone with it */
        }
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        MamFetcher *p = userdata;
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
        MamFetcher *p = userdata;
        int running;

        (void) curl_multi_socket_action(p->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        collect(p);
        return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_userdata) {
        sd_event_source *source = socket_userdata;
        MamFetcher *p = userdata;
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
        MamFetcher *p = userdata;

        if (msec < 0)
                return sd_event_source_set_enabled(p->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
        /* Never from in here, not even for 0: libcurl does not like to be called back. */
        if (sd_event_source_set_time_relative(p->timer, (uint64_t) msec * MAM_USEC_PER_MSEC) < 0)
                return -1;
        return sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

int mam_fetcher_new(MamFetcher **ret, sd_event *event, const char *user_agent) {
        _cleanup_(mam_fetcher_freep) MamFetcher *p = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(user_agent);

        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) /* counted: each has its cleanup */
                return -ENOMEM;
        p = calloc(1, sizeof(*p));
        if (!p) {
                curl_global_cleanup();
                return -ENOMEM;
        }
        (void) snprintf(p->user_agent, sizeof(p->user_agent), "%s/%s", user_agent, MAM_VERSION);
        p->event = sd_event_ref(event);
        r = sd_event_add_time(event, &p->timer, CLOCK_MONOTONIC, UINT64_MAX, MAM_USEC_PER_MSEC, on_timer, p);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        p->multi = curl_multi_init();
        if (!p->multi)
                return -ENOMEM;
        if (curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
            curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p) != CURLM_OK ||
            curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, on_timeout) != CURLM_OK ||
            curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p) != CURLM_OK ||
            curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX) != CURLM_OK)
                return -EINVAL;

        *ret = MAM_TAKE(p);
        return 0;
}

MamFetcher *mam_fetcher_free(MamFetcher *p) {
        if (!p)
                return NULL;

        if (p->multi)
                (void) curl_multi_cleanup(p->multi);
        sd_event_source_disable_unref(p->timer);
        sd_event_unref(p->event);
        free(p);
        curl_global_cleanup();
        return NULL;
}

void mam_fetcher_set_rule(MamFetcher *p, MamFetchRule rule, void *userdata) {
        assert(p);

        p->rule = rule;
        p->rule_userdata = userdata;
}

const char *mam_fetch_field(MamFetch *f, const char *name) {
        struct curl_header *field = NULL;

        assert(f);
        assert(name);

        return curl_easy_header(f->easy, name, 0, CURLH_HEADER, -1, &field) == CURLHE_OK ? field->value
                                                                                         : NULL;
}

static curl_socket_t on_open(void *userdata, curlsocktype purpose, struct curl_sockaddr *address) {
        MamFetch *f = userdata;

        if (!f->fetcher->rule(&address->addr, address->addrlen, f->fetcher->rule_userdata)) {
                f->is_refused = true;
                return CURL_SOCKET_BAD;
        }
        return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t on_answer(char *data, size_t size, size_t n, void *userdata) {
        MamFetch *f = userdata;

        if (size * n > f->answer_max - f->answer.size || mam_buffer_append(&f->answer, data, size * n) < 0)
                return 0; /* less than given: the fetch ends */
        return size * n;
}

static int add_field(MamFetch *f, const char *field) {
        struct curl_slist *list;

        if (strpbrk(field, "\r\n"))
                return -EINVAL;
        list = curl_slist_append(f->fields, field);
        if (!list)
                return -ENOMEM;
        f->fields = list;
        return 0;
}

static int add_fields(MamFetch *f, const MamFetchRequest *q) {
        _cleanup_(mam_freep) char *type = NULL;
        int r;

        r = add_field(f, "Expect:"); /* no 100-continue for so little */
        /* without one libcurl would say that it is a form */
        if (r >= 0 &&
            asprintf(&type, "Content-Type:%s%s", q->content_type ? " " : "", q->content_type ?: "") < 0) {
                type = NULL;
                return -ENOMEM;
        }
        if (r >= 0)
                r = add_field(f, type);
        for (const char *const *p = q->fields; r >= 0 && p && *p; p++)
                r = add_field(f, *p);
        return r;
}

static int fetch_setup(MamFetch *f, const MamFetchRequest *q) {
        uint64_t deadline = q->deadline_usec > 0 ? q->deadline_usec : MAM_FETCH_DEADLINE_USEC;
        CURL *e = f->easy;
        CURLcode c;
        int r;

        r = add_fields(f, q);
        if (r < 0)
                return r;
        c = curl_easy_setopt(e, CURLOPT_URL, q->url);
        c = c ? c : curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
        c = c ? c : curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
        c = c ? c : curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
        c = c ? c : curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
        c = c ? c : curl_easy_setopt(e, CURLOPT_USERAGENT, f->fetcher->user_agent);
        c = c ? c : curl_easy_setopt(e, CURLOPT_HTTPHEADER, f->fields);
        if (q->body) {
                c = c ? c : curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) q->body_size);
                c = c ? c : curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, q->body);
        }
        if (q->method)
                c = c ? c : curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, q->method);
        if (f->fetcher->rule) {
                c = c ? c : curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
                c = c ? c : curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, f);
                c = c ? c : curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
        }
        c = c ? c : curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long) (deadline / MAM_USEC_PER_MSEC));
        c = c ? c : curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
        c = c ? c : curl_easy_setopt(e, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
        c = c ? c : curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_answer);
        c = c ? c : curl_easy_setopt(e, CURLOPT_WRITEDATA, f);
        c = c ? c : curl_easy_setopt(e, CURLOPT_ERRORBUFFER, f->problem);
        c = c ? c : curl_easy_setopt(e, CURLOPT_PRIVATE, f);
        if (c == CURLE_OUT_OF_MEMORY)
                return -ENOMEM;
        return c == CURLE_OK ? 0 : -EINVAL;
}

int mam_fetch_new(
                MamFetch **ret,
                MamFetcher *fetcher,
                const MamFetchRequest *request,
                MamFetchCallback callback,
                void *userdata) {
        _cleanup_(mam_fetch_freep) MamFetch *f = NULL;
        _cleanup_(mam_freep) char *origin = NULL;
        int r;

        assert(ret);
        assert(fetcher);
        assert(request && request->url);
        assert(callback);

        r = mam_fetch_origin(&origin, request->url);
        if (r < 0)
                return r;
        f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        f->fetcher = fetcher;
        f->callback = callback;
        f->userdata = userdata;
        f->answer_max = request->answer_max > 0 ? request->answer_max : MAM_FETCH_ANSWER_MAX;
        f->easy = curl_easy_init();
        if (!f->easy)
                return -ENOMEM;
        r = fetch_setup(f, request);
        if (r < 0)
                return r;
        if (curl_multi_add_handle(fetcher->multi, f->easy) != CURLM_OK)
                return -ENOMEM;

        *ret = MAM_TAKE(f);
        return 0;
}

MamFetch *mam_fetch_free(MamFetch *f) {
        if (!f)
                return NULL;

        if (f->easy) {
                (void) curl_multi_remove_handle(f->fetcher->multi, f->easy);
                curl_easy_cleanup(f->easy);
        }
        curl_slist_free_all(f->fields);
        mam_buffer_done(&f->answer);
        free(f);
        return NULL;
}

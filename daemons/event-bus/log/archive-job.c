/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What waits for the disk
 */

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "event-bus/log/archive-job.h"

struct ArchiveJob {
        atomic_uint n_ref;       /* the owner's and the thread's */
        int fd;                  /* owned; readable: r is there */
        sd_event_source *source; /* owned */
        int r;
        void *data; /* owned */
        void (*destroy)(void *data);
        ArchiveWork work;
        ArchiveDone done;
        void *userdata;
};

static void job_unref(ArchiveJob *j) {
        if (atomic_fetch_sub(&j->n_ref, 1) != 1)
                return;

        if (j->destroy)
                j->destroy(j->data);
        mam_closep(&j->fd);
        free(j);
}

ArchiveJob *archive_job_free(ArchiveJob *j) {
        if (!j)
                return NULL;

        j->source = sd_event_source_disable_unref(j->source);
        job_unref(j);
        return NULL;
}

static void *job_run(void *userdata) {
        ArchiveJob *j = userdata;

        j->r = j->work(j->data);
        (void) eventfd_write(j->fd, 1);
        job_unref(j);
        return NULL;
}

static int on_done(sd_event_source *s, int fd, uint32_t events, void *userdata) {
        ArchiveJob *j = userdata;
        eventfd_t value;

        if (eventfd_read(fd, &value) < 0)
                return 0;

        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        j->done(j->r, j->data, j->userdata);
        return 0;
}

/* Signals are for the event loop. */
static int thread_start(ArchiveJob *j) {
        pthread_attr_t attributes;
        sigset_t all, before;
        pthread_t thread;
        int r;

        r = pthread_attr_init(&attributes);
        if (r != 0)
                return -r;

        (void) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&thread, &attributes, job_run, j);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        (void) pthread_attr_destroy(&attributes);
        return -r;
}

int archive_job_start(
                ArchiveJob **ret,
                sd_event *event,
                void *data,
                void (*destroy)(void *data),
                ArchiveWork work,
                ArchiveDone done,
                void *userdata) {
        _cleanup_(archive_job_freep) ArchiveJob *j = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(work);
        assert(done);

        j = calloc(1, sizeof(*j));
        if (!j)
                return -ENOMEM;
        j->n_ref = 1;
        j->work = work;
        j->done = done;
        j->userdata = userdata;

        j->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (j->fd < 0)
                return -errno;
        r = sd_event_add_io(event, &j->source, j->fd, EPOLLIN, on_done, j);
        if (r < 0)
                return r;

        j->data = data;
        j->destroy = destroy;
        atomic_fetch_add(&j->n_ref, 1);
        r = thread_start(j);
        if (r < 0) {
                j->destroy = NULL; /* the caller has it still */
                atomic_fetch_sub(&j->n_ref, 1);
                return r;
        }

        *ret = MAM_TAKE(j);
        return 0;
}

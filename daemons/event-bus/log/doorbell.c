/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the replicas tell each other
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/doorbell.h"

struct DoorbellEntry {
        char *text;   /* owned; a topic, or a word */
        int64_t last; /* -1: a word */
};

static void forget(Doorbell *d) {
        for (size_t i = 0; i < d->n; i++)
                free(d->entries[i].text);
        d->n = 0;
}

void doorbell_done(Doorbell *d) {
        assert(d);

        forget(d);
        free(d->entries);
        *d = (Doorbell){ 0 };
}

bool doorbell_is_empty(const Doorbell *d) {
        assert(d);

        return d->n == 0;
}

static bool text_fits(const char *text) {
        size_t size = strlen(text);

        return size > 0 && size <= DOORBELL_WORD_MAX && !strchr(text, '\n');
}

static DoorbellEntry *find(const Doorbell *d, const char *text, bool is_word) {
        for (size_t i = 0; i < d->n; i++) {
                if ((d->entries[i].last < 0) == is_word && strcmp(d->entries[i].text, text) == 0)
                        return d->entries + i;
        }

        return NULL;
}

static int add(Doorbell *d, const char *text, int64_t last) {
        char *mine;

        if (d->n >= DOORBELL_WAITING_MAX)
                return -ENOBUFS;

        if (d->n == d->n_allocated) {
                size_t n = d->n_allocated > 0 ? 2 * d->n_allocated : 8;
                DoorbellEntry *entries = reallocarray(d->entries, n, sizeof(*entries));

                if (!entries)
                        return -ENOMEM;
                d->entries = entries;
                d->n_allocated = n;
        }

        mine = strdup(text);
        if (!mine)
                return -ENOMEM;
        d->entries[d->n++] = (DoorbellEntry){ .text = mine, .last = last };
        return 0;
}

int doorbell_add_topic(Doorbell *d, const char *topic, int64_t last) {
        DoorbellEntry *e;

        assert(d);
        assert(topic);

        if (last < 0 || !text_fits(topic) || strchr(topic, ' '))
                return -EINVAL;

        e = find(d, topic, false);
        if (!e)
                return add(d, topic, last);

        if (e->last < last)
                e->last = last;
        return 0;
}

int doorbell_add_word(Doorbell *d, const char *word) {
        assert(d);
        assert(word);

        if (!text_fits(word))
                return -EINVAL;

        return find(d, word, true) ? 0 : add(d, word, -1);
}

int doorbell_take(Doorbell *d, const char *teller, MamBuffer *message) {
        int r;

        assert(d);
        assert(teller);
        assert(message);

        r = mam_buffer_appendf(message, "%s\n", teller);
        for (size_t i = 0; r >= 0 && i < d->n; i++) {
                const DoorbellEntry *e = d->entries + i;

                if (e->last < 0)
                        r = mam_buffer_appendf(message, "w %s\n", e->text);
                else
                        r = mam_buffer_appendf(message, "t %s %lld\n", e->text, (long long) e->last);
        }
        if (r < 0)
                return r;

        forget(d);
        return 0;
}

/* "TOPIC LAST"; cuts it. */
static bool read_topic(char *line, int64_t *ret_last) {
        char *space = strrchr(line, ' '), *end;
        long long last;

        if (!space || space == line || space[1] < '0' || space[1] > '9')
                return false;

        errno = 0;
        last = strtoll(space + 1, &end, 10);
        if (*end || errno != 0)
                return false;

        *space = '\0';
        *ret_last = last;
        return true;
}

void doorbell_read(
                const char *data,
                size_t size,
                const char *self,
                DoorbellTopic on_topic,
                DoorbellWord on_word,
                void *userdata) {
        const char *at = data, *end = data + size, *newline;
        bool is_first = true;

        assert(data || size == 0);
        assert(self);

        if (size > 0 && size <= DOORBELL_WORD_MAX && !memchr(data, '\n', size) &&
            !memchr(data, '\0', size)) {
                char word[DOORBELL_WORD_MAX + 1];

                memcpy(word, data, size);
                word[size] = '\0';
                (void) on_word(word, userdata);
                return;
        }

        for (; at < end && (newline = memchr(at, '\n', (size_t) (end - at))); at = newline + 1) {
                char line[DOORBELL_WORD_MAX + 64];
                size_t length = (size_t) (newline - at);
                int64_t last;

                if (length >= sizeof(line) || memchr(at, '\0', length))
                        continue;
                memcpy(line, at, length);
                line[length] = '\0';

                if (is_first && strcmp(line, self) == 0)
                        return;
                if (!is_first && strncmp(line, "t ", 2) == 0 && read_topic(line + 2, &last)) {
                        if (!on_topic(line + 2, last, userdata))
                                return;
                } else if (!is_first && strncmp(line, "w ", 2) == 0 && line[2]) {
                        if (!on_word(line + 2, userdata))
                                return;
                }
                is_first = false;
        }
}

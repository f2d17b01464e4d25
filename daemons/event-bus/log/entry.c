/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an entry must be before the database sees it: there, one that is no text would fail all of its batch
 */

#include <string.h>

#include "event-bus/log/log-internal.h"

/* How many bytes from here on are eight and more of plain ASCII. */
static size_t ascii_run(const uint8_t *s, size_t size) {
        size_t i = 0;
        uint64_t word;

        for (; size - i >= sizeof(word); i += sizeof(word)) {
                memcpy(&word, s + i, sizeof(word));
                if (word & 0x8080808080808080U)
                        break;
        }

        return i;
}

static bool utf8_is_valid(const uint8_t *s, size_t size) {
        size_t i = 0;

        if (memchr(s, '\0', size) || memchr(s, LOG_SEPARATOR, size))
                return false;

        while ((i += ascii_run(s + i, size - i)) < size) {
                uint8_t c = s[i];
                size_t more = c < 0x80 ? 0 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;

                if (more == 0) {
                        i++;
                        continue;
                }
                if (c < 0xc2 || c > 0xf4 || size - i <= more)
                        return false;
                for (size_t k = 1; k <= more; k++) {
                        if ((s[i + k] & 0xc0) != 0x80)
                                return false;
                }
                if ((c == 0xe0 && s[i + 1] < 0xa0) || (c == 0xed && s[i + 1] > 0x9f) ||
                    (c == 0xf0 && s[i + 1] < 0x90) || (c == 0xf4 && s[i + 1] > 0x8f))
                        return false;
                i += more + 1;
        }

        return true;
}

static bool text_is_valid(const char *text, size_t max) {
        size_t size = text ? strlen(text) : 0;

        return size > 0 && size <= max && utf8_is_valid((const uint8_t *) text, size);
}

int log_entries_check(const LogEntry *entries, size_t n) {
        if (n == 0 || n > LOG_APPEND_MAX)
                return -EINVAL;

        for (size_t i = 0; i < n; i++) {
                const LogEntry *e = entries + i;

                if (!text_is_valid(e->key, LOG_KEY_MAX) || !e->id || !e->id[0] || !e->source ||
                    !e->source[0] || e->size == 0 || !utf8_is_valid((const uint8_t *) e->text, e->size) ||
                    (e->stream && !text_is_valid(e->stream, LOG_STREAM_MAX)) ||
                    e->expected_version < LOG_VERSION_ANY)
                        return -EINVAL;
        }

        return 0;
}

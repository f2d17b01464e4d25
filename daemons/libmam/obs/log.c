/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Structured logging to the journal
 *
 * The journal is spoken to natively only where stderr is the journal's own stream ($JOURNAL_STREAM names its
 * device and inode, systemd.exec(5)): a daemon started by hand or by a test writes where its starter looks.
 */

#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <systemd/sd-journal.h>

#include "libmam/obs/log.h"

#define LOG_FIELDS_MAX 32U
#define LOG_TEXT_MAX   4096U

static struct {
        const char *identifier; /* borrowed: a literal */
        int max_priority;
        bool journal;
        bool tty;
} log_state = { .identifier = "mam", .max_priority = LOG_INFO };

static const struct {
        const char *name;
        int priority;
} levels[] = {
        { "error", LOG_ERR },   { "warn", LOG_WARNING },    { "notice", LOG_NOTICE }, { "info", LOG_INFO },
        { "debug", LOG_DEBUG }, { "warning", LOG_WARNING }, { "err", LOG_ERR },
};

int mam_log_set_level(const char *level) {
        if (!level)
                return -EINVAL;

        for (size_t i = 0; i < MAM_ELEMENTSOF(levels); i++)
                if (strcasecmp(level, levels[i].name) == 0) {
                        log_state.max_priority = levels[i].priority;
                        return 0;
                }
        return -EINVAL;
}

const char *mam_log_get_level(void) {
        for (size_t i = 0; i < MAM_ELEMENTSOF(levels); i++)
                if (levels[i].priority == log_state.max_priority)
                        return levels[i].name;
        return "info";
}

bool mam_log_enabled(int priority) {
        return priority <= log_state.max_priority;
}

static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;
        char *end;

        if (!stream)
                return false;

        errno = 0;
        device = strtoull(stream, &end, 10);
        if (errno != 0 || end == stream || *end != ':')
                return false;
        stream = end + 1;
        inode = strtoull(stream, &end, 10);
        if (errno != 0 || end == stream || *end != '\0')
                return false;

        return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void mam_log_open(const char *identifier) {
        const char *level = getenv("LOG_LEVEL");

        log_state.identifier = identifier;
        log_state.max_priority = LOG_INFO;
        log_state.journal = stderr_is_journal();
        log_state.tty = isatty(STDERR_FILENO);

        /* A level that does not exist leaves the default: a daemon that starts is worth more than its log
         * level. */
        if (level)
                (void) mam_log_set_level(level);
}

static int log_to_journal(
                int priority,
                const char *message_id,
                const char *const *fields,
                const char *text) {
        char priority_field[32], id_field[64], identifier_field[128];
        _cleanup_(mam_freep) char *message = NULL;
        struct iovec iov[LOG_FIELDS_MAX];
        int n = 0;

        if (asprintf(&message, "MESSAGE=%s", text) < 0) {
                message = NULL;
                return -ENOMEM;
        }
        (void) snprintf(priority_field, sizeof(priority_field), "PRIORITY=%i", priority);
        (void) snprintf(identifier_field,
                        sizeof(identifier_field),
                        "SYSLOG_IDENTIFIER=%s",
                        log_state.identifier);

        iov[n++] = (struct iovec){ message, strlen(message) };
        iov[n++] = (struct iovec){ priority_field, strlen(priority_field) };
        iov[n++] = (struct iovec){ identifier_field, strlen(identifier_field) };
        if (message_id) {
                (void) snprintf(id_field, sizeof(id_field), "MESSAGE_ID=%s", message_id);
                iov[n++] = (struct iovec){ id_field, strlen(id_field) };
        }
        for (; fields && *fields && n < (int) LOG_FIELDS_MAX; fields++)
                iov[n++] = (struct iovec){ (char *) *fields, strlen(*fields) };

        return sd_journal_sendv(iov, n);
}

/* One line per message: what a client sent must not be able to forge a second one. */
static void log_to_stderr(int priority, const char *const *fields, const char *text) {
        _cleanup_(mam_freep) char *line = NULL;
        size_t size = 0;
        FILE *f;

        f = open_memstream(&line, &size);
        if (!f)
                return;

        if (log_state.tty)
                (void) fprintf(f, "%s: ", log_state.identifier);
        else
                (void) fprintf(f, "<%i>", priority);

        for (const char *c = text; *c; c++)
                (void) fputc((unsigned char) *c < 0x20 || *c == 0x7f ? ' ' : *c, f);

        /* Fields are for finding messages by; on a plain stream they are noise except while debugging. */
        if (log_state.max_priority >= LOG_DEBUG)
                for (; fields && *fields; fields++) {
                        (void) fputc(' ', f);
                        for (const char *c = *fields; *c; c++)
                                (void) fputc((unsigned char) *c < 0x20 || *c == 0x7f ? ' ' : *c, f);
                }
        (void) fputc('\n', f);

        if (fclose(f) != 0 || !line)
                return;
        (void) !write(STDERR_FILENO, line, size);
}

void mam_log_full(int priority, const char *message_id, const char *const *fields, const char *format, ...) {
        char text[LOG_TEXT_MAX];
        int saved_errno = errno;
        va_list ap;

        if (!mam_log_enabled(priority))
                return;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);

        if (!log_state.journal || log_to_journal(priority, message_id, fields, text) < 0)
                log_to_stderr(priority, fields, text);

        errno = saved_errno;
}

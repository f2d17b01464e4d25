/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Structured logging to the journal
 *
 * Each notable message has a MESSAGE_ID (obs/message-ids.h) with an explanation in mam.catalog that
 * `journalctl -x` shows. Without a journal (stderr is a terminal or a file) the text goes to stderr,
 * prefixed <N> as sd-daemon(3) says when it is not a terminal. Objects of libmam do not log above debug;
 * main() and *-bus.c do, once, where an error stops.
 */

#include <stdbool.h>
#include <syslog.h>

#include "libmam/util/macro.h"

/* identifier must outlive the process' logging: a literal. Level from LOG_LEVEL ("debug", "info", "notice",
 * "warn", "error"), default info. */
void mam_log_open(const char *identifier);
int mam_log_set_level(const char *level); /* -EINVAL: no such level */
const char *mam_log_get_level(void);
bool mam_log_enabled(int priority);

/* message_id: 32 hex digits from message-ids.h, or NULL. fields: NULL-terminated "KEY=value" strings, or
 * NULL. Values of secrets must never be handed in. errno is kept. */
void mam_log_full(int priority, const char *message_id, const char *const *fields, const char *format, ...)
                _printf_(4, 5);

#define mam_log(priority, ...)        mam_log_full(priority, NULL, NULL, __VA_ARGS__)
#define mam_log_id(priority, id, ...) mam_log_full(priority, id, NULL, __VA_ARGS__)
#define mam_debug(...)                (mam_log_enabled(LOG_DEBUG) ? mam_log(LOG_DEBUG, __VA_ARGS__) : (void) 0)
#define mam_info(...)                 mam_log(LOG_INFO, __VA_ARGS__)
#define mam_notice(...)               mam_log(LOG_NOTICE, __VA_ARGS__)
#define mam_warning(...)              mam_log(LOG_WARNING, __VA_ARGS__)
#define mam_error(...)                mam_log(LOG_ERR, __VA_ARGS__)
/* Logs "…: <strerror>" and returns r, so that main() can `return mam_log_errno(r, "Cannot …")`. */
#define mam_error_errno(r, format, ...)                                                      \
        ({                                                                                   \
                int _r = (r);                                                                \
                mam_log(LOG_ERR, format ": %s", ##__VA_ARGS__, strerror(_r < 0 ? -_r : _r)); \
                _r;                                                                          \
        })

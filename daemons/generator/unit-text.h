/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Values in unit files
 *
 * Text of the configuration must arrive in a unit as it stands: systemd's specifiers (%), variables ($ in
 * command lines), quotes and backslashes are escaped. Control characters never get here: the loader refuses
 * them. All return 0, -ENOMEM or -ENOBUFS.
 */

#include "libmam/util/buffer.h"

/* For Description= and paths: only '%' means something there. */
int unit_text_append_plain(MamBuffer *b, const char *text);
/* One word in double quotes, for Environment=. */
int unit_text_append_word(MamBuffer *b, const char *text);
/* One word in double quotes, for ExecStart=, where '$' means something as well. */
int unit_text_append_argument(MamBuffer *b, const char *text);

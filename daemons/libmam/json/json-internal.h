/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Shared between the files of json/
 */

#include <stddef.h>

#include "libmam/json/json.h"

/* Puts "/name", escaped as RFC 6901 says, before error->pointer. */
void mam_json_error_prepend(MamJsonError *error, const char *name);

/* Bytes of the character at s, if it may stand unescaped in a string and is well-formed UTF-8; else 0. */
size_t mam_json_plain_length(const char *s, size_t size);

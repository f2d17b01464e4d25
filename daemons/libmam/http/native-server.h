/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The native hop as a protocol of the server's connections (internal to libmam/http)
 */

#include "libmam/http/http-connection.h"

#define NATIVE_STREAMS_MAX 1024U /* requests at once, per connection; beyond: handed back unprocessed */

extern const HttpProtocol native_protocol;

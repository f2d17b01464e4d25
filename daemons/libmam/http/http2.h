/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * HTTP/2 beside the other protocols of a connection (internal to libmam/http)
 */

#include "libmam/http/http-connection.h"

extern const HttpProtocol http2_protocol; /* http2-session.c */

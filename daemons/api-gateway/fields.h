/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Which header fields pass the gateway
 *
 * Nothing that a client sends may look like a word of the gateway's own to a replica: fields of the
 * connection, Mam-*, what tells who forwarded, and the token (replicas get the verified subject, and no
 * means to act as the caller elsewhere).
 */

#include <stdbool.h>

#include "api-gateway/caller.h"
#include "api-gateway/routes.h"
#include "libmam/http/http-client.h"
#include "libmam/http/http-codec.h"
#include "libmam/http/http-server.h"

bool field_is_for_upstream(const MamHttpHead *head, const MamHttpField *f);
bool field_is_for_client(const MamHttpHead *head, const MamHttpField *f);

/* What goes to a replica instead. scheme: "http" or "https". caller: verified; it is told who that is, what
 * roles they have, and what the credential is good for where it is narrowed to some scopes. route: what it
 * adds and takes away; may be NULL. span: what the replica's spans hang below; NULL: the exchange's own. 0,
 * or what mam_http_call_add_field() returned. */
int fields_add_for_upstream(
                MamHttpCall *call,
                MamHttpExchange *x,
                const char *scheme,
                const Caller *caller,
                const Route *route,
                const MamTrace *span);

/* The value of Forwarded (RFC 7239). */
void format_forwarded(char ret[static 512], const char *address, const char *scheme, MamHttpRange host);

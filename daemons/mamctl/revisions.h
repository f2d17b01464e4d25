/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The revisions of a service, and what a person means by one
 */

#include "mamctl/client.h"

/* ListRevisions as an array of {revision, version, deployed_usec, status, reason, definition}, newest first;
 * definition is what the manager sent, parsed. Caller puts *ret. */
ExitCode revisions_read(Client *c, const char *service, json_object **ret);

/* The one that word names: by its name, by the beginning of its name, or by its version (the newest of that
 * version). Borrowed from list; NULL, with *ret_ambiguous saying whether it could be several. */
json_object *revisions_find(json_object *list, const char *word, bool *ret_ambiguous);
/* The newest with that status, or NULL. Borrowed. */
json_object *revisions_with_status(json_object *list, const char *status);

/* As revisions_find(), and tells what is wrong. Caller does not put *ret. */
ExitCode revisions_resolve(
                Client *c,
                json_object *list,
                const char *service,
                const char *word,
                json_object **ret);

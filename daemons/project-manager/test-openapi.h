/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Requests and answers against openapi.json, for tests
 */

#include "libmam/json/json.h"

json_object *openapi_document(void);
/* The operation that a request is, or NULL: the document knows none of that method and path. */
json_object *openapi_operation(const char *method, const char *path);
/* A JSON schema of the document, its references resolved: whether the value fits. error may be NULL. */
bool openapi_fits(json_object *schema, json_object *value, MamJsonError *error);
/* Member by member; NULL where one is not there. References are followed. */
json_object *openapi_find(json_object *o, const char *const *path);
#define OPENAPI_FIND(o, ...) openapi_find(o, (const char *const[]){ __VA_ARGS__, NULL })
/* Fails the test if the document does not know this answer: its status, its type, what is in it. */
void openapi_check(
                const char *method,
                const char *path,
                int status,
                const char *content_type,
                json_object *body,
                const char *text);

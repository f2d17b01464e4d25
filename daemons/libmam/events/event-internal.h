/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of the codec share (internal to libmam/events)
 */

#include "libmam/events/event.h"
#include "libmam/json/json-scan.h"

typedef enum EventAttribute {
        EVENT_SPECVERSION,
        EVENT_ID,
        EVENT_SOURCE,
        EVENT_TYPE,
        EVENT_SUBJECT,
        EVENT_TIME,
        EVENT_DATACONTENTTYPE,
        EVENT_DATASCHEMA,
        EVENT_PARTITIONKEY,
        _EVENT_ATTRIBUTE_MAX, /* any other: an extension */
} EventAttribute;

typedef enum EventData {
        EVENT_DATA_NONE,
        EVENT_DATA_JSON,
        EVENT_DATA_BASE64,
} EventData;

/* Which one is called so; _EVENT_ATTRIBUTE_MAX: none of them. */
EventAttribute event_attribute_by_name(const char *name, size_t size);
/* a-z and 0-9, 1 to EVENT_NAME_MAX. */
#define EVENT_NAME_MAX 64U
bool event_name_is_valid(const char *name, size_t size);
/* What is wrong with a value of the attribute; NULL: nothing. value is NUL-terminated UTF-8 of that size. */
const char *event_value_problem(EventAttribute a, const char *value, size_t size);
/* application/json, text/json, anything/anything+json, with or without parameters; NULL (none is told):
 * true. */
bool event_content_type_is_json(const char *content_type);

/* The size of what a base64 text (with padding, nothing else in it) stands for; -EINVAL: it is none. */
ssize_t event_base64_size(const char *text, size_t size);
void event_base64_decode(void *to, const char *text, size_t size);
/* to has room for event_base64_encoded_size(size). */
size_t event_base64_encoded_size(size_t size);
void event_base64_encode(char *to, const void *data, size_t size);

/* A JSON string with its quotes. -ENOMEM. */
int event_append_string(MamBuffer *b, const char *text, size_t size);

/* Its data as it stands in the text. */
EventData event_raw_data(const MamEvent *e, const char **ret, size_t *ret_size);
/* The n-th attribute; false: there are no more. */
bool event_attribute_at(const MamEvent *e, size_t n, const char **ret_name, const char **ret_value);

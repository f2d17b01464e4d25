/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * CloudEvents 1.0: an event, and its forms on the wire
 *
 * An event is kept as one text: its JSON form (CloudEvents JSON format 1.0.2) with the attributes in front,
 * in which it is stored, matched and sent without being made again. What is read from the binary form
 * becomes that text once. Attribute names are checked (a-z, 0-9), required ones must be there, time is RFC
 * 3339, source and dataschema are URI references. Unknown attributes are extensions and kept.
 */

#include <stdbool.h>
#include <stddef.h>

#include "libmam/json/json.h"
#include "libmam/util/buffer.h"

#define MAM_EVENT_SIZE_MAX       (1024U * 1024U) /* of the text */
#define MAM_EVENT_ATTRIBUTES_MAX 64U
#define MAM_EVENT_ATTRIBUTE_MAX  1024U /* bytes of a value */

typedef struct MamEvent MamEvent;

/* From its JSON form. -EBADMSG with *error (error may be NULL); -EFBIG: larger than allowed; -ENOMEM. */
int mam_event_parse(MamEvent **ret, const char *text, size_t size, MamJsonError *error);
/* A batch: the elements of a JSON array, in its order; *ret has room for max. As above, the pointer begins
 * with the element's number; -EFBIG also: more than max. On an error none are left. Nothing is built but the
 * events: the way in for many. */
int mam_event_parse_batch(
                MamEvent **ret,
                size_t max,
                size_t *ret_n,
                const char *text,
                size_t size,
                MamJsonError *error);
/* From a JSON value that was parsed already (not changed, not kept): an element of a batch. parent: its
 * pointer. */
int mam_event_from_json(MamEvent **ret, json_object *object, const char *parent, MamJsonError *error);
/* Text that mam stored (copied): its attributes are read again, without judging them, its data when asked
 * for. */
int mam_event_from_stored(MamEvent **ret, const char *text, size_t size);
MamEvent *mam_event_free(MamEvent *e);
MAM_DEFINE_CLEANUP(MamEvent, mam_event_free);

const char *mam_event_id(const MamEvent *e);
const char *mam_event_source(const MamEvent *e);
const char *mam_event_type(const MamEvent *e);
const char *mam_event_subject(const MamEvent *e); /* or NULL, as the following */
const char *mam_event_time(const MamEvent *e);
const char *mam_event_content_type(const MamEvent *e);
const char *mam_event_data_schema(const MamEvent *e);
/* Any attribute by its name, extensions too, as the text that the type system of CloudEvents gives it. */
const char *mam_event_attribute(const MamEvent *e, const char *name);
/* What orders it among others: partitionkey, else subject, else source. */
const char *mam_event_key(const MamEvent *e);
/* Its JSON form: what was parsed, attributes first, without white space. Borrowed. */
const char *mam_event_text(const MamEvent *e, size_t *ret_size);
/* Its data as JSON, parsed when first asked for; NULL: it has none, or none that is JSON. Borrowed. */
json_object *mam_event_data(MamEvent *e);

/* The binary form: attributes are fields "ce-…", the body is the data. Names are compared without case. The
 * caller gives the fields by a function that returns the n-th (false: no more), good until the next call. */
typedef bool (*MamEventField)(size_t n, const char **ret_name, const char **ret_value, void *userdata);
int mam_event_from_binary(
                MamEvent **ret,
                MamEventField field,
                void *userdata,
                const void *body,
                size_t size,
                MamJsonError *error);
/* The same back: appends "ce-id: …\r\n…" and content-type to fields, the data to body. */
int mam_event_to_binary(const MamEvent *e, MamBuffer *fields, MamBuffer *body);

/* For making one. Values are copied; data is JSON text, or (with binary) bytes. NULL id and time: made
 * (UUID, now). */
typedef struct MamEventDraft {
        const char *id, *source, *type, *subject, *time, *content_type, *data_schema, *partition_key;
        const char *traceparent, *tracestate; /* distributed tracing extension */
        const void *data;
        size_t data_size;
        bool data_is_binary;
} MamEventDraft;
int mam_event_new(MamEvent **ret, const MamEventDraft *draft, MamJsonError *error);

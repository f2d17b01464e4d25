/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The schema registry: JSON Schemas (2020-12) for the data of events
 *
 * A schema has a subject, and versions, from 1 without gaps. An event's subject is its dataschema, if that
 * is registered, else its type. A new version must be compatible with the newest (or, transitively, all
 * before it), as the subject's mode says, which follows the JSON Schema rules of Confluent's registry in its
 * strict form:
 *
 *   backward  everything that is valid under the old version is valid under the new one: consumers that know
 *             the new one can read what is in the log. The default.
 *   forward   everything that is valid under the new version is valid under the old one: consumers that know
 *             the old one can read what comes.
 *   full      both.
 *   none      nothing is asked.
 *
 * So, backward: a property may be added where the old schema is closed (additionalProperties false), or to
 * an open one with a schema that accepts all that passed before ({}, true); it may be removed where the new
 * one is open; what is required may become optional, bounds may become wider, enums longer, types more.
 * Where the rules of both cannot be compared (see mam_json_schema_covers()) the new version is refused, with
 * the reason and its place; mode none lets it pass.
 *
 * Data that is not JSON, and no data, are judged as null. format is an annotation, which is not checked.
 *
 * A schema may refer ($ref) to other subjects by their name as a URI. It keeps to the version that was the
 * newest when it was put. All schemas are kept in memory, and read again when another replica says that they
 * changed; compiled forms are made when first needed, and dropped when they take too much.
 */

#include "event-bus/log/log.h"
#include "libmam/db/pg.h"
#include "libmam/events/event.h"

typedef struct SchemaRegistry SchemaRegistry;

#define SCHEMA_TEXT_MAX     (256U * 1024U) /* of one version */
#define SCHEMA_SUBJECTS_MAX 2000U
#define SCHEMA_VERSIONS_MAX 200U                  /* of one subject */
#define SCHEMA_TOTAL_MAX    (16U * 1024U * 1024U) /* bytes of all texts */
#define SCHEMA_COMPILED_MAX (32U * 1024U * 1024U) /* bytes of all compiled forms, about */
#define SCHEMA_STEPS_MAX    1000000U              /* of one check: some milliseconds */
#define SCHEMA_SUBJECT_MAX  1024U                 /* bytes of a name */

typedef enum SchemaCompatibility {
        SCHEMA_BACKWARD,
        SCHEMA_BACKWARD_TRANSITIVE,
        SCHEMA_FORWARD,
        SCHEMA_FORWARD_TRANSITIVE,
        SCHEMA_FULL,
        SCHEMA_FULL_TRANSITIVE,
        SCHEMA_ANY, /* "none" */
        _SCHEMA_COMPATIBILITY_MAX,
        _SCHEMA_COMPATIBILITY_INVALID = -EINVAL,
} SchemaCompatibility;

const char *schema_compatibility_to_string(
                SchemaCompatibility c); /* "backward", "full-transitive", "none" */
SchemaCompatibility schema_compatibility_from_string(const char *s);

/* One version of a subject. Borrowed: valid until the next turn of the event loop. */
typedef struct SchemaInfo {
        const char *subject;
        SchemaCompatibility compatibility;
        unsigned version; /* of this text */
        unsigned newest;  /* of the subject */
        const char *text; /* JSON as it was put, without white space; NULL: it has no version yet */
        size_t size;
        const char *created_at; /* RFC 3339 */
        const char *created_by; /* or NULL */
} SchemaInfo;

/* on_changed: this replica changed something that is committed now: tell the others. */
int schema_registry_new(
                SchemaRegistry **ret,
                sd_event *event,
                MamPg *pg,
                void (*on_changed)(void *userdata),
                void *userdata);
SchemaRegistry *schema_registry_free(SchemaRegistry *r);
MAM_DEFINE_CLEANUP(SchemaRegistry, schema_registry_free);
/* Another replica changed something: read it again. Reads again by itself as long as that fails. */
void schema_registry_refresh(SchemaRegistry *r);
bool schema_registry_is_loaded(const SchemaRegistry *r);

/* Whether the data fits, by the topic's mode. -EBADMSG with *error (pointer into the event: "/data/…");
 * -ENOKEY: none is registered and mode requires one; -EAGAIN: they are not read yet. The event must be in
 * the newest version of its subject, or in the version that its attribute dataschemaversion names. */
int schema_registry_check(SchemaRegistry *r, SchemaMode mode, MamEvent *e, MamJsonError *error);

/* ---- from memory, at once ---- */
/* version 0: the newest. -ENOENT: no such subject or version; -EAGAIN: they are not read yet. */
int schema_registry_get(SchemaRegistry *r, SchemaInfo *ret, const char *subject, unsigned version);
/* The newest version of each, in the order of names, behind after (NULL: from the first). The callback
 * returns false to end it. -EAGAIN: they are not read yet. */
typedef bool (*SchemaListed)(const SchemaInfo *info, void *userdata);
int schema_registry_list(SchemaRegistry *r, const char *after, SchemaListed listed, void *userdata);
/* Whether put would take it: 0 (also for a subject that does not exist yet); else as put's callback. */
int schema_registry_test(SchemaRegistry *r, const char *subject, json_object *schema, MamJsonError *error);

/* ---- changes ---- */
/* r: 0: *info is the version that holds it, is_new false where the newest was the same already. -EBADMSG:
 * not a schema, *error says where in it. -EPROTO: not compatible, *error says where in the described
 * documents, and with which version. -ENOENT: no such subject; -ENOSPC: one of the bounds above. -EINVAL:
 * not a name. -EAGAIN, -ENOTCONN, -ECANCELED, -ECONNRESET: the database is away or busy; it is safe to try
 * again. */
typedef struct SchemaCall SchemaCall;
typedef void (*SchemaCallback)(
                int r,
                const SchemaInfo *info,
                bool is_new,
                const MamJsonError *error,
                void *userdata);
/* Freeing it cancels the interest in the answer. With ret NULL it frees itself. Callbacks never run from
 * within the call. */
SchemaCall *schema_call_free(SchemaCall *c);
MAM_DEFINE_CLEANUP(SchemaCall, schema_call_free);

/* Puts a version. by: who did it, or NULL. */
int schema_registry_put(
                SchemaRegistry *r,
                SchemaCall **ret,
                const char *subject,
                json_object *schema,
                const char *by,
                SchemaCallback callback,
                void *userdata);
/* For an existing subject, or one that has no versions yet (info->newest 0). */
int schema_registry_set_compatibility(
                SchemaRegistry *r,
                SchemaCall **ret,
                const char *subject,
                SchemaCompatibility compatibility,
                SchemaCallback callback,
                void *userdata);

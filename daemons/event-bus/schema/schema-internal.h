/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The registry in memory, and its calls
 */

#include <sys/queue.h>

#include "event-bus/schema/schema-registry.h"
#include "libmam/json/schema.h"

typedef struct Subject Subject;
typedef struct Version Version;

typedef TAILQ_HEAD(SchemaCalls, SchemaCall) SchemaCalls;
typedef TAILQ_HEAD(Versions, Version) Versions;

struct Version {
        Subject *subject; /* weak: it owns us */
        unsigned number;
        char *text; /* owned, as the following */
        size_t size;
        json_object *refs; /* which version of which other subject it refers to */
        char *created_at, *created_by;
        MamJsonSchema *compiled;   /* owned, or NULL: not made, or dropped */
        TAILQ_ENTRY(Version) used; /* in the order of their last use, while compiled */
        bool is_bad;               /* it does not compile any more; never tried again */
};

struct Subject {
        char *name; /* owned */
        SchemaCompatibility compatibility;
        Version *versions[SCHEMA_VERSIONS_MAX]; /* owned; from version 1 on, without gaps */
        unsigned n_versions;
};

typedef enum SchemaAction {
        SCHEMA_PUT,
        SCHEMA_SET,
} SchemaAction;

struct SchemaCall {
        SchemaRegistry *registry; /* weak; NULL: answered */
        TAILQ_ENTRY(SchemaCall) calls;
        bool is_loose; /* nobody has a handle: it frees itself once answered */
        SchemaAction action;
        char *subject; /* owned, as the following */
        json_object *schema;
        char *by;
        SchemaCompatibility compatibility;
        MamPgQuery *query;
        unsigned attempts;
        uint64_t waits_for; /* the refresh that must have been done; 0: for none */
        int failed;         /* what it is to be answered with, or 0 */
        unsigned version;   /* that was put */
        bool is_new;
        SchemaCallback callback;
        void *userdata;
};

struct SchemaRegistry {
        MamPg *pg; /* borrowed */
        void (*on_changed)(void *userdata);
        void *userdata;

        Subject **subjects; /* owned; sorted by name */
        size_t n_subjects;
        size_t total;    /* bytes of all texts */
        size_t compiled; /* bytes of all compiled forms */
        Versions used;   /* the least lately used first */

        int64_t revision; /* all up to it are in memory */
        bool is_loaded;
        uint64_t wanted, running, done; /* refreshes, counted: asked for, covered by the query, finished */
        MamPgQuery *query;              /* owned; the refresh under way */
        sd_event_source *timer;         /* the next refresh */
        unsigned failures;

        SchemaCalls calls;      /* owned if loose */
        sd_event_source *defer; /* calls that can go on */
};

Subject *schema_find(const SchemaRegistry *r, const char *name);
/* Adds or changes what the database has. */
int schema_learn_subject(SchemaRegistry *r, const char *name, SchemaCompatibility compatibility);
int schema_learn_version(
                SchemaRegistry *r,
                const char *subject,
                unsigned version,
                const char *text,
                const char *refs,
                const char *created_at,
                const char *created_by);
void schema_forget_all(SchemaRegistry *r);
void schema_describe(const Version *v, SchemaInfo *ret);

/* The compiled form, kept until others need the memory. -EBADMSG, -ENOMEM. */
int schema_compiled(SchemaRegistry *r, Version *v, const MamJsonSchema **ret);
/* What a put asks for: 0, with *ret_refs (JSON); else as schema_registry_put()'s answer. */
int schema_judge(
                SchemaRegistry *r,
                const char *subject,
                json_object *schema,
                json_object **ret_refs,
                MamJsonError *error);

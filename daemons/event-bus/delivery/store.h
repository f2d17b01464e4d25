/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Subscriptions in the database: statements, rows, and the text of their parameters
 */

#include "event-bus/delivery/delivery.h"
#include "event-bus/delivery/group.h"

/* A row; texts are borrowed from the result. */
typedef struct StoreRow {
        int64_t id, token, dead, version;
        const char *name, *state;
        SubscriptionSettings settings;
        TopicKind kind;
        bool was_saved; /* store_load only */
        /* with figures only: */
        int64_t last;          /* of the topic; 0: not known */
        int64_t recorded_usec; /* of the first event that is not settled; 0: there is none */
} StoreRow;

extern const MamPgStatement store_load;   /* $1 name, token: whether that was saved */
extern const MamPgStatement store_get;    /* $1 name; with figures */
extern const MamPgStatement store_list;   /* with figures, by name */
extern const MamPgStatement store_create; /* store_create_parameters() */
extern const MamPgStatement store_change;
extern const MamPgStatement store_delete;    /* $1 name; a row if there was one */
extern const MamPgStatement store_put;       /* $1 id, old token, new token, state, settled_to */
extern const MamPgStatement store_letters;   /* the same, positions … events, redriven numbers, cleared */
extern const MamPgStatement store_dead_list; /* $1 name, after, limit */
extern const MamPgStatement store_dead_find; /* $1 id, numbers or NULL, limit: number, position */
extern const MamPgStatement store_dead_bodies; /* $1 id, from, to, limit: events of redriven letters */

#define STORE_PUT_PARAMETERS     5U
#define STORE_LETTERS_PARAMETERS 15U
#define STORE_CREATE_PARAMETERS  16U
#define STORE_NUMBER_SIZE        24U

void store_read(StoreRow *ret, const MamPgResult *result, size_t row, bool figures);
/* Copies of all texts; to be freed with store_settings_done(). */
int store_settings_copy(SubscriptionSettings *to, const SubscriptionSettings *from);
void store_settings_done(SubscriptionSettings *s);
/* Puts defaults where there is 0. -EINVAL: not within its bounds. */
int store_settings_complete(SubscriptionSettings *to, const SubscriptionSettings *from);
/* What info says about a state; recorded_usec 0: nothing waits. */
void store_figures(
                SubscriptionInfo *info,
                const Group *g,
                int64_t last,
                int64_t recorded_usec,
                TopicKind kind,
                uint64_t now_usec);

typedef struct StoreNumbers {
        char text[STORE_CREATE_PARAMETERS][STORE_NUMBER_SIZE];
} StoreNumbers;
/* Parameters of store_create. */
void store_create_parameters(
                const char *parameters[static STORE_CREATE_PARAMETERS],
                StoreNumbers *n,
                const char *name,
                const SubscriptionSettings *s,
                int64_t token,
                const char *state);
/* Parameters of store_change; returns how many. */
size_t store_change_parameters(
                const char *parameters[static STORE_CREATE_PARAMETERS],
                StoreNumbers *n,
                const char *name,
                const SubscriptionSettings *s,
                int64_t version);

/* Array literals: begun empty, closed once. */
int store_array_text(MamBuffer *b, const char *text /* NULL: SQL NULL */);
int store_array_int(MamBuffer *b, int64_t value);
int store_array_close(MamBuffer *b);
/* libmam/db's errors to those of delivery.h. */
int store_error(int error);

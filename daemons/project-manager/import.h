/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Imports in PostgreSQL
 *
 * An import is a batch of rows of one file with an id that its client chose. Rows go in by chunks, each one
 * transaction that also says how far the import is: so it is known of each row, at any time, whether it is
 * done, and an import that was interrupted goes on behind it. A row whose "external" its project has already
 * is there and not made again.
 */

#include "project-manager/store.h"

/* One row: rows done, state, whether it is this project's and this file's ("t"). No row: there is no such
 * project, or it is archived. Begins the import where there is none. */
enum {
        IMPORT_ROWS_DONE,
        IMPORT_STATE,
        IMPORT_SAME,
};
int import_begin(
                const StoreCall *c,
                const StoreTarget *t,
                const char *id,
                const char *header,
                const char *subject);

/* rows: a JSON array of bodies, each with "row"; rejected: of {"row", "external", "reason"}. done: rows that
 * are done before it; all_done: behind it. No row: somebody else went on with it, or the project was
 * archived. */
typedef struct ImportChunk {
        const char *rows, *rejected;
        uint32_t done, all_done;
} ImportChunk;
int import_add(const StoreCall *c, const char *id, const ImportChunk *chunk, const char *subject);
int import_finish(const StoreCall *c, const char *id);

/* One row with STORE_JSON: the import and its first rejected rows; none: there is no such import in this
 * project. */
int import_get(const StoreCall *c, const StoreTarget *t, const char *id);
/* Rows behind after, in their order: JSON, number. No row: none, or no such import. */
int import_rows(const StoreCall *c,
                const StoreTarget *t,
                const char *id,
                const char *outcome,
                uint32_t after,
                unsigned limit);
/* Deletes the tasks that it made and nobody has changed since. One row with STORE_JSON, as import_get(). */
int import_revert(const StoreCall *c, const StoreTarget *t, const char *id, const char *subject);

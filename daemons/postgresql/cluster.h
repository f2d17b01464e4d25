/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The private cluster on disk: which PostgreSQL serves it, and creating it
 *
 * The cluster is the folder "data" below the state folder. A new one is built as "data.new" and renamed when
 * it is complete, so that a crash at any moment leaves either none or a whole one.
 */

#include <stddef.h>

typedef struct Cluster {
        const char *state;  /* borrowed: /var/lib/mam/postgresql */
        const char *socket; /* borrowed: folder of the socket, /run/mam/postgresql */
        char data[4096];    /* <state>/data */
        char bin[4096];     /* folder with postgres and initdb; set by cluster_prepare() */
        unsigned version;   /* major; set by cluster_prepare() */
} Cluster;

/* -ENAMETOOLONG. */
int cluster_init(Cluster *c, const char *state, const char *socket);

/* Finds or creates the cluster. why: one sentence for the journal. -ENOENT: no PostgreSQL is installed;
 * -EPROTO: the cluster is of a version that is not installed; -ENOTEMPTY: the folder holds something else;
 * -EIO: initdb failed (its output is in the journal). */
int cluster_prepare(Cluster *c, char *why, size_t why_size);

/* "15" → 15, "15\n" → 15, "postgres (PostgreSQL) 15.20 (…)" → 15, "9.6" → 9; 0 if there is no number. */
unsigned cluster_parse_version(const char *text);

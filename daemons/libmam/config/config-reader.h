/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One definition of a service while it is read
 *
 * All report what is wrong themselves: a wrong value sets bad, lack of memory sets r to -ENOMEM; both stay
 * set.
 */

#include "libmam/config/builtin.h"
#include "libmam/config/config-internal.h"

#define MAM_READER_TEXT_MAX 4096U

typedef struct MamReader {
        MamConfigFile *file;       /* borrowed */
        MamServiceConfig *s;       /* borrowed; what is filled in */
        json_object *object;       /* borrowed; the definition */
        char parent[64];           /* its pointer */
        const MamBuiltin *builtin; /* borrowed; NULL for a foreign program */
        bool bad;
        int r;
} MamReader;

void mam_reader_note(MamReader *rd, int r);
void mam_reader_bad(MamReader *rd, const MamJsonError *error);
void mam_reader_bad_key(MamReader *rd, const char *parent, const char *key, const char *format, ...)
                _printf_(4, 5);
/* Frees *to and puts a copy in its place. */
void mam_reader_copy(MamReader *rd, char **to, const char *text);

/* 1 only if present, short, and free of control characters; 0: absent; <0: reported. */
int mam_reader_text(MamReader *rd, json_object *o, const char *parent, const char *key, const char **ret);
/* Members of the definition itself. true: present and good, *ret written. */
bool mam_reader_int(MamReader *rd, const char *key, int64_t min, int64_t max, int64_t *ret);
bool mam_reader_bool(MamReader *rd, const char *key, bool *ret);
/* true: the section is there; unknown keys in it are warned about, unless known is NULL. */
bool mam_reader_section(
                MamReader *rd,
                const char *key,
                const char *const *known,
                char parent[static 128],
                json_object **ret);
/* A whole number of seconds, or a text with a unit; *ret stays as it is if absent or wrong. what: what it
 * must be, for people. */
void mam_reader_span(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                uint64_t min_usec,
                uint64_t max_usec,
                const char *what,
                uint64_t *ret);

/* The same for members of any object; parent is its pointer. true: present and good, *ret written. */
bool mam_reader_get_int(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                int64_t min,
                int64_t max,
                int64_t *ret);
bool mam_reader_get_bool(MamReader *rd, json_object *o, const char *parent, const char *key, bool *ret);
/* A number with or without a fraction. */
bool mam_reader_get_double(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                double min,
                double max,
                double *ret);
/* Percent, also with a fraction, from 0 to 100, as millionths. */
bool mam_reader_get_ppm(MamReader *rd, json_object *o, const char *parent, const char *key, uint32_t *ret);
/* Bytes as a Kubernetes quantity ("64Ki") or a plain integer. */
bool mam_reader_get_bytes(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                uint64_t min,
                uint64_t max,
                uint64_t *ret);
/* An object in an object; unknown keys in it are warned about, unless known is NULL. */
bool mam_reader_get_section(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                const char *const *known,
                char ret_parent[static 128],
                json_object **ret);
/* A text that is copied (what *to had is freed). */
bool mam_reader_get_copy(MamReader *rd, json_object *o, const char *parent, const char *key, char **to);
/* One of the NULL-terminated words, or reported with what was probably meant; its index in *ret. */
bool mam_reader_get_word(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                const char *const *words,
                unsigned *ret);
/* A list of up to max different texts, each of which check (may be NULL) says is good; what: what each must
 * be, for people. *to is NULL-terminated and owned by the caller; what it had is freed. */
bool mam_reader_get_texts(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                size_t max,
                bool (*check)(const char *text),
                const char *what,
                char ***to);

/* "scaling" of a service; type, replicas and the settings must be known. */
void mam_config_read_scaling(MamReader *rd);

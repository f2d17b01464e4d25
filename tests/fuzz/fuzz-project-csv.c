/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Files that are imported. The first byte is the size of pieces: whole and in pieces there are the same
 * records, and each is a task or has a reason.
 */

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/util/buffer.h"
#include "project-manager/csv.h"
#include "project-manager/import-map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Reader {
        MamBuffer seen; /* all fields, each with its NUL */
        ImportMap map;
        bool has_map;
} Reader;

static int on_record(const CsvRecord *record, void *userdata) {
        static const char *const names[IMPORT_IGNORED] = { NULL };
        _cleanup_(json_object_putp) json_object *body = NULL;
        FieldErrors errors = { 0 };
        Reader *reader = userdata;
        char message[200];

        for (size_t i = 0; i < record->n; i++)
                assert(mam_buffer_append(&reader->seen, record->fields[i], strlen(record->fields[i]) + 1) >=
                       0);
        assert(mam_buffer_append(&reader->seen, "\n", 1) >= 0);
        if (!reader->has_map) {
                if (import_map_read(&reader->map, record, names, message) < 0)
                        return -ECANCELED;
                reader->has_map = true;
                return 0;
        }
        assert(import_map_row(&reader->map, record, &body, &errors) >= 0);
        assert(errors.n > 0 || json_object_object_get_ex(body, "title", NULL));
        return 0;
}

static int read_all(Reader *reader, const char *text, size_t size, size_t piece) {
        _cleanup_(csv_freep) Csv *c = NULL;
        CsvError error;
        int r;

        assert(csv_new(&c, on_record, reader) >= 0);
        for (size_t i = 0; i < size; i += piece) {
                r = csv_feed(c, text + i, size - i < piece ? size - i : piece, &error);
                if (r < 0)
                        return r;
        }
        return csv_feed(c, NULL, 0, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Reader whole = { 0 }, pieces = { 0 };

        if (size < 1)
                return 0;
        assert(read_all(&whole, (const char *) data + 1, size - 1, size) ==
               read_all(&pieces, (const char *) data + 1, size - 1, (size_t) (data[0] % 7) + 1));
        assert(whole.seen.size == pieces.seen.size);
        assert(memcmp(mam_buffer_bytes(&whole.seen), mam_buffer_bytes(&pieces.seen), whole.seen.size) == 0);
        mam_buffer_done(&whole.seen);
        mam_buffer_done(&pieces.seen);
        return 0;
}

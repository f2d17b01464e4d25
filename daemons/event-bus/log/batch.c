/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A batch of requests as the parameters of one statement
 *
 * Texts go as one string with U+001E between them, which needs no quoting on this side and no unquoting on
 * the other: a tenth of what array literals cost. What is the same event twice in one request is sent once.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "event-bus/log/log-internal.h"
#include "libmam/util/buffer.h"

#define SLOTS       4096U /* of the table of digests; four times what a batch holds */
#define DIGEST_SIZE 16U

typedef struct BatchRequest {
        size_t first, n; /* of entries */
        int outcome;
        size_t at;
} BatchRequest;

typedef struct BatchEntry {
        uint32_t row;     /* of what is sent, from 1 */
        bool is_repeated; /* it is another entry's row */
} BatchEntry;

typedef struct BatchRow {
        uint8_t digest[DIGEST_SIZE];
        uint32_t request; /* from 1 */
        int64_t expected;
        size_t stream, stream_size; /* in streams; size 0: none */
        LogAppended result;
} BatchRow;

struct LogBatch {
        EVP_MD_CTX *context;    /* owned */
        EVP_MD *sha256;         /* owned */
        BatchRequest *requests; /* owned, as the following */
        BatchEntry *entries;
        LogAppended *appended; /* of entries */
        BatchRow *rows;
        size_t n_requests, n_requests_allocated, n_entries, n_entries_allocated, n_rows, n_rows_allocated;
        uint16_t slots[SLOTS]; /* row, 0: free */
        MamBuffer keys, events, streams;
        MamBuffer digests, of_request, expected; /* made for sending */
        size_t event_bytes;
        bool has_streams;
        int64_t last, settings;
        char numbers[3][24];
        const char *parameters[LOG_BATCH_PARAMETERS];
};

const MamPgStatement log_append_statement = {
        .name = "log-append",
        .sql = "SELECT * FROM append($1::bigint, $2::integer, $3::bigint, $4::uuid[], $5::text, $6::text, $7::text, "
               "$8::integer[], $9::bigint[])",
        .idempotent = true,
};

int log_batch_new(LogBatch **ret) {
        _cleanup_(log_batch_freep) LogBatch *b = NULL;

        assert(ret);

        b = calloc(1, sizeof(*b));
        if (!b)
                return -ENOMEM;

        b->context = EVP_MD_CTX_new();
        b->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        if (!b->context || !b->sha256)
                return -ENOMEM;

        *ret = MAM_TAKE(b);
        return 0;
}

LogBatch *log_batch_free(LogBatch *b) {
        if (!b)
                return NULL;

        EVP_MD_CTX_free(b->context);
        EVP_MD_free(b->sha256);
        free(b->requests);
        free(b->entries);
        free(b->appended);
        free(b->rows);
        mam_buffer_done(&b->keys);
        mam_buffer_done(&b->events);
        mam_buffer_done(&b->streams);
        mam_buffer_done(&b->digests);
        mam_buffer_done(&b->of_request);
        mam_buffer_done(&b->expected);
        free(b);
        return NULL;
}

size_t log_batch_requests(const LogBatch *b) {
        return b->n_requests;
}

size_t log_batch_bytes(const LogBatch *b) {
        return sizeof(*b) + b->keys.allocated + b->events.allocated + b->streams.allocated +
               b->n_entries_allocated * (sizeof(*b->entries) + sizeof(*b->appended)) +
               b->n_rows_allocated * sizeof(*b->rows) + b->n_requests_allocated * sizeof(*b->requests);
}

/* Adding */

static int grow(void **array, size_t *allocated, size_t want, size_t size) {
        size_t n = *allocated;
        void *p;

        if (want <= n)
                return 0;
        n = n ?: 16;
        while (n < want)
                n *= 2;
        p = realloc(*array, n * size);
        if (!p)
                return -ENOMEM;

        *array = p;
        *allocated = n;
        return 0;
}

/* The database makes the same of source and id: event_digest(). */
static int digest_make(
                EVP_MD_CTX *context,
                const EVP_MD *sha256,
                const LogEntry *e,
                uint8_t ret[static DIGEST_SIZE]) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        size_t source_size = strlen(e->source);
        char prefix[24];
        int k = snprintf(prefix, sizeof(prefix), "%zu:", source_size);

        if (!EVP_DigestInit_ex2(context, sha256, NULL) || !EVP_DigestUpdate(context, prefix, (size_t) k) ||
            !EVP_DigestUpdate(context, e->source, source_size) ||
            !EVP_DigestUpdate(context, e->id, strlen(e->id)) || !EVP_DigestFinal_ex(context, digest, NULL))
                return -ENOMEM;

        memcpy(ret, digest, DIGEST_SIZE);
        return 0;
}

/* The slot where this digest is, or belongs. */
static uint16_t *slot_of(LogBatch *b, const uint8_t digest[static DIGEST_SIZE]) {
        uint16_t i;

        memcpy(&i, digest, sizeof(i));
        for (i %= SLOTS; b->slots[i]; i = (uint16_t) ((i + 1) % SLOTS)) {
                if (memcmp(b->rows[b->slots[i] - 1].digest, digest, DIGEST_SIZE) == 0)
                        break;
        }

        return b->slots + i;
}

static bool row_is_of(const LogBatch *b, const BatchRow *row, const char *stream) {
        return row->stream_size == strlen(stream) &&
               memcmp(mam_buffer_bytes(&b->streams) + row->stream, stream, row->stream_size) == 0;
}

/* Whether a row of this stream precedes: *ret its last one, before row "end". */
static bool batch_find_stream(
                const LogBatch *b,
                const char *stream,
                size_t begin,
                size_t end,
                const BatchRow **ret) {
        for (size_t i = end; i-- > begin;) {
                if (row_is_of(b, b->rows + i, stream)) {
                        *ret = b->rows + i;
                        return true;
                }
        }

        return false;
}

static bool batch_has_room(const LogBatch *b, const LogEntry *entries, size_t n) {
        size_t size = 0;

        if (b->n_requests == 0)
                return true;
        for (size_t i = 0; i < n; i++)
                size += entries[i].size;
        return b->n_rows + n <= LOG_APPEND_MAX && b->event_bytes + size <= LOG_BATCH_BYTES_MAX;
}

/* Whose version is compared must be what the database has: nobody before it in the batch may change it. And
 * what comes behind a request that can be refused must not hang on that. */
static bool batch_fits_streams(const LogBatch *b, const LogEntry *entries, size_t n) {
        const BatchRow *row;

        if (!b->has_streams)
                return true;
        for (size_t i = 0; i < n; i++) {
                if (entries[i].stream && entries[i].expected_version != LOG_VERSION_ANY &&
                    batch_find_stream(b, entries[i].stream, 0, b->n_rows, &row))
                        return false;
        }

        return true;
}

static int batch_append_row(LogBatch *b, const LogEntry *e) {
        const char separator = LOG_SEPARATOR;
        int r = 0;

        if (b->n_rows > 0) {
                r = mam_buffer_append(&b->keys, &separator, 1);
                if (r >= 0)
                        r = mam_buffer_append(&b->events, &separator, 1);
                if (r >= 0)
                        r = mam_buffer_append(&b->streams, &separator, 1);
        }
        if (r >= 0)
                r = mam_buffer_append_string(&b->keys, e->key);
        if (r >= 0)
                r = mam_buffer_append(&b->events, e->text, e->size);
        if (r >= 0 && e->stream)
                r = mam_buffer_append_string(&b->streams, e->stream);
        return r;
}

/* 0; -EBUSY: another request of this batch has that event. */
static int batch_add_entry(LogBatch *b, const LogEntry *e, size_t first_row) {
        BatchEntry *entry = b->entries + b->n_entries;
        BatchRow *row = b->rows + b->n_rows;
        const BatchRow *before;
        uint16_t *slot;
        int r;

        r = digest_make(b->context, b->sha256, e, row->digest);
        if (r < 0)
                return r;
        slot = slot_of(b, row->digest);
        if (*slot > 0 && *slot <= first_row)
                return -EBUSY;
        if (*slot > 0) {
                *entry = (BatchEntry){ .row = *slot, .is_repeated = true };
                b->n_entries++;
                return 0;
        }

        row->request = (uint32_t) b->n_requests + 1;
        row->expected = e->stream ? e->expected_version : LOG_VERSION_ANY;
        if (e->stream && batch_find_stream(b, e->stream, first_row, b->n_rows, &before))
                row->expected = before->expected == LOG_VERSION_ANY ? LOG_VERSION_ANY : before->expected + 1;

        r = batch_append_row(b, e);
        if (r < 0)
                return r;
        row->stream_size = e->stream ? strlen(e->stream) : 0;
        row->stream = b->streams.size - row->stream_size;
        if (e->stream)
                b->has_streams = true;
        b->event_bytes += e->size;
        *slot = (uint16_t) ++b->n_rows;
        *entry = (BatchEntry){ .row = *slot };
        b->n_entries++;
        return 0;
}

/* Where a batch was before a request that does not fit. */
typedef struct BatchMark {
        size_t n_entries, n_rows, event_bytes, keys, events, streams;
        bool has_streams;
} BatchMark;

static BatchMark batch_mark(const LogBatch *b) {
        return (BatchMark){ b->n_entries,   b->n_rows,       b->event_bytes, b->keys.size,
                            b->events.size, b->streams.size, b->has_streams };
}

static void buffer_cut(MamBuffer *b, size_t size) {
        b->size = size;
        if (b->data)
                b->data[size] = '\0';
}

static void batch_go_back(LogBatch *b, const BatchMark *m) {
        /* the newest first: what was put behind a slot that was taken is found until that is free */
        while (b->n_rows > m->n_rows) {
                *slot_of(b, b->rows[b->n_rows - 1].digest) = 0;
                b->n_rows--;
        }
        b->n_entries = m->n_entries;
        b->event_bytes = m->event_bytes;
        b->has_streams = m->has_streams;
        buffer_cut(&b->keys, m->keys);
        buffer_cut(&b->events, m->events);
        buffer_cut(&b->streams, m->streams);
}

int log_batch_add(LogBatch *b, const LogEntry *entries, size_t n) {
        BatchMark mark;
        int r;

        assert(b);
        assert(n > 0 && n <= LOG_APPEND_MAX);

        if (!batch_has_room(b, entries, n) || !batch_fits_streams(b, entries, n))
                return -EBUSY;

        mark = batch_mark(b);
        r = grow((void **) &b->requests, &b->n_requests_allocated, b->n_requests + 1, sizeof(*b->requests));
        if (r >= 0) {
                size_t allocated = b->n_entries_allocated;

                r = grow((void **) &b->appended, &allocated, b->n_entries + n, sizeof(*b->appended));
        }
        if (r >= 0) {
                r = grow((void **) &b->entries,
                         &b->n_entries_allocated,
                         b->n_entries + n,
                         sizeof(*b->entries));
        }
        if (r >= 0)
                r = grow((void **) &b->rows, &b->n_rows_allocated, b->n_rows + n, sizeof(*b->rows));
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = batch_add_entry(b, entries + i, mark.n_rows);
        if (r < 0) {
                batch_go_back(b, &mark);
                return r;
        }

        b->requests[b->n_requests++] = (BatchRequest){ .first = mark.n_entries, .n = n };
        return 0;
}

static char *digest_write(char *to, const uint8_t digest[static DIGEST_SIZE]) {
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < DIGEST_SIZE; i++) {
                *to++ = digits[digest[i] >> 4];
                *to++ = digits[digest[i] & 15];
        }

        return to;
}

MAM_DEFINE_CLEANUP(EVP_MD_CTX, EVP_MD_CTX_free);
MAM_DEFINE_CLEANUP(EVP_MD, EVP_MD_free);

int log_digests(const LogEntry *entries, size_t n, char (*ret)[LOG_DIGEST_SIZE]) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
        _cleanup_(EVP_MD_freep) EVP_MD *sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        uint8_t digest[DIGEST_SIZE];
        int r;

        if (!context || !sha256)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                r = digest_make(context, sha256, entries + i, digest);
                if (r < 0)
                        return r;
                *digest_write(ret[i], digest) = '\0';
        }

        return 0;
}

/* Sending */

static int batch_write_digests(LogBatch *b) {
        char *p;
        int r;

        mam_buffer_done(&b->digests);
        r = mam_buffer_reserve(&b->digests, b->n_rows * (DIGEST_SIZE * 2 + 1) + 1, &p);
        if (r < 0)
                return r;

        for (size_t i = 0; i < b->n_rows; i++) {
                *p++ = i == 0 ? '{' : ',';
                p = digest_write(p, b->rows[i].digest);
        }
        *p = '}';
        mam_buffer_commit(&b->digests, b->n_rows * (DIGEST_SIZE * 2 + 1) + 1);
        return 0;
}

static int batch_write_expectations(LogBatch *b) {
        int r = 0;

        mam_buffer_done(&b->of_request);
        mam_buffer_done(&b->expected);
        for (size_t i = 0; r >= 0 && i < b->n_rows; i++) {
                r = mam_buffer_appendf(&b->of_request, "%c%" PRIu32, i == 0 ? '{' : ',', b->rows[i].request);
                if (r < 0)
                        break;
                r = mam_buffer_appendf(&b->expected, "%c%" PRIi64, i == 0 ? '{' : ',', b->rows[i].expected);
        }
        if (r >= 0)
                r = mam_buffer_append_string(&b->of_request, "}");
        return r < 0 ? r : mam_buffer_append_string(&b->expected, "}");
}

const char *const *log_batch_parameters(LogBatch *b, int64_t topic) {
        assert(b);
        assert(b->n_requests > 0);

        if (batch_write_digests(b) < 0 || (b->has_streams && batch_write_expectations(b) < 0))
                return NULL;

        (void) snprintf(b->numbers[0], sizeof(b->numbers[0]), "%" PRIi64, topic);
        (void) snprintf(b->numbers[1], sizeof(b->numbers[1]), "%zu", b->n_rows);
        (void) snprintf(b->numbers[2], sizeof(b->numbers[2]), "%zu", b->event_bytes);
        b->parameters[0] = b->numbers[0];
        b->parameters[1] = b->numbers[1];
        b->parameters[2] = b->numbers[2];
        b->parameters[3] = mam_buffer_bytes(&b->digests);
        b->parameters[4] = mam_buffer_bytes(&b->keys);
        b->parameters[5] = mam_buffer_bytes(&b->events);
        b->parameters[6] = b->has_streams ? mam_buffer_bytes(&b->streams) : NULL;
        b->parameters[7] = b->has_streams ? mam_buffer_bytes(&b->of_request) : NULL;
        b->parameters[8] = b->has_streams ? mam_buffer_bytes(&b->expected) : NULL;
        return b->parameters;
}

/* What became of it */

/* The next number of "{1,2}", NULL as 0; false: none. */
static bool array_next(const char **p, int64_t *ret) {
        char *end;

        if (**p == '{' || **p == ',')
                (*p)++;
        if (**p == '\0' || **p == '}')
                return false;
        if (strncmp(*p, "NULL", 4) == 0) {
                *p += 4;
                *ret = 0;
                return true;
        }

        *ret = strtoll(*p, &end, 10);
        if (end == *p)
                return false;
        *p = end;
        return true;
}

static int batch_read_duplicates(LogBatch *b, const MamPgResult *result) {
        const char *rows = mam_pg_text(result, 0, 3), *positions = mam_pg_text(result, 0, 4);
        const char *versions = mam_pg_text(result, 0, 5);
        int64_t row, position, version;

        while (array_next(&rows, &row)) {
                if (row < 1 || (size_t) row > b->n_rows || !array_next(&positions, &position))
                        return -EBADMSG;
                if (!array_next(&versions, &version))
                        version = 0;
                b->rows[row - 1].result = (LogAppended){ position, version, true };
        }

        return 0;
}

static int batch_read_conflicts(LogBatch *b, const MamPgResult *result) {
        const char *rows = mam_pg_text(result, 0, 6), *versions = mam_pg_text(result, 0, 7);
        int64_t row, version;

        while (array_next(&rows, &row)) {
                BatchRequest *q;

                if (row < 1 || (size_t) row > b->n_rows || !array_next(&versions, &version))
                        return -EBADMSG;
                q = b->requests + b->rows[row - 1].request - 1;
                q->outcome = -ESTALE;
                q->at = 0;
                while (b->entries[q->first + q->at].row != row)
                        q->at++;
                b->rows[row - 1].result.stream_version = version;
        }

        return 0;
}

static int batch_number_rows(LogBatch *b, const MamPgResult *result) {
        int64_t position = mam_pg_int(result, 0, 1), end = position + mam_pg_int(result, 0, 2), version;
        const char *versions = mam_pg_text(result, 0, 8);

        for (size_t i = 0; i < b->n_rows; i++) {
                BatchRow *row = b->rows + i;

                if (row->result.is_duplicate || b->requests[row->request - 1].outcome < 0)
                        continue;
                if (!array_next(&versions, &version))
                        version = 0;
                row->result = (LogAppended){ ++position, version, false };
        }

        b->last = mam_pg_int(result, 0, 2) > 0 ? position : 0;
        return position == end ? 0 : -EBADMSG;
}

int log_batch_read(LogBatch *b, const MamPgResult *result) {
        int r;

        if (mam_pg_rows(result) != 1)
                return -EBADMSG;
        if (mam_pg_is_null(result, 0, 0))
                return -ENOENT;

        for (size_t i = 0; i < b->n_rows; i++)
                b->rows[i].result = (LogAppended){ 0 };
        for (size_t i = 0; i < b->n_requests; i++)
                b->requests[i].outcome = 0;

        b->settings = mam_pg_int(result, 0, 0);
        r = batch_read_duplicates(b, result);
        if (r >= 0)
                r = batch_read_conflicts(b, result);
        if (r >= 0)
                r = batch_number_rows(b, result);
        if (r < 0)
                return r;

        for (size_t i = 0; i < b->n_entries; i++) {
                b->appended[i] = b->rows[b->entries[i].row - 1].result;
                if (b->entries[i].is_repeated)
                        b->appended[i].is_duplicate = true;
        }
        return 0;
}

int64_t log_batch_last(const LogBatch *b) {
        return b->last;
}

int64_t log_batch_settings(const LogBatch *b) {
        return b->settings;
}

int log_batch_outcome(
                const LogBatch *b,
                size_t request,
                const LogAppended **ret_appended,
                size_t *ret_n,
                size_t *ret_at) {
        const BatchRequest *q = b->requests + request;

        assert(request < b->n_requests);

        *ret_appended = b->appended + q->first;
        *ret_n = q->n;
        *ret_at = q->at;
        return q->outcome;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Files of archives
 */

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/evp.h>
#include <zstd.h>

#include "event-bus/log/archive-file.h"
#include "libmam/json/json.h"
#include "libmam/util/file.h"

#define LEVEL       3
#define LEFT_SEC    ((time_t) 24 * 3600)
#define NOTE_MAX    ((size_t) 4096)
#define CHUNK_SIZE  ((size_t) 128 * 1024)
#define SHA256_SIZE 32U

MAM_DEFINE_CLEANUP(EVP_MD_CTX, EVP_MD_CTX_free);

struct ArchiveWriter {
        ArchiveNote note;
        char *folder;    /* owned; TOPIC's */
        char *temporary; /* owned; a path, until it has its name */
        int fd;
        ZSTD_CCtx *zstd; /* owned */
        EVP_MD_CTX *sha; /* owned */
        char *chunk;     /* owned; CHUNK_SIZE */
};

struct ArchiveReader {
        int fd;
        ZSTD_DCtx *zstd; /* owned */
        char *chunk;     /* owned; CHUNK_SIZE, read and not decompressed from input.pos on */
        ZSTD_inBuffer input;
        MamBuffer lines;
        size_t given; /* bytes of lines, consumed with the next call */
        bool at_end, frame_ended;
};

/* Names */

static void name_make(char ret[static ARCHIVE_NAME_SIZE], const char *topic, int64_t first, int64_t last) {
        (void) snprintf(ret,
                        ARCHIVE_NAME_SIZE,
                        "%s/%019lld-%019lld",
                        topic,
                        (long long) first,
                        (long long) last);
}

static bool name_split(const char *name, char topic[static 136], int64_t *ret_first, int64_t *ret_last) {
        const char *slash = strchr(name, '/');
        long long first, last;
        int size = 0;

        if (!slash || slash - name > 128)
                return false;
        memcpy(topic, name, (size_t) (slash - name));
        topic[slash - name] = '\0';
        if (!topic_name_is_valid(topic) || strlen(slash + 1) != 39)
                return false;
        if (sscanf(slash + 1, "%19lld-%19lld%n", &first, &last, &size) != 2 || size != 39 || first < 1 ||
            last < first)
                return false;

        *ret_first = first;
        *ret_last = last;
        return strspn(slash + 1, "0123456789-") == 39;
}

bool archive_name_is_valid(const char *name) {
        int64_t first, last;
        char topic[136];

        return name_split(name, topic, &first, &last);
}

static void note_init(ArchiveNote *n, const char *topic, int64_t first, int64_t last) {
        (void) snprintf(n->topic, sizeof(n->topic), "%s", topic);
        name_make(n->file, topic, first, last);
        n->info = (ArchiveInfo){ .first = first, .last = last };
}

/* Texts of a note that was copied are its own again. */
static const ArchiveInfo *note_info(ArchiveNote *n) {
        n->info.topic = n->topic;
        n->info.file = n->file;
        n->info.sha256 = n->sha256;
        return &n->info;
}

static void hex(char *ret, const uint8_t *bytes, size_t size) {
        for (size_t i = 0; i < size; i++)
                (void) sprintf(ret + 2 * i, "%02x", bytes[i]);
}

/* Writing */

static void remove_left(const char *folder) {
        DIR *d = opendir(folder);
        struct dirent *e;
        struct stat st;

        while (d && (e = readdir(d))) {
                if (strncmp(e->d_name, ".new-", 5) == 0 &&
                    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                    st.st_mtime < time(NULL) - LEFT_SEC)
                        (void) unlinkat(dirfd(d), e->d_name, 0);
        }
        if (d)
                (void) closedir(d);
}

static int writer_open(ArchiveWriter *w, const char *folder, const char *topic) {
        uint64_t lot = 0;

        if (asprintf(&w->folder, "%s/%s", folder, topic) < 0)
                return -ENOMEM;
        if (mkdir(w->folder, 0750) < 0 && errno != EEXIST)
                return -errno;
        remove_left(w->folder);

        if (getrandom(&lot, sizeof(lot), 0) != (ssize_t) sizeof(lot))
                return -EIO;
        if (asprintf(&w->temporary, "%s/.new-%016llx", w->folder, (unsigned long long) lot) < 0)
                return -ENOMEM;
        w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0640);
        return w->fd < 0 ? -errno : 0;
}

int archive_writer_new(
                ArchiveWriter **ret,
                const char *folder,
                const char *topic,
                int64_t first,
                int64_t last) {
        _cleanup_(archive_writer_freep) ArchiveWriter *w = NULL;
        int r;

        assert(ret);
        assert(folder);
        assert(topic_name_is_valid(topic));

        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->fd = -EBADF;
        note_init(&w->note, topic, first, last);

        w->zstd = ZSTD_createCCtx();
        w->sha = EVP_MD_CTX_new();
        w->chunk = malloc(CHUNK_SIZE);
        if (!w->zstd || !w->sha || !w->chunk || EVP_DigestInit_ex(w->sha, EVP_sha256(), NULL) != 1)
                return -ENOMEM;
        (void) ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, LEVEL);
        (void) ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1);

        r = writer_open(w, folder, topic);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(w);
        return 0;
}

ArchiveWriter *archive_writer_free(ArchiveWriter *w) {
        if (!w)
                return NULL;

        mam_closep(&w->fd);
        if (w->temporary)
                (void) unlink(w->temporary);
        (void) ZSTD_freeCCtx(w->zstd);
        EVP_MD_CTX_free(w->sha);
        free(w->temporary);
        free(w->folder);
        free(w->chunk);
        free(w);
        return NULL;
}

static int writer_write(ArchiveWriter *w, const char *data, size_t size) {
        if (EVP_DigestUpdate(w->sha, data, size) != 1)
                return -EIO;

        w->note.info.bytes += size;
        while (size > 0) {
                ssize_t n = write(w->fd, data, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                data += n;
                size -= (size_t) n;
        }

        return 0;
}

static int writer_compress(ArchiveWriter *w, const char *data, size_t size, ZSTD_EndDirective how) {
        ZSTD_inBuffer input = { data, size, 0 };
        size_t left;
        int r;

        do {
                ZSTD_outBuffer output = { w->chunk, CHUNK_SIZE, 0 };

                left = ZSTD_compressStream2(w->zstd, &output, &input, how);
                if (ZSTD_isError(left))
                        return -EIO;
                r = writer_write(w, w->chunk, output.pos);
                if (r < 0)
                        return r;
        } while (how == ZSTD_e_end ? left > 0 : input.pos < input.size);

        return 0;
}

int archive_writer_add(
                ArchiveWriter *w,
                const char *lines,
                size_t size,
                uint64_t events,
                uint64_t recorded_first_usec,
                uint64_t recorded_last_usec) {
        assert(w);

        if (w->note.info.events == 0)
                w->note.info.recorded_first_usec = recorded_first_usec;
        w->note.info.recorded_last_usec = recorded_last_usec;
        w->note.info.events += events;
        return writer_compress(w, lines, size, ZSTD_e_continue);
}

int archive_writer_end(ArchiveWriter *w) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        int r;

        assert(w);

        r = writer_compress(w, NULL, 0, ZSTD_e_end);
        if (r < 0)
                return r;
        if (EVP_DigestFinal_ex(w->sha, digest, NULL) != 1)
                return -EIO;

        hex(w->note.sha256, digest, SHA256_SIZE);
        return 0;
}

static int sync_folder(const char *path) {
        _cleanup_(mam_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int note_write(const ArchiveWriter *w, const char *path) {
        const ArchiveInfo *i = &w->note.info;
        char text[NOTE_MAX];
        int size;

        size = snprintf(text,
                        sizeof(text),
                        "{\"topic\":\"%s\",\"first\":%lld,\"last\":%lld,\"events\":%llu,\"bytes\":%llu,"
                        "\"recordedFirst\":%llu,\"recordedLast\":%llu,\"sha256\":\"%s\"}\n",
                        w->note.topic,
                        (long long) i->first,
                        (long long) i->last,
                        (unsigned long long) i->events,
                        (unsigned long long) i->bytes,
                        (unsigned long long) i->recorded_first_usec,
                        (unsigned long long) i->recorded_last_usec,
                        w->note.sha256);
        return mam_file_write_atomic(path, text, (size_t) size, 0640);
}

int archive_writer_publish(ArchiveWriter *w) {
        char path[PATH_MAX];
        const char *name;
        int r;

        assert(w);
        assert(w->note.sha256[0]);

        name = strchr(w->note.file, '/') + 1;
        if (snprintf(path, sizeof(path), "%s/%s.ndjson.zst", w->folder, name) >= (int) sizeof(path))
                return -ENAMETOOLONG;
        if (fsync(w->fd) < 0 || rename(w->temporary, path) < 0)
                return -errno;
        free(MAM_TAKE(w->temporary));
        r = sync_folder(w->folder);
        if (r < 0)
                return r;

        (void) snprintf(path, sizeof(path), "%s/%s.json", w->folder, name);
        r = note_write(w, path);
        if (r < 0)
                return r;

        (void) snprintf(path, sizeof(path), "%s/..", w->folder); /* the topic's folder may be new */
        return sync_folder(path);
}

const ArchiveInfo *archive_writer_info(const ArchiveWriter *w) {
        assert(w);

        return note_info((ArchiveNote *) &w->note);
}

/* Checking */

static int note_parse(ArchiveNote *n, const char *text, size_t size) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        const char *sha256 = NULL;
        int64_t first = 0, last = 0, events = 0, bytes = 0, from = 0, to = 0;
        const struct {
                const char *key;
                int64_t *value;
        } numbers[] = {
                { "first", &first }, { "last", &last },          { "events", &events },
                { "bytes", &bytes }, { "recordedFirst", &from }, { "recordedLast", &to },
        };
        MamJsonError error;

        if (mam_json_parse(&root, text, size, &error) < 0 || !json_object_is_type(root, json_type_object))
                return -EBADMSG;
        for (size_t i = 0; i < MAM_ELEMENTSOF(numbers); i++) {
                if (mam_json_get_int(root, "", numbers[i].key, 0, INT64_MAX, numbers[i].value, &error) <= 0)
                        return -EBADMSG;
        }
        if (mam_json_get_string(root, "", "sha256", &sha256, &error) <= 0 ||
            strlen(sha256) != (size_t) 2 * SHA256_SIZE || first != n->info.first || last != n->info.last)
                return -EBADMSG;

        n->info.events = (uint64_t) events;
        n->info.bytes = (uint64_t) bytes;
        n->info.recorded_first_usec = (uint64_t) from;
        n->info.recorded_last_usec = (uint64_t) to;
        memcpy(n->sha256, sha256, sizeof(n->sha256));
        return 0;
}

int archive_note_read(ArchiveNote *ret, const char *folder, const char *name) {
        _cleanup_(mam_freep) char *text = NULL;
        char path[PATH_MAX], topic[136];
        int64_t first, last;
        ArchiveNote n;
        size_t size;
        int r;

        assert(ret);
        assert(folder);
        assert(name);

        if (!name_split(name, topic, &first, &last))
                return -ENOENT;
        note_init(&n, topic, first, last);
        if (snprintf(path, sizeof(path), "%s/%s.json", folder, name) >= (int) sizeof(path))
                return -ENAMETOOLONG;
        r = mam_file_read(&text, &size, path, NOTE_MAX);
        if (r < 0)
                return r == -EFBIG ? -EBADMSG : r;
        r = note_parse(&n, text, size);
        if (r < 0)
                return r;

        *ret = n;
        (void) note_info(ret);
        return 0;
}

static int file_open(const char *folder, const ArchiveNote *note) {
        char path[PATH_MAX];
        int fd;

        if (snprintf(path, sizeof(path), "%s/%s.ndjson.zst", folder, note->file) >= (int) sizeof(path))
                return -ENAMETOOLONG;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        return fd < 0 ? -errno : fd;
}

static ssize_t file_read(int fd, char *chunk) {
        ssize_t n;

        do {
                n = read(fd, chunk, CHUNK_SIZE);
        } while (n < 0 && errno == EINTR);

        return n < 0 ? -errno : n;
}

int archive_check(const char *folder, const ArchiveNote *note) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *sha = EVP_MD_CTX_new();
        _cleanup_(mam_freep) char *chunk = malloc(CHUNK_SIZE);
        _cleanup_(mam_closep) int fd = -EBADF;
        uint8_t digest[EVP_MAX_MD_SIZE];
        char text[2 * SHA256_SIZE + 1];
        uint64_t size = 0;
        ssize_t n;

        assert(folder);
        assert(note);

        if (!sha || !chunk || EVP_DigestInit_ex(sha, EVP_sha256(), NULL) != 1)
                return -ENOMEM;
        fd = file_open(folder, note);
        if (fd < 0)
                return fd == -ENOENT ? -EBADMSG : fd;

        while ((n = file_read(fd, chunk)) > 0) {
                size += (uint64_t) n;
                if (EVP_DigestUpdate(sha, chunk, (size_t) n) != 1)
                        return -EIO;
        }
        if (n < 0)
                return (int) n;
        if (EVP_DigestFinal_ex(sha, digest, NULL) != 1)
                return -EIO;

        hex(text, digest, SHA256_SIZE);
        return size == note->info.bytes && strcmp(text, note->sha256) == 0 ? 0 : -EBADMSG;
}

/* Reading */

int archive_reader_new(ArchiveReader **ret, const char *folder, const ArchiveNote *note) {
        _cleanup_(archive_reader_freep) ArchiveReader *r = NULL;

        assert(ret);
        assert(folder);
        assert(note);

        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;

        r->fd = file_open(folder, note);
        if (r->fd < 0)
                return r->fd;
        r->lines.max = ARCHIVE_LINE_MAX + 2 * ARCHIVE_READ_SIZE;
        r->zstd = ZSTD_createDCtx();
        r->chunk = malloc(CHUNK_SIZE);
        if (!r->zstd || !r->chunk)
                return -ENOMEM;

        *ret = MAM_TAKE(r);
        return 0;
}

ArchiveReader *archive_reader_free(ArchiveReader *r) {
        if (!r)
                return NULL;

        mam_closep(&r->fd);
        (void) ZSTD_freeDCtx(r->zstd);
        mam_buffer_done(&r->lines);
        free(r->chunk);
        free(r);
        return NULL;
}

/* Some more of the lines. */
static int reader_fill(ArchiveReader *r) {
        ZSTD_outBuffer output = { 0 };
        size_t left;
        char *room;
        ssize_t n;
        int error;

        if (r->input.pos == r->input.size) {
                n = file_read(r->fd, r->chunk);
                if (n < 0)
                        return (int) n;
                r->input = (ZSTD_inBuffer){ r->chunk, (size_t) n, 0 };
                if (n == 0) {
                        r->at_end = true;
                        return r->frame_ended ? 0 : -EBADMSG;
                }
        }

        error = mam_buffer_reserve(&r->lines, CHUNK_SIZE, &room);
        if (error < 0)
                return error == -ENOBUFS ? -EBADMSG : error;
        output = (ZSTD_outBuffer){ room, CHUNK_SIZE, 0 };
        left = ZSTD_decompressStream(r->zstd, &output, &r->input);
        if (ZSTD_isError(left))
                return -EBADMSG;

        r->frame_ended = left == 0;
        mam_buffer_commit(&r->lines, output.pos);
        return 0;
}

static size_t whole_lines(const ArchiveReader *r) {
        const char *end =
                        r->lines.size > 0 ? memrchr(mam_buffer_bytes(&r->lines), '\n', r->lines.size) : NULL;

        return end ? (size_t) (end - mam_buffer_bytes(&r->lines)) + 1 : 0;
}

int archive_reader_next(ArchiveReader *r, const char **ret_lines, size_t *ret_size) {
        size_t size;
        int error;

        assert(r);
        assert(ret_lines);
        assert(ret_size);

        mam_buffer_consume(&r->lines, r->given);
        r->given = 0;
        while (!r->at_end && (r->lines.size < ARCHIVE_READ_SIZE || whole_lines(r) == 0)) {
                error = reader_fill(r);
                if (error < 0)
                        return error;
        }

        size = whole_lines(r);
        if (r->at_end && size != r->lines.size)
                return -EBADMSG; /* the last line has no end */

        r->given = size;
        *ret_lines = mam_buffer_bytes(&r->lines);
        *ret_size = size;
        return 0;
}

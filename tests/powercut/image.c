/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a disk would hold after a power cut
 *
 * Only system calls that the shim does not stand in for, or syscall(): this also runs inside of the calls
 * that it replaces.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image.h"
#include "libmam/util/macro.h"

#define BUCKETS 4096U
#define SLOTS   15U
#define SECTOR  512U

typedef struct Slot {
        uint64_t inode, born; /* 0: free */
        int64_t from, to;     /* written since the last fsync(); nothing if from >= to */
        int64_t changed;      /* the time of the last change that was persisted */
} Slot;

typedef struct Bucket {
        pthread_mutex_t lock; /* its holder may be killed */
        uint32_t next;        /* the slot to be forgotten next */
        Slot slots[SLOTS];
} Bucket;

typedef struct Table {
        pthread_mutex_t names; /* held while tree/ is changed */
        Bucket buckets[BUCKETS];
} Table;

typedef struct Id {
        uint64_t inode, born;
        int64_t size, changed;
        mode_t mode;
} Id;

static char root[PATH_MAX / 4], image[PATH_MAX / 4];
static size_t root_size;
static int objects_fd = -1, tree_fd = -1;
static Table *table;

static int lock(pthread_mutex_t *mutex) {
        int r = pthread_mutex_lock(mutex);

        if (r == EOWNERDEAD)
                r = pthread_mutex_consistent(mutex);
        return -r; /* -EDEADLK: a signal handler writes while the program below it does */
}

static void unlock(pthread_mutex_t *mutex, int locked) {
        if (locked == 0)
                (void) pthread_mutex_unlock(mutex);
}

static int identify(Id *ret, int folder, const char *name, int flags) {
        struct statx st;

        if (statx(folder, name, flags | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
                return -errno;
        if (!(st.stx_mask & STATX_BTIME))
                return -EOPNOTSUPP;

        *ret = (Id){
                .inode = st.stx_ino,
                .born = (uint64_t) st.stx_btime.tv_sec * 1000000000U + st.stx_btime.tv_nsec,
                .size = (int64_t) st.stx_size,
                .changed = st.stx_mtime.tv_sec * 1000000000 + st.stx_mtime.tv_nsec,
                .mode = st.stx_mode,
        };
        return 0;
}

static void object_name(char name[static 64], const Id *id) {
        (void) snprintf(name, 64, "%" PRIx64 "-%" PRIx64, id->inode, id->born);
}

static int init_mutex(pthread_mutex_t *mutex) {
        pthread_mutexattr_t a;
        int r;

        r = pthread_mutexattr_init(&a);
        if (r == 0)
                r = pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
        if (r == 0)
                r = pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
        if (r == 0)
                r = pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ERRORCHECK);
        if (r == 0)
                r = pthread_mutex_init(mutex, &a);
        return -r;
}

/* The first process makes it; the others are its children, or come later. */
static int map_table(void) {
        char path[PATH_MAX];
        struct stat st;
        int r = 0;

        (void) snprintf(path, sizeof(path), "%s/table", image);
        _cleanup_(mam_closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || flock(fd, LOCK_EX) < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size == 0 && syscall(SYS_ftruncate, fd, sizeof(Table)) < 0)
                return -errno;

        table = mmap(NULL, sizeof(Table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (table == MAP_FAILED) {
                table = NULL;
                return -errno;
        }
        if (st.st_size == 0) {
                r = init_mutex(&table->names);
                for (size_t i = 0; i < BUCKETS && r == 0; i++)
                        r = init_mutex(&table->buckets[i].lock);
        }
        (void) flock(fd, LOCK_UN); /* closing does not, while the file is mapped */
        return r;
}

static int open_folder(int *ret, const char *name) {
        char path[PATH_MAX];
        int fd;

        (void) snprintf(path, sizeof(path), "%s/%s", image, name);
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        *ret = fd;
        return 0;
}

int image_open(const char *root_path, const char *image_path) {
        Id id;
        int r;

        root_size = strlen(root_path);
        if (root_size >= sizeof(root) || strlen(image_path) >= sizeof(image) || root_path[0] != '/')
                return -EINVAL;
        memcpy(root, root_path, root_size + 1);
        memcpy(image, image_path, strlen(image_path) + 1);

        r = identify(&id, AT_FDCWD, root, 0);
        if (r < 0)
                return r;
        r = open_folder(&objects_fd, "objects");
        if (r < 0)
                return r;
        r = open_folder(&tree_fd, "tree");
        if (r < 0)
                return r;

        return map_table();
}

/* Slot of this file, made where there is none: nobody knows then what was written, so all of it. */
static Slot *find(Bucket *b, const Id *id) {
        Slot *s = NULL;

        for (size_t i = 0; i < SLOTS; i++) {
                if (b->slots[i].inode == id->inode && b->slots[i].born == id->born)
                        return &b->slots[i];
                if (!s && b->slots[i].inode == 0)
                        s = &b->slots[i];
        }
        if (!s)
                s = &b->slots[b->next++ % SLOTS];

        *s = (Slot){ .inode = id->inode, .born = id->born, .to = INT64_MAX, .changed = INT64_MIN };
        return s;
}

static Bucket *bucket(const Id *id) {
        return &table->buckets[(id->inode * 0x9e3779b97f4a7c15U ^ id->born) % BUCKETS];
}

void image_written(int fd, int64_t from, int64_t to) {
        Bucket *b;
        Slot *s;
        Id id;
        int r;

        if (!table || fd <= STDERR_FILENO || identify(&id, fd, "", AT_EMPTY_PATH) < 0 || !S_ISREG(id.mode))
                return;

        b = bucket(&id);
        r = lock(&b->lock);
        s = find(b, &id);
        if (s->from >= s->to) {
                s->from = from;
                s->to = to;
        } else {
                s->from = from < s->from ? from : s->from;
                s->to = to > s->to ? to : s->to;
        }
        unlock(&b->lock, r);
}

static int copy_range(int to, int from, int64_t at, int64_t end) {
        char data[65536];

        while (at < end) {
                size_t want = end - at < (int64_t) sizeof(data) ? (size_t) (end - at) : sizeof(data);
                ssize_t n = syscall(SYS_pread64, from, data, want, at);

                if (n < 0)
                        return -errno;
                if (n == 0)
                        return 0;
                if (syscall(SYS_pwrite64, to, data, (size_t) n, at) != n)
                        return -EIO;
                at += n;
        }
        return 0;
}

/* Brings a file's object up to date; what was written is reset only once that is done. */
static int persist_content(int fd, const char *object) {
        _cleanup_(mam_closep) int from = -EBADF, to = -EBADF;
        char path[64];
        Bucket *b;
        Slot *s;
        Id id;
        int locked, r;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* ours may be open for writing only */
        from = open(path, O_RDONLY | O_CLOEXEC);
        if (from < 0)
                return -errno;
        to = openat(objects_fd, object, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (to < 0)
                return -errno;

        r = identify(&id, from, "", AT_EMPTY_PATH);
        if (r < 0)
                return r;
        b = bucket(&id);
        locked = lock(&b->lock);
        r = identify(&id, from, "", AT_EMPTY_PATH); /* its size as of now */
        s = find(b, &id);
        if (s->from >= s->to && s->changed != id.changed) { /* by a way that nobody has seen, as stdio's */
                s->from = 0;
                s->to = INT64_MAX;
        }
        if (r == 0 && s->from < s->to) {
                r = copy_range(to, from, s->from, s->to < id.size ? s->to : id.size);
                if (r == 0 && syscall(SYS_ftruncate, to, id.size) < 0)
                        r = -errno;
                if (r == 0) {
                        (void) fchmod(to, id.mode & 07777);
                        s->from = s->to = 0;
                        s->changed = id.changed;
                }
        }
        unlock(&b->lock, locked);
        return r;
}

/* The path below the root of what is open there: "" for the root, -ENOENT if it is elsewhere or removed. */
static int relative_path(char ret[static PATH_MAX], int fd) {
        char link[64], path[PATH_MAX];
        struct stat st;
        ssize_t n;

        if (fstat(fd, &st) < 0)
                return -errno;
        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        if (n < 0)
                return -errno;
        path[n] = '\0';
        if (st.st_nlink == 0 || strncmp(path, root, root_size) != 0 ||
            (path[root_size] != '/' && path[root_size] != '\0'))
                return -ENOENT;

        (void) snprintf(ret, PATH_MAX, "%s", path[root_size] == '/' ? path + root_size + 1 : "");
        return 0;
}

/* The folders above a durable name are durable. */
static int make_ancestors(const char *path) {
        char part[PATH_MAX];

        for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
                (void) snprintf(part, sizeof(part), "%.*s", (int) (slash - path), path);
                if (mkdirat(tree_fd, part, 0700) < 0 && errno != EEXIST)
                        return -errno;
        }
        return 0;
}

static int remove_all(int folder, const char *name) {
        DIR *d;
        int fd;

        if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
                return 0;
        fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        d = fdopendir(fd);
        if (!d) {
                (void) close(fd);
                return -ENOMEM;
        }
        for (struct dirent *e = readdir(d); e; e = readdir(d)) {
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        (void) remove_all(dirfd(d), e->d_name);
        }
        (void) closedir(d);
        return unlinkat(folder, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Gives an object a durable name, in place of what had it. */
static int name_object(const char *object, int folder, const char *name) {
        struct stat is, should;

        if (fstatat(objects_fd, object, &should, 0) < 0)
                return -errno;
        if (fstatat(folder, name, &is, AT_SYMLINK_NOFOLLOW) == 0) {
                if (is.st_ino == should.st_ino)
                        return 0;
                (void) remove_all(folder, name);
        }
        return linkat(objects_fd, object, folder, name, 0) < 0 ? -errno : 0;
}

/* A file whose name is durable and whose content never was: empty. */
static int make_object(const char *object) {
        _cleanup_(mam_closep) int fd = openat(objects_fd, object, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        return fd < 0 ? -errno : 0;
}

static int persist_entry(int live, int folder, const char *name) {
        char object[64], target[PATH_MAX];
        ssize_t n;
        Id id;
        int r;

        r = identify(&id, live, name, 0);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        if (S_ISDIR(id.mode))
                return mkdirat(folder, name, 0700) < 0 && errno != EEXIST ? -errno : 0;
        if (S_ISLNK(id.mode)) {
                n = readlinkat(live, name, target, sizeof(target) - 1);
                if (n < 0)
                        return -errno;
                target[n] = '\0';
                (void) unlinkat(folder, name, 0);
                return symlinkat(target, folder, name) < 0 ? -errno : 0;
        }
        if (!S_ISREG(id.mode))
                return 0;

        object_name(object, &id);
        r = make_object(object);
        if (r < 0)
                return r;
        return name_object(object, folder, name);
}

/* Makes the durable names of a folder those that it has. */
static int persist_folder(int fd, const char *path) {
        _cleanup_(mam_closep) int folder = -EBADF;
        char self[64];
        DIR *live, *durable;
        int r = 0;

        if (path[0] != '\0') {
                r = make_ancestors(path);
                if (r < 0)
                        return r;
                if (mkdirat(tree_fd, path, 0700) < 0 && errno != EEXIST)
                        return -errno;
        }
        folder = openat(tree_fd, path[0] != '\0' ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0)
                return -errno;

        (void) snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
        live = opendir(self);
        if (!live)
                return -errno;
        for (struct dirent *e = readdir(live); e && r == 0; e = readdir(live)) {
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        r = persist_entry(dirfd(live), folder, e->d_name);
        }
        (void) snprintf(self, sizeof(self), "/proc/self/fd/%d", folder);
        durable = opendir(self);
        for (struct dirent *e = durable ? readdir(durable) : NULL; e; e = readdir(durable)) {
                struct stat st;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (fstatat(dirfd(live), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
                        (void) remove_all(folder, e->d_name);
        }
        if (durable)
                (void) closedir(durable);
        (void) closedir(live);
        return r;
}

static int persist_name(const char *object, const char *path) {
        struct stat st;
        int r;

        if (fstatat(objects_fd, object, &st, 0) < 0)
                return -errno;
        if (st.st_nlink > 1)
                return 0; /* renamed since, perhaps: that needs the folder */
        r = make_ancestors(path);
        if (r < 0)
                return r;
        return name_object(object, tree_fd, path);
}

int image_persist(int fd) {
        char path[PATH_MAX], object[64];
        int locked, r;
        Id id;

        if (!table || relative_path(path, fd) < 0)
                return 0;
        r = identify(&id, fd, "", AT_EMPTY_PATH);
        if (r < 0)
                return r;

        if (S_ISREG(id.mode)) {
                object_name(object, &id);
                r = persist_content(fd, object);
                if (r < 0)
                        return r;
                locked = lock(&table->names);
                r = persist_name(object, path);
                unlock(&table->names, locked);
                return r;
        }
        if (!S_ISDIR(id.mode))
                return 0;

        locked = lock(&table->names);
        r = persist_folder(fd, path);
        unlock(&table->names, locked);
        return r;
}

static int take_folder(const char *path) {
        _cleanup_(mam_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d;
        int r;

        if (fd < 0)
                return -errno;
        r = image_persist(fd);
        if (r < 0)
                return r;

        d = opendir(path);
        if (!d)
                return -errno;
        for (struct dirent *e = readdir(d); e && r == 0; e = readdir(d)) {
                _cleanup_(mam_closep) int file = -EBADF;
                char entry[PATH_MAX];
                struct stat st;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                (void) snprintf(entry, sizeof(entry), "%s/%s", path, e->d_name);
                if (lstat(entry, &st) < 0)
                        r = -errno;
                else if (S_ISDIR(st.st_mode))
                        r = take_folder(entry);
                else if (S_ISREG(st.st_mode)) {
                        file = open(entry, O_RDONLY | O_CLOEXEC);
                        r = file < 0 ? -errno : image_persist(file);
                }
        }
        (void) closedir(d);
        return r;
}

int image_take(void) {
        char path[PATH_MAX];
        int r;

        r = remove_all(AT_FDCWD, (snprintf(path, sizeof(path), "%s/objects", image), path));
        if (r < 0 && r != -ENOENT)
                return r;
        r = remove_all(AT_FDCWD, (snprintf(path, sizeof(path), "%s/tree", image), path));
        if (r < 0 && r != -ENOENT)
                return r;
        (void) close(objects_fd);
        (void) close(tree_fd);
        r = open_folder(&objects_fd, "objects");
        if (r < 0)
                return r;
        r = open_folder(&tree_fd, "tree");
        if (r < 0)
                return r;

        return take_folder(root);
}

static uint64_t chance(uint64_t *state) {
        uint64_t x = *state += 0x9e3779b97f4a7c15U; /* splitmix64 */

        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
        return x ^ (x >> 31);
}

/* A disk writes in any order: of what is not durable, each sector may have got there. */
static int scatter(int live, const char *object, uint64_t *seed) {
        _cleanup_(mam_closep) int durable = openat(objects_fd, object, O_RDWR | O_CLOEXEC);
        char is[SECTOR], was[SECTOR];

        if (durable < 0)
                return errno == ENOENT ? 0 : -errno;
        for (int64_t at = 0;; at += SECTOR) {
                ssize_t n = syscall(SYS_pread64, live, is, sizeof(is), at), m;

                if (n < 0)
                        return -errno;
                if (n == 0)
                        return 0;
                m = syscall(SYS_pread64, durable, was, sizeof(was), at);
                if (m == n && memcmp(is, was, (size_t) n) == 0)
                        continue;
                if ((chance(seed) & 1) != 0 && syscall(SYS_pwrite64, durable, is, (size_t) n, at) != n)
                        return -EIO;
        }
}

static int scatter_folder(const char *path, uint64_t *seed) {
        DIR *d = opendir(path);
        int r = 0;

        if (!d)
                return -errno;
        for (struct dirent *e = readdir(d); e && r == 0; e = readdir(d)) {
                _cleanup_(mam_closep) int file = -EBADF;
                char entry[PATH_MAX], object[64];
                Id id;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                (void) snprintf(entry, sizeof(entry), "%s/%s", path, e->d_name);
                r = identify(&id, AT_FDCWD, entry, 0);
                if (r == 0 && S_ISDIR(id.mode))
                        r = scatter_folder(entry, seed);
                if (r < 0 || !S_ISREG(id.mode))
                        continue;
                file = open(entry, O_RDONLY | O_CLOEXEC);
                object_name(object, &id);
                r = file < 0 ? -errno : scatter(file, object, seed);
        }
        (void) closedir(d);
        return r;
}

static int copy_file(int from_folder, const char *name, int to_folder, const struct stat *owner) {
        _cleanup_(mam_closep) int from = openat(from_folder, name, O_RDONLY | O_CLOEXEC),
                                  to = openat(to_folder,
                                              name,
                                              O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                                              0600);
        struct stat st;

        if (from < 0 || to < 0 || fstat(from, &st) < 0)
                return -errno;
        if (fchown(to, owner->st_uid, owner->st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0)
                return -errno;
        return copy_range(to, from, 0, st.st_size);
}

static int copy_folder(int from, int to, const struct stat *owner) {
        char self[64], target[PATH_MAX];
        DIR *d;
        int r = 0;

        (void) snprintf(self, sizeof(self), "/proc/self/fd/%d", from);
        d = opendir(self);
        if (!d)
                return -errno;
        for (struct dirent *e = readdir(d); e && r == 0; e = readdir(d)) {
                _cleanup_(mam_closep) int from_below = -EBADF, to_below = -EBADF;
                struct stat st;
                ssize_t n;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (fstatat(from, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                        r = -errno;
                } else if (S_ISREG(st.st_mode)) {
                        r = copy_file(from, e->d_name, to, owner);
                } else if (S_ISLNK(st.st_mode)) {
                        n = readlinkat(from, e->d_name, target, sizeof(target) - 1);
                        target[n > 0 ? n : 0] = '\0';
                        r = n < 0 || symlinkat(target, to, e->d_name) < 0 ? -errno : 0;
                } else if (S_ISDIR(st.st_mode)) {
                        if (mkdirat(to, e->d_name, 0700) < 0 && errno != EEXIST)
                                r = -errno;
                        from_below = openat(from, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                        to_below = openat(to, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                        if (from_below < 0 || to_below < 0 ||
                            fchown(to_below, owner->st_uid, owner->st_gid) < 0)
                                r = -errno;
                        if (r == 0)
                                r = copy_folder(from_below, to_below, owner);
                }
        }
        (void) closedir(d);
        return r;
}

int image_cut(const uint64_t *seed) {
        _cleanup_(mam_closep) int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        uint64_t state = seed ? *seed : 0;
        struct stat owner;
        DIR *d;
        int r;

        if (fd < 0 || fstat(fd, &owner) < 0)
                return -errno;
        r = seed ? scatter_folder(root, &state) : 0;
        if (r < 0)
                return r;

        d = opendir(root);
        if (!d)
                return -errno;
        for (struct dirent *e = readdir(d); e && r == 0; e = readdir(d)) {
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        r = remove_all(fd, e->d_name);
        }
        (void) closedir(d);
        if (r < 0)
                return r;

        return copy_folder(tree_fd, fd, &owner);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Revisions: names, and what a replica is to run
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "libmam/config/builtin.h"
#include "libmam/config/revision-internal.h"
#include "libmam/util/buffer.h"
#include "mam-build.h"

#define VERSION_MAX 64U

bool mam_revision_version_is_valid(const char *version) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        size_t n;

        assert(version);

        n = strlen(version);
        return n > 0 && n <= VERSION_MAX && strchr(letters, version[0]) &&
               strspn(version, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+~-") == n;
}

bool mam_revision_name_is_valid(const char *name) {
        return strlen(name) == MAM_REVISION_NAME_SIZE - 1 &&
               strspn(name, "0123456789abcdef") == MAM_REVISION_NAME_SIZE - 1;
}

static int by_text(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static json_object *sorted(json_object *v);

static json_object *sorted_object(json_object *v) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        _cleanup_(mam_freep) const char **keys = NULL;
        size_t n = 0, count = (size_t) json_object_object_length(v);

        keys = calloc(count + 1, sizeof(*keys));
        if (!o || !keys)
                return NULL;
        json_object_object_foreach(v, key, value) {
                (void) value;
                keys[n++] = key;
        }
        qsort(keys, n, sizeof(*keys), by_text);
        for (size_t i = 0; i < n; i++) {
                json_object *from = json_object_object_get(v, keys[i]), *to = sorted(from);

                if ((from && !to) || json_object_object_add(o, keys[i], to) < 0) {
                        json_object_put(to);
                        return NULL;
                }
        }
        return MAM_TAKE(o);
}

static json_object *sorted_array(json_object *v) {
        _cleanup_(json_object_putp) json_object *a = json_object_new_array();
        size_t n = json_object_array_length(v);

        if (!a)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                json_object *from = json_object_array_get_idx(v, i), *to = sorted(from);

                if ((from && !to) || json_object_array_add(a, to) < 0) {
                        json_object_put(to);
                        return NULL;
                }
        }
        return MAM_TAKE(a);
}

/* The same value with the keys of all objects in byte order; NULL for null, and when memory runs out. Depth
 * is bounded by the parser. */
static json_object *sorted(json_object *v) {
        if (json_object_is_type(v, json_type_object))
                return sorted_object(v);
        if (json_object_is_type(v, json_type_array))
                return sorted_array(v);
        return json_object_get(v);
}

static void hash(char ret[static MAM_REVISION_NAME_SIZE], const char *text, size_t size) {
        static const char digits[] = "0123456789abcdef";
        unsigned char digest[SHA256_DIGEST_LENGTH];

        (void) SHA256((const unsigned char *) text, size, digest);
        for (size_t i = 0; i < MAM_REVISION_NAME_SIZE / 2; i++) {
                ret[2 * i] = digits[digest[i] >> 4];
                ret[2 * i + 1] = digits[digest[i] & 0xf];
        }
        ret[MAM_REVISION_NAME_SIZE - 1] = '\0';
}

static int canonical_text(char **ret, json_object *root) {
        _cleanup_(json_object_putp) json_object *o = sorted(root);
        const char *text = o ? mam_json_to_string(o) : NULL;
        char *copy = text ? strdup(text) : NULL;

        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int mam_definition_canonical(char **ret, const MamServiceConfig *s) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        int r;

        assert(ret);
        assert(s);

        r = mam_json_parse(&root, s->definition, strlen(s->definition), NULL);
        return r < 0 ? r : canonical_text(ret, root);
}

int mam_definition_name(char ret[static MAM_REVISION_NAME_SIZE], const MamServiceConfig *s) {
        _cleanup_(mam_freep) char *text = NULL;
        int r;

        r = mam_definition_canonical(&text, s);
        if (r < 0)
                return r;
        hash(ret, text, strlen(text));
        return 0;
}

int mam_revision_program(char **ret, const MamServiceConfig *s, const char *version) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const char *rest, *mark;
        char *program;
        int r = 0;

        assert(ret);
        assert(s);

        if (!s->exec) {
                *ret = NULL;
                return 0;
        }
        if (!version || version[0] == '\0')
                version = "current";
        for (rest = s->exec[0]; r == 0 && (mark = strstr(rest, MAM_VERSION_MARK));
             rest = mark + strlen(MAM_VERSION_MARK)) {
                r = mam_buffer_append(&b, rest, (size_t) (mark - rest));
                if (r == 0)
                        r = mam_buffer_append_string(&b, version);
        }
        if (r == 0)
                r = mam_buffer_append_string(&b, rest);
        program = r == 0 ? mam_buffer_steal(&b, NULL) : NULL;
        if (!program)
                return r < 0 ? r : -ENOMEM;
        *ret = program;
        return 0;
}

static bool is_given(const char *text) {
        return text && text[0] != '\0';
}

static int add_text(json_object *o, const char *key, const char *text) {
        json_object *v;

        if (!is_given(text))
                return 0;
        v = json_object_new_string(text);
        if (!v || json_object_object_add(o, key, v) < 0) {
                json_object_put(v);
                return -ENOMEM;
        }
        return 0;
}

/* In byte order where the order means nothing, so that moving a line makes no new revision. */
static int add_list(json_object *o, const char *key, char *const *list, bool order_matters) {
        _cleanup_(json_object_putp) json_object *a = json_object_new_array();
        _cleanup_(mam_freep) const char **items = NULL;
        size_t n = 0;

        while (list && list[n])
                n++;
        items = calloc(n + 1, sizeof(*items));
        if (!a || !items)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                items[i] = list[i];
        if (!order_matters)
                qsort(items, n, sizeof(*items), by_text);
        for (size_t i = 0; i < n; i++) {
                json_object *v = json_object_new_string(items[i]);

                if (!v || json_object_array_add(a, v) < 0) {
                        json_object_put(v);
                        return -ENOMEM;
                }
        }
        if (json_object_object_add(o, key, a) < 0)
                return -ENOMEM;
        (void) MAM_TAKE(a); /* o owns it */
        return 0;
}

/* Everything that a new process is needed for to change. */
static int add_all(json_object *o, const MamServiceConfig *s, const char *program) {
        int r;

        r = add_text(o, "service", s->id);
        if (r == 0)
                r = add_text(o, "program", program);
        if (r == 0)
                r = add_list(o, "arguments", s->exec ? s->exec + 1 : NULL, true);
        if (r == 0)
                r = add_list(o, "environment", s->environment, false);
        if (r == 0)
                r = add_text(o, "user", s->user);
        if (r == 0)
                r = add_text(o, "notify", s->notify ? "yes" : NULL);
        if (r == 0)
                r = add_text(o, "socket", mam_service_has_replica_socket(s) ? "yes" : NULL);
        return r;
}

int mam_revision_name(
                char ret[static MAM_REVISION_NAME_SIZE],
                const MamServiceConfig *s,
                const char *version,
                const char *exec,
                const char *image) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        _cleanup_(mam_freep) char *text = NULL, *program = NULL;
        int r;

        assert(s);

        if (!o)
                return -ENOMEM;
        if ((is_given(version) && !mam_revision_version_is_valid(version)) ||
            (is_given(exec) && !mam_revision_path_is_clean(exec)) ||
            (is_given(image) && !mam_revision_path_is_clean(image)))
                return -EINVAL;

        r = mam_revision_program(&program, s, version);
        if (r == 0)
                r = add_all(o, s, is_given(exec) ? exec : program);
        if (r == 0)
                r = add_text(o, "version", version);
        if (r == 0)
                r = add_text(o, "image", image);
        if (r == 0)
                r = canonical_text(&text, o);
        if (r < 0)
                return r;
        hash(ret, text, strlen(text));
        return 0;
}

MamServiceConfig *mam_service_config_free(MamServiceConfig *s) {
        if (s)
                mam_service_config_done(s);
        free(s);
        return NULL;
}

static int copy_text(char **to, const char *from) {
        if (!from)
                return 0;
        *to = strdup(from);
        return *to ? 0 : -ENOMEM;
}

static int copy_list(char ***to, char *const *from) {
        size_t n = 0;

        if (!from)
                return 0;
        while (from[n])
                n++;
        *to = calloc(n + 1, sizeof(char *));
        if (!*to)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                (*to)[i] = strdup(from[i]);
                if (!(*to)[i])
                        return -ENOMEM;
        }
        return 0;
}

/* What a revision does not say: all of current but program, arguments, environment, user. */
static int copy_rest(MamServiceConfig **ret, const MamServiceConfig *current) {
        _cleanup_(mam_service_config_freep) MamServiceConfig *s = malloc(sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        *s = *current;
        s->id = s->name = s->listen = s->health_path = s->user = s->definition = s->file = NULL;
        s->dependencies = s->environment = s->exec = NULL;
        s->routes = current->routes ? mam_route_list_ref(current->routes) : NULL;
        s->program = s->image = s->version = NULL;
        s->revision[0] = '\0';

        r = copy_text(&s->id, current->id);
        if (r == 0)
                r = copy_text(&s->name, current->name);
        if (r == 0)
                r = copy_text(&s->listen, current->listen);
        if (r == 0)
                r = copy_text(&s->health_path, current->health_path);
        if (r == 0)
                r = copy_text(&s->definition, current->definition);
        if (r == 0)
                r = copy_text(&s->file, current->file);
        if (r == 0)
                r = copy_list(&s->dependencies, current->dependencies);
        if (r < 0)
                return r;
        *ret = MAM_TAKE(s);
        return 0;
}

int mam_revision_read_file(char **ret, size_t *ret_size, const char *path, size_t max) {
        _cleanup_(mam_closep) int fd = -EBADF;
        _cleanup_(mam_freep) char *text = NULL;
        struct stat st;
        size_t size = 0;

        /* O_NONBLOCK: a FIFO must not hold whoever opens it */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EBADMSG;
        if ((uint64_t) st.st_size > max)
                return -EFBIG;
        text = malloc((size_t) st.st_size + 1);
        if (!text)
                return -ENOMEM;
        while (size < (size_t) st.st_size) {
                ssize_t n = read(fd, text + size, (size_t) st.st_size - size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (size_t) n;
        }
        text[size] = '\0';
        *ret = MAM_TAKE(text);
        *ret_size = size;
        return 0;
}

/* What of a definition belongs to a revision. All else follows the configuration, whose bounds may have
 * changed since. */
static json_object *reduced(json_object *definition) {
        static const char *const keys[] = { "exec", "environment", "user", "socket", "notify" };
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        json_object *v;

        for (size_t i = 0; o && i < MAM_ELEMENTSOF(keys); i++) {
                if (json_object_object_get_ex(definition, keys[i], &v) &&
                    json_object_object_add(o, keys[i], json_object_get(v)) < 0) {
                        json_object_put(v);
                        return NULL;
                }
        }
        return MAM_TAKE(o);
}

static int validate(
                MamServiceConfig *ret,
                const char *id,
                const char *path,
                json_object *root,
                char **problem) {
        _cleanup_(mam_config_freep) MamConfig *scratch = NULL;
        _cleanup_(json_object_putp) json_object *wanted = NULL;
        MamConfigFile f = { .path = path, .service = id };
        json_object *object;
        int r;

        if (!json_object_object_get_ex(root, id, &object) || json_object_object_length(root) != 1 ||
            !json_object_is_type(object, json_type_object))
                return mam_revision_problem(problem, -EBADMSG, "%s: is not a definition of '%s'", path, id);
        wanted = reduced(object);
        if (!wanted)
                return -ENOMEM;
        r = mam_config_load_text(&scratch, "{}", 2);
        if (r < 0)
                return r;
        f.config = scratch;
        r = mam_config_read_service(ret, &f, id, wanted);
        if (r < 0)
                return r;
        if (r == 0) {
                _cleanup_(mam_freep) char *text = NULL;

                if (scratch->n_problems > 0)
                        (void) mam_config_problem_format(&text, &scratch->problems[0]);
                return mam_revision_problem(problem, -EBADMSG, "%s", text ? text : path);
        }
        return 0;
}

static int read_definition(
                MamServiceConfig *ret,
                const char *id,
                const char *name,
                const char *dir,
                char **problem) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        _cleanup_(mam_freep) char *text = NULL, *canonical = NULL;
        char path[PATH_MAX], actual[MAM_REVISION_NAME_SIZE];
        size_t size;
        int r;

        if (!mam_revision_name_is_valid(name))
                return mam_revision_problem(problem, -EBADMSG, "'%s' is not the name of a definition", name);
        if ((size_t) snprintf(path, sizeof(path), "%s/%s/%s.json", dir, id, name) >= sizeof(path))
                return -ENAMETOOLONG;
        r = mam_revision_read_file(&text, &size, path, MAM_CONFIG_FILE_MAX);
        if (r < 0)
                return mam_revision_problem(
                                problem,
                                r == -ENOMEM ? r : -ENOENT,
                                "%s: %s",
                                path,
                                strerror(-r));
        r = mam_json_parse(&root, text, size, NULL);
        if (r == -EBADMSG)
                return mam_revision_problem(problem, r, "%s: is not JSON", path);
        if (r == 0)
                r = canonical_text(&canonical, root);
        if (r < 0)
                return r;
        hash(actual, canonical, strlen(canonical));
        if (strcmp(actual, name) != 0)
                return mam_revision_problem(
                                problem,
                                -EBADMSG,
                                "%s: holds another definition (%s)",
                                path,
                                actual);
        return validate(ret, id, path, root, problem);
}

/* The program as the revision has it. What stands in the definition word for word was chosen by root, who
 * may choose any; what the manager put together must be root's. */
static int apply_program(MamServiceConfig *s, const MamRevision *rev, char **problem) {
        _cleanup_(mam_freep) char *program = NULL, *binary = NULL;
        const char *path = rev->exec;
        bool chosen = rev->exec || rev->image;
        int r;

        r = mam_revision_program(&program, s, rev->version);
        if (r < 0)
                return r;
        if (rev->image) {
                r = mam_revision_check_path(rev->image, true, problem);
                if (r < 0)
                        return r == -ENOMEM ? r : -EPERM;
                r = copy_text(&s->image, rev->image);
                if (r < 0)
                        return r;
        }
        if (!path) {
                const MamBuiltin *builtin = mam_builtin_find(s->id);

                if (builtin && asprintf(&binary, MAM_LIBEXEC_DIR "/%s", builtin->binary) < 0)
                        return -ENOMEM;
                path = builtin ? binary : program;
                chosen = chosen || (!builtin && strcmp(program, s->exec[0]) != 0);
        }
        if (chosen) {
                r = mam_revision_check_path_in(rev->image ? rev->image : "", 0, path, false, problem);
                if (r < 0)
                        return r == -ENOMEM ? r : -EPERM;
        }
        if (!s->exec)
                return rev->exec ? copy_text(&s->program, rev->exec) : 0;
        free(s->exec[0]);
        s->exec[0] = NULL;
        return copy_text(&s->exec[0], path);
}

static int check_names(const MamRevision *rev, const MamServiceConfig *definition, char **problem) {
        char name[MAM_REVISION_NAME_SIZE];
        int r;

        r = mam_revision_name(name, definition, rev->version, rev->exec, rev->image);
        if (r == -EINVAL)
                return mam_revision_problem(
                                problem,
                                -EBADMSG,
                                "version, program or image is not well formed");
        if (r < 0)
                return r;
        if (strcmp(name, rev->name) != 0)
                return mam_revision_problem(
                                problem,
                                -EBADMSG,
                                "revision %s is not what its name says",
                                rev->name);
        return 0;
}

int mam_revision_apply(
                MamServiceConfig **ret,
                const MamServiceConfig *current,
                const MamRevision *revision,
                const char *definitions_dir,
                char **ret_problem) {
        _cleanup_(mam_service_config_freep) MamServiceConfig *s = NULL;
        _cleanup_(mam_service_config_done) MamServiceConfig d = { 0 };
        int r;

        assert(ret);
        assert(current);
        assert(revision);
        assert(definitions_dir);

        r = read_definition(&d, current->id, revision->definition, definitions_dir, ret_problem);
        if (r < 0)
                return r;
        r = check_names(revision, &d, ret_problem);
        if (r < 0)
                return r;
        if (!d.exec != !current->exec ||
            mam_service_has_replica_socket(&d) != mam_service_has_replica_socket(current))
                return mam_revision_problem(
                                ret_problem,
                                -EXDEV,
                                "it takes its sockets in another way than the service does now");
        r = copy_rest(&s, current);
        if (r < 0)
                return r;
        s->exec = MAM_TAKE(d.exec);
        s->environment = MAM_TAKE(d.environment);
        s->user = MAM_TAKE(d.user);
        s->notify = d.notify;
        r = apply_program(s, revision, ret_problem);
        if (r == 0)
                r = copy_text(&s->version, is_given(revision->version) ? revision->version : NULL);
        if (r < 0)
                return r;
        snprintf(s->revision, sizeof(s->revision), "%s", revision->name);
        *ret = MAM_TAKE(s);
        return 0;
}

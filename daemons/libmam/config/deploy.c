/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * deploy.json: which revision each replica is to run
 *
 * The manager writes it; the generator and mam-setup, which are root, read it. So it is read with suspicion:
 * no symbolic link, bounded in size and in every list, and nothing in it is used before it was understood as
 * a whole.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/revision-internal.h"
#include "libmam/util/file.h"

#define DEPLOY_VERSION 1

/* What is being read; r is the first error. */
typedef struct Reader {
        MamDeploy *deploy;
        MamJsonError error;
} Reader;

int mam_deploy_new(MamDeploy **ret) {
        MamDeploy *d = calloc(1, sizeof(*d));

        assert(ret);

        if (!d)
                return -ENOMEM;
        *ret = d;
        return 0;
}

static void revision_done(MamRevision *r) {
        free(r->version);
        free(r->exec);
        free(r->image);
}

static void deploy_service_done(MamDeployService *s) {
        for (size_t i = 0; i < s->n_revisions; i++)
                revision_done(&s->revisions[i]);
        free(s->revisions);
}

MamDeploy *mam_deploy_free(MamDeploy *d) {
        if (!d)
                return NULL;

        for (size_t i = 0; i < d->n_services; i++)
                deploy_service_done(&d->services[i]);
        free(d->services);
        free(d);
        return NULL;
}

MamDeployService *mam_deploy_find(const MamDeploy *d, const char *id) {
        assert(d);
        assert(id);

        for (size_t i = 0; i < d->n_services; i++) {
                if (strcmp(d->services[i].id, id) == 0)
                        return &d->services[i];
        }
        return NULL;
}

int mam_deploy_get(MamDeployService **ret, MamDeploy *d, const char *id) {
        MamDeployService *s = mam_deploy_find(d, id), *more;

        assert(ret);

        if (!s) {
                if (d->n_services >= MAM_CONFIG_SERVICES_MAX)
                        return -EDQUOT;
                more = reallocarray(d->services, d->n_services + 1, sizeof(*more));
                if (!more)
                        return -ENOMEM;
                d->services = more;
                s = &d->services[d->n_services++];
                *s = (MamDeployService){ 0 };
                snprintf(s->id, sizeof(s->id), "%s", id);
        }
        *ret = s;
        return 0;
}

void mam_deploy_remove(MamDeploy *d, const char *id) {
        MamDeployService *s = mam_deploy_find(d, id);
        size_t i;

        if (!s)
                return;
        i = (size_t) (s - d->services);
        deploy_service_done(s);
        d->n_services--;
        memmove(s, s + 1, (d->n_services - i) * sizeof(*s));
}

const MamRevision *mam_deploy_revision(const MamDeployService *s, const char *name) {
        assert(s);
        assert(name);

        for (size_t i = 0; i < s->n_revisions; i++) {
                if (strcmp(s->revisions[i].name, name) == 0)
                        return &s->revisions[i];
        }
        return NULL;
}

const MamRevision *mam_deploy_of_replica(const MamDeployService *s, uint32_t n) {
        const char *name;

        assert(s);

        name = n <= MAM_CONFIG_REPLICAS_MAX && s->pinned[n][0] ? s->pinned[n] : s->fallback;
        return mam_deploy_revision(s, name);
}

/* A required name of a revision or definition. */
static int read_name(
                Reader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                char ret[static MAM_REVISION_NAME_SIZE]) {
        const char *text;
        int r;

        r = mam_json_get_string(o, parent, key, &text, &rd->error);
        if (r < 0)
                return r;
        if (r == 0)
                return mam_json_fail(&rd->error, parent, key, "is required");
        if (!mam_revision_name_is_valid(text))
                return mam_json_fail(&rd->error, parent, key, "must be 12 hexadecimal digits");
        memcpy(ret, text, MAM_REVISION_NAME_SIZE);
        return 0;
}

static int read_text(
                Reader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                bool (*is_valid)(const char *text),
                char **ret) {
        const char *text;
        int r;

        r = mam_json_get_string(o, parent, key, &text, &rd->error);
        if (r <= 0)
                return r;
        if (text[0] != '\0' && !is_valid(text))
                return mam_json_fail(&rd->error, parent, key, "is not well formed");
        if (text[0] == '\0')
                return 0;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

static int read_revision(Reader *rd, MamRevision *v, json_object *o, const char *parent) {
        int r;

        r = read_name(rd, o, parent, "definition", v->definition);
        if (r == 0)
                r = read_text(rd, o, parent, "version", mam_revision_version_is_valid, &v->version);
        if (r == 0)
                r = read_text(rd, o, parent, "exec", mam_revision_path_is_clean, &v->exec);
        if (r == 0)
                r = read_text(rd, o, parent, "image", mam_revision_path_is_clean, &v->image);
        if (r == 0 && !v->version) {
                v->version = strdup("");
                r = v->version ? 0 : -ENOMEM;
        }
        return r;
}

static int read_revisions(Reader *rd, MamDeployService *s, json_object *o, const char *parent) {
        int r;

        if (json_object_object_length(o) > (int) MAM_DEPLOY_REVISIONS_MAX)
                return mam_json_fail(
                                &rd->error,
                                parent,
                                NULL,
                                "must not have more than %u",
                                MAM_DEPLOY_REVISIONS_MAX);
        s->revisions = calloc(MAM_DEPLOY_REVISIONS_MAX, sizeof(*s->revisions));
        if (!s->revisions)
                return -ENOMEM;

        json_object_object_foreach(o, name, value) {
                MamRevision *v = &s->revisions[s->n_revisions];
                char below[128];

                if (!mam_revision_name_is_valid(name))
                        return mam_json_fail(
                                        &rd->error,
                                        parent,
                                        name,
                                        "must be called by 12 hexadecimal digits");
                if (!json_object_is_type(value, json_type_object))
                        return mam_json_fail(&rd->error, parent, name, "must be an object");
                memcpy(v->name, name, sizeof(v->name));
                s->n_revisions++;
                snprintf(below, sizeof(below), "%s/%s", parent, name);
                r = read_revision(rd, v, value, below);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* "1" to "100", in one spelling. */
static uint32_t parse_number(const char *text) {
        uint32_t n = 0;
        char again[16];

        for (const char *c = text; *c >= '0' && *c <= '9' && c - text < 4; c++)
                n = n * 10 + (uint32_t) (*c - '0');
        snprintf(again, sizeof(again), "%" PRIu32, n);
        return n <= MAM_CONFIG_REPLICAS_MAX && strcmp(again, text) == 0 ? n : 0;
}

static int read_replicas(Reader *rd, MamDeployService *s, json_object *o, const char *parent) {
        int r;

        json_object_object_foreach(o, key, value) {
                uint32_t n = parse_number(key);

                (void) value;
                if (n == 0)
                        return mam_json_fail(&rd->error, parent, key, "is not the number of a replica");
                r = read_name(rd, o, parent, key, s->pinned[n]);
                if (r < 0)
                        return r;
                if (!mam_deploy_revision(s, s->pinned[n]))
                        return mam_json_fail(&rd->error, parent, key, "there is no such revision");
        }
        return 0;
}

static int read_service(Reader *rd, const char *id, json_object *value) {
        json_object *revisions, *replicas;
        MamDeployService *s;
        char parent[64], below[96];
        int r;

        if (!mam_service_id_is_valid(id))
                return mam_json_fail(&rd->error, "/services", id, "is not the id of a service");
        if (!json_object_is_type(value, json_type_object))
                return mam_json_fail(&rd->error, "/services", id, "must be an object");
        r = mam_deploy_get(&s, rd->deploy, id);
        if (r == -EDQUOT)
                return mam_json_fail(&rd->error, "/services", NULL, "there are too many");
        if (r < 0)
                return r;

        snprintf(parent, sizeof(parent), "/services/%s", id);
        r = mam_json_get_object(value, parent, "revisions", &revisions, &rd->error);
        if (r == 0)
                r = mam_json_fail(&rd->error, parent, "revisions", "is required");
        if (r < 0)
                return r;
        snprintf(below, sizeof(below), "%s/revisions", parent);
        r = read_revisions(rd, s, revisions, below);
        if (r < 0)
                return r;
        r = read_name(rd, value, parent, "default", s->fallback);
        if (r < 0)
                return r;
        if (!mam_deploy_revision(s, s->fallback))
                return mam_json_fail(&rd->error, parent, "default", "there is no such revision");
        r = mam_json_get_object(value, parent, "replicas", &replicas, &rd->error);
        if (r <= 0)
                return r;
        snprintf(below, sizeof(below), "%s/replicas", parent);
        return read_replicas(rd, s, replicas, below);
}

static int read_deploy(Reader *rd, json_object *root) {
        json_object *services;
        int64_t version = 0;
        int r;

        if (!json_object_is_type(root, json_type_object))
                return mam_json_fail(&rd->error, "", NULL, "must be an object");
        r = mam_json_get_int(root, "", "version", DEPLOY_VERSION, DEPLOY_VERSION, &version, &rd->error);
        if (r == 0)
                r = mam_json_fail(&rd->error, "", "version", "is required");
        if (r < 0)
                return r;
        r = mam_json_get_object(root, "", "services", &services, &rd->error);
        if (r <= 0)
                return r;
        json_object_object_foreach(services, id, value) {
                r = read_service(rd, id, value);
                if (r < 0)
                        return r;
        }
        return 0;
}

int mam_deploy_parse(MamDeploy **ret, const char *text, size_t size, char **ret_problem) {
        _cleanup_(mam_deploy_freep) MamDeploy *d = NULL;
        _cleanup_(json_object_putp) json_object *root = NULL;
        Reader rd = { .error.offset = SIZE_MAX };
        int r;

        assert(ret);
        assert(text);

        r = mam_deploy_new(&d);
        if (r < 0)
                return r;
        rd.deploy = d;
        r = mam_json_parse(&root, text, size, &rd.error);
        if (r == 0)
                r = read_deploy(&rd, root);
        if (r == -EBADMSG)
                return mam_revision_problem(ret_problem, r, "%s: %s", rd.error.pointer, rd.error.message);
        if (r < 0)
                return r;
        *ret = MAM_TAKE(d);
        return 0;
}

int mam_deploy_load(MamDeploy **ret, const char *path, char **ret_problem) {
        _cleanup_(mam_freep) char *text = NULL, *problem = NULL;
        size_t size;
        int r;

        assert(ret);
        assert(path);

        r = mam_revision_read_file(&text, &size, path, MAM_DEPLOY_FILE_MAX);
        if (r == -ENOENT || r == -ENOMEM)
                return r;
        if (r < 0)
                return mam_revision_problem(ret_problem, -EBADMSG, "%s: %s", path, strerror(-r));
        r = mam_deploy_parse(ret, text, size, &problem);
        if (r == -EBADMSG)
                return mam_revision_problem(ret_problem, r, "%s: %s", path, problem);
        return r;
}

/* Puts value (owned, NULL: lack of memory) into o. */
static int put(json_object *o, const char *key, json_object *value) {
        if (!value || json_object_object_add(o, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int put_object(json_object *o, const char *key, json_object **ret) {
        *ret = json_object_new_object();
        return put(o, key, *ret);
}

static int put_text(json_object *o, const char *key, const char *text) {
        return text && text[0] ? put(o, key, json_object_new_string(text)) : 0;
}

static int write_revision(json_object *revisions, const MamRevision *v) {
        json_object *o;
        int r;

        r = put_object(revisions, v->name, &o);
        if (r == 0)
                r = put_text(o, "definition", v->definition);
        if (r == 0)
                r = put_text(o, "version", v->version);
        if (r == 0)
                r = put_text(o, "exec", v->exec);
        if (r == 0)
                r = put_text(o, "image", v->image);
        return r;
}

static int write_service(json_object *services, const MamDeployService *s) {
        json_object *o, *revisions, *replicas;
        int r;

        r = put_object(services, s->id, &o);
        if (r == 0)
                r = put_text(o, "default", s->fallback);
        if (r == 0)
                r = put_object(o, "revisions", &revisions);
        for (size_t i = 0; r == 0 && i < s->n_revisions; i++)
                r = write_revision(revisions, &s->revisions[i]);
        if (r == 0)
                r = put_object(o, "replicas", &replicas);
        for (uint32_t n = 1; r == 0 && n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                char key[16];

                snprintf(key, sizeof(key), "%" PRIu32, n);
                r = put_text(replicas, key, s->pinned[n]);
        }
        return r;
}

int mam_deploy_save(const MamDeploy *d, const char *path) {
        _cleanup_(json_object_putp) json_object *root = json_object_new_object();
        json_object *services;
        const char *text;
        int r;

        assert(d);
        assert(path);

        if (!root)
                return -ENOMEM;
        r = put(root, "version", json_object_new_int(DEPLOY_VERSION));
        if (r == 0)
                r = put_object(root, "services", &services);
        for (size_t i = 0; r == 0 && i < d->n_services; i++)
                r = write_service(services, &d->services[i]);
        if (r < 0)
                return r;
        text = mam_json_to_string(root);
        if (!text)
                return -ENOMEM;
        /* mam-setup reads it as a member of the manager's group */
        return mam_file_write_atomic(path, text, strlen(text), 0640);
}

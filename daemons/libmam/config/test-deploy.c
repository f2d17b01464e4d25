/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * deploy.json
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libmam/config/revision.h"
#include "libmam/util/buffer.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

#define R1 "0123456789ab"
#define R2 "fedcba987654"

typedef struct File {
        char path[64];
} File;

static File file_new(void) {
        File f = { .path = "/tmp/mam-test-deploy-XXXXXX" };
        int fd = mkstemp(f.path);

        ASSERT_OK(fd);
        close(fd);
        return f;
}

static void file_done(File *f) {
        (void) unlink(f->path);
}

static int load_text(MamDeploy **ret, const File *f, const char *text, char **problem) {
        ASSERT_OK(mam_file_write_atomic(f->path, text, strlen(text), 0600));
        return mam_deploy_load(ret, f->path, problem);
}

static void add_revision(MamDeployService *s, const char *name, const char *version, const char *exec) {
        MamRevision *more = reallocarray(s->revisions, s->n_revisions + 1, sizeof(*more)), *r;

        ASSERT_TRUE(more);
        s->revisions = more;
        r = &s->revisions[s->n_revisions++];
        *r = (MamRevision){ .version = strdup(version), .exec = exec ? strdup(exec) : NULL };
        snprintf(r->name, sizeof(r->name), "%s", name);
        snprintf(r->definition, sizeof(r->definition), "%s", name);
}

TEST(what_was_saved_is_loaded) {
        _cleanup_(file_done) File f = file_new();
        _cleanup_(mam_deploy_freep) MamDeploy *d = NULL, *back = NULL;
        _cleanup_(mam_freep) char *text = NULL, *again = NULL;
        MamDeployService *s = NULL;
        struct stat st;

        ASSERT_OK(mam_deploy_new(&d));
        ASSERT_TRUE(!mam_deploy_find(d, "a"));
        ASSERT_OK(mam_deploy_get(&s, d, "a"));
        add_revision(s, R1, "", NULL);
        add_revision(s, R2, "2.0", "/opt/a/2.0/a");
        memcpy(s->fallback, R2, sizeof(R2));
        memcpy(s->pinned[3], R1, sizeof(R1));
        memcpy(s->pinned[100], R1, sizeof(R1));
        ASSERT_OK(mam_deploy_get(&s, d, "b"));
        add_revision(s, R1, "1", NULL);
        memcpy(s->fallback, R1, sizeof(R1));

        ASSERT_OK(mam_deploy_save(d, f.path));
        ASSERT_OK(stat(f.path, &st));
        ASSERT_EQ(st.st_mode & 07777, 0640);
        ASSERT_OK(mam_deploy_load(&back, f.path, NULL));
        ASSERT_EQ(back->n_services, 2);
        s = mam_deploy_find(back, "a");
        ASSERT_TRUE(s);
        ASSERT_EQ(s->n_revisions, 2);
        ASSERT_STREQ(mam_deploy_of_replica(s, 1)->name, R2);
        ASSERT_STREQ(mam_deploy_of_replica(s, 1)->exec, "/opt/a/2.0/a");
        ASSERT_STREQ(mam_deploy_of_replica(s, 1)->version, "2.0");
        ASSERT_TRUE(!mam_deploy_of_replica(s, 1)->image);
        ASSERT_STREQ(mam_deploy_of_replica(s, 3)->name, R1);
        ASSERT_STREQ(mam_deploy_of_replica(s, 3)->version, "");
        ASSERT_STREQ(mam_deploy_of_replica(s, 100)->name, R1);
        ASSERT_STREQ(mam_deploy_of_replica(s, 101)->name, R2);

        ASSERT_OK(mam_file_read(&text, NULL, f.path, 1U << 20));
        ASSERT_OK(mam_deploy_save(back, f.path));
        ASSERT_OK(mam_file_read(&again, NULL, f.path, 1U << 20));
        ASSERT_STREQ(again, text);

        mam_deploy_remove(back, "a");
        mam_deploy_remove(back, "none");
        ASSERT_TRUE(!mam_deploy_find(back, "a") && mam_deploy_find(back, "b"));
}

TEST(services_are_bounded) {
        _cleanup_(mam_deploy_freep) MamDeploy *d = NULL;
        MamDeployService *s = NULL;
        char id[32];

        ASSERT_OK(mam_deploy_new(&d));
        for (unsigned i = 0; i < MAM_CONFIG_SERVICES_MAX; i++) {
                snprintf(id, sizeof(id), "s%u", i);
                ASSERT_OK(mam_deploy_get(&s, d, id));
        }
        ASSERT_EQ(mam_deploy_get(&s, d, "more"), -EDQUOT);
        ASSERT_OK(mam_deploy_get(&s, d, "s5"));
}

TEST(no_file_and_no_file_of_ours_are_told_apart) {
        _cleanup_(file_done) File f = file_new();
        _cleanup_(mam_freep) char *problem = NULL;
        MamDeploy *d = NULL;

        ASSERT_OK(unlink(f.path));
        ASSERT_EQ(mam_deploy_load(&d, f.path, &problem), -ENOENT);
        ASSERT_TRUE(!problem);
        ASSERT_OK(symlink("/etc/hostname", f.path));
        ASSERT_EQ(mam_deploy_load(&d, f.path, &problem), -EBADMSG);
        ASSERT_OK(unlink(f.path));
        ASSERT_OK(mkfifo(f.path, 0600)); /* and does not wait for a writer */
        ASSERT_EQ(mam_deploy_load(&d, f.path, &problem), -EBADMSG);
        ASSERT_OK(unlink(f.path));
        ASSERT_OK(mkdir(f.path, 0700));
        ASSERT_EQ(mam_deploy_load(&d, f.path, &problem), -EBADMSG);
        ASSERT_OK(rmdir(f.path));
        ASSERT_TRUE(!d);
}

TEST(each_wrong_file_is_refused_as_a_whole) {
#define SERVICE(x) "{\"version\":1,\"services\":{\"a\":{" x "}}}"
#define REVISION   "\"revisions\":{\"" R1 "\":{\"definition\":\"" R1 "\"}}"
        static const struct {
                const char *text;
                const char *want;
        } cases[] = {
                { "", ": unexpected end of the document" },
                { "[]", ": must be an object" },
                { "{}", "/version: is required" },
                { "{\"version\":2}", "/version: must be an integer from 1 to 1" },
                { "{\"version\":1,\"services\":[]}", "/services: must be an object" },
                { "{\"version\":1,\"services\":{\"A\":{}}}", "/services/A: is not the id of a service" },
                { "{\"version\":1,\"services\":{\"a\":5}}", "/services/a: must be an object" },
                { "{\"version\":1,\"services\":{\"a\":{},\"a\":{}}}", "duplicate key" },
                { SERVICE(""), "/services/a/revisions: is required" },
                { SERVICE("\"revisions\":{}"), "/services/a/default: is required" },
                { SERVICE("\"revisions\":{},\"default\":\"" R1 "\""),
                  "/services/a/default: there is no such revision" },
                { SERVICE("\"revisions\":{\"x\":{}}"),
                  "/services/a/revisions/x: must be called by 12 hexadecimal digits" },
                { SERVICE("\"revisions\":{\"" R1 "\":{}}"),
                  "/services/a/revisions/" R1 "/definition: is required" },
                { SERVICE("\"revisions\":{\"" R1 "\":{\"definition\":\"../../etc/x\"}}"),
                  "/definition: must be 12 hexadecimal digits" },
                { SERVICE("\"revisions\":{\"" R1 "\":{\"definition\":\"" R1 "\",\"version\":\"a/b\"}}"),
                  "/version: is not well formed" },
                { SERVICE("\"revisions\":{\"" R1 "\":{\"definition\":\"" R1 "\",\"exec\":\"bin/x\"}}"),
                  "/exec: is not well formed" },
                { SERVICE("\"revisions\":{\"" R1 "\":{\"definition\":\"" R1
                          "\",\"exec\":\"/bin/x\\u0000y\"}}"),
                  "/exec: must not contain a NUL character" },
                { SERVICE("\"revisions\":{\"" R1 "\":{\"definition\":\"" R1 "\",\"image\":\"/a/../b\"}}"),
                  "/image: is not well formed" },
                { SERVICE(REVISION ",\"default\":\"" R2 "\""), "/default: there is no such revision" },
                { SERVICE(REVISION ",\"default\":\"" R1 "\",\"replicas\":{\"0\":\"" R1 "\"}"),
                  "/replicas/0: is not the number of a replica" },
                { SERVICE(REVISION ",\"default\":\"" R1 "\",\"replicas\":{\"01\":\"" R1 "\"}"),
                  "/replicas/01: is not the number of a replica" },
                { SERVICE(REVISION ",\"default\":\"" R1 "\",\"replicas\":{\"101\":\"" R1 "\"}"),
                  "/replicas/101: is not the number of a replica" },
                { SERVICE(REVISION ",\"default\":\"" R1 "\",\"replicas\":{\"2\":\"" R2 "\"}"),
                  "/replicas/2: there is no such revision" },
        };
        _cleanup_(file_done) File f = file_new();
        _cleanup_(mam_freep) char *problem = NULL;
        MamDeploy *d = NULL;

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                if (load_text(&d, &f, cases[i].text, &problem) != -EBADMSG ||
                    !strstr(problem, cases[i].want))
                        mam_test_fail_string(__FILE__, __LINE__, cases[i].want, problem);
                ASSERT_TRUE(!d);
        }
        ASSERT_OK(load_text(&d, &f, SERVICE(REVISION ",\"default\":\"" R1 "\""), NULL));
        d = mam_deploy_free(d);
}

TEST(revisions_are_bounded) {
        _cleanup_(file_done) File f = file_new();
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(mam_freep) char *problem = NULL;
        MamDeploy *d = NULL;

        ASSERT_OK(mam_buffer_append_string(&b, "{\"version\":1,\"services\":{\"a\":{\"revisions\":{"));
        for (unsigned i = 0; i <= MAM_DEPLOY_REVISIONS_MAX; i++)
                ASSERT_OK(mam_buffer_appendf(
                                &b,
                                "%s\"%012x\":{\"definition\":\"" R1 "\"}",
                                i > 0 ? "," : "",
                                i));
        ASSERT_OK(mam_buffer_append_string(&b, "}}}}"));
        ASSERT_EQ(load_text(&d, &f, mam_buffer_bytes(&b), &problem), -EBADMSG);
        ASSERT_TRUE(strstr(problem, "must not have more than 32"));
}

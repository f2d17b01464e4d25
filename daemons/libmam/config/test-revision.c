/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Revisions: names, what may be run, and deploy.json
 */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libmam/config/revision.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

typedef struct Folder {
        char path[64];
} Folder;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) st;
        (void) type;
        (void) ftw;
        return remove(path);
}

static void folder_done(Folder *f) {
        ASSERT_OK(nftw(f->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS));
}

static Folder folder_new(void) {
        Folder f = { .path = "/tmp/mam-test-revision-XXXXXX" };

        ASSERT_TRUE(mkdtemp(f.path));
        return f;
}

static const char *in(char ret[static 256], const Folder *f, const char *name) {
        snprintf(ret, 256, "%s/%s", f->path, name);
        return ret;
}

static void put(const Folder *f, const char *name, const char *text, mode_t mode) {
        char path[256];

        ASSERT_OK(mam_file_write_atomic(in(path, f, name), text, strlen(text), mode));
}

static MamConfig *load(const char *text) {
        MamConfig *c = NULL;

        ASSERT_OK(mam_config_load_text(&c, text, strlen(text)));
        for (size_t i = 0; i < c->n_problems; i++)
                mam_test_fail_string(__FILE__, __LINE__, "no problem", c->problems[i].message);
        return c;
}

/* Keeps the definition as mam-setup does, and names the revision that it becomes. */
static MamRevision keep(
                const Folder *f,
                const MamServiceConfig *s,
                const char *version,
                const char *exec,
                const char *image) {
        MamRevision r = { .version = (char *) version, .exec = (char *) exec, .image = (char *) image };
        _cleanup_(mam_freep) char *text = NULL;
        char name[128], path[256];

        ASSERT_OK(mam_definition_name(r.definition, s));
        ASSERT_OK(mam_definition_canonical(&text, s));
        ASSERT_OK(mam_revision_name(r.name, s, version, exec, image));
        (void) mkdir(in(path, f, s->id), 0755);
        snprintf(name, sizeof(name), "%s/%s.json", s->id, r.definition);
        put(f, name, text, 0644);
        return r;
}

TEST(names_do_not_change_with_the_order_of_keys) {
        _cleanup_(mam_config_freep) MamConfig *a = load(
                        "{ \"a\": { \"exec\": [ \"/bin/cat\", \"-u\" ], \"environment\": { \"A\": \"1\", \"B\": \"2\" }, \"port\": 8000 } }");
        _cleanup_(mam_config_freep) MamConfig *b = load(
                        "{ \"a\": {\n\"port\": 8000, \"environment\": { \"B\": \"2\", \"A\": \"1\" },\n \"exec\": [ \"/bin/cat\", \"-u\" ] } }");
        _cleanup_(mam_freep) char *text = NULL;
        char x[MAM_REVISION_NAME_SIZE], y[MAM_REVISION_NAME_SIZE];

        ASSERT_OK(mam_definition_canonical(&text, &b->services[0]));
        ASSERT_STREQ(text,
                     "{\"a\":{\"environment\":{\"A\":\"1\",\"B\":\"2\"},\"exec\":[\"/bin/cat\",\"-u\"],\"port\":8000}}");
        ASSERT_OK(mam_definition_name(x, &a->services[0]));
        ASSERT_OK(mam_definition_name(y, &b->services[0]));
        ASSERT_STREQ(x, y);
        ASSERT_EQ(strlen(x), MAM_REVISION_NAME_SIZE - 1);
        ASSERT_OK(mam_revision_name(x, &a->services[0], NULL, NULL, NULL));
        ASSERT_OK(mam_revision_name(y, &b->services[0], "", "", ""));
        ASSERT_STREQ(x, y);
}

TEST(a_revision_changes_with_what_runs_and_with_nothing_else) {
        static const struct {
                const char *text;
                bool same;
        } cases[] = {
                { "{ \"a\": { \"exec\": [ \"/bin/cat\" ], \"replicas\": 3, \"resources\": { \"cpu\": \"2\" } } }",
                  true },
                { "{ \"a\": { \"exec\": [ \"/bin/cat\" ], \"port\": 8000, \"healthCheck\": { \"interval\": 1 } } }",
                  true },
                { "{ \"a\": { \"exec\": [ \"/bin/cat\", \"-u\" ] } }", false },
                { "{ \"a\": { \"exec\": [ \"/bin/tac\" ] } }", false },
                { "{ \"a\": { \"exec\": [ \"/bin/cat\" ], \"environment\": { \"A\": \"1\" } } }", false },
                { "{ \"a\": { \"exec\": [ \"/bin/cat\" ], \"user\": \"nobody\" } }", false },
                { "{ \"a\": { \"exec\": [ \"/bin/cat\" ], \"notify\": true } }", false },
                { "{ \"a\": { \"exec\": [ \"/bin/cat\" ], \"socket\": true } }", false },
                { "{ \"b\": { \"exec\": [ \"/bin/cat\" ] } }", false },
        };
        _cleanup_(mam_config_freep) MamConfig *c = load("{ \"a\": { \"exec\": [ \"/bin/cat\" ] } }");
        char name[MAM_REVISION_NAME_SIZE], other[MAM_REVISION_NAME_SIZE];

        ASSERT_OK(mam_revision_name(name, &c->services[0], NULL, NULL, NULL));
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(mam_config_freep) MamConfig *o = load(cases[i].text);

                ASSERT_OK(mam_revision_name(other, &o->services[0], NULL, NULL, NULL));
                if ((strcmp(name, other) == 0) != cases[i].same)
                        mam_test_fail_string(
                                        __FILE__,
                                        __LINE__,
                                        cases[i].same ? "same" : "another",
                                        cases[i].text);
        }
        ASSERT_OK(mam_revision_name(other, &c->services[0], "2", NULL, NULL));
        ASSERT_TRUE(strcmp(name, other) != 0);
        ASSERT_OK(mam_revision_name(other, &c->services[0], NULL, "/bin/tac", NULL));
        ASSERT_TRUE(strcmp(name, other) != 0);
        ASSERT_OK(mam_revision_name(other, &c->services[0], NULL, NULL, "/srv/image"));
        ASSERT_TRUE(strcmp(name, other) != 0);
        ASSERT_EQ(mam_revision_name(other, &c->services[0], "../x", NULL, NULL), -EINVAL);
        ASSERT_EQ(mam_revision_name(other, &c->services[0], NULL, "bin/x", NULL), -EINVAL);
        ASSERT_EQ(mam_revision_name(other, &c->services[0], NULL, NULL, "/srv/../x"), -EINVAL);
}

TEST(versions_are_labels_and_never_paths) {
        static const char *const good[] = { "1", "2.3.1", "v1.0-rc1+build~5_a", "2026-01-02" };
        static const char *const wrong[] = {
                "",          ".",   "..",
                "-1",        "a/b", "a b",
                "a\n",       "%n",  "$X",
                "{version}", "_",   "12345678901234567890123456789012345678901234567890123456789012345"
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(good); i++)
                ASSERT_TRUE(mam_revision_version_is_valid(good[i]));
        for (size_t i = 0; i < MAM_ELEMENTSOF(wrong); i++)
                if (mam_revision_version_is_valid(wrong[i]))
                        mam_test_fail_string(__FILE__, __LINE__, "refused", wrong[i]);
}

TEST(the_version_has_its_place_in_the_path) {
        _cleanup_(mam_config_freep) MamConfig *c = load(
                        "{ \"a\": { \"exec\": [ \"/opt/a/{version}/bin/a-{version}\", \"{version}\" ] }, \"redis\": {} }");
        _cleanup_(mam_freep) char *with = NULL, *without = NULL, *none = NULL;

        ASSERT_OK(mam_revision_program(&with, &c->services[0], "2.0"));
        ASSERT_STREQ(with, "/opt/a/2.0/bin/a-2.0");
        ASSERT_OK(mam_revision_program(&without, &c->services[0], NULL));
        ASSERT_STREQ(without, "/opt/a/current/bin/a-current");
        ASSERT_OK(mam_revision_program(&none, &c->services[1], "2.0"));
        ASSERT_TRUE(!none);
}

TEST(only_what_belongs_to_root_alone_may_be_run) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_freep) char *problem = NULL;
        char path[256];
        uid_t me = geteuid();

        put(&f, "prog", "#!/bin/sh\n", 0755);
        put(&f, "text", "x", 0644);
        put(&f, "shared", "#!/bin/sh\n", 0775);
        ASSERT_OK(mkdir(in(path, &f, "dir"), 0755));
        ASSERT_OK(mkdir(in(path, &f, "open"), 0755));
        ASSERT_OK(chmod(path, 0777));
        put(&f, "dir/prog", "#!/bin/sh\n", 0755);
        put(&f, "open/prog", "#!/bin/sh\n", 0755);
        ASSERT_OK(symlink("../prog", in(path, &f, "dir/up")));
        ASSERT_OK(symlink("/open/prog", in(path, &f, "dir/away")));
        ASSERT_OK(symlink("dir", in(path, &f, "also")));
        ASSERT_OK(symlink("loop", in(path, &f, "loop")));
        ASSERT_OK(symlink("../../../../../../prog", in(path, &f, "dir/out")));

        ASSERT_OK(mam_revision_check_path_in(f.path, me, "/prog", false, NULL));
        ASSERT_OK(mam_revision_check_path_in(f.path, me, "/dir/up", false, NULL));
        ASSERT_OK(mam_revision_check_path_in(f.path, me, "/also/prog", false, NULL));
        ASSERT_OK(mam_revision_check_path_in(f.path, me, "/also", true, NULL));
        ASSERT_OK(mam_revision_check_path_in(f.path, me, "/dir/out", false, NULL)); /* stays inside */
        ASSERT_EQ(mam_revision_check_path_in(f.path, me, "/open/prog", false, &problem), -EPERM);
        ASSERT_TRUE(strstr(problem, "/open' can be written by others than root"));
        ASSERT_EQ(mam_revision_check_path_in(f.path, me, "/dir/away", false, NULL), -EPERM);
        ASSERT_EQ(mam_revision_check_path_in(f.path, me, "/shared", false, NULL), -EPERM);
        ASSERT_EQ(mam_revision_check_path_in(f.path, me + 1, "/prog", false, &problem), -EPERM);
        ASSERT_TRUE(strstr(problem, "/prog' does not belong to root"));
        ASSERT_EQ(mam_revision_check_path_in(f.path, me, "/text", false, NULL), -EACCES);
        ASSERT_EQ(mam_revision_check_path_in(f.path, me, "/dir", false, NULL), -EACCES);
        ASSERT_EQ(mam_revision_check_path_in(f.path, me, "/prog", true, NULL), -EACCES);
        ASSERT_EQ(mam_revision_check_path_in(f.path, me, "/none", false, &problem), -ENOENT);
        ASSERT_EQ(mam_revision_check_path_in(f.path, me, "/loop", false, NULL), -ELOOP);
        ASSERT_EQ(mam_revision_check_path_in(f.path, me, "/prog/x", false, NULL), -ENOTDIR);

        ASSERT_OK(mam_revision_check_path("/usr/bin/env", false, NULL));
        ASSERT_OK(mam_revision_check_path("/bin/sh", false, NULL)); /* by way of links */
        ASSERT_OK(mam_revision_check_path("/usr", true, NULL));
        ASSERT_EQ(mam_revision_check_path("/tmp", true, NULL), -EPERM);
}

TEST(paths_that_mean_something_else_are_refused) {
        static const char *const wrong[] = {
                "",
                "usr/bin/env",
                "/",
                "/usr/bin/env/",
                "/usr//bin/env",
                "/usr/../bin/env",
                "/usr/./bin",
                "/usr/bin/..",
                "/usr/bin/.",
                "/usr/b in",
                "/usr/%n",
                "/usr/$HOME",
                "/usr/\"x\"",
                "/usr/bin/env\nX=",
                "/a\\x20b",
                "/a:b",
                "/a;b",
        };
        _cleanup_(mam_freep) char *problem = NULL;

        for (size_t i = 0; i < MAM_ELEMENTSOF(wrong); i++)
                if (mam_revision_check_path(wrong[i], false, &problem) != -EINVAL)
                        mam_test_fail_string(__FILE__, __LINE__, "refused", wrong[i]);
        ASSERT_TRUE(problem);
        ASSERT_EQ(mam_revision_check_path("/usr/..bin", false, NULL), -ENOENT); /* an odd name, but a name */
}

TEST(a_replica_runs_the_definition_of_its_revision_and_all_else_as_configured) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *old = load(
                        "{ \"a\": { \"exec\": [ \"/usr/bin/env\", \"-0\" ], \"environment\": { \"A\": \"old\" }, \"user\": \"nobody\","
                        "  \"replicas\": 2, \"resources\": { \"memory\": \"64Mi\" } } }");
        _cleanup_(mam_config_freep) MamConfig *now = load(
                        "{ \"a\": { \"exec\": [ \"/usr/bin/new\" ], \"environment\": { \"A\": \"new\" }, \"notify\": true, \"replicas\": 5,"
                        "  \"resources\": { \"memory\": \"128Mi\" }, \"port\": 8080, \"routes\": [ \"/a\" ] } }");
        _cleanup_(mam_service_config_freep) MamServiceConfig *s = NULL, *t = NULL;
        _cleanup_(mam_freep) char *problem = NULL;
        MamRevision r = keep(&f, &old->services[0], NULL, NULL, NULL);

        if (mam_revision_apply(&s, &now->services[0], &r, f.path, &problem) < 0)
                mam_test_fail_string(__FILE__, __LINE__, "applied", problem);
        ASSERT_STREQ(s->exec[0], "/usr/bin/env");
        ASSERT_STREQ(s->exec[1], "-0");
        ASSERT_TRUE(!s->exec[2]);
        ASSERT_STREQ(s->environment[0], "A=old");
        ASSERT_STREQ(s->user, "nobody");
        ASSERT_TRUE(!s->notify);
        ASSERT_STREQ(s->revision, r.name);
        ASSERT_TRUE(!s->version);
        ASSERT_EQ(s->replicas, 5);
        ASSERT_EQ(s->memory_bytes, 128U << 20);
        ASSERT_EQ(s->port, 8080);
        ASSERT_STREQ(s->routes->routes[0].path, "/a");

        r = keep(&f, &old->services[0], "2.0", "/usr/bin/true", NULL);
        ASSERT_OK(mam_revision_apply(&t, &now->services[0], &r, f.path, NULL));
        ASSERT_STREQ(t->exec[0], "/usr/bin/true");
        ASSERT_STREQ(t->exec[1], "-0");
        ASSERT_STREQ(t->version, "2.0");
}

TEST(a_built_in_service_runs_another_program_and_stays_what_it_is) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *c = load("{ \"project-manager\": { \"port\": 3001 } }");
        _cleanup_(mam_service_config_freep) MamServiceConfig *s = NULL, *t = NULL;
        MamRevision r = keep(&f, &c->services[0], NULL, "/usr/bin/env", NULL);

        ASSERT_OK(mam_revision_apply(&s, &c->services[0], &r, f.path, NULL));
        ASSERT_STREQ(s->program, "/usr/bin/env");
        ASSERT_TRUE(!s->exec && s->notify);
        ASSERT_STREQ(s->user, "mam-project-manager");
        ASSERT_EQ(mam_service_own_port(s, 1), 0);

        r = keep(&f, &c->services[0], "2.0", NULL, NULL);
        ASSERT_OK(mam_revision_apply(&t, &c->services[0], &r, f.path, NULL));
        ASSERT_TRUE(!t->program);
}

TEST(what_cannot_be_applied_says_why) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *c = load(
                        "{ \"a\": { \"exec\": [ \"/usr/bin/{version}\" ] }, \"b\": { \"exec\": [ \"/bin/b\" ], \"socket\": true } }");
        _cleanup_(mam_config_freep) MamConfig *other = load("{ \"b\": { \"exec\": [ \"/bin/b\" ] } }");
        _cleanup_(mam_freep) char *problem = NULL;
        const MamServiceConfig *a = &c->services[0];
        MamServiceConfig *s = NULL;
        MamRevision r, q;
        char name[64], path[256];

        r = keep(&f, a, "env", NULL, NULL);
        ASSERT_OK(mam_revision_apply(&s, a, &r, f.path, NULL));
        ASSERT_STREQ(s->exec[0], "/usr/bin/env");
        s = mam_service_config_free(s);

        q = r;
        q.version = (char *) "other";
        ASSERT_EQ(mam_revision_apply(&s, a, &q, f.path, &problem), -EBADMSG);
        ASSERT_TRUE(strstr(problem, "is not what its name says"));
        q = keep(&f, a, "no-such-program", NULL, NULL);
        ASSERT_EQ(mam_revision_apply(&s, a, &q, f.path, &problem), -EPERM);
        ASSERT_TRUE(strstr(problem, "/usr/bin/no-such-program"));
        q = keep(&f, a, NULL, in(path, &f, "prog"), NULL);
        put(&f, "prog", "#!/bin/sh\n", 0755);
        ASSERT_EQ(mam_revision_apply(&s, a, &q, f.path, &problem), -EPERM);
        q = keep(&f, a, "env", NULL, "/usr/bin/env");
        ASSERT_EQ(mam_revision_apply(&s, a, &q, f.path, &problem), -EPERM);
        ASSERT_TRUE(strstr(problem, "is not a folder"));
        q = keep(&f, &other->services[0], NULL, NULL, NULL);
        ASSERT_EQ(mam_revision_apply(&s, &c->services[1], &q, f.path, &problem), -EXDEV);

        snprintf(name, sizeof(name), "a/%s.json", r.definition);
        put(&f, name, "{\"a\":{\"exec\":[\"/usr/bin/other\"]}}", 0644);
        ASSERT_EQ(mam_revision_apply(&s, a, &r, f.path, &problem), -EBADMSG);
        ASSERT_TRUE(strstr(problem, "holds another definition"));
        put(&f, name, "{", 0644);
        ASSERT_EQ(mam_revision_apply(&s, a, &r, f.path, &problem), -EBADMSG);
        ASSERT_OK(unlink(in(path, &f, name)));
        ASSERT_OK(symlink("/etc/passwd", path));
        ASSERT_EQ(mam_revision_apply(&s, a, &r, f.path, &problem), -ENOENT);
        ASSERT_OK(unlink(path));
        ASSERT_OK(mkfifo(path, 0644)); /* and does not wait for a writer */
        ASSERT_EQ(mam_revision_apply(&s, a, &r, f.path, &problem), -ENOENT);
        ASSERT_OK(unlink(path));
        ASSERT_EQ(mam_revision_apply(&s, a, &r, f.path, &problem), -ENOENT);
        snprintf(q.definition, sizeof(q.definition), "../../x");
        ASSERT_EQ(mam_revision_apply(&s, a, &q, f.path, &problem), -EBADMSG);
        ASSERT_TRUE(!s);
}

TEST(what_the_bounds_of_today_would_refuse_still_runs) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *c = load(
                        "{ \"a\": { \"exec\": [ \"/usr/bin/env\" ], \"replicas\": 50, \"maxReplicas\": 60, \"port\": 8000,"
                        "  \"dependencies\": [ \"redis\" ] }, \"redis\": {} }");
        _cleanup_(mam_service_config_freep) MamServiceConfig *s = NULL;
        MamRevision r = keep(&f, &c->services[0], NULL, NULL, NULL);

        ASSERT_OK(mam_revision_apply(&s, &c->services[0], &r, f.path, NULL));
        ASSERT_EQ(s->max_replicas, 60);
        ASSERT_STREQ(s->dependencies[0], "redis");
}

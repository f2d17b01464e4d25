/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Units from a configuration
 */

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "generator/generate.h"
#include "generator/unit-text.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

static MamConfig *load(const char *text) {
        MamConfig *c = NULL;

        ASSERT_OK(mam_config_load_text(&c, text, strlen(text)));
        for (size_t i = 0; i < c->n_problems; i++)
                mam_test_fail_string(__FILE__, __LINE__, "no problem", c->problems[i].message);
        return c;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) st;
        (void) type;
        (void) ftw;
        return remove(path);
}

typedef struct Made {
        char folder[48];
} Made;

static void made_done(Made *m) {
        ASSERT_OK(nftw(m->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS));
}

static void no_warning(const char *service, const char *text) {
        (void) service;
        mam_test_fail_string(__FILE__, __LINE__, "no warning", text);
}

static const Deployment nothing = { .definitions_dir = "/nonexistent", .warn = no_warning };

static Made make_deployed(const MamConfig *c, const Deployment *d) {
        Made m = { .folder = "/tmp/mam-test-generate-XXXXXX" };
        _cleanup_(mam_closep) int fd = -EBADF;
        Output o;

        ASSERT_TRUE(mkdtemp(m.folder));
        fd = open(m.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_OK(fd);
        o = (Output){ .folder_fd = fd };
        ASSERT_OK(generate(c, d, &o));
        return m;
}

static Made make(const MamConfig *c) {
        return make_deployed(c, &nothing);
}

static bool exists(const Made *m, const char *name) {
        char path[512];
        struct stat st;

        snprintf(path, sizeof(path), "%s/%s", m->folder, name);
        return lstat(path, &st) == 0;
}

/* The file has this line, whole. */
static bool has_line(const Made *m, const char *name, const char *line) {
        _cleanup_(mam_freep) char *text = NULL;
        char path[512];
        size_t n = strlen(line);

        snprintf(path, sizeof(path), "%s/%s", m->folder, name);
        if (mam_file_read(&text, NULL, path, 1U << 20) < 0)
                mam_test_fail_string(__FILE__, __LINE__, "file", name);
        for (const char *l = text; l; l = strchr(l, '\n'), l = l ? l + 1 : NULL)
                if (strncmp(l, line, n) == 0 && (l[n] == '\n' || l[n] == '\0'))
                        return true;
        return false;
}

TEST(text_is_escaped_for_each_kind_of_value) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        ASSERT_OK(unit_text_append_word(&b, "A=50% \"q\" \\ $HOME '"));
        ASSERT_STREQ(mam_buffer_bytes(&b), "\"A=50%% \\\"q\\\" \\\\ $HOME '\"");
        mam_buffer_reset(&b);
        ASSERT_OK(unit_text_append_argument(&b, "%n ${HOME} ;"));
        ASSERT_STREQ(mam_buffer_bytes(&b), "\"%%n $${HOME} ;\"");
        mam_buffer_reset(&b);
        ASSERT_OK(unit_text_append_plain(&b, "100% \"x\" \\"));
        ASSERT_STREQ(mam_buffer_bytes(&b), "100%% \"x\" \\ .");
}

TEST(a_service_becomes_target_socket_slice_and_drop_ins) {
        _cleanup_(mam_config_freep) MamConfig *c = load(
                        "{ \"postgresql\": {}, \"redis\": {}, \"project-manager\": { \"port\": 3001, \"replicas\": 2, \"maxReplicas\": 4,"
                        "  \"resources\": { \"cpu\": \"1505m\", \"memory\": \"1Gi\" }, \"dependencies\": [ \"postgresql\", \"redis\" ],"
                        "  \"environment\": { \"LOG_LEVEL\": \"50%\" } } }");
        _cleanup_(made_done) Made m = make(c);
        const char *d = "mam@project-manager:4.service.d/10-mam.conf";

        ASSERT_TRUE(exists(&m, "mam.target.wants/mam-project-manager.target"));
        ASSERT_TRUE(exists(&m, "mam-project\\x2dmanager.slice"));
        ASSERT_TRUE(exists(&m, "mam@project-manager:8.service.d")); /* room for the new ones of a rollout */
        ASSERT_TRUE(!exists(&m, "mam@project-manager:9.service.d"));
        ASSERT_TRUE(has_line(&m, "mam-project-manager.target", "Wants=mam@project-manager:2.service"));
        ASSERT_TRUE(!has_line(&m, "mam-project-manager.target", "Wants=mam@project-manager:3.service"));
        ASSERT_TRUE(has_line(&m, "mam-project-manager.target", "Requires=mam-redis.target"));
        ASSERT_TRUE(has_line(
                        &m,
                        "mam@project-manager:1-3.target",
                        "Wants=mam@project-manager:1.service mam@project-manager:2.service mam@project-manager:3.service"));
        ASSERT_TRUE(has_line(&m, "mam@project-manager:1-3.target", "StopWhenUnneeded=yes"));
        ASSERT_TRUE(exists(&m, "mam@project-manager:1-8.target"));
        ASSERT_TRUE(!exists(&m, "mam@project-manager:1-9.target"));
        ASSERT_TRUE(!exists(&m, "mam@project-manager:1-1.target"));
        ASSERT_TRUE(has_line(&m, "mam-project-manager.socket", "ListenStream=127.0.0.1:3001"));
        ASSERT_TRUE(has_line(&m, "mam-project-manager.socket", "Service=mam@project-manager:1.service"));
        ASSERT_TRUE(
                        has_line(&m,
                                 "mam@project-manager:4.socket.d/10-mam.conf",
                                 "PartOf=mam-project-manager.target"));

        ASSERT_TRUE(has_line(&m, d, "User=mam-project-manager"));
        ASSERT_TRUE(has_line(&m, d, "Environment=\"MAM_REVISION=\""));
        ASSERT_TRUE(has_line(&m, d, "CPUQuota=150.5%"));
        ASSERT_TRUE(has_line(&m, d, "MemoryMax=1073741824"));
        ASSERT_TRUE(has_line(&m, d, "MemoryHigh=966367638"));
        ASSERT_TRUE(has_line(&m, d, "Slice=mam-project\\x2dmanager.slice"));
        ASSERT_TRUE(has_line(&m, d, "Sockets=mam@project-manager:4.socket"));
        ASSERT_TRUE(has_line(&m, d, "Sockets=mam-project-manager.socket"));
        ASSERT_TRUE(has_line(&m, d, "Environment=\"LOG_LEVEL=50%%\""));
        ASSERT_TRUE(has_line(&m, d, "Environment=\"MAM_REPLICA=4\""));
        ASSERT_TRUE(has_line(
                        &m,
                        d,
                        "Environment=\"MAM_POSTGRESQL=host=/run/mam/postgresql dbname=mam user=project_manager\""));
        ASSERT_TRUE(has_line(&m, d, "PrivateNetwork=yes"));
        /* not the target: a crash would pull in replicas that were scaled away */
        ASSERT_TRUE(!has_line(&m, d, "Requires=mam-redis.target"));
        ASSERT_TRUE(has_line(&m, d, "Wants=mam@redis:1.service"));

        ASSERT_TRUE(!exists(&m, "mam-postgresql.socket"));
        ASSERT_TRUE(!exists(&m, "mam@redis:1.socket.d"));
        ASSERT_TRUE(
                        has_line(&m,
                                 "mam@postgresql:1.service.d/10-mam.conf",
                                 "Environment=\"MAM_DATABASE_SERVICES=project-manager\""));
        ASSERT_TRUE(has_line(
                        &m,
                        "mam@redis:2.service.d/10-mam.conf",
                        "LoadCredentialEncrypted=redis.project-manager:/etc/credstore.encrypted/mam.redis.project-manager"));
        /* a network that all of them share, and nobody else */
        d = "mam@redis:2.service.d/10-mam.conf";
        ASSERT_TRUE(has_line(&m, d, "PrivateNetwork=yes"));
        ASSERT_TRUE(has_line(&m, d, "JoinsNamespaceOf=mam@redis:1.service"));
        ASSERT_TRUE(has_line(&m, d, "JoinsNamespaceOf=mam@redis:3.service"));
        ASSERT_TRUE(!has_line(&m, d, "JoinsNamespaceOf=mam@redis:2.service"));
}

TEST(the_gateway_gets_a_port_for_tls_where_it_is_asked_for) {
        static const char text[] =
                        "{ \"api-gateway\": { \"type\": \"gateway\", \"port\": 3000 }, \"api-gateway-tls\": { \"port\": 3001,"
                        " \"type\": \"service\", \"exec\": [ \"/bin/true\" ], \"socket\": true } }";
        _cleanup_(mam_config_freep) MamConfig *c = load(text), *with = load(text);
        _cleanup_(made_done) Made m = make(c), n = { 0 };
        const char *d = "mam@api-gateway:1.service.d/10-mam.conf", *s = "mam-api-gateway.tls.socket";

        ASSERT_TRUE(!exists(&m, s));
        ASSERT_TRUE(!has_line(&m, d, "Sockets=mam-api-gateway.tls.socket"));

        with->tls = true;
        n = make(with);
        ASSERT_TRUE(has_line(&n, s, "ListenStream=3443"));
        ASSERT_TRUE(has_line(&n, s, "FileDescriptorName=public-tls"));
        ASSERT_TRUE(has_line(&n, s, "PartOf=mam.target mam-api-gateway.target mam-api-gateway.socket"));
        ASSERT_TRUE(has_line(&n, "mam-api-gateway.socket", "ListenStream=3000"));
        ASSERT_TRUE(has_line(&n, "mam-api-gateway.socket", "ListenStream=/run/mam/gateway.sock"));
        ASSERT_TRUE(!has_line(&n, s, "ListenStream=/run/mam/gateway.sock"));
        ASSERT_TRUE(has_line(&n, "mam-api-gateway.socket", "FileDescriptorName=public"));
        ASSERT_TRUE(has_line(&n, d, "Sockets=mam-api-gateway.socket"));
        ASSERT_TRUE(has_line(&n, d, "Sockets=mam-api-gateway.tls.socket"));
        ASSERT_TRUE(has_line(&n, d, "Wants=mam-api-gateway.tls.socket"));
        ASSERT_TRUE(has_line(
                        &n,
                        d,
                        "LoadCredentialEncrypted=tls.tickets:/etc/credstore.encrypted/mam.tls.tickets"));
        /* a service of that name has another unit, and no TLS of its own */
        ASSERT_TRUE(has_line(&n, "mam-api-gateway-tls.socket", "ListenStream=127.0.0.1:3001"));
        ASSERT_TRUE(!exists(&n, "mam-api-gateway-tls.tls.socket"));
}

TEST(foreign_programs_keep_their_arguments_and_get_ports) {
        _cleanup_(mam_config_freep) MamConfig *c = load(
                        "{ \"echo\": { \"exec\": [ \"/bin/echo\", \"a b\", \"$X\" ], \"port\": 8000, \"maxReplicas\": 2 },"
                        "  \"sock\": { \"exec\": [ \"/bin/sock\" ], \"socket\": true, \"notify\": true, \"user\": \"nobody\", \"port\": 9000,"
                        "              \"listen\": \"[::]\" } }");
        _cleanup_(made_done) Made m = make(c);

        ASSERT_TRUE(
                        has_line(&m,
                                 "mam@echo:2.service.d/10-mam.conf",
                                 "ExecStart=\"/bin/echo\" \"a b\" \"$$X\""));
        ASSERT_TRUE(has_line(&m, "mam@echo:2.service.d/10-mam.conf", "Environment=\"PORT=8001\""));
        ASSERT_TRUE(has_line(&m, "mam@echo:2.service.d/10-mam.conf", "Type=exec"));
        ASSERT_TRUE(has_line(&m, "mam@echo:2.service.d/10-mam.conf", "DynamicUser=yes"));
        ASSERT_TRUE(!exists(&m, "mam-echo.socket"));
        ASSERT_TRUE(has_line(&m, "mam@sock:1.service.d/10-mam.conf", "User=nobody"));
        ASSERT_TRUE(!has_line(&m, "mam@sock:1.service.d/10-mam.conf", "Type=exec"));
        ASSERT_TRUE(has_line(&m, "mam-sock.socket", "ListenStream=9000"));
}

/* Keeps the definition of a service as mam-setup does, and deploys a revision of it. */
static const MamRevision *deploy(
                MamDeploy *d,
                const char *folder,
                const MamServiceConfig *s,
                const char *version,
                const char *exec,
                const char *image) {
        _cleanup_(mam_freep) char *text = NULL;
        MamDeployService *service = NULL;
        MamRevision *r;
        char path[256];

        ASSERT_OK(mam_deploy_get(&service, d, s->id));
        if (!service->revisions)
                service->revisions = calloc(MAM_DEPLOY_REVISIONS_MAX, sizeof(*r));
        ASSERT_TRUE(service->revisions && service->n_revisions < MAM_DEPLOY_REVISIONS_MAX);
        r = &service->revisions[service->n_revisions++];
        r->version = version ? strdup(version) : NULL;
        r->exec = exec ? strdup(exec) : NULL;
        r->image = image ? strdup(image) : NULL;
        ASSERT_OK(mam_definition_name(r->definition, s));
        ASSERT_OK(mam_definition_canonical(&text, s));
        ASSERT_OK(mam_revision_name(r->name, s, version, exec, image));
        memcpy(service->fallback, r->name, sizeof(r->name));
        snprintf(path, sizeof(path), "%s/%s", folder, s->id);
        (void) mkdir(path, 0755);
        snprintf(path, sizeof(path), "%s/%s/%s.json", folder, s->id, r->definition);
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
        return r;
}

static char warned[512];

static void keep_warning(const char *service, const char *text) {
        (void) service;
        ASSERT_TRUE(warned[0] == '\0'); /* once per revision, not per replica */
        snprintf(warned, sizeof(warned), "%s", text);
}

TEST(each_replica_runs_the_revision_that_is_deployed_for_it) {
        _cleanup_(mam_config_freep) MamConfig *old = load(
                        "{ \"a\": { \"exec\": [ \"/usr/bin/{version}\", \"old\" ], \"environment\": { \"E\": \"old\" }, \"user\": \"nobody\" },"
                        "  \"project-manager\": {} }");
        _cleanup_(mam_config_freep) MamConfig *c = load(
                        "{ \"a\": { \"exec\": [ \"/usr/bin/{version}\", \"new\" ], \"environment\": { \"E\": \"new\" }, \"port\": 8000,"
                        "  \"maxReplicas\": 4, \"resources\": { \"memory\": \"64Mi\" } }, \"project-manager\": {}, \"redis\": {} }");
        _cleanup_(mam_deploy_freep) MamDeploy *d = NULL;
        _cleanup_(made_done) Made definitions = { .folder = "/tmp/mam-test-generate-XXXXXX" };
        Deployment deployment = { .definitions_dir = definitions.folder, .warn = no_warning };
        const MamRevision *own;
        MamDeployService *s;
        char first[16], second[16], line[256];

        ASSERT_TRUE(mkdtemp(definitions.folder));
        ASSERT_OK(mam_deploy_new(&d));
        deployment.deploy = d;
        snprintf(first,
                 sizeof(first),
                 "%s",
                 deploy(d, definitions.folder, &old->services[0], "env", NULL, NULL)->name);
        snprintf(second,
                 sizeof(second),
                 "%s",
                 deploy(d, definitions.folder, &c->services[0], "2", "/bin/env", "/usr")->name);
        s = mam_deploy_find(d, "a");
        ASSERT_TRUE(s);
        memcpy(s->pinned[2], first, MAM_REVISION_NAME_SIZE);
        own = deploy(d, definitions.folder, &old->services[1], NULL, "/usr/bin/true", NULL);
        {
                _cleanup_(made_done) Made m = make_deployed(c, &deployment);
                const char *f = "mam@a:1.service.d/10-mam.conf";

                ASSERT_TRUE(has_line(&m, f, "ExecStart=\"/bin/env\" \"new\""));
                ASSERT_TRUE(has_line(&m, f, "Environment=\"E=new\""));
                ASSERT_TRUE(has_line(&m, f, "Environment=\"MAM_VERSION=2\""));
                ASSERT_TRUE(has_line(&m, f, "RootDirectory=/usr"));
                ASSERT_TRUE(has_line(&m, f, "RootDirectoryStartOnly=yes"));
                ASSERT_TRUE(has_line(&m, f, "DynamicUser=yes"));
                snprintf(line, sizeof(line), "Environment=\"MAM_REVISION=%s\"", second);
                ASSERT_TRUE(has_line(&m, f, line));

                f = "mam@a:2.service.d/10-mam.conf";
                ASSERT_TRUE(has_line(&m, f, "ExecStart=\"/usr/bin/env\" \"old\""));
                ASSERT_TRUE(has_line(&m, f, "Environment=\"E=old\""));
                ASSERT_TRUE(has_line(&m, f, "User=nobody"));
                ASSERT_TRUE(!has_line(&m, f, "RootDirectory=/usr"));
                snprintf(line, sizeof(line), "Environment=\"MAM_REVISION=%s\"", first);
                ASSERT_TRUE(has_line(&m, f, line));
                /* limits and ports are as configured now */
                ASSERT_TRUE(has_line(&m, f, "MemoryMax=67108864"));
                ASSERT_TRUE(has_line(&m, f, "Environment=\"PORT=8001\""));

                f = "mam@project-manager:1.service.d/10-mam.conf";
                ASSERT_TRUE(has_line(&m, f, "ExecStart=\"/usr/bin/true\""));
                ASSERT_TRUE(has_line(&m, f, "PrivateNetwork=yes")); /* and stays in its own sandbox */
                snprintf(line, sizeof(line), "Environment=\"MAM_REVISION=%s\"", own->name);
                ASSERT_TRUE(has_line(&m, f, line));
                ASSERT_TRUE(
                                has_line(&m,
                                         "mam@redis:1.service.d/10-mam.conf",
                                         "Environment=\"MAM_REVISION=\""));
        }
}

TEST(a_revision_that_cannot_be_applied_is_named_and_the_configuration_stands) {
        _cleanup_(mam_config_freep) MamConfig *c =
                        load("{ \"a\": { \"exec\": [ \"/usr/bin/{version}\" ], \"maxReplicas\": 3 } }");
        _cleanup_(mam_deploy_freep) MamDeploy *d = NULL;
        _cleanup_(made_done) Made definitions = { .folder = "/tmp/mam-test-generate-XXXXXX" };
        Deployment deployment = { .definitions_dir = definitions.folder, .warn = keep_warning };
        const MamRevision *r;

        ASSERT_TRUE(mkdtemp(definitions.folder));
        ASSERT_OK(mam_deploy_new(&d));
        deployment.deploy = d;
        r = deploy(d, definitions.folder, &c->services[0], "no-such-program", NULL, NULL);
        {
                _cleanup_(made_done) Made m = make_deployed(c, &deployment);
                const char *f = "mam@a:3.service.d/10-mam.conf";

                ASSERT_TRUE(strstr(warned, r->name));
                ASSERT_TRUE(strstr(warned, "/usr/bin/no-such-program"));
                ASSERT_TRUE(has_line(&m, f, "ExecStart=\"/usr/bin/current\""));
                ASSERT_TRUE(has_line(&m, f, "Environment=\"MAM_REVISION=\""));
                ASSERT_TRUE(has_line(&m, f, "Environment=\"MAM_VERSION=\""));
        }
}

TEST(the_registry_is_pulled_in_where_it_is_asked_for) {
        _cleanup_(mam_config_freep) MamConfig *c = load("{ \"redis\": {} }");

        {
                _cleanup_(made_done) Made m = make(c);

                ASSERT_TRUE(!exists(&m, "mam.target.wants/mam-registry.socket"));
        }
        c->registry_enabled = true;
        {
                _cleanup_(made_done) Made m = make(c);

                ASSERT_TRUE(exists(&m, "mam.target.wants/mam-registry.socket"));
                ASSERT_TRUE(!exists(&m, "mam-registry.socket.d"));
        }
        free(c->registry_listen);
        c->registry_listen = strdup("[::1]:5001");
        ASSERT_TRUE(c->registry_listen);
        {
                _cleanup_(made_done) Made m = make(c);

                ASSERT_TRUE(has_line(&m, "mam-registry.socket.d/10-mam.conf", "ListenStream=[::1]:5001"));
                ASSERT_TRUE(has_line(&m, "mam-registry.socket.d/10-mam.conf", "ListenDatagram=[::1]:5001"));
        }
}

TEST(databases_outside_reach_the_services) {
        _cleanup_(mam_config_freep) MamConfig *c = load("{ \"project-manager\": {} }");
        const char *d = "mam@project-manager:1.service.d/10-mam.conf";

        c->postgresql_dsn = strdup("host=db.example dbname=mam user=mam");
        c->redis_dsn = strdup("redis://cache.example/");
        ASSERT_TRUE(c->postgresql_dsn && c->redis_dsn);
        {
                _cleanup_(made_done) Made m = make(c);

                ASSERT_TRUE(has_line(
                                &m,
                                d,
                                "Environment=\"MAM_POSTGRESQL=host=db.example dbname=mam user=mam\""));
                ASSERT_TRUE(has_line(&m, d, "Environment=\"MAM_REDIS=cache.example:6379\""));
                ASSERT_TRUE(has_line(&m, d, "RestrictAddressFamilies=AF_INET AF_INET6"));
                ASSERT_TRUE(!has_line(&m, d, "PrivateNetwork=yes"));
        }
}

TEST(dry_run_shows_what_the_folder_would_hold) {
        _cleanup_(mam_config_freep) MamConfig *c = load("{ \"redis\": { \"maxReplicas\": 1 } }");
        _cleanup_(mam_freep) char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);
        Output o = { .folder_fd = -EBADF, .stream = stream };
        int r;

        ASSERT_TRUE(stream);
        r = generate(c, &nothing, &o);
        ASSERT_EQ(fclose(stream), 0);
        ASSERT_OK(r);
        ASSERT_TRUE(strstr(text, "# mam-redis.target\n"));
        ASSERT_TRUE(strstr(text, "# mam@redis:1.service.d/10-mam.conf\n"));
        ASSERT_TRUE(strstr(text, "# mam.target.wants/mam-redis.target \xe2\x86\x92 ../mam-redis.target\n"));
        ASSERT_TRUE(!strstr(text, "mam@redis:2"));
}

TEST(a_folder_that_cannot_be_written_is_an_error) {
        _cleanup_(mam_config_freep) MamConfig *c = load("{ \"redis\": {} }");
        _cleanup_(mam_closep) int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        Output o = { .folder_fd = fd };

        ASSERT_OK(fd);
        ASSERT_TRUE(generate(c, &nothing, &o) < 0);
}

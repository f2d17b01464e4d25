/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Desired state on disk, exit records, cgroup files
 */

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libmam/util/file.h"
#include "libmam/util/test.h"
#include "manager/cgroup.h"
#include "manager/exit/exit-record.h"
#include "manager/state.h"

#define BOOT  "0123456789abcdef0123456789abcdef"
#define OTHER "fedcba9876543210fedcba9876543210"

static char folder[64];

static const char *in_folder(const char *name) {
        static char path[512];

        if (!folder[0]) {
                strcpy(folder, "/tmp/mam-test-state-XXXXXX");
                ASSERT_TRUE(mkdtemp(folder));
        }
        snprintf(path, sizeof(path), "%s/%s", folder, name);
        return path;
}

static void write_file(const char *path, const char *text) {
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0600));
}

static void fill(State *s) {
        ServiceState *v;

        s->initialized = true;
        v = state_get(s, "project-manager");
        ASSERT_TRUE(v && v->fresh);
        v->fresh = false;
        v->running = true;
        v->replicas = 8;
        v->horizontal_set = true;
        v->horizontal = MAM_SCALING_RECOMMEND;
        v->auto_cpu_millis = 250;
        v->auto_memory_bytes = 300000000;
        v->cpu_millis = 1500;
        v->memory_bytes = 1ULL << 40;
        v->runtime_limits = true;
        numbers_add(&v->numbers, 1);
        numbers_add(&v->numbers, 64);
        numbers_add(&v->numbers, 100);
        numbers_add(&v->starting, 64);
        numbers_add(&v->stopping, 2);
        ASSERT_TRUE(state_get(s, "redis"));
}

TEST(state_survives_a_restart) {
        _cleanup_(state_freep) State *s = NULL, *t = NULL;
        const char *path = in_folder("state.json");
        ServiceState *v;

        ASSERT_OK(state_new(&s));
        fill(s);
        ASSERT_OK(state_save(s, path, BOOT));
        ASSERT_OK(state_load(&t, path, BOOT));

        ASSERT_TRUE(t->initialized);
        ASSERT_EQ(t->n_services, 2);
        v = state_get(t, "project-manager");
        ASSERT_TRUE(v->running && !v->fresh);
        ASSERT_EQ(v->replicas, 8);
        ASSERT_EQ(v->cpu_millis, 1500);
        ASSERT_EQ(v->memory_bytes, 1ULL << 40);
        ASSERT_TRUE(v->runtime_limits);
        ASSERT_TRUE(v->horizontal_set && v->horizontal == MAM_SCALING_RECOMMEND && !v->vertical_set);
        ASSERT_EQ(v->auto_cpu_millis, 250);
        ASSERT_EQ(v->auto_memory_bytes, 300000000);
        ASSERT_EQ(numbers_count(&v->numbers), 3);
        ASSERT_TRUE(numbers_has(&v->numbers, 100) && numbers_has(&v->starting, 64) &&
                    numbers_has(&v->stopping, 2));
        unlink(path);
}

TEST(after_a_boot_sizes_stay_and_what_ran_is_forgotten) {
        _cleanup_(state_freep) State *s = NULL, *t = NULL;
        const char *path = in_folder("state.json");
        ServiceState *v;

        ASSERT_OK(state_new(&s));
        fill(s);
        ASSERT_OK(state_save(s, path, BOOT));
        ASSERT_OK(state_load(&t, path, OTHER));

        v = state_get(t, "project-manager");
        ASSERT_TRUE(v->fresh && !v->running && !v->runtime_limits);
        ASSERT_EQ(v->replicas, 8);
        ASSERT_EQ(v->cpu_millis, 1500);
        ASSERT_TRUE(numbers_is_empty(&v->numbers) && numbers_is_empty(&v->starting));
        ASSERT_TRUE(v->horizontal_set && v->auto_cpu_millis == 250 && v->auto_memory_bytes == 300000000);
        unlink(path);
}

TEST(a_bad_state_file_is_refused_whole) {
        static const char *const bad[] = {
                "",
                "{",
                "[]",
                "{\"bootId\":1}",
                "{\"services\":[]}",
                "{\"services\":{\"a\":1}}",
                "{\"services\":{\"../x\":{}}}",
                "{\"services\":{\"a\":{\"running\":\"yes\"}}}",
                "{\"services\":{\"a\":{\"replicas\":101}}}",
                "{\"services\":{\"a\":{\"replicas\":-1}}}",
                "{\"services\":{\"a\":{\"numbers\":[0]}}}",
                "{\"services\":{\"a\":{\"numbers\":[101]}}}",
                "{\"services\":{\"a\":{\"numbers\":[\"1\"]}}}",
                "{\"services\":{\"a\":{\"starting\":{}}}}",
                "{\"services\":{\"a\":{\"cpuMillis\":-5}}}",
        };
        const char *path = in_folder("bad.json");
        State *s = NULL;

        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++) {
                write_file(path, bad[i]);
                ASSERT_EQ(state_load(&s, path, BOOT), -EBADMSG);
                ASSERT_TRUE(!s);
        }
        unlink(path);
        ASSERT_EQ(state_load(&s, path, BOOT), -ENOENT);
}

TEST(intentions_outside_the_set_are_dropped) {
        const char *path = in_folder("odd.json");
        _cleanup_(state_freep) State *s = NULL;
        ServiceState *v;

        write_file(path,
                   "{\"bootId\":\"" BOOT "\",\"services\":{\"a\":{\"running\":true,\"numbers\":[1,2],"
                   "\"starting\":[2,3],\"stopping\":[2,4]}}}");
        ASSERT_OK(state_load(&s, path, BOOT));
        v = state_get(s, "a");
        ASSERT_TRUE(numbers_has(&v->starting, 2) && !numbers_has(&v->starting, 3));
        ASSERT_TRUE(numbers_has(&v->stopping, 4) && !numbers_has(&v->stopping, 2));
        unlink(path);
}

TEST(the_number_of_records_is_bounded) {
        _cleanup_(state_freep) State *s = NULL;
        char id[32];

        ASSERT_OK(state_new(&s));
        for (unsigned i = 0; i < STATE_SERVICES_MAX; i++) {
                snprintf(id, sizeof(id), "s%u", i);
                ASSERT_TRUE(state_get(s, id));
        }
        ASSERT_TRUE(!state_get(s, "one-more"));
        ASSERT_TRUE(state_get(s, "s0"));
}

static const char *reason(const char *result, const char *code, const char *status, int oom) {
        static ExitRecord e;

        e = (ExitRecord) EXIT_RECORD_INIT;
        exit_record_set_reason(&e, result, code, status, oom);
        return e.reason;
}

TEST(reasons_of_an_end) {
        ASSERT_STREQ(reason("success", "exited", "0", 0), "exited");
        ASSERT_STREQ(reason("exit-code", "exited", "1", 0), "exited");
        ASSERT_STREQ(reason("exit-code", "exited", "203", 0), "start-failed");
        ASSERT_STREQ(reason("signal", "killed", "KILL", 0), "signal SIGKILL");
        ASSERT_STREQ(reason("core-dump", "dumped", "SEGV", 0), "signal SIGSEGV");
        ASSERT_STREQ(reason("signal", "killed", "KILL", 1), "oom-kill");
        ASSERT_STREQ(reason("oom-kill", "killed", "KILL", 0), "oom-kill");
        ASSERT_STREQ(reason("watchdog", "killed", "ABRT", 0), "watchdog");
        ASSERT_STREQ(reason("timeout", "killed", "TERM", 0), "timeout");
        ASSERT_STREQ(reason("resources", NULL, NULL, 0), "start-failed");
        ASSERT_STREQ(reason(NULL, NULL, NULL, 0), "start-failed");
}

TEST(exit_records_are_written_and_believed_only_if_well_formed) {
        static const char *const bad[] = {
                "",
                "{}",
                "{\"reason\":\"a\\u001bb\",\"result\":\"\",\"status\":\"\",\"timeUSec\":1,\"oomKills\":0,\"cgroup\":0,\"oomSeen\":0}",
                "{\"reason\":\"exited\",\"result\":\"\",\"status\":\"\",\"timeUSec\":-1,\"oomKills\":0,\"cgroup\":0,\"oomSeen\":0}",
                ("{\"reason\":\"a very long reason that nobody wrote\",\"result\":\"\",\"status\":\"\",\"timeUSec\":1,"
                 "\"oomKills\":0,\"cgroup\":0,\"oomSeen\":0}"),
        };
        ExitRecord e = { .time_usec = 77, .oom_kills = 3, .cgroup = 4, .oom_seen = 2 }, f;
        const char *path = in_folder("last-exit");

        exit_record_set_reason(&e, "signal", "killed", "KILL", 0);
        ASSERT_OK(exit_record_write(&e, path));
        ASSERT_OK(exit_record_read(&f, path));
        ASSERT_STREQ(f.reason, "signal SIGKILL");
        ASSERT_STREQ(f.result, "signal");
        ASSERT_STREQ(f.status, "KILL");
        ASSERT_TRUE(f.time_usec == 77 && f.oom_kills == 3 && f.cgroup == 4 && f.oom_seen == 2);

        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++) {
                write_file(path, bad[i]);
                ASSERT_TRUE(exit_record_read(&f, path) < 0);
        }
        unlink(path);
        ASSERT_EQ(exit_record_read(&f, path), -ENOENT);
}

TEST(cgroup_files_of_v2_and_of_v1_hybrid) {
        static const char *const folders[] = { "v2",          "v2/a",         "v1",
                                               "v1/unified",  "v1/unified/a", "v1/memory",
                                               "v1/memory/a", "v1/pids",      "v1/pids/a" };
        _cleanup_(cgroup_files_freep) CgroupFiles *files = NULL;
        char root[512];
        CgroupUsage u;
        FILE *f;

        for (size_t i = 0; i < MAM_ELEMENTSOF(folders); i++)
                ASSERT_TRUE(mkdir(in_folder(folders[i]), 0700) == 0);
        write_file(in_folder("v2/a/cpu.stat"), "usage_usec 1234567\nuser_usec 1\nsystem_usec 2\n");
        write_file(in_folder("v2/a/memory.current"), "4096\n");
        write_file(in_folder("v2/a/pids.current"), "3\n");
        write_file(in_folder("v2/a/memory.stat"),
                   "anon 2048\nfile 2048\ninactive_file 1024\nactive_file 1024\n");
        write_file(in_folder("v2/a/cpu.pressure"), "some avg10=12.34 avg60=0.00 avg300=0.00 total=5\n");
        write_file(in_folder("v2/a/io.pressure"), "some avg10=nonsense\n");
        write_file(in_folder("v1/memory/a/memory.stat"), "inactive_file 1\ntotal_inactive_file 8000\n");
        write_file(in_folder("v1/unified/a/memory.pressure"),
                   "some avg10=0.50 avg60=0.00 avg300=0.00 total=5\n");
        write_file(in_folder("v1/unified/a/cpu.stat"), "usage_usec 99\n");
        write_file(in_folder("v1/memory/a/memory.usage_in_bytes"), "8192\n");
        write_file(in_folder("v1/pids/a/pids.current"), "5\n");

        snprintf(root, sizeof(root), "%s", in_folder("v2"));
        cgroup_read(&u, root, "/a");
        ASSERT_TRUE(u.cpu_usec == 1234567 && u.memory_bytes == 4096 && u.tasks == 3);
        ASSERT_TRUE(u.working_set_bytes == 3072 && u.cpu_pressure > 12.33 && u.cpu_pressure < 12.35);
        ASSERT_TRUE(u.memory_pressure < 0 && u.io_pressure < 0);
        ASSERT_OK(cgroup_files_new(&files, root, "/a"));
        f = fopen(in_folder("v2/a/cpu.stat"), "we");
        ASSERT_TRUE(f && fputs("usage_usec 2000000\n", f) >= 0 && fclose(f) == 0);
        cgroup_files_read(files, &u); /* anew each time, though it stays open */
        ASSERT_TRUE(u.cpu_usec == 2000000 && u.working_set_bytes == 3072 && u.cpu_pressure > 12.33);
        snprintf(root, sizeof(root), "%s", in_folder("v1"));
        cgroup_read(&u, root, "/a");
        ASSERT_TRUE(u.cpu_usec == 99 && u.memory_bytes == 8192 && u.tasks == 5);
        ASSERT_TRUE(u.working_set_bytes == 192 && u.memory_pressure == 0.5 && u.cpu_pressure < 0);
        cgroup_read(&u, root, "/none");
        ASSERT_TRUE(u.cpu_usec == CGROUP_UNKNOWN && u.memory_bytes == CGROUP_UNKNOWN &&
                    u.tasks == CGROUP_UNKNOWN);

        snprintf(root, sizeof(root), "rm -rf '%s'", folder);
        ASSERT_EQ(system(root), 0);
        folder[0] = '\0';
}

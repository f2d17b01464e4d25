/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Test harness
 */

#include <setjmp.h>
#include <sys/stat.h>

#include "libmam/util/test.h"

static MamTest *first, **tail = &first;
static jmp_buf skip_point;
static const char *skip_reason;
static const char *running_name;
static unsigned running;

void mam_test_register(MamTest *test) {
        *tail = test;
        tail = &test->next;
}

void mam_test_fail(const char *file, int line, const char *what, long long got) {
        printf("Bail out! %s:%d: %s (got %lld: %s)\n",
               file,
               line,
               what,
               got,
               got < 0 ? strerror((int) -got) : "");
        fflush(NULL);
        abort();
}

void mam_test_fail_string(const char *file, int line, const char *what, const char *got) {
        printf("Bail out! %s:%d: %s (got \"%s\")\n", file, line, what, got ? got : "(null)");
        fflush(NULL);
        abort();
}

void mam_test_skip(const char *reason) {
        const char *must = getenv("MAM_TEST_MUST_RUN");

        if (must && strcmp(must, "1") == 0) {
                printf("Bail out! skipped although MAM_TEST_MUST_RUN=1: %s\n", reason);
                fflush(NULL);
                abort();
        }
        skip_reason = reason;
        longjmp(skip_point, 1);
}

const char *mam_test_shared_data(void) {
        static const char *const places[] = { "../shared/data",
                                              "../../shared/data",
                                              "../../../shared/data" };
        const char *root = getenv("MAM_SOURCE_ROOT");
        static char path[4096];
        struct stat st;

        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
                snprintf(path, sizeof(path), "%s%s%s", root ? root : "", root ? "/" : "", places[i]);
                if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
                        return path;
        }
        return NULL;
}

/* In a function of its own, so that no local lives across the longjmp(). */
static void run(MamTest *t, unsigned n) {
        running = n;
        running_name = t->name;
        if (setjmp(skip_point) != 0) {
                printf("ok %u - %s # SKIP %s\n", running, running_name, skip_reason);
                return;
        }
        t->fn();
        printf("ok %u - %s\n", running, running_name);
}

int mam_test_main(int argc, char **argv) {
        unsigned n = 0;

        for (MamTest *t = first; t; t = t->next) {
                if (argc > 1 && strcmp(argv[1], t->name) != 0)
                        continue;
                n++;
                run(t, n);
                fflush(stdout); /* a leak report ends the process before stdio is flushed */
        }

        printf("1..%u\n", n);
        return n > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

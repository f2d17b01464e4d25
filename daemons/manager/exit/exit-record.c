/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How a replica last ended
 */

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/json/json.h"
#include "libmam/util/file.h"
#include "manager/exit/exit-record.h"

#define RECORD_SIZE_MAX 4096U

void exit_record_set_reason(
                ExitRecord *e,
                const char *result,
                const char *code,
                const char *status,
                int oom) {
        char *end = NULL;
        long number;

        assert(e);

        snprintf(e->result, sizeof(e->result), "%s", result ? result : "");
        snprintf(e->status, sizeof(e->status), "%s", status ? status : "");
        number = strtol(e->status, &end, 10);

        if (oom || strcmp(e->result, "oom-kill") == 0) {
                strcpy(e->reason, "oom-kill");
        } else if (strcmp(e->result, "watchdog") == 0) {
                strcpy(e->reason, "watchdog");
        } else if (strcmp(e->result, "timeout") == 0) {
                strcpy(e->reason, "timeout");
        } else if (code && (strcmp(code, "killed") == 0 || strcmp(code, "dumped") == 0)) {
                snprintf(e->reason, sizeof(e->reason), "signal SIG%.16s", e->status);
        } else if (code && strcmp(code, "exited") == 0 &&
                   (end == e->status || number < 200 || number > 245)) {
                strcpy(e->reason, "exited");
        } else { /* systemd's own codes from 200 on, or no process at all */
                strcpy(e->reason, "start-failed");
        }
}

static int get_text(json_object *root, const char *key, char *ret, size_t size) {
        const char *text = NULL;
        MamJsonError error;
        int r;

        r = mam_json_get_string(root, "", key, &text, &error);
        if (r < 0)
                return r;
        if (r == 0 || strlen(text) >= size)
                return -EBADMSG;
        for (const char *p = text; *p; p++) {
                if (!isalnum((unsigned char) *p) && *p != ' ' && *p != '-')
                        return -EBADMSG;
        }
        memcpy(ret, text, strlen(text) + 1);
        return 0;
}

static int get_number(json_object *root, const char *key, uint64_t *ret) {
        MamJsonError error;
        int64_t n = 0;
        int r;

        r = mam_json_get_int(root, "", key, 0, INT64_MAX, &n, &error);
        if (r < 0)
                return r;
        if (r == 0)
                return -EBADMSG;
        *ret = (uint64_t) n;
        return 0;
}

int exit_record_read(ExitRecord *ret, const char *path) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        ExitRecord e = EXIT_RECORD_INIT;
        MamJsonError error;
        size_t size;
        int r;

        assert(ret);
        assert(path);

        r = mam_file_read(&text, &size, path, RECORD_SIZE_MAX);
        if (r < 0)
                return r;

        r = mam_json_parse(&root, text, size, &error);
        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_object))
                return -EBADMSG;

        if (get_text(root, "reason", e.reason, sizeof(e.reason)) < 0 ||
            get_text(root, "result", e.result, sizeof(e.result)) < 0 ||
            get_text(root, "status", e.status, sizeof(e.status)) < 0 ||
            get_number(root, "timeUSec", &e.time_usec) < 0 ||
            get_number(root, "oomKills", &e.oom_kills) < 0 || get_number(root, "cgroup", &e.cgroup) < 0 ||
            get_number(root, "oomSeen", &e.oom_seen) < 0)
                return -EBADMSG;

        *ret = e;
        return 0;
}

/* Letters, digits and '-' only: what systemd puts there anyway. */
static void sanitize(char ret[static 32], const char *text) {
        size_t i = 0;

        for (; text[i] && i < 31; i++)
                ret[i] = isalnum((unsigned char) text[i]) || text[i] == ' ' ? text[i] : '-';
        ret[i] = '\0';
}

int exit_record_write(const ExitRecord *e, const char *path) {
        char text[512], reason[32], result[32], status[32];
        int n;

        assert(e);
        assert(path);

        sanitize(reason, e->reason);
        sanitize(result, e->result);
        sanitize(status, e->status);
        n = snprintf(text,
                     sizeof(text),
                     "{\"reason\":\"%s\",\"result\":\"%s\",\"status\":\"%s\",\"timeUSec\":%llu,\"oomKills\":%llu,"
                     "\"cgroup\":%llu,\"oomSeen\":%llu}\n",
                     reason,
                     result,
                     status,
                     (unsigned long long) e->time_usec,
                     (unsigned long long) e->oom_kills,
                     (unsigned long long) e->cgroup,
                     (unsigned long long) e->oom_seen);
        if (n < 0 || (size_t) n >= sizeof(text))
                return -ENOBUFS;
        return mam_file_write_atomic(path, text, (size_t) n, 0644);
}

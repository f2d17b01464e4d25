/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The alerts that have begun, for the manager after this one: it tells neither that they are over nor that
 * they begin again. One line for each: name, service or "-", number, start, summary.
 */

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "libmam/config/config.h"
#include "libmam/util/buffer.h"
#include "libmam/util/file.h"
#include "manager/alerts.h"

#define FILE_MAX ((size_t) 256 * 1024)

int alert_set_save(const AlertSet *set, const char *path) {
        MamBuffer text = MAM_BUFFER_INIT;
        int r = 0;

        assert(set);
        assert(path);

        for (size_t i = 0; r >= 0 && i < set->n; i++) {
                const Alert *a = &set->alerts[i];
                char summary[ALERT_SUMMARY_MAX];

                if (a->started_usec == 0)
                        continue;
                memcpy(summary, a->summary, sizeof(summary));
                for (char *p = summary; *p; p++)
                        *p = *p == '\n' ? ' ' : *p;
                r = mam_buffer_appendf(
                                &text,
                                "%s %s %" PRIu32 " %" PRIu64 " %s\n",
                                alert_rules[a->name].name,
                                *a->service ? a->service : "-",
                                a->number,
                                a->started_usec,
                                summary);
        }
        if (r >= 0 && text.size == 0) {
                r = unlink(path) < 0 && errno != ENOENT ? -errno : 0;
        } else if (r >= 0)
                r = mam_file_write_atomic(path, mam_buffer_bytes(&text), text.size, 0600);
        mam_buffer_done(&text);
        return r;
}

static int load_line(AlertSet *set, const char *line, uint64_t now_usec) {
        char name[32], service[32];
        AlertName n = 0;
        uint64_t started;
        uint32_t number;
        int end = 0;

        if (sscanf(line, "%31s %31s %" SCNu32 " %" SCNu64 "%n", name, service, &number, &started, &end) !=
                            4 ||
            line[end] != ' ' || number > MAM_CONFIG_REPLICAS_MAX || started == 0)
                return -EBADMSG;
        while (n < _ALERT_NAME_MAX && strcmp(alert_rules[n].name, name) != 0)
                n++;
        if (n == _ALERT_NAME_MAX || (strcmp(service, "-") != 0 && !mam_service_id_is_valid(service)))
                return -EBADMSG;

        alert_set_see(set, n, strcmp(service, "-") == 0 ? "" : service, number, line + end + 1, now_usec);
        if (set->n > 0)
                set->alerts[set->n - 1].started_usec = started;
        return 0;
}

int alert_set_load(AlertSet *set, const char *path, uint64_t now_usec) {
        _cleanup_(mam_freep) char *text = NULL;
        char *line, *next;
        size_t size;
        int r;

        assert(set);
        assert(set->n == 0);
        assert(path);

        r = mam_file_read(&text, &size, path, FILE_MAX);
        if (r < 0)
                return r;

        for (line = text; *line; line = next) {
                next = strchr(line, '\n');
                if (!next)
                        return -EBADMSG;
                *next++ = '\0';
                r = load_line(set, line, now_usec);
                if (r < 0)
                        return r;
        }
        return 0;
}

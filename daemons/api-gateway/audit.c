/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/audit.h"

#include <assert.h>
#include <string.h>

#include "libmam/obs/log.h"
#include "libmam/util/time.h"

#define FIELDS_MAX 12U
#define FIELD_SIZE 320U

struct Audit {
        MamAuditLevel level;
        unsigned rate;       /* messages a second */
        uint64_t since_usec; /* monotonic; of the second that is counted */
        unsigned n_written;  /* within it */
        uint64_t n_left_out; /* since the last one that was written */
        uint64_t written, left_out;
};

/* The fields of one message while they are gathered. */
typedef struct Fields {
        char text[FIELDS_MAX][FIELD_SIZE];
        const char *list[FIELDS_MAX + 1];
        size_t n;
} Fields;

int audit_new(Audit **ret) {
        assert(ret);

        *ret = calloc(1, sizeof(**ret));
        return *ret ? 0 : -ENOMEM;
}

Audit *audit_free(Audit *a) {
        free(a);
        return NULL;
}

void audit_configure(Audit *a, MamAuditLevel level, unsigned rate) {
        assert(a);

        a->level = level;
        a->rate = rate;
}

bool audit_wants_all(const Audit *a) {
        return a->level == MAM_AUDIT_ALL;
}

/* What clients send stays one line: the journal takes everything, but people read it in terminals. */
static void add(Fields *f, const char *name, const char *value) {
        char *text = f->text[f->n];
        int n;

        if (!value || !*value || f->n >= FIELDS_MAX)
                return;
        n = snprintf(text, FIELD_SIZE, "%s=%s", name, value);
        if (n < 0)
                return;
        for (char *p = text + strlen(name) + 1; *p; p++)
                if ((unsigned char) *p < ' ' || *p == 0x7f)
                        *p = '?';
        f->list[f->n++] = text;
}

static bool may_write(Audit *a, uint64_t now_usec) {
        if (now_usec >= a->since_usec + MAM_USEC_PER_SEC || now_usec < a->since_usec) {
                a->since_usec = now_usec;
                a->n_written = 0;
        }
        if (a->n_written >= a->rate) {
                a->n_left_out++;
                a->left_out++;
                return false;
        }
        a->n_written++;
        a->written++;
        return true;
}

void audit_write(Audit *a, const AuditRecord *r, uint64_t now_usec) {
        const Caller *c = r->caller;
        Fields f = { .n = 0 };
        char left_out[24] = "", subject[CALLER_TEXT_MAX + 1] = "nobody";

        assert(a);

        if (a->level == MAM_AUDIT_OFF || !may_write(a, now_usec))
                return;
        if (c && c->identity.subject)
                (void) snprintf(subject, sizeof(subject), "%s", c->identity.subject);
        if (a->n_left_out > 0)
                (void) snprintf(left_out, sizeof(left_out), "%llu", (unsigned long long) a->n_left_out);

        add(&f, "MAM_DECISION", r->what);
        add(&f, "MAM_SUBJECT", c ? c->identity.subject : NULL);
        add(&f, "MAM_KIND", c ? caller_kind_to_string(c->kind) : NULL);
        add(&f, "MAM_KEY", c ? c->key : NULL);
        add(&f, "MAM_SERVICE_ASKED", r->service);
        add(&f, "MAM_REASON", r->reason);
        add(&f, "MAM_OBJECT", r->object);
        if (r->x) {
                add(&f, "MAM_METHOD", mam_http_exchange_method(r->x));
                add(&f, "MAM_PATH", mam_http_exchange_path(r->x));
                add(&f, "MAM_PEER", mam_http_exchange_peer(r->x));
                add(&f, "MAM_REQUEST_ID", mam_http_exchange_request_id(r->x));
        }
        add(&f, "MAM_LEFT_OUT", left_out);
        mam_log_full(LOG_NOTICE,
                     r->message_id,
                     f.list,
                     "Access %s: %.128s%s%.128s%s%s",
                     r->what,
                     subject,
                     r->x ? " " : "",
                     r->x ? mam_http_exchange_path(r->x) : "",
                     r->reason ? ": " : "",
                     r->reason ? r->reason : "");
        a->n_left_out = 0;
}

void audit_counts(const Audit *a, uint64_t *ret_written, uint64_t *ret_left_out) {
        *ret_written = a->written;
        *ret_left_out = a->left_out;
}

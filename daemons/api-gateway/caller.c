/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/caller.h"

#include <assert.h>
#include <string.h>

#include "libmam/http/http-client.h"

const char *caller_kind_to_string(CallerKind k) {
        static const char *const names[_CALLER_KIND_MAX] = {
                [CALLER_NOBODY] = "nobody",           [CALLER_TOKEN] = "token",     [CALLER_KEY] = "key",
                [CALLER_CERTIFICATE] = "certificate", [CALLER_SERVICE] = "service",
        };

        return (unsigned) k < _CALLER_KIND_MAX ? names[k] : "unknown";
}

/* Fit for a header field and for a list in one: visible, without a comma; UTF-8 passes. */
static bool text_is_fit(const char *s) {
        size_t n = 0;

        for (; s[n]; n++)
                if ((unsigned char) s[n] <= ' ' || s[n] == 0x7f || s[n] == ',' || n >= CALLER_TEXT_MAX)
                        return false;
        return n > 0;
}

/* A subject may have spaces inside, as those of certificates have, and commas. */
static bool subject_is_fit(const char *s) {
        size_t n = strlen(s);

        if (n == 0 || n > CALLER_TEXT_MAX || s[0] == ' ' || s[n - 1] == ' ')
                return false;
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) s[i] < ' ' || s[i] == 0x7f)
                        return false;
        return true;
}

static bool spec_is_fit(const CallerSpec *spec) {
        if (spec->subject && !subject_is_fit(spec->subject))
                return false;
        for (size_t i = 0; i < spec->n_roles; i++)
                if (!text_is_fit(spec->roles[i]))
                        return false;
        for (size_t i = 0; i < spec->n_scopes; i++)
                if (!text_is_fit(spec->scopes[i]))
                        return false;
        for (size_t i = 0; i < spec->n_projects; i++)
                if (!text_is_fit(spec->projects[i].project) || !text_is_fit(spec->projects[i].role))
                        return false;
        return true;
}

static size_t text_size(const char *s) {
        return s ? strlen(s) + 1 : 0;
}

/* The texts lie behind the struct and its arrays, in one allocation. */
static const char *keep(char **p, const char *s) {
        const char *at = *p;

        if (!s)
                return NULL;
        *p = stpcpy(*p, s) + 1;
        return at;
}

/* FNV-1a: it only spreads; who needs more mixes a key of its own into it. */
static uint64_t mix(uint64_t hash, const char *s) {
        for (; s && *s; s++)
                hash = (hash ^ (unsigned char) *s) * 0x100000001b3ULL;
        return (hash ^ 0xff) * 0x100000001b3ULL;
}

static size_t spec_text_size(const CallerSpec *s, size_t n_roles) {
        size_t size = text_size(s->subject) + text_size(s->issuer) + text_size(s->token) +
                      text_size(s->session) + text_size(s->key) + text_size(s->service);

        for (size_t i = 0; i < n_roles; i++)
                size += text_size(s->roles[i]);
        for (size_t i = 0; i < s->n_scopes; i++)
                size += text_size(s->scopes[i]);
        for (size_t i = 0; i < s->n_projects; i++)
                size += text_size(s->projects[i].project) + text_size(s->projects[i].role);
        return size;
}

/* Of a name that is a literal. */
#define NAME(s) ((MamHttpRange){ s, sizeof(s) - 1 })

/* A list in one field. Beyond the size of list names are left out: fewer rights, never more. */
static int add_list(
                Caller *c,
                MamHttpRange name,
                const char *const *items,
                size_t n,
                char separator,
                char *list,
                size_t size) {
        char *p = list;

        for (size_t i = 0; i < n; i++) {
                size_t k = strlen(items[i]);

                if ((size_t) (list + size - p) < k + 2)
                        break;
                if (p != list)
                        *p++ = separator;
                p = mempcpy(p, items[i], k);
        }
        return mam_http_fields_add(
                        &c->fields,
                        &c->n_fields,
                        name,
                        (MamHttpRange){ list, (size_t) (p - list) });
}

/* What a replica is told, once for all requests: legal, as spec_is_fit() has looked at it. */
static int make_fields(Caller *c) {
        char list[CALLER_SCOPES_MAX * 65 + 1];
        int r;

        static_assert(sizeof(list) >= MAM_IDENTITY_ROLES_MAX * 72, "too little room for roles");
        if (!c->identity.subject) /* nobody, on a route for everybody */
                return 0;
        r = mam_http_fields_add(
                        &c->fields,
                        &c->n_fields,
                        NAME("Mam-Subject"),
                        (MamHttpRange){ c->identity.subject, strlen(c->identity.subject) });
        if (r >= 0)
                r = add_list(c,
                             NAME("Mam-Roles"),
                             c->identity.roles,
                             c->identity.n_roles,
                             ',',
                             list,
                             MAM_IDENTITY_ROLES_MAX * 72);
        if (r >= 0 && c->scoped)
                r = add_list(c, NAME("Mam-Scopes"), c->scopes, c->n_scopes, ' ', list, sizeof(list));
        return r;
}

int caller_new(Caller **ret, const CallerSpec *spec) {
        size_t n_roles = spec->n_roles < MAM_IDENTITY_ROLES_MAX ? spec->n_roles : MAM_IDENTITY_ROLES_MAX;
        _cleanup_(caller_unrefp) Caller *c = NULL;
        CallerProjectRole *projects;
        const char **scopes;
        char *p;
        int r;

        assert(ret);

        if (spec->n_scopes > CALLER_SCOPES_MAX || spec->n_projects > CALLER_PROJECTS_MAX ||
            !spec_is_fit(spec))
                return -EINVAL;
        c = calloc(1,
                   sizeof(*c) + spec->n_scopes * sizeof(*scopes) + spec->n_projects * sizeof(*projects) +
                                   spec_text_size(spec, n_roles));
        if (!c)
                return -ENOMEM;

        projects = (CallerProjectRole *) (c + 1);
        scopes = (const char **) (projects + spec->n_projects);
        p = (char *) (scopes + spec->n_scopes);
        c->n_ref = 1;
        c->kind = spec->kind;
        c->identity.authenticated = spec->subject != NULL;
        c->identity.subject = keep(&p, spec->subject);
        for (size_t i = 0; i < n_roles; i++)
                c->identity.roles[c->identity.n_roles++] = keep(&p, spec->roles[i]);
        for (size_t i = 0; i < spec->n_scopes; i++)
                scopes[i] = keep(&p, spec->scopes[i]);
        for (size_t i = 0; i < spec->n_projects; i++)
                projects[i] = (CallerProjectRole){ keep(&p, spec->projects[i].project),
                                                   keep(&p, spec->projects[i].role) };
        c->scopes = scopes;
        c->n_scopes = spec->n_scopes;
        c->scoped = spec->scoped;
        c->projects = projects;
        c->n_projects = spec->n_projects;
        c->issuer = keep(&p, spec->issuer);
        c->token = keep(&p, spec->token);
        c->session = keep(&p, spec->session);
        c->key = keep(&p, spec->key);
        c->service = keep(&p, spec->service);
        c->claims = json_object_get(spec->claims);
        c->issued_sec = spec->issued_sec;
        c->expires_sec = spec->expires_sec;
        c->hash = mix(mix(mix(mix(0xcbf29ce484222325ULL, c->issuer), c->key), c->service),
                      c->identity.subject);
        r = make_fields(c);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(c);
        return 0;
}

CallerSpec caller_spec(const Caller *c) {
        return (CallerSpec){
                .kind = c->kind,
                .subject = c->identity.subject,
                .roles = c->identity.roles,
                .n_roles = c->identity.n_roles,
                .scopes = c->scopes,
                .n_scopes = c->n_scopes,
                .scoped = c->scoped,
                .projects = c->projects,
                .n_projects = c->n_projects,
                .issuer = c->issuer,
                .token = c->token,
                .session = c->session,
                .key = c->key,
                .service = c->service,
                .claims = c->claims,
                .issued_sec = c->issued_sec,
                .expires_sec = c->expires_sec,
        };
}

Caller *caller_nobody(void) {
        static Caller nobody = { .n_ref = 1, .kind = CALLER_NOBODY, .expires_sec = UINT64_MAX };

        return caller_ref(&nobody);
}

Caller *caller_ref(Caller *c) {
        assert(c);
        assert(c->n_ref > 0);

        c->n_ref++;
        return c;
}

Caller *caller_unref(Caller *c) {
        if (!c)
                return NULL;

        assert(c->n_ref > 0);
        if (--c->n_ref > 0)
                return NULL;
        json_object_put(c->claims);
        mam_buffer_done(&c->fields);
        free(c);
        return NULL;
}

bool caller_has_role(const Caller *c, const char *role) {
        return mam_identity_has_role(&c->identity, role);
}

bool caller_has_scope(const Caller *c, const char *scope) {
        for (size_t i = 0; i < c->n_scopes; i++)
                if (strcmp(c->scopes[i], scope) == 0)
                        return true;
        return false;
}

int caller_claim(const Caller *c, const char *name, char *ret, size_t size) {
        json_object *o = c->claims;
        int n;

        while (o && name) {
                const char *dot = strchr(name, '.');
                char part[64];
                size_t k = dot ? (size_t) (dot - name) : strlen(name);

                if (k >= sizeof(part) || !json_object_is_type(o, json_type_object))
                        return 0;
                memcpy(part, name, k);
                part[k] = '\0';
                if (!json_object_object_get_ex(o, part, &o))
                        return 0;
                name = dot ? dot + 1 : NULL;
        }
        if (!o)
                return 0;

        if (json_object_is_type(o, json_type_string)) {
                if (strlen(json_object_get_string(o)) != (size_t) json_object_get_string_len(o))
                        return 0;
                n = snprintf(ret, size, "%s", json_object_get_string(o));
        } else if (json_object_is_type(o, json_type_int))
                n = snprintf(ret, size, "%lld", (long long) json_object_get_int64(o));
        else
                return 0;
        return n > 0 && (size_t) n < size;
}

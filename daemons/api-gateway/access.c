/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/access.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/access-internal.h"
#include "api-gateway/access-policy.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"

static int add_metrics(Access *a, MamMetrics *metrics) {
        static const char *const decisions[] = { "permitted", "refused", "unknown" };
        MamMetricFamily *family;
        int r;

        r =
                        mam_metrics_add(metrics,
                                        &family,
                                        MAM_METRIC_COUNTER,
                                        "mam_gateway_access_total",
                                        "Decisions who may what; kind: how the caller showed who they are.",
                                        (const char *[]){ "kind", "decision", NULL });
        if (r < 0)
                return r;
        for (unsigned k = 0; k < _CALLER_KIND_MAX; k++)
                for (unsigned d = 0; d < _ACCESS_DECISION_MAX; d++)
                        a->decisions[k][d] = mam_metric_get(
                                        family,
                                        (const char *[]){ caller_kind_to_string(k), decisions[d] });
        return 0;
}

/* "s:SID" or "t:JTI" */
static bool is_revoked(const Caller *c, void *userdata) {
        const char *member = userdata, *id = member[0] == 's' ? c->session : c->token;

        return !c->issuer && id && strcmp(id, member + 2) == 0;
}

static void on_revoked(const char *member, void *userdata) {
        Access *a = userdata;

        caller_cache_drop(a->cache, is_revoked, (void *) member);
}

int access_new(Access **ret, sd_event *event, MamMetrics *metrics) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *defaults = NULL;
        _cleanup_(access_freep) Access *a = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(metrics);

        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->event = sd_event_ref(event);
        r = caller_cache_new(&a->cache);
        if (r < 0)
                return r;
        r = key_table_new(&a->keys);
        if (r >= 0)
                r = audit_new(&a->audit);
        if (r >= 0)
                r = revoked_new(&a->revoked, event, on_revoked, a);
        if (r < 0)
                return r;
        r = add_metrics(a, metrics);
        if (r < 0)
                return r;
        r = mam_gateway_config_new(&defaults);
        if (r < 0)
                return r;
        r = access_configure(a, defaults);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(a);
        return 0;
}

static void services_free(AccessService *services, size_t n) {
        for (size_t i = 0; i < n; i++)
                caller_unref(services[i].caller);
        free(services);
}

static void certificates_free(Caller **certificates, size_t n) {
        for (size_t i = 0; i < n; i++)
                caller_unref(certificates[i]);
        free(certificates);
}

Access *access_free(Access *a) {
        if (!a)
                return NULL;

        keys_bus_free(a->keys_bus);
        revoked_free(a->revoked);
        audit_free(a->audit);
        mam_secret_free(a->signing_key);
        mam_secret_free(a->secret);
        key_table_free(a->keys);
        access_issuers_done(a);
        services_free(a->services, a->n_services);
        certificates_free(a->certificates, a->n_certificates);
        caller_cache_free(a->cache);
        mam_fetcher_free(a->fetcher);
        mam_gateway_config_unref(a->config);
        sd_event_unref(a->event);
        free(a);
        return NULL;
}

static bool stands_on_key(const Caller *c, void *userdata) {
        return c->key != NULL;
}

static void on_keys_changed(void *userdata) {
        Access *a = userdata;

        /* Also tokens that were issued for a key end with it; and who was bad may be good now. */
        caller_cache_drop(a->cache, stands_on_key, NULL);
        caller_cache_forget_bad(a->cache);
}

void access_take_keys(Access *a, const char *json, size_t size) {
        if (key_table_load(a->keys, json, size) >= 0)
                on_keys_changed(a);
}

/* A credential that may not be there. */
static int read_credential(const char *name, const char *lost, char **ret, size_t *ret_size) {
        int r = mam_credential_read(name, ret, ret_size);

        if (r != -ENOENT)
                return r;
        mam_notice("There is no credential %s: %s", name, lost);
        return 0;
}

int access_start(Access *a, MamRedis *redis) {
        size_t size = 0;
        int r;

        assert(a);
        assert(!a->keys_bus);

        a->redis = redis;
        r = read_credential("keys.secret", "API keys cannot be checked", &a->secret, &a->secret_size);
        if (r >= 0 && a->secret)
                r = key_table_set_secret(a->keys, a->secret, a->secret_size);
        if (r >= 0)
                r = read_credential("gateway.key", "no tokens are issued here", &a->signing_key, &size);
        if (r >= 0)
                r = revoked_start(a->revoked, redis);
        if (r < 0)
                return r;
        return keys_bus_new(&a->keys_bus, a->event, a->keys, on_keys_changed, a);
}

void access_set_identity(Access *a, const MamIdentity *(*identity)(MamHttpExchange *x)) {
        assert(a);

        a->identity = identity;
}

/* ---- configuration ---- */

/* Who of "callers" has a user of this host: the others cannot be told from anybody else. */
static int make_services(const MamGatewayCallers *callers, AccessService **ret, size_t *ret_n) {
        static const char *const roles[] = { "service" };
        AccessService *services;
        size_t n = 0;
        int r = 0;

        services = calloc(callers->n_services ?: 1, sizeof(*services));
        if (!services)
                return -ENOMEM;
        for (size_t i = 0; i < callers->n_services && r >= 0; i++) {
                const char *id = callers->services[i].name;
                char user[64], subject[64];
                uid_t uid;

                (void) snprintf(user, sizeof(user), "mam-%s", id);
                (void) snprintf(subject, sizeof(subject), "service:%s", id);
                uid = mam_service_user(callers->services[i].user ? callers->services[i].user : user);
                if (uid == MAM_SERVICE_NO_UID) {
                        mam_warning("gateway.callers: \"%s\" runs as no user of this host: it cannot call",
                                    id);
                        continue;
                }
                services[n].uid = uid;
                services[n].id = id;
                r = caller_new(&services[n].caller,
                               &(CallerSpec){
                                               .kind = CALLER_SERVICE,
                                               .subject = subject,
                                               .roles = roles,
                                               .n_roles = 1,
                                               .service = id,
                                               .expires_sec = UINT64_MAX,
                               });
                n += r >= 0;
        }
        if (r < 0) {
                services_free(services, n);
                return r;
        }
        *ret = services;
        *ret_n = n;
        return 0;
}

static size_t count(char *const *list) {
        size_t n = 0;

        while (list && list[n])
                n++;
        return n;
}

static int make_certificates(const MamGatewayAuth *auth, Caller ***ret) {
        Caller **made;
        int r = 0;

        made = calloc(auth->n_certificates ?: 1, sizeof(Caller *));
        if (!made)
                return -ENOMEM;
        for (size_t i = 0; i < auth->n_certificates && r >= 0; i++) {
                const MamCertificateConfig *c = &auth->certificates[i];

                r = caller_new(&made[i],
                               &(CallerSpec){
                                               .kind = CALLER_CERTIFICATE,
                                               .subject = c->name,
                                               .roles = (const char *const *) c->roles,
                                               .n_roles = count(c->roles),
                                               .scopes = (const char *const *) c->scopes,
                                               .n_scopes = count(c->scopes),
                                               .scoped = c->scopes != NULL,
                                               .expires_sec = UINT64_MAX,
                               });
        }
        if (r < 0) {
                certificates_free(made, auth->n_certificates);
                return r;
        }
        *ret = made;
        return 0;
}

int access_configure(Access *a, MamGatewayConfig *config) {
        AccessService *services = NULL;
        Caller **certificates = NULL;
        size_t n_services = 0;
        int r;

        assert(a);
        assert(config);

        r = make_certificates(&config->auth, &certificates);
        if (r < 0)
                return r;
        r = make_services(&config->callers, &services, &n_services);
        if (r >= 0)
                r = access_issuers_configure(a, &config->auth);
        if (r < 0) {
                certificates_free(certificates, config->auth.n_certificates);
                services_free(services, n_services);
                return r;
        }

        certificates_free(a->certificates, a->n_certificates);
        services_free(a->services, a->n_services);
        a->certificates = certificates;
        a->n_certificates = config->auth.n_certificates;
        a->services = services;
        a->n_services = n_services;
        mam_gateway_config_ref(config);
        mam_gateway_config_unref(a->config);
        a->config = config;
        audit_configure(a->audit, config->auth.audit, config->auth.audit_rate);
        caller_cache_drop(a->cache, NULL, NULL); /* roles of an issuer may count differently now */
        return 0;
}

/* ---- requests ---- */

static void audit(
                Access *a,
                MamHttpExchange *x,
                const char *message_id,
                const char *what,
                const Caller *c,
                const char *service,
                const char *reason,
                const char *object) {
        uint64_t now = 0;

        (void) sd_event_now(a->event, CLOCK_MONOTONIC, &now);
        audit_write(a->audit,
                    &(AuditRecord){
                                    .message_id = message_id,
                                    .what = what,
                                    .caller = c,
                                    .service = service,
                                    .reason = reason,
                                    .object = object,
                                    .x = x,
                    },
                    now);
}

void access_audit_issued(Access *a, MamHttpExchange *x, const Caller *c, const char *session) {
        audit(a, x, MAM_MESSAGE_TOKEN_ISSUED, "issued", c, NULL, NULL, session);
}

void access_audit_reuse(Access *a, MamHttpExchange *x, const char *subject, const char *session) {
        char reason[CALLER_TEXT_MAX + 64];

        (void) snprintf(reason,
                        sizeof(reason),
                        "a refresh token of '%.*s' was used twice: its session was ended",
                        (int) CALLER_TEXT_MAX,
                        subject);
        audit(a, x, MAM_MESSAGE_TOKEN_REUSED, "reuse", NULL, NULL, reason, session);
}

void access_audit_ended(Access *a, MamHttpExchange *x, const char *what, const char *object) {
        audit(a, x, MAM_MESSAGE_SESSION_ENDED, "ended", NULL, NULL, what, object);
}

static void decided(Access *a, const Caller *c, AccessDecision d) {
        mam_metric_add(a->decisions[c ? c->kind : CALLER_NOBODY][d], 1);
}

int access_refuse_nobody(MamHttpExchange *x, bool has_credential) {
        /* RFC 6750, section 3.1: no error code where no token was sent. */
        (void) mam_http_exchange_add_field(
                        x,
                        "WWW-Authenticate",
                        has_credential ? "Bearer realm=\"mam\", error=\"invalid_token\""
                                       : "Bearer realm=\"mam\"");
        return mam_http_exchange_problem(
                        x,
                        401,
                        NULL,
                        has_credential ? "The access token is not valid" : "An access token is needed");
}

static int identify_for_test(Access *a, MamHttpExchange *x, Caller **ret) {
        const MamIdentity *i = a->identity(x);
        int r;

        if (!i->authenticated && mam_http_exchange_header(x, "Authorization"))
                return CREDENTIAL_BAD;
        if (!i->authenticated)
                return CREDENTIAL_NONE;
        r = caller_new(ret,
                       &(CallerSpec){
                                       .kind = CALLER_TOKEN,
                                       .subject = i->subject,
                                       .roles = i->roles,
                                       .n_roles = i->n_roles,
                                       .expires_sec = UINT64_MAX,
                       });
        return r < 0 ? r : CREDENTIAL_OK;
}

int access_identify(Access *a, MamHttpExchange *x, Caller **ret) {
        const char *reason = "unknown reason";
        int r;

        assert(a);
        assert(x);
        assert(ret);

        r = a->identity ? identify_for_test(a, x, ret) : access_credential(a, x, ret, &reason);
        switch (r) {
        case CREDENTIAL_OK:
                return 1;
        case CREDENTIAL_NONE:
                *ret = caller_nobody();
                return 1;
        case CREDENTIAL_UNAVAILABLE:
                (void) mam_http_exchange_add_field(x, "Retry-After", "1");
                r = mam_http_exchange_problem(
                                x,
                                503,
                                NULL,
                                "The access token cannot be verified at the moment");
                return r < 0 ? r : 0;
        case CREDENTIAL_BAD:
                decided(a, NULL, ACCESS_UNKNOWN);
                audit(a, x, MAM_MESSAGE_ACCESS_REFUSED, "refused", NULL, NULL, reason, NULL);
                r = access_refuse_nobody(x, true);
                return r < 0 ? r : 0;
        default:
                return r;
        }
}

unsigned access_authorize(
                Access *a,
                const MamRouteAuth *auth,
                const Caller *c,
                const char *service,
                const char *method,
                const char *path,
                size_t path_size,
                const char **ret_reason) {
        unsigned status;

        assert(a);
        assert(c);
        assert(ret_reason);

        status = access_policy_decide(
                        &a->config->auth,
                        &a->config->callers,
                        &(AccessQuestion){ c, auth, service, method, path, path_size },
                        ret_reason);
        decided(a, c, status == 200 ? ACCESS_PERMITTED : status == 401 ? ACCESS_UNKNOWN : ACCESS_REFUSED);
        return status;
}

void access_count_use(Access *a, const Caller *c) {
        KeyEntry *e = c->kind == CALLER_KEY ? key_table_find(a->keys, c->key) : NULL;

        if (!e)
                return;
        e->uses++;
        (void) sd_event_now(a->event, CLOCK_REALTIME, &e->used_usec);
}

bool access_still_stands(const Access *a, const Caller *c, uint64_t realtime_usec) {
        uint64_t now_sec = realtime_usec / MAM_USEC_PER_SEC;

        assert(a);
        assert(c);

        if (now_sec >= c->expires_sec)
                return false;
        if (!c->issuer && ((c->token && revoked_has(a->revoked, 't', c->token, now_sec)) ||
                           (c->session && revoked_has(a->revoked, 's', c->session, now_sec))))
                return false;
        return !c->key || !key_table_is_loaded(a->keys) ||
               key_table_is_valid(a->keys, c->key, realtime_usec);
}

int access_admit(
                Access *a,
                const MamRouteAuth *auth,
                const char *service,
                MamHttpExchange *x,
                Caller **ret) {
        _cleanup_(caller_unrefp) Caller *c = NULL;
        const MamHttpHead *head = mam_http_exchange_head(x);
        const char *reason = NULL;
        unsigned status;
        int r;

        r = access_identify(a, x, &c);
        if (r <= 0)
                return r;
        status = access_authorize(
                        a,
                        auth,
                        c,
                        service,
                        mam_http_exchange_method(x),
                        head->path.data,
                        head->path.size,
                        &reason);
        if (status != 200) {
                if (status == 403)
                        audit(a, x, MAM_MESSAGE_ACCESS_REFUSED, "refused", c, service, reason, NULL);
                r = status == 401 ? access_refuse_nobody(x, false)
                                  : mam_http_exchange_problem(x, status, NULL, "%s", reason);
                return r < 0 ? r : 0;
        }

        if (c->kind == CALLER_KEY)
                access_count_use(a, c);
        if (audit_wants_all(a->audit))
                audit(a, x, MAM_MESSAGE_ACCESS_PERMITTED, "permitted", c, service, NULL, NULL);
        *ret = MAM_TAKE(c);
        return 1;
}

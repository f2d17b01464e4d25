/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/test-access.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "libmam/json/json.h"
#include "libmam/obs/log.h"
#include "libmam/util/file.h"

/* ---- the server ---- */

static int respond_with_caller(MamHttpExchange *x, const Caller *c) {
        char text[1024];
        int n;

        n = snprintf(text,
                     sizeof(text),
                     "{\"kind\":\"%s\",\"subject\":\"%s\",\"role\":\"%s\",\"scope\":\"%s\",\"key\":\"%s\"}",
                     caller_kind_to_string(c->kind),
                     c->identity.subject ? c->identity.subject : "",
                     c->identity.n_roles > 0 ? c->identity.roles[0] : "",
                     c->n_scopes > 0 ? c->scopes[0] : "",
                     c->key ? c->key : "");
        return mam_http_exchange_respond(x, 200, "application/json", text, (size_t) n);
}

static int on_request(MamHttpExchange *x, void *userdata) {
        static const char *const ops[] = { "ops", NULL }, *const scope[] = { "x", NULL };
        const char *path = mam_http_exchange_path(x);
        _cleanup_(caller_unrefp) Caller *c = NULL;
        MamRouteAuth auth = { 0 };
        Fixture *f = userdata;
        int r;

        r = access_on_request(f->access, x);
        if (r <= 0)
                return r;
        if (strcmp(path, "/open") == 0)
                auth.anonymous = true;
        if (strncmp(path, "/ops/", 5) == 0)
                auth.roles = (char **) ops;
        if (strcmp(path, "/scoped") == 0)
                auth.scopes = (char **) scope;
        r = access_admit(f->access, &auth, "things", x, &c);
        f->place = mam_http_exchange_hint(x);
        return r <= 0 ? r : respond_with_caller(x, c);
}

static int listen_on(const char *path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd;

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ASSERT_OK(fd);
        (void) snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        ASSERT_EQ(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
        ASSERT_EQ(listen(fd, 64), 0);
        return fd;
}

/* ---- keys and tokens ---- */

char *make_keys(const char *path) {
        char *pem = NULL, *jwks = NULL;

        ASSERT_OK(mam_jwt_generate_ed25519(&pem, &jwks));
        ASSERT_OK(mam_file_write_atomic(path, jwks, strlen(jwks), 0644));
        free(jwks);
        return pem;
}

char *make_token(const char *pem, const char *issuer, const char *claims, int64_t expires_in) {
        json_object *o = json_tokener_parse(claims);
        char *token = NULL;

        ASSERT_TRUE(o);
        if (!json_object_object_get_ex(o, "iss", NULL))
                json_object_object_add(o, "iss", json_object_new_string(issuer));
        if (!json_object_object_get_ex(o, "aud", NULL))
                json_object_object_add(o, "aud", json_object_new_string("mam"));
        json_object_object_add(
                        o,
                        "exp",
                        json_object_new_int64(
                                        (int64_t) (mam_now_realtime() / MAM_USEC_PER_SEC) + expires_in));
        ASSERT_OK(mam_jwt_sign_ed25519(&token, pem, o));
        json_object_put(o);
        return token;
}

void access_tell_key(Fixture *f, const char *roles, const char *scopes, uint64_t expires_usec) {
        char text[1024], mac_text[2 * MAM_API_KEY_MAC_SIZE + 1];
        uint8_t mac[MAM_API_KEY_MAC_SIZE];

        ASSERT_OK(
                        mam_api_key_mac(mac,
                                        TEST_SECRET,
                                        strlen(TEST_SECRET),
                                        f->key_text,
                                        MAM_API_KEY_TEXT_SIZE));
        mam_api_key_mac_format(mac_text, mac);
        (void) snprintf(text,
                        sizeof(text),
                        "{\"keys\":[{\"id\":\"%s\",\"subject\":\"robot\",\"roles\":%s,\"scopes\":%s,\"mac\":\"%s\","
                        "\"expiresUSec\":%llu}]}",
                        f->key_id,
                        roles,
                        scopes,
                        mac_text,
                        (unsigned long long) expires_usec);
        access_take_keys(f->access, text, strlen(text));
        ASSERT_TRUE(key_table_is_loaded(f->access->keys));
}

void access_tell_no_key(Fixture *f) {
        static const char none[] = "{\"keys\":[]}";

        access_take_keys(f->access, none, sizeof(none) - 1);
        ASSERT_EQ(key_table_size(f->access->keys), 0);
}

/* ---- the fixture ---- */

void access_use(Fixture *f, const char *gateway) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *c = NULL;
        _cleanup_(mam_freep) char *problem = NULL, *text = NULL;

        ASSERT_TRUE(asprintf(&text, "{\"gateway\":%s,\"services\":{}}", gateway ? gateway : "{}") > 0);
        if (mam_gateway_config_parse(&c, text, strlen(text), &problem) < 0)
                (void) fprintf(stderr, "# %s\n", problem ? problem : "?");
        ASSERT_TRUE(c);
        ASSERT_OK(access_configure(f->access, c));
}

void access_setup(Fixture *f, const char *gateway, const char *redis) {
        static const MamHttpServerOptions options = { 0 };
        char folder[] = "/tmp/test-access-XXXXXX", path[128];

        ASSERT_TRUE(mkdtemp(folder));
        *f = (Fixture){ 0 };
        (void) snprintf(f->folder, sizeof(f->folder), "%s", folder);
        (void) snprintf(f->path, sizeof(f->path), "%s/gateway.sock", folder);
        (void) snprintf(f->jwks, sizeof(f->jwks), "%s/jwks.json", folder);
        f->pem = make_keys(f->jwks);
        (void) snprintf(path, sizeof(path), "%s/keys.secret", folder);
        ASSERT_OK(mam_file_write_atomic(path, TEST_SECRET, strlen(TEST_SECRET), 0600));
        (void) snprintf(path, sizeof(path), "%s/gateway.key", folder);
        ASSERT_OK(mam_file_write_atomic(path, f->pem, strlen(f->pem), 0600));
        ASSERT_EQ(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
        ASSERT_EQ(setenv("MAM_JWKS", f->jwks, 1), 0);
        ASSERT_EQ(setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1), 0);
        ASSERT_OK(mam_log_set_level("err"));

        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_metrics_new(&f->metrics));
        if (redis) {
                ASSERT_EQ(setenv("MAM_REDIS", redis, 1), 0);
                ASSERT_OK(gateway_redis_new(&f->redis, f->event, NULL, NULL, NULL));
                RUN_UNTIL(f, mam_redis_is_connected(f->redis));
        } else
                ASSERT_EQ(unsetenv("MAM_REDIS"), 0);
        ASSERT_OK(access_new(&f->access, f->event, f->metrics));
        ASSERT_OK(access_start(f->access, f->redis));
        access_use(f, gateway);
        ASSERT_OK(mam_api_key_generate(f->key_text, f->key_id));

        ASSERT_OK(mam_http_server_new(&f->server, f->event, &options, on_request, f));
        ASSERT_OK(mam_http_server_listen(f->server, listen_on(f->path), false, 0));
        ASSERT_OK(mam_http_client_new(&f->client, f->event, f->path, NULL));
}

void access_done(Fixture *f) {
        static const char *const files[] = { "jwks.json",
                                             "keys.secret",
                                             "gateway.key",
                                             "gateway.sock",
                                             "other.json" };

        mam_http_client_free(f->client);
        mam_http_server_free(f->server);
        access_free(f->access);
        mam_redis_free(f->redis);
        mam_metrics_free(f->metrics);
        sd_event_unref(f->event);
        mam_buffer_done(&f->body);
        json_object_put(f->json);
        free(f->pem);
        for (size_t i = 0; i < MAM_ELEMENTSOF(files); i++) {
                char path[128];

                (void) snprintf(path, sizeof(path), "%s/%s", f->folder, files[i]);
                (void) unlink(path);
        }
        ASSERT_EQ(rmdir(f->folder), 0);
}

/* ---- the client ---- */

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Fixture *f = userdata;
        size_t n = 0;

        f->status = head->status;
        f->fields[0] = '\0';
        for (size_t i = 0; i < head->n_fields && n < sizeof(f->fields); i++)
                n += (size_t) snprintf(
                                f->fields + n,
                                sizeof(f->fields) - n,
                                "%.*s: %.*s\n",
                                (int) head->fields[i].name.size,
                                head->fields[i].name.data,
                                (int) head->fields[i].value.size,
                                head->fields[i].value.data);
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Fixture *f = userdata;

        return mam_buffer_append(&f->body, data, size);
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Fixture *f = userdata;

        ASSERT_EQ(error, 0);
        f->ended = true;
}

unsigned ask(Fixture *f,
             const char *method,
             const char *target,
             const char *const *fields,
             const char *form) {
        static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                                    .on_data = on_data,
                                                    .on_end = on_end };
        MamHttpCall *call = NULL;

        f->status = 0;
        f->ended = false;
        mam_buffer_reset(&f->body);
        json_object_put(f->json);
        f->json = NULL;
        ASSERT_OK(mam_http_call_new(&call, f->client, method, target, &callbacks, f));
        for (; fields && *fields; fields += 2)
                ASSERT_OK(mam_http_call_add_field(call, fields[0], fields[1]));
        if (form) {
                ASSERT_OK(mam_http_call_add_field(
                                call,
                                "Content-Type",
                                "application/x-www-form-urlencoded"));
                ASSERT_OK(mam_http_call_set_body(call, form, strlen(form)));
        }
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(f, f->ended);
        mam_http_call_free(call);
        if (f->body.size > 0)
                (void) mam_json_parse(&f->json, mam_buffer_bytes(&f->body), f->body.size, NULL);
        return f->status;
}

unsigned ask_with(Fixture *f, const char *target, const char *token) {
        char value[8192];

        (void) snprintf(value, sizeof(value), "Bearer %s", token ? token : "");
        return ask(f, "GET", target, token ? (const char *[]){ "Authorization", value, NULL } : NULL, NULL);
}

const char *member(const Fixture *f, const char *key) {
        json_object *v = NULL;

        return f->json && json_object_object_get_ex(f->json, key, &v) ? json_object_get_string(v) : "";
}

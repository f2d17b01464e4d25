/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The event bus: mamctl events topics, tail, publish, …
 *
 * By HTTP on the bus' port of this machine, with a token of the manager's that has the role admin.
 */

#include <inttypes.h>
#include <string.h>

#include "libmam/config/config.h"
#include "libmam/http/http-client.h"
#include "libmam/util/buffer.h"
#include "mamctl/bus-json.h"
#include "mamctl/event-bus.h"
#include "mamctl/format-table.h"
#include "mamctl/text.h"

#include "mam-build.h"

#define BUS_SERVICE   "event-bus"
#define ASK_USEC      (60 * MAM_USEC_PER_SEC)
#define ANSWER_MAX    (32U * 1024U * 1024U)
#define INPUT_MAX     (8U * 1024U * 1024U)
#define TAIL_WAIT     "20s"
#define LINES_DEFAULT 10U

typedef struct Bus {
        Client *client;  /* borrowed */
        sd_event *event; /* owned */
        char address[64];
        char *token; /* owned; "Bearer …" */
} Bus;

typedef struct Question {
        MamBuffer body;
        unsigned status;
        int error;
        bool ended;
} Question;

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        ((Question *) userdata)->status = head->status;
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        return mam_buffer_append(&((Question *) userdata)->body, data, size);
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Question *q = userdata;

        q->error = error;
        q->ended = true;
}

static void bus_done(Bus *b) {
        sd_event_unref(b->event);
        free(b->token);
}

/* ---- asking ---- */

static ExitCode find_address(Bus *b) {
        const char *folder = getenv("MAM_CONFIG_DIR");
        _cleanup_(mam_config_freep) MamConfig *config = NULL;
        const MamServiceConfig *s;
        int r;

        if (b->client->invocation->host) {
                client_complain(b->client, "The event bus is asked on its own machine: run mamctl there");
                return EXIT_CODE_USAGE;
        }
        r = mam_config_load(&config, folder ? folder : MAM_CONFIG_DIR, NULL);
        if (r < 0) {
                client_complain(b->client, "Cannot read the configuration: %s", strerror(-r));
                return EXIT_CODE_FAILURE;
        }
        s = mam_config_find(config, BUS_SERVICE);
        if (!s || s->port == 0) {
                client_complain(b->client, "There is no event bus in the configuration.");
                return EXIT_CODE_NO_SUCH_SERVICE;
        }
        (void) snprintf(b->address, sizeof(b->address), "127.0.0.1:%u", (unsigned) s->port);
        return EXIT_CODE_OK;
}

static ExitCode get_token(Bus *b) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *token;
        ExitCode e;
        int r;

        e = client_new_call(b->client, &m, "IssueToken");
        if (e != EXIT_CODE_OK)
                return e;
        r = sd_bus_message_append(m, "sastt", "mamctl", 1, "admin", UINT64_C(0), UINT64_C(0));
        if (r < 0)
                return client_explain(b->client, NULL, r, NULL);
        e = client_send(b->client, m, true, &reply);
        if (e != EXIT_CODE_OK)
                return e;
        r = sd_bus_message_read(reply, "s", &token);
        if (r < 0)
                return client_bad_reply(b->client, r);
        free(MAM_TAKE(b->token));
        if (asprintf(&b->token, "Bearer %s", token) < 0) {
                b->token = NULL;
                return client_explain(b->client, NULL, -ENOMEM, NULL);
        }
        return EXIT_CODE_OK;
}

static int exchange(
                Bus *b,
                Question *q,
                const char *method,
                const char *path,
                const char *type,
                const MamBuffer *body) {
        static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                                    .on_data = on_data,
                                                    .on_end = on_end };
        _cleanup_(mam_http_client_freep) MamHttpClient *client = NULL;
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        int r;

        r = mam_http_client_new(&client, b->event, b->address, NULL);
        if (r >= 0)
                r = mam_http_call_new(&call, client, method, path, &callbacks, q);
        if (r >= 0)
                r = mam_http_call_add_field(call, "Authorization", b->token);
        if (r >= 0 && body)
                r = mam_http_call_add_field(call, "Content-Type", type);
        if (r >= 0 && body)
                r = mam_http_call_set_body(call, mam_buffer_bytes(body), body->size);
        if (r < 0)
                return r;
        mam_http_call_set_timeout(call, ASK_USEC);
        r = mam_http_call_start(call);
        while (r >= 0 && !q->ended)
                r = sd_event_run(b->event, UINT64_MAX);
        return r < 0 ? r : q->error;
}

/* What the bus says about what it does not do. */
static ExitCode refused(Bus *b, const Question *q, json_object *o) {
        const char *detail = o ? json_text(o, "detail") : "";
        _cleanup_(mam_freep) char *clean = text_clean(*detail ? detail : "no reason given");

        client_complain(b->client, "The event bus answers %u: %s", q->status, clean ? clean : "");
        return q->status == 404   ? EXIT_CODE_NO_SUCH_SERVICE
               : q->status == 403 ? EXIT_CODE_ACCESS_DENIED
                                  : EXIT_CODE_FAILURE;
}

/* *ret may be NULL on success: an answer without a body. type and body NULL: none. */
static ExitCode ask(
                Bus *b,
                json_object **ret,
                const char *method,
                const char *path,
                const char *type,
                const MamBuffer *body) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        Question q = { 0 };
        ExitCode e;
        int r;

        for (unsigned attempt = 0;; attempt++) {
                q = (Question){ .body = { .max = ANSWER_MAX } };
                r = exchange(b, &q, method, path, type, body);
                mam_buffer_done(&text);
                text = q.body;
                if (r < 0) {
                        client_complain(b->client,
                                        "The event bus cannot be reached at %s: %s. See 'mamctl status %s'.",
                                        b->address,
                                        strerror(-r),
                                        BUS_SERVICE);
                        return r == -ETIMEDOUT ? EXIT_CODE_TIMEOUT : EXIT_CODE_NOT_RUNNING;
                }
                if (q.status != 401 || attempt > 0)
                        break;
                e = get_token(b); /* it lasts an hour, and following longer */
                if (e != EXIT_CODE_OK)
                        return e;
        }
        if (text.size > 0 && mam_json_parse(&o, mam_buffer_bytes(&text), text.size, NULL) < 0)
                return client_bad_reply(b->client, -EBADMSG);
        if (q.status >= 300)
                return refused(b, &q, o);
        if (ret)
                *ret = MAM_TAKE(o);
        return EXIT_CODE_OK;
}

static ExitCode finish(Client *c, Table *t) {
        int r = table_print(t, stdout, c->terminal.columns, c->terminal.out_colour);

        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

/* ---- topics and subscriptions ---- */

static ExitCode list_topics(Bus *b) {
        static const TableColumn columns[] = {
                { "TOPIC", false, true }, { "KIND", false, false }, { "FIRST", true, false },
                { "LAST", true, false },  { "KEPT", false, false }, { "SCHEMA", false, false },
        };
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_(table_freep) Table *t = NULL;
        json_object *list;
        ExitCode e;
        int r;

        e = ask(b, &o, "GET", "/v1/topics", NULL, NULL);
        if (e != EXIT_CODE_OK)
                return e;
        if (b->client->invocation->json)
                return client_print_json(b->client, o);
        list = json_member(o, "topics");
        if (json_length(list) == 0) {
                client_say(b->client, "There are no topics.");
                return EXIT_CODE_OK;
        }
        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(b->client, NULL, r, NULL);
        for (size_t i = 0; i < json_length(list); i++) {
                json_object *row = json_object_array_get_idx(list, i);

                table_add(t, COLOUR_NONE, "%s", json_text(row, "name"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "kind"));
                table_add(t, COLOUR_NONE, "%" PRIu64, json_number(row, "first"));
                table_add(t, COLOUR_NONE, "%" PRIu64, json_number(row, "last"));
                table_add(t, COLOUR_NONE, "%s", json_text(json_member(row, "retention"), "time"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "schema"));
        }
        return finish(b->client, t);
}

/* With the one that is behind most first, for "lag". */
static int by_lag(const void *a, const void *b) {
        uint64_t x = json_number(*(json_object *const *) a, "lag"),
                 y = json_number(*(json_object *const *) b, "lag");

        return x < y ? 1 : x > y ? -1 : 0;
}

static ExitCode list_subscriptions(Bus *b, bool lag) {
        static const TableColumn columns[] = {
                { "SUBSCRIPTION", false, true }, { "TOPIC", false, true },  { "LAG", true, false },
                { "OLDEST", true, false },       { "OUT", true, false },    { "WAITING", true, false },
                { "DEAD", true, false },         { "STATE", false, false },
        };
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_(table_freep) Table *t = NULL;
        json_object *list;
        ExitCode e;
        int r;

        e = ask(b, &o, "GET", "/v1/subscriptions", NULL, NULL);
        if (e != EXIT_CODE_OK)
                return e;
        list = json_member(o, "subscriptions");
        if (lag && list)
                json_object_array_sort(list, by_lag);
        if (b->client->invocation->json)
                return client_print_json(b->client, o);
        if (json_length(list) == 0) {
                client_say(b->client, "There are no subscriptions.");
                return EXIT_CODE_OK;
        }
        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(b->client, NULL, r, NULL);
        for (size_t i = 0; i < json_length(list); i++) {
                json_object *row = json_object_array_get_idx(list, i), *paused = NULL;
                double seconds = json_real(row, "oldestSeconds");
                uint64_t dead = json_number(row, "dead");
                char text[48] = "-";

                if (seconds > 0)
                        text_format_seconds(text, (uint64_t) (seconds * (double) MAM_USEC_PER_SEC));
                (void) json_object_object_get_ex(row, "paused", &paused);
                table_add(t, COLOUR_NONE, "%s", json_text(row, "name"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "topic"));
                table_add(t, COLOUR_NONE, "%" PRIu64, json_number(row, "lag"));
                table_add(t, COLOUR_NONE, "%s", text);
                table_add(t, COLOUR_NONE, "%" PRIu64, json_number(row, "outstanding"));
                table_add(t, COLOUR_NONE, "%" PRIu64, json_number(row, "waiting"));
                table_add(t, dead > 0 ? COLOUR_YELLOW : COLOUR_NONE, "%" PRIu64, dead);
                table_add(t,
                          COLOUR_NONE,
                          "%s",
                          json_object_get_boolean(paused) ? "paused"
                          : json_member(row, "push")      ? "push"
                                                          : "pull");
        }
        return finish(b->client, t);
}

/* ---- events ---- */

static void print_item(const Client *c, json_object *item) {
        json_object *event = json_member(item, "event"), *data = NULL;
        _cleanup_(mam_freep) char *type = NULL, *subject = NULL, *text = NULL;

        if (c->invocation->json) {
                puts(json_object_to_json_string_ext(
                                item,
                                JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
                return;
        }
        (void) json_object_object_get_ex(event, "data", &data);
        type = text_clean(json_text(event, "type"));
        subject =
                        text_clean(*json_text(event, "subject") ? json_text(event, "subject")
                                                                : json_text(event, "source"));
        text = text_clean(
                        data ? json_object_to_json_string_ext(
                                               data,
                                               JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
                        : *json_text(event, "data_base64") ? "(binary)"
                                                           : "");
        printf("%s  %s  %s  %s\n",
               json_text(item, "recorded"),
               type ? type : "",
               subject ? subject : "",
               text ? text : "");
}

static ExitCode print_page(Bus *b, const char *path, bool backwards, char *next, size_t next_size) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *list;
        ExitCode e;

        e = ask(b, &o, "GET", path, NULL, NULL);
        if (e != EXIT_CODE_OK)
                return e;
        list = json_member(o, "events");
        for (size_t i = 0, n = json_length(list); i < n; i++)
                print_item(b->client, json_object_array_get_idx(list, backwards ? n - 1 - i : i));
        if (backwards && json_length(list) > 0)
                (void) snprintf(next,
                                next_size,
                                "%s",
                                json_text(json_object_array_get_idx(list, 0), "cursor"));
        else if (!backwards)
                (void) snprintf(next, next_size, "%s", json_text(o, "next"));
        return fflush(stdout) < 0 ? EXIT_CODE_FAILURE : EXIT_CODE_OK;
}

static ExitCode tail(Bus *b, const char *topic) {
        const Invocation *i = b->client->invocation;
        uint32_t lines = LINES_DEFAULT;
        char path[320], cursor[64] = "";
        ExitCode e;

        if (i->lines && (value_parse_count(i->lines, &lines) < 0 || lines > 1000)) {
                client_complain(b->client, "--lines: at most 1000 of a topic.");
                return EXIT_CODE_USAGE;
        }
        (void) snprintf(path,
                        sizeof(path),
                        "/v1/topics/%s/events?backwards=1&limit=%u",
                        topic,
                        lines > 0 ? lines : 1);
        if (lines > 0) {
                e = print_page(b, path, true, cursor, sizeof(cursor));
                if (e != EXIT_CODE_OK)
                        return e;
        }
        if (!i->follow)
                return EXIT_CODE_OK;
        if (!*cursor) { /* an empty topic, or --lines=0 */
                (void) snprintf(path, sizeof(path), "/v1/topics/%s/events?from=latest&limit=1", topic);
                e = print_page(b, path, false, cursor, sizeof(cursor));
                if (e != EXIT_CODE_OK)
                        return e;
        }
        for (;;) {
                (void) snprintf(path,
                                sizeof(path),
                                "/v1/topics/%s/events?after=%s&wait=" TAIL_WAIT "&limit=1000",
                                topic,
                                cursor);
                e = print_page(b, path, false, cursor, sizeof(cursor));
                if (e != EXIT_CODE_OK)
                        return e;
        }
}

static int read_input(MamBuffer *b) {
        char piece[65536];
        size_t n;
        int r = 0;

        while (r >= 0 && (n = fread(piece, 1, sizeof(piece), stdin)) > 0)
                r = mam_buffer_append(b, piece, n);
        return r < 0 ? r : ferror(stdin) ? -EIO : 0;
}

/* A CloudEvent, or an array of them, on standard input. */
static ExitCode publish(Bus *b, const char *topic) {
        _cleanup_(mam_buffer_done) MamBuffer input = { .max = INPUT_MAX };
        _cleanup_(json_object_putp) json_object *o = NULL;
        const char *first;
        char path[256];
        ExitCode e;
        int r;

        r = read_input(&input);
        if (r < 0) {
                client_complain(b->client,
                                "Standard input: %s",
                                r == -ENOBUFS ? "more than 8 MiB" : strerror(-r));
                return EXIT_CODE_FAILURE;
        }
        first = mam_buffer_bytes(&input);
        first += strspn(first, " \t\r\n");
        if (*first != '{' && *first != '[') {
                client_complain(b->client,
                                "Standard input must be a CloudEvent as JSON, or an array of them.");
                return EXIT_CODE_USAGE;
        }
        (void) snprintf(path, sizeof(path), "/v1/topics/%s/events", topic);
        e = ask(b,
                &o,
                "POST",
                path,
                *first == '[' ? "application/cloudevents-batch+json" : "application/cloudevents+json",
                &input);
        if (e != EXIT_CODE_OK)
                return e;
        if (b->client->invocation->json)
                return client_print_json(b->client, o);
        client_say(b->client, "Stored: %zu.", json_length(json_member(o, "events")));
        return EXIT_CODE_OK;
}

/* ---- dead letters ---- */

static ExitCode list_dead(Bus *b, const char *subscription) {
        static const TableColumn columns[] = {
                { "NUMBER", true, false }, { "POSITION", true, false }, { "ATTEMPTS", true, false },
                { "TIME", false, false },  { "TYPE", false, true },     { "REASON", false, true },
        };
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_(table_freep) Table *t = NULL;
        json_object *list;
        char path[256];
        ExitCode e;
        int r;

        (void) snprintf(path, sizeof(path), "/v1/subscriptions/%s/dead?limit=1000", subscription);
        e = ask(b, &o, "GET", path, NULL, NULL);
        if (e != EXIT_CODE_OK)
                return e;
        if (b->client->invocation->json)
                return client_print_json(b->client, o);
        list = json_member(o, "dead");
        if (json_length(list) == 0) {
                client_say(b->client, "There are no dead letters.");
                return EXIT_CODE_OK;
        }
        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(b->client, NULL, r, NULL);
        for (size_t i = 0; i < json_length(list); i++) {
                json_object *row = json_object_array_get_idx(list, i);

                table_add(t, COLOUR_NONE, "%" PRIu64, json_number(row, "number"));
                table_add(t, COLOUR_NONE, "%" PRIu64, json_number(row, "position"));
                table_add(t, COLOUR_NONE, "%" PRIu64, json_number(row, "attempts"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "time"));
                table_add(t, COLOUR_NONE, "%s", json_text(json_member(row, "event"), "type"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "reason"));
        }
        return finish(b->client, t);
}

/* Posts an object and prints the one number of the answer. */
static ExitCode post(Bus *b, const char *path, const char *text, const char *member, const char *what) {
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        _cleanup_(json_object_putp) json_object *o = NULL;
        ExitCode e;

        if (mam_buffer_append_string(&body, text) < 0)
                return client_explain(b->client, NULL, -ENOMEM, NULL);
        e = ask(b, &o, "POST", path, "application/json", &body);
        if (e != EXIT_CODE_OK)
                return e;
        if (b->client->invocation->json)
                return client_print_json(b->client, o);
        client_say(b->client, "%s: %" PRIu64 ".", what, json_number(o, member));
        return EXIT_CODE_OK;
}

static ExitCode redrive(Bus *b, const char *subscription) {
        char path[256];

        (void) snprintf(path, sizeof(path), "/v1/subscriptions/%s/redrive", subscription);
        return post(b, path, "{}", "redriven", "Handed out again");
}

/* ---- archives ---- */

static ExitCode list_archives(Bus *b, const char *topic) {
        static const TableColumn columns[] = {
                { "ARCHIVE", false, true }, { "EVENTS", true, false }, { "SIZE", true, false },
                { "FROM", false, false },   { "TO", false, false },
        };
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_(table_freep) Table *t = NULL;
        json_object *list;
        char path[256];
        ExitCode e;
        int r;

        (void) snprintf(path,
                        sizeof(path),
                        "/v1/archives?limit=1000%s%s",
                        topic ? "&topic=" : "",
                        topic ? topic : "");
        e = ask(b, &o, "GET", path, NULL, NULL);
        if (e != EXIT_CODE_OK)
                return e;
        if (b->client->invocation->json)
                return client_print_json(b->client, o);
        list = json_member(o, "archives");
        if (json_length(list) == 0) {
                client_say(b->client, "There are no archives.");
                return EXIT_CODE_OK;
        }
        r = table_new(&t, columns, MAM_ELEMENTSOF(columns), 0);
        if (r < 0)
                return client_explain(b->client, NULL, r, NULL);
        for (size_t i = 0; i < json_length(list); i++) {
                json_object *row = json_object_array_get_idx(list, i);
                char size[32];

                text_format_bytes(size, (double) json_number(row, "bytes"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "name"));
                table_add(t, COLOUR_NONE, "%" PRIu64, json_number(row, "events"));
                table_add(t, COLOUR_NONE, "%s", size);
                table_add(t, COLOUR_NONE, "%s", json_text(row, "from"));
                table_add(t, COLOUR_NONE, "%s", json_text(row, "to"));
        }
        return finish(b->client, t);
}

static ExitCode restore(Bus *b, const char *topic, const char *archive) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        char path[256];

        if (!o || json_object_object_add(o, "archive", json_object_new_string(archive)) < 0)
                return client_explain(b->client, NULL, -ENOMEM, NULL);
        (void) snprintf(path, sizeof(path), "/v1/topics/%s/restore", topic);
        return post(b, path, mam_json_to_string(o), "events", "Events brought back");
}

/* ---- the command ---- */

/* needs: how many arguments behind the word; at least, at most. */
static const struct {
        const char *word, *what;
        unsigned min, max;
} words[] = {
        { "topics", NULL, 0, 0 },
        { "subscriptions", NULL, 0, 0 },
        { "lag", NULL, 0, 0 },
        { "tail", "a topic", 1, 1 },
        { "publish", "a topic", 1, 1 },
        { "dead", "a subscription", 1, 1 },
        { "redrive", "a subscription", 1, 1 },
        { "archive", "a topic", 0, 1 },
        { "restore", "a topic and an archive", 2, 2 },
};

bool event_bus_is_word(const char *word) {
        for (size_t i = 0; i < MAM_ELEMENTSOF(words); i++) {
                if (strcmp(words[i].word, word) == 0)
                        return true;
        }
        return false;
}

/* Names come into paths. */
static bool is_plain(const char *name) {
        return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(name) &&
               strlen(name) <= 128;
}

static ExitCode run(Bus *b, const char *word, const char *first, const char *second) {
        if (strcmp(word, "topics") == 0)
                return list_topics(b);
        if (strcmp(word, "subscriptions") == 0 || strcmp(word, "lag") == 0)
                return list_subscriptions(b, *word == 'l');
        if (strcmp(word, "tail") == 0)
                return tail(b, first);
        if (strcmp(word, "publish") == 0)
                return publish(b, first);
        if (strcmp(word, "dead") == 0)
                return list_dead(b, first);
        if (strcmp(word, "redrive") == 0)
                return redrive(b, first);
        return strcmp(word, "archive") == 0 ? list_archives(b, first) : restore(b, first, second);
}

ExitCode event_bus_run(Client *c) {
        const char *word = c->invocation->arguments[0], *first = c->invocation->arguments[1];
        unsigned n = c->invocation->n_arguments - 1;
        _cleanup_(bus_done) Bus b = { .client = c };
        ExitCode e;
        int r;

        for (size_t i = 0; i < MAM_ELEMENTSOF(words); i++) {
                if (strcmp(words[i].word, word) != 0 || (n >= words[i].min && n <= words[i].max))
                        continue;
                if (n > words[i].max)
                        client_complain(c,
                                        "events %s takes %s.",
                                        word,
                                        words[i].what ? words[i].what : "nothing more");
                else
                        client_complain(c, "events %s needs %s.", word, words[i].what);
                return EXIT_CODE_USAGE;
        }
        if (first && !is_plain(first)) {
                client_complain(c, "'%s' is not the name of a topic or subscription.", first);
                return EXIT_CODE_USAGE;
        }
        r = sd_event_new(&b.event);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);
        e = find_address(&b);
        if (e == EXIT_CODE_OK)
                e = get_token(&b);
        return e == EXIT_CODE_OK ? run(&b, word, first, c->invocation->arguments[2]) : e;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Compiling a schema: documents, resources, references
 *
 * First a document is walked for its subschemas: each becomes a node, and those with an $id begin a
 * resource, to which anchors belong. Then the nodes are filled from their keywords, one after the other;
 * references are followed then, which may load further documents and so add nodes behind. What is left is a
 * graph.
 */

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libmam/json/json-internal.h"
#include "libmam/json/schema-compile.h"

#define ARENA_CHUNK   8192U
#define RESOURCES_MAX 1000U
#define ANCHORS_MAX   2000U
#define WALK_DEPTH    64U /* of documents that were not read by mam_json_parse() */
#define NO_URI        "schema:/"

struct Arena {
        Arena *next;
        size_t used, size;
        _Alignas(max_align_t) char data[];
};

void *mam_json_schema_allocate(MamJsonSchema *s, size_t size) {
        Arena *a = s->arena;
        char *p;

        size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
        if (!a || a->size - a->used < size) {
                size_t chunk = size > ARENA_CHUNK ? size : ARENA_CHUNK;

                a = calloc(1, sizeof(*a) + chunk);
                if (!a)
                        return NULL;
                a->size = chunk;
                a->next = s->arena;
                s->arena = a;
                s->size += sizeof(*a) + chunk;
        }
        p = a->data + a->used;
        a->used += size;
        return p;
}

static int copy_string(Compiler *c, const char **ret, const char *s) {
        size_t n = strlen(s) + 1;
        char *p = mam_json_schema_allocate(c->schema, n);

        if (!p)
                return -ENOMEM;
        memcpy(p, s, n);
        *ret = p;
        return 0;
}

/* ---- errors ---- */

int mam_json_compile_fail(Compiler *c, const Node *n, const char *keyword, const char *format, ...) {
        MamJsonError *e = c->error;
        va_list ap;

        if (!e)
                return -EBADMSG;
        *e = (MamJsonError){ .offset = SIZE_MAX };
        va_start(ap, format);
        (void) vsnprintf(e->message, sizeof(e->message), format, ap);
        va_end(ap);
        if (keyword)
                mam_json_error_prepend(e, keyword);
        for (; n && n->parent; n = n->parent) {
                if (n->token)
                        mam_json_error_prepend(e, n->token);
                mam_json_error_prepend(e, n->keyword);
        }
        return -EBADMSG;
}

int mam_json_compile_too_large(Compiler *c, const char *what) {
        if (c->error)
                (void) mam_json_fail(c->error, "", NULL, "%s", what);
        return -EFBIG;
}

/* ---- nodes by their place ---- */

static size_t slot_of(const Compiler *c, const json_object *json) {
        uintptr_t h = (uintptr_t) json;

        return (size_t) ((h >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (c->n_slots - 1);
}

Node *mam_json_compile_find(const Compiler *c, const json_object *json) {
        if (c->n_slots == 0)
                return NULL;
        for (size_t i = slot_of(c, json); c->slots[i]; i = (i + 1) & (c->n_slots - 1))
                if (c->slots[i]->json == json)
                        return c->slots[i];
        return NULL;
}

static int grow(Compiler *c) {
        size_t n = c->n_slots > 0 ? c->n_slots * 2 : 64;
        Node **nodes = realloc(c->nodes, n / 2 * sizeof(Node *)), **slots = calloc(n, sizeof(Node *));

        if (nodes)
                c->nodes = nodes;
        if (!nodes || !slots) {
                free(slots);
                return -ENOMEM;
        }
        free(c->slots);
        c->slots = slots;
        c->n_slots = n;
        for (size_t i = 0; i < c->n_nodes; i++) {
                size_t at = slot_of(c, c->nodes[i]->json);

                while (slots[at])
                        at = (at + 1) & (n - 1);
                slots[at] = c->nodes[i];
        }
        return 0;
}

static int add_node(Compiler *c, Node **ret, json_object *json) {
        size_t at;
        Node *n;
        int r;

        if (c->n_nodes >= MAM_JSON_SCHEMA_NODES_MAX)
                return mam_json_compile_too_large(c, "has more subschemas than are allowed");
        if (c->n_nodes >= c->n_slots / 2) {
                r = grow(c);
                if (r < 0)
                        return r;
        }
        n = mam_json_schema_allocate(c->schema, sizeof(*n));
        if (!n)
                return -ENOMEM;
        n->json = json;
        n->max_length = n->max_items = n->max_properties = n->max_contains = INT64_MAX;
        n->min_contains = 1;
        for (at = slot_of(c, json); c->slots[at]; at = (at + 1) & (c->n_slots - 1))
                ;
        c->slots[at] = n;
        c->nodes[c->n_nodes++] = n;
        *ret = n;
        return 0;
}

/* ---- resources ---- */

static Resource *find_resource(const Compiler *c, const char *uri) {
        for (size_t i = 0; i < c->n_resources; i++)
                if (strcmp(c->resources[i].uri, uri) == 0)
                        return c->resources[i].resource;
        return NULL;
}

static int name_resource(Compiler *c, const char *uri, Resource *resource) {
        if (c->n_resources >= RESOURCES_MAX)
                return mam_json_compile_too_large(c, "has more $id than are allowed");
        if (c->n_resources % 16 == 0) {
                ResourceName *names = realloc(c->resources, (c->n_resources + 16) * sizeof(*names));

                if (!names)
                        return -ENOMEM;
                c->resources = names;
        }
        c->resources[c->n_resources++] = (ResourceName){ uri, resource };
        return 0;
}

const Anchor *mam_json_resource_find(const Resource *r, const char *name) {
        for (const Anchor *a = r->anchors; a; a = a->next)
                if (strcmp(a->name, name) == 0)
                        return a;
        return NULL;
}

static bool is_anchor_name(const char *s) {
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_'))
                return false;
        return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")] == '\0';
}

static int add_anchor(Compiler *c, Node *n, const char *keyword, bool is_dynamic) {
        json_object *v = NULL;
        const char *name;
        Anchor *a;

        if (!json_object_object_get_ex(n->json, keyword, &v))
                return 0;
        name = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
        if (!is_anchor_name(name))
                return mam_json_compile_fail(c, n, keyword, "must be a name: letters, digits, -, _ and .");
        a = (Anchor *) mam_json_resource_find(n->resource, name);
        if (a && a->node != n)
                return mam_json_compile_fail(c, n, keyword, "is the name of another place, too");
        if (a) {
                a->is_dynamic = a->is_dynamic || is_dynamic;
                return 0;
        }
        if (++c->n_anchors > ANCHORS_MAX)
                return mam_json_compile_too_large(c, "has more anchors than are allowed");
        a = mam_json_schema_allocate(c->schema, sizeof(*a));
        if (!a)
                return -ENOMEM;
        *a = (Anchor){ name, n, is_dynamic, n->resource->anchors };
        n->resource->anchors = a;
        return 0;
}

/* ---- dialects ---- */

static int read_vocabularies(Compiler *c, const Node *n, json_object *metaschema, uint8_t *ret) {
        static const struct {
                const char *name;
                uint8_t bit;
        } known[] = {
                { "core", VOCABULARY_CORE },
                { "applicator", VOCABULARY_APPLICATOR },
                { "unevaluated", VOCABULARY_UNEVALUATED },
                { "validation", VOCABULARY_VALIDATION },
                { "meta-data", VOCABULARY_ANNOTATION },
                { "format-annotation", VOCABULARY_FORMAT },
                { "format-assertion", VOCABULARY_FORMAT | VOCABULARY_FORMAT_ASSERTION },
                { "content", VOCABULARY_ANNOTATION },
        };
        static const char base[] = "https://json-schema.org/draft/2020-12/vocab/";
        json_object *list = NULL;
        uint8_t found = VOCABULARY_CORE;

        if (!json_object_is_type(metaschema, json_type_object) ||
            !json_object_object_get_ex(metaschema, "$vocabulary", &list) ||
            !json_object_is_type(list, json_type_object)) {
                *ret = VOCABULARY_STANDARD;
                return 0;
        }
        json_object_object_foreach(list, uri, is_required) {
                uint8_t bit = 0;

                for (size_t i = 0; i < MAM_ELEMENTSOF(known) && bit == 0; i++)
                        if (strncmp(uri, base, sizeof(base) - 1) == 0 &&
                            strcmp(uri + sizeof(base) - 1, known[i].name) == 0)
                                bit = known[i].bit;
                if (bit == 0 && json_object_get_boolean(is_required))
                        return mam_json_compile_fail(
                                        c,
                                        n,
                                        "$schema",
                                        "needs the vocabulary %.120s, which is not known",
                                        uri);
                found |= bit;
        }
        *ret = found;
        return 0;
}

/* A document that is not known yet; -ENOENT without *error. */
static int fetch(Compiler *c, json_object **ret, const char *uri) {
        const char *text = mam_json_metaschema(uri);

        if (text)
                return mam_json_parse(ret, text, strlen(text), NULL);
        if (!c->options->resolver)
                return -ENOENT;
        return c->options->resolver(ret, uri, c->options->userdata);
}

static int set_dialect(Compiler *c, const Node *n) {
        _cleanup_(json_object_putp) json_object *metaschema = NULL;
        char uri[MAM_JSON_URI_MAX];
        json_object *v = NULL;
        size_t size;
        int r;

        if (!json_object_object_get_ex(n->json, "$schema", &v))
                return 0;
        if (!json_object_is_type(v, json_type_string) || json_object_get_string_len(v) >= (int) sizeof(uri))
                return mam_json_compile_fail(c, n, "$schema", "must be a URI");
        (void) snprintf(uri, sizeof(uri), "%s", json_object_get_string(v));
        size = strlen(uri);
        if (size > 0 && uri[size - 1] == '#')
                uri[size - 1] = '\0';
        if (strcmp(uri, MAM_JSON_SCHEMA_DIALECT) == 0) {
                n->resource->vocabularies = VOCABULARY_STANDARD;
                return 0;
        }
        r = strncmp(uri, "http://json-schema.org/", 23) == 0 ||
                                            strncmp(uri, "https://json-schema.org/draft/20", 32) == 0
                            ? -ENOENT
                            : fetch(c, &metaschema, uri);
        if (r == -ENOENT)
                return mam_json_compile_fail(
                                c,
                                n,
                                "$schema",
                                "is a dialect that is not known: use %s",
                                MAM_JSON_SCHEMA_DIALECT);
        if (r < 0)
                return r;
        return read_vocabularies(c, n, metaschema, &n->resource->vocabularies);
}

/* ---- walking a document ---- */

static int begin_resource(
                Compiler *c,
                Node *n,
                const Resource *outer,
                const char *id,
                const char *document) {
        char uri[MAM_JSON_URI_MAX];
        Resource *resource;
        char *fragment;
        int r;

        if (!mam_json_uri_resolve(uri, outer ? outer->uri : document, id))
                return mam_json_compile_fail(c, n, "$id", "is too long");
        fragment = strchr(uri, '#');
        if (fragment && fragment[1] != '\0')
                return mam_json_compile_fail(c, n, "$id", "must not have a fragment");
        if (fragment)
                *fragment = '\0';
        if (find_resource(c, uri))
                return mam_json_compile_fail(c, n, "$id", "is the $id of another schema, too");

        resource = mam_json_schema_allocate(c->schema, sizeof(*resource));
        if (!resource)
                return -ENOMEM;
        r = copy_string(c, &resource->uri, uri);
        if (r < 0)
                return r;
        resource->root = n;
        resource->vocabularies = outer ? outer->vocabularies : VOCABULARY_STANDARD;
        n->resource = resource;
        return name_resource(c, resource->uri, resource);
}

static int name_node(Compiler *c, Node *n, Resource *outer, const char *document) {
        json_object *v = NULL;
        int r;

        n->resource = outer;
        if (n->kind == NODE_OBJECT && json_object_object_get_ex(n->json, "$id", &v) &&
            !json_object_is_type(v, json_type_string))
                return mam_json_compile_fail(c, n, "$id", "must be a string");
        if (v || !outer) {
                r = begin_resource(c, n, outer, v ? json_object_get_string(v) : "", document);
                if (r < 0)
                        return r;
        }
        if (n->kind != NODE_OBJECT)
                return 0;
        if (n->resource->root == n) {
                r = set_dialect(c, n);
                if (r < 0)
                        return r;
        }
        r = add_anchor(c, n, "$anchor", false);
        return r < 0 ? r : add_anchor(c, n, "$dynamicAnchor", true);
}

static int walk(Compiler *c, Node **ret, json_object *json, const Place *place);

static int walk_children(Compiler *c, Node *n, const Keyword *k, json_object *value, const Place *place) {
        Place inner = {
                .parent = n,
                .keyword = k->name,
                .resource = n->resource,
                .depth = place->depth + 1,
        };
        Node *child;
        int r;

        if (k->shape == SHAPE_SCHEMA)
                return walk(c, &child, value, &inner);
        if (k->shape == SHAPE_MAP && json_object_is_type(value, json_type_object)) {
                json_object_object_foreach(value, key, v) {
                        inner.token = key;
                        r = walk(c, &child, v, &inner);
                        if (r < 0)
                                return r;
                }
        }
        if (k->shape == SHAPE_LIST && json_object_is_type(value, json_type_array)) {
                for (size_t i = 0; i < json_object_array_length(value); i++) {
                        char index[24];

                        (void) snprintf(index, sizeof(index), "%zu", i);
                        r = copy_string(c, &inner.token, index);
                        if (r < 0)
                                return r;
                        r = walk(c, &child, json_object_array_get_idx(value, i), &inner);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int walk(Compiler *c, Node **ret, json_object *json, const Place *place) {
        bool is_object = json_object_is_type(json, json_type_object);
        Node *n = mam_json_compile_find(c, json);
        int r;

        if (n) {
                *ret = n;
                return 0;
        }
        if (!is_object && !json_object_is_type(json, json_type_boolean)) {
                Node at = { .parent = place->parent, .keyword = place->keyword, .token = place->token };

                return mam_json_compile_fail(c, &at, NULL, "must be a schema: an object, true or false");
        }
        if (place->depth > WALK_DEPTH)
                return mam_json_compile_too_large(c, "is nested too deeply");
        r = add_node(c, &n, json);
        if (r < 0)
                return r;
        n->kind = is_object ? NODE_OBJECT : json_object_get_boolean(json) ? NODE_TRUE : NODE_FALSE;
        n->parent = place->parent;
        n->keyword = place->keyword;
        n->token = place->token;
        r = name_node(c, n, place->resource, place->document);
        if (r < 0)
                return r;
        *ret = n;
        if (!is_object)
                return 0;

        json_object_object_foreach(json, key, value) {
                const Keyword *k = mam_json_keyword_find(key);

                if (!k || k->shape == SHAPE_NONE)
                        continue;
                r = walk_children(c, n, k, value, place);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Bytes that a document takes, about. */
static size_t weigh(json_object *o, unsigned depth) {
        size_t n = 96;

        if (depth > WALK_DEPTH)
                return n;
        if (json_object_is_type(o, json_type_string))
                n += (size_t) json_object_get_string_len(o);
        if (json_object_is_type(o, json_type_array))
                for (size_t i = 0; i < json_object_array_length(o); i++)
                        n += weigh(json_object_array_get_idx(o, i), depth + 1);
        if (json_object_is_type(o, json_type_object)) {
                n += 640; /* a table of 16 places, at least */
                json_object_object_foreach(o, key, value) {
                        n += 48 + strlen(key) + weigh(value, depth + 1);
                }
        }
        return n;
}

/* Takes over the reference to json. */
static int add_document(Compiler *c, Resource **ret, json_object *json, const char *uri) {
        MamJsonSchema *s = c->schema;
        const Place place = { .document = uri };
        const char *name;
        Node *root;
        int r;

        if (s->n_documents > MAM_JSON_SCHEMA_DOCUMENTS_MAX) {
                json_object_put(json);
                return mam_json_compile_too_large(c, "refers to more documents than are allowed");
        }
        s->documents[s->n_documents++] = json;
        s->size += weigh(json, 0);
        r = walk(c, &root, json, &place);
        if (r < 0)
                return r;
        if (strcmp(root->resource->uri, uri) != 0 && !find_resource(c, uri)) {
                r = copy_string(c, &name, uri);
                if (r >= 0)
                        r = name_resource(c, name, root->resource);
                if (r < 0)
                        return r;
        }
        *ret = root->resource;
        return 0;
}

/* ---- references ---- */

static int hex(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode_fragment(char *s) {
        char *out = s;

        while (*s) {
                int high, low;

                if (*s != '%') {
                        *out++ = *s++;
                        continue;
                }
                high = hex(s[1]);
                low = high >= 0 ? hex(s[2]) : -1;
                if (low < 0 || high * 16 + low == 0)
                        return false;
                *out++ = (char) (high * 16 + low);
                s += 3;
        }
        *out = '\0';
        return true;
}

/* One token of a pointer, in place. */
static void unescape(char *s) {
        char *out = s;

        for (; *s; s++) {
                *out = *s;
                if (*s == '~' && (s[1] == '0' || s[1] == '1'))
                        *out = *++s == '0' ? '~' : '/';
                out++;
        }
        *out = '\0';
}

static bool enter(json_object **json, const char *token) {
        size_t index = 0;

        if (json_object_is_type(*json, json_type_object))
                return json_object_object_get_ex(*json, token, json);
        if (!json_object_is_type(*json, json_type_array) || *token == '\0' || strlen(token) > 9)
                return false;
        for (; *token >= '0' && *token <= '9'; token++)
                index = index * 10 + (size_t) (*token - '0');
        if (*token != '\0' || index >= json_object_array_length(*json))
                return false;
        *json = json_object_array_get_idx(*json, index);
        return true;
}

/* -ENOENT: it leads to nothing that could be a schema. */
static int follow_pointer(Compiler *c, Node **ret, Resource *in, char *pointer) {
        Place place = { .resource = in };
        json_object *json = in->root->json;

        for (char *p = pointer[0] == '/' ? pointer : NULL; p;) {
                char *token = p + 1;
                const Node *n;

                p = strchr(token, '/');
                if (p)
                        *p = '\0';
                unescape(token);
                if (!enter(&json, token))
                        return -ENOENT;
                n = mam_json_compile_find(c, json);
                if (n)
                        place.resource = n->resource;
        }
        if (!json_object_is_type(json, json_type_object) && !json_object_is_type(json, json_type_boolean))
                return -ENOENT;
        return walk(c, ret, json, &place);
}

static int load(Compiler *c, Resource **ret, const char *uri) {
        json_object *json = NULL;
        int r;

        r = fetch(c, &json, uri);
        return r < 0 ? r : add_document(c, ret, json, uri);
}

int mam_json_compile_reference(
                Compiler *c,
                const Node *from,
                const char *keyword,
                const char *reference,
                Node **ret,
                const char **ret_anchor) {
        Resource *resource = from->resource;
        char uri[MAM_JSON_URI_MAX], *fragment;
        const Anchor *a;
        int r;

        if (!mam_json_uri_resolve(uri, resource->uri, reference))
                return mam_json_compile_fail(c, from, keyword, "is too long");
        fragment = strchr(uri, '#');
        if (fragment)
                *fragment++ = '\0';
        if (reference[0] != '#') {
                resource = find_resource(c, uri);
                r = resource ? 0 : load(c, &resource, uri);
                if (r == -ENOENT)
                        return mam_json_compile_fail(c, from, keyword, "there is no schema at %.150s", uri);
                if (r < 0)
                        return r;
        }
        if (fragment && !decode_fragment(fragment))
                return mam_json_compile_fail(c, from, keyword, "is not a URI");
        if (!fragment || fragment[0] == '\0') {
                *ret = resource->root;
                return 0;
        }
        if (fragment[0] == '/') {
                r = follow_pointer(c, ret, resource, fragment);
                return r == -ENOENT ? mam_json_compile_fail(
                                                      c,
                                                      from,
                                                      keyword,
                                                      "leads to nothing that is a schema")
                                    : r;
        }
        a = mam_json_resource_find(resource, fragment);
        if (!a)
                return mam_json_compile_fail(c, from, keyword, "there is no anchor \"%.100s\"", fragment);
        *ret = a->node;
        if (ret_anchor && a->is_dynamic)
                *ret_anchor = a->name;
        return 0;
}

/* ---- cycles ---- */

enum {
        VISIT_NEW,
        VISIT_OPEN,
        VISIT_DONE,
};

static int check_cycles(Compiler *c, Node *n, unsigned depth);

static int check_list(Compiler *c, const NodeList *l, unsigned depth) {
        int r;

        for (size_t i = 0; i < l->n; i++) {
                r = check_cycles(c, l->items[i], depth);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What is applied to the same value as n: were n among it, validation would not end. */
static int check_cycles(Compiler *c, Node *n, unsigned depth) {
        int r = 0;

        if (!n || n->visit == VISIT_DONE)
                return 0;
        if (n->visit == VISIT_OPEN)
                return mam_json_compile_fail(c, n, NULL, "refers to itself without end");
        if (depth > MAM_JSON_SCHEMA_DEPTH_MAX / 2)
                return mam_json_compile_too_large(c, "is nested too deeply");
        n->visit = VISIT_OPEN;
        Node *const singles[] = { n->ref,         n->is_dynamic ? NULL : n->dynamic_ref,
                                  n->not_schema,  n->if_schema,
                                  n->then_schema, n->else_schema };
        for (size_t i = 0; i < MAM_ELEMENTSOF(singles) && r >= 0; i++)
                r = check_cycles(c, singles[i], depth + 1);
        if (r >= 0)
                r = check_list(c, &n->all_of, depth + 1);
        if (r >= 0)
                r = check_list(c, &n->any_of, depth + 1);
        if (r >= 0)
                r = check_list(c, &n->one_of, depth + 1);
        n->visit = VISIT_DONE;
        return r;
}

/* ---- */

static void compiler_done(Compiler *c) {
        free(c->nodes);
        free(c->slots);
        free(c->resources);
}

int mam_json_schema_compile(
                MamJsonSchema **ret,
                json_object *schema,
                const MamJsonSchemaOptions *options,
                MamJsonError *error) {
        static const MamJsonSchemaOptions no_options = { 0 };
        _cleanup_(mam_json_schema_freep) MamJsonSchema *s = NULL;
        _cleanup_(compiler_done) Compiler c = { .options = options ? options : &no_options, .error = error };
        Resource *resource = NULL;
        int r;

        assert(ret);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->steps_max = c.options->steps_max > 0 ? c.options->steps_max : MAM_JSON_SCHEMA_STEPS_MAX;
        c.schema = s;
        c.steps = s->steps_max;
        r = add_document(&c, &resource, json_object_get(schema), c.options->uri ? c.options->uri : NO_URI);
        if (r < 0)
                return r;
        for (size_t i = 0; i < c.n_nodes; i++) {
                r = mam_json_compile_node(&c, c.nodes[i]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < c.n_nodes; i++) {
                r = check_cycles(&c, c.nodes[i], 0);
                if (r < 0)
                        return r;
        }
        s->root = resource->root;
        *ret = MAM_TAKE(s);
        return 0;
}

MamJsonSchema *mam_json_schema_free(MamJsonSchema *s) {
        if (!s)
                return NULL;
        for (Pattern *p = s->patterns; p; p = p->next)
                pcre2_code_free(p->code);
        for (Arena *a = s->arena, *next; a; a = next) {
                next = a->next;
                free(a);
        }
        for (size_t i = 0; i < s->n_documents; i++)
                json_object_put(s->documents[i]);
        free(s);
        return NULL;
}

size_t mam_json_schema_size(const MamJsonSchema *s) {
        return s->size;
}

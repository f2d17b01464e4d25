/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql/execute.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "api-gateway/graphql/execute-internal.h"
#include "api-gateway/graphql/values.h"

#define CODE_INTERNAL "INTERNAL_SERVER_ERROR"

/* ---- nodes ---- */

static void execution_fail(GqlExecution *x, const char *code, const char *why) {
        if (!x->failed)
                (void) gql_error(x->errors, code, x->operation->place, "%s", why);
        x->failed = true;
}

static GqlNode *node_new(GqlExecution *x, GqlNode *parent, const char *name) {
        GqlNode *n;

        if (x->failed)
                return NULL;
        if (x->nodes_left == 0) {
                execution_fail(x, GQL_CODE_LIMIT, "The answer has too many values");
                return NULL;
        }
        x->nodes_left--;
        n = GQL_NEW(x->arena, GqlNode);
        if (!n) {
                execution_fail(x, GQL_CODE_LIMIT, "The answer needs too much memory");
                return NULL;
        }
        n->parent = parent;
        n->name = name;
        if (parent) {
                if (parent->last) {
                        n->index = parent->last->index + 1;
                        parent->last->next = n;
                } else
                        parent->first = n;
                parent->last = n;
        }
        return n;
}

bool gql_node_is_lost(const GqlNode *n) {
        for (; n; n = n->parent)
                if (n->failed)
                        return true;
        return false;
}

/* Null here, or at the nearest place above that may be null. */
static void node_nullify(GqlNode *n) {
        while (n->non_null && n->parent)
                n = n->parent;
        n->kind = GQL_NODE_NULL;
        n->failed = true;
        n->first = n->last = NULL;
}

GqlError *gql_node_fail(
                GqlExecution *x,
                GqlNode *n,
                const GqlGroup *g,
                const char *code,
                const char *format,
                ...) {
        GqlError *e;
        char text[1024];
        va_list ap;

        if (gql_node_is_lost(n))
                return NULL;
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        e = gql_error(x->errors, code, g->first->place, "%s", text);
        if (e)
                e->path = n;
        node_nullify(n);
        return e;
}

/* ---- plans ---- */

static bool applies_to(const GqlType *condition, const GqlType *object) {
        return !condition || gql_type_includes(condition, object);
}

static int plan_add(GqlExecution *x, GqlPlan *p, const GqlSelection *s) {
        const char *name = s->alias ?: s->name;
        GqlSelected *selected = GQL_NEW(x->arena, GqlSelected);
        GqlGroup **g = &p->groups;

        if (!selected)
                return -ENOMEM;
        selected->selection = s;
        while (*g && strcmp((*g)->name, name) != 0)
                g = &(*g)->next;
        if (!*g) {
                *g = GQL_NEW(x->arena, GqlGroup);
                if (!*g)
                        return -ENOMEM;
                (*g)->name = name;
                (*g)->first = s;
                (*g)->parent = p->type;
                (*g)->field = gql_schema_find_field(x->schema, p->type, s->name);
                (*g)->selections = (*g)->last = selected;
                return 0;
        }
        (*g)->last->next = selected;
        (*g)->last = selected;
        return 0;
}

/* CollectFields(). A fragment that was there already adds nothing: the fields merge. */
static int plan_collect(GqlExecution *x, GqlPlan *p, const GqlSelection *list) {
        int r = 0;

        for (const GqlSelection *s = list; s && r >= 0; s = s->next) {
                if (!gql_is_included(s->directives, x->variables))
                        continue;
                if (s->kind == GQL_SELECTION_FIELD)
                        r = plan_add(x, p, s);
                else if (s->kind == GQL_SELECTION_INLINE && applies_to(s->on, p->type))
                        r = plan_collect(x, p, s->selections);
                else if (s->kind == GQL_SELECTION_SPREAD && applies_to(s->fragment->on, p->type))
                        r = plan_collect(x, p, s->fragment->selections);
        }
        return r;
}

/* What is selected below a group, for objects of a type. */
static GqlPlan *group_plan(GqlExecution *x, GqlGroup *g, const GqlType *type) {
        GqlPlan *p;

        for (p = g->plans; p; p = p->next)
                if (p->type == type)
                        return p;
        p = GQL_NEW(x->arena, GqlPlan);
        if (!p)
                return NULL;
        p->type = type;
        for (const GqlSelected *s = g->selections; s; s = s->next)
                if (plan_collect(x, p, s->selection->selections) < 0)
                        return NULL;
        p->next = g->plans;
        g->plans = p;
        return p;
}

/* Coerced once. false: they are bad, and the error is there, or was. */
static bool group_arguments(GqlExecution *x, GqlGroup *g, GqlNode *n) {
        const GqlField *f = g->field;
        size_t before = x->errors->n;
        int r;

        if (!g->arguments_known) {
                g->arguments_known = true;
                r = gql_arguments_coerce(
                                &g->arguments,
                                x->errors,
                                g->first->place,
                                g->first->arguments,
                                f->arguments,
                                x->variables);
                if (r >= 0) {
                        g->with_arguments = x->arguments;
                        x->arguments = g;
                } else {
                        g->arguments_bad = true;
                        if (r == -ENOMEM)
                                execution_fail(x, CODE_INTERNAL, "The gateway is out of memory");
                        else if (x->errors->n == before + 1 && x->errors->last)
                                x->errors->last->path = n;
                        node_nullify(n);
                        return false;
                }
        } else if (g->arguments_bad)
                (void) gql_node_fail(x, n, g, GQL_CODE_INPUT, "The arguments of the field are not valid");
        return !g->arguments_bad;
}

/* ---- values ---- */

static void execute_groups(GqlExecution *x, GqlNode *n, GqlGroup *groups, const GqlOrigin *origin);

static bool leaf_is_good(const GqlType *t, json_object *o) {
        json_type kind = json_object_get_type(o);
        int64_t n;

        switch (t->scalar) {
        case GQL_SCALAR_INT:
                n = json_object_get_int64(o);
                return kind == json_type_int && n >= INT32_MIN && n <= INT32_MAX;
        case GQL_SCALAR_FLOAT:
                return kind == json_type_int ||
                       (kind == json_type_double && isfinite(json_object_get_double(o)));
        case GQL_SCALAR_STRING:
                return kind == json_type_string;
        case GQL_SCALAR_BOOLEAN:
                return kind == json_type_boolean;
        case GQL_SCALAR_ID:
                return kind == json_type_string || kind == json_type_int;
        case GQL_SCALAR_CUSTOM:
        default:
                return true;
        }
}

static void complete_leaf(GqlExecution *x, GqlNode *n, GqlGroup *g, const GqlType *t, json_object *o) {
        if (t->kind == GQL_ENUM) {
                const char *text = json_object_is_type(o, json_type_string) ? json_object_get_string(o) : "";

                for (const GqlEnumValue *v = t->values; v; v = v->next)
                        if (strcmp(v->json_name, text) == 0) {
                                n->kind = GQL_NODE_TEXT;
                                n->text = v->name;
                                return;
                        }
        } else if (leaf_is_good(t, o)) {
                n->kind = GQL_NODE_JSON;
                n->json = o;
                if (t->scalar == GQL_SCALAR_ID && json_object_is_type(o, json_type_int)) {
                        n->kind = GQL_NODE_TEXT;
                        n->text = gql_printf(x->arena, "%s", json_object_get_string(o)) ?: "";
                }
                return;
        }
        (void) gql_node_fail(
                        x,
                        n,
                        g,
                        "UPSTREAM_ERROR",
                        "The service's answer is no value of type \"%s\"",
                        t->name);
}

/* Which object this is. */
static const GqlType *object_type(const GqlType *t, json_object *o) {
        json_object *member = NULL;
        const char *name;

        if (t->kind == GQL_OBJECT)
                return t;
        if (!json_object_object_get_ex(o, t->kind_member, &member) ||
            !json_object_is_type(member, json_type_string))
                return NULL;
        name = json_object_get_string(member);
        for (size_t i = 0; i < t->n_possible; i++)
                if (strcmp(t->possible[i]->json_name, name) == 0)
                        return t->possible[i];
        return NULL;
}

static void complete_object(
                GqlExecution *x,
                GqlNode *n,
                GqlGroup *g,
                const GqlType *t,
                const GqlOrigin *origin) {
        GqlPlan *p = group_plan(x, g, t);

        if (!p) {
                execution_fail(x, GQL_CODE_LIMIT, "The answer needs too much memory");
                return;
        }
        n->kind = GQL_NODE_OBJECT;
        execute_groups(x, n, p->groups, origin);
}

static void complete_composite(GqlExecution *x, GqlNode *n, GqlGroup *g, const GqlType *t, json_object *o) {
        const GqlOrigin origin = { .json = o };
        const GqlType *object = json_object_is_type(o, json_type_object) ? object_type(t, o) : NULL;

        if (object)
                complete_object(x, n, g, object, &origin);
        else
                (void) gql_node_fail(
                                x,
                                n,
                                g,
                                "UPSTREAM_ERROR",
                                "The service's answer is no object of type \"%s\"",
                                t->name);
}

static void complete_list(GqlExecution *x, GqlNode *n, GqlGroup *g, const GqlTypeRef *of, json_object *o) {
        size_t size;

        if (!json_object_is_type(o, json_type_array)) {
                (void) gql_node_fail(x, n, g, "UPSTREAM_ERROR", "The service's answer is not a list");
                return;
        }
        n->kind = GQL_NODE_LIST;
        size = json_object_array_length(o);
        for (size_t i = 0; i < size && !n->failed; i++) {
                GqlNode *item = node_new(x, n, NULL);

                if (!item)
                        return;
                gql_complete(x, item, g, of, json_object_array_get_idx(o, i));
                if (gql_node_is_lost(n))
                        return;
        }
}

/* CompleteValue() */
void gql_complete(GqlExecution *x, GqlNode *n, GqlGroup *g, const GqlTypeRef *type, json_object *o) {
        n->non_null = type->kind == GQL_TYPE_REF_NON_NULL;
        if (!o) {
                if (n->non_null)
                        (void) gql_node_fail(
                                        x,
                                        n,
                                        g,
                                        "UPSTREAM_ERROR",
                                        "The service gave no value for \"%s.%s\", which is never null",
                                        g->parent->name,
                                        g->first->name);
                return;
        }
        type = gql_type_ref_nullable(type);
        if (type->kind == GQL_TYPE_REF_LIST)
                complete_list(x, n, g, type->of, o);
        else if (gql_type_is_composite(type->type))
                complete_composite(x, n, g, type->type, o);
        else
                complete_leaf(x, n, g, type->type, o);
}

/* ---- introspection ---- */

static void complete_meta_one(GqlExecution *x, GqlNode *n, GqlGroup *g, GqlMeta meta) {
        const GqlOrigin origin = { .meta = meta };

        complete_object(x, n, g, gql_type_ref_named(g->field->type), &origin);
}

static void complete_meta(GqlExecution *x, GqlNode *n, GqlGroup *g, const GqlMetaAnswer *a) {
        n->non_null = g->field->type->kind == GQL_TYPE_REF_NON_NULL;
        if (a->is_null)
                return;
        if (a->is_list) {
                n->kind = GQL_NODE_LIST;
                for (size_t i = 0; i < a->n; i++) {
                        GqlNode *item = node_new(x, n, NULL);

                        if (!item)
                                return;
                        if (a->items)
                                complete_meta_one(x, item, g, a->items[i]);
                        else {
                                item->kind = GQL_NODE_TEXT;
                                item->text = a->texts[i];
                        }
                }
        } else if (a->is_boolean) {
                n->kind = GQL_NODE_BOOLEAN;
                n->boolean = a->boolean;
        } else if (a->text) {
                n->kind = GQL_NODE_TEXT;
                n->text = a->text;
        } else
                complete_meta_one(x, n, g, a->one);
}

static void resolve_meta(GqlExecution *x, GqlNode *n, GqlGroup *g, const GqlOrigin *origin) {
        GqlMetaAnswer a;

        if (!group_arguments(x, g, n))
                return;
        if (gql_introspect(&a, x->schema, x->arena, origin->meta, g->field, g->arguments) < 0)
                execution_fail(x, GQL_CODE_LIMIT, "The answer needs too much memory");
        else
                complete_meta(x, n, g, &a);
}

/* ---- fields ---- */

static void execute_field(GqlExecution *x, GqlNode *n, GqlGroup *g, const GqlOrigin *origin) {
        const GqlField *f = g->field;
        json_object *o = NULL;

        n->non_null = f->type->kind == GQL_TYPE_REF_NON_NULL;
        if (f == x->schema->field_typename) {
                n->kind = GQL_NODE_TEXT;
                n->text = g->parent->name;
        } else if (f->meta > 0)
                resolve_meta(x, n, g, origin);
        else if (f->rest) {
                if (group_arguments(x, g, n))
                        gql_fetch_for(x, n, g, origin->json);
        } else {
                (void) json_object_object_get_ex(origin->json, f->json_name, &o);
                gql_complete(x, n, g, f->type, o);
        }
}

static void execute_groups(GqlExecution *x, GqlNode *n, GqlGroup *groups, const GqlOrigin *origin) {
        for (GqlGroup *g = groups; g && !gql_node_is_lost(n); g = g->next) {
                GqlNode *child = node_new(x, n, g->name);

                if (!child)
                        return;
                execute_field(x, child, g, origin);
        }
}

/* ---- all of it ---- */

/* The next field of a mutation's root, by itself. */
static void execute_next_root(GqlExecution *x) {
        static const GqlOrigin nothing = { 0 };
        GqlGroup *g = x->next_root;
        GqlNode *n;

        x->next_root = gql_node_is_lost(x->root) ? NULL : g->next;
        gql_fetch_forget(x); /* what was read before may be different now */
        n = gql_node_is_lost(x->root) ? NULL : node_new(x, x->root, g->name);
        if (n)
                execute_field(x, n, g, &nothing);
}

int gql_execution_continue(GqlExecution *x) {
        while (!x->failed) {
                gql_fetch_start_ready(x);
                if (x->n_running > 0)
                        return 0;
                if (!x->next_root)
                        break;
                execute_next_root(x);
        }
        x->done = true;
        return 1;
}

int gql_execution_start(
                GqlExecution **ret,
                GqlSchema *s,
                GqlArena *arena,
                GqlErrors *errors,
                const GqlOperation *operation,
                json_object *variables,
                unsigned requests_max,
                const GqlFetcher *fetcher,
                void (*on_done)(GqlExecution *x, void *userdata),
                void *userdata) {
        static const GqlOrigin nothing = { 0 };
        _cleanup_(gql_execution_freep) GqlExecution *x = NULL;
        GqlPlan p = { 0 };
        int r;

        assert(ret);
        assert(operation);
        assert(fetcher);

        x = calloc(1, sizeof(*x));
        if (!x)
                return -ENOMEM;
        x->schema = gql_schema_ref(s);
        x->arena = arena;
        x->errors = errors;
        x->operation = operation;
        x->variables = variables;
        x->fetcher = *fetcher;
        x->on_done = on_done;
        x->userdata = userdata;
        x->nodes_left = GQL_NODES_MAX;
        x->requests_left = requests_max;
        x->bytes_left = GQL_ANSWERS_MAX;

        x->root = node_new(x, NULL, NULL);
        p.type = operation->kind == GQL_MUTATION ? s->mutation : s->query;
        if (!x->root || plan_collect(x, &p, operation->selections) < 0)
                return -ENOMEM;
        x->root->kind = GQL_NODE_OBJECT;
        if (operation->kind == GQL_MUTATION)
                x->next_root = p.groups;
        else
                execute_groups(x, x->root, p.groups, &nothing);
        r = gql_execution_continue(x);
        *ret = MAM_TAKE(x);
        return r;
}

GqlExecution *gql_execution_free(GqlExecution *x) {
        if (!x)
                return NULL;

        gql_fetches_free(x);
        for (GqlGroup *g = x->arguments; g; g = g->with_arguments)
                json_object_put(g->arguments);
        gql_schema_unref(x->schema);
        free(x);
        return NULL;
}

unsigned gql_execution_requests(const GqlExecution *x) {
        return x->n_requests;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The table: a tree of segments below each host
 *
 * A node stands for one position in a path, so a walk meets each node at most once, whatever the request:
 * where text and {param} both go on, the text is tried first, then the parameter.
 */

#include "api-gateway/routes.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "api-gateway/limits.h"
#include "api-gateway/upstream.h"

#define HOST_MAX     256U
#define VERSION_NONE 10000U /* above all versions */

/* Routes with the same host and path. */
typedef struct Leaves {
        Route **routes; /* owned list of borrowed routes */
        size_t n;
} Leaves;

typedef struct Node Node;
struct Node {
        const char *segment; /* borrowed from a route's path */
        size_t size;
        Node **children; /* owned; sorted by segment */
        size_t n_children;
        Node *param;                  /* owned; or NULL */
        Leaves exact, rest, prefixed; /* paths that end here, {rest...} and prefixes from here on */
};

typedef struct Host {
        const char *name; /* borrowed from a route; without "*." */
        bool wildcard;
        Node root;
} Host;

struct RouteTable {
        unsigned n_ref;
        MamGatewayConfig *config; /* reference */
        Route **routes;           /* owned, and each of them */
        size_t n_routes;
        Host **hosts; /* owned; sorted by name, plain before wildcard */
        size_t n_hosts;
        Node any;      /* for all hosts */
        size_t *index; /* owned; by hash of the label: place in routes + 1, or 0 */
        size_t index_size;
};

/* One request while it is looked up. */
typedef struct Query {
        const MamHttpHead *head;
        MamHttpRange segments[MAM_ROUTE_SEGMENTS_MAX + 1];
        size_t n;
        bool encoded; /* there is a '%' somewhere */
        bool has_version;
        uint32_t version; /* once has_version */
        RouteMiss miss;
        /* route_table_allow() gathers methods instead of choosing */
        void (*visit)(const Route *route, void *userdata);
        void *userdata;
} Query;

/* ---- states ---- */

static RouteState *route_state_unref(RouteState *s) {
        if (!s || --s->n_ref > 0)
                return NULL;

        if (s->forward_free)
                s->forward_free(s->forward);
        free(s->label);
        free(s);
        return NULL;
}

/* The one of the previous table, or a new one: a reference. */
static RouteState *route_state_get(const RouteTable *previous, const char *label) {
        const Route *old = previous ? route_table_find(previous, label) : NULL;
        RouteState *s;

        if (old) {
                old->state->n_ref++;
                return old->state;
        }
        s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->n_ref = 1;
        s->label = strdup(label);
        return s->label ? s : route_state_unref(s);
}

void route_count(const Route *route, unsigned status, uint64_t duration_usec, uint64_t bytes) {
        RouteState *s = route->state;

        s->requests++;
        s->errors += status >= 500;
        s->refused += status >= 400 && status < 499;
        s->duration_usec += duration_usec;
        s->bytes += bytes;
}

bool route_share(uint32_t *credit, uint32_t ppm) {
        *credit += ppm;
        if (*credit < MAM_PPM)
                return false;
        *credit -= MAM_PPM;
        return true;
}

/* ---- routes ---- */

static Route *route_free(Route *r) {
        if (!r)
                return NULL;

        route_state_unref(r->state);
        limit_rule_unref(r->limit);
        if (r->upstream)
                r->upstream->n_routes--;
        free(r);
        return NULL;
}

MAM_DEFINE_CLEANUP(Route, route_free);

const Route *route_ref(const Route *route) {
        route_table_ref(route->table);
        return route;
}

const Route *route_unref(const Route *route) {
        if (route)
                route_table_unref(route->table);
        return NULL;
}

/* ---- the tree ---- */

static void node_done(Node *n) {
        for (size_t i = 0; i < n->n_children; i++) {
                node_done(n->children[i]);
                free(n->children[i]);
        }
        if (n->param)
                node_done(n->param);
        free(n->param);
        free(n->children);
        free(n->exact.routes);
        free(n->rest.routes);
        free(n->prefixed.routes);
}

static int compare(const char *a, size_t na, const char *b, size_t nb) {
        int c = memcmp(a, b, na < nb ? na : nb);

        return c != 0 ? c : (na > nb) - (na < nb);
}

/* Where the segment is, or would be. */
static bool find_child(const Node *n, const char *segment, size_t size, size_t *ret) {
        size_t low = 0, high = n->n_children;

        while (low < high) {
                size_t middle = (low + high) / 2;
                const Node *child = n->children[middle];
                int c = compare(segment, size, child->segment, child->size);

                if (c == 0) {
                        *ret = middle;
                        return true;
                }
                if (c < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        *ret = low;
        return false;
}

static Node *add_child(Node *n, const char *segment, size_t size) {
        Node *child, **children;
        size_t at;

        if (find_child(n, segment, size, &at))
                return n->children[at];
        children = reallocarray(n->children, n->n_children + 1, sizeof(*children));
        if (!children)
                return NULL;
        n->children = children;
        child = calloc(1, sizeof(*child));
        if (!child)
                return NULL;
        child->segment = segment;
        child->size = size;
        memmove(children + at + 1, children + at, (n->n_children - at) * sizeof(*children));
        children[at] = child;
        n->n_children++;
        return child;
}

static bool is_rest(const char *segment, size_t size) {
        return size > 5 && segment[0] == '{' && memcmp(segment + size - 4, "...}", 4) == 0;
}

/* The list that a route belongs to, with the nodes on the way made. */
static Leaves *add_path(Node *n, const MamRouteConfig *config) {
        for (const char *s = config->path; *s;) {
                size_t size = strcspn(++s, "/");

                if (is_rest(s, size))
                        return &n->rest;
                if (size > 0 && s[0] == '{') {
                        if (!n->param)
                                n->param = calloc(1, sizeof(*n->param));
                        n = n->param;
                } else {
                        n = add_child(n, s, size);
                }
                if (!n)
                        return NULL;
                s += size;
        }
        return config->is_prefix ? &n->prefixed : &n->exact;
}

/* ---- hosts ---- */

static bool find_host(const RouteTable *t, const char *name, bool wildcard, size_t *ret) {
        size_t low = 0, high = t->n_hosts;

        while (low < high) {
                size_t middle = (low + high) / 2;
                int c = strcmp(name, t->hosts[middle]->name);

                if (c == 0)
                        c = (int) wildcard - (int) t->hosts[middle]->wildcard;
                if (c == 0) {
                        *ret = middle;
                        return true;
                }
                if (c < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        *ret = low;
        return false;
}

static Node *add_host(RouteTable *t, const char *host) {
        bool wildcard = host && host[0] == '*';
        const char *name = wildcard ? host + 2 : host;
        Host *h, **hosts;
        size_t at;

        if (!host)
                return &t->any;
        if (find_host(t, name, wildcard, &at))
                return &t->hosts[at]->root;
        hosts = reallocarray(t->hosts, t->n_hosts + 1, sizeof(*hosts));
        if (!hosts)
                return NULL;
        t->hosts = hosts;
        h = calloc(1, sizeof(*h));
        if (!h)
                return NULL;
        h->name = name;
        h->wildcard = wildcard;
        memmove(hosts + at + 1, hosts + at, (t->n_hosts - at) * sizeof(*hosts));
        hosts[at] = h;
        t->n_hosts++;
        return &h->root;
}

/* ---- the table ---- */

int route_table_new(RouteTable **ret, MamGatewayConfig *config) {
        RouteTable *t;

        assert(ret);
        assert(config);

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->n_ref = 1;
        t->config = mam_gateway_config_ref(config);

        *ret = t;
        return 0;
}

RouteTable *route_table_ref(RouteTable *t) {
        assert(t->n_ref > 0);

        t->n_ref++;
        return t;
}

RouteTable *route_table_unref(RouteTable *t) {
        if (!t || --t->n_ref > 0)
                return NULL;

        for (size_t i = 0; i < t->n_hosts; i++) {
                node_done(&t->hosts[i]->root);
                free(t->hosts[i]);
        }
        node_done(&t->any);
        free(t->hosts);
        free(t->index);
        for (size_t i = 0; i < t->n_routes; i++)
                route_free(t->routes[i]);
        free(t->routes);
        mam_gateway_config_unref(t->config);
        free(t);
        return NULL;
}

static size_t hash_label(const char *label) {
        uint64_t h = UINT64_C(14695981039346656037);

        for (; *label; label++)
                h = (h ^ (unsigned char) *label) * UINT64_C(1099511628211);
        return (size_t) (h ^ h >> 32);
}

static void index_put(size_t *index, size_t size, const char *label, size_t place) {
        size_t at = hash_label(label) & (size - 1);

        while (index[at] != 0)
                at = (at + 1) & (size - 1);
        index[at] = place + 1;
}

/* Room for one more label: at most half of the index is in use. */
static int index_grow(RouteTable *t) {
        size_t size = t->index_size > 0 ? t->index_size * 2 : 16, *index;

        if ((t->n_routes + 1) * 2 <= t->index_size)
                return 0;
        index = calloc(size, sizeof(*index));
        if (!index)
                return -ENOMEM;
        for (size_t i = 0; i < t->n_routes; i++)
                index_put(index, size, t->routes[i]->config->label, i);
        free(t->index);
        t->index = index;
        t->index_size = size;
        return 0;
}

const Route *route_table_find(const RouteTable *t, const char *label) {
        if (t->index_size == 0)
                return NULL;
        for (size_t at = hash_label(label) & (t->index_size - 1); t->index[at] != 0;
             at = (at + 1) & (t->index_size - 1)) {
                const Route *r = t->routes[t->index[at] - 1];

                if (strcmp(r->config->label, label) == 0)
                        return r;
        }
        return NULL;
}

static int check_leaves(const Leaves *l, const MamRouteConfig *config, const Route **ret_other) {
        for (size_t i = 0; i < l->n; i++)
                if (mam_route_conflicts(l->routes[i]->config, config)) {
                        if (ret_other)
                                *ret_other = l->routes[i];
                        return -EEXIST;
                }
        return l->n >= ROUTES_PER_PATH_MAX ? -EDQUOT : 0;
}

int route_table_add(
                RouteTable *t,
                const MamRouteConfig *config,
                const char *service,
                Upstream *upstream,
                LimitRule *limit,
                const RouteTable *previous,
                const Route **ret_other) {
        _cleanup_(route_freep) Route *route = NULL;
        Route **routes, **leaves;
        Leaves *list;
        Node *root;
        int r;

        assert(t);
        assert(config && config->label);
        assert(service);

        if (config->path[0] && mam_route_path_problem(config->path))
                return -EINVAL;
        if (t->n_routes >= ROUTES_MAX)
                return -EDQUOT;
        root = add_host(t, config->host);
        list = root ? add_path(root, config) : NULL;
        if (!list)
                return -ENOMEM;
        r = check_leaves(list, config, ret_other);
        if (r < 0)
                return r;
        r = index_grow(t);
        if (r < 0)
                return r;

        route = calloc(1, sizeof(*route));
        if (!route)
                return -ENOMEM;
        *route = (Route){ .table = t, .config = config, .service = service };
        route->state = route_state_get(previous, config->label);
        if (!route->state)
                return -ENOMEM;
        leaves = reallocarray(list->routes, list->n + 1, sizeof(*leaves));
        if (leaves)
                list->routes = leaves;
        routes = reallocarray(t->routes, t->n_routes + 1, sizeof(*routes));
        if (routes)
                t->routes = routes;
        if (!leaves || !routes)
                return -ENOMEM;

        route->upstream = upstream;
        if (upstream)
                upstream->n_routes++;
        route->limit = limit ? limit_rule_ref(limit) : NULL;
        leaves[list->n++] = route;
        index_put(t->index, t->index_size, config->label, t->n_routes);
        routes[t->n_routes++] = MAM_TAKE(route);
        return 0;
}

const Route *route_table_get(const RouteTable *t, size_t i) {
        return i < t->n_routes ? t->routes[i] : NULL;
}

size_t route_table_size(const RouteTable *t) {
        return t->n_routes;
}

/* ---- looking up ---- */

static void query_miss(Query *q, RouteMiss miss) {
        if (miss > q->miss)
                q->miss = miss;
}

static bool takes_method(const Query *q, char **methods) {
        for (; *methods; methods++)
                if (mam_http_range_equal(q->head->method, *methods) ||
                    (strcmp(*methods, "GET") == 0 && mam_http_range_equal(q->head->method, "HEAD")))
                        return true;
        return false;
}

/* Of a field that is there twice, one value is enough. */
static bool has_field(const MamHttpHead *head, const MamRouteField *f) {
        for (size_t i = 0; i < head->n_fields; i++)
                if (mam_http_range_equal_fold(head->fields[i].name, f->name) &&
                    (!f->value || mam_http_range_equal(head->fields[i].value, f->value)))
                        return true;
        return false;
}

static bool has_fields(const MamHttpHead *head, const MamRouteConfig *c) {
        for (size_t i = 0; i < c->n_match; i++)
                if (!has_field(head, &c->match[i]))
                        return false;
        return true;
}

/* How well the route's version fits: more is better; 0: not at all. */
static uint64_t rank_version(Query *q, uint32_t version) {
        if (!q->has_version) {
                q->version = route_accept_version(q->head);
                q->has_version = true;
        }
        if (q->version > 0)
                return version == q->version ? 2 : version == 0 ? 1 : 0;
        return version == 0 ? VERSION_NONE : VERSION_NONE - version;
}

/* How specific it is for this request: more is better; 0: it does not match. */
static uint64_t rank(Query *q, const MamRouteConfig *c) {
        uint64_t version;

        if (c->methods && !takes_method(q, c->methods)) {
                query_miss(q, ROUTE_MISS_METHOD);
                return 0;
        }
        if (c->n_match > 0 && !has_fields(q->head, c)) {
                query_miss(q, ROUTE_MISS_FIELDS);
                return 0;
        }
        version = rank_version(q, c->version);
        if (version == 0) {
                query_miss(q, ROUTE_MISS_VERSION);
                return 0;
        }
        return (uint64_t) (c->methods != NULL) << 40 | (uint64_t) c->n_match << 32 | version;
}

static const Route *pick(Query *q, const Leaves *l) {
        const Route *best = NULL;
        uint64_t best_rank = 0;

        if (q->visit) {
                for (size_t i = 0; i < l->n; i++)
                        q->visit(l->routes[i], q->userdata);
                return NULL;
        }
        /* As a rule there is one, for everything. */
        if (l->n == 1 && !l->routes[0]->config->methods && l->routes[0]->config->n_match == 0 &&
            l->routes[0]->config->version == 0)
                return l->routes[0];
        for (size_t i = 0; i < l->n; i++) {
                uint64_t this_rank = rank(q, l->routes[i]->config);

                if (this_rank > best_rank) {
                        best_rank = this_rank;
                        best = l->routes[i];
                }
        }
        return best;
}

/* The segment as it is meant; one that is too long for any text of ours keeps its size, and equals none. */
static MamHttpRange decode(MamHttpRange s, char buffer[static MAM_ROUTE_PATH_MAX + 1]) {
        ssize_t n;

        if (!memchr(s.data, '%', s.size))
                return s;
        n = mam_http_percent_decode(buffer, MAM_ROUTE_PATH_MAX + 1, s.data, s.size);
        return n < 0 ? s : (MamHttpRange){ buffer, (size_t) n };
}

static const Node *child_of(const Node *n, const Query *q, size_t i) {
        char buffer[MAM_ROUTE_PATH_MAX + 1];
        MamHttpRange s = q->segments[i];
        size_t at;

        if (q->encoded)
                s = decode(s, buffer);
        return find_child(n, s.data, s.size, &at) ? n->children[at] : NULL;
}

static const Route *walk(Query *q, const Node *n, size_t i) {
        const Route *found = NULL;

        if (i < q->n) {
                const Node *child = n->n_children > 0 ? child_of(n, q, i) : NULL;

                if (child)
                        found = walk(q, child, i + 1);
                if (!found && n->param && q->segments[i].size > 0)
                        found = walk(q, n->param, i + 1);
                if (!found && n->rest.n > 0)
                        found = pick(q, &n->rest);
        } else if (n->exact.n > 0) {
                found = pick(q, &n->exact);
        }
        return found || n->prefixed.n == 0 ? found : pick(q, &n->prefixed);
}

/* One more segment than any template has is enough to tell that a path goes on. */
static bool split_path(Query *q) {
        const char *s = q->head->path.data, *end = s + q->head->path.size;

        if (s == end || *s != '/')
                return false;
        q->encoded = memchr(s, '%', (size_t) (end - s)) != NULL;
        while (s < end && q->n < MAM_ELEMENTSOF(q->segments)) {
                const char *next;

                s++;
                next = memchr(s, '/', (size_t) (end - s));
                if (!next)
                        next = end;
                q->segments[q->n++] = (MamHttpRange){ s, (size_t) (next - s) };
                s = next;
        }
        return true;
}

/* Lower-case, without port and a dot at the end. */
static bool normal_host(MamHttpRange host, char ret[static HOST_MAX]) {
        const char *colon = host.size > 0 && host.data[0] != '[' ? memchr(host.data, ':', host.size) : NULL;
        size_t n = colon ? (size_t) (colon - host.data) : host.size;

        if (n > 0 && host.data[n - 1] == '.')
                n--;
        if (n == 0 || n >= HOST_MAX)
                return false;
        for (size_t i = 0; i < n; i++)
                ret[i] = (char) tolower((unsigned char) host.data[i]);
        ret[n] = '\0';
        return true;
}

static const Route *walk_hosts(const RouteTable *t, Query *q) {
        char host[HOST_MAX];
        const Route *found;
        size_t at;

        if (t->n_hosts > 0 && normal_host(q->head->host, host)) {
                if (find_host(t, host, false, &at)) {
                        found = walk(q, &t->hosts[at]->root, 0);
                        if (found)
                                return found;
                }
                for (const char *rest = strchr(host, '.'); rest; rest = strchr(rest, '.'))
                        if (find_host(t, ++rest, true, &at)) {
                                found = walk(q, &t->hosts[at]->root, 0);
                                if (found)
                                        return found;
                        }
        }
        return walk(q, &t->any, 0);
}

const Route *route_table_match(const RouteTable *t, const MamHttpHead *head, RouteMiss *ret_miss) {
        Query q;
        const Route *found = NULL;

        assert(t);
        assert(head);

        /* not the segments: they are many, and written before they are read */
        q.head = head;
        q.n = 0;
        q.has_version = false;
        q.miss = ROUTE_MISS_PATH;
        q.visit = NULL;
        if (split_path(&q))
                found = walk_hosts(t, &q);
        if (!found && ret_miss)
                *ret_miss = q.miss;
        return found;
}

static void gather(const Route *route, void *userdata) {
        char *list = userdata;

        for (char **m = route->config->methods; m && *m; m++) {
                size_t n = strlen(list), size = strlen(*m);
                const char *there = list;
                bool found = false;

                while (!found && (there = strstr(there, *m))) {
                        found = (there == list || there[-1] == ' ') &&
                                (there[size] == '\0' || there[size] == ',');
                        there += size;
                }
                if (!found && n + size + 3 < 256)
                        (void) snprintf(list + n, 256 - n, "%s%s", n > 0 ? ", " : "", *m);
        }
}

void route_table_allow(const RouteTable *t, const MamHttpHead *head, char ret[static 256]) {
        Query q = { .head = head, .visit = gather, .userdata = ret };

        ret[0] = '\0';
        if (split_path(&q))
                (void) walk_hosts(t, &q);
}

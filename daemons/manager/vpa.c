/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Vertical autoscaling
 */

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "libmam/json/json.h"
#include "manager/vpa.h"

#define CPU_FIRST    0.01 /* cores */
#define MEMORY_FIRST 1e7  /* bytes */

/* 2^100 is far from where a double loses anything; then the reference moves. */
#define EXPONENT_MAX 100.0
#define WEIGHT_MIN   1e-4
#define WEIGHT_MAX   1e12
/* How long a kill is remembered beyond its sample: it must not be undone by the next quiet hours. */
#define OOM_HOLD_USEC VPA_DAY_USEC

/* ---- histogram ---- */

double vpa_bucket_start(unsigned bucket) {
        return (pow(VPA_GROWTH, bucket) - 1) / (VPA_GROWTH - 1);
}

static unsigned bucket_of(double value) {
        double bucket;

        if (!(value > 1))
                return 0;
        bucket = floor(log(value * (VPA_GROWTH - 1) + 1) / log(VPA_GROWTH));
        return bucket >= VPA_BUCKETS ? VPA_BUCKETS - 1 : (unsigned) bucket;
}

static double age_in_half_lives(uint64_t usec, uint64_t reference_usec) {
        return ((double) usec - (double) reference_usec) / (double) VPA_HALF_LIFE_USEC;
}

/* As if every weight had been counted from usec. */
static void rebase(VpaHistogram *h, uint64_t usec) {
        double factor = exp2(-age_in_half_lives(usec, h->reference_usec));

        h->total = 0;
        for (unsigned i = 0; i < VPA_BUCKETS; i++) {
                h->weights[i] *= factor;
                if (h->weights[i] < WEIGHT_MIN)
                        h->weights[i] = 0;
                h->total += h->weights[i];
        }
        h->reference_usec = usec;
}

void vpa_histogram_add(VpaHistogram *h, double value, double weight, uint64_t usec) {
        unsigned bucket = bucket_of(value);

        assert(h);

        if (h->reference_usec == 0)
                h->reference_usec = usec;
        if (fabs(age_in_half_lives(usec, h->reference_usec)) > EXPONENT_MAX)
                rebase(h, usec);

        weight *= exp2(age_in_half_lives(usec, h->reference_usec));
        if (h->weights[bucket] + weight < 0) /* taken back: what has decayed since is less than was given */
                weight = -h->weights[bucket];
        h->weights[bucket] += weight;
        h->total += weight;
        if (h->total < 0)
                h->total = 0;
}

double vpa_histogram_quantile(const VpaHistogram *h, double q) {
        double sum = 0;
        unsigned i;

        assert(h);

        if (!(h->total > 0))
                return 0;
        for (i = 0; i + 1 < VPA_BUCKETS; i++) {
                sum += h->weights[i];
                if (h->weights[i] > 0 && sum >= q * h->total * (1 - 1e-12))
                        break;
        }
        return vpa_bucket_start(i + 1);
}

/* ---- samples ---- */

void vpa_note_cpu(VpaState *v, double cores, uint64_t now_usec) {
        assert(v);

        vpa_histogram_add(&v->cpu, cores / CPU_FIRST, 1, now_usec);
}

void vpa_note_memory(VpaState *v, uint32_t number, uint64_t bytes, uint64_t now_usec) {
        assert(v);
        assert(number <= MAM_CONFIG_REPLICAS_MAX);

        if (now_usec < v->day_usec || v->day_usec + VPA_DAY_USEC <= now_usec) {
                memset(v->peaks, 0, sizeof(v->peaks));
                v->day_usec = now_usec;
        }
        if (bytes <= v->peaks[number])
                return;
        /* One per day and replica: the higher peak takes the place of the lower one. */
        if (v->peaks[number] > 0)
                vpa_histogram_add(&v->memory, (double) v->peaks[number] / MEMORY_FIRST, -1, v->day_usec);
        vpa_histogram_add(&v->memory, (double) bytes / MEMORY_FIRST, 1, v->day_usec);
        v->peaks[number] = bytes;
}

void vpa_note_period(VpaState *v, uint64_t period_usec, uint64_t now_usec) {
        assert(v);

        if (v->first_usec == 0 || now_usec < v->first_usec)
                v->first_usec = now_usec;
        v->last_usec = now_usec;
        v->covered_usec += (double) period_usec;
}

void vpa_note_oom(VpaState *v, uint64_t limit_bytes, uint64_t used_bytes, uint64_t now_usec) {
        uint64_t base = used_bytes > limit_bytes ? used_bytes : limit_bytes;
        uint64_t more = base + VPA_OOM_BYTES, factor = (uint64_t) ((double) base * VPA_OOM_FACTOR);

        assert(v);

        v->oom_bytes = more > factor ? more : factor;
        v->oom_usec = now_usec;
        if (v->first_usec == 0)
                v->first_usec = now_usec;
        v->last_usec = now_usec;
        vpa_histogram_add(&v->memory, (double) v->oom_bytes / MEMORY_FIRST, 1, now_usec);
}

/* ---- recommending ---- */

static double confidence(const VpaState *v) {
        double life = (double) (v->last_usec - v->first_usec) / (double) VPA_DAY_USEC;
        double covered = v->covered_usec / (double) VPA_DAY_USEC;

        return life < covered ? life : covered;
}

static uint64_t within(double value, const VpaBounds *b) {
        if (!(value < (double) b->max))
                return b->max;
        return value < (double) b->min ? b->min : (uint64_t) ceil(value);
}

static VpaRecommendation recommend(
                const VpaState *v,
                const VpaHistogram *h,
                double unit,
                const VpaBounds *b) {
        double c = confidence(v);
        VpaRecommendation r = { .target = 0 };

        assert(b->min <= b->max);

        if (!(h->total > 0))
                return r;
        unit *= VPA_MARGIN;
        r.target = within(vpa_histogram_quantile(h, 0.9) * unit, b);
        r.lower = within(c > 0 ? vpa_histogram_quantile(h, 0.5) * unit * pow(1 + 0.001 / c, -2) : 0, b);
        r.upper = within(c > 0 ? vpa_histogram_quantile(h, 0.95) * unit * (1 + 1 / c) : HUGE_VAL, b);
        return r;
}

VpaRecommendation vpa_recommend_cpu(const VpaState *v, const VpaBounds *bounds) {
        assert(v);
        assert(bounds);

        return recommend(v, &v->cpu, CPU_FIRST * 1000, bounds);
}

VpaRecommendation vpa_recommend_memory(const VpaState *v, const VpaBounds *bounds) {
        VpaRecommendation r;
        uint64_t least;

        assert(v);
        assert(bounds);

        r = recommend(v, &v->memory, MEMORY_FIRST, bounds);
        if (v->oom_bytes == 0 || v->oom_usec + OOM_HOLD_USEC <= v->last_usec)
                return r;

        least = within((double) v->oom_bytes, bounds);
        r.lower = r.lower > least ? r.lower : least;
        r.target = r.target > least ? r.target : least;
        r.by_oom = true;
        r.upper = r.upper > r.target ? r.upper : r.target;
        return r;
}

VpaVerdict vpa_judge(
                const VpaRecommendation *r,
                uint64_t current,
                uint64_t changed_usec,
                uint64_t first_usec,
                uint64_t now_usec) {
        uint64_t since = changed_usec > first_usec ? changed_usec : first_usec;

        assert(r);

        if (r->target == 0)
                return VPA_UNKNOWN;
        if (current < r->lower && r->target > current)
                return VPA_BELOW;
        if (current > r->upper && r->target < current)
                return VPA_ABOVE;
        if (fabs((double) r->target - (double) current) > VPA_DIFFERENCE * (double) current &&
            since + VPA_SETTLE_USEC <= now_usec)
                return VPA_DRIFTED;
        return VPA_FITS;
}

/* ---- storing ---- */

/* Takes value; NULL (out of memory) is an error. */
static int put(json_object *object, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(object, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int put_item(json_object *array, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_array_add(array, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

/* [[bucket, weight], …], the weights as of usec. */
static json_object *histogram_to_json(const VpaHistogram *h, uint64_t usec) {
        _cleanup_(json_object_putp) json_object *array = json_object_new_array();
        VpaHistogram now = *h;

        if (now.reference_usec > 0)
                rebase(&now, usec);
        for (unsigned i = 0; array && i < VPA_BUCKETS; i++) {
                _cleanup_(json_object_putp) json_object *pair = NULL;

                if (now.weights[i] <= 0)
                        continue;
                pair = json_object_new_array();
                if (!pair || put_item(pair, json_object_new_int((int) i)) < 0 ||
                    put_item(pair, json_object_new_double(round(now.weights[i] * 1e4) / 1e4)) < 0 ||
                    put_item(array, json_object_get(pair)) < 0)
                        return NULL;
        }
        return MAM_TAKE(array);
}

json_object *vpa_to_json(const VpaState *v) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        int r;

        assert(v);

        if (!o)
                return NULL;
        r = put(o, "first", json_object_new_int64((int64_t) v->first_usec));
        if (r >= 0)
                r = put(o, "last", json_object_new_int64((int64_t) v->last_usec));
        if (r >= 0)
                r = put(o, "covered", json_object_new_int64((int64_t) v->covered_usec));
        if (r >= 0 && v->oom_bytes > 0)
                r = put(o, "oomBytes", json_object_new_int64((int64_t) v->oom_bytes));
        if (r >= 0 && v->oom_bytes > 0)
                r = put(o, "oomTime", json_object_new_int64((int64_t) v->oom_usec));
        if (r >= 0)
                r = put(o, "cpu", histogram_to_json(&v->cpu, v->last_usec));
        if (r >= 0)
                r = put(o, "memory", histogram_to_json(&v->memory, v->last_usec));
        return r < 0 ? NULL : MAM_TAKE(o);
}

static int histogram_from_json(VpaHistogram *h, json_object *object, const char *key, uint64_t usec) {
        json_object *array = NULL;

        if (mam_json_get_array(object, "", key, &array, NULL) <= 0 ||
            json_object_array_length(array) > VPA_BUCKETS)
                return -EBADMSG;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                json_object *pair = json_object_array_get_idx(array, i), *bucket, *weight;
                double w;

                if (!json_object_is_type(pair, json_type_array) || json_object_array_length(pair) != 2)
                        return -EBADMSG;
                bucket = json_object_array_get_idx(pair, 0);
                weight = json_object_array_get_idx(pair, 1);
                if (!json_object_is_type(bucket, json_type_int) || json_object_get_int64(bucket) < 0 ||
                    json_object_get_int64(bucket) >= VPA_BUCKETS ||
                    (!json_object_is_type(weight, json_type_double) &&
                     !json_object_is_type(weight, json_type_int)))
                        return -EBADMSG;
                w = json_object_get_double(weight);
                if (!(w >= 0 && w <= WEIGHT_MAX))
                        return -EBADMSG;
                h->weights[json_object_get_int64(bucket)] += w;
                h->total += w;
        }
        h->reference_usec = usec;
        return 0;
}

int vpa_from_json(VpaState *ret, json_object *object) {
        int64_t first = 0, last = 0, covered = 0, oom_bytes = 0, oom_time = 0;
        VpaState v = { .first_usec = 0 };

        assert(ret);

        if (!json_object_is_type(object, json_type_object) ||
            mam_json_get_int(object, "", "first", 0, INT64_MAX, &first, NULL) <= 0 ||
            mam_json_get_int(object, "", "last", first, INT64_MAX, &last, NULL) <= 0 ||
            mam_json_get_int(object, "", "covered", 0, INT64_MAX, &covered, NULL) <= 0 ||
            mam_json_get_int(object, "", "oomBytes", 0, INT64_C(1) << 50, &oom_bytes, NULL) < 0 ||
            mam_json_get_int(object, "", "oomTime", 0, INT64_MAX, &oom_time, NULL) < 0 ||
            histogram_from_json(&v.cpu, object, "cpu", (uint64_t) last) < 0 ||
            histogram_from_json(&v.memory, object, "memory", (uint64_t) last) < 0)
                return -EBADMSG;

        v.first_usec = (uint64_t) first;
        v.last_usec = (uint64_t) last;
        v.covered_usec = (double) covered;
        v.oom_bytes = (uint64_t) oom_bytes;
        v.oom_usec = (uint64_t) oom_time;
        *ret = v;
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Vertical autoscaling: how big a replica should be, by the rules of the Kubernetes VerticalPodAutoscaler
 *
 * From its documentation and flags: what is used goes into histograms whose weights halve every 24 h;
 * buckets begin at 0.01 core or 10 MB and grow by 5 %. CPU is sampled each period; of memory only the peak
 * of a day and replica counts. The target is the 90th percentile and 15 % on top; below the lower bound
 * (median) or above the upper bound (95th percentile) a limit is changed at once, and after 12 h if the
 * target is more than 10 % away. Both bounds are widened while little is known: with a confidence c in days,
 * × (1 + 0.001/c)^-2 and × (1 + 1/c). A replica that was killed for lack of memory needs at least 100 MiB or
 * 20 % more, whichever is more, and that at once. Pure; times are realtime, since they are stored.
 */

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#include "libmam/config/config.h"
#include "libmam/util/time.h"

#define VPA_HALF_LIFE_USEC (24 * 3600 * MAM_USEC_PER_SEC)
#define VPA_DAY_USEC       (24 * 3600 * MAM_USEC_PER_SEC)
#define VPA_SETTLE_USEC    (12 * 3600 * MAM_USEC_PER_SEC)
#define VPA_BUCKETS        176U /* to 1000 cores, to 1 TB */
#define VPA_GROWTH         1.05
#define VPA_MARGIN         1.15
#define VPA_DIFFERENCE     0.1
#define VPA_CPU_MIN_MILLIS 25U
#define VPA_MEMORY_MIN     UINT64_C(250000000)
#define VPA_OOM_BYTES      (UINT64_C(100) << 20)
#define VPA_OOM_FACTOR     1.2

typedef struct VpaHistogram {
        double weights[VPA_BUCKETS];
        double total;
        uint64_t reference_usec; /* when a weight of 1 counts as 1 */
} VpaHistogram;

typedef struct VpaState {
        VpaHistogram cpu, memory;
        uint64_t first_usec, last_usec;              /* of the samples; 0: none */
        double covered_usec;                         /* time that samples stand for */
        uint64_t day_usec;                           /* when the day of the peaks began */
        uint64_t peaks[MAM_CONFIG_REPLICAS_MAX + 1]; /* bytes, by number; 0: none today */
        uint64_t oom_bytes;                          /* at least so much since it was killed; 0: never */
        uint64_t oom_usec;
} VpaState;

typedef struct VpaBounds {
        uint64_t min, max; /* millis, or bytes */
} VpaBounds;

typedef struct VpaRecommendation {
        uint64_t target, lower, upper; /* millis, or bytes; 0: nothing is known yet */
        bool by_oom;                   /* it was killed for lack of memory within a day */
} VpaRecommendation;

typedef enum VpaVerdict {
        VPA_UNKNOWN, /* no recommendation yet */
        VPA_FITS,    /* within the bounds, and near enough, or changed not long ago */
        VPA_BELOW,   /* the limit is below the lower bound: raise */
        VPA_ABOVE,   /* the limit is above the upper bound: shrink */
        VPA_DRIFTED, /* more than 10 % off for long enough: change */
} VpaVerdict;

/* Value at which a bucket begins, in units of the first one. */
double vpa_bucket_start(unsigned bucket);
void vpa_histogram_add(VpaHistogram *h, double value_in_firsts, double weight, uint64_t usec);
/* End of the bucket in which it lies, in units of the first one; 0: empty. */
double vpa_histogram_quantile(const VpaHistogram *h, double q);

/* Both of one replica; call vpa_note_period() once per round of samples. */
void vpa_note_cpu(VpaState *v, double cores, uint64_t now_usec);
void vpa_note_memory(VpaState *v, uint32_t number, uint64_t bytes, uint64_t now_usec);
void vpa_note_period(VpaState *v, uint64_t period_usec, uint64_t now_usec);
/* It was killed with this limit and this much in use (0: not known). */
void vpa_note_oom(VpaState *v, uint64_t limit_bytes, uint64_t used_bytes, uint64_t now_usec);

VpaRecommendation vpa_recommend_cpu(const VpaState *v, const VpaBounds *bounds);
VpaRecommendation vpa_recommend_memory(const VpaState *v, const VpaBounds *bounds);
/* changed_usec: when the limit was last changed, or 0. */
VpaVerdict vpa_judge(
                const VpaRecommendation *r,
                uint64_t current,
                uint64_t changed_usec,
                uint64_t first_usec,
                uint64_t now_usec);

/* A JSON object; NULL: no memory. */
json_object *vpa_to_json(const VpaState *v);
/* -EBADMSG: not what vpa_to_json() makes; *ret is untouched then. */
int vpa_from_json(VpaState *ret, json_object *object);

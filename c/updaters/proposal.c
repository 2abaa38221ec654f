/* SPDX-License-Identifier: Apache-2.0 */
/* A candidate: the weights and biases of a layer with the largest slopes, moved against them; and back. flip and shift_bias of
 * guarded_flips.py. Scores are |slope| * scale in float64, exact: 23 bits times 24. */
#include <string.h>

#include "gradient.h"
#include "moves.h"

enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS };

/* One layer while a candidate is made of it. */
typedef struct view {
    const cal_layer *layer;
    const float *scale;
    const uint8_t *slopes;
    int8_t *weights;
    uint8_t *undo;
    int32_t *bias, *bias_kept;
    const int32_t *bias_slopes;
    int32_t depth, limit, unit; /* depth: input channels of a group */
} view;

static view view_of(const cal_calibrator *cal, int32_t layer) {
    const cal_memory_map map = cal_map(cal);
    const cal_layer *own = &cal->program->layers[layer];
    view v = {
        .layer = own,
        .scale = cal->scale + own->channel_offset,
        .slopes = map.slope,
        .weights = cal->weights + own->weight_offset,
        .undo = map.undo,
        .bias = cal->bias + own->channel_offset,
        .bias_kept = map.bias_kept + (cal->settings.bias ? own->channel_offset : 0),
        .bias_slopes = map.bias_slope + (cal->settings.bias ? own->channel_offset : 0),
        .depth = own->c_in / own->groups,
        .limit = cal_limit_of(own),
        .unit = map.unit[layer],
    };
    for (int32_t i = 0; i < layer; i++) {
        v.slopes += CAL_SLOPE_BYTES * cal_slope_total(&cal->program->layers[i]);
        v.undo += cal_undo_bytes(&cal->program->layers[i]);
    }
    return v;
}

static int32_t slope_at(const view *v, int32_t o, int32_t i) {
    return cal_get_slope(v->slopes + CAL_SLOPE_BYTES * ((ptrdiff_t)o * v->depth + i));
}

/* How many weights of entry [o, i] can move against its slope. */
static uint32_t movable_taps(const view *v, int32_t o, int32_t i, int32_t slope) {
    const int32_t taps = v->layer->kernel_h * v->layer->kernel_w;
    const int8_t *weight = v->weights + (ptrdiff_t)o * taps * v->depth + i;
    uint32_t count = 0;
    for (int32_t tap = 0; tap < taps; tap++) count += cal_movable(slope, weight[(ptrdiff_t)tap * v->depth], v->limit);
    return count;
}

static int64_t movable_total(const view *v) {
    int64_t count = 0;
    for (int32_t o = 0; o < v->layer->c_out; o++)
        for (int32_t i = 0; i < v->depth; i++) count += movable_taps(v, o, i, slope_at(v, o, i));
    return count;
}

/* The bits of the count-th largest score among what can move (1 <= count <= all of it), digit by digit from the top;
 * `ties` becomes how many of those with just that score are among the first `count`. */
static uint64_t threshold_of(const view *v, int64_t count, uint32_t *histogram, int64_t *ties) {
    uint64_t prefix = 0;
    for (int32_t shift = 64 - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        memset(histogram, 0, DIGITS * sizeof *histogram);
        for (int32_t o = 0; o < v->layer->c_out; o++)
            for (int32_t i = 0; i < v->depth; i++) {
                const int32_t slope = slope_at(v, o, i);
                const uint64_t bits = cal_score_of(slope, v->scale[o]);
                if (slope != 0 && (bits ^ prefix) >> shift >> DIGIT_BITS == 0)
                    histogram[bits >> shift & (DIGITS - 1)] += movable_taps(v, o, i, slope);
            }
        int32_t digit = DIGITS - 1;
        for (; histogram[digit] < count; digit--) count -= histogram[digit];
        prefix |= (uint64_t)digit << shift;
    }
    *ties = count;
    return prefix;
}

/* The smallest magnitude of a slope whose score is not below the threshold; up to 2^23, past every slope. */
static int32_t smallest_magnitude(uint64_t threshold, float scale) {
    int32_t low = 0, high = 1 << 23;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (cal_score_of(middle, scale) < threshold) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void flip(const view *v, int32_t move, uint64_t threshold, int64_t ties) {
    const int32_t taps = v->layer->kernel_h * v->layer->kernel_w;
    int64_t index = 0; /* in the order of the weights: of equal scores the lowest first */
    for (int32_t o = 0; o < v->layer->c_out; o++) {
        const int32_t smallest = smallest_magnitude(threshold, v->scale[o]);
        const bool tied = cal_score_of(smallest, v->scale[o]) == threshold;
        for (int32_t tap = 0; tap < taps; tap++)
            for (int32_t i = 0; i < v->depth; i++, index++) {
                const int32_t slope = slope_at(v, o, i), magnitude = slope < 0 ? -slope : slope;
                if (magnitude < smallest || !cal_movable(slope, v->weights[index], v->limit)) continue;
                if (tied && magnitude == smallest && ties-- <= 0) continue;
                v->weights[index] = cal_stepped(v->weights[index], slope > 0, move, v->limit);
                if (v->layer->bits != 8) cal_set_bit(v->undo, index);
            }
    }
}

static void shift_bias(const view *v, int64_t *score, int32_t step, double fraction) {
    const int32_t channels = v->layer->c_out;
    for (int32_t o = 0; o < channels; o++) score[o] = cal_signed_score(v->bias_slopes[o], v->scale[o]);
    memcpy(v->bias_kept, v->bias, (size_t)channels * sizeof *v->bias);
    cal_shift_bias(v->bias, score, channels, step, fraction);
}

/* Codes of 8 bits may saturate on the way, so the layer is kept whole; others move by one code or not at all, so one bit
 * a weight tells. */
void cal_propose(cal_calibrator *cal, int32_t layer, int32_t move, double fraction) {
    const view v = view_of(cal, layer);
    const int64_t weights = cal_weight_total(v.layer), all = movable_total(&v);
    const int64_t wanted = cal_wanted(fraction, weights), count = wanted < all ? wanted : all;
    if (v.layer->bits == 8) memcpy(v.undo, v.weights, (size_t)weights);
    else memset(v.undo, 0, (size_t)cal_undo_bytes(v.layer));
    if (count > 0) {
        int64_t ties;
        const uint64_t threshold = threshold_of(&v, count, (uint32_t *)(void *)cal->workspace, &ties);
        flip(&v, move, threshold, ties);
    }
    if (cal->settings.bias) shift_bias(&v, (int64_t *)(void *)cal->workspace, move * v.unit, fraction);
}

/* Undo cal_propose; the slopes are as they were then. */
void cal_withdraw(cal_calibrator *cal, int32_t layer, int32_t move) {
    const view v = view_of(cal, layer);
    const int64_t row = (int64_t)v.layer->kernel_h * v.layer->kernel_w * v.depth, weights = cal_weight_total(v.layer);
    if (v.layer->bits == 8) memcpy(v.weights, v.undo, (size_t)weights);
    else
        for (int64_t i = 0; i < weights; i++)
            if (cal_bit(v.undo, i)) {
                const int32_t slope = slope_at(&v, (int32_t)(i / row), (int32_t)(i % v.depth));
                v.weights[i] = cal_stepped_back(v.weights[i], slope > 0, move);
            }
    if (cal->settings.bias) memcpy(v.bias, v.bias_kept, (size_t)v.layer->c_out * sizeof *v.bias);
}

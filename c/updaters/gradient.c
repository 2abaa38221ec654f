/* SPDX-License-Identifier: Apache-2.0 */
/* The pooled gradient: G[o, i] = sum over samples of signal[o] * activity[o] * mean[i], scaled by a power of two so that
 * a layer's largest is in [2^19, 2^20], plus three quarters of the gradient before. GuardedFlips._gradient. */
#include <string.h>

#include "gradient.h"

enum { SIGNAL_SHIFT = 8, PEAK_BITS = 20 };

static int32_t error_of(const uint8_t *record, int32_t k) {
    uint16_t label, probability;
    memcpy(&label, record, sizeof label);
    memcpy(&probability, record + 2 + 2 * (ptrdiff_t)k, sizeof probability);
    return probability - (k == label ? CAL_ERROR_ONE : 0);
}

/* signal * importance * activity of one sample and channel; |.| < 2^21. */
static int32_t weighted(const cal_calibrator *cal, const cal_place *place, const uint8_t *record, const uint8_t *activity,
                        int32_t o, int32_t importance, bool last) {
    int64_t signal = 0; /* |sum of error * feedback| < 2 * 2^15 * 2^7 = 2^23 */
    if (last) {
        signal = error_of(record, o);
    } else {
        const int8_t *column = cal->feedback + place->layer->channel_offset + o;
        for (int32_t k = 0; k < cal->classes; k++) signal += error_of(record, k) * column[k * cal->program->channel_count];
        signal = cal_nearest_shift(signal, SIGNAL_SHIFT);
    }
    int32_t share = 256; /* Q8 */
    if (cal_activity_bytes(place) == 1) {
        share = (activity[o] << 8) / (place->output->height * place->output->width);
    } else if (cal_activity_bytes(place) == 2) {
        uint16_t stored;
        memcpy(&stored, activity + 2 * (ptrdiff_t)o, sizeof stored);
        share = stored;
    }
    return (int32_t)cal_nearest_shift(signal * importance * share, 8);
}

/* One layer's part of the records of a sweep. */
typedef struct part {
    cal_place place;
    const uint8_t *records;
    int64_t stride, offset; /* of a record; of the layer in it */
    int32_t samples, of_window, importance;
    bool last;
} part;

static void gather(const cal_calibrator *cal, const part *p, int32_t o, int32_t *signal) {
    for (int32_t n = 0; n < p->samples; n++) {
        const uint8_t *record = p->records + n * p->stride;
        const uint8_t *activity = record + p->offset + 2 * (ptrdiff_t)p->place.layer->c_in;
        const int32_t importance = n < p->of_window ? 1 : p->importance;
        signal[n] = weighted(cal, &p->place, record, activity, o, importance, p->last);
    }
}

/* sum over samples of signal * mean of input channel i; |.| <= samples * 2^21 * 2^12. */
static int64_t outer(const part *p, const int32_t *signal, int32_t i) {
    const uint8_t *at = p->records + p->offset + 2 * (ptrdiff_t)i;
    int64_t sum = 0;
    for (int32_t n = 0; n < p->samples; n++, at += p->stride) {
        int16_t mean;
        memcpy(&mean, at, sizeof mean);
        sum += (int64_t)signal[n] * mean;
    }
    return sum;
}

static int32_t excess_of(int64_t peak) {
    int32_t bits = 0;
    for (; peak > 0; peak >>= 1) bits++;
    return bits - PEAK_BITS;
}

static int64_t normalized(int64_t slope, int32_t excess) {
    return excess > 0 ? cal_nearest_shift(slope, excess) : slope * ((int64_t)1 << -excess);
}

/* What one flip moves a pre-activation by: the mean magnitude of the layer's input. */
static uint8_t unit_of(const part *p) {
    const int32_t channels = p->place.layer->c_in;
    int64_t sum = 0;
    for (int32_t n = 0; n < p->samples; n++)
        for (int32_t i = 0; i < channels; i++) {
            int16_t mean;
            memcpy(&mean, p->records + n * p->stride + p->offset + 2 * (ptrdiff_t)i, sizeof mean);
            sum += mean < 0 ? -mean : mean;
        }
    const int64_t unit = sum / ((int64_t)p->samples * channels * 16);
    return (uint8_t)(unit < 1 ? 1 : unit);
}

static void learn(cal_calibrator *cal, const part *p, uint8_t *slopes, int32_t *bias_slopes, bool after_earlier) {
    const cal_layer *layer = p->place.layer;
    const int32_t depth = layer->c_in / layer->groups, per_group = layer->c_out / layer->groups;
    int32_t *signal = (int32_t *)(void *)cal->workspace;
    int64_t peak = 0, bias_peak = 0;
    for (int32_t pass = 0; pass < 2; pass++) { /* the largest first, then all of them scaled by it */
        const int32_t excess = excess_of(peak), bias_excess = excess_of(bias_peak);
        for (int32_t o = 0; o < layer->c_out; o++) {
            gather(cal, p, o, signal);
            int64_t sum = 0;
            for (int32_t n = 0; n < p->samples; n++) sum += signal[n];
            if (pass == 0) bias_peak = cal_larger_magnitude(bias_peak, sum);
            else if (cal->settings.bias) bias_slopes[o] = cal_after(normalized(sum, bias_excess), bias_slopes[o], after_earlier);
            for (int32_t i = 0; i < depth; i++) {
                const int64_t slope = outer(p, signal, o / per_group * depth + i);
                uint8_t *kept = slopes + CAL_SLOPE_BYTES * ((ptrdiff_t)o * depth + i);
                if (pass == 0) peak = cal_larger_magnitude(peak, slope);
                else cal_put_slope(kept, cal_after(normalized(slope, excess), cal_get_slope(kept), after_earlier));
            }
        }
    }
}

void cal_pooled_gradient(cal_calibrator *cal, const cal_sweep *sweep, bool after_earlier) {
    const cal_memory_map map = cal_map(cal);
    const int32_t samples = cal_sample_count(cal, sweep->with_held), last = cal_last_layer(cal->program);
    uint8_t *slopes = map.slope;
    for (int32_t i = 0; i < sweep->end; i++) {
        const cal_layer *layer = &cal->program->layers[i];
        if (i >= sweep->first) {
            const part p = {
                .place = cal_place_of(cal->program, i),
                .records = map.statistics,
                .stride = cal_record_bytes(cal, sweep->first, sweep->end),
                .offset = cal_record_bytes(cal, sweep->first, i),
                .samples = samples,
                .of_window = samples - cal->coreset_count,
                .importance = sweep->coreset_importance,
                .last = i == last,
            };
            learn(cal, &p, slopes, cal->settings.bias ? map.bias_slope + layer->channel_offset : NULL, after_earlier);
            map.unit[i] = unit_of(&p);
        }
        slopes += CAL_SLOPE_BYTES * cal_slope_total(layer);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What training kernels share: their names, and how a step moves an integer. Private to c/. */
#ifndef CALIBRANT_TRAINING_KERNEL_H
#define CALIBRANT_TRAINING_KERNEL_H

#include "calibrant/fmath.h"
#include "calibrant/kernel.h"
#include "calibrant/training.h"

#define CAL_TRAINING_PASTE(kernel, variant) cal_##kernel##_f32__##variant
#define CAL_TRAINING_EXPAND(kernel, variant) CAL_TRAINING_PASTE(kernel, variant)
#define CAL_TRAINING_NAME(kernel) CAL_TRAINING_EXPAND(kernel, CAL_VARIANT)

static inline int32_t cal_weight_largest(const cal_layer *layer) { return (1 << (layer->bits - 1)) - 1; }

static inline bool cal_layer_depthwise(const cal_layer *layer) {
    return layer->groups == layer->c_in && layer->groups == layer->c_out;
}

static inline int32_t cal_elements(const cal_tensor *t) { return t->height * t->width * t->channels; }

/* code + change, saturated to [-limit, limit]; `change` is an integer or not a number, which counts as 0. */
static inline int32_t cal_saturated(int32_t code, float change, int32_t limit) {
    const float far = 4294967296.0f; /* farther than any two codes are apart */
    int64_t moved = code;
    if (change == change) moved += (int64_t)(change > far ? far : change < -far ? -far : change);
    return (int32_t)(moved > limit ? limit : moved < -limit ? -limit : moved);
}

/* Moves what an accumulator holds to its code. What saturation cuts off is dropped: it would keep pushing at the limit. */
static inline int32_t cal_settled(int32_t code, float *accumulator, bool carry, int32_t limit) {
    const float change = cal_rint_f32(*accumulator);
    const int32_t moved = cal_saturated(code, change, limit);
    const bool inside = -limit < moved && moved < limit;
    const bool whole = inside || (change <= 2.0f * (float)limit && change >= -2.0f * (float)limit &&
                                  moved == code + (int64_t)change);
    *accumulator = carry && whole && change == change ? *accumulator - change : 0.0f;
    return moved;
}

#endif

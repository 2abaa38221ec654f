/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

static int32_t channel(const cal_training_args *a, int32_t i) { return a->channel_count ? a->channels[i] : i; }

static void apply(const cal_training_args *a, int32_t o, ptrdiff_t weight, ptrdiff_t trained, float sum) {
    const float step = (sum * a->scaling[o]) * a->rate;
    if (a->accumulators)
        a->accumulators[trained] -= step;
    else
        a->weights[weight] = (int8_t)cal_saturated(a->weights[weight], cal_rint_f32(-step), cal_weight_largest(a->layer));
}

/* Where the input value of an output position stands at a tap, -1 in the padding. */
static ptrdiff_t source(const cal_training_args *a, int32_t row, int32_t column, int32_t ky, int32_t kx) {
    const cal_op *op = a->op;
    const int32_t y = row * op->stride_h - op->pad_top + ky * op->dilation_h;
    const int32_t x = column * op->stride_w - op->pad_left + kx * op->dilation_w;
    return y < 0 || y >= a->input->height || x < 0 || x >= a->input->width ? -1 : (ptrdiff_t)y * a->input->width + x;
}

/* Sums of one output channel at one tap, over input channels. Adding a zero changes no sum that starts at +0. */
static void dense_sums(const cal_training_args *a, int32_t o, int32_t ky, int32_t kx, ptrdiff_t width, ptrdiff_t first,
                       int32_t block, float *restrict sum) {
    const int32_t zero_point = a->input->zero_point;
    const float *g = a->g + o;
    for (int32_t i = 0; i < block; i++) sum[i] = 0.0f;
    for (int32_t row = 0; row < a->output->height; row++)
        for (int32_t column = 0; column < a->output->width; column++, g += a->output->channels) {
            const ptrdiff_t at = source(a, row, column, ky, kx);
            if (at < 0 || *g == 0.0f) continue;
            const int8_t *x = (const int8_t *)a->x + at * width + first;
            for (int32_t i = 0; i < block; i++) sum[i] += *g * (float)(x[i] - zero_point);
        }
}

static void dense_update(const cal_training_args *a) {
    const cal_layer *layer = a->layer;
    const int32_t depth = layer->c_in / layer->groups, trained = a->channel_count ? a->channel_count : depth;
    const int32_t taps = a->op->kernel_h * a->op->kernel_w, outputs = layer->c_out / layer->groups;
    for (int32_t o = 0; o < layer->c_out; o++)
        for (int32_t tap = 0; tap < taps; tap++)
            for (int32_t first = 0; first < trained; first += CAL_CHANNEL_BLOCK) {
                const int32_t block = cal_min(CAL_CHANNEL_BLOCK, trained - first);
                const ptrdiff_t at = (ptrdiff_t)o * taps + tap;
                float sum[CAL_CHANNEL_BLOCK];
                dense_sums(a, o, tap / a->op->kernel_w, tap % a->op->kernel_w, (ptrdiff_t)layer->groups * trained,
                           (ptrdiff_t)(o / outputs) * trained + first, block, sum);
                for (int32_t i = 0; i < block; i++)
                    apply(a, o, at * depth + channel(a, first + i), at * trained + first + i, sum[i]);
            }
}

/* Sums of many channels at one tap. */
static void depthwise_sums(const cal_training_args *a, int32_t ky, int32_t kx, int32_t trained, int32_t first,
                           int32_t block, float *restrict sum) {
    const int32_t zero_point = a->input->zero_point, channels = a->output->channels;
    const float *g = a->g;
    for (int32_t i = 0; i < block; i++) sum[i] = 0.0f;
    for (int32_t row = 0; row < a->output->height; row++)
        for (int32_t column = 0; column < a->output->width; column++, g += channels) {
            const ptrdiff_t at = source(a, row, column, ky, kx);
            if (at < 0) continue;
            const int8_t *x = (const int8_t *)a->x + at * trained + first;
            if (a->channel_count)
                for (int32_t i = 0; i < block; i++) sum[i] += g[a->channels[first + i]] * (float)(x[i] - zero_point);
            else
                for (int32_t i = 0; i < block; i++) sum[i] += g[first + i] * (float)(x[i] - zero_point);
        }
}

static void depthwise_update(const cal_training_args *a) {
    const int32_t trained = a->channel_count ? a->channel_count : a->layer->c_out;
    const int32_t taps = a->op->kernel_h * a->op->kernel_w;
    for (int32_t first = 0; first < trained; first += CAL_CHANNEL_BLOCK)
        for (int32_t tap = 0; tap < taps; tap++) {
            const int32_t block = cal_min(CAL_CHANNEL_BLOCK, trained - first);
            float sum[CAL_CHANNEL_BLOCK];
            depthwise_sums(a, tap / a->op->kernel_w, tap % a->op->kernel_w, trained, first, block, sum);
            for (int32_t i = 0; i < block; i++) {
                const int32_t o = channel(a, first + i);
                apply(a, o, (ptrdiff_t)o * taps + tap, (ptrdiff_t)(first + i) * taps + tap, sum[i]);
            }
        }
}

void CAL_TRAINING_NAME(weight_update)(const cal_training_args *a) {
    if (cal_layer_depthwise(a->layer))
        depthwise_update(a);
    else
        dense_update(a);
}

void CAL_TRAINING_NAME(weight_commit)(const cal_training_args *a) {
    const cal_layer *layer = a->layer;
    const bool depthwise = cal_layer_depthwise(layer);
    const int32_t depth = layer->c_in / layer->groups, taps = layer->kernel_h * layer->kernel_w;
    const int32_t rows = depthwise ? (a->channel_count ? a->channel_count : layer->c_out) : layer->c_out * taps;
    const int32_t columns = depthwise ? taps : a->channel_count ? a->channel_count : depth;
    float *accumulator = a->accumulators;
    for (int32_t r = 0; r < rows; r++) {
        int8_t *weights = a->weights + (depthwise ? (ptrdiff_t)channel(a, r) * taps : (ptrdiff_t)r * depth);
        for (int32_t i = 0; i < columns; i++, accumulator++) {
            int8_t *weight = &weights[depthwise ? i : channel(a, i)];
            *weight = (int8_t)cal_settled(*weight, accumulator, a->carry, cal_weight_largest(layer));
        }
    }
}

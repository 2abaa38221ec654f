/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

enum { TILE = 8 }; /* depthwise: input positions whose sums are held at once */

/* Depthwise gradients of the outputs of channels [first, first + count), `pitch` values from position to position. */
typedef struct channels {
    const float *g;
    int32_t first, count, pitch;
} channels;

/* The output row or column whose tap falls on an input one, -1 if none does. */
static int32_t target(int32_t at, int32_t tap, int32_t stride, int32_t pad, int32_t dilation, int32_t size) {
    const int32_t distance = at + pad - tap * dilation;
    return distance < 0 || distance % stride || distance / stride >= size ? -1 : distance / stride;
}

static int32_t target_row(const cal_training_args *a, int32_t y, int32_t ky) {
    return target(y, ky, a->op->stride_h, a->op->pad_top, a->op->dilation_h, a->output->height);
}

static int32_t target_column(const cal_training_args *a, int32_t x, int32_t kx) {
    return target(x, kx, a->op->stride_w, a->op->pad_left, a->op->dilation_w, a->output->width);
}

static void store(const cal_training_args *a, const float *restrict sum, int32_t block, float *restrict dx) {
    if (a->accumulate)
        for (int32_t i = 0; i < block; i++) dx[i] += sum[i];
    else
        for (int32_t i = 0; i < block; i++) dx[i] = sum[i];
}

/* Adds one tap's products of one group's outputs. Adding a zero changes no sum that starts at +0. */
static void add_outputs(const float *g, const int8_t *w, int32_t outputs, ptrdiff_t stride, int32_t block,
                        float *restrict sum) {
    for (int32_t o = 0; o < outputs; o++, w += stride) {
        if (g[o] == 0.0f) continue;
        for (int32_t i = 0; i < block; i++) sum[i] += g[o] * (float)w[i];
    }
}

static void dense_block(const cal_training_args *a, int32_t y, int32_t x, int32_t group, int32_t first, int32_t block) {
    const cal_op *op = a->op;
    const int32_t depth = a->layer->c_in / op->groups, outputs = a->layer->c_out / op->groups;
    const ptrdiff_t taps = (ptrdiff_t)op->kernel_h * op->kernel_w;
    const int8_t *weights = a->weights + group * outputs * taps * depth + first;
    float sum[CAL_CHANNEL_BLOCK] = {0};
    for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        const int32_t row = target_row(a, y, ky);
        if (row < 0) continue;
        for (int32_t kx = 0; kx < op->kernel_w; kx++) {
            const int32_t column = target_column(a, x, kx);
            if (column < 0) continue;
            const ptrdiff_t at = (ptrdiff_t)row * a->output->width + column;
            add_outputs(a->g + at * a->layer->c_out + (ptrdiff_t)group * outputs,
                        weights + ((ptrdiff_t)ky * op->kernel_w + kx) * depth, outputs, taps * depth, block, sum);
        }
    }
    const ptrdiff_t at = (ptrdiff_t)y * a->input->width + x;
    store(a, sum, block, a->dx + at * a->layer->c_in + (ptrdiff_t)group * depth + first);
}

static void dense(const cal_training_args *a) {
    const int32_t depth = a->layer->c_in / a->op->groups;
    for (int32_t y = 0; y < a->input->height; y++)
        for (int32_t x = 0; x < a->input->width; x++)
            for (int32_t group = 0; group < a->op->groups; group++)
                for (int32_t first = 0; first < depth; first += CAL_CHANNEL_BLOCK)
                    dense_block(a, y, x, group, first, cal_min(CAL_CHANNEL_BLOCK, depth - first));
}

static void depthwise_tile(const cal_training_args *a, int32_t y, int32_t x, int32_t tile, const channels *of) {
    const cal_op *op = a->op;
    const int32_t block = of->count, taps = op->kernel_h * op->kernel_w;
    float sum[TILE][CAL_CHANNEL_BLOCK] = {{0}}, weight[CAL_CHANNEL_BLOCK];
    for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        const int32_t row = target_row(a, y, ky);
        if (row < 0) continue;
        for (int32_t kx = 0; kx < op->kernel_w; kx++) {
            const int8_t *w = a->weights + (ptrdiff_t)of->first * taps + ky * op->kernel_w + kx;
            for (int32_t c = 0; c < block; c++) weight[c] = (float)w[(ptrdiff_t)c * taps];
            for (int32_t t = 0; t < tile; t++) {
                const int32_t column = target_column(a, x + t, kx);
                if (column < 0) continue;
                const float *g = of->g + ((ptrdiff_t)row * a->output->width + column) * of->pitch;
                for (int32_t c = 0; c < block; c++) sum[t][c] += g[c] * weight[c];
            }
        }
    }
    for (int32_t t = 0; t < tile; t++)
        store(a, sum[t], block, a->dx + ((ptrdiff_t)y * a->input->width + x + t) * a->layer->c_in + of->first);
}

static void depthwise(const cal_training_args *a) {
    for (int32_t y = 0; y < a->input->height; y++)
        for (int32_t x = 0; x < a->input->width; x += TILE)
            for (int32_t first = 0; first < a->layer->c_in; first += CAL_CHANNEL_BLOCK) {
                const int32_t count = cal_min(CAL_CHANNEL_BLOCK, a->layer->c_in - first);
                const channels of = {a->g + first, first, count, a->layer->c_in};
                depthwise_tile(a, y, x, cal_min(TILE, a->input->width - x), &of);
            }
}

/* dx is g: a channel's sums read that channel alone, so a few at a time are computed from a copy. */
static void depthwise_in_place(const cal_training_args *a) {
    const int32_t pitch = a->layer->c_in, positions = a->output->height * a->output->width;
    for (int32_t first = 0; first < pitch; first += CAL_IN_PLACE_CHANNELS) {
        const int32_t count = cal_min(CAL_IN_PLACE_CHANNELS, pitch - first);
        for (int32_t at = 0; at < positions; at++)
            for (int32_t c = 0; c < count; c++)
                a->scratch[(ptrdiff_t)at * count + c] = a->g[(ptrdiff_t)at * pitch + first + c];
        const channels of = {a->scratch, first, count, count};
        for (int32_t y = 0; y < a->input->height; y++)
            for (int32_t x = 0; x < a->input->width; x += TILE)
                depthwise_tile(a, y, x, cal_min(TILE, a->input->width - x), &of);
    }
}

void CAL_TRAINING_NAME(conv2d_grad)(const cal_training_args *a) {
    if (a->scratch)
        depthwise_in_place(a);
    else if (cal_layer_depthwise(a->layer))
        depthwise(a);
    else
        dense(a);
}

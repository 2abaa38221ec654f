/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

typedef struct span { int32_t begin, end; } span; /* input rows or columns of a window, as avg_pool2d reads them */

static span window(const cal_op *op, int32_t i, int32_t stride, int32_t pad, int32_t kernel, int32_t from, int32_t to) {
    if (op->adaptive)
        return (span){(int32_t)((int64_t)i * from / to), (int32_t)(((int64_t)(i + 1) * from + to - 1) / to)};
    const int32_t begin = i * stride - pad;
    return (span){cal_max(begin, 0), cal_min(begin + kernel, from)};
}

static void spread(const cal_training_args *a, span rows, span columns, const float *restrict g) {
    const cal_op *op = a->op;
    const int32_t channels = a->input->channels, real = (rows.end - rows.begin) * (columns.end - columns.begin);
    const int32_t count = op->count_include_pad && !op->adaptive ? op->kernel_h * op->kernel_w : real;
    for (int32_t row = rows.begin; row < rows.end; row++)
        for (int32_t column = columns.begin; column < columns.end; column++) {
            float *restrict dx = a->dx + ((ptrdiff_t)row * a->input->width + column) * channels;
            for (int32_t c = 0; c < channels; c++) dx[c] += g[c] / (float)count;
        }
}

void CAL_TRAINING_NAME(avg_pool2d_grad)(const cal_training_args *a) {
    const cal_op *op = a->op;
    const cal_tensor *in = a->input, *out = a->output;
    const int32_t elements = cal_elements(in);
    const float *g = a->g;
    if (!a->accumulate)
        for (int32_t i = 0; i < elements; i++) a->dx[i] = 0.0f;
    for (int32_t row = 0; row < out->height; row++)
        for (int32_t column = 0; column < out->width; column++, g += out->channels)
            spread(a, window(op, row, op->stride_h, op->pad_top, op->kernel_h, in->height, out->height),
                   window(op, column, op->stride_w, op->pad_left, op->kernel_w, in->width, out->width), g);
}

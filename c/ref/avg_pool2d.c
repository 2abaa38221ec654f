/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

typedef struct span { int32_t begin, end; } span; /* input rows or columns of a window, real positions only */

static span window(const cal_op *op, int32_t i, int32_t stride, int32_t pad, int32_t kernel, int32_t from, int32_t to) {
    if (op->adaptive) /* [floor(i * from / to), ceil((i + 1) * from / to)) */
        return (span){(int32_t)((int64_t)i * from / to), (int32_t)(((int64_t)(i + 1) * from + to - 1) / to)};
    const int32_t begin = i * stride - pad;
    return (span){cal_max(begin, 0), cal_min(begin + kernel, from)};
}

static void average(const cal_args *a, span rows, span columns, int8_t *y) {
    const cal_op *op = a->op;
    const cal_tensor *in = a->input[0];
    const int32_t real = (rows.end - rows.begin) * (columns.end - columns.begin);
    const int32_t count = op->count_include_pad && !op->adaptive ? op->kernel_h * op->kernel_w : real;
    for (int32_t first = 0; first < in->channels; first += CAL_CHANNEL_BLOCK) {
        const int32_t block = cal_min(CAL_CHANNEL_BLOCK, in->channels - first);
        int32_t sum[CAL_CHANNEL_BLOCK] = {0};
        for (int32_t row = rows.begin; row < rows.end; row++)
            for (int32_t column = columns.begin; column < columns.end; column++) {
                const int8_t *x = a->x[0] + ((ptrdiff_t)row * in->width + column) * in->channels + first;
                for (int32_t c = 0; c < block; c++) sum[c] += x[c] - in->zero_point;
            }
        for (int32_t c = 0; c < block; c++)
            y[first + c] = cal_clamp(cal_divide_round(sum[c], count) + in->zero_point, op);
    }
}

void CAL_NAME(avg_pool2d)(const cal_args *a) {
    const cal_op *op = a->op;
    const cal_tensor *in = a->input[0], *out = a->output;
    int8_t *y = a->y;
    for (int32_t row = 0; row < out->height; row++)
        for (int32_t column = 0; column < out->width; column++, y += out->channels)
            average(a, window(op, row, op->stride_h, op->pad_top, op->kernel_h, in->height, out->height),
                    window(op, column, op->stride_w, op->pad_left, op->kernel_w, in->width, out->width), y);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

static int32_t masked_sum(const cal_args *a, int32_t o, int32_t ky, int32_t kx, int32_t channel) {
    const cal_op *op = a->op;
    const cal_tensor *in = a->input[0], *out = a->output;
    uint32_t sum = 0;
    for (int32_t row = 0; row < out->height; row++)
        for (int32_t column = 0; column < out->width; column++) {
            const int32_t y = row * op->stride_h - op->pad_top + ky * op->dilation_h;
            const int32_t x = column * op->stride_w - op->pad_left + kx * op->dilation_w;
            if (y < 0 || y >= in->height || x < 0 || x >= in->width) continue;
            if (out->bits == 8) {
                const int8_t code = ((const int8_t *)a->y)[((ptrdiff_t)row * out->width + column) * out->channels + o];
                if (code <= op->clamp_low || code >= op->clamp_high) continue;
            }
            sum += (uint32_t)(a->x[0][((ptrdiff_t)y * in->width + x) * in->channels + channel] - in->zero_point);
        }
    return (int32_t)sum;
}

void CAL_NAME(conv2d_taps)(const cal_args *a) {
    const cal_op *op = a->op;
    const int32_t depth = a->layer->c_in / op->groups, outputs = a->layer->c_out / op->groups;
    for (int32_t o = 0; o < a->layer->c_out; o++) {
        if (a->signal[o] == 0) continue;
        int64_t *taps = a->taps + (ptrdiff_t)o * op->kernel_h * op->kernel_w * depth;
        for (int32_t ky = 0; ky < op->kernel_h; ky++)
            for (int32_t kx = 0; kx < op->kernel_w; kx++)
                for (int32_t i = 0; i < depth; i++, taps++) {
                    const int64_t sum = masked_sum(a, o, ky, kx, o / outputs * depth + i);
                    *taps = (int64_t)((uint64_t)*taps + (uint64_t)(a->signal[o] * sum));
                }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

/* Sums wrap as uint32 so that no weights or biases, however hostile, are undefined behavior; lowering proves that
 * a valid program never wraps. */
static int32_t accumulate(const cal_args *a, int32_t row, int32_t column, int32_t o) {
    const cal_op *op = a->op;
    const cal_tensor *in = a->input[0];
    const int32_t depth = a->layer->c_in / op->groups;
    const int32_t first = o / (a->layer->c_out / op->groups) * depth;
    uint32_t sum = (uint32_t)a->bias[o];
    for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        const int32_t y = row * op->stride_h - op->pad_top + ky * op->dilation_h;
        if (y < 0 || y >= in->height) continue;
        for (int32_t kx = 0; kx < op->kernel_w; kx++) {
            const int32_t x = column * op->stride_w - op->pad_left + kx * op->dilation_w;
            if (x < 0 || x >= in->width) continue;
            const int8_t *v = a->x[0] + ((ptrdiff_t)y * in->width + x) * in->channels + first;
            const int8_t *w = a->weights + (((ptrdiff_t)o * op->kernel_h + ky) * op->kernel_w + kx) * depth;
            for (int32_t i = 0; i < depth; i++) sum += (uint32_t)((v[i] - in->zero_point) * w[i]);
        }
    }
    return (int32_t)sum;
}

void CAL_NAME(conv2d)(const cal_args *a) {
    const cal_op *op = a->op;
    const cal_tensor *out = a->output;
    if (a->active)
        for (int32_t o = 0; o < out->channels; o++) a->active[o] = 0;
    for (int32_t row = 0; row < out->height; row++)
        for (int32_t column = 0; column < out->width; column++)
            for (int32_t o = 0; o < out->channels; o++) {
                const ptrdiff_t at = ((ptrdiff_t)row * out->width + column) * out->channels + o;
                const int32_t sum = accumulate(a, row, column, o);
                int32_t inside = 1;
                if (out->bits == 32) {
                    ((int32_t *)a->y)[at] = sum;
                } else {
                    const int8_t code = cal_clamp(cal_rescale(sum, a->multiplier[o], a->shift[o]) + out->zero_point, op);
                    ((int8_t *)a->y)[at] = code;
                    inside = op->clamp_low < code && code < op->clamp_high;
                }
                if (a->active) a->active[o] += inside;
            }
}

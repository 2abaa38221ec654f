/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

static void raise_to(int8_t *restrict y, const int8_t *restrict x, int32_t channels) {
    for (int32_t c = 0; c < channels; c++) y[c] = x[c] > y[c] ? x[c] : y[c];
}

void CAL_NAME(max_pool2d)(const cal_args *a) {
    const cal_op *op = a->op;
    const cal_tensor *in = a->input[0], *out = a->output;
    const int32_t channels = in->channels;
    int8_t *y = a->y;
    for (int32_t row = 0; row < out->height; row++)
        for (int32_t column = 0; column < out->width; column++, y += channels) {
            for (int32_t c = 0; c < channels; c++) y[c] = (int8_t)op->clamp_low;
            for (int32_t ky = 0; ky < op->kernel_h; ky++) {
                const int32_t iy = row * op->stride_h - op->pad_top + ky * op->dilation_h;
                if (iy < 0 || iy >= in->height) continue;
                for (int32_t kx = 0; kx < op->kernel_w; kx++) {
                    const int32_t ix = column * op->stride_w - op->pad_left + kx * op->dilation_w;
                    if (ix < 0 || ix >= in->width) continue;
                    raise_to(y, a->x[0] + ((ptrdiff_t)iy * in->width + ix) * channels, channels);
                }
            }
            for (int32_t c = 0; c < channels; c++) y[c] = y[c] < op->clamp_high ? y[c] : (int8_t)op->clamp_high;
        }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

/* The position of each channel's first largest code of one window. */
static void find(const cal_training_args *a, int32_t row, int32_t column, int32_t first, int32_t block, int32_t *largest) {
    const cal_op *op = a->op;
    const cal_tensor *in = a->input;
    int8_t code[CAL_CHANNEL_BLOCK];
    for (int32_t c = 0; c < block; c++) largest[c] = -1;
    for (int32_t ky = 0; ky < op->kernel_h; ky++) {
        const int32_t y = row * op->stride_h - op->pad_top + ky * op->dilation_h;
        if (y < 0 || y >= in->height) continue;
        for (int32_t kx = 0; kx < op->kernel_w; kx++) {
            const int32_t x = column * op->stride_w - op->pad_left + kx * op->dilation_w;
            if (x < 0 || x >= in->width) continue;
            const int32_t at = y * in->width + x;
            const int8_t *codes = (const int8_t *)a->x + (ptrdiff_t)at * in->channels + first;
            for (int32_t c = 0; c < block; c++)
                if (largest[c] < 0 || codes[c] > code[c]) code[c] = codes[c], largest[c] = at;
        }
    }
}

void CAL_TRAINING_NAME(max_pool2d_grad)(const cal_training_args *a) {
    const int32_t elements = cal_elements(a->input), channels = a->input->channels;
    const float *g = a->g;
    if (!a->accumulate)
        for (int32_t i = 0; i < elements; i++) a->dx[i] = 0.0f;
    for (int32_t row = 0; row < a->output->height; row++)
        for (int32_t column = 0; column < a->output->width; column++, g += channels)
            for (int32_t first = 0; first < channels; first += CAL_CHANNEL_BLOCK) {
                const int32_t block = cal_min(CAL_CHANNEL_BLOCK, channels - first);
                int32_t largest[CAL_CHANNEL_BLOCK];
                find(a, row, column, first, block, largest);
                for (int32_t c = 0; c < block; c++) a->dx[(ptrdiff_t)largest[c] * channels + first + c] += g[first + c];
            }
}

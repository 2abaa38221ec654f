/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/binary.h"

/* Set bits of a word, in operations that every processor has and compilers turn into vectors. */
static inline uint32_t ones(uint32_t v) {
    v -= v >> 1 & 0x55555555;
    v = (v & 0x33333333) + (v >> 2 & 0x33333333);
    return ((v + (v >> 4)) & 0x0f0f0f0f) * 0x01010101 >> 24;
}

/* Adds one tap's mismatches of a block of outputs; without `x` the tap is in the padding, where signs are +1. */
static void add_tap(const uint32_t *x, const uint32_t *w, int32_t words, uint32_t *restrict mismatches) {
    for (int32_t i = 0; i < words; i++, w += CAL_SIGN_BLOCK) {
        const uint32_t signs = x ? x[i] : 0;
        for (int32_t o = 0; o < CAL_SIGN_BLOCK; o++) mismatches[o] += ones(signs ^ w[o]);
    }
}

static void count(const cal_args *a, const uint32_t *w, int32_t row, int32_t column, uint32_t *mismatches) {
    const cal_op *op = a->op;
    const cal_tensor *in = a->input[0];
    const int32_t words = cal_sign_words(in->channels);
    for (int32_t ky = 0; ky < op->kernel_h; ky++)
        for (int32_t kx = 0; kx < op->kernel_w; kx++, w += (ptrdiff_t)words * CAL_SIGN_BLOCK) {
            const int32_t y = row * op->stride_h - op->pad_top + ky * op->dilation_h;
            const int32_t x = column * op->stride_w - op->pad_left + kx * op->dilation_w;
            const bool inside = y >= 0 && y < in->height && x >= 0 && x < in->width;
            const uint32_t *signs = (const uint32_t *)(const void *)a->x[0];
            add_tap(inside ? signs + ((ptrdiff_t)y * in->width + x) * words : NULL, w, words, mismatches);
        }
}

static void finish(const cal_args *a, int32_t block, ptrdiff_t position, const uint32_t *mismatches) {
    const cal_tensor *out = a->output;
    const int32_t first = block * CAL_SIGN_BLOCK, outputs = cal_min(CAL_SIGN_BLOCK, out->channels - first);
    uint32_t bits = 0;
    for (int32_t o = 0; o < outputs; o++) {
        const int32_t sum = (int32_t)(cal_binary_start(a, first + o) - 2 * CAL_UNIT * mismatches[o]), c = first + o;
        if (out->bits == 1) {
            bits |= (uint32_t)(sum < 0) << o;
        } else if (out->bits == 32) {
            ((int32_t *)a->y)[position * out->channels + c] = sum;
        } else {
            const int64_t code = cal_rescale(sum, a->multiplier[c], a->shift[c]) + out->zero_point;
            ((int8_t *)a->y)[position * out->channels + c] = cal_clamp(code, a->op);
        }
    }
    if (out->bits == 1) cal_write_signs(a, block, position, bits);
}

void CAL_NAME(binary_conv2d)(const cal_args *a) {
    const cal_tensor *out = a->output;
    const int32_t blocks = (out->channels + CAL_SIGN_BLOCK - 1) / CAL_SIGN_BLOCK;
    const uint32_t *w = a->packed;
    for (int32_t block = 0; block < blocks; block++, w += cal_binary_words(a->layer) * CAL_SIGN_BLOCK)
        for (int32_t row = 0; row < out->height; row++)
            for (int32_t column = 0; column < out->width; column++) {
                uint32_t mismatches[CAL_SIGN_BLOCK] = {0};
                count(a, w, row, column, mismatches);
                finish(a, block, (ptrdiff_t)row * out->width + column, mismatches);
            }
    if (out->bits != 8)
        cal_count_all(a);
    else if (a->active)
        cal_count_active(a);
}

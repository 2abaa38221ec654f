/* SPDX-License-Identifier: Apache-2.0 */
/* A block of channels stays in a register over all taps of a window. The last block overlaps the one before instead of
 * being narrower, which changes nothing for a maximum. */
#include <immintrin.h>

#include "calibrant/kernel.h"

enum { WIDE = 32, NARROW = 16 };

typedef struct taps { int32_t begin, end; } taps; /* of one axis, those that meet a real position */

static taps real_taps(int32_t origin, int32_t size, int32_t kernel, int32_t dilation) {
    taps t = {0, kernel};
    while (t.begin < t.end && origin + t.begin * dilation < 0) t.begin++;
    while (t.begin < t.end && origin + (t.end - 1) * dilation >= size) t.end--;
    return t;
}

typedef struct window {
    const int8_t *x;
    ptrdiff_t origin, row_step, column_step; /* of tap 0, 0, which may lie in the padding; from tap to tap */
    taps rows, columns;
} window;

static void pool_wide(const window *w, const cal_op *op, int32_t channel, int8_t *y) {
    __m256i largest = _mm256_set1_epi8((char)op->clamp_low);
    for (int32_t ky = w->rows.begin; ky < w->rows.end; ky++)
        for (int32_t kx = w->columns.begin; kx < w->columns.end; kx++) {
            const int8_t *x = w->x + (w->origin + ky * w->row_step + kx * w->column_step + channel);
            largest = _mm256_max_epi8(largest, _mm256_loadu_si256((const __m256i *)x));
        }
    largest = _mm256_min_epi8(largest, _mm256_set1_epi8((char)op->clamp_high));
    _mm256_storeu_si256((__m256i *)(y + channel), largest);
}

static void pool_narrow(const window *w, const cal_op *op, int32_t channel, int8_t *y) {
    __m128i largest = _mm_set1_epi8((char)op->clamp_low);
    for (int32_t ky = w->rows.begin; ky < w->rows.end; ky++)
        for (int32_t kx = w->columns.begin; kx < w->columns.end; kx++) {
            const int8_t *x = w->x + (w->origin + ky * w->row_step + kx * w->column_step + channel);
            largest = _mm_max_epi8(largest, _mm_loadu_si128((const __m128i *)x));
        }
    largest = _mm_min_epi8(largest, _mm_set1_epi8((char)op->clamp_high));
    _mm_storeu_si128((__m128i *)(y + channel), largest);
}

static void pool_one(const window *w, const cal_op *op, int32_t channel, int8_t *y) {
    int32_t largest = op->clamp_low;
    for (int32_t ky = w->rows.begin; ky < w->rows.end; ky++)
        for (int32_t kx = w->columns.begin; kx < w->columns.end; kx++)
            largest = cal_max(largest, w->x[w->origin + ky * w->row_step + kx * w->column_step + channel]);
    y[channel] = (int8_t)cal_min(largest, op->clamp_high);
}

static void pool(const window *w, const cal_op *op, int32_t channels, int8_t *y) {
    if (channels >= WIDE) {
        for (int32_t c = 0; c + WIDE < channels; c += WIDE) pool_wide(w, op, c, y);
        pool_wide(w, op, channels - WIDE, y);
    } else if (channels >= NARROW) {
        pool_narrow(w, op, 0, y);
        pool_narrow(w, op, channels - NARROW, y);
    } else {
        for (int32_t c = 0; c < channels; c++) pool_one(w, op, c, y);
    }
}

void CAL_NAME(max_pool2d)(const cal_args *a) {
    const cal_op *op = a->op;
    const cal_tensor *in = a->input[0], *out = a->output;
    const ptrdiff_t row_bytes = (ptrdiff_t)in->width * in->channels;
    window w = {.x = a->x[0], .row_step = op->dilation_h * row_bytes, .column_step = (ptrdiff_t)op->dilation_w * in->channels};
    int8_t *y = a->y;
    for (int32_t row = 0; row < out->height; row++) {
        const int32_t top = row * op->stride_h - op->pad_top;
        w.rows = real_taps(top, in->height, op->kernel_h, op->dilation_h);
        for (int32_t column = 0; column < out->width; column++, y += in->channels) {
            const int32_t left = column * op->stride_w - op->pad_left;
            w.columns = real_taps(left, in->width, op->kernel_w, op->dilation_w);
            w.origin = top * row_bytes + (ptrdiff_t)left * in->channels;
            pool(&w, op, in->channels, y);
        }
    }
}

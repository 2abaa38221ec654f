/* SPDX-License-Identifier: Apache-2.0 */
/* What kernels share: their names, and the fixed-point arithmetic of docs/numerics.md. Private to c/. */
#ifndef CALIBRANT_KERNEL_H
#define CALIBRANT_KERNEL_H

#include "calibrant/calibrant.h"

/* A source file is compiled once per variant it serves, with CAL_VARIANT naming it. */
#ifndef CAL_VARIANT
#define CAL_VARIANT ref
#endif
#define CAL_PASTE(kernel, variant) cal_##kernel##_s8__##variant
#define CAL_EXPAND(kernel, variant) CAL_PASTE(kernel, variant)
#define CAL_NAME(kernel) CAL_EXPAND(kernel, CAL_VARIANT)

enum { CAL_CHANNEL_BLOCK = 64 }; /* channels summed at once in local memory */

static inline int32_t cal_min(int32_t a, int32_t b) { return a < b ? a : b; }
static inline int32_t cal_max(int32_t a, int32_t b) { return a > b ? a : b; }

/* round(product / 2^shift), half away from zero; |product| <= 2^62, 1 <= shift <= 62, so the sum stays below 2^63. */
static inline int64_t cal_round_shift(int64_t product, int32_t shift) {
    const int64_t magnitude = ((product < 0 ? -product : product) + ((int64_t)1 << (shift - 1))) >> shift;
    return product < 0 ? -magnitude : magnitude;
}

/* round(v * multiplier / 2^shift); |v| <= 2^31, 0 <= multiplier < 2^31. */
static inline int64_t cal_rescale(int64_t v, int32_t multiplier, int32_t shift) {
    return cal_round_shift(v * multiplier, shift);
}

/* round(total / count), half away from zero. */
static inline int32_t cal_divide_round(int32_t total, int32_t count) {
    const int64_t magnitude = ((total < 0 ? -(int64_t)total : (int64_t)total) + count / 2) / count;
    return (int32_t)(total < 0 ? -magnitude : magnitude);
}

static inline int8_t cal_clamp(int64_t code, const cal_op *op) {
    if (code < op->clamp_low) return (int8_t)op->clamp_low;
    if (code > op->clamp_high) return (int8_t)op->clamp_high;
    return (int8_t)code;
}

/* Output positions of 8-bit codes that are strictly inside the clamp, by channel. */
static inline void cal_count_active(const cal_args *a) {
    const int32_t channels = a->output->channels, positions = a->output->height * a->output->width;
    const int32_t low = a->op->clamp_low, high = a->op->clamp_high;
    const int8_t *y = a->y;
    for (int32_t c = 0; c < channels; c++) a->active[c] = 0;
    for (int32_t p = 0; p < positions; p++, y += channels)
        for (int32_t c = 0; c < channels; c++) a->active[c] += low < y[c] && y[c] < high;
}

#endif

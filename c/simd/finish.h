/* SPDX-License-Identifier: Apache-2.0 */
/* From a sum to a code on microcontrollers: where a shift is 33 or more, as it usually is, only the upper word of the
 * 64-bit product decides. */
#ifndef CALIBRANT_FINISH_H
#define CALIBRANT_FINISH_H

#include "calibrant/kernel.h"

/* One output channel's way from sum to code. */
typedef struct cal_finish {
    int32_t multiplier, half, shift; /* where `high`, the shift is of the upper word of a product */
    int32_t zero, low, high_code;
    bool high; /* the shift is 33 or more, so the upper word is enough */
} cal_finish;

static inline cal_finish cal_finish_of(const cal_args *a, int32_t o) {
    const int32_t shift = a->shift[o];
    cal_finish f = {.multiplier = a->multiplier[o], .shift = shift, .high = shift > 32, .zero = a->output->zero_point,
                    .low = a->op->clamp_low, .high_code = a->op->clamp_high};
    if (f.high) f.shift -= 32, f.half = 1 << (shift - 33);
    return f;
}

/* round(sum * multiplier / 2^shift). Half away from zero is floor((product + half) / 2^shift) with 1 less for negative
 * sums. Upper word and half: |product| <= 2^62, so at most 2^30 + 2^29. A general result is cut to 32 bits, far outside
 * every clamp. */
static __attribute__((noinline, cold)) int32_t cal_rounded_exactly(int32_t sum, int32_t multiplier, int32_t shift) {
    const int64_t exact = cal_rescale(sum, multiplier, shift);
    return exact < -INT16_MAX ? -INT16_MAX : exact > INT16_MAX ? INT16_MAX : (int32_t)exact;
}

static inline int32_t cal_rounded(const cal_finish *f, int32_t sum) {
    if (!f->high) return cal_rounded_exactly(sum, f->multiplier, f->shift);
    const int64_t product = (int64_t)sum * f->multiplier - (int64_t)((uint32_t)sum >> 31);
    return ((int32_t)(product >> 32) + f->half) >> f->shift;
}

static inline int8_t cal_code(const cal_finish *f, int32_t sum) {
    return (int8_t)cal_min(cal_max(cal_rounded(f, sum) + f->zero, f->low), f->high_code);
}

#endif

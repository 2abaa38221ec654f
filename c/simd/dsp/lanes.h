/* SPDX-License-Identifier: Apache-2.0 */
/* The DSP extension of Armv7E-M and Armv8-M: four codes in a word become two pairs of 16-bit lanes. Sums of products wrap
 * as in the reference. */
#ifndef CALIBRANT_LANES_H
#define CALIBRANT_LANES_H

#include <arm_acle.h>
#include <string.h>

#include "../finish.h"
#include "../patch.h"

/* ldr takes any address. */
static inline uint32_t cal_word(const int8_t *p) {
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* The same number in both lanes. */
static inline int16x2_t cal_both(int32_t value) { return (int16x2_t)(((uint32_t)value & 0xffff) * 0x10001u); }

/* Codes 0 and 2 of a word, codes 1 and 3; `plus` is added to both lanes. The rotation is part of the instruction, which
 * compilers do not find by themselves. */
static inline int16x2_t cal_even(uint32_t word) { return __sxtb16((int8x4_t)word); }
static inline int16x2_t cal_even_plus(int16x2_t plus, uint32_t word) { return __sxtab16(plus, (int8x4_t)word); }
static inline int16x2_t cal_odd(uint32_t word) {
    int16x2_t lanes;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(lanes) : "r"(word));
    return lanes;
}
static inline int16x2_t cal_odd_plus(int16x2_t plus, uint32_t word) {
    int16x2_t lanes;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(lanes) : "r"(plus), "r"(word));
    return lanes;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Rounding of four sums at once for Helium, the vector extension of Armv8.1-M. */
#ifndef CALIBRANT_LANES_H
#define CALIBRANT_LANES_H

#include <arm_mve.h>

#include "../finish.h"
#include "../patch.h"

/* round(sum * multiplier / 2^(32 + shift)), half away from zero; 1 <= shift. The upper word of the magnitude's product is
 * enough, since half is a multiple of 2^32; vrshl adds it. */
static inline int32x4_t cal_rounded_lanes(int32x4_t sums, int32x4_t multiplier, int32x4_t shift) {
    const uint32x4_t high = vmulhq_u32(vreinterpretq_u32_s32(vabsq_s32(sums)), vreinterpretq_u32_s32(multiplier));
    const int32x4_t magnitude = vreinterpretq_s32_u32(vrshlq_u32(high, vnegq_s32(shift)));
    return vnegq_m_s32(magnitude, magnitude, vcmpltq_n_s32(sums, 0));
}

#endif

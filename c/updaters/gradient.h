/* SPDX-License-Identifier: Apache-2.0 */
/* Slopes as they are kept: 24 bits, the lowest byte first. Private to c/updaters. */
#ifndef CALIBRANT_GRADIENT_H
#define CALIBRANT_GRADIENT_H

#include "../session/calibrator.h"

static inline int32_t cal_get_slope(const uint8_t *kept) {
    const int32_t bits = kept[0] | kept[1] << 8 | kept[2] << 16;
    return bits < 1 << 23 ? bits : bits - (1 << 24);
}

static inline void cal_put_slope(uint8_t *kept, int32_t slope) {
    const uint32_t bits = (uint32_t)slope;
    kept[0] = (uint8_t)bits;
    kept[1] = (uint8_t)(bits >> 8);
    kept[2] = (uint8_t)(bits >> 16);
}

/* With momentum: plus three quarters of the earlier one; |slope| <= 2^20, so what is kept stays within 2^22. */
static inline int32_t cal_after(int64_t slope, int32_t earlier, bool after_earlier) {
    return (int32_t)slope + (after_earlier ? earlier - (int32_t)cal_floor_shift(earlier, 2) : 0);
}

static inline int64_t cal_larger_magnitude(int64_t peak, int64_t v) {
    const int64_t magnitude = v < 0 ? -v : v;
    return magnitude > peak ? magnitude : peak;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* exp, log and rounding in float32 that give the same bits on every machine: IEEE add, multiply and divide in a fixed
 * order, and bit moves. Equal to core/fmath.py. Of float64 what IEEE 754 defines to the last bit, as Python has it, without
 * a math library. Compile with -ffp-contract=off and without -ffast-math. */
#ifndef CALIBRANT_FMATH_H
#define CALIBRANT_FMATH_H

#include <stdint.h>

#define CAL_LN2_HIGH 0.693359375f /* few bits: k * CAL_LN2_HIGH is exact for |k| < 2^10 */
#define CAL_LN2_LOW (-2.1219444005469057e-4f)
#define CAL_LOG2E 1.4426950408889634f

typedef union cal_float_bits {
    float value;
    uint32_t bits;
} cal_float_bits;

typedef union cal_double_bits {
    double value;
    uint64_t bits;
} cal_double_bits;

/* Nearest integer, half to even. From 2^22 on adding 1.5 * 2^23 would be off; from 2^23 on every float is an integer. */
static inline float cal_rint_f32(float x) {
    const float shifter = 12582912.0f; /* 1.5 * 2^23: its last bit is worth 1 */
    const float magnitude = x < 0 ? -x : x;
    if (!(magnitude < 4194304.0f)) {
        if (!(magnitude < 8388608.0f)) return x; /* NaN too */
        const int32_t whole = (int32_t)magnitude; /* the last bit of x is worth 1/2 */
        const float rest = magnitude - (float)whole;
        const float nearest = (float)(whole + (rest > 0 && (whole & 1)));
        return x < 0 ? -nearest : nearest;
    }
    return (x + shifter) - shifter;
}

/* exp(x) for x <= 0, within 3 ulp; values below -80, and NaN, count as -80. */
static inline float cal_exp_f32(float x) {
    x = x > -80.0f ? x : -80.0f;
    const float k = cal_rint_f32(x * CAL_LOG2E);
    const float r = (x - k * CAL_LN2_HIGH) - k * CAL_LN2_LOW;
    float p = (float)(1.0 / 720);
    p = p * r + (float)(1.0 / 120);
    p = p * r + (float)(1.0 / 24);
    p = p * r + (float)(1.0 / 6);
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const cal_float_bits power = {.bits = (uint32_t)((int32_t)k + 127) << 23};
    return p * power.value;
}

/* log(x) for normal x > 0, within a few ulp (absolute 1e-7 near 1). */
static inline float cal_log_f32(float x) {
    cal_float_bits f = {.value = x};
    int32_t exponent = (int32_t)(f.bits >> 23 & 255) - 126;
    f.bits = (f.bits & 0x007fffffu) | 0x3f000000u; /* the mantissa in [1/2, 1) */
    float mantissa = f.value;
    if (mantissa < 0.70710678f) {
        mantissa = mantissa * 2.0f;
        exponent -= 1;
    }
    const float k = (float)exponent;
    const float s = (mantissa - 1.0f) / (mantissa + 1.0f);
    const float q = s * s;
    float p = (float)(1.0 / 9);
    p = p * q + (float)(1.0 / 7);
    p = p * q + (float)(1.0 / 5);
    p = p * q + (float)(1.0 / 3);
    p = p * q + 1.0f;
    return (k * CAL_LN2_LOW + 2.0f * s * p) + k * CAL_LN2_HIGH;
}

/* Python's round(): half to even; 0 <= x < 2^53. */
static inline int64_t cal_round_even(double x) {
    const int64_t whole = (int64_t)x;
    const double rest = x - (double)whole;
    return whole + (rest > 0.5 || (rest == 0.5 && (whole & 1)));
}

/* x = mantissa * 2^exponent of a normal x > 0, 2^52 <= mantissa < 2^53. */
typedef struct cal_binary {
    uint64_t mantissa;
    int32_t exponent;
} cal_binary;

static inline cal_binary cal_binary_of(double x) {
    const cal_double_bits f = {.value = x};
    const uint64_t one = (uint64_t)1 << 52;
    return (cal_binary){(f.bits & (one - 1)) | one, (int32_t)(f.bits >> 52 & 2047) - 1075};
}

/* 2^exponent, -1022 to 1023. */
static inline double cal_power_of_two(int32_t exponent) {
    const cal_double_bits power = {.bits = (uint64_t)(exponent + 1023) << 52};
    return power.value;
}

/* The nearest to the square root of a normal x > 0, or of 0. Digit by digit: 54 bits of root, of which the last says how
 * to round, for no root of 53 bits lies halfway between two; the rest stays below 2 * root + 1 < 2^56. */
static inline double cal_sqrt_f64(double x) {
    if (!(x > 0.0)) return 0.0;
    const cal_binary b = cal_binary_of(x);
    const int32_t odd = b.exponent & 1;
    const uint64_t digits = b.mantissa << odd; /* 54 bits at most, then zeros */
    uint64_t root = 0, rest = 0;
    for (int32_t at = 52; at > 52 - 2 * 54; at -= 2) {
        rest = rest << 2 | (at >= 0 ? digits >> at & 3 : 0);
        const uint64_t next = root << 2 | 1;
        root <<= 1;
        if (rest >= next) rest -= next, root |= 1;
    }
    return (double)((root >> 1) + (root & 1)) * cal_power_of_two((b.exponent - odd) / 2 - 26);
}

#endif

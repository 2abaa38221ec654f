/* SPDX-License-Identifier: Apache-2.0 */
/* Fixed-point rounding of small values in double precision, which is exact here: a code less its zero point is below 2^8
 * in magnitude and a multiplier below 2^31, so one or two products give M / 2^shift with |M| < 2^40, held exactly. If
 * shift <= 52, adding 1/2 gives (M + 2^(shift - 1)) / 2^shift, whose numerator stays below 2^53. If shift > 52 the value
 * is below 2^-12 and truncates to 0 however the sum is rounded. */
#ifndef CALIBRANT_AVX2_ROUNDING_H
#define CALIBRANT_AVX2_ROUNDING_H

#include <string.h>

#include "calibrant/kernel.h"

enum { CAL_CODES = 16 };

typedef struct cal_rounding {
    __m256d low, high; /* the clamp, relative to the zero point */
    __m128i zero_point;
} cal_rounding;

static inline cal_rounding cal_rounding_of(const cal_args *a) {
    const int32_t zero_point = a->output->zero_point;
    return (cal_rounding){_mm256_set1_pd(a->op->clamp_low - zero_point), _mm256_set1_pd(a->op->clamp_high - zero_point),
                          _mm_set1_epi8((char)zero_point)};
}

/* 2^-shift */
static inline double cal_unit(int32_t shift) { return 1.0 / (double)((int64_t)1 << shift); }

static inline __m256d cal_doubles(const int8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_cvtepi32_pd(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four)));
}

/* Half away from zero, clamped. */
static inline __m128i cal_round4(__m256d value, const cal_rounding *r) {
    const __m256d half = _mm256_or_pd(_mm256_and_pd(value, _mm256_set1_pd(-0.0)), _mm256_set1_pd(0.5));
    const __m256d bounded = _mm256_min_pd(_mm256_max_pd(_mm256_add_pd(value, half), r->low), r->high);
    return _mm256_cvttpd_epi32(bounded);
}

/* Codes of 16 values. Clamped values fit 9 bits; adding the zero point modulo 2^8 gives codes, which fit 8. */
static inline __m128i cal_round16(const __m256d *value, const cal_rounding *r) {
    const __m128i low = _mm_packs_epi32(cal_round4(value[0], r), cal_round4(value[1], r));
    const __m128i high = _mm_packs_epi32(cal_round4(value[2], r), cal_round4(value[3], r));
    const __m128i byte = _mm_set1_epi16(0xff);
    const __m128i wrapped = _mm_packus_epi16(_mm_and_si128(low, byte), _mm_and_si128(high, byte));
    return _mm_add_epi8(wrapped, r->zero_point);
}

#endif

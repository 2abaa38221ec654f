/* SPDX-License-Identifier: Apache-2.0 */
/* From the accumulators of a tile (positions x 16 channels) to output values, for files compiled with AVX2 or more. */
#ifndef CALIBRANT_REQUANTIZE_H
#define CALIBRANT_REQUANTIZE_H

#include <string.h>

#include "window.h"

enum { CAL_COUNT_LIMIT = 255 }; /* positions that 8-bit counters of active outputs can hold */

/* One block's requantization constants: 64-bit lanes of channels 0, 2, 4, 6 (even) and 1, 3, 5, 7 (odd) of each half.
 * Lanes past the layer's last output channel hold harmless values. */
typedef struct cal_finish {
    int64_t multiplier[2][2][4], shift[2][2][4], half[2][2][4];
    int32_t outputs; /* real channels of the block */
    int32_t zero_point, low, high;
    bool narrow; /* no rescaled sum passes 31 bits: every multiplier is below 2^shift */
} cal_finish;

static inline cal_finish cal_finish_of(const cal_args *a, int32_t first, int32_t outputs) {
    cal_finish f = {.outputs = outputs, .zero_point = a->output->zero_point, .low = a->op->clamp_low,
                    .high = a->op->clamp_high, .narrow = true};
    for (int32_t o = 0; o < CAL_BLOCK; o++) {
        const int64_t multiplier = o < outputs ? a->multiplier[first + o] : 0, shift = o < outputs ? a->shift[first + o] : 1;
        f.multiplier[o / 8][o % 2][o % 8 / 2] = multiplier;
        f.shift[o / 8][o % 2][o % 8 / 2] = shift;
        f.half[o / 8][o % 2][o % 8 / 2] = (int64_t)1 << (shift - 1);
        f.narrow = f.narrow && multiplier < (int64_t)1 << shift;
    }
    return f;
}

/* Replaces one half of every position's sums by rescaled ones, saturated to int32. Products are at most 2^62 and halves
 * 2^61, so unsigned 64-bit lanes hold their sum. */
static inline __attribute__((always_inline)) void cal_rescale_half(const cal_finish *f, int32_t half, bool narrow,
                                                                   int32_t count, int32_t (*sums)[CAL_BLOCK]) {
    __m256i multiplier[2], shift[2], rounding[2];
    for (int32_t i = 0; i < 2; i++) {
        multiplier[i] = _mm256_loadu_si256((const __m256i *)f->multiplier[half][i]);
        shift[i] = _mm256_loadu_si256((const __m256i *)f->shift[half][i]);
        rounding[i] = _mm256_loadu_si256((const __m256i *)f->half[half][i]);
    }
    const __m256i largest = _mm256_set1_epi32(INT32_MAX);
    for (int32_t m = 0; m < count; m++) {
        __m256i *at = (__m256i *)sums[m] + half;
        const __m256i sum = _mm256_loadu_si256(at), magnitude = _mm256_abs_epi32(sum);
        __m256i even = _mm256_mul_epu32(magnitude, multiplier[0]);
        __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(magnitude, 32), multiplier[1]);
        even = _mm256_srlv_epi64(_mm256_add_epi64(even, rounding[0]), shift[0]);
        odd = _mm256_srlv_epi64(_mm256_add_epi64(odd, rounding[1]), shift[1]);
        __m256i low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
        if (!narrow) {
            const __m256i high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
            const __m256i fits = _mm256_cmpeq_epi32(high, _mm256_setzero_si256());
            low = _mm256_min_epu32(_mm256_or_si256(low, _mm256_andnot_si256(fits, largest)), largest);
        }
        _mm256_storeu_si256(at, _mm256_sign_epi32(low, sum));
    }
}

/* 16-bit codes, not yet clamped: both steps saturate, which the clamp to 8 bits cannot tell from the exact value. */
static inline __m256i cal_codes16(const int32_t *rescaled, __m256i zero_point) {
    const __m256i *at = (const __m256i *)rescaled;
    return _mm256_adds_epi16(_mm256_packs_epi32(_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)), zero_point);
}

/* The first `count` of 16 bytes. */
static inline void cal_store_bytes(int8_t *y, __m128i bytes, int32_t count) {
    if (count == CAL_BLOCK) {
        _mm_storeu_si128((__m128i *)y, bytes);
        return;
    }
    int8_t codes[CAL_BLOCK];
    int32_t done = 0;
    _mm_storeu_si128((__m128i *)codes, bytes);
    if (count & 8) memcpy(y, codes, 8), done = 8;
    if (count & 4) memcpy(y + done, codes + done, 4), done += 4;
    if (count & 2) memcpy(y + done, codes + done, 2), done += 2;
    if (count & 1) y[done] = codes[done];
}

/* Clamps and stores one position's 16 codes; counts those inside the clamp in 8-bit lanes. */
static inline void cal_finish_position(const cal_finish *f, __m128i codes, int8_t *y, __m128i *inside) {
    const __m128i low = _mm_set1_epi8((char)f->low), high = _mm_set1_epi8((char)f->high);
    const __m128i clamped = _mm_min_epi8(_mm_max_epi8(codes, low), high);
    *inside = _mm_sub_epi8(*inside, _mm_and_si128(_mm_cmpgt_epi8(clamped, low), _mm_cmpgt_epi8(high, clamped)));
    cal_store_bytes(y, clamped, f->outputs);
}

/* Writes `count` positions of one block, `stride` values apart: codes, or the sums themselves for a 32-bit output. The
 * sums are used up. */
static inline void cal_finish_tile(const cal_args *a, const cal_finish *f, int32_t (*sums)[CAL_BLOCK], int32_t count,
                                   ptrdiff_t at, __m128i *inside) {
    const ptrdiff_t stride = a->output->channels;
    if (a->output->bits == 32) {
        for (int32_t m = 0; m < count; m++)
            memcpy((int32_t *)a->y + at + m * stride, sums[m], (size_t)f->outputs * sizeof **sums);
        *inside = _mm_add_epi8(*inside, _mm_set1_epi8((char)count));
        return;
    }
    for (int32_t half = 0; half < 2; half++)
        if (f->narrow)
            cal_rescale_half(f, half, true, count, sums);
        else
            cal_rescale_half(f, half, false, count, sums);
    const __m256i zero_point = _mm256_set1_epi16((int16_t)f->zero_point);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    int8_t *y = (int8_t *)a->y + at;
    for (int32_t m = 0; m < count; m += 2, y += 2 * stride) { /* packing interleaves the halves of two positions */
        const __m256i first = cal_codes16(sums[m], zero_point);
        const __m256i second = m + 1 < count ? cal_codes16(sums[m + 1], zero_point) : first;
        const __m256i codes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, second), order);
        cal_finish_position(f, _mm256_castsi256_si128(codes), y, inside);
        if (m + 1 < count) cal_finish_position(f, _mm256_extracti128_si256(codes, 1), y + stride, inside);
    }
}

/* Adds 8-bit counts of active outputs to int32[16] and clears them. */
static inline void cal_flush_counts(__m128i *inside, int32_t *active) {
    uint8_t counts[CAL_BLOCK];
    _mm_storeu_si128((__m128i *)counts, *inside);
    for (int32_t o = 0; o < CAL_BLOCK; o++) active[o] += counts[o];
    *inside = _mm_setzero_si128();
}

#endif

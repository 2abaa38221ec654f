/* SPDX-License-Identifier: Apache-2.0 */
/* Mismatches of 4 positions x 16 outputs: bits of a byte are looked up by halves (vpshufb) and counted in bytes, which
 * hold 31 words' worth; a lane of 32 bits is one output, so that no sum goes across lanes. */
#include <immintrin.h>

#include "../binary.h"

enum { TILE = 4, FLUSH = 31 }; /* 31 * 8 bits = 248 <= 255 */

static inline __m256i load(const void *at) { return _mm256_loadu_si256(at); }

/* The four bytes of each lane, added. */
static inline __m256i lanes(__m256i bytes) {
    const __m256i pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

static inline __attribute__((always_inline)) void sums_of(const cal_binary_tile *t, const int32_t M) {
    const cal_window *w = t->window;
    const uint32_t *weights = t->weights;
    const __m256i half = _mm256_set1_epi8(15);
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    for (int32_t m = 0; m < M; m++) memcpy(t->sums[m], t->start, sizeof t->sums[m]);
    for (int32_t r = 0; r < w->runs; r++) {
        const ptrdiff_t offset = cal_run_offset(t->op, w, r);
        for (int32_t k = 0; k < w->run;) {
            const int32_t end = cal_min(k + FLUSH, w->run);
            __m256i bytes[TILE][2];
#pragma GCC unroll 4
            for (int32_t m = 0; m < M; m++) bytes[m][0] = bytes[m][1] = _mm256_setzero_si256();
            for (; k < end; k++, weights += CAL_BLOCK)
#pragma GCC unroll 4
                for (int32_t m = 0; m < M; m++) {
                    const __m256i signs = _mm256_set1_epi32((int32_t)t->x[m][offset + k]);
#pragma GCC unroll 2
                    for (int32_t h = 0; h < 2; h++) {
                        const __m256i v = _mm256_xor_si256(signs, load(weights + 8 * h));
                        const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(v, half));
                        const __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), half));
                        bytes[m][h] = _mm256_add_epi8(bytes[m][h], _mm256_add_epi8(low, high));
                    }
                }
#pragma GCC unroll 4
            for (int32_t m = 0; m < M; m++)
#pragma GCC unroll 2
                for (int32_t h = 0; h < 2; h++) {
                    __m256i *to = (__m256i *)t->sums[m] + h; /* 2 * CAL_UNIT = 2^9 a mismatch */
                    _mm256_storeu_si256(to, _mm256_sub_epi32(load(to), _mm256_slli_epi32(lanes(bytes[m][h]), 9)));
                }
        }
    }
}

_Static_assert(2 * CAL_UNIT == 1 << 9, "the shift of a mismatch");

static void tile_sums(const cal_binary_tile *t) {
    switch (t->count) {
    case 1: sums_of(t, 1); break;
    case 2: sums_of(t, 2); break;
    case 3: sums_of(t, 3); break;
    default: sums_of(t, TILE); break;
    }
}

void CAL_NAME(binary_conv2d)(const cal_args *a) {
    const cal_binary tiles = {TILE, tile_sums};
    cal_binary_run(a, tiles);
}

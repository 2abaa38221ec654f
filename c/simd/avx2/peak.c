/* SPDX-License-Identifier: Apache-2.0 */
/* The processor's own limit for exact int8 products: multiply-adds on registers alone, as many chains as a tile has. */
#include <immintrin.h>

#include "calibrant/kernel.h"

enum { CHAINS = 12 };

static inline __attribute__((always_inline)) int64_t chains(bool quads, int64_t rounds, int32_t *sink) {
    __m256i sum[CHAINS], v = _mm256_set1_epi8((char)*sink), w = _mm256_set1_epi8((char)(*sink + 1));
#pragma GCC unroll 12
    for (int32_t i = 0; i < CHAINS; i++) sum[i] = _mm256_setzero_si256();
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int32_t i = 0; i < CHAINS; i++) {
            __asm__ volatile("" : "+x"(v), "+x"(w)); /* the compiler must not take the product out of the loop */
            sum[i] = quads ? _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(v, w))
                           : _mm256_add_epi32(sum[i], _mm256_madd_epi16(v, w));
            __asm__("" : "+x"(sum[i])); /* sums stay in their registers */
        }
    }
#pragma GCC unroll 12
    for (int32_t i = 1; i < CHAINS; i++) sum[0] = _mm256_add_epi32(sum[0], sum[i]);
    *sink = _mm256_extract_epi32(sum[0], 0);
    return rounds * CHAINS * (quads ? 32 : 16);
}

int64_t cal_peak__avx2(int32_t bits, int64_t rounds, int32_t *sink) {
    return bits <= 4 ? chains(true, rounds, sink) : chains(false, rounds, sink);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Mismatches of 8 positions x 16 outputs by vpopcntd: a lane of 32 bits is one output, so that no sum goes across lanes. */
#ifdef CALIBRANT_SIMDE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif

#include "../binary.h"

enum { TILE = CAL_BINARY_TILE_LIMIT };

_Static_assert(2 * CAL_UNIT == 1 << 9, "the shift of a mismatch");

static inline __attribute__((always_inline)) void sums_of(const cal_binary_tile *t, const int32_t M) {
    const cal_window *w = t->window;
    const uint32_t *weights = t->weights;
    __m512i mismatches[TILE];
#pragma GCC unroll 8
    for (int32_t m = 0; m < M; m++) mismatches[m] = _mm512_setzero_si512();
    for (int32_t r = 0; r < w->runs; r++) {
        const ptrdiff_t offset = cal_run_offset(t->op, w, r);
        const uint32_t *x[TILE];
        for (int32_t m = 0; m < M; m++) x[m] = t->x[m] + offset;
        for (int32_t k = 0; k < w->run; k++, weights += CAL_BLOCK) {
            const __m512i v = _mm512_loadu_si512(weights);
#pragma GCC unroll 8
            for (int32_t m = 0; m < M; m++) {
                const __m512i differing = _mm512_xor_si512(v, _mm512_set1_epi32((int32_t)x[m][k]));
                mismatches[m] = _mm512_add_epi32(mismatches[m], _mm512_popcnt_epi32(differing));
            }
        }
    }
    const __m512i start = _mm512_loadu_si512(t->start);
#pragma GCC unroll 8
    for (int32_t m = 0; m < M; m++)
        _mm512_storeu_si512(t->sums[m], _mm512_sub_epi32(start, _mm512_slli_epi32(mismatches[m], 9)));
}

static void tile_sums(const cal_binary_tile *t) {
    switch (t->count) {
    case 1: sums_of(t, 1); break;
    case 2: sums_of(t, 2); break;
    case 3: sums_of(t, 3); break;
    case 4: sums_of(t, 4); break;
    case 5: sums_of(t, 5); break;
    case 6: sums_of(t, 6); break;
    case 7: sums_of(t, 7); break;
    default: sums_of(t, TILE); break;
    }
}

void CAL_NAME(binary_conv2d)(const cal_args *a) {
    const cal_binary tiles = {TILE, tile_sums};
    cal_binary_run(a, tiles);
}

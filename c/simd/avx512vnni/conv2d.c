/* SPDX-License-Identifier: Apache-2.0 */
/* Exact int8 convolution by vpdpbusd: raised uint8 inputs, four products into each 32-bit lane with no step in between
 * that could saturate. A tile is up to 12 output positions x 16 output channels. */
#ifdef CALIBRANT_SIMDE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif

#include "../avx2/conv2d.h"
#include "../copy.h"
#include "../dense.h"

enum { TILE = CAL_TILE_LIMIT, QUAD = 4 };

CAL_DEFINE_COPY(copy_input, uint8_t, CAL_RAISED, CAL_RAISED_PADDING)

static inline __m512i broadcast(const uint8_t *x) {
    int32_t values;
    memcpy(&values, x, sizeof values);
    return _mm512_set1_epi32(values);
}

static inline __attribute__((always_inline)) void quad_sums(const cal_tile *t, const int32_t M) {
    const cal_window *w = t->window;
    const int8_t *weights = t->weights;
    __m512i sum[TILE];
#pragma GCC unroll 12
    for (int32_t m = 0; m < M; m++) sum[m] = _mm512_loadu_si512(t->start);
    for (int32_t r = 0; r < w->runs; r++) {
        const ptrdiff_t offset = cal_run_offset(t->op, w, r);
        const uint8_t *x[TILE];
        for (int32_t m = 0; m < M; m++) x[m] = (const uint8_t *)t->x[m] + offset;
        for (int32_t k = 0; k < w->run; k += QUAD, weights += CAL_BLOCK * QUAD) {
            const __m512i v = _mm512_loadu_si512(weights);
#pragma GCC unroll 12
            for (int32_t m = 0; m < M; m++) sum[m] = _mm512_dpbusd_epi32(sum[m], broadcast(x[m] + k), v);
        }
    }
#pragma GCC unroll 12
    for (int32_t m = 0; m < M; m++) _mm512_storeu_si512(t->sums[m], sum[m]);
}

static void quad_tile(const cal_tile *t) {
    switch (t->count) {
    case 1: quad_sums(t, 1); break;
    case 2: quad_sums(t, 2); break;
    case 3: quad_sums(t, 3); break;
    case 4: quad_sums(t, 4); break;
    case 5: quad_sums(t, 5); break;
    case 6: quad_sums(t, 6); break;
    case 7: quad_sums(t, 7); break;
    case 8: quad_sums(t, 8); break;
    case 9: quad_sums(t, 9); break;
    case 10: quad_sums(t, 10); break;
    case 11: quad_sums(t, 11); break;
    default: quad_sums(t, TILE); break;
    }
}

void CAL_NAME(conv2d)(const cal_args *a) {
    const cal_dense quads = {TILE, QUAD, sizeof(uint8_t), true, copy_input, quad_tile};
    if (cal_is_depthwise(a->op, a->layer))
        cal_depthwise__avx2(a);
    else
        cal_dense_run(a, quads);
}

static int32_t lanes_of(const cal_op *op, const cal_layer *layer) {
    return cal_is_depthwise(op, layer) ? CAL_PAIR : QUAD;
}

int64_t cal_packed_bytes__avx512vnni(const cal_op *op, const cal_layer *layer) {
    return cal_pack_bytes(op, layer, lanes_of(op, layer));
}

void cal_pack__avx512vnni(const cal_op *op, const cal_layer *layer, const int8_t *weights, void *packed) {
    cal_pack_layer(op, layer, weights, lanes_of(op, layer), packed);
}

#ifndef CALIBRANT_SIMDE
/* The processor's own limit: vpdpbusd on registers alone, as many chains as a tile has. */
int64_t cal_peak__avx512vnni(int32_t bits, int64_t rounds, int32_t *sink) {
    (void)bits;
    __m512i sum[TILE], v = _mm512_set1_epi8((char)*sink), w = _mm512_set1_epi8((char)(*sink + 1));
#pragma GCC unroll 12
    for (int32_t i = 0; i < TILE; i++) sum[i] = _mm512_setzero_si512();
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int32_t i = 0; i < TILE; i++) {
            __asm__ volatile("" : "+v"(v), "+v"(w)); /* the compiler must not take the product out of the loop */
            sum[i] = _mm512_dpbusd_epi32(sum[i], v, w);
        }
    }
#pragma GCC unroll 12
    for (int32_t i = 1; i < TILE; i++) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    *sink = _mm_cvtsi128_si32(_mm512_castsi512_si128(sum[0]));
    return rounds * TILE * 64;
}
#endif

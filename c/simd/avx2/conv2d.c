/* SPDX-License-Identifier: Apache-2.0 */
/* Exact int8 convolution in two forms. Pairs: inputs are widened to int16 with their zero point taken off and vpmaddwd
 * adds two products into a 32-bit lane. Quads, for weights of at most 4 bits: vpmaddubsw adds two products of a raised
 * uint8 input into a 16-bit lane, twice as many a cycle; 16-bit sums are widened before they can overflow. */
#include <immintrin.h>

#include "../copy.h"
#include "../dense.h"
#include "conv2d.h"

enum { TILE = 6, PAIR = CAL_PAIR, QUAD = 4, STEP = CAL_BLOCK * QUAD };

CAL_DEFINE_COPY(copy_pairs, int16_t, CAL_CENTERED, CAL_CENTERED_PADDING)
CAL_DEFINE_COPY(copy_quads, uint8_t, CAL_RAISED, CAL_RAISED_PADDING)

static inline __m256i broadcast(const void *x) {
    int32_t values;
    memcpy(&values, x, sizeof values);
    return _mm256_set1_epi32(values);
}

static inline __m256i load(const void *p) { return _mm256_loadu_si256(p); }

/* The sums of M positions; M is a constant, so each count has its own registers. */
static inline __attribute__((always_inline)) void pair_sums(const cal_tile *t, const int32_t M) {
    const cal_window *w = t->window;
    const int8_t *weights = t->weights;
    __m256i sum[TILE][2];
#pragma GCC unroll 6
    for (int32_t m = 0; m < M; m++) sum[m][0] = load(t->start), sum[m][1] = load(t->start + 8);
    for (int32_t r = 0; r < w->runs; r++) {
        const ptrdiff_t offset = cal_run_offset(t->op, w, r);
        const int16_t *x[TILE];
        for (int32_t m = 0; m < M; m++) x[m] = (const int16_t *)t->x[m] + offset;
        for (int32_t k = 0; k < w->run; k += PAIR, weights += CAL_BLOCK * PAIR) {
            const __m256i w0 = cal_widened(weights), w1 = cal_widened(weights + CAL_BLOCK);
#pragma GCC unroll 6
            for (int32_t m = 0; m < M; m++) {
                const __m256i v = broadcast(x[m] + k);
                sum[m][0] = _mm256_add_epi32(sum[m][0], _mm256_madd_epi16(v, w0));
                sum[m][1] = _mm256_add_epi32(sum[m][1], _mm256_madd_epi16(v, w1));
            }
        }
    }
#pragma GCC unroll 6
    for (int32_t m = 0; m < M; m++) {
        _mm256_storeu_si256((__m256i *)t->sums[m], sum[m][0]);
        _mm256_storeu_si256((__m256i *)t->sums[m] + 1, sum[m][1]);
    }
}

static inline __attribute__((always_inline)) void quad_step(const int32_t M, const bool first, const uint8_t *const *x,
                                                            ptrdiff_t k, const int8_t *weights, __m256i (*sum)[2]) {
    const __m256i w0 = load(weights), w1 = load(weights + STEP / 2);
#pragma GCC unroll 6
    for (int32_t m = 0; m < M; m++) {
        const __m256i v = broadcast(x[m] + k);
        const __m256i product0 = _mm256_maddubs_epi16(v, w0), product1 = _mm256_maddubs_epi16(v, w1);
        sum[m][0] = first ? product0 : _mm256_add_epi16(sum[m][0], product0);
        sum[m][1] = first ? product1 : _mm256_add_epi16(sum[m][1], product1);
        __asm__("" : "+x"(sum[m][0]), "+x"(sum[m][1])); /* sums stay in their registers */
    }
}

static inline __attribute__((always_inline)) void quad_sums(const cal_tile *t, const int32_t M) {
    const cal_window *w = t->window;
    const int8_t *weights = t->weights;
    /* two products reach 2 * 255 * largest weight: so many steps fit 16 bits */
    const int32_t chunk = QUAD * (INT16_MAX / (2 * 255 * ((1 << (t->bits - 1)) - 1)));
    const __m256i ones = _mm256_set1_epi16(1);
    for (int32_t m = 0; m < M; m++) memcpy(t->sums[m], t->start, sizeof t->sums[m]);
    for (int32_t r = 0; r < w->runs; r++) {
        const ptrdiff_t offset = cal_run_offset(t->op, w, r);
        const uint8_t *x[TILE];
        for (int32_t m = 0; m < M; m++) x[m] = (const uint8_t *)t->x[m] + offset;
        for (int32_t k = 0; k < w->run;) {
            const int32_t end = cal_min(k + chunk, w->run);
            __m256i sum[TILE][2];
            quad_step(M, true, x, k, weights, sum);
            for (k += QUAD, weights += STEP; k < end; k += QUAD, weights += STEP) quad_step(M, false, x, k, weights, sum);
#pragma GCC unroll 6
            for (int32_t m = 0; m < M; m++)
#pragma GCC unroll 2
                for (int32_t h = 0; h < 2; h++) {
                    __m256i *to = (__m256i *)t->sums[m] + h;
                    _mm256_storeu_si256(to, _mm256_add_epi32(load(to), _mm256_madd_epi16(sum[m][h], ones)));
                }
        }
    }
}

#define BY_COUNT(function, t)                                                                                          \
    switch ((t)->count) {                                                                                              \
    case 1: function(t, 1); break;                                                                                     \
    case 2: function(t, 2); break;                                                                                     \
    case 3: function(t, 3); break;                                                                                     \
    case 4: function(t, 4); break;                                                                                     \
    case 5: function(t, 5); break;                                                                                     \
    default: function(t, TILE); break;                                                                                 \
    }

static void pair_tile(const cal_tile *t) { BY_COUNT(pair_sums, t) }
static void quad_tile(const cal_tile *t) { BY_COUNT(quad_sums, t) }

void CAL_NAME(conv2d)(const cal_args *a) {
    const cal_dense pairs = {TILE, PAIR, sizeof(int16_t), false, copy_pairs, pair_tile};
    const cal_dense quads = {TILE, QUAD, sizeof(uint8_t), true, copy_quads, quad_tile};
    if (cal_is_depthwise(a->op, a->layer))
        cal_depthwise__avx2(a);
    else if (a->layer->bits <= 4)
        cal_dense_run(a, quads);
    else
        cal_dense_run(a, pairs);
}

static int32_t lanes_of(const cal_op *op, const cal_layer *layer) {
    return layer->bits <= 4 && !cal_is_depthwise(op, layer) ? QUAD : PAIR;
}

int64_t cal_packed_bytes__avx2(const cal_op *op, const cal_layer *layer) {
    return cal_pack_bytes(op, layer, lanes_of(op, layer));
}

void cal_pack__avx2(const cal_op *op, const cal_layer *layer, const int8_t *weights, void *packed) {
    cal_pack_layer(op, layer, weights, lanes_of(op, layer), packed);
}

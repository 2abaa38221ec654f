/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution: 16 channels side by side, two taps at a time so that vpmaddwd adds their products. */
#include <immintrin.h>

#include "../copy.h"
#include "../dense.h"
#include "conv2d.h"

CAL_DEFINE_COPY(copy_input, int16_t, CAL_CENTERED, CAL_CENTERED_PADDING)

/* Values in the order in which vpunpcklwd and vpunpckhwd leave channels 0 to 7 and 8 to 15. */
static inline __m256i values_at(const int16_t *x) {
    return _mm256_permute4x64_epi64(_mm256_loadu_si256((const __m256i *)x), 0xd8);
}

static void position_sums(const cal_tile *t) {
    const cal_window *w = t->window;
    const int32_t taps = t->op->kernel_h * t->op->kernel_w;
    const int16_t *x = t->x[0];
    const int8_t *weights = t->weights;
    __m256i sum0 = _mm256_loadu_si256((const __m256i *)t->start);
    __m256i sum1 = _mm256_loadu_si256((const __m256i *)t->start + 1);
    for (int32_t tap = 0; tap < taps; tap += CAL_PAIR, weights += CAL_BLOCK * CAL_PAIR) {
        const __m256i v0 = values_at(x + cal_tap_offset(t->op, w, tap));
        const __m256i v1 = tap + 1 < taps ? values_at(x + cal_tap_offset(t->op, w, tap + 1)) : _mm256_setzero_si256();
        const __m256i low = _mm256_unpacklo_epi16(v0, v1), high = _mm256_unpackhi_epi16(v0, v1);
        sum0 = _mm256_add_epi32(sum0, _mm256_madd_epi16(low, cal_widened(weights)));
        sum1 = _mm256_add_epi32(sum1, _mm256_madd_epi16(high, cal_widened(weights + CAL_BLOCK)));
    }
    _mm256_storeu_si256((__m256i *)t->sums[0], sum0);
    _mm256_storeu_si256((__m256i *)t->sums[0] + 1, sum1);
}

void cal_depthwise__avx2(const cal_args *a) {
    const cal_dense d = {1, CAL_PAIR, sizeof(int16_t), false, copy_input, position_sums};
    const cal_window w = cal_window_of(a->op, a->layer, a->output);
    const int8_t *block = a->packed;
    int16_t *x = cal_align64(a->scratch);
    copy_input(a, &w, 0, a->input[0]->zero_point, x);
    for (int32_t o = 0; o < w.channels; o += CAL_BLOCK) {
        cal_dense_block(a, d, &w, (const uint8_t *)(x + o), block, o, cal_min(CAL_BLOCK, w.channels - o));
        block += cal_block_bytes(1, a->op->kernel_h * a->op->kernel_w, CAL_PAIR);
    }
}

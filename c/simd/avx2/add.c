/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "rounding.h"

typedef struct terms {
    __m256d left, right, constant; /* factors in units of the output, and what the zero points take off */
    cal_rounding rounding;
} terms;

static void add16(const terms *t, const int8_t *left, const int8_t *right, int8_t *y) {
    __m256d sum[4];
#pragma GCC unroll 4
    for (int32_t i = 0; i < 4; i++) {
        const __m256d both = _mm256_add_pd(_mm256_mul_pd(cal_doubles(left + 4 * i), t->left),
                                           _mm256_mul_pd(cal_doubles(right + 4 * i), t->right));
        sum[i] = _mm256_sub_pd(both, t->constant);
    }
    _mm_storeu_si128((__m128i *)y, cal_round16(sum, &t->rounding));
}

void CAL_NAME(add)(const cal_args *a) {
    const cal_op *op = a->op;
    const double unit = cal_unit(op->shift0), left = op->multiplier0 * unit, right = op->multiplier1 * unit;
    const double constant = a->input[0]->zero_point * left + a->input[1]->zero_point * right;
    const terms t = {_mm256_set1_pd(left), _mm256_set1_pd(right), _mm256_set1_pd(constant), cal_rounding_of(a)};
    const int32_t values = a->output->height * a->output->width * a->output->channels;
    int8_t *y = a->y;
    int32_t i = 0;
    for (; i + CAL_CODES <= values; i += CAL_CODES) add16(&t, a->x[0] + i, a->x[1] + i, y + i);
    if (i < values) {
        int8_t rest[3][CAL_CODES] = {0};
        memcpy(rest[0], a->x[0] + i, (size_t)(values - i));
        memcpy(rest[1], a->x[1] + i, (size_t)(values - i));
        add16(&t, rest[0], rest[1], rest[2]);
        memcpy(y + i, rest[2], (size_t)(values - i));
    }
    if (a->active) cal_count_active(a);
}

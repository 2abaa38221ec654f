/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "rounding.h"

typedef struct scaling {
    bool copied;
    __m256d factor, zero; /* in units of the output */
    __m128i low, high;    /* the clamp of copied codes */
    cal_rounding rounding;
} scaling;

static void move16(const scaling *s, const int8_t *x, int8_t *y) {
    __m128i codes;
    if (s->copied) {
        codes = _mm_min_epi8(_mm_max_epi8(_mm_loadu_si128((const __m128i *)x), s->low), s->high);
    } else {
        __m256d value[4];
#pragma GCC unroll 4
        for (int32_t i = 0; i < 4; i++)
            value[i] = _mm256_mul_pd(_mm256_sub_pd(cal_doubles(x + 4 * i), s->zero), s->factor);
        codes = cal_round16(value, &s->rounding);
    }
    _mm_storeu_si128((__m128i *)y, codes);
}

static void move(const scaling *s, const int8_t *x, int8_t *y, int32_t count) {
    int32_t i = 0;
    for (; i + CAL_CODES <= count; i += CAL_CODES) move16(s, x + i, y + i);
    if (i < count) {
        int8_t rest[2][CAL_CODES] = {0};
        memcpy(rest[0], x + i, (size_t)(count - i));
        move16(s, rest[0], rest[1]);
        memcpy(y + i, rest[1], (size_t)(count - i));
    }
}

void CAL_NAME(concat)(const cal_args *a) {
    const cal_op *op = a->op;
    const cal_tensor *out = a->output;
    int32_t first = 0;
    for (int32_t n = 0; n < op->input_count; n++) {
        const cal_tensor *in = a->input[n];
        const int32_t multiplier = cal_op_multiplier(op, n);
        scaling s = {.copied = multiplier == 0, .zero = _mm256_set1_pd(in->zero_point),
                     .low = _mm_set1_epi8((char)op->clamp_low), .high = _mm_set1_epi8((char)op->clamp_high),
                     .rounding = cal_rounding_of(a)};
        if (!s.copied) s.factor = _mm256_set1_pd(multiplier * cal_unit(cal_op_shift(op, n)));
        /* an input as wide as the output is one long row */
        const int32_t rows = in->channels == out->channels ? 1 : out->height * out->width;
        const int32_t count = rows == 1 ? in->channels * out->height * out->width : in->channels;
        for (int32_t row = 0; row < rows; row++)
            move(&s, a->x[n] + (ptrdiff_t)row * count, (int8_t *)a->y + (ptrdiff_t)row * out->channels + first, count);
        first += in->channels;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>
#include <string.h>

#include "calibrant/binary.h"

/* Signs of 32 channels. */
static inline uint32_t word_of(const int8_t *x, __m256i zero_point) {
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(zero_point, _mm256_loadu_si256((const __m256i *)x)));
}

void CAL_NAME(sign)(const cal_args *a) {
    const cal_tensor *in = a->input[0];
    const int32_t positions = in->height * in->width, whole = in->channels / CAL_SIGN_WORD, rest = in->channels % CAL_SIGN_WORD;
    const __m256i zero_point = _mm256_set1_epi8((char)in->zero_point);
    const int8_t *x = a->x[0];
    uint32_t *y = a->y;
    for (int32_t p = 0; p < positions; p++) {
        for (int32_t i = 0; i < whole; i++, x += CAL_SIGN_WORD) *y++ = word_of(x, zero_point);
        if (rest == 0) continue;
        int8_t last[CAL_SIGN_WORD];
        memset(last, 127, sizeof last); /* not below any zero point */
        memcpy(last, x, (size_t)rest);
        *y++ = word_of(last, zero_point);
        x += rest;
    }
}

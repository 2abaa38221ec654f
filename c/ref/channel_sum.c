/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/binary.h"

/* A sign counts -1 or 1. */
static void sum_signs(const cal_args *a) {
    const cal_tensor *in = a->input[0];
    const int32_t positions = in->height * in->width, words = cal_sign_words(in->channels);
    const uint32_t *x = (const uint32_t *)(const void *)a->x[0];
    for (int32_t c = 0; c < in->channels; c++) a->pooled[c] = positions;
    for (int32_t p = 0; p < positions; p++, x += words)
        for (int32_t c = 0; c < in->channels; c++)
            a->pooled[c] -= (int32_t)(x[c / CAL_SIGN_WORD] >> c % CAL_SIGN_WORD & 1) * 2;
}

void CAL_NAME(channel_sum)(const cal_args *a) {
    const cal_tensor *in = a->input[0];
    const int32_t positions = in->height * in->width;
    if (in->bits == 1) {
        sum_signs(a);
        return;
    }
    for (int32_t first = 0; first < in->channels; first += CAL_CHANNEL_BLOCK) {
        const int32_t block = cal_min(CAL_CHANNEL_BLOCK, in->channels - first);
        int32_t sum[CAL_CHANNEL_BLOCK] = {0};
        for (int32_t p = 0; p < positions; p++) {
            const int8_t *x = a->x[0] + (ptrdiff_t)p * in->channels + first;
            for (int32_t c = 0; c < block; c++) sum[c] += x[c];
        }
        for (int32_t c = 0; c < block; c++) a->pooled[first + c] = sum[c] - positions * in->zero_point;
    }
}

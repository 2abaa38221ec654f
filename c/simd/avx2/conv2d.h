/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CALIBRANT_AVX2_CONV2D_H
#define CALIBRANT_AVX2_CONV2D_H

#include "../window.h"

enum { CAL_PAIR = 2 }; /* lanes that depthwise weights are packed in */

static inline __m256i cal_widened(const int8_t *weights) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)weights));
}

void cal_depthwise__avx2(const cal_args *a);

#endif

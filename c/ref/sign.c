/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/binary.h"

void CAL_NAME(sign)(const cal_args *a) {
    const cal_tensor *in = a->input[0];
    const int32_t positions = in->height * in->width;
    const int8_t *x = a->x[0];
    uint32_t *y = a->y;
    for (int32_t p = 0; p < positions; p++, x += in->channels)
        for (int32_t first = 0; first < in->channels; first += CAL_SIGN_WORD, y++) {
            const int32_t count = cal_min(CAL_SIGN_WORD, in->channels - first);
            uint32_t word = 0;
            for (int32_t c = 0; c < count; c++) word |= (uint32_t)(x[first + c] < in->zero_point) << c;
            *y = word;
        }
}

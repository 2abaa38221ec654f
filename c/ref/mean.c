/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

void CAL_NAME(mean)(const cal_args *a) {
    const cal_op *op = a->op;
    const cal_tensor *in = a->input[0];
    const int32_t positions = in->height * in->width;
    int8_t *y = a->y;
    for (int32_t first = 0; first < in->channels; first += CAL_CHANNEL_BLOCK) {
        const int32_t block = cal_min(CAL_CHANNEL_BLOCK, in->channels - first);
        int32_t sum[CAL_CHANNEL_BLOCK] = {0};
        for (int32_t p = 0; p < positions; p++) {
            const int8_t *x = a->x[0] + (ptrdiff_t)p * in->channels + first;
            for (int32_t c = 0; c < block; c++) sum[c] += x[c] - in->zero_point;
        }
        for (int32_t c = 0; c < block; c++)
            y[first + c] = cal_clamp(cal_rescale(sum[c], op->multiplier0, op->shift0) + a->output->zero_point, op);
    }
}

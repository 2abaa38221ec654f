/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

void CAL_NAME(add)(const cal_args *a) {
    const cal_op *op = a->op;
    const int32_t values = a->output->height * a->output->width * a->output->channels;
    int8_t *y = a->y;
    for (int32_t i = 0; i < values; i++) {
        const int64_t left = (int64_t)(a->x[0][i] - a->input[0]->zero_point) * op->multiplier0;
        const int64_t right = (int64_t)(a->x[1][i] - a->input[1]->zero_point) * op->multiplier1;
        y[i] = cal_clamp(cal_round_shift(left + right, op->shift0) + a->output->zero_point, op);
    }
    if (a->active) cal_count_active(a);
}

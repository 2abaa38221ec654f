/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

void CAL_NAME(concat)(const cal_args *a) {
    const cal_op *op = a->op;
    const cal_tensor *out = a->output;
    const int32_t positions = out->height * out->width;
    int32_t first = 0;
    for (int32_t n = 0; n < op->input_count; n++) {
        const cal_tensor *in = a->input[n];
        const int32_t multiplier = cal_op_multiplier(op, n), shift = cal_op_shift(op, n);
        for (int32_t p = 0; p < positions; p++) {
            const int8_t *x = a->x[n] + (ptrdiff_t)p * in->channels;
            int8_t *y = (int8_t *)a->y + (ptrdiff_t)p * out->channels + first;
            if (multiplier == 0) /* marks an input that has the output's scale and zero point */
                for (int32_t c = 0; c < in->channels; c++) y[c] = cal_clamp(x[c], op);
            else
                for (int32_t c = 0; c < in->channels; c++)
                    y[c] = cal_clamp(cal_rescale(x[c] - in->zero_point, multiplier, shift) + out->zero_point, op);
        }
        first += in->channels;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

void CAL_TRAINING_NAME(dense)(const cal_training_args *a) {
    const int8_t *x = a->x;
    for (int32_t k = 0; k < a->classes; k++) {
        const float *weight = a->head_weight + (ptrdiff_t)k * a->features;
        float sum = 0.0f;
        for (int32_t i = 0; i < a->features; i++) sum += weight[i] * ((float)(x[i] - a->zero_point) * a->factor);
        a->dx[k] = a->head_bias[k] + sum;
    }
}

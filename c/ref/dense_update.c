/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

void CAL_TRAINING_NAME(dense_update)(const cal_training_args *a) {
    const ptrdiff_t weights = (ptrdiff_t)a->classes * a->features;
    float *weight = a->accumulators ? a->accumulators : a->head_weight;
    float *bias = a->accumulators ? a->accumulators + weights : a->head_bias;
    const int8_t *x = a->x;
    for (int32_t k = 0; k < a->classes; k++, weight += a->features) {
        const float g = a->g[k];
        for (int32_t i = 0; i < a->features; i++)
            weight[i] -= (g * ((float)(x[i] - a->zero_point) * a->factor)) * a->rate;
        bias[k] -= g * a->bias_rate;
    }
}

void CAL_TRAINING_NAME(head_commit)(const cal_training_args *a) {
    const ptrdiff_t weights = (ptrdiff_t)a->classes * a->features;
    for (ptrdiff_t i = 0; i < weights; i++) a->head_weight[i] += a->accumulators[i];
    for (int32_t k = 0; k < a->classes; k++) a->head_bias[k] += a->accumulators[weights + k];
    for (ptrdiff_t i = 0; i < weights + a->classes; i++) a->accumulators[i] = 0.0f;
}

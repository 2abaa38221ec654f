/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

void CAL_TRAINING_NAME(dense_grad)(const cal_training_args *a) {
    for (int32_t first = 0; first < a->features; first += CAL_CHANNEL_BLOCK) {
        const int32_t block = cal_min(CAL_CHANNEL_BLOCK, a->features - first);
        float sum[CAL_CHANNEL_BLOCK] = {0};
        for (int32_t k = 0; k < a->classes; k++) {
            const float *weight = a->head_weight + (ptrdiff_t)k * a->features + first;
            for (int32_t i = 0; i < block; i++) sum[i] += a->g[k] * weight[i];
        }
        for (int32_t i = 0; i < block; i++)
            a->dx[first + i] = a->accumulate ? a->dx[first + i] + sum[i] * a->factor : sum[i] * a->factor;
    }
}

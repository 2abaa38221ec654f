/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

void CAL_TRAINING_NAME(add_grad)(const cal_training_args *a) {
    const int32_t elements = cal_elements(a->output);
    const float *restrict g = a->g;
    float *restrict dx = a->dx;
    if (a->accumulate)
        for (int32_t i = 0; i < elements; i++) dx[i] += g[i] * a->factor;
    else
        for (int32_t i = 0; i < elements; i++) dx[i] = g[i] * a->factor;
}

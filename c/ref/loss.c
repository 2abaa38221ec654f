/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

static float logit(const cal_training_args *a, int32_t k) {
    if (a->dtype == CAL_DTYPE_float32) return ((const float *)a->x)[k];
    const int32_t code = a->dtype == CAL_DTYPE_int32 ? ((const int32_t *)a->x)[k]
                                                     : ((const int8_t *)a->x)[k] - a->zero_point;
    return (float)code * a->head_scale[k];
}

/* The gradient's memory holds logits first and then their exponentials. */
void CAL_TRAINING_NAME(loss)(const cal_training_args *a) {
    float *z = a->dx, largest = 0.0f, sum = 0.0f;
    for (int32_t k = 0; k < a->classes; k++) {
        z[k] = logit(a, k);
        if (a->logits) a->logits[k] = z[k];
        largest = k == 0 || z[k] > largest ? z[k] : largest;
    }
    if (a->label < 0) return;
    const float shifted = z[a->label] - largest;
    for (int32_t k = 0; k < a->classes; k++) {
        z[k] = cal_exp_f32(z[k] - largest);
        sum += z[k];
    }
    if (a->loss) *a->loss = cal_log_f32(sum) - shifted;
    for (int32_t k = 0; k < a->classes; k++) {
        const float error = z[k] / sum - (k == a->label ? 1.0f : 0.0f);
        z[k] = a->dtype == CAL_DTYPE_float32 ? error : error * a->head_scale[k];
    }
}

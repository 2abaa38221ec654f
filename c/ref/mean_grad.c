/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

void CAL_TRAINING_NAME(mean_grad)(const cal_training_args *a) {
    const int32_t positions = a->input->height * a->input->width, channels = a->input->channels;
    const float *restrict g = a->g;
    for (int32_t p = 0; p < positions; p++) {
        float *restrict dx = a->dx + (ptrdiff_t)p * channels;
        if (a->accumulate)
            for (int32_t c = 0; c < channels; c++) dx[c] += g[c] * a->factor;
        else
            for (int32_t c = 0; c < channels; c++) dx[c] = g[c] * a->factor;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

void CAL_TRAINING_NAME(bias_update)(const cal_training_args *a) {
    const int32_t positions = a->output->height * a->output->width, channels = a->output->channels;
    for (int32_t first = 0; first < channels; first += CAL_CHANNEL_BLOCK) {
        const int32_t block = cal_min(CAL_CHANNEL_BLOCK, channels - first);
        float sum[CAL_CHANNEL_BLOCK] = {0};
        for (int32_t p = 0; p < positions; p++) {
            const float *g = a->g + (ptrdiff_t)p * channels + first;
            for (int32_t c = 0; c < block; c++) sum[c] += g[c];
        }
        for (int32_t c = 0; c < block; c++) {
            const float step = (sum[c] * a->scaling[first + c]) * a->bias_rate;
            if (a->accumulators)
                a->accumulators[first + c] -= step;
            else
                a->bias[first + c] = cal_saturated(a->bias[first + c], cal_rint_f32(-step), CAL_BIAS_LIMIT);
        }
    }
}

void CAL_TRAINING_NAME(bias_commit)(const cal_training_args *a) {
    for (int32_t o = 0; o < a->layer->c_out; o++)
        a->bias[o] = cal_settled(a->bias[o], &a->accumulators[o], a->carry, CAL_BIAS_LIMIT);
}

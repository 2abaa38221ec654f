/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

void CAL_TRAINING_NAME(gate)(const cal_training_args *a) {
    const int32_t positions = a->output->height * a->output->width, channels = a->output->channels;
    float *g = a->dx;
    for (int32_t p = 0, bit = 0; p < positions; p++, g += channels) {
        if (a->effective)
            for (int32_t c = 0; c < channels; c++) g[c] *= a->effective[c];
        if (a->mask)
            for (int32_t c = 0; c < channels; c++, bit++) g[c] = a->mask[bit >> 3] >> (bit & 7) & 1 ? g[c] : 0.0f;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

void CAL_TRAINING_NAME(gather)(const cal_training_args *a) {
    const int32_t positions = a->input->height * a->input->width, channels = a->input->channels;
    const int32_t groups = cal_layer_depthwise(a->layer) ? 1 : a->layer->groups, depth = channels / groups;
    const int8_t *x = a->x;
    int8_t *kept = a->gathered;
    for (int32_t p = 0; p < positions; p++, x += channels)
        for (int32_t group = 0; group < groups; group++)
            for (int32_t i = 0; i < a->channel_count; i++) *kept++ = x[group * depth + a->channels[i]];
}

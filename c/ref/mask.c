/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

void CAL_TRAINING_NAME(mask)(const cal_training_args *a) {
    const int8_t *y = a->x;
    const int32_t low = a->op->clamp_low, high = a->op->clamp_high, elements = cal_elements(a->output);
    for (int32_t first = 0; first < elements; first += 8) {
        const int32_t count = cal_min(8, elements - first);
        uint32_t bits = 0;
        for (int32_t i = 0; i < count; i++) bits |= (uint32_t)(low < y[first + i] && y[first + i] < high) << i;
        a->mask[first / 8] = (uint8_t)bits;
    }
}

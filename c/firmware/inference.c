/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tables.h"

/* Rounds half to even like the host: adding 1.5 * 2^23 leaves no fraction bits. NaN becomes the lowest code. */
int8_t calibrant_encode(float value, int32_t channel) {
    const float real = (value - calibrant_mean[channel]) / calibrant_deviation[channel];
    const float scaled = real / CALIBRANT_INPUT_SCALE;
    const float bounded = !(scaled > -1024.0f) ? -1024.0f : scaled > 1024.0f ? 1024.0f : scaled;
    const int32_t code = (int32_t)((bounded + 12582912.0f) - 12582912.0f) + CALIBRANT_INPUT_ZERO_POINT;
    return (int8_t)(code < -128 ? -128 : code > 127 ? 127 : code);
}

int8_t *calibrant_input(void) { return (int8_t *)calibrant_arena + CALIBRANT_INPUT_OFFSET; }

int32_t calibrant_output(int32_t k) {
    const uint8_t *outputs = calibrant_arena + CALIBRANT_OUTPUT_OFFSET;
    if (CALIBRANT_OUTPUT_BITS == 8) return ((const int8_t *)outputs)[k];
    int32_t output;
    memcpy(&output, outputs + 4 * (size_t)k, sizeof output);
    return output;
}

float calibrant_score(int32_t k) {
    return (float)(calibrant_output(k) - CALIBRANT_OUTPUT_ZERO_POINT) * calibrant_score_scale[k];
}

int32_t calibrant_class(void) {
    int32_t best = 0;
    for (int32_t k = 1; k < CALIBRANT_CLASSES; k++)
        if (calibrant_score(k) > calibrant_score(best)) best = k;
    return best;
}

int32_t calibrant_infer(const int8_t *x) {
    if (x != calibrant_input()) memcpy(calibrant_input(), x, CALIBRANT_INPUT_BYTES);
    calibrant_forward();
    return calibrant_class();
}

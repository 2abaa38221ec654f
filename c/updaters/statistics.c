/* SPDX-License-Identifier: Apache-2.0 */
/* What a forward pass leaves in a sample's record: mean input of every channel, activity of every output channel. */
#include <string.h>

#include "calibrant/kernel.h"
#include "../session/calibrator.h"

static uint8_t *place_in_record(const cal_calibrator *cal, int32_t layer) {
    if (!cal->record) return NULL;
    if (cal->settings.block > 0) return layer == cal->sensed_first ? cal->record : NULL;
    if (layer < cal->sensed_first || layer >= cal->sensed_end) return NULL;
    return cal->record + cal_record_bytes(cal, cal->sensed_first, layer);
}

void cal_sense_input(cal_calibrator *cal, int32_t layer, const int8_t *x) {
    uint8_t *record = place_in_record(cal, layer);
    if (!record) return;
    const cal_place place = cal_place_of(cal->program, layer);
    const int32_t channels = place.layer->c_in, positions = place.input->height * place.input->width;
    for (int32_t first = 0; first < channels; first += CAL_CHANNEL_BLOCK) {
        const int32_t block = cal_min(CAL_CHANNEL_BLOCK, channels - first);
        int32_t sum[CAL_CHANNEL_BLOCK] = {0};
        for (int32_t p = 0; p < positions; p++)
            for (int32_t c = 0; c < block; c++) sum[c] += x[(ptrdiff_t)p * channels + first + c];
        for (int32_t c = 0; c < block; c++) {
            const int16_t mean = cal_mean(sum[c] - positions * place.input->zero_point, positions);
            if (cal->settings.block > 0) cal_add_input(cal, first + c, mean);
            else memcpy(record + 2 * (ptrdiff_t)(first + c), &mean, sizeof mean);
        }
    }
}

/* How many positions are strictly inside the clamp; from 256 positions on, as a fraction in Q8. */
void cal_sense_output(cal_calibrator *cal, int32_t layer, const void *y) {
    uint8_t *record = place_in_record(cal, layer);
    if (!record) return;
    if (cal->settings.block > 0) {
        cal_count_output(cal, y);
        return;
    }
    const cal_place place = cal_place_of(cal->program, layer);
    const int32_t bytes = cal_activity_bytes(&place), channels = place.layer->c_out;
    if (bytes == 0) return;
    const int32_t positions = place.output->height * place.output->width;
    uint8_t *activity = record + 2 * (ptrdiff_t)place.layer->c_in;
    for (int32_t first = 0; first < channels; first += CAL_CHANNEL_BLOCK) {
        const int32_t block = cal_min(CAL_CHANNEL_BLOCK, channels - first);
        int32_t count[CAL_CHANNEL_BLOCK] = {0};
        for (int32_t p = 0; p < positions; p++)
            for (int32_t c = 0; c < block; c++) {
                const int8_t code = ((const int8_t *)y)[(ptrdiff_t)p * channels + first + c];
                count[c] += place.op->clamp_low < code && code < place.op->clamp_high;
            }
        for (int32_t c = 0; c < block; c++) {
            const uint16_t share = (uint16_t)(((int64_t)count[c] << 8) / positions);
            if (bytes == 1) activity[first + c] = (uint8_t)count[c];
            else memcpy(activity + 2 * (ptrdiff_t)(first + c), &share, sizeof share);
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What weights give on labeled samples: losses in Q16 nats and output errors in Q15 (core/fmath.py, core/logits.py,
 * runtime/evaluation.py), and what a sweep over the samples leaves of their statistics. */
#include <string.h>

#include "calibrant/fmath.h"
#include "calibrator.h"

static float score(const cal_calibrator *cal, const void *outputs, int32_t k) {
    const cal_tensor *out = &cal->program->tensors[cal->program->output];
    if (out->bits == 8) return (float)(((const int8_t *)outputs)[k] - out->zero_point) * cal->output_scale;
    const cal_layer *last = &cal->program->layers[cal_last_layer(cal->program)]; /* only conv2d gives 32 bits */
    return (float)((const int32_t *)outputs)[k] * (cal->output_scale * cal->scale[last->channel_offset + k]);
}

/* exp(shifted) in Q24; shifted <= 0. */
static uint64_t mass(float shifted) { return (uint64_t)cal_rint_f32(cal_exp_f32(shifted) * 16777216.0f); }

/* Loss of one sample, whether it is right, and into its record, if there is one, class and error. */
static int64_t judge(const cal_calibrator *cal, const void *outputs, uint16_t label, bool *right, uint8_t *record) {
    int32_t best = 0;
    float peak = score(cal, outputs, 0);
    for (int32_t k = 1; k < cal->classes; k++) {
        const float z = score(cal, outputs, k);
        if (z > peak) peak = z, best = k; /* of equal scores the lowest class */
    }
    uint64_t total = 0; /* up to classes * 2^24 */
    for (int32_t k = 0; k < cal->classes; k++) total += mass(score(cal, outputs, k) - peak);
    if (record) {
        memcpy(record, &label, sizeof label);
        for (int32_t k = 0; k < cal->classes; k++) {
            const uint64_t own = mass(score(cal, outputs, k) - peak);
            const uint16_t probability = (uint16_t)((own * CAL_ERROR_ONE + total / 2) / total); /* up to 2^15 */
            memcpy(record + 2 + 2 * (ptrdiff_t)k, &probability, sizeof probability);
        }
    }
    *right = best == label;
    const float nats = cal_log_f32((float)total / 16777216.0f) - (score(cal, outputs, label) - peak);
    return (int64_t)cal_rint_f32((nats < 16384.0f ? nats : 16384.0f) * (float)CAL_LOSS_ONE);
}

int32_t cal_sample_count(const cal_calibrator *cal, bool with_held) {
    const int32_t held = with_held ? 0 : cal_held_count(cal->window_count, cal->settings.holdout);
    return cal->window_count - held + cal->coreset_count;
}

static int64_t run(cal_calibrator *cal, int32_t sample, bool *right, uint8_t *record) {
    const cal_tensor *in = &cal->program->tensors[cal->program->input];
    const int64_t elements = (int64_t)in->height * in->width * in->channels;
    const int32_t other = sample - cal->window_count;
    const int8_t *codes = other < 0 ? cal->window_x + sample * elements : cal->coreset_x + other * elements;
    cal->record = record;
    const void *outputs = cal->infer(cal->context, codes);
    cal->record = NULL;
    return judge(cal, outputs, other < 0 ? cal->window_y[sample] : cal->coreset_y[other], right, record);
}

/* The loss, each sample counted as often as it counts. */
int64_t cal_evaluate(cal_calibrator *cal, const cal_sweep *sweep) {
    const cal_memory_map map = cal_map(cal);
    const int64_t record_bytes = cal_record_bytes(cal, sweep->first, sweep->end);
    uint8_t *record = map.statistics;
    int64_t loss = 0; /* |loss of a sample| <= 2^30, so below 2^63 for 2^26 samples counted 64 times */
    bool right;
    cal->sensed_first = sweep->first;
    cal->sensed_end = sweep->end;
    for (int32_t i = 0; i < cal->window_count + cal->coreset_count; i++) {
        const bool own = i < cal->window_count;
        if (own && !sweep->with_held && cal_bit(map.held, i)) continue;
        loss += run(cal, i, &right, sweep->end ? record : NULL) * (own ? 1 : sweep->coreset_importance);
        record += record_bytes;
    }
    return loss;
}

/* How the weights do on window and coreset. Without `before` the losses of held-back samples are kept; with it they are
 * compared, and `rose` says whether they rose. */
void cal_measure_all(cal_calibrator *cal, cal_measure *measure, const cal_measure *before, bool *rose) {
    const cal_memory_map map = cal_map(cal);
    cal_rises rises = {0};
    int32_t held = 0;
    *measure = (cal_measure){0};
    for (int32_t i = 0; i < cal->window_count + cal->coreset_count; i++) {
        bool right;
        const int64_t loss = run(cal, i, &right, NULL);
        measure->loss += loss;
        if (i < cal->window_count) measure->right += right;
        else measure->coreset_right += right;
        if (i >= cal->window_count || !cal_bit(map.held, i)) continue;
        measure->held_loss += loss;
        if (before) cal_add_rise(&rises, loss - map.held_loss[held]);
        else map.held_loss[held] = (int32_t)loss;
        held++;
    }
    if (before) *rose = cal_rose(&rises);
}

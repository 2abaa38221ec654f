/* SPDX-License-Identifier: Apache-2.0 */
/* What weights give on labeled samples: losses in Q16 nats and output errors in Q15 (core/fmath.py, core/logits.py,
 * updaters/base.py), and what a sweep over the samples leaves of their statistics. */
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

/* The largest score and the sum of the masses, up to classes * 2^24. Of equal scores the lowest class is best. */
static cal_softmax softmax_of(const cal_calibrator *cal, const void *outputs) {
    cal_softmax softmax = {.outputs = outputs, .peak = score(cal, outputs, 0)};
    for (int32_t k = 1; k < cal->classes; k++) {
        const float z = score(cal, outputs, k);
        if (z > softmax.peak) softmax.peak = z, softmax.best = k;
    }
    for (int32_t k = 0; k < cal->classes; k++) softmax.total += mass(score(cal, outputs, k) - softmax.peak);
    return softmax;
}

/* Q15: 0 to 2^15. */
uint16_t cal_probability(const cal_calibrator *cal, const cal_softmax *softmax, int32_t k) {
    const uint64_t own = mass(score(cal, softmax->outputs, k) - softmax->peak);
    return (uint16_t)((own * CAL_ERROR_ONE + softmax->total / 2) / softmax->total);
}

static int64_t loss_of(const cal_calibrator *cal, const cal_softmax *softmax, uint16_t label) {
    const float shifted = score(cal, softmax->outputs, label) - softmax->peak;
    const float nats = cal_log_f32((float)softmax->total / 16777216.0f) - shifted;
    return (int64_t)cal_rint_f32((nats < 16384.0f ? nats : 16384.0f) * (float)CAL_LOSS_ONE);
}

/* Class and error of a sample into its record. */
static void note(const cal_calibrator *cal, const cal_softmax *softmax, uint16_t label, uint8_t *record) {
    memcpy(record, &label, sizeof label);
    for (int32_t k = 0; k < cal->classes; k++) {
        const uint16_t probability = cal_probability(cal, softmax, k);
        memcpy(record + 2 + 2 * (ptrdiff_t)k, &probability, sizeof probability);
    }
}

int32_t cal_sample_count(const cal_calibrator *cal, bool with_held) {
    const int32_t held = with_held ? 0 : cal_held_count(cal->window_count, cal->settings.holdout);
    return cal->window_count - held + cal->coreset_count;
}

static cal_softmax run(cal_calibrator *cal, int32_t sample, uint8_t *record) {
    const cal_tensor *in = &cal->program->tensors[cal->program->input];
    const int64_t elements = (int64_t)in->height * in->width * in->channels;
    const int32_t other = sample - cal->window_count;
    const int8_t *codes = other < 0 ? cal->window_x + sample * elements : cal->coreset_x + other * elements;
    cal->record = record;
    const void *outputs = cal->infer(cal->context, codes);
    cal->record = NULL;
    return softmax_of(cal, outputs);
}

static uint16_t label_of(const cal_calibrator *cal, int32_t sample) {
    return sample < cal->window_count ? cal->window_y[sample] : cal->coreset_y[sample - cal->window_count];
}

/* The loss, each sample counted as often as it counts. */
int64_t cal_weighted_loss(cal_calibrator *cal, const cal_sweep *sweep) {
    const cal_memory_map map = cal_map(cal);
    const bool sensing = sweep->end > 0, in_block = cal->settings.block > 0;
    const int64_t record_bytes = in_block ? 0 : cal_record_bytes(cal, sweep->first, sweep->end);
    uint8_t *record = map.statistics;
    int64_t loss = 0; /* |loss of a sample| <= 2^30, so below 2^63 for 2^26 samples counted 64 times */
    cal->sensed_first = sweep->first;
    cal->sensed_end = sweep->end;
    for (int32_t i = 0; i < cal->window_count + cal->coreset_count; i++) {
        const bool own = i < cal->window_count;
        if (own && !sweep->with_held && cal_bit(map.held, i)) continue;
        const int32_t importance = own ? 1 : sweep->coreset_importance;
        const cal_softmax softmax = run(cal, i, sensing ? record : NULL);
        loss += loss_of(cal, &softmax, label_of(cal, i)) * importance;
        if (!sensing) continue;
        if (in_block) cal_add_to_block(cal, &softmax, label_of(cal, i), importance);
        else note(cal, &softmax, label_of(cal, i), record);
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
        const cal_softmax softmax = run(cal, i, NULL);
        const int64_t loss = loss_of(cal, &softmax, label_of(cal, i));
        const bool right = softmax.best == label_of(cal, i);
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

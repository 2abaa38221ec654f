/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tables.h"

static calibrant_learner *learner(void) { return &calibrant_state; }

static int32_t coreset_right(void) {
    int32_t right = 0;
    for (int32_t i = 0; i < CALIBRANT_CORESET; i++) {
        const int8_t *x = calibrant_coreset_x + (ptrdiff_t)i * CALIBRANT_INPUT_BYTES;
        right += calibrant_infer(x) == calibrant_coreset_y[i];
    }
    return right;
}

/* Forget what was learned since the last commit: the version in force, else whatever storage or flash still has. */
static void restore(void) {
    calibrant_learner *l = learner();
    l->samples = l->pending = 0;
    calibrant_reset();
    if (calibrant_versions_load(l->versions.slot)) return;
    calibrant_versions_find(&l->versions);
    if (calibrant_versions_load(l->versions.slot)) return;
    l->versions = (calibrant_versions){.slot = CALIBRANT_IN_FLASH};
    calibrant_versions_load(CALIBRANT_IN_FLASH);
}

cal_calibration_status calibrant_start(void) {
    calibrant_learner *l = learner();
    calibrant_versions_find(&l->versions);
    restore();
    calibrant_set_rate(CALIBRANT_RATE, CALIBRANT_RATE);
    l->coreset_right = coreset_right();
    return CAL_CALIBRATION_OK;
}

/* A batch's gradient is the mean of its samples'. */
void calibrant_set_rate(float rate, float bias_rate) {
    learner()->rate = rate / (float)CALIBRANT_BATCH;
    learner()->bias_rate = bias_rate / (float)CALIBRANT_BATCH;
}

cal_calibration_status calibrant_observe(const int8_t *x, int32_t label, float *loss) {
    calibrant_learner *l = learner();
    if (label == CAL_UNLABELED) return CAL_CALIBRATION_OK;
    if (label < 0 || label >= CALIBRANT_CLASSES) return CAL_CALIBRATION_INVALID;
    if (x != calibrant_input()) memcpy(calibrant_input(), x, CALIBRANT_INPUT_BYTES);
    const calibrant_step_context now = {.label = label, .rate = l->rate, .bias_rate = l->bias_rate, .loss = loss};
    calibrant_train(&now);
    l->samples++;
    if (++l->pending == CALIBRANT_BATCH) {
        calibrant_commit();
        l->pending = 0;
    }
    return CAL_CALIBRATION_OK;
}

/* As policy/verification.py has it. */
static bool coreset_fell(int32_t before, int32_t after) {
    const double share = (double)before / CALIBRANT_CORESET - (double)after / CALIBRANT_CORESET;
    return share > CALIBRANT_CORESET_DROP + 1e-9;
}

cal_calibration_status calibrant_calibrate(calibrant_lesson *lesson) {
    calibrant_learner *l = learner();
    calibrant_versions *v = &l->versions;
    *lesson = (calibrant_lesson){.decision = CAL_SKIPPED, .reason = CAL_REASON_NO_LABELS, .version = v->version,
                                 .samples = l->samples, .coreset_before = l->coreset_right,
                                 .coreset_after = l->coreset_right};
    if (l->samples == 0) return CAL_CALIBRATION_OK;
    if (l->pending > 0) calibrant_commit();
    calibrant_reset();
    lesson->coreset_after = coreset_right();
    lesson->decision = CAL_REJECTED;
    if (coreset_fell(lesson->coreset_before, lesson->coreset_after)) {
        lesson->reason = CAL_REASON_CORESET_FELL;
        restore();
        return CAL_CALIBRATION_OK;
    }
    const int32_t slot = v->slot == 0 ? 1 : 0; /* never the one in force */
    if (!calibrant_versions_save(v, slot, v->version + 1, v->version)) {
        lesson->reason = CAL_REASON_STORAGE;
        calibrant_versions_find(v);
        restore();
        l->coreset_right = coreset_right();
        lesson->version = v->version;
        return CAL_CALIBRATION_STORAGE;
    }
    v->parent = v->version++;
    v->slot = slot;
    l->samples = l->pending = 0;
    l->coreset_right = lesson->coreset_after;
    lesson->decision = CAL_COMMITTED;
    lesson->reason = CAL_REASON_VERIFIED;
    lesson->version = v->version;
    return CAL_CALIBRATION_OK;
}

cal_calibration_status calibrant_rollback(void) {
    calibrant_learner *l = learner();
    calibrant_versions *v = &l->versions;
    const int32_t newest = v->slot, before = v->parent == 0 ? CALIBRANT_IN_FLASH : v->slot == 0;
    if (newest < 0 || v->parent == CALIBRANT_NO_PARENT) return CAL_CALIBRATION_OLDEST;
    if (before >= 0 && !calibrant_versions_hold(before, v->parent)) return CAL_CALIBRATION_OLDEST;
    calibrant_reset();
    l->samples = l->pending = 0;
    /* Over the version that is given up: a torn write leaves the one that is gone back to. */
    const bool good = calibrant_versions_load(before) &&
                      calibrant_versions_save(v, newest, v->version + 1, CALIBRANT_NO_PARENT);
    if (good) {
        v->version++;
        v->parent = CALIBRANT_NO_PARENT;
    } else {
        calibrant_versions_find(v);
        restore();
    }
    l->coreset_right = coreset_right();
    return good ? CAL_CALIBRATION_OK : CAL_CALIBRATION_STORAGE;
}

int32_t calibrant_version(void) { return (int32_t)learner()->versions.version; }

const int8_t *calibrant_weights_in_force(void) { return calibrant_trained_weights; }
const int32_t *calibrant_biases_in_force(void) { return calibrant_trained_bias; }

/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "session/verification.h"
#include "storage.h"
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

/* Forget the window: what its samples left in the accumulators goes with it. */
static void forget(void) {
    learner()->samples = learner()->pending = 0;
    calibrant_reset();
}

cal_calibration_status calibrant_start(void) {
    calibrant_learner *l = learner();
    forget();
    cal_versions_recover(&calibrant_slots, &l->versions);
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

/* Whether the window's version is on storage, and in force. */
static bool keep(cal_versions *v) {
    if (!cal_slots_save(&calibrant_slots, v, cal_next_slot(v), v->version + 1, v->version)) return false;
    cal_versions_commit(v);
    return true;
}

cal_calibration_status calibrant_calibrate(calibrant_lesson *lesson) {
    calibrant_learner *l = learner();
    cal_versions *v = &l->versions;
    *lesson = (calibrant_lesson){.decision = CAL_SKIPPED, .reason = CAL_REASON_NO_LABELS, .version = v->version,
                                 .samples = l->samples, .coreset_before = l->coreset_right,
                                 .coreset_after = l->coreset_right};
    if (l->samples == 0) return CAL_CALIBRATION_OK;
    if (l->pending > 0) calibrant_commit();
    forget();
    lesson->coreset_after = coreset_right();
    lesson->decision = CAL_REJECTED;
    if (cal_share_fell(CALIBRANT_CORESET, lesson->coreset_before, lesson->coreset_after, CALIBRANT_CORESET_DROP)) {
        lesson->reason = CAL_REASON_CORESET_FELL;
        cal_versions_restore(&calibrant_slots, v);
        return CAL_CALIBRATION_OK;
    }
    const bool kept = keep(v);
    if (!kept) cal_versions_recover(&calibrant_slots, v);
    l->coreset_right = kept ? lesson->coreset_after : coreset_right();
    lesson->decision = kept ? CAL_COMMITTED : CAL_REJECTED;
    lesson->reason = kept ? CAL_REASON_VERIFIED : CAL_REASON_STORAGE;
    lesson->version = v->version;
    return kept ? CAL_CALIBRATION_OK : CAL_CALIBRATION_STORAGE;
}

cal_calibration_status calibrant_rollback(void) {
    const cal_calibration_status status = cal_versions_rollback(&calibrant_slots, &learner()->versions);
    if (status == CAL_CALIBRATION_OLDEST) return status;
    forget();
    learner()->coreset_right = coreset_right();
    return status;
}

int32_t calibrant_version(void) { return (int32_t)learner()->versions.version; }

const int8_t *calibrant_weights_in_force(void) { return calibrant_trained_weights; }
const int32_t *calibrant_biases_in_force(void) { return calibrant_trained_bias; }

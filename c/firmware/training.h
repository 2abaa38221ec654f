/* SPDX-License-Identifier: Apache-2.0 */
/* The model adapts by sparse training: every labeled sample is one step of gradient descent on the parameters that the
 * export chose. At the end of a window the result is verified on the coreset, and kept as a new version or undone.
 * Inference runs on what was learned so far. Statuses, decisions and reasons are those of calibrant/calibration.h. */
#ifndef CALIBRANT_FIRMWARE_TRAINING_H
#define CALIBRANT_FIRMWARE_TRAINING_H

#include "calibrant/calibration.h"

typedef struct calibrant_lesson {
    cal_decision decision;
    cal_reason reason;
    uint32_t version;                     /* in force now */
    int32_t samples;                      /* that the window had */
    int32_t coreset_before, coreset_after; /* samples of the coreset that are right */
} calibrant_lesson;

/* First of all, before inference: the newest version that storage holds, else the weights in flash. */
cal_calibration_status calibrant_start(void);

/* Step sizes in units of real weights, for weights and for biases; at first CALIBRANT_RATE for both. */
void calibrant_set_rate(float rate, float bias_rate);

/* Learn from a sample at once. Its outputs before the step stay for calibrant_output, its loss in nats goes to `loss`
 * unless that is NULL. CAL_UNLABELED samples teach nothing. */
cal_calibration_status calibrant_observe(const int8_t *x, int32_t label, float *loss);

/* End a window: verify what was learned; a new version, or the last one again. One inference a sample of the coreset. */
cal_calibration_status calibrant_calibrate(calibrant_lesson *lesson);

/* Back to the version before the last committed one; what was learned since then is gone too. */
cal_calibration_status calibrant_rollback(void);

/* The number of the version in force; 0 are the weights in flash. */
int32_t calibrant_version(void);

/* The trained parameters, CALIBRANT_TRAINED_WEIGHTS int8 and CALIBRANT_TRAINED_BIASES int32, layer by layer. */
const int8_t *calibrant_weights_in_force(void);
const int32_t *calibrant_biases_in_force(void);

/* Yours: two slots of CALIBRANT_SLOT_BYTES that survive a loss of power. Writing comes in ascending pages of
 * CAL_SLOT_PAGE bytes; erase the slot when offset 0 comes. False when it fails, and for a slot that was never written. */
bool calibrant_read_slot(int32_t slot, uint32_t offset, void *bytes, uint32_t count);
bool calibrant_write_slot(int32_t slot, uint32_t offset, const void *bytes, uint32_t count);

#endif

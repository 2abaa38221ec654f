/* SPDX-License-Identifier: Apache-2.0 */
/* The model adapts by guarded flips: it keeps a window of labeled samples, learns from it, verifies, and commits a new
 * version or restores the last. Inference runs on the version in force. calibrant/calibration.h has statuses and report. */
#ifndef CALIBRANT_FIRMWARE_CALIBRATION_H
#define CALIBRANT_FIRMWARE_CALIBRATION_H

#include "calibrant/calibration.h"

/* First of all, before inference: the newest version that storage holds, else the weights in flash. */
cal_calibration_status calibrant_start(void);

/* Keep a sample whose class is known, or CAL_UNLABELED; at most CALIBRANT_WINDOW of them. */
cal_calibration_status calibrant_observe(const int8_t *x, int32_t label);

/* Learn from the window and empty it. Takes many inferences: report->steps and the samples say how many. */
cal_calibration_status calibrant_calibrate(cal_report *report);

/* Back to the version before the last committed one. */
cal_calibration_status calibrant_rollback(void);

/* The number of the version in force; 0 are the weights in flash. */
int32_t calibrant_version(void);

/* The weights and biases in force, int8[CALIBRANT_WEIGHTS] and int32[CALIBRANT_BIASES]. */
const int8_t *calibrant_weights_in_force(void);
const int32_t *calibrant_biases_in_force(void);

/* Yours: two slots of CALIBRANT_SLOT_BYTES that survive a loss of power. Writing comes in ascending pages of
 * CAL_SLOT_PAGE bytes; erase the slot when offset 0 comes. False when it fails, and for a slot that was never written. */
bool calibrant_read_slot(int32_t slot, uint32_t offset, void *bytes, uint32_t count);
bool calibrant_write_slot(int32_t slot, uint32_t offset, const void *bytes, uint32_t count);

#endif

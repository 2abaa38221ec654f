/* SPDX-License-Identifier: Apache-2.0 */
/* The model adapts without labels: it keeps a window of samples, leads mean and spread of its channels back to what they
 * were on the training samples, and commits the constants as a new version. Inference runs on the version in force.
 * calibrant/correction.h has the report. Whether a window is worth correcting for, and whether its correction is any good,
 * is for the caller to say: calibrant_rollback takes it back. */
#ifndef CALIBRANT_FIRMWARE_CORRECTION_H
#define CALIBRANT_FIRMWARE_CORRECTION_H

#include "calibrant/correction.h"

/* First of all, before inference: the newest version that storage holds, else the constants in flash. */
cal_calibration_status calibrant_start(void);

/* Keep a sample; at most CALIBRANT_WINDOW of them. */
cal_calibration_status calibrant_observe(const int8_t *x);

/* Correct by the window and empty it. Takes (L + 1) / 2 inferences a sample, where L is how many layers are corrected. */
cal_calibration_status calibrant_correct(cal_correction *report);

/* Another domain: the next window is the first that is remembered. */
void calibrant_forget(cal_memory_start start);

/* Back to the version before the last committed one. */
cal_calibration_status calibrant_rollback(void);

/* The number of the version in force; 0 are the constants in flash. */
int32_t calibrant_version(void);

/* The constants in force, int32[CALIBRANT_CORRECTED] each. */
const int32_t *calibrant_biases_in_force(void);
const int32_t *calibrant_multipliers_in_force(void);
const int32_t *calibrant_shifts_in_force(void);

/* Yours: two slots of CALIBRANT_SLOT_BYTES that survive a loss of power. Writing comes in ascending pages of
 * CAL_SLOT_PAGE bytes; erase the slot when offset 0 comes. False when it fails, and for a slot that was never written. */
bool calibrant_read_slot(int32_t slot, uint32_t offset, void *bytes, uint32_t count);
bool calibrant_write_slot(int32_t slot, uint32_t offset, const void *bytes, uint32_t count);

#endif

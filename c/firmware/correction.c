/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "storage.h"
#include "tables.h"

static cal_corrector *corrector(void) { return &calibrant_state.corrector; }

static const void *infer(void *context, const int8_t *x) {
    (void)context;
    memcpy(calibrant_input(), x, CALIBRANT_INPUT_BYTES);
    calibrant_forward();
    return calibrant_arena + CALIBRANT_OUTPUT_OFFSET;
}

cal_calibration_status calibrant_start(void) {
    *corrector() = calibrant_setup[0];
    corrector()->infer = infer;
    corrector()->slots = &calibrant_slots;
    return cal_corrector_start(corrector());
}

cal_calibration_status calibrant_observe(const int8_t *x) { return cal_corrector_observe(corrector(), x); }

cal_calibration_status calibrant_correct(cal_correction *report) { return cal_corrector_correct(corrector(), report); }

void calibrant_forget(cal_memory_start start) { cal_corrector_forget(corrector(), start); }

cal_calibration_status calibrant_rollback(void) { return cal_corrector_rollback(corrector()); }

int32_t calibrant_version(void) { return (int32_t)corrector()->versions.version; }

const int32_t *calibrant_biases_in_force(void) { return calibrant_corrected_bias; }
const int32_t *calibrant_multipliers_in_force(void) { return calibrant_corrected_multiplier; }
const int32_t *calibrant_shifts_in_force(void) { return calibrant_corrected_shift; }

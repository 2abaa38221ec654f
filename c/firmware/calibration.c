/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "storage.h"
#include "tables.h"

static const void *infer(void *context, const int8_t *x) {
    (void)context;
    memcpy(calibrant_input(), x, CALIBRANT_INPUT_BYTES);
    calibrant_forward();
    return calibrant_arena + CALIBRANT_OUTPUT_OFFSET;
}

cal_calibration_status calibrant_start(void) {
    cal_calibrator *calibrator = &calibrant_state.calibrator;
    *calibrator = calibrant_setup[0];
    calibrator->infer = infer;
    calibrator->slots = &calibrant_slots;
    return cal_start(calibrator);
}

cal_calibration_status calibrant_observe(const int8_t *x, int32_t label) {
    return cal_observe(&calibrant_state.calibrator, x, label);
}

cal_calibration_status calibrant_calibrate(cal_report *report) {
    return cal_calibrate(&calibrant_state.calibrator, report);
}

cal_calibration_status calibrant_rollback(void) { return cal_rollback(&calibrant_state.calibrator); }

int32_t calibrant_version(void) { return (int32_t)calibrant_state.calibrator.versions.version; }

const int8_t *calibrant_weights_in_force(void) { return calibrant_trained_weights; }
const int32_t *calibrant_biases_in_force(void) { return calibrant_trained_bias; }

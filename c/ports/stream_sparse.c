/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of a model that trains; its two slots are files:
 *
 *     3 observe     label, int8 codes -> status, class before the step, loss (float32)
 *     4 calibrate   -                 -> status, then the fields of calibrant_lesson
 *     5 rollback    -                 -> status, version
 *     6 parameters  -                 -> trained int8 weights, int32 biases
 *     7 start       -                 -> status: as after a loss of power
 *     8 rate        two float32       -> - */
#include "stream.h"

enum { OBSERVE = 3, CALIBRATE, ROLLBACK, PARAMETERS, START, RATE };

static void observe(int32_t stream, int32_t results) {
    int32_t label;
    float loss = 0.0f;
    stream_need(stream, &label, sizeof label);
    stream_need(stream, calibrant_input(), CALIBRANT_INPUT_BYTES);
    stream_count_begin();
    const cal_calibration_status status = calibrant_observe(calibrant_input(), label, &loss);
    stream_count_end();
    stream_give_number(results, (int32_t)status);
    stream_give_number(results, calibrant_class());
    stream_give(results, &loss, sizeof loss);
}

static void calibrate(int32_t results) {
    calibrant_lesson lesson;
    const cal_calibration_status status = calibrant_calibrate(&lesson);
    const int32_t fields[] = {
        (int32_t)status,         (int32_t)lesson.decision, (int32_t)lesson.reason, (int32_t)lesson.version,
        lesson.samples,          lesson.coreset_before,    lesson.coreset_after,
    };
    stream_give(results, fields, sizeof fields);
}

static void set_rate(int32_t stream) {
    float rates[2];
    stream_need(stream, rates, sizeof rates);
    calibrant_set_rate(rates[0], rates[1]);
}

void stream_adapt_begin(void) {
    if (calibrant_start() != CAL_CALIBRATION_OK) stream_fail("the training cannot start\n", STREAM_START);
}

bool stream_adapt(int32_t command, int32_t stream, int32_t results) {
    switch (command) {
    case OBSERVE: observe(stream, results); return true;
    case CALIBRATE: calibrate(results); return true;
    case ROLLBACK:
        stream_give_number(results, (int32_t)calibrant_rollback());
        stream_give_number(results, calibrant_version());
        return true;
    case PARAMETERS:
        stream_give(results, calibrant_weights_in_force(), CALIBRANT_TRAINED_WEIGHTS);
        stream_give(results, calibrant_biases_in_force(), 4 * CALIBRANT_TRAINED_BIASES);
        return true;
    case START: stream_give_number(results, (int32_t)calibrant_start()); return true;
    case RATE: set_rate(stream); return true;
    default: return false;
    }
}

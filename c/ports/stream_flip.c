/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of a model that adapts by flips; its two slots are files:
 *
 *     3 observe     label, int8 codes -> status
 *     4 calibrate   -                 -> status, then the fields of cal_report, losses as int64
 *     5 rollback    -                 -> status, version
 *     6 parameters  -                 -> int8 weights, int32 biases in force
 *     7 start       -                 -> status: as after a loss of power */
#include "stream.h"

enum { OBSERVE = 3, CALIBRATE, ROLLBACK, PARAMETERS, START };

static void observe(int32_t stream, int32_t results) {
    int32_t label;
    stream_need(stream, &label, sizeof label);
    stream_need(stream, calibrant_input(), CALIBRANT_INPUT_BYTES);
    stream_give_number(results, calibrant_observe(calibrant_input(), label));
}

static void give_measure(int32_t results, const cal_measure *measure) {
    stream_give(results, &measure->loss, sizeof measure->loss);
    stream_give(results, &measure->held_loss, sizeof measure->held_loss);
    stream_give_number(results, measure->right);
    stream_give_number(results, measure->coreset_right);
}

static void calibrate(int32_t results) {
    cal_report report;
    stream_count_begin();
    const cal_calibration_status status = calibrant_calibrate(&report);
    stream_count_end();
    const int32_t fields[] = {
        (int32_t)status, (int32_t)report.decision, (int32_t)report.reason, (int32_t)report.version, report.samples,
        report.held,     report.steps,             report.accepted,        report.flips,
    };
    stream_give(results, fields, sizeof fields);
    give_measure(results, &report.before);
    give_measure(results, &report.after);
}

void stream_adapt_begin(void) {
    if (calibrant_start() != CAL_CALIBRATION_OK) stream_fail("the calibration cannot start\n", STREAM_START);
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
        stream_give(results, calibrant_weights_in_force(), CALIBRANT_WEIGHTS);
        stream_give(results, calibrant_biases_in_force(), 4 * CALIBRANT_BIASES);
        return true;
    case START: stream_give_number(results, (int32_t)calibrant_start()); return true;
    default: return false;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of a model that corrects its channels; its two slots are files:
 *
 *     3 observe     int8 codes        -> status
 *     4 correct     -                 -> status, then the fields of cal_correction
 *     5 rollback    -                 -> status, version
 *     6 parameters  -                 -> int32 biases, multipliers, shifts in force
 *     7 start       -                 -> status: as after a loss of power
 *     8 forget      cal_memory_start  -> - */
#include "stream.h"

enum { OBSERVE = 3, CORRECT, ROLLBACK, PARAMETERS, START, FORGET };

static void observe(int32_t stream, int32_t results) {
    stream_need(stream, calibrant_input(), CALIBRANT_INPUT_BYTES);
    stream_give_number(results, (int32_t)calibrant_observe(calibrant_input()));
}

static void correct(int32_t results) {
    cal_correction report;
    stream_count_begin();
    const cal_calibration_status status = calibrant_correct(&report);
    stream_count_end();
    const int32_t fields[] = {(int32_t)status, (int32_t)report.version, report.samples, report.corrected};
    stream_give(results, fields, sizeof fields);
}

static void forget(int32_t stream) {
    int32_t start;
    stream_need(stream, &start, sizeof start);
    calibrant_forget((cal_memory_start)start);
}

void stream_adapt_begin(void) {
    if (calibrant_start() != CAL_CALIBRATION_OK) stream_fail("the correction cannot start\n", STREAM_START);
}

bool stream_adapt(int32_t command, int32_t stream, int32_t results) {
    switch (command) {
    case OBSERVE: observe(stream, results); return true;
    case CORRECT: correct(results); return true;
    case ROLLBACK:
        stream_give_number(results, (int32_t)calibrant_rollback());
        stream_give_number(results, calibrant_version());
        return true;
    case PARAMETERS:
        stream_give(results, calibrant_biases_in_force(), 4 * CALIBRANT_CORRECTED);
        stream_give(results, calibrant_multipliers_in_force(), 4 * CALIBRANT_CORRECTED);
        stream_give(results, calibrant_shifts_in_force(), 4 * CALIBRANT_CORRECTED);
        return true;
    case START: stream_give_number(results, (int32_t)calibrant_start()); return true;
    case FORGET: forget(stream); return true;
    default: return false;
    }
}

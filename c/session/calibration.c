/* SPDX-License-Identifier: Apache-2.0 */
/* Observe, learn, verify, commit or restore, roll back: session.py and lesson.py for a labeled window. */
#include <string.h>

#include "calibrator.h"

static const uint32_t NO_PARENT = UINT32_MAX;

static int64_t sample_elements(const cal_calibrator *cal) {
    const cal_tensor *in = &cal->program->tensors[cal->program->input];
    return (int64_t)in->height * in->width * in->channels;
}

/* The slot that the next version goes to: never the one in force. */
static int32_t other_slot(const cal_calibrator *cal) { return cal->slot == 0 ? 1 : 0; }

/* The last good version into RAM: the one in force, or what storage still has. */
static void restore(cal_calibrator *cal) {
    if (cal_load(cal, cal->slot)) return;
    cal_find_newest(cal);
    if (cal_load(cal, cal->slot)) return;
    cal->slot = -1; /* both slots failed within moments: only flash is left */
    cal->version = cal->parent = 0;
    cal_load(cal, cal->slot);
}

static bool valid(const cal_calibrator *cal) {
    const cal_program *p = cal->program;
    const cal_tensor *out = &p->tensors[p->output];
    const int32_t last = cal_last_layer(p);
    if ((int64_t)out->height * out->width * out->channels != cal->classes || cal->classes > UINT16_MAX) return false;
    if (p->layer_count < 1 || (last >= 0 && p->layers[last].c_out != cal->classes)) return false;
    if (cal->window_capacity < 1 || cal->coreset_count < 0 || cal->settings.steps < 0) return false;
    if (!(cal->settings.holdout >= 0 && cal->settings.holdout <= 0.5)) return false;
    return cal->settings.block > 0 || cal->statistics_bytes >= cal_statistics_bytes(cal, false);
}

cal_calibration_status cal_start(cal_calibrator *cal) {
    cal->window_count = 0;
    cal->record = NULL;
    if (!valid(cal)) return CAL_CALIBRATION_INVALID;
    cal_find_newest(cal);
    restore(cal);
    return CAL_CALIBRATION_OK;
}

cal_calibration_status cal_observe(cal_calibrator *cal, const int8_t *codes, int32_t label) {
    const int64_t elements = sample_elements(cal);
    if (label == CAL_UNLABELED) return CAL_CALIBRATION_OK;
    if (label < 0 || label >= cal->classes) return CAL_CALIBRATION_INVALID;
    if (cal->window_count >= cal->window_capacity) return CAL_CALIBRATION_FULL;
    memcpy(cal->window_x + cal->window_count * elements, codes, (size_t)elements);
    cal->window_y[cal->window_count++] = (uint16_t)label;
    return CAL_CALIBRATION_OK;
}

/* Why new weights do not pass; CAL_REASON_VERIFIED if they do. */
static cal_reason verdict(const cal_calibrator *cal, const cal_measure *before, const cal_measure *after, bool rose) {
    if (cal_coreset_fell(cal, before, after)) return CAL_REASON_CORESET_FELL;
    return rose ? CAL_REASON_HELD_ROSE : CAL_REASON_VERIFIED;
}

/* With the held-back samples too, for the last third of the steps. What was verified waits in the slot of the next
 * version, as that version: if power fails now, it is in force. Returns false where storage fails. */
static bool refine(cal_calibrator *cal, int32_t steps, cal_report *report) {
    const int32_t slot = other_slot(cal);
    cal_measure refined;
    bool rose = false;
    if (!cal_save(cal, slot, cal->version + 1, cal->version)) return false;
    const cal_update_outcome second = cal_update(cal, true, steps);
    cal_measure_all(cal, &refined, &report->before, &rose);
    if (verdict(cal, &report->before, &refined, rose) != CAL_REASON_VERIFIED) return cal_load(cal, slot);
    report->steps += second.steps;
    report->accepted += second.accepted;
    report->after = refined;
    return second.accepted == 0 || cal_save(cal, slot, cal->version + 1, cal->version);
}

/* Teacher.teach and Deployment.settle. */
static bool teach(cal_calibrator *cal, cal_report *report) {
    bool rose = false, same = false;
    cal_hold_back(cal);
    report->held = cal_held_count(cal->window_count, cal->settings.holdout);
    cal_measure_all(cal, &report->before, NULL, NULL);
    const int32_t total = cal->settings.steps, later = report->held > 0 ? total / 3 : 0;
    const cal_update_outcome first = cal_update(cal, false, total - later);
    report->steps = first.steps;
    report->accepted = first.accepted;
    cal_measure_all(cal, &report->after, &report->before, &rose);
    report->reason = verdict(cal, &report->before, &report->after, rose);
    if (!cal_compare(cal, cal->slot, &report->flips, &same)) return false;
    const bool refining = report->flips > 0 && later > 0 && report->reason == CAL_REASON_VERIFIED;
    if (refining && (!refine(cal, later, report) || !cal_compare(cal, cal->slot, &report->flips, &same))) return false;
    if (same) {
        /* Refined back to where it began: the slot of the next version must not come into force. What it held before,
         * which could have been gone back to, is lost; flash is not. */
        if (refining) {
            const uint32_t parent = cal->version > 0 && cal->parent == 0 ? 0 : NO_PARENT;
            if (!cal_save(cal, other_slot(cal), cal->version, parent)) return false;
            cal->slot = other_slot(cal);
            cal->parent = parent;
        }
        report->decision = CAL_SKIPPED;
        report->reason = first.steps > 0 ? CAL_REASON_NO_STEP : CAL_REASON_LEARNED;
        return true;
    }
    if (report->reason != CAL_REASON_VERIFIED) {
        report->decision = CAL_REJECTED;
        restore(cal);
        return true;
    }
    const int32_t slot = other_slot(cal);
    if (!refining && !cal_save(cal, slot, cal->version + 1, cal->version)) return false;
    report->decision = CAL_COMMITTED;
    cal->slot = slot;
    cal->parent = cal->version++;
    return true;
}

cal_calibration_status cal_calibrate(cal_calibrator *cal, cal_report *report) {
    *report = (cal_report){.decision = CAL_SKIPPED, .reason = CAL_REASON_NO_LABELS, .samples = cal->window_count};
    const bool good = cal->window_count == 0 || teach(cal, report);
    cal->window_count = 0;
    if (!good) {
        report->decision = CAL_REJECTED;
        report->reason = CAL_REASON_STORAGE;
        cal_find_newest(cal);
        restore(cal);
    }
    report->version = cal->version;
    return good ? CAL_CALIBRATION_OK : CAL_CALIBRATION_STORAGE;
}

cal_calibration_status cal_rollback(cal_calibrator *cal) {
    const int32_t newest = cal->slot, before = cal->parent == 0 ? -1 : other_slot(cal);
    if (newest < 0 || cal->parent == NO_PARENT) return CAL_CALIBRATION_OLDEST;
    if (before >= 0 && !cal_holds(cal, before, cal->parent)) return CAL_CALIBRATION_OLDEST;
    if (!cal_load(cal, before)) {
        restore(cal);
        return CAL_CALIBRATION_STORAGE;
    }
    /* Over the version that is given up: a torn write leaves the one that is gone back to. */
    if (cal_save(cal, newest, cal->version + 1, NO_PARENT)) {
        cal->version++;
        cal->parent = NO_PARENT;
        return CAL_CALIBRATION_OK;
    }
    cal_find_newest(cal);
    restore(cal);
    return CAL_CALIBRATION_STORAGE;
}

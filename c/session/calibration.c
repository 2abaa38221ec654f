/* SPDX-License-Identifier: Apache-2.0 */
/* Observe, learn, verify, commit or restore, roll back: session/ for a labeled window. */
#include <string.h>

#include "calibrator.h"
#include "slots.h"

static int64_t sample_elements(const cal_calibrator *cal) {
    const cal_tensor *in = &cal->program->tensors[cal->program->input];
    return (int64_t)in->height * in->width * in->channels;
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
    cal_versions_recover(cal->slots, &cal->versions);
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

/* What RAM holds into the next slot, as the next version. */
static bool save_next(cal_calibrator *cal) {
    cal_versions *v = &cal->versions;
    return cal_slots_save(cal->slots, v, cal_next_slot(v), v->version + 1, v->version);
}

/* With the held-back samples too, for the last third of the steps. What was verified waits in the slot of the next
 * version, as that version: if power fails now, it is in force. Returns false where storage fails. */
static bool refine(cal_calibrator *cal, int32_t steps, cal_report *report) {
    cal_measure refined;
    bool rose = false;
    if (!save_next(cal)) return false;
    const cal_update_outcome second = cal_update(cal, true, steps);
    cal_measure_all(cal, &refined, &report->before, &rose);
    if (verdict(cal, &report->before, &refined, rose) != CAL_REASON_VERIFIED)
        return cal_slots_load(cal->slots, cal_next_slot(&cal->versions));
    report->steps += second.steps;
    report->accepted += second.accepted;
    report->after = refined;
    return second.accepted == 0 || save_next(cal);
}

static bool compare(const cal_calibrator *cal, cal_report *report, bool *same) {
    return cal_slots_compare(cal->slots, cal->versions.slot, &report->flips, same);
}

/* Refined back to where it began: the slot of the next version must not come into force. What it held before, which could
 * have been gone back to, is lost; flash is not. */
static bool save_again(cal_calibrator *cal) {
    cal_versions *v = &cal->versions;
    const int32_t slot = cal_next_slot(v);
    const uint32_t parent = v->version > 0 && v->parent == 0 ? 0 : CAL_NO_PARENT;
    if (!cal_slots_save(cal->slots, v, slot, v->version, parent)) return false;
    v->slot = slot;
    v->parent = parent;
    return true;
}

/* One window: supervised.Adapter, and what Deployment commits or restores. */
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
    if (!compare(cal, report, &same)) return false;
    const bool refining = report->flips > 0 && later > 0 && report->reason == CAL_REASON_VERIFIED;
    if (refining && (!refine(cal, later, report) || !compare(cal, report, &same))) return false;
    if (same) {
        if (refining && !save_again(cal)) return false;
        report->decision = CAL_SKIPPED;
        report->reason = first.steps > 0 ? CAL_REASON_NO_STEP : CAL_REASON_LEARNED;
        return true;
    }
    if (report->reason != CAL_REASON_VERIFIED) {
        report->decision = CAL_REJECTED;
        cal_versions_restore(cal->slots, &cal->versions);
        return true;
    }
    if (!refining && !save_next(cal)) return false;
    report->decision = CAL_COMMITTED;
    cal_versions_commit(&cal->versions);
    return true;
}

cal_calibration_status cal_calibrate(cal_calibrator *cal, cal_report *report) {
    *report = (cal_report){.decision = CAL_SKIPPED, .reason = CAL_REASON_NO_LABELS, .samples = cal->window_count};
    const bool good = cal->window_count == 0 || teach(cal, report);
    cal->window_count = 0;
    if (!good) {
        report->decision = CAL_REJECTED;
        report->reason = CAL_REASON_STORAGE;
        cal_versions_recover(cal->slots, &cal->versions);
    }
    report->version = cal->versions.version;
    return good ? CAL_CALIBRATION_OK : CAL_CALIBRATION_STORAGE;
}

cal_calibration_status cal_rollback(cal_calibrator *cal) { return cal_versions_rollback(cal->slots, &cal->versions); }

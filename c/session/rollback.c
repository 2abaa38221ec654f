/* SPDX-License-Identifier: Apache-2.0 */
/* Which version is in force, and back to the one before. */
#include "slots.h"

void cal_versions_restore(const cal_slots *slots, cal_versions *versions) {
    if (cal_slots_load(slots, versions->slot)) return;
    cal_slots_find(slots, versions);
    if (cal_slots_load(slots, versions->slot)) return;
    /* Both slots failed within moments: only flash is left. The sequence stays, so that the next write is the newest. */
    versions->slot = CAL_IN_FLASH;
    versions->version = versions->parent = 0;
    cal_slots_load(slots, CAL_IN_FLASH);
}

void cal_versions_recover(const cal_slots *slots, cal_versions *versions) {
    cal_slots_find(slots, versions);
    cal_versions_restore(slots, versions);
}

void cal_versions_commit(cal_versions *versions) {
    versions->slot = cal_next_slot(versions);
    versions->parent = versions->version++;
}

cal_calibration_status cal_versions_rollback(const cal_slots *slots, cal_versions *versions) {
    const int32_t newest = versions->slot, before = versions->parent == 0 ? CAL_IN_FLASH : cal_next_slot(versions);
    if (newest < 0 || versions->parent == CAL_NO_PARENT) return CAL_CALIBRATION_OLDEST;
    if (before >= 0 && !cal_slots_hold(slots, before, versions->parent)) return CAL_CALIBRATION_OLDEST;
    /* Over the version that is given up: a torn write leaves the one that is gone back to. */
    if (cal_slots_load(slots, before) &&
        cal_slots_save(slots, versions, newest, versions->version + 1, CAL_NO_PARENT)) {
        versions->version++;
        versions->parent = CAL_NO_PARENT;
        return CAL_CALIBRATION_OK;
    }
    cal_versions_recover(slots, versions);
    return CAL_CALIBRATION_STORAGE;
}

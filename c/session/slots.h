/* SPDX-License-Identifier: Apache-2.0 */
/* Versions of parameters in two slots of persistent storage. Private to c/session and c/firmware. Slot CAL_IN_FLASH
 * stands for what the artifact has. */
#ifndef CALIBRANT_SLOTS_H
#define CALIBRANT_SLOTS_H

#include "calibrant/calibration.h"

/* The slot that the next version goes to: never the one in force. */
static inline int32_t cal_next_slot(const cal_versions *versions) { return versions->slot == 0 ? 1 : 0; }

/* slots.c: what a slot holds. Loading fails unless the slot is whole; load another then. Saving reads back. */
bool cal_slots_save(const cal_slots *slots, cal_versions *versions, int32_t slot, uint32_t version, uint32_t parent);
bool cal_slots_hold(const cal_slots *slots, int32_t slot, uint32_t version);
bool cal_slots_load(const cal_slots *slots, int32_t slot);
void cal_slots_find(const cal_slots *slots, cal_versions *versions); /* the newest whole slot comes into force */

/* What differs between RAM and a slot that is whole: codes, and whether anything does. */
bool cal_slots_compare(const cal_slots *slots, int32_t slot, int32_t *codes, bool *same);

/* rollback.c: what is in force into RAM; or what storage still has, as after a loss of power or a write that failed. */
void cal_versions_restore(const cal_slots *slots, cal_versions *versions);
void cal_versions_recover(const cal_slots *slots, cal_versions *versions);

/* The version that was saved into the next slot comes into force. */
void cal_versions_commit(cal_versions *versions);

cal_calibration_status cal_versions_rollback(const cal_slots *slots, cal_versions *versions);

#endif

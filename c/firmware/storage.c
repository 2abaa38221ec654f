/* SPDX-License-Identifier: Apache-2.0 */
#include "storage.h"

#include "tables.h"

static bool read_slot(void *context, int32_t slot, uint32_t offset, void *bytes, uint32_t count) {
    (void)context;
    return calibrant_read_slot(slot, offset, bytes, count);
}

static bool write_slot(void *context, int32_t slot, uint32_t offset, const void *bytes, uint32_t count) {
    (void)context;
    return calibrant_write_slot(slot, offset, bytes, count);
}

const cal_slots calibrant_slots = {
    .parts = calibrant_parts,
    .part_count = CALIBRANT_PARTS,
    .model = calibrant_model,
    .read = read_slot,
    .write = write_slot,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* The two slots of a model that adapts, as files slot0.bin and slot1.bin. On a device this is what its maker writes. */
#include "stream.h"

static const char *slot_name(int32_t slot) { return slot == 0 ? "slot0.bin" : "slot1.bin"; }

bool calibrant_read_slot(int32_t slot, uint32_t offset, void *bytes, uint32_t count) {
    const int32_t file = port_open(slot_name(slot), PORT_READ);
    if (file < 0) return false;
    port_seek(file, (int32_t)offset);
    const int32_t read = port_read(file, bytes, (int32_t)count);
    port_close(file);
    return read == (int32_t)count;
}

bool calibrant_write_slot(int32_t slot, uint32_t offset, const void *bytes, uint32_t count) {
    const int32_t file = port_open(slot_name(slot), offset == 0 ? PORT_WRITE : PORT_UPDATE);
    if (file < 0) return false;
    port_seek(file, (int32_t)offset);
    const int32_t written = port_write(file, bytes, (int32_t)count);
    port_close(file);
    return written == (int32_t)count;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tables.h"

enum { PAGE = CAL_SLOT_PAGE, SUM_BYTES = 4 };

static const uint32_t MAGIC = 0x76437231; /* layout of the header and what follows, first release */

typedef struct header {
    uint32_t magic, sequence, version, parent;
    uint8_t model[CAL_MODEL_BYTES];
    uint32_t unused[4];
} header;

_Static_assert(sizeof(header) == PAGE, "a header fills a page");

typedef struct writer {
    uint32_t offset, sum;
    int32_t slot;
    bool good;
    uint8_t page[PAGE];
} writer;

/* CRC-32 as in IEEE 802.3, bit by bit: a table would take a kilobyte. */
static uint32_t summed(uint32_t sum, const uint8_t *bytes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        sum ^= bytes[i];
        for (int32_t bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (sum & 1 ? 0xedb88320u : 0);
    }
    return sum;
}

static void put(writer *w, const void *bytes, uint32_t count) {
    const uint8_t *next = bytes;
    while (count > 0) {
        const uint32_t at = w->offset % PAGE, room = PAGE - at, taken = count < room ? count : room;
        memcpy(w->page + at, next, taken);
        next += taken;
        count -= taken;
        w->offset += taken;
        if (w->offset % PAGE == 0) w->good = w->good && calibrant_write_slot(w->slot, w->offset - PAGE, w->page, PAGE);
    }
}

static void put_summed(writer *w, const void *bytes, uint32_t count) {
    w->sum = summed(w->sum, bytes, count);
    put(w, bytes, count);
}

bool calibrant_versions_save(calibrant_versions *v, int32_t slot, uint32_t version, uint32_t parent) {
    writer w = {.sum = UINT32_MAX, .slot = slot, .good = true};
    header h = {.magic = MAGIC, .sequence = ++v->sequence, .version = version, .parent = parent};
    memcpy(h.model, calibrant_model, sizeof h.model);
    put_summed(&w, &h, sizeof h);
    for (int32_t i = 0; i < CALIBRANT_PARTS; i++)
        put_summed(&w, calibrant_parts[i].ram, calibrant_parts[i].bytes);
    while (w.offset < CALIBRANT_SLOT_BYTES - SUM_BYTES) put_summed(&w, "", 1);
    put(&w, &w.sum, SUM_BYTES);
    return w.good && calibrant_versions_hold(slot, version);
}

/* The header of a slot that is whole and of this model. */
static bool whole(int32_t slot, header *found) {
    uint8_t page[PAGE];
    uint32_t sum = UINT32_MAX, expected = 0;
    if (!calibrant_read_slot(slot, 0, found, sizeof *found)) return false;
    if (found->magic != MAGIC || memcmp(found->model, calibrant_model, sizeof found->model) != 0) return false;
    for (uint32_t offset = 0; offset < CALIBRANT_SLOT_BYTES; offset += PAGE) {
        const bool last = offset + PAGE == CALIBRANT_SLOT_BYTES;
        if (!calibrant_read_slot(slot, offset, page, PAGE)) return false;
        sum = summed(sum, page, last ? PAGE - SUM_BYTES : PAGE);
    }
    memcpy(&expected, page + PAGE - SUM_BYTES, SUM_BYTES);
    return sum == expected;
}

bool calibrant_versions_hold(int32_t slot, uint32_t version) {
    header found;
    return whole(slot, &found) && found.version == version;
}

/* Sequence numbers may wrap around. */
void calibrant_versions_find(calibrant_versions *v) {
    *v = (calibrant_versions){.slot = CALIBRANT_IN_FLASH};
    for (int32_t slot = 0; slot < CAL_SLOTS; slot++) {
        header found;
        if (!whole(slot, &found)) continue;
        if (v->slot >= 0 && found.sequence - v->sequence > UINT32_MAX / 2) continue;
        *v = (calibrant_versions){found.version, found.parent, found.sequence, slot};
    }
}

bool calibrant_versions_load(int32_t slot) {
    header found;
    uint32_t offset = PAGE;
    bool good = true;
    if (slot >= 0 && !whole(slot, &found)) return false;
    for (int32_t i = 0; i < CALIBRANT_PARTS; i++) {
        const calibrant_part *part = &calibrant_parts[i];
        if (slot < 0) memcpy(part->ram, part->flash, part->bytes);
        else good = good && calibrant_read_slot(slot, offset, part->ram, part->bytes);
        offset += part->bytes;
    }
    return good;
}

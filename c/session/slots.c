/* SPDX-License-Identifier: Apache-2.0 */
/* A slot is pages of 64 bytes, little endian: a page with the header; the parts, one after the other, codes packed at
 * their bits, the lowest first, words as they are; zeros; and in the last four bytes the CRC-32 of all before. Pages are
 * written in ascending order, so that a write torn anywhere leaves a slot whose sum is wrong, and the other slot as it
 * was. The header: magic, sequence, version, parent and bytes of all parts, a word each; the model's name; zeros. */
#include "slots.h"

#include <string.h>

enum { MAGIC = 0x574c4143, SUM_BYTES = 4, WORD_BITS = 32 }; /* "CALW" */
enum { SEQUENCE_AT = 4, VERSION_AT = 8, PARENT_AT = 12, BYTES_AT = 16, MODEL_AT = 20 };

_Static_assert(MODEL_AT + CAL_MODEL_BYTES <= CAL_SLOT_PAGE, "the header fits a page");

/* A slot while it is written or read, byte by byte. */
typedef struct stream {
    const cal_slots *slots;
    int32_t slot;
    uint32_t offset, sum;
    bool good;
    uint8_t page[CAL_SLOT_PAGE];
} stream;

/* CRC-32 (IEEE 802.3, as zlib's), four bits at a time: a table of bytes would take a kilobyte. */
static uint32_t summed(uint32_t sum, const uint8_t *bytes, uint32_t count) {
    static const uint32_t NIBBLE[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    sum = ~sum;
    for (uint32_t i = 0; i < count; i++) {
        sum = sum >> 4 ^ NIBBLE[(sum ^ bytes[i]) & 15];
        sum = sum >> 4 ^ NIBBLE[(sum ^ bytes[i] >> 4) & 15];
    }
    return ~sum;
}

static uint32_t word_at(const uint8_t *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t payload_bytes(const cal_slots *slots) {
    uint64_t bytes = 0;
    for (int32_t i = 0; i < slots->part_count; i++)
        bytes += ((uint64_t)slots->parts[i].count * slots->parts[i].bits + 7) / 8;
    return (uint32_t)bytes;
}

int64_t cal_slot_bytes(const cal_slots *slots) {
    const int64_t bytes = CAL_SLOT_PAGE + (int64_t)payload_bytes(slots) + SUM_BYTES;
    return (bytes + CAL_SLOT_PAGE - 1) / CAL_SLOT_PAGE * CAL_SLOT_PAGE;
}

static void put(stream *s, uint8_t byte) {
    s->page[s->offset++ % CAL_SLOT_PAGE] = byte;
    if (s->offset % CAL_SLOT_PAGE != 0 || !s->good) return;
    s->sum = summed(s->sum, s->page, CAL_SLOT_PAGE);
    s->good = s->slots->write(s->slots->context, s->slot, s->offset - CAL_SLOT_PAGE, s->page, CAL_SLOT_PAGE);
}

static void put_word(stream *s, uint32_t word) {
    for (int32_t k = 0; k < 4; k++) put(s, (uint8_t)(word >> 8 * k));
}

static uint8_t get(stream *s) {
    if (s->offset % CAL_SLOT_PAGE == 0 && s->good)
        s->good = s->slots->read(s->slots->context, s->slot, s->offset, s->page, CAL_SLOT_PAGE);
    return s->page[s->offset++ % CAL_SLOT_PAGE];
}

/* The next value of a part; `packed` is the byte that a code is in. */
static int32_t get_value(stream *s, const cal_part *part, uint32_t at, uint32_t *packed) {
    if (part->bits == WORD_BITS) {
        uint8_t word[4];
        for (int32_t k = 0; k < 4; k++) word[k] = get(s);
        return (int32_t)word_at(word);
    }
    const uint32_t used = (uint32_t)((uint64_t)at * part->bits % 8);
    if (used == 0) *packed = get(s);
    const int32_t code = (int32_t)(*packed >> used & ((1u << part->bits) - 1));
    return code < 1 << (part->bits - 1) ? code : code - (1 << part->bits);
}

static bool admits(const cal_part *part, int32_t value) {
    if (part->bits != WORD_BITS) return value > -(1 << (part->bits - 1)); /* widths are symmetric */
    const int32_t bounded = part->real ? value & INT32_MAX : value; /* a float without its sign; NaN is the largest */
    return part->low <= bounded && bounded <= part->high;
}

/* Whether all values are within their bounds: a sum says that they are as written, not that they were good. */
static bool bounded(const cal_slots *slots, int32_t slot) {
    stream s = {.slots = slots, .slot = slot, .offset = CAL_SLOT_PAGE, .good = true};
    for (const cal_part *part = slots->parts; part < slots->parts + slots->part_count; part++) {
        uint32_t packed = 0;
        for (uint32_t at = 0; at < part->count; at++)
            if (!admits(part, get_value(&s, part, at, &packed))) return false;
    }
    return s.good;
}

/* Whether a slot holds a whole version of this model, and its header. */
static bool whole(const cal_slots *slots, int32_t slot, uint8_t *header) {
    const uint32_t bytes = (uint32_t)cal_slot_bytes(slots);
    uint8_t page[CAL_SLOT_PAGE];
    uint32_t sum = 0;
    if (!slots->read(slots->context, slot, 0, header, CAL_SLOT_PAGE)) return false;
    if (word_at(header) != MAGIC || word_at(header + BYTES_AT) != payload_bytes(slots)) return false;
    if (memcmp(header + MODEL_AT, slots->model, CAL_MODEL_BYTES) != 0) return false;
    for (uint32_t offset = 0; offset < bytes; offset += CAL_SLOT_PAGE) {
        if (!slots->read(slots->context, slot, offset, page, CAL_SLOT_PAGE)) return false;
        sum = summed(sum, page, offset + CAL_SLOT_PAGE < bytes ? CAL_SLOT_PAGE : CAL_SLOT_PAGE - SUM_BYTES);
    }
    return word_at(page + CAL_SLOT_PAGE - SUM_BYTES) == sum && bounded(slots, slot);
}

bool cal_slots_hold(const cal_slots *slots, int32_t slot, uint32_t version) {
    uint8_t header[CAL_SLOT_PAGE];
    return whole(slots, slot, header) && word_at(header + VERSION_AT) == version;
}

/* Sequence numbers may wrap around. */
void cal_slots_find(const cal_slots *slots, cal_versions *versions) {
    *versions = (cal_versions){.slot = CAL_IN_FLASH};
    for (int32_t slot = 0; slot < CAL_SLOTS; slot++) {
        uint8_t header[CAL_SLOT_PAGE];
        if (!whole(slots, slot, header)) continue;
        const uint32_t sequence = word_at(header + SEQUENCE_AT);
        if (versions->slot >= 0 && sequence - versions->sequence > UINT32_MAX / 2) continue;
        *versions = (cal_versions){
            .version = word_at(header + VERSION_AT),
            .parent = word_at(header + PARENT_AT),
            .sequence = sequence,
            .slot = slot,
        };
    }
}

static int32_t value_of(const void *values, uint32_t at, uint32_t bits) {
    int32_t word;
    if (bits != WORD_BITS) return ((const int8_t *)values)[at];
    memcpy(&word, (const uint8_t *)values + sizeof word * at, sizeof word); /* of an int32 or a float */
    return word;
}

static int32_t in_flash(const cal_part *part, uint32_t at) {
    return part->flash ? value_of(part->flash, at, part->bits) : 0;
}

static void put_part(stream *s, const cal_part *part) {
    for (uint32_t at = 0; at < part->count;) {
        if (part->bits == WORD_BITS) {
            put_word(s, (uint32_t)value_of(part->ram, at++, WORD_BITS));
            continue;
        }
        uint32_t packed = 0;
        for (uint32_t used = 0; used < 8 && at < part->count; used += part->bits)
            packed |= ((uint32_t)value_of(part->ram, at++, part->bits) & ((1u << part->bits) - 1)) << used;
        put(s, (uint8_t)packed);
    }
}

bool cal_slots_save(const cal_slots *slots, cal_versions *versions, int32_t slot, uint32_t version, uint32_t parent) {
    const uint32_t bytes = (uint32_t)cal_slot_bytes(slots);
    stream s = {.slots = slots, .slot = slot, .good = true};
    put_word(&s, MAGIC);
    put_word(&s, ++versions->sequence);
    put_word(&s, version);
    put_word(&s, parent);
    put_word(&s, payload_bytes(slots));
    for (int32_t i = 0; i < CAL_MODEL_BYTES; i++) put(&s, slots->model[i]);
    while (s.offset < CAL_SLOT_PAGE) put(&s, 0);
    for (int32_t i = 0; i < slots->part_count; i++) put_part(&s, &slots->parts[i]);
    while (s.offset < bytes - SUM_BYTES) put(&s, 0);
    put_word(&s, summed(s.sum, s.page, CAL_SLOT_PAGE - SUM_BYTES));
    return s.good && cal_slots_hold(slots, slot, version);
}

/* Compare what is in RAM with a slot, or load it where `into_ram`. */
static bool traverse(const cal_slots *slots, int32_t slot, bool into_ram, int32_t *codes, bool *same) {
    stream s = {.slots = slots, .slot = slot, .offset = CAL_SLOT_PAGE, .good = true};
    uint8_t header[CAL_SLOT_PAGE];
    *codes = 0;
    *same = true;
    if (slot >= 0 && !whole(slots, slot, header)) return false;
    for (const cal_part *part = slots->parts; part < slots->parts + slots->part_count; part++) {
        uint32_t packed = 0;
        for (uint32_t at = 0; at < part->count; at++) {
            const int32_t value = slot < 0 ? in_flash(part, at) : get_value(&s, part, at, &packed);
            if (value == value_of(part->ram, at, part->bits)) continue;
            *same = false;
            *codes += part->bits != WORD_BITS;
            if (!into_ram) continue;
            if (part->bits == WORD_BITS) memcpy((uint8_t *)part->ram + sizeof value * at, &value, sizeof value);
            else ((int8_t *)part->ram)[at] = (int8_t)value;
        }
    }
    return s.good;
}

bool cal_slots_compare(const cal_slots *slots, int32_t slot, int32_t *codes, bool *same) {
    return traverse(slots, slot, false, codes, same);
}

bool cal_slots_load(const cal_slots *slots, int32_t slot) {
    int32_t codes;
    bool same;
    return traverse(slots, slot, true, &codes, &same);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Two slots of persistent storage. A slot is pages of 64 bytes, little endian: a page with the header; the weights, each
 * layer's packed at its bits, the lowest first; the biases, int32; zeros; and in the last four bytes the CRC-32 of all
 * before. Pages are written in ascending order, so that a write torn anywhere leaves a slot whose sum is wrong, and the
 * other slot as it was. */
#include <string.h>

#include "calibrator.h"

enum { MAGIC = 0x574c4143, SUM_BYTES = 4 }; /* "CALW" */

typedef struct header {
    uint32_t magic, sequence, version, parent, bytes; /* bytes: of weights and biases */
    uint8_t model[CAL_MODEL_BYTES], zero[CAL_SLOT_PAGE - 20 - CAL_MODEL_BYTES];
} header;
_Static_assert(sizeof(header) == CAL_SLOT_PAGE, "the header is a page");

/* A slot while it is written or read, byte by byte. */
typedef struct stream {
    cal_calibrator *cal;
    int32_t slot;
    uint32_t offset, sum;
    bool good;
    uint8_t page[CAL_SLOT_PAGE];
} stream;

/* CRC-32 (IEEE 802.3, as zlib's), four bits at a time. */
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

static uint32_t word(const uint8_t *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put_word(uint8_t *at, uint32_t v) {
    for (int32_t i = 0; i < 4; i++) at[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t payload_bytes(const cal_program *p) {
    int64_t bytes = 4 * p->channel_count;
    for (int32_t i = 0; i < p->layer_count; i++)
        bytes += (cal_weight_total(&p->layers[i]) * p->layers[i].bits + 7) / 8;
    return (uint32_t)bytes;
}

int64_t cal_slot_bytes(const cal_program *program) {
    const int64_t bytes = CAL_SLOT_PAGE + (int64_t)payload_bytes(program) + SUM_BYTES;
    return (bytes + CAL_SLOT_PAGE - 1) / CAL_SLOT_PAGE * CAL_SLOT_PAGE;
}

static void put(stream *s, uint8_t byte) {
    s->page[s->offset++ % CAL_SLOT_PAGE] = byte;
    if (s->offset % CAL_SLOT_PAGE != 0 || !s->good) return;
    s->sum = summed(s->sum, s->page, CAL_SLOT_PAGE);
    s->good = s->cal->write(s->cal->context, s->slot, s->offset - CAL_SLOT_PAGE, s->page, CAL_SLOT_PAGE);
}

static uint8_t get(stream *s) {
    if (s->offset % CAL_SLOT_PAGE == 0 && s->good)
        s->good = s->cal->read(s->cal->context, s->slot, s->offset, s->page, CAL_SLOT_PAGE);
    return s->page[s->offset++ % CAL_SLOT_PAGE];
}

/* Whether a slot holds a whole version of this model, and its header. */
static bool whole(cal_calibrator *cal, int32_t slot, uint8_t *found) {
    const uint32_t bytes = (uint32_t)cal_slot_bytes(cal->program);
    uint8_t page[CAL_SLOT_PAGE];
    uint32_t sum = 0;
    if (!cal->read(cal->context, slot, 0, found, CAL_SLOT_PAGE)) return false;
    if (word(found) != MAGIC || word(found + 16) != payload_bytes(cal->program)) return false;
    if (memcmp(found + 20, cal->model, CAL_MODEL_BYTES) != 0) return false;
    for (uint32_t offset = 0; offset < bytes; offset += CAL_SLOT_PAGE) {
        if (!cal->read(cal->context, slot, offset, page, CAL_SLOT_PAGE)) return false;
        sum = summed(sum, page, offset + CAL_SLOT_PAGE < bytes ? CAL_SLOT_PAGE : CAL_SLOT_PAGE - SUM_BYTES);
    }
    return word(page + CAL_SLOT_PAGE - SUM_BYTES) == sum;
}

bool cal_holds(cal_calibrator *cal, int32_t slot, uint32_t version) {
    uint8_t found[CAL_SLOT_PAGE];
    return whole(cal, slot, found) && word(found + 8) == version;
}

/* Make the newest whole slot the one in force, or flash; sequence numbers may wrap around. */
void cal_find_newest(cal_calibrator *cal) {
    cal->slot = -1;
    cal->version = cal->parent = cal->sequence = 0;
    for (int32_t slot = 0; slot < CAL_SLOTS; slot++) {
        uint8_t found[CAL_SLOT_PAGE];
        if (!whole(cal, slot, found)) continue;
        const uint32_t sequence = word(found + 4);
        if (cal->slot >= 0 && sequence - cal->sequence > UINT32_MAX / 2) continue;
        cal->slot = slot;
        cal->sequence = sequence;
        cal->version = word(found + 8);
        cal->parent = word(found + 12);
    }
}

/* Write the weights and biases in RAM into a slot, and check that they can be read back. */
bool cal_save(cal_calibrator *cal, int32_t slot, uint32_t version, uint32_t parent) {
    const cal_program *p = cal->program;
    const uint32_t bytes = (uint32_t)cal_slot_bytes(p);
    const uint32_t fields[5] = {MAGIC, ++cal->sequence, version, parent, payload_bytes(p)};
    stream s = {.cal = cal, .slot = slot, .good = true};
    for (int32_t i = 0; i < 5; i++)
        for (int32_t k = 0; k < 4; k++) put(&s, (uint8_t)(fields[i] >> 8 * k));
    for (int32_t i = 0; i < CAL_MODEL_BYTES; i++) put(&s, cal->model[i]);
    while (s.offset < CAL_SLOT_PAGE) put(&s, 0);
    for (int32_t i = 0; i < p->layer_count; i++) {
        const cal_layer *layer = &p->layers[i];
        const int8_t *weights = cal->weights + layer->weight_offset;
        const int64_t count = cal_weight_total(layer);
        const int32_t bits = layer->bits;
        for (int64_t at = 0; at < count;) {
            uint32_t packed = 0;
            for (int32_t used = 0; used < 8 && at < count; used += bits)
                packed |= ((uint32_t)weights[at++] & ((1u << bits) - 1)) << used;
            put(&s, (uint8_t)packed);
        }
    }
    for (int64_t i = 0; i < p->channel_count; i++)
        for (int32_t k = 0; k < 4; k++) put(&s, (uint8_t)((uint32_t)cal->bias[i] >> 8 * k));
    while (s.offset < bytes - SUM_BYTES) put(&s, 0);
    uint8_t sum[SUM_BYTES];
    put_word(sum, summed(s.sum, s.page, CAL_SLOT_PAGE - SUM_BYTES));
    for (int32_t i = 0; i < SUM_BYTES; i++) put(&s, sum[i]);
    return s.good && cal_holds(cal, slot, version);
}

/* The next code of a layer; `packed` is the byte that it is in. */
static int8_t code_of(stream *s, int64_t at, int32_t bits, uint32_t *packed) {
    const int32_t used = (int32_t)(at * bits % 8);
    if (used == 0) *packed = get(s);
    const int32_t code = (int32_t)(*packed >> used & ((1u << bits) - 1));
    return (int8_t)(code < 1 << (bits - 1) ? code : code - (1 << bits));
}

/* Compare what is in RAM with a slot that is whole, or load it where `into_ram`. */
static bool traverse(cal_calibrator *cal, int32_t slot, bool into_ram, int32_t *flips, bool *same) {
    const cal_program *p = cal->program;
    stream s = {.cal = cal, .slot = slot, .offset = CAL_SLOT_PAGE, .good = true};
    int32_t weights = 0, biases = 0;
    for (int32_t i = 0; i < p->layer_count; i++) {
        const cal_layer *layer = &p->layers[i];
        const int64_t count = cal_weight_total(layer);
        uint32_t packed = 0;
        for (int64_t at = 0; at < count; at++) {
            const int64_t place = layer->weight_offset + at;
            const int8_t code = slot < 0 ? cal->constants->weights[place] : code_of(&s, at, layer->bits, &packed);
            weights += code != cal->weights[place];
            if (into_ram) cal->weights[place] = code;
        }
    }
    for (int64_t i = 0; i < p->channel_count; i++) {
        uint32_t bits = 0;
        if (slot < 0) bits = (uint32_t)cal->constants->bias[i];
        else
            for (int32_t k = 0; k < 4; k++) bits |= (uint32_t)get(&s) << 8 * k;
        biases += bits != (uint32_t)cal->bias[i];
        if (into_ram) memcpy(&cal->bias[i], &bits, sizeof bits);
    }
    *flips = weights;
    *same = weights == 0 && biases == 0;
    return s.good;
}

static bool usable(cal_calibrator *cal, int32_t slot) {
    uint8_t found[CAL_SLOT_PAGE];
    return slot < 0 || whole(cal, slot, found);
}

bool cal_compare(cal_calibrator *cal, int32_t slot, int32_t *flips, bool *same) {
    return usable(cal, slot) && traverse(cal, slot, false, flips, same);
}

bool cal_load(cal_calibrator *cal, int32_t slot) {
    int32_t flips;
    bool same;
    return usable(cal, slot) && traverse(cal, slot, true, &flips, &same);
}

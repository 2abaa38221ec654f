/* SPDX-License-Identifier: Apache-2.0 */
/* What a firmware does around c/session, for tests on the host: inference by records, reference kernels, two slots. */
#include <stdlib.h>
#include <string.h>

#include "calibrant/calibration.h"
#include "calibrant/kernel.h"

extern const cal_kernels cal_kernels__ref;

enum { MOST_OPS = 64 };

typedef struct firmware {
    cal_calibrator calibrator; /* first, so that its address is the firmware's */
    cal_slots store;
    uint8_t *arena;
    uint8_t *slots;           /* CAL_SLOTS of cal_slot_bytes() */
    int64_t writable;         /* bytes that can still be written before power fails; then every write does */
    int64_t runs;             /* samples inferred */
} firmware;

int64_t firmware_bytes(void) { return (int64_t)sizeof(firmware); }
int64_t report_bytes(void) { return (int64_t)sizeof(cal_report); }

static const void *infer(void *context, const int8_t *codes) {
    firmware *own = context;
    cal_calibrator *cal = &own->calibrator;
    const cal_program *p = cal->program;
    const cal_tensor *in = &p->tensors[p->input];
    const cal_constants held = {cal->weights, cal->bias, cal->constants->multiplier, cal->constants->shift};
    const cal_engine engine = {p, &held, &cal_kernels__ref, own->arena, own->arena, NULL}; /* nothing is packed */
    cal_call calls[MOST_OPS];
    if (p->op_count > MOST_OPS) abort();
    cal_bind(&engine, calls);
    own->runs++;
    memcpy(own->arena + in->offset, codes, (size_t)in->height * in->width * in->channels);
    for (int32_t i = 0; i < p->op_count; i++) {
        const cal_args *args = &calls[i].args;
        if (args->layer) cal_sense_input(cal, args->op->layer, args->x[0]);
        calls[i].kernel(args);
        if (args->layer) cal_sense_output(cal, args->op->layer, args->y);
    }
    return own->arena + p->tensors[p->output].offset;
}

static bool read_slot(void *context, int32_t slot, uint32_t offset, void *bytes, uint32_t count) {
    const firmware *own = context;
    memcpy(bytes, own->slots + slot * cal_slot_bytes(&own->store) + offset, count);
    return true;
}

static bool write_slot(void *context, int32_t slot, uint32_t offset, const void *bytes, uint32_t count) {
    firmware *own = context;
    const int64_t fits = own->writable < count ? own->writable : count;
    memcpy(own->slots + slot * cal_slot_bytes(&own->store) + offset, bytes, (size_t)fits);
    own->writable -= fits;
    return fits == count;
}

void firmware_connect(firmware *own) {
    own->calibrator.context = own;
    own->calibrator.infer = infer;
    own->calibrator.slots = &own->store;
    own->store.context = own;
    own->store.read = read_slot;
    own->store.write = write_slot;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a firmware does around c/session, for tests on the host: inference by records, reference kernels, two slots. */
#include <string.h>

#include "calibrant/calibration.h"
#include "calibrant/kernel.h"

extern const cal_kernels cal_kernels__ref;

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

static cal_kernel *kernel_of(int32_t kind) {
    switch ((cal_kind)kind) {
#define CAL_OP(kind, kernel, ...) case CAL_KIND_##kind: return cal_kernels__ref.kernel;
#include "calibrant/ops.def"
    case CAL_KIND_COUNT: break;
    }
    return NULL;
}

static const void *infer(void *context, const int8_t *codes) {
    firmware *own = context;
    cal_calibrator *cal = &own->calibrator;
    const cal_program *p = cal->program;
    const cal_tensor *in = &p->tensors[p->input];
    own->runs++;
    memcpy(own->arena + in->offset, codes, (size_t)in->height * in->width * in->channels);
    for (int32_t i = 0; i < p->op_count; i++) {
        const cal_op *op = &p->ops[i];
        cal_args args = {.op = op, .output = &p->tensors[op->output], .scratch = own->arena + op->scratch_offset};
        for (int32_t k = 0; k < op->input_count; k++) {
            args.input[k] = &p->tensors[cal_op_input(op, k)];
            args.x[k] = (const int8_t *)own->arena + args.input[k]->offset;
        }
        args.y = own->arena + args.output->offset;
        if (op->layer >= 0) {
            args.layer = &p->layers[op->layer];
            args.weights = cal->weights + args.layer->weight_offset;
            args.bias = cal->bias + args.layer->channel_offset;
            args.multiplier = cal->constants->multiplier + args.layer->channel_offset;
            args.shift = cal->constants->shift + args.layer->channel_offset;
            cal_sense_input(cal, op->layer, args.x[0]);
        }
        kernel_of(op->kind)(&args);
        if (op->layer >= 0) cal_sense_output(cal, op->layer, args.y);
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

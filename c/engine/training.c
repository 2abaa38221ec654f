/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training.h"

#include <string.h>

#include "program.h"

extern const cal_training_kernels cal_training_kernels__ref;
#ifdef CAL_HAVE_X86
extern const cal_training_kernels cal_training_kernels__avx2;
#endif

const cal_training_kernels *cal_training_variant(const cal_kernels *kernels) {
#ifdef CAL_HAVE_X86
    if (kernels != cal_variant(0)) return &cal_training_kernels__avx2;
#endif
    (void)kernels;
    return &cal_training_kernels__ref;
}

static size_t input_values(const cal_trainer *t) {
    const cal_buffer *in = &t->training->buffers[t->training->input];
    return (size_t)in->height * (size_t)in->width * (size_t)in->channels;
}

/* Runs a kernel with what is known only now. */
static void run_step(const cal_training_call *call, const cal_training_args *now) {
    cal_training_args args = call->args;
    args.label = now->label;
    args.carry = now->carry;
    args.rate = now->rate;
    args.bias_rate = now->bias_rate;
    args.loss = now->loss;
    args.logits = now->logits;
    call->kernel(&args);
}

/* One sample through all steps, or up to the loss. */
static void run(const cal_trainer *t, const int8_t *x, const cal_training_args *now, bool whole) {
    const cal_training *training = t->training;
    memcpy(t->arena + training->buffers[training->input].offset, x, input_values(t));
    for (int32_t at = 0; at < training->step_count; at++) {
        const int32_t kind = training->steps[at].kind;
        const cal_step_call *call = &t->calls[at];
        if (kind == CAL_STEP_forward)
            call->forward.kernel(&call->forward.args);
        else if (whole || kind == CAL_STEP_dense || kind == CAL_STEP_loss)
            run_step(&call->step, now);
        if (!whole && kind == CAL_STEP_loss) return;
    }
}

/* Layers whose weights have moved are packed again; a bias is never packed. */
static void repack(const cal_trainer *t) {
    if (!t->kernels->pack) return;
    for (int32_t i = 0; i < t->training->slice_count; i++) {
        const cal_slice *slice = &t->training->slices[i];
        if (slice->kind != CAL_SLICE_weight) continue;
        const cal_op *op = t->program->ops;
        while (op->layer != slice->layer) op++;
        const cal_layer *layer = &t->program->layers[slice->layer];
        uint8_t *packed = t->packed + cal_packed_offset(t->program, t->kernels, op);
        t->kernels->pack(op, layer, t->weights + layer->weight_offset, packed);
    }
}

void cal_train(const cal_trainer *t, const int8_t *x, const int32_t *labels, int64_t samples, float rate,
               float bias_rate, float *losses, float *logits) {
    cal_training_args now = {.rate = rate, .bias_rate = bias_rate};
    for (int64_t i = 0; i < samples; i++, x += input_values(t)) {
        now.label = labels[i];
        now.loss = &losses[i];
        now.logits = logits ? logits + i * t->training->classes : NULL;
        run(t, x, &now, true);
        if (!t->accumulators) repack(t);
    }
}

void cal_evaluate(const cal_trainer *t, const int8_t *x, const int32_t *labels, int64_t samples, float *losses,
                  float *logits) {
    cal_training_args now = {0};
    for (int64_t i = 0; i < samples; i++, x += input_values(t)) {
        now.label = labels ? labels[i] : -1;
        now.loss = losses ? &losses[i] : NULL;
        now.logits = logits ? logits + i * t->training->classes : NULL;
        run(t, x, &now, false);
    }
}

void cal_commit(const cal_trainer *t, bool carry) {
    if (!t->accumulators) return;
    const cal_training_args now = {.carry = carry};
    for (int32_t i = 0; i < t->training->slice_count; i++) run_step(&t->calls[t->training->step_count + i].step, &now);
    repack(t);
}

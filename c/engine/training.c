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

static cal_training_kernel *kernel_of(const cal_training_kernels *kernels, int32_t kind) {
    cal_training_kernel *const table[CAL_STEP_COUNT] = {
#define CAL_STEP(kind, ...) [CAL_STEP_##kind] = kernels->kind,
#include "calibrant/training.def"
    };
    return table[kind];
}

/* Where a layer's packed weights begin; layers are few and this is no hot loop. */
static uint8_t *packed_of(const cal_trainer *t, const cal_op *op) {
    uint8_t *packed = t->packed;
    for (const cal_op *before = t->program->ops; before != op; before++)
        packed += cal_packed_op_bytes(t->program, t->kernels, before);
    return packed;
}

static void *memory(const cal_trainer *t, int32_t id) { return t->arena + t->training->buffers[id].offset; }

static void forward(const cal_trainer *t, const cal_step *step) {
    const cal_program *p = t->program;
    const cal_op *op = &p->ops[step->op];
    cal_args args = {.op = op, .output = &p->tensors[op->output], .scratch = t->arena + step->scratch_offset};
    for (int32_t i = 0; i < op->input_count; i++) {
        args.input[i] = &p->tensors[cal_op_input(op, i)];
        args.x[i] = memory(t, cal_op_input(op, i));
    }
    args.y = memory(t, op->output);
    if (op->layer >= 0) {
        args.layer = &p->layers[op->layer];
        args.weights = t->weights + args.layer->weight_offset;
        args.bias = t->bias + args.layer->channel_offset;
        args.multiplier = t->multiplier + args.layer->channel_offset;
        args.shift = t->shift + args.layer->channel_offset;
        args.packed = packed_of(t, op);
    }
    cal_kernel_of(t->kernels, op->kind)(&args);
}

static void set_layer(const cal_trainer *t, int32_t id, cal_training_args *args) {
    args->layer = &t->program->layers[id];
    args->weights = t->weights + args->layer->weight_offset;
    args->bias = t->bias + args->layer->channel_offset;
    args->effective = t->training->effective + args->layer->channel_offset;
}

static void set_slice(const cal_trainer *t, const cal_slice *slice, cal_training_args *args) {
    args->channels = t->training->channels + slice->channel_offset;
    args->channel_count = slice->channel_count;
    args->accumulators = t->accumulators ? t->accumulators + slice->offset : NULL;
    if (slice->kind == CAL_SLICE_head) return;
    const float *scaling = slice->kind == CAL_SLICE_weight ? t->training->weight_scaling : t->training->bias_scaling;
    args->scaling = scaling + t->program->layers[slice->layer].channel_offset;
}

/* What a step reads and writes, by its kind. */
static void set_buffers(const cal_trainer *t, int32_t at, cal_training_args *args) {
    const cal_training *training = t->training;
    const cal_step *step = &training->steps[at];
    const bool two = step->kind == CAL_STEP_weight_update || step->kind == CAL_STEP_dense_update ||
                     step->kind == CAL_STEP_max_pool2d_grad;
    args->x = memory(t, step->input0);
    args->g = memory(t, two ? step->input1 : step->input0);
    args->dtype = training->buffers[step->input0].dtype;
    args->zero_point = training->buffers[step->input0].zero_point;
    args->factor = training->factor[at];
    if (step->kind == CAL_STEP_gate && step->input_count == 2) args->mask = memory(t, step->input1);
    if (step->output < 0) return;
    if (step->kind == CAL_STEP_mask)
        args->mask = memory(t, step->output);
    else if (step->kind == CAL_STEP_gather)
        args->gathered = memory(t, step->output);
    else
        args->dx = memory(t, step->output);
}

static void set_op(const cal_trainer *t, const cal_step *step, cal_training_args *args) {
    args->op = &t->program->ops[step->op];
    args->input = &t->program->tensors[cal_op_input(args->op, step->operand)];
    args->output = &t->program->tensors[args->op->output];
    for (int32_t i = 0; i < step->operand; i++)
        args->first_channel += t->program->tensors[cal_op_input(args->op, i)].channels;
    if (args->op->layer >= 0) set_layer(t, args->op->layer, args);
}

static bool of_head(int32_t kind) {
    return kind == CAL_STEP_dense || kind == CAL_STEP_loss || kind == CAL_STEP_dense_update ||
           kind == CAL_STEP_dense_grad;
}

static bool of_slice(int32_t kind) {
    return kind == CAL_STEP_gather || kind == CAL_STEP_bias_update || kind == CAL_STEP_weight_update ||
           kind == CAL_STEP_dense_update;
}

static void run_step(const cal_trainer *t, int32_t at, cal_training_args args) {
    const cal_step *step = &t->training->steps[at];
    if (!of_head(step->kind)) set_op(t, step, &args);
    if (of_slice(step->kind)) set_slice(t, &t->training->slices[step->slice], &args);
    set_buffers(t, at, &args);
    args.accumulate = step->accumulate;
    if (step->in_place) args.scratch = (float *)(void *)(t->arena + step->scratch_offset);
    kernel_of(t->training_kernels, step->kind)(&args);
}

static cal_training_args common(const cal_trainer *t) {
    return (cal_training_args){
        .classes = t->training->classes,
        .features = t->training->features,
        .head_scale = t->training->head_scale,
        .head_weight = t->head_weight,
        .head_bias = t->head_bias,
    };
}

/* One sample through all steps, or up to the loss. */
static void run(const cal_trainer *t, const int8_t *x, cal_training_args args, bool whole) {
    const cal_training *training = t->training;
    const cal_buffer *in = &training->buffers[training->input];
    memcpy(memory(t, training->input), x, (size_t)in->height * (size_t)in->width * (size_t)in->channels);
    for (int32_t at = 0; at < training->step_count; at++) {
        const cal_step *step = &training->steps[at];
        if (step->kind == CAL_STEP_forward)
            forward(t, step);
        else if (whole || step->kind == CAL_STEP_dense || step->kind == CAL_STEP_loss)
            run_step(t, at, args);
        if (!whole && step->kind == CAL_STEP_loss) return;
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
        t->kernels->pack(op, layer, t->weights + layer->weight_offset, packed_of(t, op));
    }
}

static size_t input_values(const cal_trainer *t) {
    const cal_buffer *in = &t->training->buffers[t->training->input];
    return (size_t)in->height * (size_t)in->width * (size_t)in->channels;
}

void cal_train(const cal_trainer *t, const int8_t *x, const int32_t *labels, int64_t samples, float rate,
               float bias_rate, float *losses, float *logits) {
    cal_training_args args = common(t);
    args.rate = rate;
    args.bias_rate = bias_rate;
    for (int64_t i = 0; i < samples; i++, x += input_values(t)) {
        args.label = labels[i];
        args.loss = &losses[i];
        args.logits = logits ? logits + i * args.classes : NULL;
        run(t, x, args, true);
        if (!t->accumulators) repack(t);
    }
}

void cal_evaluate(const cal_trainer *t, const int8_t *x, const int32_t *labels, int64_t samples, float *losses,
                  float *logits) {
    cal_training_args args = common(t);
    for (int64_t i = 0; i < samples; i++, x += input_values(t)) {
        args.label = labels ? labels[i] : -1;
        args.loss = losses ? &losses[i] : NULL;
        args.logits = logits ? logits + i * args.classes : NULL;
        run(t, x, args, false);
    }
}

void cal_commit(const cal_trainer *t, bool carry) {
    if (!t->accumulators) return;
    for (int32_t i = 0; i < t->training->slice_count; i++) {
        const cal_slice *slice = &t->training->slices[i];
        cal_training_args args = common(t);
        args.carry = carry;
        set_slice(t, slice, &args);
        if (slice->kind != CAL_SLICE_head) set_layer(t, slice->layer, &args);
        cal_training_kernel *const commits[CAL_SLICE_KIND_COUNT] = {
            [CAL_SLICE_weight] = t->training_kernels->weight_commit,
            [CAL_SLICE_bias] = t->training_kernels->bias_commit,
            [CAL_SLICE_head] = t->training_kernels->head_commit,
        };
        commits[slice->kind](&args);
    }
    repack(t);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments of ops and steps by the rows of bindings.def, bound once, when a program or a training is loaded. */
#include "calibrant/training.h"
#include "program.h"

/* What values are made of, and what they are `of`: a member that is NULL leaves its fields 0. */
typedef struct scope {
    const cal_program *program;
    const cal_training *training; /* NULL: tensors lie where inference has them */
    const cal_trainer *trainer;
    const cal_constants *constants;
    const uint8_t *packed;
    uint8_t *arena;
    const cal_op *op;
    const cal_layer *layer, *gate;
    const cal_slice *slice;
    const cal_step *step, *in_place;
    const cal_training *head;
    const cal_buffer *x, *g, *mask, *gathered, *dx;
    const void *now; /* NULL */
} scope;

static void *memory(const scope *s, const cal_buffer *buffer) { return s->arena + buffer->offset; }

static void *place(const scope *s, int32_t id) {
    return s->arena + (s->training ? s->training->buffers[id].offset : s->program->tensors[id].offset);
}

static int32_t first_channel(const scope *s) {
    int32_t first = 0;
    for (int32_t i = 0; i < s->step->operand; i++) first += s->program->tensors[cal_op_input(s->op, i)].channels;
    return first;
}

static const float *scaling(const scope *s) {
    if (s->slice->kind == CAL_SLICE_head) return NULL;
    return (s->slice->kind == CAL_SLICE_weight ? s->training->weight_scaling : s->training->bias_scaling) +
           s->layer->channel_offset;
}

static float *accumulators(const scope *s) {
    return s->trainer->accumulators ? s->trainer->accumulators + s->slice->offset : NULL;
}

static void set_op(scope *s, const cal_op *op) {
    s->op = op;
    s->layer = op->layer < 0 ? NULL : &s->program->layers[op->layer];
}

static cal_call bound_op(const scope *s, const cal_kernels *kernels) {
    cal_args args = {0};
#define CAL_ARG(type, name, of, value) \
    if (s->of) args.name = value;
#define CAL_ARG_EACH(type, name, of, value) \
    for (int32_t i = 0; s->of && i < s->op->input_count; i++) args.name[i] = value;
#include "calibrant/bindings.def"
    return (cal_call){cal_kernel_of(kernels, s->op->kind), args};
}

void cal_bind(const cal_engine *engine, cal_call *calls) {
    const cal_program *p = engine->program;
    scope s = {.program = p, .constants = engine->constants, .arena = engine->arena};
    for (int32_t i = 0; i < p->op_count; i++) {
        set_op(&s, &p->ops[i]);
        s.packed = engine->packed + cal_packed_offset(p, engine->kernels, s.op);
        calls[i] = bound_op(&s, engine->kernels);
    }
}

static cal_training_args bound_step(const scope *s) {
    cal_training_args args = {0};
#define CAL_TRAINING_ARG(type, name, of, value) \
    if (s->of) args.name = value;
#include "calibrant/bindings.def"
    return args;
}

/* What a kernel calls them: dtypes tell buffers apart, and of two inputs the gradient is the float32 one. */
static void set_buffers(scope *s, const cal_step *step) {
    const cal_buffer *buffers = s->training->buffers;
    s->x = s->g = &buffers[step->input0];
    if (step->input_count == 2 && buffers[step->input1].dtype == CAL_DTYPE_float32) s->g = &buffers[step->input1];
    if (step->input_count == 2 && buffers[step->input1].dtype == CAL_DTYPE_mask) s->mask = &buffers[step->input1];
    if (step->output < 0) return;
    const cal_buffer *output = &buffers[step->output];
    if (output->dtype == CAL_DTYPE_mask) s->mask = output;
    if (output->dtype == CAL_DTYPE_int8) s->gathered = output;
    if (output->dtype == CAL_DTYPE_float32) s->dx = output;
}

/* Whether a step is of an op, and whether of a slice; the ids of one that is not are not checked. */
enum { OF_any = 1, OF_conv2d = 1, OF_gradient = 1, OF_head = 0, OF_logits = 0 };
enum { TRAINS_weight = 1, TRAINS_bias = 1, TRAINS_head = 1, TRAINS_none = 0 };
static const struct {
    bool op, slice;
} USES[CAL_STEP_COUNT] = {
    [CAL_STEP_forward] = {true, false},
#define CAL_STEP(kind, of, least, input0, input1, output, trains) [CAL_STEP_##kind] = {OF_##of, TRAINS_##trains},
#include "calibrant/training.def"
};

static cal_training_kernel *kernel_of(const cal_training_kernels *kernels, int32_t kind) {
    cal_training_kernel *const table[CAL_STEP_COUNT] = {
#define CAL_STEP(kind, ...) [CAL_STEP_##kind] = kernels->kind,
#include "calibrant/training.def"
    };
    return table[kind];
}

static cal_step_call bound_to_step(scope s, const cal_kernels *kernels, const cal_step *step) {
    const cal_training *training = s.training;
    s.step = step;
    if (USES[step->kind].op)
        set_op(&s, &s.program->ops[step->op]);
    else
        s.head = training;
    if (step->kind == CAL_STEP_forward) {
        s.packed = s.trainer->packed + cal_packed_offset(s.program, kernels, s.op);
        return (cal_step_call){.forward = bound_op(&s, kernels)};
    }
    set_buffers(&s, step);
    if (USES[step->kind].slice) s.slice = &training->slices[step->slice];
    if (step->kind == CAL_STEP_gate) s.gate = s.layer;
    if (step->in_place) s.in_place = step;
    return (cal_step_call){.step = {kernel_of(s.trainer->training_kernels, step->kind), bound_step(&s)}};
}

static cal_step_call bound_to_commit(scope s, const cal_slice *slice) {
    cal_training_kernel *const kernels[CAL_SLICE_KIND_COUNT] = {
        [CAL_SLICE_weight] = s.trainer->training_kernels->weight_commit,
        [CAL_SLICE_bias] = s.trainer->training_kernels->bias_commit,
        [CAL_SLICE_head] = s.trainer->training_kernels->head_commit,
    };
    s.slice = slice;
    if (slice->kind == CAL_SLICE_head)
        s.head = s.training;
    else
        s.layer = &s.program->layers[slice->layer];
    return (cal_step_call){.step = {kernels[slice->kind], bound_step(&s)}};
}

void cal_bind_training(const cal_trainer *t, cal_step_call *calls) {
    const cal_training *training = t->training;
    const cal_constants constants = {t->weights, t->bias, t->multiplier, t->shift};
    const scope s = {.program = t->program, .training = training, .trainer = t, .constants = &constants, .arena = t->arena};
    for (int32_t i = 0; i < training->step_count; i++) calls[i] = bound_to_step(s, t->kernels, &training->steps[i]);
    calls += training->step_count;
    for (int32_t i = 0; i < training->slice_count; i++) calls[i] = bound_to_commit(s, &training->slices[i]);
}

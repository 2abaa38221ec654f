/* SPDX-License-Identifier: Apache-2.0 */
/* Training inside one static arena: forward, pruned backward and in-place update as one flat list of steps.
 *
 *     if (cal_check_training(&program, &training, &index) != CAL_TRAINING_OK) refuse;   // after cal_check
 *     cal_bind_training(&trainer, calls);                                               // trainer.calls
 *     cal_train(&trainer, x, labels, samples, rate, bias_rate, losses, logits);         // nothing can fail any more
 *     cal_commit(&trainer, carry);                                                      // with accumulators
 *
 * Gradients are float32 with respect to integer codes; docs/numerics.md defines every number. Firmware calls the kernels
 * one by one with a cal_training_args each, and needs nothing else of this file. */
#ifndef CALIBRANT_TRAINING_H
#define CALIBRANT_TRAINING_H

#include "calibrant/calibrant.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Status, by ranges: 0x1_ the training as a whole, 0x2_ a buffer, 0x3_ a slice, 0x4_ a step. The index that comes with a
 * status counts buffers, slices or steps. */
#define CAL_TRAINING_STATUSES(X)                                                                                       \
    X(CAL_TRAINING_OK, 0x00, "valid")                                                                                  \
    X(CAL_TRAINING_COUNTS, 0x10, "needs a buffer for every tensor of the program, and counts that are not negative")   \
    X(CAL_TRAINING_ARENA, 0x11, "arena_bytes must be 0 to 2^31 - 1")                                                   \
    X(CAL_TRAINING_INPUT, 0x12, "input must be the program's input")                                                   \
    X(CAL_TRAINING_HEAD, 0x13, "head must be int8 or float32, with 1 class or more and fewer than 2^29 weights")       \
    X(CAL_TRAINING_LOGITS, 0x14, "logits must be a buffer of one value a class: float32 of a float32 head, else int8 or int32") \
    X(CAL_TRAINING_LOSS, 0x15, "needs exactly one loss step")                                                          \
    X(CAL_BUFFER_SHAPE, 0x20, "sizes must be 1 or more, with fewer than 2^29 values")                                  \
    X(CAL_BUFFER_DTYPE, 0x21, "dtype must be int8, int32, float32 or mask")                                            \
    X(CAL_BUFFER_ZERO_POINT, 0x22, "zero_point must be -128 to 127")                                                   \
    X(CAL_BUFFER_TENSOR, 0x23, "must have the sizes, width and zero point of the program's tensor")                    \
    X(CAL_BUFFER_OFFSET, 0x24, "must lie inside the arena, 32-bit values at a multiple of 4")                          \
    X(CAL_SLICE_KIND, 0x30, "kind must be weight, bias or head; head with a float32 head only")                        \
    X(CAL_SLICE_LAYER, 0x31, "layer must be one of the program")                                                       \
    X(CAL_SLICE_CHANNELS, 0x32, "channels must ascend within the layer's, of a weight slice only")                     \
    X(CAL_SLICE_COUNT, 0x33, "count must be the number of its parameters")                                             \
    X(CAL_SLICE_OFFSET, 0x34, "must lie inside the accumulators")                                                      \
    X(CAL_SLICE_OVERLAP, 0x35, "shares accumulators or parameters with another slice")                                 \
    X(CAL_STEP_KIND, 0x40, "kind is not one of this release")                                                          \
    X(CAL_STEP_OP, 0x41, "op is not one of the program that such a step can be of")                                    \
    X(CAL_STEP_SLICE, 0x42, "slice is not one that such a step trains")                                                \
    X(CAL_STEP_INPUTS, 0x43, "wrong number of inputs, or an input that is not a buffer of the right dtype")            \
    X(CAL_STEP_OUTPUT, 0x44, "output must be a buffer of the right dtype, or -1 of an update")                         \
    X(CAL_STEP_SHAPE, 0x45, "a buffer does not have the sizes that the op or head says")                               \
    X(CAL_STEP_FLAG, 0x46, "accumulate must be 0, or 1 of a gradient of an input; operand must be one of the op's")    \
    X(CAL_STEP_SCRATCH, 0x47, "scratch must lie inside the arena and hold what forward steps and steps in place need") \
    X(CAL_STEP_OVERLAP, 0x48, "output or scratch overlaps what the step reads")                                        \
    X(CAL_STEP_STALE, 0x49, "reads a buffer that no step wrote before, or that another one has overwritten")           \
    X(CAL_STEP_ORDER, 0x4a, "must come after the loss")                                                                \
    X(CAL_STEP_IN_PLACE, 0x4b,                                                                                         \
      "in_place must be 0, or 1 of a depthwise gradient of stride 1 in its input's memory, adding to nothing")

#define CAL_TRAINING_STATUS_ENUM(name, code, text) name = code,
typedef enum cal_training_status { CAL_TRAINING_STATUSES(CAL_TRAINING_STATUS_ENUM) } cal_training_status;

/* Records. Every field is an int32, in this order; the host encodes a Training's records by these names. Slices'
 * channels lie in one array: `channel_count` of them at `channel_offset`, none: all. */
#define CAL_BUFFER_FIELDS(X) X(height) X(width) X(channels) X(dtype) X(zero_point) X(offset)
#define CAL_SLICE_FIELDS(X) X(layer) X(kind) X(offset) X(count) X(channel_offset) X(channel_count)
#define CAL_STEP_FIELDS(X)                                                                                             \
    X(kind) X(input_count) X(input0) X(input1) X(input2) X(input3) X(input4) X(input5) X(input6) X(input7)             \
    X(output) X(op) X(slice) X(accumulate) X(operand) X(in_place) X(scratch_offset) X(scratch_bytes)

#define CAL_FIELD(name) int32_t name;
typedef struct cal_buffer { CAL_BUFFER_FIELDS(CAL_FIELD) } cal_buffer;
typedef struct cal_slice { CAL_SLICE_FIELDS(CAL_FIELD) } cal_slice;
typedef struct cal_step { CAL_STEP_FIELDS(CAL_FIELD) } cal_step;
#undef CAL_FIELD

/* Values of `dtype`, of a slice's `kind` and of `head`, each in the order that the host knows them by name. */
#define CAL_DTYPES(X) X(int8) X(int32) X(float32) X(mask)
#define CAL_SLICE_KINDS(X) X(weight) X(bias) X(head)
#define CAL_HEADS(X) X(int8) X(float32)
#define CAL_DTYPE_ENUM(name) CAL_DTYPE_##name,
#define CAL_SLICE_ENUM(name) CAL_SLICE_##name,
#define CAL_HEAD_ENUM(name) CAL_HEAD_##name,
enum { CAL_DTYPES(CAL_DTYPE_ENUM) CAL_DTYPE_COUNT };
enum { CAL_SLICE_KINDS(CAL_SLICE_ENUM) CAL_SLICE_KIND_COUNT };
enum { CAL_HEADS(CAL_HEAD_ENUM) CAL_HEAD_COUNT };

#define CAL_STEP(kind, ...) CAL_STEP_##kind,
typedef enum cal_step_kind {
    CAL_STEP_forward,
#include "calibrant/training.def"
    CAL_STEP_COUNT
} cal_step_kind;

typedef struct cal_training {
    const cal_buffer *buffers;
    const cal_slice *slices;
    const cal_step *steps;
    const int32_t *channels;                                /* of all slices */
    const float *factor;                                    /* [step_count] */
    const float *effective, *weight_scaling, *bias_scaling; /* [program's channel_count] */
    const float *head_scale;                                /* [classes]; not read with a float32 head */
    int32_t buffer_count, slice_count, step_count, channel_count;
    int32_t input, logits;                                  /* buffer ids */
    int32_t head, classes, features;                        /* features of a float32 head, else 0 */
    int64_t arena_bytes, accumulator_count;
} cal_training;

/* What one kernel call works on; bindings.def says what fields are. Those that a kernel has no use for are 0. Gradients
 * are float32; `input` and `output` are those of the op: sizes, and the zero point of codes. Where `accumulate` is 1 a
 * kernel adds to dx. */
typedef struct cal_training_args {
#define CAL_TRAINING_ARG(type, name, ...) type name;
#include "calibrant/bindings.def"
} cal_training_args;

/* Contract as of cal_kernel, plus: a sum starts at 0.0f and has one accumulator, in the order that docs/numerics.md says,
 * so every variant gives the same bits. */
typedef void cal_training_kernel(const cal_training_args *args);

typedef struct cal_training_kernels {
#define CAL_TRAINING_KERNEL(name) cal_training_kernel *name;
#include "calibrant/training.def"
} cal_training_kernels;

/* The training kernels that go with a variant. */
const cal_training_kernels *cal_training_variant(const cal_kernels *kernels);

/* Everything that could make a step read or write out of bounds; the program passed cal_check. */
cal_training_status cal_check_training(const cal_program *program, const cal_training *training, int32_t *index);

/* A step's kernel and what it works on, but for what is known only when it runs. */
typedef struct cal_training_call {
    cal_training_kernel *kernel;
    cal_training_args args;
} cal_training_call;
typedef union cal_step_call {
    cal_call forward;
    cal_training_call step; /* of any other kind; or what ends a batch for a slice */
} cal_step_call;

/* A checked training with its memory. Weights, bias and packed weights are the engine's own, so that it infers with what
 * was learned; the arena is aligned to 64 bytes. */
typedef struct cal_trainer {
    const cal_program *program;
    const cal_training *training;
    const cal_kernels *kernels;
    const cal_training_kernels *training_kernels;
    int8_t *weights;
    int32_t *bias;
    const int32_t *multiplier, *shift;
    uint8_t *packed;
    uint8_t *arena;
    float *head_weight, *head_bias;
    float *accumulators;        /* [accumulator_count], or NULL: every sample updates at once */
    const cal_step_call *calls; /* [step_count], and [slice_count] behind them; by cal_bind_training */
} cal_trainer;

/* Fill in the calls of a trainer that has everything else; again if one of its addresses changes. */
void cal_bind_training(const cal_trainer *trainer, cal_step_call *calls);

/* Forward, backward and update for samples one after another. x int8[samples, elements of input], labels [samples] in
 * 0..classes - 1, losses float32[samples], logits float32[samples, classes] or NULL. With accumulators rates are those of
 * one sample: divided by the batch size. */
void cal_train(const cal_trainer *trainer, const int8_t *x, const int32_t *labels, int64_t samples, float rate,
               float bias_rate, float *losses, float *logits);

/* The end of a batch: what the accumulators hold moves to weights and biases; with `carry` they keep the remainders. */
void cal_commit(const cal_trainer *trainer, bool carry);

/* The steps before the loss alone. labels and losses may both be NULL, and logits. */
void cal_evaluate(const cal_trainer *trainer, const int8_t *x, const int32_t *labels, int64_t samples, float *losses,
                  float *logits);

/* A depthwise gradient in place copies so many channels of g, and then computes theirs of dx. */
enum { CAL_IN_PLACE_CHANNELS = 8 };

/* Scratch for that: float32[height, width, channels at once]. */
static inline int64_t cal_in_place_bytes(const cal_tensor *input) {
    const int32_t channels = input->channels < CAL_IN_PLACE_CHANNELS ? input->channels : CAL_IN_PLACE_CHANNELS;
    return (int64_t)4 * input->height * input->width * channels;
}

static inline int32_t cal_step_input(const cal_step *step, int32_t i) {
    const int32_t inputs[CAL_MAX_INPUTS] = {step->input0, step->input1, step->input2, step->input3,
                                            step->input4, step->input5, step->input6, step->input7};
    return inputs[i];
}

#ifdef __cplusplus
}
#endif
#endif

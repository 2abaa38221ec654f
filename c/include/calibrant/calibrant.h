/* SPDX-License-Identifier: Apache-2.0 */
/* Calibrant's C library: quantized inference and the statistics that bit-flip calibration needs.
 *
 * A program is three flat arrays of int32 records (tensors, layers, ops) and an arena plan. The caller owns all memory:
 *
 *     if (cal_check(&program, &index) != CAL_OK) refuse;          // every id, offset, size and range
 *     if (cal_check_constants(&program, &constants, &index) != CAL_OK) refuse;
 *     cal_pack(&program, &constants, kernels, packed);            // cal_packed_bytes() says how large; may be 0
 *     cal_bind(&engine, calls);                                   // engine.calls, for as long as its memory stays
 *     cal_run(&engine, x, samples, &results);                     // nothing can fail any more
 *
 * Activations are channels-last, one sample int8[height, width, channels]; docs/numerics.md defines every number.
 */
#ifndef CALIBRANT_H
#define CALIBRANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Status, by ranges: 0x1_ the program as a whole, 0x2_ a tensor, 0x3_ a layer, 0x4_ an op, 0x5_ the constants. The index
 * that comes with a status counts tensors, layers or ops; for constants it is the flat index of the weight or channel. */
#define CAL_STATUSES(X)                                                                                                \
    X(CAL_OK, 0x00, "valid")                                                                                           \
    X(CAL_PROGRAM_COUNTS, 0x10, "needs at least one tensor and counts that are not negative")                          \
    X(CAL_PROGRAM_ARENA, 0x11, "arena_bytes must be 0 to 2^31 - 1")                                                    \
    X(CAL_PROGRAM_INPUT, 0x12, "input must be an 8-bit tensor that no op writes")                                      \
    X(CAL_PROGRAM_OUTPUT, 0x13, "output must be the input or a tensor that an op writes")                              \
    X(CAL_TENSOR_SHAPE, 0x20, "sizes must be 1 or more, with up to 2^23 positions and fewer than 2^29 values")        \
    X(CAL_TENSOR_BITS, 0x21, "bits must be 8, 1 inside of the program, or 32 for its output if it is not its input")    \
    X(CAL_TENSOR_ZERO_POINT, 0x22, "zero_point must be -128 to 127")                                                   \
    X(CAL_TENSOR_OFFSET, 0x23, "must lie inside the arena; tensors of 1 and 32 bits at a multiple of 4")               \
    X(CAL_TENSOR_WRITTEN, 0x24, "must be written by one op only")                                                      \
    X(CAL_LAYER_BITS, 0x30, "bits must be 1 of binary_conv2d, 2, 4 or 8 of conv2d")                                    \
    X(CAL_LAYER_SHAPE, 0x31, "sizes must be 1 or more and groups must divide c_in and c_out")                          \
    X(CAL_LAYER_WEIGHTS, 0x32, "weights must lie inside the constants")                                                \
    X(CAL_LAYER_CHANNELS, 0x33, "channels must lie inside the constants")                                              \
    X(CAL_LAYER_POOLED, 0x34, "pooled statistics must lie inside pooled_count")                                        \
    X(CAL_LAYER_OVERFLOW, 0x35, "a sum of products at the width's largest weight would pass 2^31")                     \
    X(CAL_LAYER_USED, 0x36, "must be used by exactly one conv2d or binary_conv2d")                                     \
    X(CAL_OP_KIND, 0x40, "kind is not one of this release")                                                            \
    X(CAL_OP_INPUTS, 0x41, "wrong number of inputs, or one that was not written before or is not of the op's bits")    \
    X(CAL_OP_OUTPUT, 0x42, "output must be a tensor other than the program's input, of bits that the op gives")        \
    X(CAL_OP_LAYER, 0x43, "conv2d and binary_conv2d need the layer with their shapes, other ops must say -1")          \
    X(CAL_OP_WINDOW, 0x44, "kernel, stride, padding or dilation is out of range")                                      \
    X(CAL_OP_EMPTY, 0x45, "a pooling window lies wholly in the padding")                                               \
    X(CAL_OP_SHAPE, 0x46, "input and output shapes do not fit the op")                                                 \
    X(CAL_OP_ZERO_POINT, 0x47, "input and output must share a zero point")                                             \
    X(CAL_OP_CLAMP, 0x48, "clamp must be -128 <= clamp_low <= clamp_high <= 127")                                      \
    X(CAL_OP_MULTIPLIER, 0x49, "multiplier must be 0 or more and shift 1 to 62")                                       \
    X(CAL_OP_ROUNDING, 0x4a, "rounding must be 0 (half away from zero)")                                               \
    X(CAL_OP_FLAG, 0x4b, "count_include_pad and adaptive must be 0 or 1")                                              \
    X(CAL_OP_SCRATCH, 0x4c, "scratch must lie inside the arena and hold what cal_scratch_bytes says")                  \
    X(CAL_OP_OVERLAP, 0x4d, "output or scratch overlaps a tensor that is still needed")                                \
    X(CAL_CONSTANT_WEIGHT, 0x50, "weight is outside its width's range, or 0 in a binary layer")                        \
    X(CAL_CONSTANT_MULTIPLIER, 0x51, "multiplier must be 0 or more and shift 1 to 62")

#define CAL_STATUS_ENUM(name, code, text) name = code,
typedef enum cal_status { CAL_STATUSES(CAL_STATUS_ENUM) } cal_status;

enum { CAL_MAX_INPUTS = 8 };

/* |bias|, wherever updaters move it: lowering proves that no sum passes 2^31 up to here. */
enum { CAL_BIAS_LIMIT = (1 << 30) - 1 };

/* Records. Every field is an int32, in this order; the host encodes a Program's records by these names. */
#define CAL_TENSOR_FIELDS(X) X(height) X(width) X(channels) X(zero_point) X(bits) X(offset)

#define CAL_LAYER_FIELDS(X)                                                                                            \
    X(bits) X(c_out) X(kernel_h) X(kernel_w) X(c_in) X(groups) X(weight_offset) X(channel_offset) X(pooled_offset)

#define CAL_OP_FIELDS(X)                                                                                               \
    X(kind) X(input_count) X(input0) X(input1) X(input2) X(input3) X(input4) X(input5) X(input6) X(input7)             \
    X(output) X(layer) X(kernel_h) X(kernel_w) X(stride_h) X(stride_w) X(pad_top) X(pad_left)                          \
    X(dilation_h) X(dilation_w) X(groups) X(count_include_pad) X(adaptive)                                             \
    X(multiplier0) X(multiplier1) X(multiplier2) X(multiplier3)                                                        \
    X(multiplier4) X(multiplier5) X(multiplier6) X(multiplier7)                                                        \
    X(shift0) X(shift1) X(shift2) X(shift3) X(shift4) X(shift5) X(shift6) X(shift7)                                    \
    X(clamp_low) X(clamp_high) X(scratch_offset) X(scratch_bytes) X(rounding)

#define CAL_FIELD(name) int32_t name;
typedef struct cal_tensor { CAL_TENSOR_FIELDS(CAL_FIELD) } cal_tensor;
typedef struct cal_layer { CAL_LAYER_FIELDS(CAL_FIELD) } cal_layer;
typedef struct cal_op { CAL_OP_FIELDS(CAL_FIELD) } cal_op;
#undef CAL_FIELD

/* Value of `kind` in a cal_op. */
#define CAL_OP(kind, ...) CAL_KIND_##kind,
typedef enum cal_kind {
#include "calibrant/ops.def"
    CAL_KIND_COUNT
} cal_kind;

/* Records that an export fills in, one row a field: CAL_DECLARE makes the struct of them, and the host knows their layout
 * by the same rows. */
#define CAL_DECLARE(type, name) type name;

#define CAL_PROGRAM_FIELDS(X)                                                                                          \
    X(const cal_tensor *, tensors)                                                                                     \
    X(const cal_layer *, layers)                                                                                       \
    X(const cal_op *, ops)                                                                                             \
    X(int32_t, tensor_count)                                                                                           \
    X(int32_t, layer_count)                                                                                            \
    X(int32_t, op_count)                                                                                               \
    X(int32_t, input) /* tensor ids */                                                                                 \
    X(int32_t, output)                                                                                                 \
    X(int64_t, arena_bytes)                                                                                            \
    X(int64_t, weight_count) /* lengths of the constants and of the pooled statistics */                               \
    X(int64_t, channel_count)                                                                                          \
    X(int64_t, pooled_count)
typedef struct cal_program { CAL_PROGRAM_FIELDS(CAL_DECLARE) } cal_program;

/* weights [weight_count]; the rest [channel_count]. */
#define CAL_CONSTANTS_FIELDS(X)                                                                                        \
    X(const int8_t *, weights) X(const int32_t *, bias) X(const int32_t *, multiplier) X(const int32_t *, shift)
typedef struct cal_constants { CAL_CONSTANTS_FIELDS(CAL_DECLARE) } cal_constants;

/* What one kernel call works on; bindings.def says what fields are. Those that an op has no use for are NULL. */
typedef struct cal_args {
#define CAL_ARG(type, name, ...) type name;
#define CAL_ARG_EACH(type, name, ...) type name[CAL_MAX_INPUTS];
#include "calibrant/bindings.def"
} cal_args;

/* Kernel contract: no allocation, no state, no threads, no stdio, no assert. Arguments passed cal_check; a kernel reads
 * its inputs and writes its output and scratch, nothing else. Every variant gives the same bits. */
typedef void cal_kernel(const cal_args *args);

/* One instruction set's kernels. */
typedef struct cal_kernels {
    const char *name;
    const char *instructions; /* what the hot loop is made of, for reports */
#define CAL_KERNEL(kernel) cal_kernel *kernel;
#include "calibrant/ops.def"
    int64_t (*packed_bytes)(const cal_op *op, const cal_layer *layer);                /* NULL: nothing is packed */
    void (*pack)(const cal_op *op, const cal_layer *layer, const int8_t *weights, void *packed);
    int64_t (*peak)(int32_t bits, int64_t rounds, int32_t *sink); /* multiply-accumulates done on registers; may be NULL */
} cal_kernels;

/* Variants built in, slowest ("ref") first; NULL past the last. A variant is usable if processor and system support it. */
const cal_kernels *cal_variant(int32_t index);
bool cal_variant_usable(const cal_kernels *kernels);

/* Scratch bytes a valid op needs, the same for all variants; core/scratch.py holds the same formula. */
int64_t cal_scratch_bytes(const cal_op *op, const cal_tensor *input, const cal_tensor *output);

/* Everything that could make a run read or write out of bounds, divide by zero or shift out of range. */
cal_status cal_check(const cal_program *program, int32_t *index);
cal_status cal_check_constants(const cal_program *program, const cal_constants *constants, int32_t *index);

/* Bytes of packed weights (a multiple of 64), and the packing; again after weights changed. */
int64_t cal_packed_bytes(const cal_program *program, const cal_kernels *kernels);
void cal_pack(const cal_program *program, const cal_constants *constants, const cal_kernels *kernels, uint8_t *packed);

/* An op's kernel and what it works on, but for what differs from sample to sample. */
typedef struct cal_call {
    cal_kernel *kernel;
    cal_args args;
} cal_call;

/* A checked program with its memory: arena and packed are aligned to 64 bytes. */
typedef struct cal_engine {
    const cal_program *program;
    const cal_constants *constants;
    const cal_kernels *kernels;
    const uint8_t *packed;
    uint8_t *arena;
    const cal_call *calls; /* [op_count], by cal_bind */
} cal_engine;

/* Fill in the calls of an engine that has everything else; again if one of its addresses changes. */
void cal_bind(const cal_engine *engine, cal_call *calls);

/* What a run computes besides the outputs; NULL for what is not wanted. */
typedef struct cal_stats {
    int32_t *active;       /* [samples, cal_active_count] */
    int32_t *pooled;       /* [samples, pooled_count] */
    const int32_t *signal; /* [samples, channel_count]; goes with taps */
    int64_t *taps;         /* [weight_count], added to */
} cal_stats;

/* Values of a sample that `active` takes: channel_count, then the channels of every addition in the order of ops. */
int64_t cal_active_count(const cal_program *program);

/* Run samples one after another in the one arena. x int8[samples, elements of input]; outputs int32[samples, elements of
 * output]: raw accumulators of a 32-bit output, else codes. */
void cal_run(const cal_engine *engine, const int8_t *x, int64_t samples, int32_t *outputs, const cal_stats *stats);

/* Moments of pre-activations: what a layer's sum is after rescaling, before zero point and clamp, saturated to 16 bits. */
typedef struct cal_moments {
    const uint8_t *layers; /* [layer_count], not 0: measured; their outputs are of 8 bits */
    int32_t *sums;         /* memory aligned to 64 bytes, of cal_moments_bytes */
    int64_t *total;        /* [samples, channel_count]: sums over positions, of values and of their squares; those of */
    int64_t *square;       /* layers that are not measured are left as they are */
} cal_moments;

int64_t cal_moments_bytes(const cal_program *program, const uint8_t *layers);

/* Run samples as far as the last layer that is measured. */
void cal_measure_moments(const cal_engine *engine, const int8_t *x, int64_t samples, const cal_moments *moments);

static inline int32_t cal_op_input(const cal_op *op, int32_t i) {
    const int32_t inputs[CAL_MAX_INPUTS] = {op->input0, op->input1, op->input2, op->input3,
                                            op->input4, op->input5, op->input6, op->input7};
    return inputs[i];
}

static inline int32_t cal_op_multiplier(const cal_op *op, int32_t i) {
    const int32_t multipliers[CAL_MAX_INPUTS] = {op->multiplier0, op->multiplier1, op->multiplier2, op->multiplier3,
                                                 op->multiplier4, op->multiplier5, op->multiplier6, op->multiplier7};
    return multipliers[i];
}

static inline int32_t cal_op_shift(const cal_op *op, int32_t i) {
    const int32_t shifts[CAL_MAX_INPUTS] = {op->shift0, op->shift1, op->shift2, op->shift3,
                                            op->shift4, op->shift5, op->shift6, op->shift7};
    return shifts[i];
}

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/binary.h"
#include "program.h"

enum { SIDE_LIMIT = 1 << 15, POSITION_LIMIT = 1 << 23, VALUE_LIMIT = 1 << 29, EXTENT_LIMIT = 1 << 30 };

static bool between(int64_t value, int64_t low, int64_t high) { return low <= value && value <= high; }

int64_t cal_tensor_bytes(const cal_tensor *t) {
    const int64_t positions = (int64_t)t->height * t->width;
    if (t->bits == 1) return positions * cal_sign_words(t->channels) * (int64_t)sizeof(uint32_t);
    return positions * t->channels * t->bits / 8;
}

int64_t cal_layer_weights(const cal_layer *layer) {
    return (int64_t)layer->c_out * layer->kernel_h * layer->kernel_w * (layer->c_in / layer->groups);
}

int32_t cal_weight_limit(int32_t bits) { return bits == 1 ? 1 : (1 << (bits - 1)) - 1; }

static bool is_binary(const cal_op *op) { return op->kind == CAL_KIND_binary_conv2d; }

static bool is_layer(const cal_op *op) { return op->kind == CAL_KIND_conv2d || is_binary(op); }

int64_t cal_scratch_bytes(const cal_op *op, const cal_tensor *input, const cal_tensor *output) {
    if (!is_layer(op)) return 0;
    const int64_t rows = (int64_t)(output->height - 1) * op->stride_h + (int64_t)(op->kernel_h - 1) * op->dilation_h + 1;
    const int64_t columns = (int64_t)(output->width - 1) * op->stride_w + (int64_t)(op->kernel_w - 1) * op->dilation_w + 1;
    if (is_binary(op)) return CAL_SCRATCH_SLACK + 4 * rows * columns * cal_sign_words(input->channels);
    const bool depthwise = op->groups == input->channels && op->groups == output->channels;
    const int64_t channels = depthwise ? input->channels : input->channels / op->groups;
    return CAL_SCRATCH_SLACK + 2 * rows * columns * channels;
}

static cal_status check_tensor(const cal_program *p, int32_t id) {
    const cal_tensor *t = &p->tensors[id];
    if (t->height < 1 || t->width < 1 || t->channels < 1) return CAL_TENSOR_SHAPE;
    if ((int64_t)t->height * t->width > POSITION_LIMIT) return CAL_TENSOR_SHAPE;
    if ((int64_t)t->height * t->width * t->channels >= VALUE_LIMIT) return CAL_TENSOR_SHAPE;
    const bool ends = id == p->input || id == p->output;
    if (t->bits != 8 && !(t->bits == 1 && !ends) && !(t->bits == 32 && id == p->output && id != p->input))
        return CAL_TENSOR_BITS;
    if (!between(t->zero_point, -128, 127)) return CAL_TENSOR_ZERO_POINT;
    if (t->offset < 0 || t->offset + cal_tensor_bytes(t) > p->arena_bytes) return CAL_TENSOR_OFFSET;
    return t->bits != 8 && t->offset % 4 ? CAL_TENSOR_OFFSET : CAL_OK;
}

static cal_status check_layer(const cal_program *p, int32_t id) {
    const cal_layer *layer = &p->layers[id];
    if (layer->bits != 1 && layer->bits != 2 && layer->bits != 4 && layer->bits != 8) return CAL_LAYER_BITS;
    if (!between(layer->kernel_h, 1, SIDE_LIMIT) || !between(layer->kernel_w, 1, SIDE_LIMIT)) return CAL_LAYER_SHAPE;
    if (layer->c_out < 1 || layer->c_in < 1 || layer->groups < 1) return CAL_LAYER_SHAPE;
    if (layer->c_in % layer->groups || layer->c_out % layer->groups) return CAL_LAYER_SHAPE;
    const int64_t area = (int64_t)layer->kernel_h * layer->kernel_w, depth = layer->c_in / layer->groups;
    if (area > INT32_MAX / depth) return CAL_LAYER_OVERFLOW;
    const int64_t product = cal_layer_binary(layer) ? CAL_UNIT : 255 * cal_weight_limit(layer->bits);
    if (area * depth * product > INT32_MAX) return CAL_LAYER_OVERFLOW;
    if (layer->weight_offset < 0 || layer->weight_offset + area * depth * layer->c_out > p->weight_count)
        return CAL_LAYER_WEIGHTS;
    if (layer->channel_offset < 0 || (int64_t)layer->channel_offset + layer->c_out > p->channel_count)
        return CAL_LAYER_CHANNELS;
    if (layer->pooled_offset < 0 || (int64_t)layer->pooled_offset + layer->c_in > p->pooled_count)
        return CAL_LAYER_POOLED;
    int32_t uses = 0;
    for (int32_t i = 0; i < p->op_count; i++) uses += is_layer(&p->ops[i]) && p->ops[i].layer == id;
    return uses == 1 ? CAL_OK : CAL_LAYER_USED;
}

static cal_status check_window(const cal_op *op, const cal_tensor *out) {
    const int32_t sides[] = {op->kernel_h, op->kernel_w, op->stride_h, op->stride_w, op->dilation_h, op->dilation_w};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        if (!between(sides[i], 1, SIDE_LIMIT)) return CAL_OP_WINDOW;
    if (!between(op->pad_top, 0, SIDE_LIMIT) || !between(op->pad_left, 0, SIDE_LIMIT)) return CAL_OP_WINDOW;
    const int64_t rows = (int64_t)(out->height - 1) * op->stride_h + (int64_t)(op->kernel_h - 1) * op->dilation_h;
    const int64_t columns = (int64_t)(out->width - 1) * op->stride_w + (int64_t)(op->kernel_w - 1) * op->dilation_w;
    if (rows >= EXTENT_LIMIT || columns >= EXTENT_LIMIT) return CAL_OP_WINDOW;
    return (rows + 1) * (columns + 1) < EXTENT_LIMIT ? CAL_OK : CAL_OP_WINDOW;
}

/* Whether every window along one side holds at least one real position. */
static bool windows_full(int32_t windows, int32_t size, int32_t kernel, int32_t stride, int32_t pad, int32_t dilation) {
    for (int32_t i = 0; i < windows; i++) {
        const int32_t begin = i * stride - pad;
        const int32_t tap = begin < 0 ? (dilation - 1 - begin) / dilation : 0; /* the first one at 0 or later */
        if (tap >= kernel || begin + tap * dilation >= size) return false;
    }
    return true;
}

/* Checks of an op's records, named by the rows of ops.def; ids of tensors, clamp and rounding are known to be right. */
typedef cal_status check(const cal_program *p, const cal_op *op);

static cal_status check_convolution(const cal_program *p, const cal_op *op) {
    const cal_tensor *in = &p->tensors[op->input0], *out = &p->tensors[op->output];
    if (op->layer < 0 || op->layer >= p->layer_count) return CAL_OP_LAYER;
    const cal_layer *layer = &p->layers[op->layer];
    if (layer->c_in != in->channels || layer->c_out != out->channels || layer->groups != op->groups ||
        layer->kernel_h != op->kernel_h || layer->kernel_w != op->kernel_w || cal_layer_binary(layer) != is_binary(op))
        return CAL_OP_LAYER;
    if (is_binary(op) && op->groups != 1) return CAL_OP_LAYER;
    return check_window(op, out);
}

/* What all pools share. */
static cal_status check_pool(const cal_program *p, const cal_op *op) {
    const cal_tensor *in = &p->tensors[op->input0], *out = &p->tensors[op->output];
    if (in->channels != out->channels) return CAL_OP_SHAPE;
    if (in->zero_point != out->zero_point) return CAL_OP_ZERO_POINT;
    return between(op->count_include_pad, 0, 1) && between(op->adaptive, 0, 1) ? CAL_OK : CAL_OP_FLAG;
}

/* The dilation of averages is 1. */
static cal_status check_pool_window(const cal_program *p, const cal_op *op, bool dilated) {
    const cal_tensor *in = &p->tensors[op->input0], *out = &p->tensors[op->output];
    const cal_status status = check_window(op, out);
    if (status != CAL_OK) return status;
    if (!dilated && (op->dilation_h != 1 || op->dilation_w != 1)) return CAL_OP_WINDOW;
    if ((int64_t)op->kernel_h * op->kernel_w > POSITION_LIMIT) return CAL_OP_WINDOW;
    return windows_full(out->height, in->height, op->kernel_h, op->stride_h, op->pad_top, op->dilation_h) &&
                   windows_full(out->width, in->width, op->kernel_w, op->stride_w, op->pad_left, op->dilation_w)
               ? CAL_OK
               : CAL_OP_EMPTY;
}

static cal_status check_max_pool(const cal_program *p, const cal_op *op) {
    const cal_status status = check_pool(p, op);
    if (status != CAL_OK) return status;
    return op->adaptive || op->count_include_pad ? CAL_OP_FLAG : check_pool_window(p, op, true);
}

static cal_status check_avg_pool(const cal_program *p, const cal_op *op) {
    const cal_status status = check_pool(p, op);
    return status != CAL_OK || op->adaptive ? status : check_pool_window(p, op, false);
}

static cal_status check_adaptive_pool(const cal_program *p, const cal_op *op) {
    const cal_status status = check_pool(p, op);
    return status == CAL_OK && !op->adaptive ? CAL_OP_FLAG : status;
}

static bool scale_valid(int32_t multiplier, int32_t shift) { return multiplier >= 0 && between(shift, 1, 62); }

static bool same_positions(const cal_tensor *a, const cal_tensor *b) {
    return a->height == b->height && a->width == b->width;
}

static cal_status check_sign(const cal_program *p, const cal_op *op) {
    const cal_tensor *in = &p->tensors[op->input0], *out = &p->tensors[op->output];
    return same_positions(in, out) && in->channels == out->channels ? CAL_OK : CAL_OP_SHAPE;
}

static cal_status check_mean(const cal_program *p, const cal_op *op) {
    const cal_tensor *in = &p->tensors[op->input0], *out = &p->tensors[op->output];
    if (in->channels != out->channels || out->height != 1 || out->width != 1) return CAL_OP_SHAPE;
    return scale_valid(op->multiplier0, op->shift0) ? CAL_OK : CAL_OP_MULTIPLIER;
}

/* Inputs and output of one shape, a multiplier an input, one shift for all. */
static cal_status check_elementwise(const cal_program *p, const cal_op *op) {
    const cal_tensor *out = &p->tensors[op->output];
    for (int32_t i = 0; i < op->input_count; i++) {
        const cal_tensor *in = &p->tensors[cal_op_input(op, i)];
        if (!same_positions(in, out) || in->channels != out->channels) return CAL_OP_SHAPE;
    }
    for (int32_t i = 0; i < op->input_count; i++)
        if (!scale_valid(cal_op_multiplier(op, i), op->shift0)) return CAL_OP_MULTIPLIER;
    return CAL_OK;
}

/* Inputs side by side in the channels, each with a multiplier and a shift, or multiplier 0 and copied. */
static cal_status check_join(const cal_program *p, const cal_op *op) {
    const cal_tensor *out = &p->tensors[op->output];
    int64_t channels = 0;
    for (int32_t i = 0; i < op->input_count; i++) {
        const cal_tensor *part = &p->tensors[cal_op_input(op, i)];
        if (!same_positions(part, out)) return CAL_OP_SHAPE;
        if (cal_op_multiplier(op, i) != 0 && !scale_valid(cal_op_multiplier(op, i), cal_op_shift(op, i)))
            return CAL_OP_MULTIPLIER;
        if (cal_op_multiplier(op, i) == 0 && part->zero_point != out->zero_point) return CAL_OP_ZERO_POINT;
        channels += part->channels;
    }
    return channels == out->channels ? CAL_OK : CAL_OP_SHAPE;
}

static const struct {
    int32_t least, most; /* inputs */
    check *check;
} RULES[CAL_KIND_COUNT] = {
#define CAL_OP(kind, kernel, least, most, check, gradient) [CAL_KIND_##kind] = {least, most, check_##check},
#include "calibrant/ops.def"
};

/* The op that writes a tensor, -1 for the program's input, op_count if there is none. */
static int32_t producer(const cal_program *p, int32_t id) {
    if (id == p->input) return -1;
    int32_t i = 0;
    while (i < p->op_count && p->ops[i].output != id) i++;
    return i;
}

static cal_status check_op(const cal_program *p, int32_t i) {
    const cal_op *op = &p->ops[i];
    if (!between(op->kind, 0, CAL_KIND_COUNT - 1)) return CAL_OP_KIND;
    if (!between(op->input_count, RULES[op->kind].least, RULES[op->kind].most)) return CAL_OP_INPUTS;
    for (int32_t n = 0; n < op->input_count; n++) {
        const int32_t id = cal_op_input(op, n);
        if (!between(id, 0, p->tensor_count - 1) || producer(p, id) >= i) return CAL_OP_INPUTS;
        if (p->tensors[id].bits != (is_binary(op) ? 1 : 8)) return CAL_OP_INPUTS;
    }
    if (!between(op->output, 0, p->tensor_count - 1) || op->output == p->input) return CAL_OP_OUTPUT;
    const cal_tensor *in = &p->tensors[op->input0], *out = &p->tensors[op->output];
    if (op->kind == CAL_KIND_sign ? out->bits != 1 : out->bits == 1 && !is_binary(op)) return CAL_OP_OUTPUT;
    if (out->bits == 32 && !is_layer(op)) return CAL_OP_OUTPUT;
    if (!between(op->clamp_low, -128, 127) || !between(op->clamp_high, op->clamp_low, 127)) return CAL_OP_CLAMP;
    if (op->rounding != 0) return CAL_OP_ROUNDING;
    if (!is_layer(op) && op->layer != -1) return CAL_OP_LAYER;
    const cal_status status = RULES[op->kind].check(p, op);
    if (status != CAL_OK) return status;
    if (op->scratch_offset < 0 || op->scratch_bytes < cal_scratch_bytes(op, in, out)) return CAL_OP_SCRATCH;
    return (int64_t)op->scratch_offset + op->scratch_bytes <= p->arena_bytes ? CAL_OK : CAL_OP_SCRATCH;
}

static bool overlap(int64_t a, int64_t a_bytes, int64_t b, int64_t b_bytes) {
    return a_bytes > 0 && b_bytes > 0 && a < b + b_bytes && b < a + a_bytes;
}

/* The first op that overwrites tensor `id` between its writing and its last reading, or -1. */
static int32_t overwritten(const cal_program *p, int32_t id) {
    const cal_tensor *t = &p->tensors[id];
    const int64_t bytes = cal_tensor_bytes(t);
    const int32_t first = producer(p, id);
    int32_t last = id == p->output ? p->op_count - 1 : first;
    for (int32_t i = first + 1; i < p->op_count; i++)
        for (int32_t n = 0; n < p->ops[i].input_count; n++)
            if (cal_op_input(&p->ops[i], n) == id) last = cal_max(last, i);
    for (int32_t i = cal_max(first, 0); i <= last; i++) {
        const cal_op *op = &p->ops[i];
        const cal_tensor *out = &p->tensors[op->output];
        if (overlap(t->offset, bytes, op->scratch_offset, op->scratch_bytes)) return i;
        if (op->output != id && overlap(t->offset, bytes, out->offset, cal_tensor_bytes(out))) return i;
    }
    return -1;
}

cal_status cal_check(const cal_program *p, int32_t *index) {
    cal_status status = CAL_OK;
    *index = 0;
    if (p->tensor_count < 1 || p->layer_count < 0 || p->op_count < 0) return CAL_PROGRAM_COUNTS;
    if (p->weight_count < 0 || p->channel_count < 0 || p->pooled_count < 0) return CAL_PROGRAM_COUNTS;
    if (!between(p->arena_bytes, 0, INT32_MAX)) return CAL_PROGRAM_ARENA;
    if (!between(p->input, 0, p->tensor_count - 1)) return CAL_PROGRAM_INPUT;
    if (!between(p->output, 0, p->tensor_count - 1)) return CAL_PROGRAM_OUTPUT;
    for (*index = 0; *index < p->tensor_count; ++*index)
        if ((status = check_tensor(p, *index)) != CAL_OK) return status;
    for (*index = 0; *index < p->layer_count; ++*index)
        if ((status = check_layer(p, *index)) != CAL_OK) return status;
    for (*index = 0; *index < p->op_count; ++*index)
        if ((status = check_op(p, *index)) != CAL_OK) return status;
    for (int32_t i = 0; i < p->op_count; i++) {
        *index = p->ops[i].output;
        if (producer(p, *index) != i) return CAL_TENSOR_WRITTEN;
    }
    *index = 0;
    if (producer(p, p->output) == p->op_count) return CAL_PROGRAM_OUTPUT;
    for (int32_t id = 0; id < p->tensor_count; id++) {
        const int32_t culprit = producer(p, id) < p->op_count ? overwritten(p, id) : -1;
        *index = culprit;
        if (culprit >= 0) return CAL_OP_OVERLAP;
    }
    *index = 0;
    return CAL_OK;
}

cal_status cal_check_constants(const cal_program *p, const cal_constants *constants, int32_t *index) {
    for (int32_t id = 0; id < p->layer_count; id++) {
        const cal_layer *layer = &p->layers[id];
        const int32_t limit = cal_weight_limit(layer->bits);
        const int64_t weights = cal_layer_weights(layer);
        const int8_t *weight = constants->weights + layer->weight_offset;
        bool valid = true;
        const bool zero = !cal_layer_binary(layer); /* whether a weight may be 0 */
        for (int64_t i = 0; i < weights; i++) valid &= weight[i] >= -limit && weight[i] <= limit && (zero || weight[i]);
        for (int64_t i = 0; i < weights && !valid; i++)
            if (!between(weight[i], -limit, limit) || !(zero || weight[i])) {
                *index = layer->weight_offset + (int32_t)i;
                return CAL_CONSTANT_WEIGHT;
            }
        for (int32_t o = layer->channel_offset; o < layer->channel_offset + layer->c_out; o++)
            if (!scale_valid(constants->multiplier[o], constants->shift[o])) {
                *index = o;
                return CAL_CONSTANT_MULTIPLIER;
            }
    }
    *index = 0;
    return CAL_OK;
}

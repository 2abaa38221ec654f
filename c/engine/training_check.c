/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training.h"
#include "program.h"

enum { VALUE_LIMIT = 1 << 29 };

typedef struct scene {
    const cal_program *program;
    const cal_training *training;
} scene;

static bool between(int64_t value, int64_t low, int64_t high) { return low <= value && value <= high; }

static int64_t elements(const cal_buffer *b) { return (int64_t)b->height * b->width * b->channels; }

static int64_t bytes_of(const cal_buffer *b) {
    if (b->dtype == CAL_DTYPE_mask) return (elements(b) + 7) / 8;
    return elements(b) * (b->dtype == CAL_DTYPE_int8 ? 1 : 4);
}

static bool overlap(int64_t a, int64_t a_bytes, int64_t b, int64_t b_bytes) {
    return a_bytes > 0 && b_bytes > 0 && a < b + b_bytes && b < a + a_bytes;
}

static bool depthwise(const cal_layer *layer) {
    return layer->groups == layer->c_in && layer->groups == layer->c_out;
}

static cal_training_status check_buffer(const scene *s, int32_t id) {
    const cal_buffer *b = &s->training->buffers[id];
    if (b->height < 1 || b->width < 1 || b->channels < 1) return CAL_BUFFER_SHAPE;
    if ((int64_t)b->height * b->width >= VALUE_LIMIT || elements(b) >= VALUE_LIMIT) return CAL_BUFFER_SHAPE;
    if (!between(b->dtype, 0, CAL_DTYPE_COUNT - 1)) return CAL_BUFFER_DTYPE;
    if (!between(b->zero_point, -128, 127)) return CAL_BUFFER_ZERO_POINT;
    if (id >= s->program->tensor_count) return CAL_TRAINING_OK;
    const cal_tensor *t = &s->program->tensors[id];
    if (b->height != t->height || b->width != t->width || b->channels != t->channels) return CAL_BUFFER_TENSOR;
    if (t->bits == 1) return CAL_BUFFER_TENSOR; /* no step is of a binary layer */
    if (b->dtype != (t->bits == 8 ? CAL_DTYPE_int8 : CAL_DTYPE_int32)) return CAL_BUFFER_TENSOR;
    return b->zero_point == t->zero_point ? CAL_TRAINING_OK : CAL_BUFFER_TENSOR;
}

/* Trained values of one output channel's tap, or of a depthwise layer's tap. */
static int64_t trained_channels(const cal_slice *slice, const cal_layer *layer) {
    if (slice->channel_count) return slice->channel_count;
    return depthwise(layer) ? layer->c_out : layer->c_in / layer->groups;
}

static int64_t parameters(const scene *s, const cal_slice *slice) {
    if (slice->kind == CAL_SLICE_head) return (int64_t)s->training->classes * (s->training->features + 1);
    const cal_layer *layer = &s->program->layers[slice->layer];
    if (slice->kind == CAL_SLICE_bias) return layer->c_out;
    const int64_t taps = (int64_t)layer->kernel_h * layer->kernel_w;
    return taps * trained_channels(slice, layer) * (depthwise(layer) ? 1 : layer->c_out);
}

static bool channels_valid(const scene *s, const cal_slice *slice) {
    if (slice->channel_count == 0) return true;
    if (slice->kind != CAL_SLICE_weight || slice->channel_count < 0 || slice->channel_offset < 0) return false;
    if ((int64_t)slice->channel_offset + slice->channel_count > s->training->channel_count) return false;
    const cal_layer *layer = &s->program->layers[slice->layer];
    const int32_t limit = depthwise(layer) ? layer->c_out : layer->c_in / layer->groups;
    const int32_t *channels = s->training->channels + slice->channel_offset;
    for (int32_t i = 0, least = 0; i < slice->channel_count; i++, least = channels[i - 1] + 1)
        if (!between(channels[i], least, limit - 1)) return false;
    return true;
}

static cal_training_status check_slice(const scene *s, int32_t id) {
    const cal_slice *slice = &s->training->slices[id];
    if (!between(slice->kind, 0, CAL_SLICE_KIND_COUNT - 1)) return CAL_SLICE_KIND;
    if (slice->kind == CAL_SLICE_head && s->training->head != CAL_HEAD_float32) return CAL_SLICE_KIND;
    if (slice->kind != CAL_SLICE_head && !between(slice->layer, 0, s->program->layer_count - 1)) return CAL_SLICE_LAYER;
    if (!channels_valid(s, slice)) return CAL_SLICE_CHANNELS;
    if (slice->count != parameters(s, slice)) return CAL_SLICE_COUNT;
    if (!between(slice->offset, 0, s->training->accumulator_count - slice->count)) return CAL_SLICE_OFFSET;
    for (int32_t i = 0; i < id; i++) {
        const cal_slice *other = &s->training->slices[i];
        if (overlap(slice->offset, slice->count, other->offset, other->count)) return CAL_SLICE_OVERLAP;
        if (slice->kind == other->kind && (slice->kind == CAL_SLICE_head || slice->layer == other->layer))
            return CAL_SLICE_OVERLAP;
    }
    return CAL_TRAINING_OK;
}

/* What the steps of a kind read and write, in terms of their op, by the rows of training.def: checks of all kinds follow
 * from them. */
typedef enum place { NOWHERE, LIKE_INPUT, LIKE_OUTPUT, LIKE_GATHERED, LIKE_FEATURES, LIKE_CLASSES } place;
typedef struct role { place like; int32_t dtype; } role; /* dtype -1: that of the logits */
typedef struct rule {
    uint32_t ops;  /* OF_ bits; of op kinds as they count */
    int32_t least; /* inputs */
    role input[2], output;
    int32_t slice; /* kind of slice, -1: none */
} rule;

/* The step that carries the gradient of an op of each kind to an input, by the rows of ops.def. */
enum { CAL_STEP_none = -1, CAL_SLICE_none = -1, CAL_DTYPE_logits = -1 };
static const int32_t GRADIENTS[CAL_KIND_COUNT] = {
#define CAL_OP(kind, kernel, least, most, check, gradient) [CAL_KIND_##kind] = CAL_STEP_##gradient,
#include "calibrant/ops.def"
};

#define NONE {NOWHERE, 0}
#define INPUT(dtype) {LIKE_INPUT, CAL_DTYPE_##dtype}
#define OUTPUT(dtype) {LIKE_OUTPUT, CAL_DTYPE_##dtype}
#define GATHERED(dtype) {LIKE_GATHERED, CAL_DTYPE_##dtype}
#define FEATURES(dtype) {LIKE_FEATURES, CAL_DTYPE_##dtype}
#define CLASSES(dtype) {LIKE_CLASSES, CAL_DTYPE_##dtype}

enum {
    OF_any = (1 << CAL_KIND_COUNT) - 1,
    OF_conv2d = 1 << CAL_KIND_conv2d,
    OF_gradient = 1 << CAL_KIND_COUNT, /* ops that GRADIENTS say */
    OF_head = OF_gradient << 1,
    OF_logits = 0
};

static const rule RULES[CAL_STEP_COUNT] = {
    [CAL_STEP_forward] = {OF_any, 1, {NONE}, NONE, CAL_SLICE_none},
#define CAL_STEP(kind, of, least, input0, input1, output, trains)                                                      \
    [CAL_STEP_##kind] = {OF_##of, least, {input0, input1}, output, CAL_SLICE_##trains},
#include "calibrant/training.def"
};

static const cal_op *op_of(const scene *s, const cal_step *step) { return &s->program->ops[step->op]; }

static bool sized(const cal_buffer *b, int64_t height, int64_t width, int64_t channels) {
    return b->height == height && b->width == width && b->channels == channels;
}

static bool fits(const scene *s, const cal_step *step, place like, const cal_buffer *b) {
    const cal_training *t = s->training;
    if (like == LIKE_FEATURES) return elements(b) == t->features;
    if (like == LIKE_CLASSES) return elements(b) == t->classes;
    const cal_op *op = op_of(s, step);
    const int32_t id = like == LIKE_OUTPUT ? op->output : cal_op_input(op, step->operand);
    const cal_tensor *tensor = &s->program->tensors[id];
    int64_t channels = tensor->channels;
    if (like == LIKE_GATHERED) {
        const cal_layer *layer = &s->program->layers[op->layer];
        channels = trained_channels(&t->slices[step->slice], layer) * (depthwise(layer) ? 1 : layer->groups);
    }
    return sized(b, tensor->height, tensor->width, channels);
}

/* A buffer that a step uses: an id, its dtype and its place. */
static bool buffer_valid(const scene *s, int32_t id, role wanted) {
    if (!between(id, 0, s->training->buffer_count - 1)) return false;
    const int32_t dtype = s->training->buffers[id].dtype;
    return dtype == (wanted.dtype < 0 ? s->training->buffers[s->training->logits].dtype : wanted.dtype);
}

static bool placed(const scene *s, int32_t id) {
    const cal_buffer *b = &s->training->buffers[id];
    if (b->offset < 0 || b->offset + bytes_of(b) > s->training->arena_bytes) return false;
    return (b->dtype != CAL_DTYPE_int32 && b->dtype != CAL_DTYPE_float32) || b->offset % 4 == 0;
}

static cal_training_status check_forward(const scene *s, const cal_step *step) {
    const cal_op *op = op_of(s, step);
    if (step->input_count != op->input_count) return CAL_STEP_INPUTS;
    for (int32_t i = 0; i < op->input_count; i++)
        if (cal_step_input(step, i) != cal_op_input(op, i)) return CAL_STEP_INPUTS;
    if (step->output != op->output) return CAL_STEP_OUTPUT;
    const cal_tensor *in = &s->program->tensors[op->input0], *out = &s->program->tensors[op->output];
    if (step->scratch_offset < 0 || step->scratch_bytes < cal_scratch_bytes(op, in, out)) return CAL_STEP_SCRATCH;
    return (int64_t)step->scratch_offset + step->scratch_bytes <= s->training->arena_bytes ? CAL_TRAINING_OK
                                                                                           : CAL_STEP_SCRATCH;
}

/* A gradient in the memory of the one it is made of: every channel depends on itself alone, both maps have one size. */
static cal_training_status check_in_place(const scene *s, const cal_step *step) {
    const cal_training *t = s->training;
    if (step->kind != CAL_STEP_conv2d_grad || step->accumulate) return CAL_STEP_IN_PLACE;
    const cal_op *op = op_of(s, step);
    const cal_tensor *in = &s->program->tensors[op->input0], *out = &s->program->tensors[op->output];
    if (!depthwise(&s->program->layers[op->layer]) || op->stride_h != 1 || op->stride_w != 1) return CAL_STEP_IN_PLACE;
    if (in->height != out->height || in->width != out->width) return CAL_STEP_IN_PLACE;
    if (t->buffers[step->input0].offset != t->buffers[step->output].offset) return CAL_STEP_IN_PLACE;
    if (step->scratch_offset < 0 || step->scratch_offset % 4) return CAL_STEP_SCRATCH;
    if (step->scratch_bytes < cal_in_place_bytes(in)) return CAL_STEP_SCRATCH;
    return (int64_t)step->scratch_offset + step->scratch_bytes <= t->arena_bytes ? CAL_TRAINING_OK : CAL_STEP_SCRATCH;
}

static bool slice_valid(const scene *s, const cal_step *step, const rule *r) {
    if (r->slice < 0) return true;
    if (!between(step->slice, 0, s->training->slice_count - 1)) return false;
    const cal_slice *slice = &s->training->slices[step->slice];
    if (slice->kind != r->slice) return false;
    if (step->kind == CAL_STEP_gather && slice->channel_count == 0) return false;
    return slice->kind == CAL_SLICE_head || slice->layer == op_of(s, step)->layer;
}

static cal_training_status check_step(const scene *s, int32_t id) {
    const cal_step *step = &s->training->steps[id];
    if (!between(step->kind, 0, CAL_STEP_COUNT - 1)) return CAL_STEP_KIND;
    const rule *r = &RULES[step->kind];
    if (r->ops & (OF_any | OF_gradient)) {
        if (!between(step->op, 0, s->program->op_count - 1)) return CAL_STEP_OP;
        const int32_t kind = op_of(s, step)->kind;
        if (!(r->ops == OF_gradient ? GRADIENTS[kind] == step->kind : r->ops >> kind & 1)) return CAL_STEP_OP;
        if (step->kind == CAL_STEP_mask && s->program->tensors[op_of(s, step)->output].bits != 8) return CAL_STEP_OP;
        if (!between(step->operand, 0, op_of(s, step)->input_count - 1)) return CAL_STEP_FLAG;
    }
    if (r->ops == OF_head && s->training->head != CAL_HEAD_float32) return CAL_STEP_KIND;
    if (!slice_valid(s, step, r)) return CAL_STEP_SLICE;
    const bool adds = r->output.like == LIKE_INPUT || r->output.like == LIKE_FEATURES;
    if (!between(step->accumulate, 0, adds ? 1 : 0)) return CAL_STEP_FLAG;
    if (!between(step->in_place, 0, 1)) return CAL_STEP_IN_PLACE;
    if (step->kind == CAL_STEP_forward) {
        const cal_training_status status = check_forward(s, step);
        if (status != CAL_TRAINING_OK) return status;
    } else {
        const int32_t most = r->input[1].like == NOWHERE ? 1 : 2;
        if (!between(step->input_count, r->least, most)) return CAL_STEP_INPUTS;
        for (int32_t i = 0; i < step->input_count; i++)
            if (!buffer_valid(s, cal_step_input(step, i), r->input[i])) return CAL_STEP_INPUTS;
        if (r->output.like == NOWHERE && step->output != -1) return CAL_STEP_OUTPUT;
        if (r->output.like != NOWHERE && !buffer_valid(s, step->output, r->output)) return CAL_STEP_OUTPUT;
        if (step->kind == CAL_STEP_gate && step->output != step->input0) return CAL_STEP_OUTPUT;
        for (int32_t i = 0; i < step->input_count; i++)
            if (!fits(s, step, r->input[i].like, &s->training->buffers[cal_step_input(step, i)])) return CAL_STEP_SHAPE;
        if (step->output >= 0 && !fits(s, step, r->output.like, &s->training->buffers[step->output]))
            return CAL_STEP_SHAPE;
    }
    if (step->in_place) {
        const cal_training_status status = check_in_place(s, step);
        if (status != CAL_TRAINING_OK) return status;
    } else if (step->kind != CAL_STEP_forward && step->scratch_bytes != 0) {
        return CAL_STEP_SCRATCH;
    }
    return step->kind == CAL_STEP_loss && step->input0 != s->training->logits ? CAL_STEP_INPUTS : CAL_TRAINING_OK;
}

static bool meets(const cal_training *t, int32_t a, int32_t b) {
    return overlap(t->buffers[a].offset, bytes_of(&t->buffers[a]), t->buffers[b].offset, bytes_of(&t->buffers[b]));
}

static bool scratch_meets(const cal_training *t, const cal_step *step, int32_t id) {
    return overlap(step->scratch_offset, step->scratch_bytes, t->buffers[id].offset, bytes_of(&t->buffers[id]));
}

/* Whether the values of buffer `id` are whole when step `at` begins: the last step that touched its memory wrote it. */
static bool alive(const cal_training *t, int32_t id, int32_t at) {
    for (int32_t i = at - 1; i >= 0; i--) {
        const cal_step *step = &t->steps[i];
        if (scratch_meets(t, step, id)) return false;
        if (step->output == id) return true;
        if (step->output >= 0 && meets(t, step->output, id)) return false;
    }
    return id == t->input;
}

static cal_training_status check_memory(const cal_training *t, int32_t at) {
    const cal_step *step = &t->steps[at];
    const bool keeps = step->kind == CAL_STEP_gate || step->accumulate;
    for (int32_t i = 0; i < step->input_count; i++) {
        const int32_t id = cal_step_input(step, i);
        if (!alive(t, id, at)) return CAL_STEP_STALE;
        if (scratch_meets(t, step, id)) return CAL_STEP_OVERLAP;
        const bool in_place = (step->kind == CAL_STEP_gate || step->in_place) && i == 0;
        if (step->output >= 0 && !in_place && meets(t, id, step->output)) return CAL_STEP_OVERLAP;
    }
    if (step->output >= 0 && scratch_meets(t, step, step->output)) return CAL_STEP_OVERLAP;
    return keeps && !alive(t, step->output, at) ? CAL_STEP_STALE : CAL_TRAINING_OK;
}

static cal_training_status check_whole(const scene *s) {
    const cal_training *t = s->training;
    if (t->buffer_count < s->program->tensor_count || t->slice_count < 0 || t->step_count < 0 || t->channel_count < 0)
        return CAL_TRAINING_COUNTS;
    if (t->accumulator_count < 0) return CAL_TRAINING_COUNTS;
    if (!between(t->arena_bytes, 0, INT32_MAX)) return CAL_TRAINING_ARENA;
    if (t->input != s->program->input) return CAL_TRAINING_INPUT;
    if (!between(t->head, 0, CAL_HEAD_COUNT - 1) || t->classes < 1 || t->features < 0) return CAL_TRAINING_HEAD;
    if ((int64_t)t->classes * ((int64_t)t->features + 1) >= VALUE_LIMIT) return CAL_TRAINING_HEAD;
    return between(t->logits, 0, t->buffer_count - 1) ? CAL_TRAINING_OK : CAL_TRAINING_LOGITS;
}

static cal_training_status check_logits(const cal_training *t) {
    const cal_buffer *logits = &t->buffers[t->logits];
    const bool real = logits->dtype == CAL_DTYPE_float32;
    if (elements(logits) != t->classes || logits->dtype == CAL_DTYPE_mask) return CAL_TRAINING_LOGITS;
    return real == (t->head == CAL_HEAD_float32) ? CAL_TRAINING_OK : CAL_TRAINING_LOGITS;
}

/* Offsets of buffers that no step uses are nobody's concern. */
static cal_training_status check_places(const scene *s, int32_t *index) {
    const cal_training *t = s->training;
    *index = t->input;
    if (!placed(s, t->input)) return CAL_BUFFER_OFFSET;
    for (int32_t at = 0; at < t->step_count; at++) {
        const cal_step *step = &t->steps[at];
        for (int32_t i = 0; i < step->input_count; i++)
            if (!placed(s, *index = cal_step_input(step, i))) return CAL_BUFFER_OFFSET;
        if (step->output >= 0 && !placed(s, *index = step->output)) return CAL_BUFFER_OFFSET;
    }
    return CAL_TRAINING_OK;
}

cal_training_status cal_check_training(const cal_program *program, const cal_training *training, int32_t *index) {
    const scene s = {program, training};
    *index = 0;
    cal_training_status status = check_whole(&s);
    if (status != CAL_TRAINING_OK) return status;
    for (*index = 0; *index < training->buffer_count; ++*index)
        if ((status = check_buffer(&s, *index)) != CAL_TRAINING_OK) return status;
    *index = 0;
    if ((status = check_logits(training)) != CAL_TRAINING_OK) return status;
    for (*index = 0; *index < training->slice_count; ++*index)
        if ((status = check_slice(&s, *index)) != CAL_TRAINING_OK) return status;
    int32_t losses = 0;
    for (*index = 0; *index < training->step_count; ++*index) {
        if ((status = check_step(&s, *index)) != CAL_TRAINING_OK) return status;
        const int32_t kind = training->steps[*index].kind;
        if (kind > CAL_STEP_loss && losses == 0) return CAL_STEP_ORDER;
        losses += kind == CAL_STEP_loss;
    }
    *index = 0;
    if (losses != 1) return CAL_TRAINING_LOSS;
    if ((status = check_places(&s, index)) != CAL_TRAINING_OK) return status;
    for (*index = 0; *index < training->step_count; ++*index)
        if ((status = check_memory(training, *index)) != CAL_TRAINING_OK) return status;
    *index = 0;
    return CAL_TRAINING_OK;
}

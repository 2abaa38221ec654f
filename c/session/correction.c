/* SPDX-License-Identifier: Apache-2.0 */
/* A window without labels becomes corrected constants, layer after layer, and a version of them. */
#include "calibrant/correction.h"

#include <string.h>

#include "../updaters/affine_correction.h"
#include "moments.h"
#include "slots.h"

enum { NONE = -1, MOST_SAMPLES = (1 << 10) - 1 };

static int64_t sample_elements(const cal_corrector *c) {
    const cal_tensor *in = &c->program->tensors[c->program->input];
    return (int64_t)in->height * in->width * in->channels;
}

static bool corrected(const cal_corrector *c, const cal_op *op) {
    return op->layer >= 0 && op->layer != c->program->layer_count - 1;
}

static cal_room room_of(const cal_corrector *c, const cal_op *op) {
    const cal_tensor *in = &c->program->tensors[op->input0];
    return cal_room_beside(c->arena, c->arena_bytes, in->offset, in);
}

static bool valid(const cal_corrector *c) {
    const cal_program *p = c->program;
    if (p->layer_count < 2 || c->channels != p->layers[p->layer_count - 1].channel_offset) return false;
    if (c->window_capacity < 1 || c->window_capacity > MOST_SAMPLES) return false;
    for (const cal_op *op = p->ops; op < p->ops + p->op_count; op++) {
        if (!corrected(c, op)) continue;
        const cal_tensor *out = &p->tensors[op->output];
        const cal_room room = room_of(c, op);
        if (out->bits != 8 || cal_pieces(&room, &p->tensors[op->input0], out) < 1) return false;
    }
    return true;
}

cal_calibration_status cal_corrector_start(cal_corrector *c) {
    c->window_count = 0;
    c->measured = NONE;
    if (!valid(c)) return CAL_CALIBRATION_INVALID;
    cal_versions_recover(c->slots, &c->versions);
    return CAL_CALIBRATION_OK;
}

cal_calibration_status cal_corrector_observe(cal_corrector *c, const int8_t *codes) {
    const int64_t elements = sample_elements(c);
    if (c->window_count >= c->window_capacity) return CAL_CALIBRATION_FULL;
    memcpy(c->window_x + c->window_count++ * elements, codes, (size_t)elements);
    return CAL_CALIBRATION_OK;
}

bool cal_corrector_measures(cal_corrector *c, cal_kernel *kernel, const cal_args *args) {
    if (c->measured == NONE || args->op->layer != c->measured) return false;
    const cal_room room = room_of(c, args->op);
    cal_add_moments(kernel, args, &room, c->sums, c->sums + args->layer->c_out);
    return true;
}

/* The window's sums of a layer, on what the layers below it give as they are corrected now. */
static void measure(cal_corrector *c, const cal_op *op) {
    const int64_t elements = sample_elements(c);
    memset(c->sums, 0, 2 * sizeof *c->sums * (size_t)c->program->layers[op->layer].c_out);
    c->measured = op->layer;
    for (int32_t i = 0; i < c->window_count; i++) c->infer(c->context, c->window_x + i * elements);
    c->measured = NONE;
}

static void correct_layer(cal_corrector *c, const cal_op *op) {
    const cal_layer *layer = &c->program->layers[op->layer];
    const cal_tensor *out = &c->program->tensors[op->output];
    measure(c, op);
    for (int32_t o = 0; o < layer->c_out; o++) {
        const cal_window_sums window = {c->sums[o], c->sums[layer->c_out + o],
                                        (int64_t)c->window_count * out->height * out->width, c->window_count};
        cal_correct_channel(c, layer->channel_offset + o, &window);
    }
}

/* What was corrected on the way followed double precision; what is in force follows from what is kept. */
static void settle(const cal_corrector *c) {
    cal_uncorrect(c);
    for (int32_t o = 0; o < c->channels; o++) cal_recall_channel(c, o);
}

static int32_t count_corrected(const cal_corrector *c) {
    int32_t count = 0;
    for (int32_t o = 0; o < c->channels; o++)
        count += c->bias[o] != c->constants->bias[o] || c->multiplier[o] != c->constants->multiplier[o] ||
                 c->shift[o] != c->constants->shift[o];
    return count;
}

cal_calibration_status cal_corrector_correct(cal_corrector *c, cal_correction *report) {
    cal_versions *v = &c->versions;
    bool good = true;
    report->samples = c->window_count;
    if (c->window_count > 0) {
        cal_uncorrect(c);
        for (int32_t i = 0; i < c->program->op_count; i++)
            if (corrected(c, &c->program->ops[i])) correct_layer(c, &c->program->ops[i]);
        settle(c);
        c->window_count = 0;
        good = cal_slots_save(c->slots, v, cal_next_slot(v), v->version + 1, v->version);
        if (good) cal_versions_commit(v);
        else cal_versions_recover(c->slots, v);
    }
    report->version = v->version;
    report->corrected = count_corrected(c);
    return good ? CAL_CALIBRATION_OK : CAL_CALIBRATION_STORAGE;
}

void cal_corrector_forget(cal_corrector *c, cal_memory_start start) { cal_begin_memory(c, start); }

cal_calibration_status cal_corrector_rollback(cal_corrector *c) {
    return cal_versions_rollback(c->slots, &c->versions);
}

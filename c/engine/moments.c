/* SPDX-License-Identifier: Apache-2.0 */
/* Moments of pre-activations: a measurement of the engine, of portable C alone. The sums of a layer come from the
 * variant's own conv2d, which all give the same bits, so that moments do too. */
#include <string.h>

#include "program.h"

enum { LOWEST = -(1 << 15), HIGHEST = (1 << 15) - 1 };

int64_t cal_moments_bytes(const cal_program *p, const uint8_t *layers) {
    int64_t most = 0;
    for (int32_t i = 0; i < p->op_count; i++) {
        const cal_op *op = &p->ops[i];
        if (op->layer < 0 || !layers[op->layer]) continue;
        const cal_tensor *t = &p->tensors[op->output];
        const int64_t bytes = (int64_t)t->height * t->width * t->channels * (int64_t)sizeof(int32_t);
        if (bytes > most) most = bytes;
    }
    return most;
}

/* From sums to moments, and to the codes that the op's kernel would have given. At most 2^23 positions: a sum of values
 * is at most 2^38, one of their squares at most 2^53. */
static void finish(const cal_args *a, const int32_t *sums, int64_t *total, int64_t *square) {
    const cal_tensor *out = a->output;
    const int32_t positions = out->height * out->width;
    int8_t *y = a->y;
    for (int32_t o = 0; o < out->channels; o++) total[o] = square[o] = 0;
    for (int32_t p = 0; p < positions; p++, sums += out->channels, y += out->channels)
        for (int32_t o = 0; o < out->channels; o++) {
            const int64_t value = cal_rescale(sums[o], a->multiplier[o], a->shift[o]);
            const int64_t v = value < LOWEST ? LOWEST : value > HIGHEST ? HIGHEST : value;
            total[o] += v;
            square[o] += v * v;
            y[o] = cal_clamp(value + out->zero_point, a->op);
        }
}

static void measure(const cal_args *given, cal_kernel *kernel, int32_t *sums, int64_t *total, int64_t *square) {
    cal_tensor raw = *given->output;
    cal_args args = *given;
    raw.bits = 32;
    args.output = &raw;
    args.y = sums;
    kernel(&args);
    finish(given, sums, total, square);
}

void cal_measure_moments(const cal_engine *engine, const int8_t *x, int64_t samples, const cal_moments *moments) {
    const cal_program *p = engine->program;
    const cal_tensor *in = &p->tensors[p->input];
    const int64_t bytes = cal_tensor_bytes(in);
    int32_t end = 0;
    for (int32_t i = 0; i < p->op_count; i++)
        if (p->ops[i].layer >= 0 && moments->layers[p->ops[i].layer]) end = i + 1;
    for (int64_t sample = 0; sample < samples; sample++) {
        memcpy(engine->arena + in->offset, x + sample * bytes, (size_t)bytes);
        for (int32_t i = 0; i < end; i++) {
            const cal_call *call = &engine->calls[i];
            const cal_layer *layer = call->args.layer;
            if (layer && moments->layers[p->ops[i].layer]) {
                const int64_t first = sample * p->channel_count + layer->channel_offset;
                measure(&call->args, call->kernel, moments->sums, moments->total + first, moments->square + first);
            } else {
                call->kernel(&call->args);
            }
        }
    }
}

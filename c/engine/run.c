/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "calibrant/binary.h"
#include "program.h"

cal_kernel *cal_kernel_of(const cal_kernels *kernels, int32_t kind) {
    switch ((cal_kind)kind) {
#define CAL_OP(kind, kernel, ...) case CAL_KIND_##kind: return kernels->kernel;
#include "calibrant/ops.def"
    case CAL_KIND_COUNT: break;
    }
    return NULL;
}

static int64_t packed_bytes(const cal_program *p, const cal_kernels *kernels, const cal_op *op) {
    if (op->layer < 0) return 0;
    if (cal_layer_binary(&p->layers[op->layer])) return (cal_binary_bytes(&p->layers[op->layer]) + 63) / 64 * 64;
    if (!kernels->packed_bytes) return 0;
    return (kernels->packed_bytes(op, &p->layers[op->layer]) + 63) / 64 * 64;
}

int64_t cal_packed_offset(const cal_program *p, const cal_kernels *kernels, const cal_op *op) {
    int64_t total = 0;
    for (const cal_op *before = p->ops; before != op; before++) total += packed_bytes(p, kernels, before);
    return total;
}

int64_t cal_packed_bytes(const cal_program *p, const cal_kernels *kernels) {
    return cal_packed_offset(p, kernels, p->ops + p->op_count);
}

/* Signs of the weights, the same for all variants. */
static void pack_signs(const cal_layer *layer, const int8_t *weights, uint32_t *packed) {
    const int32_t taps = layer->kernel_h * layer->kernel_w, words = cal_sign_words(layer->c_in);
    memset(packed, 0, (size_t)cal_binary_bytes(layer));
    for (int32_t o = 0; o < layer->c_out; o++) {
        uint32_t *to = packed + o / CAL_SIGN_BLOCK * cal_binary_words(layer) * CAL_SIGN_BLOCK + o % CAL_SIGN_BLOCK;
        for (int32_t tap = 0; tap < taps; tap++, to += (ptrdiff_t)words * CAL_SIGN_BLOCK)
            for (int32_t i = 0; i < layer->c_in; i++, weights++)
                to[i / CAL_SIGN_WORD * CAL_SIGN_BLOCK] |= (uint32_t)(*weights < 0) << i % CAL_SIGN_WORD;
    }
}

void cal_pack(const cal_program *p, const cal_constants *constants, const cal_kernels *kernels, uint8_t *packed) {
    for (int32_t i = 0; i < p->op_count; i++) {
        const cal_op *op = &p->ops[i];
        const int64_t bytes = packed_bytes(p, kernels, op);
        if (bytes) {
            const cal_layer *layer = &p->layers[op->layer];
            const int8_t *weights = constants->weights + layer->weight_offset;
            if (cal_layer_binary(layer))
                pack_signs(layer, weights, (uint32_t *)(void *)packed);
            else
                kernels->pack(op, layer, weights, packed);
        }
        packed += bytes;
    }
}

int64_t cal_active_count(const cal_program *p) {
    int64_t total = p->channel_count;
    for (int32_t i = 0; i < p->op_count; i++)
        if (p->ops[i].kind == CAL_KIND_add) total += p->tensors[p->ops[i].output].channels;
    return total;
}

/* Calls are copied to set what differs from sample to sample. */
static void run_sample(const cal_engine *engine, int64_t sample, const cal_stats *stats, int32_t *active) {
    const cal_program *p = engine->program;
    int32_t *added = active ? active + p->channel_count : NULL;
    const cal_kernels *kernels = engine->kernels;
    for (int32_t i = 0; i < p->op_count; i++) {
        cal_args args = engine->calls[i].args;
        if (args.layer && stats->pooled) {
            args.pooled = stats->pooled + sample * p->pooled_count + args.layer->pooled_offset;
            kernels->channel_sum(&args);
        }
        if (active && args.layer) {
            args.active = active + args.layer->channel_offset;
        } else if (active && args.op->kind == CAL_KIND_add) {
            args.active = added;
            added += args.output->channels;
        }
        engine->calls[i].kernel(&args);
        if (args.layer && stats->taps && !cal_layer_binary(args.layer)) { /* updaters leave signs as they are */
            args.signal = stats->signal + sample * p->channel_count + args.layer->channel_offset;
            args.taps = stats->taps + args.layer->weight_offset;
            kernels->conv2d_taps(&args);
        }
    }
}

void cal_run(const cal_engine *engine, const int8_t *x, int64_t samples, int32_t *outputs, const cal_stats *stats) {
    const cal_program *p = engine->program;
    const cal_tensor *in = &p->tensors[p->input], *out = &p->tensors[p->output];
    const int64_t in_bytes = cal_tensor_bytes(in), out_values = cal_tensor_bytes(out) * 8 / out->bits;
    const int64_t counts = cal_active_count(p);
    for (int64_t sample = 0; sample < samples; sample++, outputs += out_values) {
        memcpy(engine->arena + in->offset, x + sample * in_bytes, (size_t)in_bytes);
        run_sample(engine, sample, stats, stats->active ? stats->active + sample * counts : NULL);
        const uint8_t *y = engine->arena + out->offset;
        if (out->bits == 32)
            memcpy(outputs, y, (size_t)out_values * sizeof *outputs);
        else
            for (int64_t i = 0; i < out_values; i++) outputs[i] = ((const int8_t *)y)[i];
    }
}

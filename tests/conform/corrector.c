/* SPDX-License-Identifier: Apache-2.0 */
/* What a firmware does around an affine correction, for tests on the host: inference by records, reference kernels. */
#include <stdlib.h>
#include <string.h>

#include "calibrant/correction.h"
#include "calibrant/kernel.h"

extern const cal_kernels cal_kernels__ref;

enum { MOST_OPS = 64 };

int64_t corrector_bytes(void) { return (int64_t)sizeof(cal_corrector); }
int64_t correction_bytes(void) { return (int64_t)sizeof(cal_correction); }

/* Constants of channels: those in force, and of the last layer the artifact's; [channel_count] each. */
static const int32_t *whole(const cal_corrector *c, const int32_t *flash, const int32_t *ram, int32_t *values) {
    memcpy(values, flash, (size_t)c->program->channel_count * sizeof *values);
    memcpy(values, ram, (size_t)c->channels * sizeof *values);
    return values;
}

static const void *infer(void *context, const int8_t *codes) {
    cal_corrector *c = context;
    const cal_program *p = c->program;
    const cal_tensor *in = &p->tensors[p->input];
    int32_t *values = malloc(3 * (size_t)p->channel_count * sizeof *values);
    if (!values || p->op_count > MOST_OPS) abort();
    const cal_constants held = {c->constants->weights, whole(c, c->constants->bias, c->bias, values),
                                whole(c, c->constants->multiplier, c->multiplier, values + p->channel_count),
                                whole(c, c->constants->shift, c->shift, values + 2 * p->channel_count)};
    const cal_engine engine = {p, &held, &cal_kernels__ref, c->arena, c->arena, NULL}; /* nothing is packed */
    cal_call calls[MOST_OPS];
    cal_bind(&engine, calls);
    memcpy(c->arena + in->offset, codes, (size_t)in->height * in->width * in->channels);
    for (int32_t i = 0; i < p->op_count; i++) {
        if (calls[i].args.layer && cal_corrector_measures(c, calls[i].kernel, &calls[i].args)) break;
        calls[i].kernel(&calls[i].args);
    }
    free(values);
    return c->arena + p->tensors[p->output].offset;
}

void corrector_connect(cal_corrector *c) {
    c->context = c;
    c->infer = infer;
}

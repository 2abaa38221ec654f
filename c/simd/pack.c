/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "window.h"

typedef struct shape { int32_t groups, outputs, runs, run; } shape; /* outputs per group */

static shape shape_of(const cal_op *op, const cal_layer *layer) {
    const int32_t taps = layer->kernel_h * layer->kernel_w, depth = layer->c_in / layer->groups;
    if (cal_is_depthwise(op, layer)) return (shape){1, layer->c_out, 1, taps};
    if (cal_rows_whole(op))
        return (shape){layer->groups, layer->c_out / layer->groups, layer->kernel_h, layer->kernel_w * depth};
    return (shape){layer->groups, layer->c_out / layer->groups, taps, depth};
}

int64_t cal_pack_bytes(const cal_op *op, const cal_layer *layer, int32_t lanes) {
    const shape s = shape_of(op, layer);
    return (int64_t)s.groups * ((s.outputs + CAL_BLOCK - 1) / CAL_BLOCK) * cal_block_bytes(s.runs, s.run, lanes);
}

/* One run of one output: `lanes` weights at a time, each step a block's width apart. */
static inline void pack_run(const int8_t *w, int32_t run, int32_t lanes, int8_t *to) {
    const ptrdiff_t step = (ptrdiff_t)CAL_BLOCK * lanes;
    int32_t k = 0;
    for (; k + lanes <= run; k += lanes, to += step) memcpy(to, w + k, (size_t)lanes);
    memcpy(to, w + k, (size_t)(run - k));
}

static void pack_block(const shape *s, const int8_t *weights, int32_t outputs, int32_t lanes, int8_t *block) {
    const int32_t padded = cal_round_up(s->run, lanes);
    memset(block, 0, (size_t)cal_block_bytes(s->runs, s->run, lanes));
    for (int32_t o = 0; o < outputs; o++) {
        int32_t sum = 0;
        for (int32_t i = 0; i < s->runs * s->run; i++) sum += weights[i];
        memcpy(block + (ptrdiff_t)o * (ptrdiff_t)sizeof sum, &sum, sizeof sum);
        int8_t *to = block + CAL_BLOCK * (ptrdiff_t)sizeof sum + (ptrdiff_t)o * lanes;
        for (int32_t r = 0; r < s->runs; r++, weights += s->run, to += (ptrdiff_t)CAL_BLOCK * padded)
            if (lanes == 2) /* a constant, so that copying a step is one move */
                pack_run(weights, s->run, 2, to);
            else
                pack_run(weights, s->run, 4, to);
    }
}

void cal_pack_layer(const cal_op *op, const cal_layer *layer, const int8_t *weights, int32_t lanes, int8_t *packed) {
    const shape s = shape_of(op, layer);
    for (int32_t g = 0; g < s.groups; g++)
        for (int32_t o = 0; o < s.outputs; o += CAL_BLOCK) {
            const int8_t *from = weights + ((ptrdiff_t)g * s.outputs + o) * s.runs * s.run;
            pack_block(&s, from, cal_min(CAL_BLOCK, s.outputs - o), lanes, packed);
            packed += cal_block_bytes(s.runs, s.run, lanes);
        }
}

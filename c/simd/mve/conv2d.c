/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution with vmladava: an output at four neighboring positions. 16 weights are loaded once for four times 16 codes:
 * nine instructions for 64 multiply-accumulates, loop not counted. Codes keep their zero point; the sum of a patch's
 * weights times it is taken off the bias, once for all positions with that patch. */
#include "lanes.h"

enum { LANES = 16, TILE = 4 };

void cal_conv2d_s8__mve(const cal_args *args);

/* One output of a layer and what it needs. */
typedef struct channel {
    const int8_t *weights;
    ptrdiff_t x_next, y_next; /* between neighboring positions: codes, outputs */
    int32_t bias, zero;       /* zero point of the input */
    cal_finish finish;
    bool raw;                 /* outputs are the sums */
} channel;

static inline int32_t centered(const channel *c, int32_t sum, int32_t weights) {
    return (int32_t)((uint32_t)sum - (uint32_t)c->zero * (uint32_t)weights);
}

/* The sum of a patch's weights. */
static int32_t sum_of_weights(const cal_patch *patch, const int8_t *w) {
    int32_t sum = 0;
    for (int32_t r = 0; r < patch->rows; r++, w += patch->w_row) {
        const int32_t length = patch->columns * patch->length;
        for (int32_t i = 0; i < length; i += LANES)
            sum = vaddvaq_s8(sum, vldrbq_z_s8(w + i, vctp8q((uint32_t)(length - i))));
    }
    return sum;
}

/* Adds a run of weights times codes at four positions. */
static inline __attribute__((always_inline)) void add_run(const int8_t *x, ptrdiff_t x_next, const int8_t *w,
                                                          int32_t length, int32_t sums[TILE]) {
    const int8_t *x0 = x, *x1 = x + x_next, *x2 = x1 + x_next, *x3 = x2 + x_next;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    for (uint32_t n = (uint32_t)length / LANES; n > 0; n--) {
        const int8x16_t weights = vldrbq_s8(w);
        s0 = vmladavaq_s8(s0, vldrbq_s8(x0), weights), s1 = vmladavaq_s8(s1, vldrbq_s8(x1), weights);
        s2 = vmladavaq_s8(s2, vldrbq_s8(x2), weights), s3 = vmladavaq_s8(s3, vldrbq_s8(x3), weights);
        x0 += LANES, x1 += LANES, x2 += LANES, x3 += LANES, w += LANES;
    }
    if ((uint32_t)length % LANES) { /* lanes past the end are not read and count as 0 */
        const mve_pred16_t rest = vctp8q((uint32_t)length % LANES);
        const int8x16_t weights = vldrbq_z_s8(w, rest);
        s0 = vmladavaq_s8(s0, vldrbq_z_s8(x0, rest), weights), s1 = vmladavaq_s8(s1, vldrbq_z_s8(x1, rest), weights);
        s2 = vmladavaq_s8(s2, vldrbq_z_s8(x2, rest), weights), s3 = vmladavaq_s8(s3, vldrbq_z_s8(x3, rest), weights);
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

/* A patch of several runs, apart from the loop over tiles so that a single run's path keeps its registers. */
static __attribute__((noinline)) void add_runs(const cal_patch *patch, const int8_t *x_row, ptrdiff_t x_next,
                                               const int8_t *w_row, int32_t sums[TILE]) {
    for (int32_t r = patch->rows; r > 0; r--, x_row += patch->x_row, w_row += patch->w_row) {
        const int8_t *x = x_row, *w = w_row;
        for (int32_t n = patch->columns; n > 0; n--, x += patch->x_column, w += patch->length)
            add_run(x, x_next, w, patch->length, sums);
    }
}

/* Four sums become codes, `y_next` apart. */
static inline void store(const channel *c, const int32_t sums[TILE], void *y, ptrdiff_t at) {
    const int32x4_t lanes = vldrwq_s32(sums);
    const uint32x4_t offsets = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)c->y_next);
    if (c->raw) {
        vstrwq_scatter_shifted_offset_s32((int32_t *)y + at, offsets, lanes);
    } else if (c->finish.high) {
        const int32x4_t multiplier = vdupq_n_s32(c->finish.multiplier), shift = vdupq_n_s32(c->finish.shift);
        int32x4_t codes = vaddq_n_s32(cal_rounded_lanes(lanes, multiplier, shift), c->finish.zero);
        codes = vminq_s32(vmaxq_s32(codes, vdupq_n_s32(c->finish.low)), vdupq_n_s32(c->finish.high_code));
        vstrbq_scatter_offset_s32((int8_t *)y + at, offsets, codes);
    } else {
        for (int32_t p = 0; p < TILE; p++) ((int8_t *)y)[at + p * c->y_next] = cal_code(&c->finish, sums[p]);
    }
}

/* `count` neighbors with one patch, at least four; the last four overlap those before where they must. */
static __attribute__((noinline)) void neighbors(const channel *c, const cal_patch *patch, int32_t weights, int32_t count,
                                                void *y, ptrdiff_t at) {
    const int32_t start = centered(c, c->bias, weights);
    const int8_t *w = c->weights + patch->w;
    for (int32_t done = 0; done < count; done += TILE) {
        const int32_t p = cal_min(done, count - TILE);
        const int8_t *x = patch->x + p * c->x_next;
        int32_t sums[TILE] = {start, start, start, start};
        if (patch->rows == 1 && patch->columns == 1) add_run(x, c->x_next, w, patch->length, sums);
        else add_runs(patch, x, c->x_next, w, sums);
        store(c, sums, y, at + p * c->y_next);
    }
}

static __attribute__((noinline)) void one(const channel *c, const cal_patch *patch, void *y, ptrdiff_t at) {
    const int8_t *x_row = patch->x, *w_row = c->weights + patch->w;
    int32_t sum = c->bias, weights = 0;
    for (int32_t r = patch->rows; r > 0; r--, x_row += patch->x_row, w_row += patch->w_row) {
        const int8_t *x = x_row, *w = w_row;
        for (int32_t n = patch->columns; n > 0; n--, x += patch->x_column, w += patch->length)
            for (int32_t i = 0; i < patch->length; i += LANES) {
                const mve_pred16_t rest = vctp8q((uint32_t)(patch->length - i));
                const int8x16_t lanes = vldrbq_z_s8(w + i, rest);
                sum = vmladavaq_s8(sum, vldrbq_z_s8(x + i, rest), lanes), weights = vaddvaq_s8(weights, lanes);
            }
    }
    sum = centered(c, sum, weights);
    if (c->raw) ((int32_t *)y)[at] = sum;
    else ((int8_t *)y)[at] = cal_code(&c->finish, sum);
}

/* An output channel at all positions. */
static void scan(const cal_args *a, const cal_scan *s, const channel *c, int32_t first, int32_t o) {
    ptrdiff_t at = o, known = -1;
    int32_t weights = 0, rows = -1;
    for (int32_t row = 0; row < s->rows; row++)
        for (int32_t column = 0; column < s->columns;) {
            const cal_patch patch = cal_patch_of(a, s, row, column, first);
            const int32_t count = s->inner_end - column;
            if (column != s->inner || count < TILE) {
                one(c, &patch, a->y, at);
                column++, at += c->y_next;
                continue;
            }
            if (patch.w != known || patch.rows != rows)
                weights = sum_of_weights(&patch, c->weights + patch.w), known = patch.w, rows = patch.rows;
            neighbors(c, &patch, weights, count, a->y, at);
            column += count, at += count * c->y_next;
        }
}

void cal_conv2d_s8__mve(const cal_args *a) {
    const cal_scan s = cal_scan_of(a);
    const int32_t depth = a->layer->c_in / a->op->groups, of_group = a->layer->c_out / a->op->groups;
    const ptrdiff_t weights = (ptrdiff_t)a->op->kernel_h * a->op->kernel_w * depth;
    for (int32_t o = 0; o < a->layer->c_out; o++) {
        const channel c = {
            .weights = a->weights + o * weights,
            .x_next = (ptrdiff_t)a->op->stride_w * a->input[0]->channels,
            .y_next = a->output->channels,
            .bias = a->bias[o],
            .zero = a->input[0]->zero_point,
            .finish = cal_finish_of(a, o),
            .raw = a->output->bits == 32,
        };
        scan(a, &s, &c, o / of_group * depth, o);
    }
    cal_write_active(a);
}

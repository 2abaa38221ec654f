/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution with smlad: two outputs at two positions at once. Four input codes take a load and two additions of
 * -zero_point (sxtab16), four weights a load and two extensions (sxtb16), and each is used twice: 20 instructions for
 * 16 multiply-accumulates, loop not counted. Outputs go outermost, so that flash is read for few weights at a time. */
#include "lanes.h"

enum { TILE = 2 };

#define UNROLLED _Pragma("GCC unroll 2") /* counts are constants where this is used */
#define INLINED static inline __attribute__((always_inline))

/* Where P positions and two outputs read: the first and how far the second is away. */
typedef struct place { const int8_t *x, *w; ptrdiff_t x_next, w_next; } place;

/* Adds what four values bring to the sums of two outputs at P positions. `keep` masks weights that were counted before. */
INLINED void step(place at, int16x2_t minus, uint32_t keep, const int32_t P, int32_t sums[TILE][TILE]) {
    int16x2_t even[TILE], odd[TILE];
    UNROLLED for (int32_t p = 0; p < P; p++) {
        const uint32_t codes = cal_word(at.x + p * at.x_next);
        even[p] = cal_even_plus(minus, codes), odd[p] = cal_odd_plus(minus, codes);
    }
    UNROLLED for (int32_t o = 0; o < TILE; o++) {
        const uint32_t weights = cal_word(at.w + o * at.w_next) & keep;
        const int16x2_t w_even = cal_even(weights), w_odd = cal_odd(weights);
        UNROLLED for (int32_t p = 0; p < P; p++)
            sums[p][o] = __smlad(odd[p], w_odd, __smlad(even[p], w_even, sums[p][o]));
    }
    __asm__ volatile("" ::: "memory"); /* loads of the next step stay there: there are no registers to hold them */
}

/* One run. Its rest is read as its last four values, where it has four. */
INLINED void run(place at, int32_t length, int32_t zero, const int32_t P, int32_t sums[TILE][TILE]) {
    const int16x2_t minus = cal_both(-zero);
    const int32_t rest = length & 3;
    if (P == TILE)
        for (const int8_t *end = at.w + (length & ~15); at.w != end; at.x += 16, at.w += 16)
            _Pragma("GCC unroll 4") for (int32_t i = 0; i < 16; i += 4)
                step((place){at.x + i, at.w + i, at.x_next, at.w_next}, minus, UINT32_MAX, P, sums);
    for (const int8_t *end = at.w + (length & (P == TILE ? 12 : ~3)); at.w != end; at.x += 4, at.w += 4)
        step(at, minus, UINT32_MAX, P, sums);
    if (!rest) return;
    if (length >= 4) {
        at.x += rest - 4, at.w += rest - 4;
        step(at, minus, UINT32_MAX << 8 * (4 - rest), P, sums);
        return;
    }
    for (const int8_t *end = at.w + rest; at.w != end; at.x++, at.w++)
        UNROLLED for (int32_t p = 0; p < P; p++)
            UNROLLED for (int32_t o = 0; o < TILE; o++) {
                const int32_t product = (at.x[p * at.x_next] - zero) * at.w[o * at.w_next];
                sums[p][o] = (int32_t)((uint32_t)sums[p][o] + (uint32_t)product);
            }
}

/* Two outputs of a layer, or one and itself, and what they need. */
typedef struct pair {
    const int8_t *weights;
    ptrdiff_t w_next;              /* from the weights of the first to those of the second */
    ptrdiff_t x_next, y_next;      /* between neighboring positions: codes, outputs */
    int32_t zero;                  /* of the input */
    int32_t bias[TILE];
    cal_finish finish[TILE];
    int32_t count;
    bool raw;                      /* outputs are the sums */
} pair;

/* All runs of a patch. */
INLINED void add_runs(const cal_patch *patch, const pair *outputs, const int32_t P, int32_t sums[TILE][TILE]) {
    place first = {patch->x, outputs->weights + patch->w, outputs->x_next, outputs->w_next};
    int32_t local[TILE][TILE];
    UNROLLED for (int32_t p = 0; p < P; p++) local[p][0] = sums[p][0], local[p][1] = sums[p][1];
    for (int32_t r = patch->rows; r > 0; r--, first.x += patch->x_row, first.w += patch->w_row) {
        place each = first;
        for (int32_t c = patch->columns; c > 0; c--, each.x += patch->x_column, each.w += patch->length)
            run(each, patch->length, outputs->zero, P, local);
    }
    UNROLLED for (int32_t p = 0; p < P; p++) sums[p][0] = local[p][0], sums[p][1] = local[p][1];
}

/* Apart from the loop over tiles, so that the path of a single run keeps its registers. */
static __attribute__((noinline)) void add_runs_of_two(const cal_patch *patch, const pair *outputs,
                                                      int32_t sums[TILE][TILE]) {
    add_runs(patch, outputs, 2, sums);
}

/* `tiles` times P neighbors of one patch; the first is output value `at`. */
INLINED void neighbors(void *y, cal_patch patch, const pair *outputs, int32_t tiles, const int32_t P, ptrdiff_t at) {
    const int8_t *w = outputs->weights + patch.w;
    const bool single = patch.rows == 1 && patch.columns == 1;
    for (; tiles > 0; tiles--, patch.x += P * outputs->x_next, at += P * outputs->y_next) {
        int32_t sums[TILE][TILE];
        UNROLLED for (int32_t p = 0; p < P; p++) sums[p][0] = outputs->bias[0], sums[p][1] = outputs->bias[1];
        if (P == TILE && single) {
            run((place){patch.x, w, outputs->x_next, outputs->w_next}, patch.length, outputs->zero, P, sums);
        } else if (P == TILE) {
            int32_t all[TILE][TILE] = {{sums[0][0], sums[0][1]}, {sums[1][0], sums[1][1]}};
            add_runs_of_two(&patch, outputs, all);
            UNROLLED for (int32_t p = 0; p < P; p++) sums[p][0] = all[p][0], sums[p][1] = all[p][1];
        } else {
            add_runs(&patch, outputs, P, sums);
        }
        UNROLLED for (int32_t o = 0; o < TILE; o++) {
            if (o == outputs->count) break;
            if (outputs->raw) {
                UNROLLED for (int32_t p = 0; p < P; p++) ((int32_t *)y)[at + p * outputs->y_next + o] = sums[p][o];
                continue;
            }
            const cal_finish f = outputs->finish[o];
            int8_t code[TILE];
            UNROLLED for (int32_t p = 0; p < P; p++) code[p] = cal_code(&f, sums[p][o]);
            UNROLLED for (int32_t p = 0; p < P; p++) ((int8_t *)y)[at + p * outputs->y_next + o] = code[p];
        }
    }
}

/* Apart, so that each gets its own registers. */
static __attribute__((noinline)) void twos(void *y, const cal_patch *patch, const pair *outputs, int32_t tiles,
                                           ptrdiff_t at) {
    neighbors(y, *patch, outputs, tiles, 2, at);
}

static __attribute__((noinline)) void one(void *y, const cal_patch *patch, const pair *outputs, ptrdiff_t at) {
    neighbors(y, *patch, outputs, 1, 1, at);
}

/* A pair of outputs, the first of them channel o, at all positions. */
static void scan(const cal_args *a, const cal_scan *s, const pair *outputs, int32_t first, int32_t o) {
    ptrdiff_t at = o;
    for (int32_t row = 0; row < s->rows; row++)
        for (int32_t column = 0; column < s->columns;) {
            cal_patch patch = cal_patch_of(a, s, row, column, first);
            if (s->inner <= column && column + 1 < s->inner_end) {
                const int32_t tiles = (s->inner_end - column) / TILE;
                twos(a->y, &patch, outputs, tiles, at);
                column += tiles * TILE, at += tiles * TILE * outputs->y_next;
            } else {
                one(a->y, &patch, outputs, at);
                column++, at += outputs->y_next;
            }
        }
}

void cal_conv2d_s8__dsp(const cal_args *a) {
    const cal_scan s = cal_scan_of(a);
    const int32_t depth = a->layer->c_in / a->op->groups, of_group = a->layer->c_out / a->op->groups;
    const ptrdiff_t weights = (ptrdiff_t)a->op->kernel_h * a->op->kernel_w * depth;
    for (int32_t group = 0; group < a->op->groups; group++)
        for (int32_t i = 0; i < of_group; i += TILE) {
            const int32_t o = group * of_group + i, count = cal_min(TILE, of_group - i), second = o + count - 1;
            const pair outputs = {
                .weights = a->weights + o * weights,
                .w_next = (second - o) * weights,
                .x_next = (ptrdiff_t)a->op->stride_w * a->input[0]->channels,
                .y_next = a->output->channels,
                .zero = a->input[0]->zero_point,
                .bias = {a->bias[o], a->bias[second]},
                .finish = {cal_finish_of(a, o), cal_finish_of(a, second)},
                .count = count,
                .raw = a->output->bits == 32,
            };
            scan(a, &s, &outputs, group * depth, o);
        }
    cal_write_active(a);
}

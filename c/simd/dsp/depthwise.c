/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution with smlabb and smlatt: four channels at a time. Their weights are widened once for all positions
 * into a table, so that a tap takes a load and two additions of -zero_point for four codes, a load of two words of
 * weights, and four multiply-accumulates: 8 instructions for 4, loop not counted. */
#include "lanes.h"

enum { CHANNELS = 4, MOST_TAPS = 64 }; /* 512 bytes of stack */

void cal_conv2d_s8__dsp(const cal_args *args);
void cal_depthwise_s8__dsp(const cal_args *args);

typedef struct tap { int16x2_t even, odd; } tap; /* weights of channels 0 and 2, of 1 and 3 */

typedef struct block {
    tap table[MOST_TAPS];
    cal_finish finish[CHANNELS];
    int32_t first; /* channel */
    bool high;     /* all of them are finished by upper words */
} block;

static void prepare(const cal_args *a, block *b) {
    const int32_t taps = a->op->kernel_h * a->op->kernel_w;
    const int8_t *w = a->weights + (ptrdiff_t)b->first * taps;
    for (int32_t t = 0; t < taps; t++, w++) {
        b->table[t].even = (int16x2_t)((uint16_t)w[0] | (uint32_t)w[2 * taps] << 16);
        b->table[t].odd = (int16x2_t)((uint16_t)w[taps] | (uint32_t)w[3 * taps] << 16);
    }
    b->high = true;
    for (int32_t i = 0; i < CHANNELS; i++) {
        b->finish[i] = cal_finish_of(a, b->first + i);
        b->high = b->high && b->finish[i].high;
    }
}

/* Apart, so that everything the loop needs has a register. */
static __attribute__((noinline)) void position(const cal_patch *patch, const tap *row, int16x2_t minus, int32_t *sums) {
    const int8_t *x_row = patch->x;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    for (int32_t r = 0; r < patch->rows; r++, x_row += patch->x_row, row += patch->w_row) {
        const int8_t *x = x_row;
        for (const tap *t = row, *end = row + patch->columns; t != end; t++, x += patch->x_column) {
            const uint32_t codes = cal_word(x);
            const int16x2_t even = cal_even_plus(minus, codes), odd = cal_odd_plus(minus, codes);
            s0 = __smlabb(even, t->even, s0), s2 = __smlatt(even, t->even, s2);
            s1 = __smlabb(odd, t->odd, s1), s3 = __smlatt(odd, t->odd, s3);
        }
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

static __attribute__((noinline)) void store(const block *b, const int32_t *sums, int8_t *y) {
    if (!b->high) {
        for (int32_t i = 0; i < CHANNELS; i++) y[i] = cal_code(&b->finish[i], sums[i]);
        return;
    }
    cal_finish f = b->finish[0]; /* what all of them share is read once */
#pragma GCC unroll 4
    for (int32_t i = 0; i < CHANNELS; i++) {
        f.multiplier = b->finish[i].multiplier, f.half = b->finish[i].half, f.shift = b->finish[i].shift, f.high = true;
        y[i] = cal_code(&f, sums[i]);
    }
}

/* All positions of a block. */
static void scan(const cal_args *a, const cal_scan *s, const block *b) {
    const int16x2_t minus = cal_both(-a->input[0]->zero_point);
    ptrdiff_t at = b->first;
    for (int32_t row = 0; row < s->rows; row++)
        for (int32_t column = 0; column < s->columns;) {
            cal_patch patch = cal_patch_of(a, s, row, column, b->first);
            const bool inner = s->inner <= column && column < s->inner_end;
            const int32_t end = inner ? s->inner_end : column + 1;
            for (; column < end; column++, at += a->output->channels) {
                int32_t sums[CHANNELS];
                memcpy(sums, a->bias + b->first, sizeof sums);
                position(&patch, b->table + patch.w, minus, sums);
                patch.x += (ptrdiff_t)a->op->stride_w * a->input[0]->channels;
                if (a->output->bits == 32) memcpy((int32_t *)a->y + at, sums, sizeof sums);
                else store(b, sums, (int8_t *)a->y + at);
            }
        }
}

/* The last block overlaps the one before where channels are no multiple of four. */
void cal_depthwise_s8__dsp(const cal_args *a) {
    const int32_t channels = a->layer->c_in;
    if (channels < CHANNELS || a->op->kernel_h * a->op->kernel_w > MOST_TAPS) {
        cal_conv2d_s8__dsp(a);
        return;
    }
    const cal_scan s = cal_scan_of(a);
    block b;
    for (int32_t c = 0; c < channels; c += CHANNELS) {
        b.first = cal_min(c, channels - CHANNELS);
        prepare(a, &b);
        scan(a, &s, &b);
    }
    cal_write_active(a);
}

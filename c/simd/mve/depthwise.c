/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution: eight channels at a time, in 16-bit lanes with the zero point taken off. Products of even and of
 * odd channels are 32 bits wide and have a vector of sums each: seven instructions for eight multiply-accumulates, loop
 * not counted. Weights of a block are put side by side once for all positions. */
#include <string.h>

#include "lanes.h"

enum { LANES = 8, HALF = LANES / 2, MOST_TAPS = 64 }; /* 512 bytes of stack */

void cal_conv2d_s8__mve(const cal_args *args);
void cal_depthwise_s8__mve(const cal_args *args);

typedef struct block {
    int8_t table[MOST_TAPS][LANES];
    int32_t bias[2][HALF], multiplier[2][HALF], shift[2][HALF]; /* of even and odd channels; shifts of upper words */
    cal_finish finish[LANES];
    int32_t first; /* channel */
    bool high;     /* all of them are finished by upper words */
} block;

typedef struct sums { int32x4_t even, odd; } sums;

static void prepare(const cal_args *a, block *b) {
    const int32_t taps = a->op->kernel_h * a->op->kernel_w;
    const int8_t *w = a->weights + (ptrdiff_t)b->first * taps;
    b->high = true;
    for (int32_t i = 0; i < LANES; i++) {
        const cal_finish f = b->finish[i] = cal_finish_of(a, b->first + i);
        b->bias[i % 2][i / 2] = a->bias[b->first + i];
        b->multiplier[i % 2][i / 2] = f.multiplier, b->shift[i % 2][i / 2] = f.shift;
        b->high = b->high && f.high;
        for (int32_t t = 0; t < taps; t++) b->table[t][i] = *w++;
    }
}

static inline sums position(const block *b, const cal_patch *patch, int32_t zero) {
    const int8_t *x_row = patch->x, *w_row = b->table[patch->w];
    sums s = {vldrwq_s32(b->bias[0]), vldrwq_s32(b->bias[1])};
    for (int32_t r = patch->rows; r > 0; r--, x_row += patch->x_row, w_row += patch->w_row * LANES) {
        const int8_t *x = x_row, *w = w_row;
        for (int32_t n = patch->columns; n > 0; n--, x += patch->x_column, w += LANES) {
            const int16x8_t codes = vsubq_n_s16(vldrbq_s16(x), (int16_t)zero), weights = vldrbq_s16(w);
            s.even = vaddq_s32(s.even, vmullbq_int_s16(codes, weights));
            s.odd = vaddq_s32(s.odd, vmulltq_int_s16(codes, weights));
        }
    }
    return s;
}

/* Eight channels' codes: both narrowing and adding the zero point saturate, which the clamp to 8 bits cannot tell from
 * the exact value. */
static inline void store(const cal_args *a, const block *b, sums s, ptrdiff_t at) {
    if (a->output->bits == 8 && b->high) {
        const int32x4_t even = cal_rounded_lanes(s.even, vldrwq_s32(b->multiplier[0]), vldrwq_s32(b->shift[0]));
        const int32x4_t odd = cal_rounded_lanes(s.odd, vldrwq_s32(b->multiplier[1]), vldrwq_s32(b->shift[1]));
        int16x8_t codes = vqmovntq_s32(vqmovnbq_s32(vdupq_n_s16(0), even), odd);
        codes = vqaddq_n_s16(codes, (int16_t)b->finish[0].zero);
        codes = vmaxq_s16(codes, vdupq_n_s16((int16_t)b->finish[0].low));
        vstrbq_s16((int8_t *)a->y + at, vminq_s16(codes, vdupq_n_s16((int16_t)b->finish[0].high_code)));
        return;
    }
    int32_t each[2][HALF];
    vstrwq_s32(each[0], s.even), vstrwq_s32(each[1], s.odd);
    for (int32_t i = 0; i < LANES; i++)
        if (a->output->bits == 32) ((int32_t *)a->y)[at + i] = each[i % 2][i / 2];
        else ((int8_t *)a->y)[at + i] = cal_code(&b->finish[i], each[i % 2][i / 2]);
}

/* All positions of a block. */
static void scan(const cal_args *a, const cal_scan *s, const block *b) {
    const ptrdiff_t x_next = (ptrdiff_t)a->op->stride_w * a->input[0]->channels;
    ptrdiff_t at = b->first;
    for (int32_t row = 0; row < s->rows; row++)
        for (int32_t column = 0; column < s->columns;) {
            cal_patch patch = cal_patch_of(a, s, row, column, b->first);
            const int32_t end = s->inner <= column && column < s->inner_end ? s->inner_end : column + 1;
            for (; column < end; column++, at += a->output->channels, patch.x += x_next)
                store(a, b, position(b, &patch, a->input[0]->zero_point), at);
        }
}

/* The last block overlaps the one before where channels are no multiple of eight. */
void cal_depthwise_s8__mve(const cal_args *a) {
    const int32_t channels = a->layer->c_in;
    if (channels < LANES || a->op->kernel_h * a->op->kernel_w > MOST_TAPS) {
        cal_conv2d_s8__mve(a);
        return;
    }
    const cal_scan s = cal_scan_of(a);
    block b;
    for (int32_t c = 0; c < channels; c += LANES) {
        b.first = cal_min(c, channels - LANES);
        prepare(a, &b);
        scan(a, &s, &b);
    }
    cal_write_active(a);
}

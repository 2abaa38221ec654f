/* SPDX-License-Identifier: Apache-2.0 */
/* The walk of a binary convolution over blocks of 16 outputs and tiles of output positions. A kernel brings the count of
 * one tile's mismatches; everything is inlined into it. Include after immintrin.h. */
#ifndef CALIBRANT_SIMD_BINARY_H
#define CALIBRANT_SIMD_BINARY_H

#include "calibrant/binary.h"
#include "requantize.h"

enum { CAL_BINARY_TILE_LIMIT = 8 };

/* What a tile counts from. */
typedef struct cal_binary_tile {
    const cal_op *op;
    const cal_window *window;
    int32_t count;                             /* positions, 1 to the kernel's tile */
    const uint32_t *x[CAL_BINARY_TILE_LIMIT];  /* each position's first word in the padded copy */
    const uint32_t *weights;                   /* one packed block */
    const uint32_t *start;                     /* [16] accumulators without mismatches */
    int32_t (*sums)[CAL_BLOCK];                /* [count][16] out: start - 2 * CAL_UNIT * mismatches */
} cal_binary_tile;

typedef struct cal_binary {
    int32_t tile; /* positions */
    void (*sums)(const cal_binary_tile *tile);
} cal_binary;

/* Words as the channels of a window; a run of them needs no rounding up. */
static inline cal_window cal_binary_window(const cal_args *a) {
    cal_window w = cal_window_of(a->op, a->layer, a->output);
    w.channels = cal_sign_words(a->layer->c_in);
    w.run = cal_rows_whole(a->op) ? a->op->kernel_w * w.channels : w.channels;
    return w;
}

/* The padded copy; around the input signs are +1, whose bits are 0. */
static inline void cal_copy_signs(const cal_args *a, const cal_window *w, uint32_t *to) {
    const cal_tensor *in = a->input[0];
    const int32_t left = cal_min(a->op->pad_left, w->columns), skip = left - a->op->pad_left;
    const int32_t real = cal_max(cal_min(w->columns - left, in->width + skip), 0), all = w->columns * w->channels;
    for (int32_t row = 0; row < w->rows; row++, to += all) {
        const int32_t y = row - a->op->pad_top;
        const bool inside = y >= 0 && y < in->height && real > 0;
        const int32_t begin = inside ? left * w->channels : all, end = inside ? begin + real * w->channels : all;
        const int8_t *x = a->x[0] + (ptrdiff_t)y * in->width * w->channels * (ptrdiff_t)sizeof *to;
        memset(to, 0, (size_t)begin * sizeof *to);
        if (inside) memcpy(to + begin, x, (size_t)(end - begin) * sizeof *to);
        memset(to + end, 0, (size_t)(all - end) * sizeof *to);
    }
}

/* The signs of a tile, set where an accumulator is below 0. */
static inline void cal_binary_signs(const cal_args *a, int32_t block, ptrdiff_t position, int32_t count, uint32_t mask,
                                    int32_t (*sums)[CAL_BLOCK]) {
    for (int32_t m = 0; m < count; m++) {
        const __m256i *at = (const __m256i *)sums[m];
        const __m256 low = _mm256_castsi256_ps(_mm256_loadu_si256(at)), high = _mm256_castsi256_ps(_mm256_loadu_si256(at + 1));
        const uint32_t bits = (uint32_t)_mm256_movemask_ps(low) | (uint32_t)_mm256_movemask_ps(high) << 8;
        cal_write_signs(a, block, position + m, bits & mask);
    }
}

static inline __attribute__((always_inline)) void cal_binary_block(const cal_args *a, const cal_binary b, const cal_window *w,
                                                                   const uint32_t *x, const uint32_t *weights,
                                                                   int32_t block) {
    const cal_tensor *out = a->output;
    const int32_t positions = out->height * out->width, first = block * CAL_BLOCK;
    const int32_t outputs = cal_min(CAL_BLOCK, out->channels - first);
    cal_finish finish = {0};
    uint32_t start[CAL_BLOCK];
    int32_t active[CAL_BLOCK] = {0}, row = 0, column = 0, counted = 0;
    int32_t sums[CAL_BINARY_TILE_LIMIT][CAL_BLOCK] __attribute__((aligned(64)));
    __m128i inside = _mm_setzero_si128();
    if (out->bits != 1) finish = cal_finish_of(a, first, outputs);
    for (int32_t o = 0; o < CAL_BLOCK; o++) start[o] = o < outputs ? cal_binary_start(a, first + o) : 0;
    cal_binary_tile tile = {.op = a->op, .window = w, .weights = weights, .start = start, .sums = sums};
    for (int32_t p = 0; p < positions; p += b.tile) {
        tile.count = cal_min(b.tile, positions - p);
        for (int32_t m = 0; m < tile.count; m++) {
            tile.x[m] = x + cal_position_offset(a->op, w, row, column);
            if (++column == out->width) column = 0, row++;
        }
        b.sums(&tile);
        if (out->bits == 1) {
            cal_binary_signs(a, block, p, tile.count, (1U << outputs) - 1, sums);
            continue;
        }
        cal_finish_tile(a, &finish, sums, tile.count, (ptrdiff_t)p * out->channels + first, &inside);
        if ((counted += tile.count) > CAL_COUNT_LIMIT - b.tile) cal_flush_counts(&inside, active), counted = 0;
    }
    cal_flush_counts(&inside, active);
    if (a->active) memcpy(a->active + first, active, (size_t)outputs * sizeof *active);
}

static inline __attribute__((always_inline)) void cal_binary_run(const cal_args *a, const cal_binary b) {
    const cal_window w = cal_binary_window(a);
    const int32_t blocks = (a->layer->c_out + CAL_BLOCK - 1) / CAL_BLOCK;
    const uint32_t *weights = a->packed;
    uint32_t *x = cal_align64(a->scratch);
    cal_copy_signs(a, &w, x);
    for (int32_t block = 0; block < blocks; block++, weights += cal_binary_words(a->layer) * CAL_BLOCK)
        cal_binary_block(a, b, &w, x, weights, block);
    if (a->output->bits == 1) cal_count_all(a);
}

#endif

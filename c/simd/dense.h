/* SPDX-License-Identifier: Apache-2.0 */
/* The walk of a dense convolution over groups, blocks of 16 output channels and tiles of output positions. A kernel
 * brings its number format and the sums of one tile; everything is inlined into it. */
#ifndef CALIBRANT_DENSE_H
#define CALIBRANT_DENSE_H

#include "requantize.h"

enum { CAL_TILE_LIMIT = 12 };

/* What a tile computes from. */
typedef struct cal_tile {
    const cal_op *op;
    const cal_window *window;
    int32_t bits;                     /* width of the weights */
    int32_t count;                    /* positions, 1 to the kernel's tile */
    const void *x[CAL_TILE_LIMIT];    /* each position's first value in the padded copy */
    const int8_t *weights;            /* one packed block */
    const int32_t *start;             /* [16] sums to start from */
    int32_t (*sums)[CAL_BLOCK];       /* [count][16] out */
} cal_tile;

typedef struct cal_dense {
    int32_t tile, lanes, value_bytes; /* lanes: values that share a 32-bit sum */
    bool raised;                      /* values are code + 128 instead of code - zero point */
    void (*copy)(const cal_args *a, const cal_window *w, int32_t first, int32_t zero, void *to);
    void (*sums)(const cal_tile *tile);
} cal_dense;

/* Sums start at the bias, less what the zero point adds: (zero point + 128) * sum of weights if values are raised. Modulo
 * 2^32, like all sums. */
static inline void cal_start(const cal_args *a, const cal_dense *d, const int8_t *block, int32_t first, int32_t outputs,
                             int32_t *start) {
    int32_t weight_sums[CAL_BLOCK];
    memcpy(weight_sums, block, sizeof weight_sums);
    for (int32_t o = 0; o < CAL_BLOCK; o++) {
        const uint32_t excess = d->raised ? (uint32_t)((a->input[0]->zero_point + 128) * weight_sums[o]) : 0;
        start[o] = o < outputs ? (int32_t)((uint32_t)a->bias[first + o] - excess) : 0;
    }
}

static inline __attribute__((always_inline)) void cal_dense_block(const cal_args *a, const cal_dense d, const cal_window *w,
                                                                  const uint8_t *x, const int8_t *block, int32_t first,
                                                                  int32_t outputs) {
    const cal_tensor *out = a->output;
    const int32_t positions = out->height * out->width;
    const cal_finish finish = cal_finish_of(a, first, outputs);
    int32_t active[CAL_BLOCK] = {0}, start[CAL_BLOCK], row = 0, column = 0, counted = 0;
    int32_t sums[CAL_TILE_LIMIT][CAL_BLOCK] __attribute__((aligned(64)));
    __m128i inside = _mm_setzero_si128();
    cal_start(a, &d, block, first, outputs, start);
    cal_tile tile = {.op = a->op, .window = w, .bits = a->layer->bits, .start = start, .sums = sums};
    tile.weights = block + sizeof start;
    for (int32_t p = 0; p < positions; p += d.tile) {
        tile.count = cal_min(d.tile, positions - p);
        for (int32_t m = 0; m < tile.count; m++) {
            tile.x[m] = x + cal_position_offset(a->op, w, row, column) * d.value_bytes;
            if (++column == out->width) column = 0, row++;
        }
        d.sums(&tile);
        cal_finish_tile(a, &finish, sums, tile.count, (ptrdiff_t)p * out->channels + first, &inside);
        if ((counted += tile.count) > CAL_COUNT_LIMIT - d.tile) cal_flush_counts(&inside, active), counted = 0;
    }
    cal_flush_counts(&inside, active);
    if (a->active) memcpy(a->active + first, active, (size_t)outputs * sizeof *active);
}

static inline __attribute__((always_inline)) void cal_dense_run(const cal_args *a, const cal_dense d) {
    const cal_window w = cal_window_of(a->op, a->layer, a->output);
    const int32_t outputs = a->layer->c_out / a->op->groups;
    const ptrdiff_t block_bytes = cal_block_bytes(w.runs, w.run, d.lanes);
    const int8_t *block = a->packed;
    uint8_t *x = cal_align64(a->scratch);
    for (int32_t g = 0; g < a->op->groups; g++) {
        d.copy(a, &w, g * w.channels, a->input[0]->zero_point, x);
        for (int32_t o = 0; o < outputs; o += CAL_BLOCK, block += block_bytes)
            cal_dense_block(a, d, &w, x, block, g * outputs + o, cal_min(CAL_BLOCK, outputs - o));
    }
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The shape in which fast convolutions see their input. One group's padded input is copied to scratch so that what an
 * output position needs is a few contiguous runs: one per kernel row, or one per tap where dilation tears rows apart.
 * A run is rounded up to the lanes of a multiply-add (`lanes` values share one 32-bit sum); the surplus meets zero
 * weights. Depthwise convolutions copy all channels once and treat taps as the depth. */
#ifndef CALIBRANT_WINDOW_H
#define CALIBRANT_WINDOW_H

#include "calibrant/kernel.h"

enum { CAL_BLOCK = 16 }; /* output channels side by side in packed weights */

typedef struct cal_window {
    int32_t rows, columns, channels; /* of the padded copy */
    int32_t runs, run;               /* contiguous runs per output position, and values in each */
} cal_window;

static inline bool cal_is_depthwise(const cal_op *op, const cal_layer *layer) {
    return op->groups > 1 && op->groups == layer->c_in && op->groups == layer->c_out;
}

static inline bool cal_rows_whole(const cal_op *op) { return op->dilation_w == 1 || op->kernel_w == 1; }

static inline int32_t cal_round_up(int32_t value, int32_t multiple) { return (value + multiple - 1) / multiple * multiple; }

static inline cal_window cal_window_of(const cal_op *op, const cal_layer *layer, const cal_tensor *out) {
    cal_window w = {
        .rows = (out->height - 1) * op->stride_h + (op->kernel_h - 1) * op->dilation_h + 1,
        .columns = (out->width - 1) * op->stride_w + (op->kernel_w - 1) * op->dilation_w + 1,
        .channels = cal_is_depthwise(op, layer) ? layer->c_in : layer->c_in / op->groups,
    };
    w.runs = cal_rows_whole(op) ? op->kernel_h : op->kernel_h * op->kernel_w;
    w.run = cal_rows_whole(op) ? op->kernel_w * w.channels : w.channels;
    return w;
}

/* Where a kernel tap stands, counted in values from an output position's first value. */
static inline ptrdiff_t cal_tap_offset(const cal_op *op, const cal_window *w, int32_t tap) {
    const int32_t ky = tap / op->kernel_w, kx = tap % op->kernel_w;
    return ((ptrdiff_t)ky * op->dilation_h * w->columns + (ptrdiff_t)kx * op->dilation_w) * w->channels;
}

/* Where run r starts, likewise. */
static inline ptrdiff_t cal_run_offset(const cal_op *op, const cal_window *w, int32_t r) {
    return cal_tap_offset(op, w, cal_rows_whole(op) ? r * op->kernel_w : r);
}

/* Where an output position's first value stands in the padded copy. */
static inline ptrdiff_t cal_position_offset(const cal_op *op, const cal_window *w, int32_t row, int32_t column) {
    return ((ptrdiff_t)row * op->stride_h * w->columns + (ptrdiff_t)column * op->stride_w) * w->channels;
}

static inline void *cal_align64(void *p) { return (void *)(((uintptr_t)p + 63) & ~(uintptr_t)63); }

/* Packed weights of a layer, int8: [group][block of 16 outputs][run][step][16][lanes]. A depthwise layer is packed as
 * one group whose only run holds the taps. Each block starts with 16 int32: the sums of its outputs' weights. */
int64_t cal_pack_bytes(const cal_op *op, const cal_layer *layer, int32_t lanes);
void cal_pack_layer(const cal_op *op, const cal_layer *layer, const int8_t *weights, int32_t lanes, int8_t *packed);

/* Bytes of one block. */
static inline ptrdiff_t cal_block_bytes(int32_t runs, int32_t run, int32_t lanes) {
    return (ptrdiff_t)CAL_BLOCK * ((ptrdiff_t)sizeof(int32_t) + (ptrdiff_t)runs * cal_round_up(run, lanes));
}

#endif

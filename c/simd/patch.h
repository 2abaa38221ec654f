/* SPDX-License-Identifier: Apache-2.0 */
/* How kernels for microcontrollers see a convolution: in place, without a copy. What an output position multiplies is a
 * patch: runs of contiguous values, with the weights of an output in the same order. Taps in the padding are left out.
 * Positions whose taps all lie inside the input are neighbors with one patch, moved; the rest of a row are borders. */
#ifndef CALIBRANT_PATCH_H
#define CALIBRANT_PATCH_H

#include "calibrant/kernel.h"

/* Kernel taps that meet the input, in one direction. */
typedef struct cal_taps { int32_t first, count; } cal_taps;

/* Tap t reads at start + t * dilation. */
static inline cal_taps cal_taps_inside(int32_t start, int32_t size, int32_t kernel, int32_t dilation) {
    const int32_t first = start < 0 ? (dilation - 1 - start) / dilation : 0;
    const int32_t end = start < size ? cal_min(kernel, (size - 1 - start) / dilation + 1) : 0;
    return (cal_taps){first, cal_max(end - first, 0)};
}

/* Output positions in rows; those from `inner` to `inner_end` of a row need no padding to their left or right. */
typedef struct cal_scan {
    int32_t rows, columns, inner, inner_end; /* of the output */
    int32_t height, width;                   /* of the input */
} cal_scan;

/* A 1x1 kernel without stride and padding has no borders, so all its positions are one row. */
static inline cal_scan cal_scan_of(const cal_args *a) {
    const cal_op *op = a->op;
    const cal_tensor *in = a->input[0], *out = a->output;
    if (op->kernel_h * op->kernel_w * op->stride_h * op->stride_w == 1 && !op->pad_top && !op->pad_left &&
        out->height == in->height && out->width == in->width) {
        const int32_t positions = in->height * in->width;
        return (cal_scan){1, positions, 0, positions, 1, positions};
    }
    const int32_t last = in->width - 1 - (op->kernel_w - 1) * op->dilation_w + op->pad_left; /* leftmost tap's, padded */
    const int32_t inner = cal_min((op->pad_left + op->stride_w - 1) / op->stride_w, out->width);
    const int32_t end = last < 0 ? 0 : cal_min(last / op->stride_w + 1, out->width);
    return (cal_scan){out->height, out->width, inner, cal_max(inner, end), in->height, in->width};
}

typedef struct cal_patch {
    const int8_t *x;                /* first value that is read */
    ptrdiff_t w;                    /* where its weight stands among those of an output */
    int32_t rows, columns, length;  /* rows x columns runs of `length` values */
    ptrdiff_t x_row, x_column, w_row; /* between runs; weights of a row's runs lie together */
} cal_patch;

/* The patch of a position for input channels from `first` on. */
static __attribute__((noinline)) cal_patch cal_patch_of(const cal_args *a, const cal_scan *s, int32_t row, int32_t column,
                                                        int32_t first) {
    const cal_op *op = a->op;
    const int32_t channels = a->input[0]->channels, depth = a->layer->c_in / op->groups;
    const int32_t y = row * op->stride_h - op->pad_top, x = column * op->stride_w - op->pad_left;
    const cal_taps down = cal_taps_inside(y, s->height, op->kernel_h, op->dilation_h);
    const cal_taps across = cal_taps_inside(x, s->width, op->kernel_w, op->dilation_w);
    const ptrdiff_t top = y + (ptrdiff_t)down.first * op->dilation_h;
    const ptrdiff_t left = x + (ptrdiff_t)across.first * op->dilation_w;
    cal_patch p = {
        .w = ((ptrdiff_t)down.first * op->kernel_w + across.first) * depth,
        .rows = across.count ? down.count : 0,
        .columns = across.count,
        .length = depth,
        .x_row = (ptrdiff_t)op->dilation_h * s->width * channels,
        .x_column = (ptrdiff_t)op->dilation_w * channels,
        .w_row = (ptrdiff_t)op->kernel_w * depth,
    };
    p.x = p.rows ? a->x[0] + (top * s->width + left) * channels + first : a->x[0];
    if (op->groups == 1 && op->dilation_w == 1) p.length *= p.columns, p.columns = 1; /* a kernel row is one run */
    return p;
}

/* Active outputs, counted in what the kernel has written. */
static inline void cal_write_active(const cal_args *a) {
    if (!a->active) return;
    const cal_tensor *out = a->output;
    const int32_t positions = out->height * out->width;
    for (int32_t o = 0; o < out->channels; o++) {
        const int8_t *y = (const int8_t *)a->y + o;
        int32_t count = out->bits == 32 ? positions : 0;
        for (int32_t p = 0; p < positions && out->bits != 32; p++, y += out->channels)
            count += a->op->clamp_low < *y && *y < a->op->clamp_high;
        a->active[o] = count;
    }
}

#endif

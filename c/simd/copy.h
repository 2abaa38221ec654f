/* SPDX-License-Identifier: Apache-2.0 */
/* The padded copy of one group's input that window.h describes, in the number format a kernel multiplies. */
#ifndef CALIBRANT_COPY_H
#define CALIBRANT_COPY_H

#include <string.h>

#include "window.h"

/* Defines NAME(args, window, first channel, zero, to): values are CONVERT(code, zero), padding is PADDING(zero). */
#define CAL_DEFINE_COPY(NAME, TYPE, CONVERT, PADDING)                                                                  \
    static void NAME(const cal_args *a, const cal_window *w, int32_t first, int32_t zero, void *copy) {                \
        TYPE *restrict to = copy;                                                                                      \
        const cal_tensor *in = a->input[0];                                                                            \
        const int32_t left = cal_min(a->op->pad_left, w->columns), skip = left - a->op->pad_left;                      \
        const int32_t real = cal_max(cal_min(w->columns - left, in->width + skip), 0);                                 \
        const int32_t begin = left * w->channels, end = begin + real * w->channels, all = w->columns * w->channels;    \
        for (int32_t row = 0; row < w->rows; row++, to += all) {                                                       \
            const int32_t y = row - a->op->pad_top;                                                                    \
            if (y < 0 || y >= in->height) {                                                                            \
                for (int32_t i = 0; i < all; i++) to[i] = (TYPE)PADDING(zero);                                         \
                continue;                                                                                              \
            }                                                                                                          \
            const int8_t *restrict x = a->x[0] + (ptrdiff_t)y * in->width * in->channels + first;                      \
            for (int32_t i = 0; i < begin; i++) to[i] = (TYPE)PADDING(zero);                                           \
            for (int32_t i = end; i < all; i++) to[i] = (TYPE)PADDING(zero);                                           \
            if (w->channels == in->channels)                                                                           \
                for (int32_t i = 0; i < end - begin; i++) to[begin + i] = (TYPE)CONVERT(x[i], zero);                   \
            else                                                                                                       \
                for (int32_t p = 0; p < real; p++, x += in->channels)                                                  \
                    for (int32_t c = 0; c < w->channels; c++)                                                          \
                        to[begin + p * w->channels + c] = (TYPE)CONVERT(x[c], zero);                                   \
        }                                                                                                              \
    }

/* int16 with the zero point taken off, so that padding contributes 0. */
#define CAL_CENTERED(code, zero) ((code) - (zero))
#define CAL_CENTERED_PADDING(zero) 0

/* uint8, code + 128; padding is the zero point's code, as its share is taken off with everybody's. */
#define CAL_RAISED(code, zero) ((code) + 128)
#define CAL_RAISED_PADDING(zero) ((zero) + 128)

#endif

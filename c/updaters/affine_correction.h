/* SPDX-License-Identifier: Apache-2.0 */
/* updaters/affine_correction.py, a channel at a time. Private to c/session and c/updaters. */
#ifndef CALIBRANT_AFFINE_CORRECTION_H
#define CALIBRANT_AFFINE_CORRECTION_H

#include "calibrant/correction.h"

/* What a window says of a channel: sums of `values` pre-activations and of their squares, of so many samples. */
typedef struct cal_window_sums {
    int64_t total, square, values;
    int32_t samples;
} cal_window_sums;

/* The artifact's constants again, of all channels. */
void cal_uncorrect(const cal_corrector *corrector);

/* A window goes into the memory of a channel that has the artifact's constants, and both into new ones. */
void cal_correct_channel(const cal_corrector *corrector, int32_t channel, const cal_window_sums *window);

/* The constants that the memory alone leads to. */
void cal_recall_channel(const cal_corrector *corrector, int32_t channel);

/* A memory of no samples, or of home's. */
void cal_begin_memory(const cal_corrector *corrector, cal_memory_start start);

#endif

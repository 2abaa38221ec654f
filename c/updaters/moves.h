/* SPDX-License-Identifier: Apache-2.0 */
/* What a flip is, whichever weights are looked at. Private to c/updaters. */
#ifndef CALIBRANT_MOVES_H
#define CALIBRANT_MOVES_H

#include <string.h>

#include "calibrant/fmath.h"
#include "../session/calibrator.h"

/* |slope| * scale as the bits of a double, which order as the values do; exact while |slope| takes at most 29 bits. */
static inline uint64_t cal_score_of(int64_t slope, float scale) {
    const double score = (double)(slope < 0 ? -slope : slope) * (double)scale;
    uint64_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits;
}

/* The score with the sign of its slope; a score is below 2^63. */
static inline int64_t cal_signed_score(int64_t slope, float scale) {
    const int64_t score = (int64_t)cal_score_of(slope, scale);
    return slope < 0 ? -score : score;
}

/* The largest code of a layer; the smallest is its negative. */
static inline int32_t cal_limit_of(const cal_layer *layer) { return (1 << (layer->bits - 1)) - 1; }

/* Whether a code can move against its slope. */
static inline bool cal_movable(int64_t slope, int8_t code, int32_t limit) {
    return slope > 0 ? code > -limit : slope < 0 && code < limit;
}

/* The code after a move against its slope, and where a code of fewer than 8 bits came from. */
static inline int8_t cal_stepped(int8_t code, bool rising, int32_t move, int32_t limit) {
    const int32_t moved = code - (rising ? move : -move);
    return (int8_t)(moved < -limit ? -limit : moved > limit ? limit : moved);
}
static inline int8_t cal_stepped_back(int8_t code, bool rising, int32_t move) {
    return (int8_t)(code + (rising ? move : -move));
}

/* How many of `count` a step moves: their fraction, one at least. */
static inline int64_t cal_wanted(double fraction, int64_t count) {
    const int64_t wanted = cal_round_even(fraction * (double)count);
    return wanted > 1 ? wanted : 1;
}

/* The step of a layer in codes after so many halvings, and the largest of a program's. */
int32_t cal_move(const cal_layer *layer, int32_t halvings);
int32_t cal_largest_move(const cal_program *program, int32_t halvings);

/* Moves the fraction of biases with the largest scores against their slopes; `score` are signed ones. */
void cal_shift_bias(int32_t *bias, const int64_t *score, int32_t count, int64_t step, double fraction);

#endif

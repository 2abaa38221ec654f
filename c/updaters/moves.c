/* SPDX-License-Identifier: Apache-2.0 */
#include "moves.h"

enum { FIRST_STEP_BITS = 4 };

int32_t cal_move(const cal_layer *layer, int32_t halvings) {
    const int32_t extra = layer->bits - FIRST_STEP_BITS - halvings;
    return extra > 0 ? 1 << extra : 1;
}

int32_t cal_largest_move(const cal_program *p, int32_t halvings) {
    int32_t largest = 1;
    for (int32_t i = 0; i < p->layer_count; i++) {
        const int32_t move = cal_move(&p->layers[i], halvings);
        largest = move > largest ? move : largest;
    }
    return largest;
}

static int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

void cal_shift_bias(int32_t *bias, const int64_t *score, int32_t count, int64_t step, double fraction) {
    const int64_t wanted = cal_wanted(fraction, count);
    for (int32_t o = 0; o < count; o++) {
        const int64_t own = magnitude(score[o]);
        int32_t before = 0; /* channels that come first: larger scores, and equal ones of lower index */
        for (int32_t other = 0; other < count; other++) {
            const int64_t theirs = magnitude(score[other]);
            before += theirs > own || (theirs == own && other < o);
        }
        if (before >= wanted || own == 0) continue;
        const int64_t moved = bias[o] - (score[o] > 0 ? step : -step);
        bias[o] = (int32_t)(moved < -CAL_BIAS_LIMIT ? -CAL_BIAS_LIMIT : moved > CAL_BIAS_LIMIT ? CAL_BIAS_LIMIT : moved);
    }
}

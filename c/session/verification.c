/* SPDX-License-Identifier: Apache-2.0 */
/* What an update may learn from, and whether its weights may replace the old: policy/verification.py. */
#include "verification.h"

#include "calibrant/fmath.h"
#include "calibrator.h"

enum { IMPORTANCE_LIMIT = 64, HOLDOUT_MINIMUM = 40, SIGNIFICANCE_SQUARED = 4 };

int32_t cal_held_count(int32_t samples, double holdout) {
    return samples >= HOLDOUT_MINIMUM ? (int32_t)cal_round_even((double)samples * holdout) : 0;
}

/* Mark the samples to hold back: spread evenly over the window in order of class, identity and arrival. */
void cal_hold_back(cal_calibrator *cal) {
    const cal_tensor *in = &cal->program->tensors[cal->program->input];
    const int64_t elements = (int64_t)in->height * in->width * in->channels;
    const int32_t count = cal->window_count, kept = cal_held_count(count, cal->settings.holdout);
    int64_t *identity = (int64_t *)(void *)cal->workspace;
    uint8_t *held = cal_map(cal).held;
    for (int32_t i = 0; i < (cal->window_capacity + 7) / 8; i++) held[i] = 0;
    if (kept == 0) return;
    for (int32_t i = 0; i < count; i++)
        identity[i] = cal_identity(cal->window_x + i * elements, elements, cal->window_y[i]);
    for (int32_t i = 0; i < count; i++) {
        int32_t rank = 0;
        for (int32_t j = 0; j < count; j++) {
            if (cal->window_y[j] != cal->window_y[i]) rank += cal->window_y[j] < cal->window_y[i];
            else if (identity[j] != identity[i]) rank += identity[j] < identity[i];
            else rank += j < i;
        }
        for (int32_t k = 0; k < kept; k++)
            if ((int32_t)((2 * (int64_t)k + 1) * count / (2 * (int64_t)kept)) == rank) cal_set_bit(held, i);
    }
}

/* How often a sample of the coreset counts: round(window / coreset), half to even, 1 to 64. */
int32_t cal_importance(int32_t window, int32_t coreset) {
    const int32_t parts = coreset > 0 ? coreset : 1;
    const int32_t whole = window / parts, rest = window % parts;
    const int32_t rounded = whole + (2 * (int64_t)rest > parts || (2 * (int64_t)rest == parts && (whole & 1)));
    return rounded < 1 ? 1 : rounded > IMPORTANCE_LIMIT ? IMPORTANCE_LIMIT : rounded;
}

bool cal_coreset_fell(const cal_calibrator *cal, const cal_measure *before, const cal_measure *after) {
    return cal_share_fell(cal->coreset_count, before->coreset_right, after->coreset_right, cal->settings.coreset_drop);
}

/* Products of 64 bits in 128. */
typedef struct wide {
    uint64_t high, low;
} wide;

static wide product(uint64_t a, uint64_t b) {
    const uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    const uint64_t low = a0 * b0, cross = a1 * b0 + (low >> 32), other = a0 * b1 + (uint32_t)cross;
    return (wide){a1 * b1 + (cross >> 32) + (other >> 32), other << 32 | (uint32_t)low};
}

static wide times(wide v, uint32_t factor) {
    const wide low = product(v.low, factor);
    return (wide){v.high * factor + low.high, low.low};
}

static uint64_t magnitude(int64_t v) { return v < 0 ? ~(uint64_t)v + 1 : (uint64_t)v; }

void cal_add_rise(cal_rises *rises, int64_t rise) {
    const wide square = product(magnitude(rise), magnitude(rise));
    rises->total += rise;
    rises->square_low += square.low;
    rises->square_high += square.high + (rises->square_low < square.low);
    rises->count++;
}

/* Student's t on integers: total^2 (n - 1) > 4 (n sum of squares - total^2). |rise| <= 2^30, so below 2^128 for n up to
 * 2^21. */
bool cal_rose(const cal_rises *rises) {
    if (rises->total <= 0) return false;
    const wide total = product((uint64_t)rises->total, (uint64_t)rises->total);
    const wide all = times((wide){rises->square_high, rises->square_low}, (uint32_t)rises->count);
    const wide scatter = {all.high - total.high - (all.low < total.low), all.low - total.low};
    const wide left = times(total, (uint32_t)rises->count - 1), right = times(scatter, SIGNIFICANCE_SQUARED);
    return left.high != right.high ? left.high > right.high : left.low > right.low;
}

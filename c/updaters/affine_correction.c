/* SPDX-License-Identifier: Apache-2.0 */
/* updaters/affine_correction.py: where a channel's gain and offset come from, and the integers that they become. Float64
 * as numpy has it, one rounding an operation and in its order; rounding to integers is done on integers. */
#include "affine_correction.h"

#include <string.h>

#include "calibrant/fmath.h"

#define EPSILON (1.0 / 12.0)
#define GAIN 8.0
#define STANDARD_ERRORS 2.0f
#define STUCK (1.0 / 1024.0)
#define LARGEST_REAL 536870911.875 /* half of core.fixedpoint.MAX_REAL */

enum { WINDOW = 8, MOST_SHIFT = 62 };

/* What is known of a channel while a window is at work. */
typedef struct known {
    double samples, mean, square;
} known;

static double smaller(double a, double b) { return a < b ? a : b; }
static double larger(double a, double b) { return a > b ? a : b; }
static double magnitude(double x) { return x < 0 ? -x : x; }

static known recalled(const cal_corrector *c, int32_t o) {
    return (known){(double)c->samples[o], (double)c->mean[o], (double)c->square[o]};
}

static void remember(const cal_corrector *c, int32_t o, known k) {
    c->samples[o] = (float)k.samples;
    c->mean[o] = (float)k.mean;
    c->square[o] = (float)k.square;
}

/* With a window's samples, at least one, where they count. */
static known then(known before, known window, bool counts, double limit) {
    const double total = before.samples + (counts ? window.samples : 0.0);
    const double share = counts ? window.samples / total : 0.0;
    return (known){smaller(total, limit), before.mean + share * (window.mean - before.mean),
                   before.square + share * (window.square - before.square)};
}

/* Whether a channel still measures something. */
static bool works(const cal_corrector *c, int32_t o, known judged) {
    const double usual = (double)c->home_variance[o], variance = judged.square - judged.mean * judged.mean;
    return usual <= EPSILON || variance > STUCK * usual;
}

static double home_square(const cal_corrector *c, int32_t o) {
    const double mean = (double)c->home_mean[o];
    return (double)c->home_variance[o] + mean * mean;
}

/* Whether mean and mean square are both within the chance that so many samples have. */
static bool near_home(const cal_corrector *c, int32_t o, known seen) {
    const double count = cal_sqrt_f64(larger(seen.samples, 1e-300));
    return magnitude(seen.mean - (double)c->home_mean[o]) * count <= (double)(STANDARD_ERRORS * c->mean_spread[o]) &&
           magnitude(seen.square - home_square(c, o)) * count <= (double)(STANDARD_ERRORS * c->square_spread[o]);
}

/* round(x * 2^-bits), half to even; x < 2^53, 1 <= bits <= 62. */
static int64_t rounded(uint64_t x, int32_t bits) {
    return (int64_t)((x + (((uint64_t)1 << (bits - 1)) - 1) + (x >> bits & 1)) >> bits);
}

/* core.fixedpoint.quantize_multiplier of 2^-66 < real <= LARGEST_REAL: 31 bits of mantissa, fewer at the largest shift. */
static void quantize(double real, int32_t *multiplier, int32_t *shift) {
    const cal_binary b = cal_binary_of(real);
    int64_t digits = rounded(b.mantissa, 22);
    int32_t places = -22 - b.exponent;
    if (digits == (int64_t)1 << 31) digits >>= 1, places--;
    if (places > MOST_SHIFT) digits = rounded(b.mantissa, -b.exponent - MOST_SHIFT), places = MOST_SHIFT;
    *multiplier = (int32_t)digits;
    *shift = places;
}

static int32_t moved_bias(int32_t bias, double owed) {
    const double bound = 2.0 * CAL_BIAS_LIMIT;
    const int64_t by = cal_round_even(smaller(magnitude(owed), bound));
    const int64_t moved = bias + (owed < 0 ? -by : by);
    return (int32_t)(moved < -CAL_BIAS_LIMIT ? -CAL_BIAS_LIMIT : moved > CAL_BIAS_LIMIT ? CAL_BIAS_LIMIT : moved);
}

/* Gain and offset of a channel that has the artifact's constants. */
static void apply(const cal_corrector *c, int32_t o, double gain, double offset) {
    if (gain == 1.0 && offset == 0.0) return;
    const double real = (double)c->multiplier[o] * cal_power_of_two(-c->shift[o]);
    c->bias[o] = moved_bias(c->bias[o], offset / real);
    quantize(smaller(gain * real, LARGEST_REAL), &c->multiplier[o], &c->shift[o]);
}

static void correct(const cal_corrector *c, int32_t o, known seen, bool working) {
    if (!working || near_home(c, o, seen) || !(seen.samples > 0.0) || c->multiplier[o] <= 0) return;
    const double home = (double)c->home_mean[o];
    const double usual = larger(home_square(c, o) - home * home, 0.0);
    const double variance = larger(seen.square - seen.mean * seen.mean, 0.0);
    const double ratio = cal_sqrt_f64((usual + EPSILON) / (variance + EPSILON));
    const double gain = smaller(larger(ratio, 1.0 / GAIN), GAIN);
    apply(c, o, gain, home / gain - seen.mean);
}

void cal_uncorrect(const cal_corrector *c) {
    const size_t bytes = (size_t)c->channels * sizeof(int32_t);
    memcpy(c->bias, c->constants->bias, bytes);
    memcpy(c->multiplier, c->constants->multiplier, bytes);
    memcpy(c->shift, c->constants->shift, bytes);
}

void cal_correct_channel(const cal_corrector *c, int32_t o, const cal_window_sums *window) {
    const double values = (double)window->values, limit = (double)*c->limit;
    const known before = recalled(c, o);
    const known now = {(double)window->samples, (double)window->total / values, (double)window->square / values};
    const bool working = works(c, o, window->samples >= WINDOW ? now : then(before, now, true, limit));
    const known seen = then(before, now, working, limit);
    correct(c, o, seen, working);
    remember(c, o, seen);
}

void cal_recall_channel(const cal_corrector *c, int32_t o) { correct(c, o, recalled(c, o), true); }

void cal_begin_memory(const cal_corrector *c, cal_memory_start start) {
    const bool home = start == CAL_FROM_HOME;
    *c->limit = home ? CAL_REMEMBERED_FROM_HOME : CAL_REMEMBERED;
    for (int32_t o = 0; o < c->channels; o++)
        remember(c, o, home ? (known){CAL_REMEMBERED_FROM_HOME, (double)c->home_mean[o], home_square(c, o)} : (known){0});
}

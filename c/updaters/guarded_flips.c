/* SPDX-License-Identifier: Apache-2.0 */
/* Propose flips, try them, keep what lowers the loss: GuardedFlips.update. */
#include "moves.h"

enum { ALL_LAYERS = -1 };

static const double LARGE_STEP_GAIN = 5.0;

/* Where an update stands: `halvings` of the first step, the layer that the next candidate changes. */
typedef struct state {
    double fraction;
    int32_t halvings, scope;
} state;

static int64_t largest_layer(const cal_program *p) {
    int64_t largest = 0;
    for (int32_t i = 0; i < p->layer_count; i++) {
        const int64_t weights = cal_weight_total(&p->layers[i]);
        largest = weights > largest ? weights : largest;
    }
    return largest;
}

/* As many layers from `first` on as the statistics have room for; one at least. */
static int32_t end_of_part(const cal_calibrator *cal, int32_t first, bool with_held) {
    const int64_t room = cal->statistics_bytes / cal_sample_count(cal, with_held);
    int32_t end = first + 1;
    while (end < cal->program->layer_count && cal_record_bytes(cal, first, end + 1) <= room) end++;
    return end;
}

/* The gradient at the weights in force; the last sweep was theirs and left the statistics of its layers. */
static void differentiate(cal_calibrator *cal, cal_sweep sweep, bool after_earlier) {
    cal_pooled_gradient(cal, &sweep, after_earlier);
    while (sweep.end < cal->program->layer_count) {
        sweep.first = sweep.end;
        sweep.end = end_of_part(cal, sweep.first, sweep.with_held);
        cal_weighted_loss(cal, &sweep);
        cal_pooled_gradient(cal, &sweep, after_earlier);
    }
}

static void refused(const cal_calibrator *cal, state *s) {
    const int32_t last = cal->program->layer_count - 1, everywhere = last == 0 ? ALL_LAYERS : last;
    if (cal_largest_move(cal->program, s->halvings) > 1) {
        s->halvings++;
    } else if (s->scope == ALL_LAYERS && s->fraction * (double)largest_layer(cal->program) >= 1) {
        s->fraction /= 2;
    } else if (s->scope == ALL_LAYERS) {
        s->scope = everywhere; /* a program of one layer has no other scope */
        s->fraction = cal->settings.fraction;
    } else if (s->scope == 0) { /* a full round of refusals */
        s->scope = last;
        s->fraction /= 2;
    } else {
        s->scope--;
    }
}

cal_update_outcome cal_update(cal_calibrator *cal, bool with_held, int32_t steps) {
    if (cal->settings.block > 0) return cal_update_blocks(cal, with_held, steps);
    const int32_t window = cal_sample_count(cal, with_held) - cal->coreset_count, layers = cal->program->layer_count;
    const int32_t importance = cal_importance(window, cal->coreset_count);
    const cal_sweep sweep = {with_held, importance, 0, end_of_part(cal, 0, with_held)};
    const int64_t mass = CAL_LOSS_ONE * (window + (int64_t)importance * cal->coreset_count);
    const double goal = cal->settings.loss_goal * (double)mass;
    state s = {.fraction = cal->settings.fraction, .scope = ALL_LAYERS};
    if (cal_largest_move(cal->program, 0) > 1) s.fraction *= LARGE_STEP_GAIN;
    cal_update_outcome outcome = {0};
    int64_t loss = cal_weighted_loss(cal, &sweep); /* below 2^53: exact as a double */
    bool fresh = true;                        /* no gradient of the weights in force yet */
    while (outcome.steps < steps && (double)loss > goal) {
        if (fresh) differentiate(cal, sweep, outcome.accepted > 0);
        outcome.steps++;
        const int32_t first = s.scope == ALL_LAYERS ? 0 : s.scope, end = s.scope == ALL_LAYERS ? layers : s.scope + 1;
        for (int32_t i = first; i < end; i++)
            cal_propose(cal, i, cal_move(&cal->program->layers[i], s.halvings), s.fraction);
        const int64_t candidate = cal_weighted_loss(cal, &sweep);
        fresh = candidate < loss;
        if (fresh) {
            loss = candidate;
            outcome.accepted++;
            const double larger = 1.2 * s.fraction;
            s.fraction = larger < cal->settings.fraction_max ? larger : cal->settings.fraction_max;
            continue;
        }
        for (int32_t i = first; i < end; i++) cal_withdraw(cal, i, cal_move(&cal->program->layers[i], s.halvings));
        refused(cal, &s);
    }
    return outcome;
}

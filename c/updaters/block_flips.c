/* SPDX-License-Identifier: Apache-2.0 */
/* Propose flips in one block, try them, keep what lowers the loss: BlockFlips.update. */
#include <string.h>

#include "moves.h"

/* A block while a candidate is made of it; entry and weight count within the block, in the order of the layer. */
typedef struct view {
    cal_memory_map map;
    cal_block block;
    const cal_layer *layer;
    const float *scale;
    int8_t *weights;
    int32_t *bias;
    int32_t rows, columns, taps, depth, limit;
} view;

static view view_of(const cal_calibrator *cal, int32_t number) {
    const cal_block block = cal_block_at(cal, number);
    const cal_layer *layer = &cal->program->layers[block.layer];
    return (view){
        .map = cal_map(cal),
        .block = block,
        .layer = layer,
        .scale = cal->scale + layer->channel_offset + block.row,
        .weights = cal->weights + layer->weight_offset,
        .bias = cal->bias + layer->channel_offset + block.row,
        .rows = block.row_end - block.row,
        .columns = block.column_end - block.column,
        .taps = layer->kernel_h * layer->kernel_w,
        .depth = layer->c_in / layer->groups,
        .limit = cal_limit_of(layer),
    };
}

static int64_t weights_of(const view *v) { return (int64_t)v->rows * v->taps * v->columns; }

static int32_t entry_of(const view *v, int64_t weight) {
    return (int32_t)(weight / v->columns / v->taps * v->columns + weight % v->columns);
}

static int8_t *weight_at(const view *v, int64_t weight) {
    const int64_t row = v->block.row * (int64_t)v->taps + weight / v->columns; /* and tap */
    return v->weights + row * v->depth + v->block.column + weight % v->columns;
}

/* The score of a weight that can move against its slope, else 0. */
static uint64_t movable_score(const view *v, int64_t weight) {
    const int64_t slope = v->map.sum[entry_of(v, weight)];
    if (!cal_movable(slope, *weight_at(v, weight), v->limit)) return 0;
    return cal_score_of(slope, v->scale[weight / v->columns / v->taps]);
}

static int64_t count_from(const view *v, uint64_t least) {
    int64_t count = 0;
    for (int64_t i = 0; i < weights_of(v); i++) count += movable_score(v, i) >= least;
    return count;
}

static void flip(const view *v, int32_t move, int64_t count) {
    uint64_t threshold = 0; /* the count-th largest score, bit by bit from the top */
    for (int32_t bit = 62; bit >= 0; bit--)
        if (count_from(v, threshold | (uint64_t)1 << bit) >= count) threshold |= (uint64_t)1 << bit;
    int64_t ties = count - count_from(v, threshold + 1);
    for (int64_t i = 0; i < weights_of(v); i++) { /* of equal scores the lowest index first */
        const uint64_t score = movable_score(v, i);
        if (score < threshold || (score == threshold && ties-- <= 0)) continue;
        int8_t *weight = weight_at(v, i);
        *weight = cal_stepped(*weight, v->map.sum[entry_of(v, i)] > 0, move, v->limit);
        if (v->layer->bits != 8) cal_set_bit(v->map.undo, i);
    }
}

/* Scores take the place of the sums, which are done with. */
static void shift_bias(const view *v, int64_t step, double fraction) {
    for (int32_t o = 0; o < v->rows; o++) v->map.bias_sum[o] = cal_signed_score(v->map.bias_sum[o], v->scale[o]);
    cal_shift_bias(v->bias, v->map.bias_sum, v->rows, step, fraction);
}

/* A candidate of the sums, and what it takes to undo it: codes of 8 bits may saturate, so they are kept; of others a bit
 * tells which moved, and a bit an entry where to. */
static void propose(const cal_calibrator *cal, int32_t number, int32_t samples, int32_t move, double fraction) {
    const view v = view_of(cal, number);
    const int64_t weights = weights_of(&v), all = count_from(&v, 1);
    const int64_t wanted = cal_wanted(fraction, weights);
    memset(v.map.undo, 0, (size_t)(v.layer->bits == 8 ? weights : (weights + 7) / 8));
    memset(v.map.rising, 0, ((size_t)v.rows * (size_t)v.columns + 7) / 8);
    for (int32_t i = 0; i < v.rows * v.columns; i++)
        if (v.map.sum[i] > 0) cal_set_bit(v.map.rising, i);
    for (int64_t i = 0; i < weights && v.layer->bits == 8; i++) v.map.undo[i] = (uint8_t)*weight_at(&v, i);
    memcpy(v.map.bias_kept, v.bias, (size_t)v.rows * sizeof *v.bias);
    if (all > 0) flip(&v, move, wanted < all ? wanted : all);
    if (!cal->settings.bias || v.block.column > 0) return;
    const int64_t unit = *v.map.magnitude / ((int64_t)samples * v.layer->c_in * 16);
    shift_bias(&v, move * (unit > 1 ? unit : 1), fraction);
}

static void withdraw(const cal_calibrator *cal, int32_t number, int32_t move) {
    const view v = view_of(cal, number);
    for (int64_t i = 0; i < weights_of(&v); i++) {
        int8_t *weight = weight_at(&v, i);
        if (v.layer->bits == 8) *weight = (int8_t)v.map.undo[i];
        else if (cal_bit(v.map.undo, i))
            *weight = cal_stepped_back(*weight, cal_bit(v.map.rising, entry_of(&v, i)), move);
    }
    memcpy(v.bias, v.map.bias_kept, (size_t)v.rows * sizeof *v.bias);
}

/* The loss, and the sums of a block. */
static int64_t sum_up(cal_calibrator *cal, cal_sweep sweep, int32_t number) {
    const view v = view_of(cal, number);
    memset(v.map.sum, 0, (size_t)v.rows * (size_t)v.columns * sizeof *v.map.sum);
    memset(v.map.bias_sum, 0, (size_t)v.rows * sizeof *v.map.bias_sum);
    *v.map.magnitude = 0;
    sweep.first = v.block.layer;
    sweep.end = number + 1;
    return cal_weighted_loss(cal, &sweep);
}

/* How many blocks a step goes on. */
static int32_t stride_of(int32_t count) {
    int32_t stride = (int32_t)((int64_t)count * 618 / 1000);
    for (stride = stride > 1 ? stride : 1;; stride++) {
        int32_t a = stride, b = count;
        while (b > 0) {
            const int32_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1) return stride;
    }
}

cal_update_outcome cal_update_blocks(cal_calibrator *cal, bool with_held, int32_t steps) {
    const int32_t samples = cal_sample_count(cal, with_held), window = samples - cal->coreset_count;
    const int32_t importance = cal_importance(window, cal->coreset_count);
    const int32_t blocks = cal_block_count(cal), stride = stride_of(blocks);
    const cal_sweep plain = {.with_held = with_held, .coreset_importance = importance};
    const int64_t mass = CAL_LOSS_ONE * (window + (int64_t)importance * cal->coreset_count);
    const double goal = cal->settings.loss_goal * (double)mass;
    double fraction = cal->settings.fraction_max;
    int32_t halvings = 0;
    cal_update_outcome outcome = {0};
    int64_t loss = cal_weighted_loss(cal, &plain); /* below 2^53: exact as a double */
    if (steps < 1 || (double)loss <= goal) return outcome;
    int32_t number = (int32_t)(loss % blocks); /* loss > goal >= 0 */
    sum_up(cal, plain, number);
    for (;;) {
        const int32_t move = cal_move(&cal->program->layers[cal_block_at(cal, number).layer], halvings);
        const int32_t next = (int32_t)(((int64_t)number + stride) % blocks);
        propose(cal, number, samples, move, fraction);
        const int64_t candidate = sum_up(cal, plain, next);
        outcome.steps++;
        const bool better = candidate < loss;
        if (better) {
            const double larger = 1.2 * fraction;
            loss = candidate;
            outcome.accepted++;
            fraction = larger < cal->settings.fraction_max ? larger : cal->settings.fraction_max;
        } else {
            withdraw(cal, number, move);
            if (cal_largest_move(cal->program, halvings) > 1) halvings++;
            else fraction = fraction / 2 > cal->settings.fraction ? fraction / 2 : cal->settings.fraction;
        }
        if (outcome.steps >= steps || (double)loss <= goal) return outcome;
        if (!better) sum_up(cal, plain, next); /* the sums are of the candidate that was refused */
        number = next;
    }
}

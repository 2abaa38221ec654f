/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a calibration share. Private to c/session and c/updaters. */
#ifndef CALIBRANT_CALIBRATOR_H
#define CALIBRANT_CALIBRATOR_H

#include "calibrant/calibration.h"

enum {
    CAL_LOSS_ONE = 1 << 16,  /* losses are Q16 nats */
    CAL_ERROR_ONE = 1 << 15, /* output errors are Q15 */
    CAL_SLOPE_BYTES = 3      /* |slope| <= 2^22, signed */
};

/* A layer with the op and the tensors it stands between. */
typedef struct cal_place {
    const cal_layer *layer;
    const cal_op *op;
    const cal_tensor *input, *output;
} cal_place;

/* `memory`. Without blocks, in this order: */
typedef struct cal_memory_map {
    int32_t *bias_slope, *bias_kept; /* [channel_count] each, with settings.bias */
    int32_t *held_loss;              /* before the update, of each sample held back */
    uint8_t *slope;                  /* CAL_SLOPE_BYTES an entry [c_out, c_in / groups], layers one after the other */
    uint8_t *undo;                   /* see proposal.c */
    uint8_t *held;                   /* 1 bit a sample of the window */
    uint8_t *unit;                   /* a layer: what one flip moves a pre-activation by, 1 to 255 */
    uint8_t *statistics;             /* with blocks, of one sample: see block_statistics.c */
    /* With blocks these instead of slopes and units: */
    int64_t *sum, *bias_sum;         /* of signal * mean of each entry of the block, of signal of each of its rows */
    int64_t *magnitude;              /* of the means of the layer's input */
    uint8_t *rising;                 /* 1 bit an entry: its slope is positive */
    int64_t total;                   /* bytes */
} cal_memory_map;

/* Part of a layer: output channels from `row`, input channels of a group from `column`. */
typedef struct cal_block {
    int32_t layer, row, row_end, column, column_end;
} cal_block;

/* What is known of a sample's outputs. */
typedef struct cal_softmax {
    const void *outputs;
    uint64_t total; /* of the masses in Q24 */
    float peak;
    int32_t best;
} cal_softmax;

/* One evaluation: the samples it runs, and what of their statistics it keeps. With blocks, `first` is the layer and `end`
 * one more than the number of the block. */
typedef struct cal_sweep {
    bool with_held;             /* held-back samples of the window too */
    int32_t coreset_importance; /* how often a sample of the coreset counts */
    int32_t first, end;         /* layers whose statistics are kept; none where end is 0 */
} cal_sweep;

/* What an update did. */
typedef struct cal_update_outcome {
    int32_t steps, accepted;
} cal_update_outcome;

/* v * 2^-bits rounded down, and rounded to nearest (half up), as numpy shifts. */
static inline int64_t cal_floor_shift(int64_t v, int32_t bits) { return v >= 0 ? v >> bits : ~(~v >> bits); }
static inline int64_t cal_nearest_shift(int64_t v, int32_t bits) {
    return cal_floor_shift(v + ((int64_t)1 << (bits - 1)), bits);
}

/* A sum of a channel's input over `positions`, as mean with four fraction bits, rounded down; |mean| <= 255 * 16. */
static inline int16_t cal_mean(int32_t sum, int32_t positions) {
    const int64_t scaled = (int64_t)sum * 16;
    return (int16_t)(scaled / positions - (scaled % positions < 0));
}

static inline bool cal_bit(const uint8_t *bits, int64_t i) { return bits[i >> 3] >> (i & 7) & 1; }
static inline void cal_set_bit(uint8_t *bits, int64_t i) { bits[i >> 3] = (uint8_t)(bits[i >> 3] | 1 << (i & 7)); }

/* layout.c */
cal_place cal_place_of(const cal_program *program, int32_t layer);
int32_t cal_last_layer(const cal_program *program);
int64_t cal_weight_total(const cal_layer *layer);
int64_t cal_slope_total(const cal_layer *layer);
int64_t cal_undo_bytes(const cal_layer *layer);
int32_t cal_block_height(const cal_calibrator *cal, const cal_layer *layer);
int32_t cal_block_width(const cal_calibrator *cal, const cal_layer *layer);
int32_t cal_activity_bytes(const cal_place *place);
int64_t cal_record_bytes(const cal_calibrator *cal, int32_t first, int32_t end);
cal_memory_map cal_map(const cal_calibrator *cal);

/* sha256.c: the first eight bytes of the SHA-256 of a sample's codes and its class as eight bytes. */
int64_t cal_identity(const int8_t *codes, int64_t count, uint16_t label);

/* evaluation.c */
int64_t cal_weighted_loss(cal_calibrator *cal, const cal_sweep *sweep);
void cal_measure_all(cal_calibrator *cal, cal_measure *measure, const cal_measure *before, bool *rose);
uint16_t cal_probability(const cal_calibrator *cal, const cal_softmax *softmax, int32_t k);
int32_t cal_sample_count(const cal_calibrator *cal, bool with_held);

/* gradient.c: from the statistics that a sweep left of its layers. */
void cal_pooled_gradient(cal_calibrator *cal, const cal_sweep *sweep, bool after_earlier);

/* proposal.c: change a layer's weights and biases, and take it back. */
void cal_propose(cal_calibrator *cal, int32_t layer, int32_t move, double fraction);
void cal_withdraw(cal_calibrator *cal, int32_t layer, int32_t move);

/* block_statistics.c */
cal_block cal_block_at(const cal_calibrator *cal, int32_t number);
int32_t cal_block_count(const cal_calibrator *cal);
void cal_add_input(cal_calibrator *cal, int32_t channel, int16_t mean);
void cal_count_output(cal_calibrator *cal, const int8_t *y);
void cal_add_to_block(cal_calibrator *cal, const cal_softmax *softmax, uint16_t label, int32_t importance);

/* block_flips.c */
cal_update_outcome cal_update_blocks(cal_calibrator *cal, bool with_held, int32_t steps);

/* guarded_flips.c */
cal_update_outcome cal_update(cal_calibrator *cal, bool with_held, int32_t steps);

/* verification.c */
int32_t cal_held_count(int32_t samples, double holdout);
void cal_hold_back(cal_calibrator *cal);
int32_t cal_importance(int32_t window, int32_t coreset);
bool cal_coreset_fell(const cal_calibrator *cal, const cal_measure *before, const cal_measure *after);

/* A paired difference, gathered sample by sample. */
typedef struct cal_rises {
    int64_t total;
    uint64_t square_high, square_low; /* sum of squares, 128 bits */
    int32_t count;
} cal_rises;
void cal_add_rise(cal_rises *rises, int64_t rise);
bool cal_rose(const cal_rises *rises);

#endif

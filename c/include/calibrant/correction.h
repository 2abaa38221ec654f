/* SPDX-License-Identifier: Apache-2.0 */
/* Affine correction on a microcontroller: what `updaters.affine_correction` does with a window without labels on Linux,
 * samples counting alike, to the last bit; what came of it is a version in a slot.
 *
 *     cal_corrector_start(&corrector);               // constants and memory of the newest good slot, else of flash
 *     cal_corrector_observe(&corrector, codes);      // keep a sample of the window
 *     cal_corrector_correct(&corrector, &report);    // measure layer after layer, correct, commit; empties the window
 *     cal_corrector_rollback(&corrector);            // the version before the last committed one
 *
 * The caller owns all memory. Sums are integers; what follows from them is float64 where Python has it. What windows said
 * is remembered in single precision, as sessions keep it, and the constants in force follow from that alone. */
#ifndef CALIBRANT_CORRECTION_H
#define CALIBRANT_CORRECTION_H

#include "calibrant/calibration.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Samples that a memory counts as, at most: one that begins with nothing, for windows of mixed classes; and one that
 * begins at home, for windows of few classes each. */
enum { CAL_REMEMBERED = 200, CAL_REMEMBERED_FROM_HOME = 400 };

typedef enum cal_memory_start { CAL_FROM_NOTHING, CAL_FROM_HOME } cal_memory_start;

typedef struct cal_correction {
    uint32_t version;  /* in force now */
    int32_t samples;   /* that the window had */
    int32_t corrected; /* channels whose constants are not the artifact's */
} cal_correction;

/* Everything up to the state is the caller's to fill in; `cal_corrector_start` sets the state. Arrays are [channels], but
 * for what is said otherwise. */
#define CAL_CORRECTOR_FIELDS(X)                                                                                        \
    X(const cal_program *, program) /* every layer but the last is of one op with an output of 8 bits */               \
    X(const cal_constants *, constants) /* as the artifact has them, in flash */                                       \
    X(int32_t, channels) /* that are corrected: those of all layers but the last, whose come last */                   \
    X(const float *, home_mean) /* four of `PreActivations`, in flash */                                               \
    X(const float *, home_variance)                                                                                    \
    X(const float *, mean_spread)                                                                                      \
    X(const float *, square_spread)                                                                                    \
    X(const cal_slots *, slots) /* whose parts are the seven that follow */                                            \
    X(int32_t *, bias) /* in RAM: what inference runs on, beside the artifact's weights */                             \
    X(int32_t *, multiplier)                                                                                           \
    X(int32_t *, shift)                                                                                                \
    X(float *, samples) /* the memory: how many samples it counts as, mean pre-activation, mean of squares */          \
    X(float *, mean)                                                                                                   \
    X(float *, square)                                                                                                 \
    X(int32_t *, limit) /* [1], CAL_REMEMBERED or CAL_REMEMBERED_FROM_HOME */                                          \
    X(int8_t *, window_x) /* int8[window_capacity, elements of input] */                                               \
    X(int32_t, window_capacity) /* below 2^10: with 2^23 positions of squares up to 2^30 a sum is below 2^63 */        \
    X(int64_t *, sums) /* [2 * the most channels of a corrected layer], used while cal_corrector_correct runs */       \
    X(uint8_t *, arena) /* of inference, at a multiple of 8: sums of a layer lie beside its input, see below */        \
    X(int64_t, arena_bytes)                                                                                            \
    X(void *, context) /* the first argument of `infer` */                                                             \
    X(cal_infer *, infer)                                                                                              \
    X(cal_versions, versions) /* from here on the state */                                                             \
    X(int32_t, window_count)                                                                                           \
    X(int32_t, measured) /* the layer whose moments are wanted, -1: none */
typedef struct cal_corrector { CAL_CORRECTOR_FIELDS(CAL_DECLARE) } cal_corrector;

/* Check what the caller filled in, and load the newest slot that is whole, of this model and within bounds, else flash.
 *
 * `infer` calls cal_corrector_measures before every conv2d of a corrected layer, and goes no further where that says so.
 * Until then all of the arena but that op's input is free: there its accumulators go, piece by piece. A piece is a row of
 * outputs, or a position where input and output have one row; before or behind the input there must be room for one, 4
 * bytes a value. */
cal_calibration_status cal_corrector_start(cal_corrector *corrector);

/* Keep a sample for the next correction. */
cal_calibration_status cal_corrector_observe(cal_corrector *corrector, const int8_t *codes);

/* Correct by the window and what is remembered of earlier ones, and commit. Runs the window (L + 1) / 2 times, where L is
 * how many layers are corrected. Of an empty window nothing comes. */
cal_calibration_status cal_corrector_correct(cal_corrector *corrector, cal_correction *report);

/* Another domain: what was remembered is forgotten; the constants stay until the next correction. */
void cal_corrector_forget(cal_corrector *corrector, cal_memory_start start);

/* The version before the last committed one, bit for bit, as a new version; once between two commits. */
cal_calibration_status cal_corrector_rollback(cal_corrector *corrector);

/* For `infer`: measure a layer if its moments are wanted; true if they were, and the rest of the network is not. */
bool cal_corrector_measures(cal_corrector *corrector, cal_kernel *kernel, const cal_args *args);

#ifdef __cplusplus
}
#endif
#endif

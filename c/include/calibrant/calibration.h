/* SPDX-License-Identifier: Apache-2.0 */
/* Guarded flip calibration on a microcontroller: what `Session.observe` does with a labeled window on Linux (form
 * 'pooled' or a `BlockFlips`, no gate, no upkeep), to the last bit. Integers decide; float32 and float64 appear where Python has them.
 *
 *     cal_start(&calibrator);                        // weights of the newest good slot, else those in flash
 *     cal_observe(&calibrator, codes, label);        // keep a sample of the window
 *     cal_calibrate(&calibrator, &report);           // learn, verify, commit or restore; empties the window
 *     cal_rollback(&calibrator);                     // the version before the last committed one
 *
 * The caller owns all memory. The weights of the version in force are not copied: they stand in one of two slots of
 * persistent storage, which two functions of the caller's reach, or, before anything was committed, in flash.
 */
#ifndef CALIBRANT_CALIBRATION_H
#define CALIBRANT_CALIBRATION_H

#include "calibrant/calibrant.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CAL_SLOTS = 2, CAL_SLOT_PAGE = 64, CAL_MODEL_BYTES = 32, CAL_UNLABELED = -1, CAL_IN_FLASH = -1 };

/* The parent of a version that one cannot go back from. */
#define CAL_NO_PARENT UINT32_MAX

/* A stretch of parameters: as the artifact has it, and in RAM. A slot with words out of their bounds is not loaded. */
#define CAL_PART_FIELDS(X)                                                                                             \
    X(const void *, flash) /* NULL: zeros */                                                                           \
    X(void *, ram)                                                                                                     \
    X(uint32_t, count) /* values */                                                                                    \
    X(uint32_t, bits) /* 2, 4 or 8: int8 codes, of so many bits in a slot; 32: words, int32 or float */                \
    X(int32_t, low) /* bounds of words */                                                                              \
    X(int32_t, high)                                                                                                   \
    X(bool, real) /* words are floats; the bounds are of magnitudes, as the bits of a float */
typedef struct cal_part { CAL_PART_FIELDS(CAL_DECLARE) } cal_part;

/* Where versions are kept: the caller's to fill in. */
typedef struct cal_slots {
    const cal_part *parts; /* everything that adapts, in the order of storage */
    int32_t part_count;
    const uint8_t *model;  /* [CAL_MODEL_BYTES] names the artifact that slots belong to */
    void *context;         /* the first argument of the functions below */
    /* Slot 0 or 1, cal_slot_bytes() each. Saving writes pages of CAL_SLOT_PAGE bytes in ascending order, the first at
     * offset 0 (erase the slot then). False when it fails. */
    bool (*read)(void *context, int32_t slot, uint32_t offset, void *bytes, uint32_t count);
    bool (*write)(void *context, int32_t slot, uint32_t offset, const void *bytes, uint32_t count);
} cal_slots;

/* What is in force: its number, the one it came from, and the slot that holds it. */
#define CAL_VERSIONS_FIELDS(X)                                                                                         \
    X(uint32_t, version)                                                                                               \
    X(uint32_t, parent)                                                                                                \
    X(uint32_t, sequence)                                                                                              \
    X(int32_t, slot) /* CAL_IN_FLASH: what the artifact has */
typedef struct cal_versions { CAL_VERSIONS_FIELDS(CAL_DECLARE) } cal_versions;

/* Bytes of a slot. */
int64_t cal_slot_bytes(const cal_slots *slots);

/* As `FlipSettings` and the artifact's thresholds have them. */
#define CAL_FLIP_SETTINGS_FIELDS(X)                                                                                    \
    X(double, fraction)                                                                                                \
    X(double, fraction_max)                                                                                            \
    X(double, loss_goal)                                                                                               \
    X(double, coreset_drop)                                                                                            \
    X(double, holdout)                                                                                                 \
    X(int32_t, steps)                                                                                                  \
    X(bool, bias)                                                                                                      \
    X(uint16_t, block) /* 0: `GuardedFlips`, all layers at once; else `BlockFlips` with so many entries a block at most */
typedef struct cal_flip_settings { CAL_FLIP_SETTINGS_FIELDS(CAL_DECLARE) } cal_flip_settings;

typedef enum cal_calibration_status {
    CAL_CALIBRATION_OK,
    CAL_CALIBRATION_INVALID, /* the calibrator does not fit its program, or a label its classes */
    CAL_CALIBRATION_FULL,    /* the window holds window_capacity samples */
    CAL_CALIBRATION_STORAGE, /* a slot could not be written or read back: the last good version is in force */
    CAL_CALIBRATION_OLDEST   /* no version is known before the one in force */
} cal_calibration_status;

typedef enum cal_decision { CAL_SKIPPED, CAL_REJECTED, CAL_COMMITTED } cal_decision;

typedef enum cal_reason {
    CAL_REASON_NO_LABELS,
    CAL_REASON_LEARNED,      /* already learned */
    CAL_REASON_NO_STEP,      /* no step lowered the loss */
    CAL_REASON_CORESET_FELL, /* the coreset lost more than coreset_drop of its accuracy */
    CAL_REASON_HELD_ROSE,    /* the loss of held-back samples rose significantly */
    CAL_REASON_STORAGE,
    CAL_REASON_VERIFIED
} cal_reason;

/* Losses are sums in Q16 nats: over window and coreset, and over the held-back samples. `right` counts samples. */
typedef struct cal_measure {
    int64_t loss, held_loss;
    int32_t right, coreset_right;
} cal_measure;

typedef struct cal_report {
    cal_decision decision;
    cal_reason reason;
    uint32_t version;        /* in force now */
    int32_t samples, held;   /* of the window: labeled, and of these held back */
    int32_t steps, accepted; /* candidates tried and kept */
    int32_t flips;           /* weights that differed from the version in force before */
    cal_measure before, after;
} cal_report;

/* Run one sample on `weights` and `bias`: calls cal_sense_input before and cal_sense_output after every conv2d. Returns
 * the output tensor, int32 or int8; it must stay until the next call. */
typedef const void *cal_infer(void *context, const int8_t *codes);

/* Everything up to the state is the caller's to fill in; `cal_start` sets the state. */
#define CAL_CALIBRATOR_FIELDS(X)                                                                                       \
    X(const cal_program *, program)                                                                                    \
    X(const cal_constants *, constants) /* weights and bias as the artifact has them, in flash */                      \
    X(const float *, scale) /* [channel_count] weight scales */                                                        \
    X(float, output_scale) /* of the output tensor; of the last layer's input where the output has 32 bits */          \
    X(const int8_t *, feedback) /* [classes, channel_count] */                                                         \
    X(int32_t, classes)                                                                                                \
    X(const cal_slots *, slots) /* whose parts are `weights` and `bias` */                                             \
    X(int8_t *, weights) /* [weight_count] in RAM: what inference runs on */                                           \
    X(int32_t *, bias) /* [channel_count] in RAM */                                                                    \
    X(const int8_t *, coreset_x) /* int8[coreset_count, elements of input], each sample once */                        \
    X(const uint16_t *, coreset_y)                                                                                     \
    X(int32_t, coreset_count)                                                                                          \
    X(int8_t *, window_x) /* int8[window_capacity, elements of input] */                                               \
    X(uint16_t *, window_y)                                                                                            \
    X(int32_t, window_capacity)                                                                                        \
    X(cal_flip_settings, settings)                                                                                     \
    X(uint8_t *, memory) /* cal_memory_bytes() at a multiple of 8, kept while cal_calibrate runs */                    \
    X(int64_t, statistics_bytes) /* share of it that is for statistics: the more, the fewer forward sweeps */          \
    X(uint8_t *, workspace) /* cal_workspace_bytes() at a multiple of 8; may be the arena of inference */              \
    X(void *, context) /* the first argument of `infer` */                                                             \
    X(cal_infer *, infer)                                                                                              \
    X(cal_versions, versions) /* from here on the state */                                                             \
    X(int32_t, window_count)                                                                                           \
    X(uint8_t *, record) /* of the sample that is running, NULL: statistics are not wanted */                          \
    X(int32_t, sensed_first) /* layers whose statistics are wanted */                                                  \
    X(int32_t, sensed_end)
typedef struct cal_calibrator { CAL_CALIBRATOR_FIELDS(CAL_DECLARE) } cal_calibrator;

/* Memory, in bytes. With L layers, C = sum of c_out, E = sum of c_out * c_in / groups, K classes, W window_capacity, H
 * samples held back of W, S = statistics_bytes, U = sum over layers of (bits == 8 ? weights : ceil(weights / 8)):
 *
 *     memory     = up8(8 * C where settings.bias) + up8(4 * H) + up8(3 * E + U + ceil(W / 8) + L) + up8(S)
 *     workspace  = max(1024, 8 * W, 4 * (W + coreset_count), 8 * max c_out)
 *
 * The statistics of a sample take 2 * (K + 1) bytes and, per layer, 2 * c_in + up2(c_out * a); a = 0 where the layer's
 * output has 32 bits, 1 where it has at most 255 positions, else 2. S is at least (W + coreset_count) times those of
 * the largest layer (cal_statistics_bytes with `all` false), and more than for all layers is of no use. All choices give
 * the same results: a kept step costs one forward sweep more for every further part that the layers are taken in.
 *
 * With settings.block B > 0: a block of a layer has h = min(c_out, max(1, B / (c_in / groups))) rows, w = min(B, c_in /
 * groups) columns and t taps; R is the largest h, E the largest h * w, U the largest of (bits == 8 ? h * w * t : ceil(h *
 * w * t / 8)); statistics_bytes is 0, and a refused step costs a second sweep:
 *
 *     memory     = up8(10 * E + 14 * R + 8 + 4 * H + U + ceil(E / 8) + ceil(W / 8))
 *     workspace  = 8 * W */
int64_t cal_statistics_bytes(const cal_calibrator *calibrator, bool all);
int64_t cal_memory_bytes(const cal_calibrator *calibrator);
int64_t cal_workspace_bytes(const cal_calibrator *calibrator);

/* Check what the caller filled in, load the newest slot that is whole and of this model, else the weights in flash. */
cal_calibration_status cal_start(cal_calibrator *calibrator);

/* Keep a sample for the next cal_calibrate; CAL_UNLABELED ones teach nothing and are not kept. */
cal_calibration_status cal_observe(cal_calibrator *calibrator, const int8_t *codes, int32_t label);

/* Learn from the window. Whatever happens, `weights` and `bias` are those of a version that passed verification. */
cal_calibration_status cal_calibrate(cal_calibrator *calibrator, cal_report *report);

/* The version before the last committed one, bit for bit, as a new version; once between two commits. */
cal_calibration_status cal_rollback(cal_calibrator *calibrator);

/* For `infer`: the whole input of a conv2d before it runs, the whole output after; `layer` as in the program. */
void cal_sense_input(cal_calibrator *calibrator, int32_t layer, const int8_t *x);
void cal_sense_output(cal_calibrator *calibrator, int32_t layer, const void *y);

#ifdef __cplusplus
}
#endif
#endif

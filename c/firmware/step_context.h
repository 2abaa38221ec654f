/* SPDX-License-Identifier: Apache-2.0 */
/* Between the tables of a model that trains and the code around them. */
#ifndef CALIBRANT_STEP_CONTEXT_H
#define CALIBRANT_STEP_CONTEXT_H

#include <stdalign.h>

#include "calibrant/calibration.h"
#include "calibrant/training.h"

/* What changes from one training step to the next. */
typedef struct calibrant_step_context {
    int32_t label;
    float rate, bias_rate;
    float *loss;
} calibrant_step_context;

/* The learner's state. `pending` samples wait in the accumulators for the end of their batch. */
#define CALIBRANT_LEARNER_FIELDS(X)                                                                                    \
    X(cal_versions, versions)                                                                                          \
    X(int32_t, coreset_right)                                                                                          \
    X(int32_t, samples)                                                                                                \
    X(int32_t, pending)                                                                                                \
    X(float, rate)                                                                                                     \
    X(float, bias_rate)
typedef struct calibrant_learner { alignas(16) CALIBRANT_LEARNER_FIELDS(CAL_DECLARE) } calibrant_learner;

/* Runs a kernel with what is known only now. */
static inline void calibrant_step(cal_training_kernel *kernel, const cal_training_args *fixed,
                                  const calibrant_step_context *now) {
    cal_training_args args = *fixed;
    args.label = now->label;
    args.rate = now->rate;
    args.bias_rate = now->bias_rate;
    args.loss = now->loss;
    kernel(&args);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Inference of the exported model. Nothing here allocates, blocks or fails; there is one arena, so one call at a time. */
#ifndef CALIBRANT_INFERENCE_H
#define CALIBRANT_INFERENCE_H

#include <stdint.h>

/* The code of one value of a sample, as the model was trained: standardized by its channel's mean and deviation, then
 * quantized. A sample is int8[CALIBRANT_INPUT_POSITIONS][CALIBRANT_INPUT_CHANNELS]: all channels of a position together,
 * positions in order of time, or row by row. */
int8_t calibrant_encode(float value, int32_t channel);

/* Where the next sample's CALIBRANT_INPUT_BYTES codes may be written, to save a copy; overwritten by inference. */
int8_t *calibrant_input(void);

/* The class of a sample, 0 to CALIBRANT_CLASSES - 1; of equal scores the lowest class. `x` may be calibrant_input(). */
int32_t calibrant_infer(const int8_t *x);

/* What the last inference gave class k: the raw integer, and as a real number (a logit). And its class again. */
int32_t calibrant_output(int32_t k);
float calibrant_score(int32_t k);
int32_t calibrant_class(void);

#endif

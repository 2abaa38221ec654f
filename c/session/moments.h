/* SPDX-License-Identifier: Apache-2.0 */
/* Moments of a layer within an arena that has no room for its accumulators. Private to c/session. */
#ifndef CALIBRANT_MOMENTS_H
#define CALIBRANT_MOMENTS_H

#include "calibrant/kernel.h"

/* Memory for accumulators at a multiple of 4. */
typedef struct cal_room {
    uint8_t *memory;
    int64_t bytes;
} cal_room;

/* The larger part of an arena before or behind an input; `arena` at a multiple of 8. */
cal_room cal_room_beside(uint8_t *arena, int64_t arena_bytes, int64_t at, const cal_tensor *input);

/* How many pieces of an op's output a room holds; none of it: 0. */
int32_t cal_pieces(const cal_room *room, const cal_tensor *input, const cal_tensor *output);

/* Adds a sample's sums of pre-activations and of their squares, [channels of the output] each, as c/engine/moments.c
 * gives them; room for one piece at least. */
void cal_add_moments(cal_kernel *kernel, const cal_args *args, const cal_room *room, int64_t *total, int64_t *square);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What both kinds of firmware verify by: policy/verification.py. Private to c/session and c/firmware. */
#ifndef CALIBRANT_VERIFICATION_H
#define CALIBRANT_VERIFICATION_H

#include <stdbool.h>
#include <stdint.h>

/* Whether the share of a coreset of `count` samples that is right fell by more than `drop`. */
static inline bool cal_share_fell(int32_t count, int32_t before, int32_t after, double drop) {
    if (count == 0) return false;
    return (double)before / (double)count - (double)after / (double)count > drop + 1e-9;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Binary layers: signs of inputs and weights in 32-bit words, the set bit for -1, surplus bits 0. A sum of K products is
 * K - 2m, with m the mismatches; a product counts CAL_UNIT in an accumulator. docs/numerics.md; private to c/.
 *
 * Packed weights of a layer, the same for all variants: [block of 16 outputs][tap][word of the depth][16]. */
#ifndef CALIBRANT_BINARY_H
#define CALIBRANT_BINARY_H

#include "calibrant/kernel.h"

enum { CAL_SIGN_WORD = 32, CAL_SIGN_BLOCK = 16, CAL_UNIT = 256 };

static inline bool cal_layer_binary(const cal_layer *layer) { return layer->bits == 1; }

static inline int32_t cal_sign_words(int32_t channels) { return (channels + CAL_SIGN_WORD - 1) / CAL_SIGN_WORD; }

/* Words of one output's weights. */
static inline int64_t cal_binary_words(const cal_layer *layer) {
    return (int64_t)layer->kernel_h * layer->kernel_w * cal_sign_words(layer->c_in);
}

static inline int64_t cal_binary_bytes(const cal_layer *layer) {
    return (layer->c_out + CAL_SIGN_BLOCK - 1) / CAL_SIGN_BLOCK * cal_binary_words(layer) * CAL_SIGN_BLOCK *
           (int64_t)sizeof(uint32_t);
}

/* What an output's accumulator is without mismatches; each takes 2 * CAL_UNIT off. Modulo 2^32, like all sums. */
static inline uint32_t cal_binary_start(const cal_args *a, int32_t o) {
    const int32_t products = a->op->kernel_h * a->op->kernel_w * a->layer->c_in;
    return (uint32_t)a->bias[o] + (uint32_t)products * CAL_UNIT;
}

/* Puts the 16 bits of a block of outputs into its position's words; blocks come in ascending order. */
static inline void cal_write_signs(const cal_args *a, int32_t block, ptrdiff_t position, uint32_t bits) {
    uint32_t *word = (uint32_t *)a->y + position * cal_sign_words(a->output->channels) + block / 2;
    *word = block % 2 ? *word | bits << CAL_SIGN_BLOCK : bits;
}

/* Signs have no clamp: every output position of a 1-bit output counts as active. */
static inline void cal_count_all(const cal_args *a) {
    for (int32_t o = 0; a->active && o < a->output->channels; o++) a->active[o] = a->output->height * a->output->width;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes that program.c checks and run.c and the kernels rely on; what run.c and training.c share. Private to c/. */
#ifndef CALIBRANT_PROGRAM_H
#define CALIBRANT_PROGRAM_H

#include "calibrant/kernel.h"

enum { CAL_SCRATCH_SLACK = 128 }; /* aligning a copy to 64 bytes, and vector loads that end past its last value */

int64_t cal_tensor_bytes(const cal_tensor *t);
int64_t cal_layer_weights(const cal_layer *layer);
int32_t cal_weight_limit(int32_t bits);

cal_kernel *cal_kernel_of(const cal_kernels *kernels, int32_t kind);

/* Where an op's packed weights begin; ops lie there in their order. */
int64_t cal_packed_offset(const cal_program *p, const cal_kernels *kernels, const cal_op *op);

#endif

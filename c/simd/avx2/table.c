/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

#define CAL_KERNEL(kernel) void cal_##kernel##_s8__avx2(const cal_args *args);
#include "calibrant/ops.def"
int64_t cal_packed_bytes__avx2(const cal_op *op, const cal_layer *layer);
void cal_pack__avx2(const cal_op *op, const cal_layer *layer, const int8_t *weights, void *packed);
int64_t cal_peak__avx2(int32_t bits, int64_t rounds, int32_t *sink);

const cal_kernels cal_kernels__avx2 = {
    .name = "avx2",
    .instructions = "vpmaddwd (weights of 8 bits), vpmaddubsw (of 4 and 2), vpshufb (binary layers), 256 bits",
#define CAL_KERNEL(kernel) .kernel = cal_##kernel##_s8__avx2,
#include "calibrant/ops.def"
    .packed_bytes = cal_packed_bytes__avx2,
    .pack = cal_pack__avx2,
    .peak = cal_peak__avx2,
};

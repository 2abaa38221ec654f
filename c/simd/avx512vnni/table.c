/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

/* Only convolution and its tap sums gain from the wider registers; the rest is the AVX2 variant's. */
#define cal_conv2d_s8__avx2 cal_conv2d_s8__avx512vnni
#define cal_conv2d_taps_s8__avx2 cal_conv2d_taps_s8__avx512vnni

#define CAL_KERNEL(kernel) void cal_##kernel##_s8__avx2(const cal_args *args);
#include "calibrant/ops.def"
int64_t cal_packed_bytes__avx512vnni(const cal_op *op, const cal_layer *layer);
void cal_pack__avx512vnni(const cal_op *op, const cal_layer *layer, const int8_t *weights, void *packed);
int64_t cal_peak__avx512vnni(int32_t bits, int64_t rounds, int32_t *sink);

const cal_kernels cal_kernels__avx512vnni = {
    .name = "avx512vnni",
#ifdef CALIBRANT_SIMDE
    .instructions = "vpdpbusd emulated by SIMDe",
#else
    .instructions = "vpdpbusd, 512 bits",
    .peak = cal_peak__avx512vnni,
#endif
#define CAL_KERNEL(kernel) .kernel = cal_##kernel##_s8__avx2,
#include "calibrant/ops.def"
    .packed_bytes = cal_packed_bytes__avx512vnni,
    .pack = cal_pack__avx512vnni,
};

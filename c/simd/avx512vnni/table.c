/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

#define CAL_KERNEL(kernel) void cal_##kernel##_s8__avx2(const cal_args *args);
#include "calibrant/ops.def"
void cal_conv2d_s8__avx512vnni(const cal_args *args);
void cal_conv2d_taps_s8__avx512vnni(const cal_args *args);
int64_t cal_packed_bytes__avx512vnni(const cal_op *op, const cal_layer *layer);
void cal_pack__avx512vnni(const cal_op *op, const cal_layer *layer, const int8_t *weights, void *packed);
int64_t cal_peak__avx512vnni(int32_t bits, int64_t rounds, int32_t *sink);

/* Only convolution and its tap sums gain from the wider registers; the rest is the AVX2 variant's. */
const cal_kernels cal_kernels__avx512vnni = {
    .name = "avx512vnni",
#ifdef CALIBRANT_SIMDE
    .instructions = "vpdpbusd emulated by SIMDe",
#else
    .instructions = "vpdpbusd, 512 bits",
    .peak = cal_peak__avx512vnni,
#endif
    .conv2d = cal_conv2d_s8__avx512vnni,
    .max_pool2d = cal_max_pool2d_s8__avx2,
    .avg_pool2d = cal_avg_pool2d_s8__avx2,
    .mean = cal_mean_s8__avx2,
    .add = cal_add_s8__avx2,
    .concat = cal_concat_s8__avx2,
    .channel_sum = cal_channel_sum_s8__avx2,
    .conv2d_taps = cal_conv2d_taps_s8__avx512vnni,
    .packed_bytes = cal_packed_bytes__avx512vnni,
    .pack = cal_pack__avx512vnni,
};

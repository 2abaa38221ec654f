/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

/* As avx512vnni, but for the binary layers that population counts are for. */
#define cal_conv2d_s8__avx2 cal_conv2d_s8__avx512vnni
#define cal_conv2d_taps_s8__avx2 cal_conv2d_taps_s8__avx512vnni
#define cal_binary_conv2d_s8__avx2 cal_binary_conv2d_s8__avx512vpopcntdq

#define CAL_KERNEL(kernel) void cal_##kernel##_s8__avx2(const cal_args *args);
#include "calibrant/ops.def"
int64_t cal_packed_bytes__avx512vnni(const cal_op *op, const cal_layer *layer);
void cal_pack__avx512vnni(const cal_op *op, const cal_layer *layer, const int8_t *weights, void *packed);
int64_t cal_peak__avx512vnni(int32_t bits, int64_t rounds, int32_t *sink);

const cal_kernels cal_kernels__avx512vpopcntdq = {
    .name = "avx512vpopcntdq",
#ifdef CALIBRANT_SIMDE
    .instructions = "vpdpbusd and vpopcntd (binary layers) emulated by SIMDe",
#else
    .instructions = "vpdpbusd, vpopcntd (binary layers), 512 bits",
    .peak = cal_peak__avx512vnni,
#endif
#define CAL_KERNEL(kernel) .kernel = cal_##kernel##_s8__avx2,
#include "calibrant/ops.def"
    .packed_bytes = cal_packed_bytes__avx512vnni,
    .pack = cal_pack__avx512vnni,
};

/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/kernel.h"

#define CAL_KERNEL(kernel) void cal_##kernel##_s8__ref(const cal_args *args);
#include "calibrant/ops.def"

const cal_kernels cal_kernels__ref = {
    .name = "ref",
    .instructions = "portable C",
#define CAL_KERNEL(kernel) .kernel = cal_##kernel##_s8__ref,
#include "calibrant/ops.def"
};

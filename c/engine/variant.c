/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/calibrant.h"

extern const cal_kernels cal_kernels__ref;
#ifdef CAL_HAVE_X86
extern const cal_kernels cal_kernels__avx2, cal_kernels__avx512vnni, cal_kernels__avx512vpopcntdq;
#endif

const cal_kernels *cal_variant(int32_t index) {
    switch (index) {
    case 0: return &cal_kernels__ref;
#ifdef CAL_HAVE_X86
    case 1: return &cal_kernels__avx2;
    case 2: return &cal_kernels__avx512vnni;
    case 3: return &cal_kernels__avx512vpopcntdq;
#endif
    default: return NULL;
    }
}

/* The compiler's runtime asks CPUID, and XGETBV whether the system saves the wide registers. */
bool cal_variant_usable(const cal_kernels *kernels) {
#ifdef CAL_HAVE_X86
    __builtin_cpu_init();
    if (kernels == &cal_kernels__avx2) return __builtin_cpu_supports("avx2");
#ifndef CALIBRANT_SIMDE
    if (kernels == &cal_kernels__avx512vpopcntdq && !__builtin_cpu_supports("avx512vpopcntdq")) return false;
    if (kernels == &cal_kernels__avx512vnni || kernels == &cal_kernels__avx512vpopcntdq)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vnni");
#endif
#endif
    return kernels != NULL;
}

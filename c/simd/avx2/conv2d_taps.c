/* SPDX-License-Identifier: Apache-2.0 */
/* Masked tap sums in 16-bit lanes: 128 values of magnitude 255 fit (32,640), so positions go in blocks of 128. A block
 * first lists where its active positions start; inactive ones then cost nothing. */
#include <immintrin.h>

#include "../copy.h"

enum { POSITIONS = 128, LANES = 16, VECTORS = 8 };

CAL_DEFINE_COPY(copy_input, int16_t, CAL_CENTERED, CAL_CENTERED_PADDING)

typedef struct active_list {
    ptrdiff_t offset[POSITIONS];
    int32_t count;
} active_list;

static active_list list_active(const cal_args *a, const cal_window *w, int32_t o, int32_t begin, int32_t end) {
    const cal_tensor *out = a->output;
    active_list list;
    int32_t row = begin / out->width, column = begin % out->width;
    list.count = 0;
    for (int32_t p = begin; p < end; p++) {
        const int8_t code = out->bits == 8 ? ((const int8_t *)a->y)[(ptrdiff_t)p * out->channels + o] : 0;
        const bool active = out->bits == 32 || (code > a->op->clamp_low && code < a->op->clamp_high);
        list.offset[list.count] = cal_position_offset(a->op, w, row, column);
        list.count += active; /* an inactive position's entry is written over */
        if (++column == out->width) column = 0, row++;
    }
    return list;
}

/* sums[0 .. 16 V) = sum over the list of x there. */
static inline __attribute__((always_inline)) void sum_vectors(const active_list *list, const int16_t *x, const int32_t V,
                                                              int16_t *sums) {
    __m256i sum[VECTORS];
#pragma GCC unroll 8
    for (int32_t v = 0; v < V; v++) sum[v] = _mm256_setzero_si256();
    for (int32_t n = 0; n < list->count; n++) {
        const __m256i *at = (const __m256i *)(x + list->offset[n]);
#pragma GCC unroll 8
        for (int32_t v = 0; v < V; v++) sum[v] = _mm256_add_epi16(sum[v], _mm256_loadu_si256(at + v));
    }
#pragma GCC unroll 8
    for (int32_t v = 0; v < V; v++) _mm256_storeu_si256((__m256i *)sums + v, sum[v]);
}

static void add_scaled(int64_t *taps, const int16_t *sums, int32_t count, int32_t signal) {
    const __m256i factor = _mm256_set1_epi64x(signal);
    int32_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const __m256i sum = _mm256_cvtepi16_epi64(_mm_loadl_epi64((const __m128i *)(sums + i)));
        __m256i *to = (__m256i *)(taps + i);
        _mm256_storeu_si256(to, _mm256_add_epi64(_mm256_loadu_si256(to), _mm256_mul_epi32(sum, factor)));
    }
    for (; i < count; i++) taps[i] = (int64_t)((uint64_t)taps[i] + (uint64_t)((int64_t)signal * sums[i]));
}

/* One run of taps: as many vectors at a time as are left, up to eight. Loads may pass the run's end by 15 values. */
static void run_taps(const active_list *list, const int16_t *x, int32_t run, int32_t signal, int64_t *taps) {
    int16_t sums[VECTORS * LANES];
    for (int32_t k = 0; k < run;) {
        const int32_t left = (run - k + LANES - 1) / LANES;
        const int32_t vectors = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        switch (vectors) {
        case 8: sum_vectors(list, x + k, 8, sums); break;
        case 4: sum_vectors(list, x + k, 4, sums); break;
        case 2: sum_vectors(list, x + k, 2, sums); break;
        default: sum_vectors(list, x + k, 1, sums); break;
        }
        add_scaled(taps + k, sums, cal_min(vectors * LANES, run - k), signal);
        k += vectors * LANES;
    }
}

void CAL_NAME(conv2d_taps)(const cal_args *a) {
    const cal_op *op = a->op;
    const cal_window w = cal_window_of(op, a->layer, a->output);
    const bool depthwise = cal_is_depthwise(op, a->layer);
    const int32_t outputs = depthwise ? a->layer->c_out : a->layer->c_out / op->groups;
    const int32_t runs = depthwise ? op->kernel_h * op->kernel_w : w.runs, run = depthwise ? 1 : w.run;
    const int32_t positions = a->output->height * a->output->width;
    int16_t *x = cal_align64(a->scratch);
    for (int32_t o = 0; o < a->layer->c_out; o++) {
        if (o % outputs == 0) copy_input(a, &w, o / outputs * w.channels, a->input[0]->zero_point, x);
        if (a->signal[o] == 0) continue;
        for (int32_t p = 0; p < positions; p += POSITIONS) {
            const active_list list = list_active(a, &w, o, p, cal_min(p + POSITIONS, positions));
            int64_t *taps = a->taps + (ptrdiff_t)o * runs * run;
            for (int32_t r = 0; r < runs; r++, taps += run) {
                const ptrdiff_t offset = depthwise ? cal_tap_offset(op, &w, r) + o : cal_run_offset(op, &w, r);
                run_taps(&list, x + offset, run, a->signal[o], taps);
            }
        }
    }
}

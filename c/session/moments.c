/* SPDX-License-Identifier: Apache-2.0 */
/* c/engine/moments.c in little memory: an output goes through the op's own kernel in pieces, each a smaller convolution on
 * a part of the input. A piece is a row of positions; where input and output have one row, a position. */
#include "moments.h"

enum { LOWEST = -(1 << 15), HIGHEST = (1 << 15) - 1, VALUE_BYTES = 4 };

static bool in_one_row(const cal_tensor *input, const cal_tensor *output) {
    return input->height == 1 && output->height == 1;
}

cal_room cal_room_beside(uint8_t *arena, int64_t arena_bytes, int64_t at, const cal_tensor *input) {
    const int64_t end = at + (int64_t)input->height * input->width * input->channels;
    const int64_t behind = (end + VALUE_BYTES - 1) / VALUE_BYTES * VALUE_BYTES;
    return at >= arena_bytes - behind ? (cal_room){arena, at} : (cal_room){arena + behind, arena_bytes - behind};
}

int32_t cal_pieces(const cal_room *room, const cal_tensor *input, const cal_tensor *output) {
    const int64_t positions = in_one_row(input, output) ? 1 : output->width;
    const int64_t fit = room->bytes / (VALUE_BYTES * positions * output->channels);
    const int32_t all = in_one_row(input, output) ? output->width : output->height;
    return fit < all ? (int32_t)fit : all;
}

/* What outputs `from` to `from + count` read, in one direction: sets size and padding, returns where it begins. Where all
 * of it is padding nothing is left. */
static int32_t cut(int32_t *size, int32_t *pad, int32_t stride, int32_t reach, int32_t from, int32_t count) {
    const int32_t start = from * stride - *pad, skipped = cal_min(cal_max(start, 0), *size);
    *pad = cal_max(-start, 0);
    *size = cal_max(cal_min(*size - skipped, (count - 1) * stride + reach - *pad), 0);
    return skipped;
}

static void add(const cal_args *a, int32_t positions, const int32_t *sums, int64_t *total, int64_t *square) {
    const int32_t channels = a->output->channels;
    for (int32_t p = 0; p < positions; p++, sums += channels)
        for (int32_t o = 0; o < channels; o++) {
            const int64_t value = cal_rescale(sums[o], a->multiplier[o], a->shift[o]);
            const int64_t v = value < LOWEST ? LOWEST : value > HIGHEST ? HIGHEST : value;
            total[o] += v;
            square[o] += v * v;
        }
}

void cal_add_moments(cal_kernel *kernel, const cal_args *args, const cal_room *room, int64_t *total, int64_t *square) {
    const cal_tensor *in = args->input[0], *out = args->output;
    const bool one_row = in_one_row(in, out);
    const int32_t all = one_row ? out->width : out->height, most = cal_pieces(room, in, out);
    for (int32_t from = 0; from < all; from += most) {
        const int32_t count = cal_min(most, all - from);
        cal_op op = *args->op;
        cal_tensor part = *in, piece = *out;
        cal_args a = *args;
        piece.bits = 32;
        if (one_row) {
            const int32_t reach = (op.kernel_w - 1) * op.dilation_w + 1;
            a.x[0] += (ptrdiff_t)cut(&part.width, &op.pad_left, op.stride_w, reach, from, count) * in->channels;
            piece.width = count;
        } else {
            const int32_t reach = (op.kernel_h - 1) * op.dilation_h + 1;
            const int32_t row = cut(&part.height, &op.pad_top, op.stride_h, reach, from, count);
            a.x[0] += (ptrdiff_t)row * in->width * in->channels;
            piece.height = count;
        }
        a.op = &op, a.input[0] = &part, a.output = &piece, a.y = room->memory;
        kernel(&a);
        add(args, piece.height * piece.width, (const int32_t *)(const void *)room->memory, total, square);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A program that runs single convolutions: it reads cases from stream.bin and writes what they give to results.bin.
 * Each case is run twice, with the input and with the weights at the very end of RAM, so that what reads further faults. */
#include <string.h>

#include "calibrant/kernel.h"
#include "port.h"

enum { GUARD = 16, ROOM = 96 * 1024 };

typedef struct kernel_case {
    int32_t depthwise;
    cal_tensor input, output;
    cal_layer layer;
    cal_op op;
} kernel_case;

#define NAME(kernel) CAL_EXPAND(kernel, KERNELS)
void NAME(conv2d)(const cal_args *args);
void NAME(depthwise)(const cal_args *args);

extern char board_ram_end[];
static int32_t words[ROOM / 4];
static int8_t values[ROOM], outputs[ROOM];

static void need(int32_t file, void *to, int32_t bytes) {
    if (port_read(file, to, bytes) != bytes) port_leave(2);
}

static int32_t elements(const cal_tensor *t) { return t->height * t->width * t->channels; }

int main(void) {
    kernel_case c;
    const int32_t stream = port_open("stream.bin", PORT_READ), results = port_open("results.bin", PORT_WRITE);
    while (port_read(stream, &c, sizeof c) == sizeof c) {
        const int32_t channels = c.layer.c_out, inputs = elements(&c.input);
        const int32_t weights = channels * c.op.kernel_h * c.op.kernel_w * (c.layer.c_in / c.op.groups);
        const int32_t bytes = elements(&c.output) * c.output.bits / 8, whole = bytes + 2 * GUARD;
        int32_t *active = words + 3 * channels;
        need(stream, words, 3 * channels * (int32_t)sizeof *words);
        need(stream, values, inputs + weights);
        for (int32_t run = 0; run < 2; run++) {
            int8_t *x = values, *w = values + inputs, *end = (int8_t *)board_ram_end;
            if (run == 0) x = memmove(end - inputs, x, (size_t)inputs);
            else w = memmove(end - weights, w, (size_t)weights);
            memset(outputs, 0x5a, (size_t)whole);
            const cal_args args = {
                .op = &c.op, .input = {&c.input}, .x = {x}, .output = &c.output, .y = outputs + GUARD, .layer = &c.layer,
                .weights = w, .bias = words, .multiplier = words + channels, .shift = words + 2 * channels,
                .active = run == 0 ? active : NULL,
            };
            if (c.depthwise) NAME(depthwise)(&args);
            else NAME(conv2d)(&args);
            port_write(results, outputs, whole);
        }
        port_write(results, active, channels * (int32_t)sizeof *active);
    }
    port_close(stream);
    port_close(results);
    return 0;
}

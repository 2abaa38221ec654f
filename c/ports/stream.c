/* SPDX-License-Identifier: Apache-2.0 */
/* A program around the model: it carries out the commands in stream.bin and writes what they give to results.bin.
 * All numbers are little-endian int32 unless said otherwise. A command is its number and a count n, then n times its
 * data; it gives n times its results:
 *
 *     1 infer   int8 codes of a sample           -> class, raw output of each class
 *     2 encode  a sample's float32, as codes lie -> int8 codes
 *
 * and those of stream_adapt. Last come the bytes of stack that were used. */
#include "stream.h"

enum { INFER = 1, ENCODE };

/* The texts differ so that the two functions are not merged. */
__attribute__((noinline)) void stream_count_begin(void) { __asm__ volatile("/* begin */" ::: "memory"); }
__attribute__((noinline)) void stream_count_end(void) { __asm__ volatile("/* end */" ::: "memory"); }

_Noreturn void stream_fail(const char *text, int32_t status) {
    port_say(text);
    port_leave(status);
}

void stream_need(int32_t stream, void *to, int32_t bytes) {
    if (port_read(stream, to, bytes) != bytes) stream_fail("stream.bin ends within a command\n", STREAM_COMMAND);
}

void stream_give(int32_t results, const void *from, int32_t bytes) {
    if (port_write(results, from, bytes) != bytes) stream_fail("results.bin cannot be written\n", STREAM_FILES);
}

void stream_give_number(int32_t results, int32_t number) { stream_give(results, &number, sizeof number); }

static void infer(int32_t stream, int32_t results) {
    stream_need(stream, calibrant_input(), CALIBRANT_INPUT_BYTES);
    stream_count_begin();
    const int32_t class = calibrant_infer(calibrant_input());
    stream_count_end();
    stream_give_number(results, class);
    for (int32_t k = 0; k < CALIBRANT_CLASSES; k++) stream_give_number(results, calibrant_output(k));
}

static void encode(int32_t stream, int32_t results) {
    int8_t *codes = calibrant_input();
    for (int32_t i = 0; i < CALIBRANT_INPUT_BYTES; i++) {
        float value;
        stream_need(stream, &value, sizeof value);
        codes[i] = calibrant_encode(value, i % CALIBRANT_INPUT_CHANNELS);
    }
    stream_give(results, codes, CALIBRANT_INPUT_BYTES);
}

static void carry_out(int32_t command, int32_t stream, int32_t results) {
    if (command == INFER) infer(stream, results);
    else if (command == ENCODE) encode(stream, results);
    else if (!stream_adapt(command, stream, results))
        stream_fail("stream.bin holds an unknown command\n", STREAM_COMMAND);
}

int main(void) {
    int32_t command[2], bytes;
    const int32_t stream = port_open("stream.bin", PORT_READ), results = port_open("results.bin", PORT_WRITE);
    if (stream < 0 || results < 0)
        stream_fail("expected stream.bin in this folder, and to write results.bin\n", STREAM_FILES);
    stream_adapt_begin();
    while ((bytes = port_read(stream, command, sizeof command)) == sizeof command)
        for (int32_t i = 0; i < command[1]; i++) carry_out(command[0], stream, results);
    if (bytes != 0) stream_fail("stream.bin ends within a command\n", STREAM_COMMAND);
    stream_give_number(results, port_stack_peak());
    port_close(stream);
    port_close(results);
    return STREAM_OK;
}

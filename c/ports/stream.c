/* SPDX-License-Identifier: Apache-2.0 */
/* A program around the model: it carries out the commands in stream.bin and writes what they give to results.bin.
 * All numbers are little-endian int32 unless said otherwise. A command is its number and a count, then its data:
 *
 *     1 infer   n   n samples of int8 codes               -> per sample: class, raw output of each class
 *     2 encode  n   n samples of float32, as codes lie    -> n samples of int8 codes
 *
 * The file ends it. Last come the bytes of stack that were used. */
#include "model.h"
#include "port.h"

enum { INFER = 1, ENCODE, STATUS_OK = 0, STATUS_FILES = 2, STATUS_STREAM = 3 };

/* Where an emulator starts and stops counting instructions; the texts differ so that the two are not merged. */
void stream_count_begin(void);
void stream_count_end(void);
__attribute__((noinline)) void stream_count_begin(void) { __asm__ volatile("/* begin */" ::: "memory"); }
__attribute__((noinline)) void stream_count_end(void) { __asm__ volatile("/* end */" ::: "memory"); }

static _Noreturn void fail(const char *text, int32_t status) {
    port_say(text);
    port_leave(status);
}

static void need(int32_t stream, void *to, int32_t bytes) {
    if (port_read(stream, to, bytes) != bytes) fail("stream.bin ends within a command\n", STATUS_STREAM);
}

static void give(int32_t results, const void *from, int32_t bytes) {
    if (port_write(results, from, bytes) != bytes) fail("results.bin cannot be written\n", STATUS_FILES);
}

static void give_number(int32_t results, int32_t number) { give(results, &number, sizeof number); }

static void infer(int32_t stream, int32_t results) {
    need(stream, calibrant_input(), CALIBRANT_INPUT_BYTES);
    stream_count_begin();
    const int32_t class = calibrant_infer(calibrant_input());
    stream_count_end();
    give_number(results, class);
    for (int32_t k = 0; k < CALIBRANT_CLASSES; k++) give_number(results, calibrant_output(k));
}

static void encode(int32_t stream, int32_t results) {
    int8_t *codes = calibrant_input();
    for (int32_t i = 0; i < CALIBRANT_INPUT_BYTES; i++) {
        float value;
        need(stream, &value, sizeof value);
        codes[i] = calibrant_encode(value, i % CALIBRANT_INPUT_CHANNELS);
    }
    give(results, codes, CALIBRANT_INPUT_BYTES);
}

static void carry_out(int32_t command, int32_t count, int32_t stream, int32_t results) {
    for (int32_t i = 0; i < count; i++) switch (command) {
        case INFER: infer(stream, results); break;
        case ENCODE: encode(stream, results); break;
        default: fail("stream.bin holds an unknown command\n", STATUS_STREAM);
        }
}

int main(void) {
    int32_t command[2], bytes;
    const int32_t stream = port_open("stream.bin", PORT_READ), results = port_open("results.bin", PORT_WRITE);
    if (stream < 0 || results < 0) fail("expected stream.bin in this folder, and to write results.bin\n", STATUS_FILES);
    while ((bytes = port_read(stream, command, sizeof command)) == sizeof command)
        carry_out(command[0], command[1], stream, results);
    if (bytes != 0) fail("stream.bin ends within a command\n", STATUS_STREAM);
    give_number(results, port_stack_peak());
    port_close(stream);
    port_close(results);
    return STATUS_OK;
}

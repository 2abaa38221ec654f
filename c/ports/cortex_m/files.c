/* SPDX-License-Identifier: Apache-2.0 */
/* Files over Arm semihosting ("Semihosting for AArch32 and AArch64", release 2.0): the debugger or emulator serves them.
 * An operation number in r0, the address of its arguments in r1, the answer in r0. */
#include <stddef.h>

#include "port.h"

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_SEEK = 0x0a,
    SYS_EXIT_EXTENDED = 0x20,
    MODE_RB = 1,
    MODE_RB_PLUS = 3,
    MODE_WB = 5,
    APPLICATION_EXIT = 0x20026
};

static const uint8_t modes[] = {[PORT_READ] = MODE_RB, [PORT_WRITE] = MODE_WB, [PORT_UPDATE] = MODE_RB_PLUS};

static int32_t ask(int32_t operation, const void *arguments) {
    register int32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

int32_t port_open(const char *name, port_mode mode) {
    uint32_t length = 0;
    while (name[length]) length++;
    const uint32_t arguments[] = {(uint32_t)name, modes[mode], length};
    return ask(SYS_OPEN, arguments);
}

/* Reading and writing answer how many bytes were not moved. */
int32_t port_read(int32_t file, void *to, int32_t bytes) {
    const uint32_t arguments[] = {(uint32_t)file, (uint32_t)to, (uint32_t)bytes};
    return bytes - ask(SYS_READ, arguments);
}

int32_t port_write(int32_t file, const void *from, int32_t bytes) {
    const uint32_t arguments[] = {(uint32_t)file, (uint32_t)from, (uint32_t)bytes};
    return bytes - ask(SYS_WRITE, arguments);
}

void port_seek(int32_t file, int32_t offset) {
    const uint32_t arguments[] = {(uint32_t)file, (uint32_t)offset};
    ask(SYS_SEEK, arguments);
}

void port_close(int32_t file) {
    const uint32_t arguments[] = {(uint32_t)file};
    ask(SYS_CLOSE, arguments);
}

void port_say(const char *text) { ask(SYS_WRITE0, text); }

void port_leave(int32_t status) {
    const uint32_t arguments[] = {APPLICATION_EXIT, (uint32_t)status};
    for (;;) ask(SYS_EXIT_EXTENDED, arguments);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* From reset to main on Armv7-M and Armv8-M, with a fence: the memory protection unit opens code, constants and the
 * RAM that was granted, and nothing else. The emulated boards have megabytes; a device that touches them must fault.
 * Registers by their architectural addresses: Armv7-M Architecture Reference Manual B3, Armv8-M D1. */
#include "port.h"

/* Placed by board.ld. */
extern uint32_t board_vectors[], board_code_bytes[], board_constants[], board_constants_bytes[];
extern uint32_t board_ram[], board_ram_end[], board_stack_high[];
extern uint32_t board_data_image[], board_data[], board_data_end[], board_bss[], board_bss_end[];

int main(void);

_Noreturn void board_reset(void);
_Noreturn void board_fault(void);

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define CPACR REGISTER(0xe000ed88)
#define CCR REGISTER(0xe000ed14)
#define CFSR REGISTER(0xe000ed28)
#define MMFAR REGISTER(0xe000ed34)
#define BFAR REGISTER(0xe000ed38)
#define MPU_CTRL REGISTER(0xe000ed94)
#define MPU_RNR REGISTER(0xe000ed98)
#define MPU_RBAR REGISTER(0xe000ed9c)
#define MPU_RASR REGISTER(0xe000eda0) /* Armv7-M */
#define MPU_RLAR REGISTER(0xe000eda0) /* Armv8-M */
#define MPU_MAIR0 REGISTER(0xe000edc0)

enum { DIVIDE_BY_ZERO_TRAPS = 1 << 4, FAULT_STATUS = 99 };

static const uint32_t PAINT = 0x5ca1ab1e; /* a stack word that nobody has written */

#define FAULT board_fault
__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    board_stack_high, board_reset, FAULT, FAULT, FAULT, FAULT, FAULT, FAULT,
    FAULT,            FAULT,       FAULT, FAULT, FAULT, FAULT, FAULT, FAULT,
};

static void barrier(void) { __asm__ volatile("dsb\n\tisb" ::: "memory"); }

#if __ARM_ARCH >= 8

enum { NEVER_EXECUTE = 1, WRITABLE = 1 << 1, READ_ONLY = 3 << 1, ENABLED = 1 };

static void open_region(uint32_t number, uint32_t from, uint32_t bytes, uint32_t access) {
    MPU_RNR = number;
    MPU_RBAR = from | access;
    MPU_RLAR = ((from + bytes - 1) & ~31u) | ENABLED;
}

static void open_memory(void) {
    MPU_MAIR0 = 0x44; /* attribute 0: normal memory, not cached */
    open_region(0, (uint32_t)board_vectors, (uint32_t)board_code_bytes, READ_ONLY);
    open_region(1, (uint32_t)board_constants, (uint32_t)board_constants_bytes, READ_ONLY | NEVER_EXECUTE);
    open_region(2, (uint32_t)board_ram, (uint32_t)board_ram_end - (uint32_t)board_ram, WRITABLE | NEVER_EXECUTE);
}

#else

#define NEVER_EXECUTE (1u << 28)
#define WRITABLE (3u << 24)
#define NORMAL (1u << 19) /* memory, not cached: kernels read words at any address, which faults in a device's region */
#define READ_ONLY (6u << 24)
enum { EIGHTHS_FROM = 256 }; /* bytes: smaller regions have no eighths that can be closed one by one */

/* A region is a power of two, aligned to itself; the low `eighths` of it are opened. */
static void open_region(uint32_t number, uint32_t from, uint32_t exponent, uint32_t eighths, uint32_t access) {
    MPU_RNR = number;
    MPU_RBAR = from;
    MPU_RASR = access | NORMAL | (0xffu << eighths & 0xffu) << 8 | (exponent - 1) << 1 | 1u;
}

static uint32_t floor_log2(uint32_t value) { return 31u - (uint32_t)__builtin_clz(value); }

/* Any multiple of 32 bytes from an aligned start: three binary digits of the length a region, the rest below 256 bytes
 * one digit a region. */
static void open_ram(uint32_t number, uint32_t from, uint32_t bytes) {
    for (; bytes; number++) {
        uint32_t exponent = floor_log2(bytes), eighths = 8, taken = 1u << exponent;
        if (bytes > EIGHTHS_FROM && bytes != taken) {
            exponent++;
            eighths = bytes >> (exponent - 3);
            taken = eighths << (exponent - 3);
        }
        open_region(number, from, exponent, eighths, WRITABLE | NEVER_EXECUTE);
        from += taken;
        bytes -= taken;
    }
}

static void open_memory(void) {
    open_region(0, (uint32_t)board_vectors, floor_log2((uint32_t)board_code_bytes), 8, READ_ONLY);
    open_region(1, (uint32_t)board_constants, floor_log2((uint32_t)board_constants_bytes), 8, READ_ONLY | NEVER_EXECUTE);
    open_ram(2, (uint32_t)board_ram, (uint32_t)board_ram_end - (uint32_t)board_ram);
}

#endif

static void prepare(void) {
    const uint32_t *image = board_data_image;
    for (uint32_t *word = board_data; word < board_data_end; word++) *word = *image++;
    for (uint32_t *word = board_bss; word < board_bss_end; word++) *word = 0;
    uint32_t *here;
    __asm__ volatile("mov %0, sp" : "=r"(here));
    for (volatile uint32_t *word = board_ram; word < here - 8; word++) *word = PAINT; /* the stack is lowest in RAM */
    CCR |= DIVIDE_BY_ZERO_TRAPS;
    open_memory();
    MPU_CTRL = 1; /* on, without a background map */
    barrier();
}

void board_reset(void) {
#ifdef __ARM_FP
    CPACR |= 0xfu << 20; /* before the first float instruction */
    barrier();
#endif
    prepare();
    port_leave(main());
}

static void say_word(const char *name, uint32_t word) {
    char digits[11] = "00000000\n";
    for (int32_t i = 7; i >= 0; i--, word >>= 4) digits[i] = "0123456789abcdef"[word & 15];
    port_say(name);
    port_say(digits);
}

/* The stack may be what broke, so the handler starts over at its top. */
__attribute__((naked)) void board_fault(void) {
    __asm__ volatile("ldr r0, =board_stack_high\n\tmsr msp, r0\n\tb board_report");
}

__attribute__((used)) _Noreturn void board_report(void);
void board_report(void) {
    say_word("fault: status ", CFSR);
    say_word("memory address ", MMFAR);
    say_word("bus address ", BFAR);
    port_leave(FAULT_STATUS);
}

int32_t port_stack_peak(void) {
    const volatile uint32_t *word = board_ram;
    while (word < board_stack_high && *word == PAINT) word++;
    return (int32_t)((uint32_t)board_stack_high - (uint32_t)word);
}

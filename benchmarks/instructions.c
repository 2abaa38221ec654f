/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin for QEMU: counts the instructions executed from function `begin` to function `end`, each time anew.
 *
 *     -plugin libinstructions.so,begin=ADDRESS,end=ADDRESS -d plugin -D FILE
 *
 * writes one number a line. The prototypes are those of plugin interface 1 (QEMU 4.2 to 8); Debian has no header. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
typedef struct qemu_plugin_tb block;
typedef struct qemu_plugin_insn instruction;

enum { NO_REGISTERS = 0, ADD_U64 = 0 };

size_t qemu_plugin_tb_n_insns(const block *tb);
instruction *qemu_plugin_tb_get_insn(const block *tb, size_t i);
uint64_t qemu_plugin_insn_vaddr(const instruction *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*translated)(plugin_id, block *));
void qemu_plugin_register_vcpu_insn_exec_cb(instruction *insn, void (*executed)(unsigned, void *), int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_inline(instruction *insn, int operation, void *counter, uint64_t by);
void qemu_plugin_outs(const char *text);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t begin, end, executed, at_begin;

static void on_begin(unsigned cpu, void *data) {
    (void)cpu, (void)data;
    at_begin = executed;
}

static void on_end(unsigned cpu, void *data) {
    (void)cpu, (void)data;
    char line[32];
    snprintf(line, sizeof line, "%" PRIu64 "\n", executed - at_begin);
    qemu_plugin_outs(line);
}

static void on_translation(plugin_id id, block *tb) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        instruction *insn = qemu_plugin_tb_get_insn(tb, i);
        const uint64_t address = qemu_plugin_insn_vaddr(insn);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &executed, 1);
        if (address == begin) qemu_plugin_register_vcpu_insn_exec_cb(insn, on_begin, NO_REGISTERS, NULL);
        if (address == end) qemu_plugin_register_vcpu_insn_exec_cb(insn, on_end, NO_REGISTERS, NULL);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "begin=", 6) == 0) begin = strtoull(argv[i] + 6, NULL, 0);
        if (strncmp(argv[i], "end=", 4) == 0) end = strtoull(argv[i] + 4, NULL, 0);
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "port.h"

enum { FILE_LIMIT = 4 };

static FILE *files[FILE_LIMIT];
static const char *const modes[] = {[PORT_READ] = "rb", [PORT_WRITE] = "wb", [PORT_UPDATE] = "r+b"};

int32_t port_open(const char *name, port_mode mode) {
    for (int32_t i = 0; i < FILE_LIMIT; i++)
        if (!files[i]) {
            files[i] = fopen(name, modes[mode]);
            return files[i] ? i : -1;
        }
    return -1;
}

int32_t port_read(int32_t file, void *to, int32_t bytes) { return (int32_t)fread(to, 1, (size_t)bytes, files[file]); }

int32_t port_write(int32_t file, const void *from, int32_t bytes) {
    return (int32_t)fwrite(from, 1, (size_t)bytes, files[file]);
}

void port_seek(int32_t file, int32_t offset) { fseek(files[file], offset, SEEK_SET); }

void port_close(int32_t file) {
    fclose(files[file]);
    files[file] = NULL;
}

void port_say(const char *text) { fputs(text, stderr); }

void port_leave(int32_t status) { exit(status); }

int32_t port_stack_peak(void) { return 0; }

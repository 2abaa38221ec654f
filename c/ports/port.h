/* SPDX-License-Identifier: Apache-2.0 */
/* What the stream program needs of the machine it runs on: files of the current folder, and a way to leave. */
#ifndef CALIBRANT_PORT_H
#define CALIBRANT_PORT_H

#include <stdint.h>

typedef enum port_mode { PORT_READ, PORT_WRITE, PORT_UPDATE } port_mode;

int32_t port_open(const char *name, port_mode mode);               /* a handle, or -1; PORT_WRITE starts empty, PORT_UPDATE does not */
int32_t port_read(int32_t file, void *to, int32_t bytes);          /* bytes read, fewer at the end of the file */
int32_t port_write(int32_t file, const void *from, int32_t bytes); /* bytes written */
void port_seek(int32_t file, int32_t offset);                      /* from the start */
void port_close(int32_t file);
void port_say(const char *text);
_Noreturn void port_leave(int32_t status);
int32_t port_stack_peak(void); /* bytes of stack ever used, 0 where nobody knows */

#endif

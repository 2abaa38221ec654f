/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the stream program share. */
#ifndef CALIBRANT_STREAM_H
#define CALIBRANT_STREAM_H

#include <stdbool.h>

#include "model.h"
#include "port.h"

enum { STREAM_OK, STREAM_FILES = 2, STREAM_COMMAND, STREAM_START };

_Noreturn void stream_fail(const char *text, int32_t status);
void stream_need(int32_t stream, void *to, int32_t bytes);
void stream_give(int32_t results, const void *from, int32_t bytes);
void stream_give_number(int32_t results, int32_t number);

/* Where an emulator starts and stops counting instructions. */
void stream_count_begin(void);
void stream_count_end(void);

/* Of the updater: what comes first, and the commands that stream.c does not know; false if it knows neither. */
void stream_adapt_begin(void);
bool stream_adapt(int32_t command, int32_t stream, int32_t results);

#endif

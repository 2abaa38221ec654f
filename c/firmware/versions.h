/* SPDX-License-Identifier: Apache-2.0 */
/* Versions of the trained parameters in two slots. A slot is a page of header, the parameters, zeros, and in its last
 * four bytes the CRC-32 of everything before; pages go in order, so a torn write leaves a sum that does not fit. */
#ifndef CALIBRANT_VERSIONS_H
#define CALIBRANT_VERSIONS_H

#include <stdbool.h>
#include <stdint.h>

enum { CALIBRANT_IN_FLASH = -1 };
#define CALIBRANT_NO_PARENT UINT32_MAX

/* A stretch of trained parameters: as the artifact has it, and in RAM. */
typedef struct calibrant_part {
    const void *flash;
    void *ram;
    uint32_t bytes;
} calibrant_part;

/* What is in force: its number, the one it came from, and the slot that holds it. */
typedef struct calibrant_versions {
    uint32_t version, parent, sequence;
    int32_t slot;
} calibrant_versions;

/* The newest whole slot of this model comes into force, else flash. */
void calibrant_versions_find(calibrant_versions *v);

/* Whether a slot holds that version, whole. */
bool calibrant_versions_hold(int32_t slot, uint32_t version);

/* Parameters of a slot, or of flash, into RAM; false unless the slot is whole; load another then. */
bool calibrant_versions_load(int32_t slot);

/* Parameters in RAM into a slot, read back; false if that failed. */
bool calibrant_versions_save(calibrant_versions *v, int32_t slot, uint32_t version, uint32_t parent);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The two slots of a model that adapts, as c/session knows them. */
#ifndef CALIBRANT_STORAGE_H
#define CALIBRANT_STORAGE_H

#include "session/slots.h"

extern const cal_slots calibrant_slots;

#endif

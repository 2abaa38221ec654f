/* SPDX-License-Identifier: Apache-2.0 */
#include "calibrant/training_kernel.h"

#define CAL_TRAINING_KERNEL(name) void CAL_TRAINING_NAME(name)(const cal_training_args *args);
#include "calibrant/training.def"

#define CAL_TABLE_EXPAND(variant) cal_training_kernels__##variant
#define CAL_TABLE(variant) CAL_TABLE_EXPAND(variant)

const cal_training_kernels CAL_TABLE(CAL_VARIANT) = {
#define CAL_TRAINING_KERNEL(name) .name = CAL_TRAINING_NAME(name),
#include "calibrant/training.def"
};

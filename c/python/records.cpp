// SPDX-License-Identifier: Apache-2.0
// Records of the C library as an export lays them out and fills them in, by the rows that declare them.
#include "../firmware/step_context.h"
#include "calibrant/calibration.h"
#include "calibrant/correction.h"
#include "calibrant/training.h"
#include "engine.h"

namespace calibrant {

namespace {

struct Field {
    const char *type, *name;
    int count; // 1, or the length of an array
};

#define CAL_FIELD_OF(type, name) {#type, #name, 1},
#define CAL_INT32_OF(name) {"int32_t", #name, 1},
const Field TENSOR[] = {CAL_TENSOR_FIELDS(CAL_INT32_OF)};
const Field LAYER[] = {CAL_LAYER_FIELDS(CAL_INT32_OF)};
const Field OP[] = {CAL_OP_FIELDS(CAL_INT32_OF)};
const Field PROGRAM[] = {CAL_PROGRAM_FIELDS(CAL_FIELD_OF)};
const Field CONSTANTS[] = {CAL_CONSTANTS_FIELDS(CAL_FIELD_OF)};
const Field PART[] = {CAL_PART_FIELDS(CAL_FIELD_OF)};
const Field VERSIONS[] = {CAL_VERSIONS_FIELDS(CAL_FIELD_OF)};
const Field FLIP_SETTINGS[] = {CAL_FLIP_SETTINGS_FIELDS(CAL_FIELD_OF)};
const Field CALIBRATOR[] = {CAL_CALIBRATOR_FIELDS(CAL_FIELD_OF)};
const Field CORRECTOR[] = {CAL_CORRECTOR_FIELDS(CAL_FIELD_OF)};
const Field LEARNER[] = {CALIBRANT_LEARNER_FIELDS(CAL_FIELD_OF)};
const Field ARGS[] = {
#define CAL_ARG(type, name, ...) {#type, #name, 1},
#define CAL_ARG_EACH(type, name, ...) {#type, #name, CAL_MAX_INPUTS},
#include "calibrant/bindings.def"
};
const Field TRAINING_ARGS[] = {
#define CAL_TRAINING_ARG(type, name, ...) {#type, #name, 1},
#include "calibrant/bindings.def"
};

const char *const BOUND_ARGS[][2] = {
#define CAL_ARG(type, name, of, value) {#name, #of},
#define CAL_ARG_EACH(type, name, of, value) {#name, #of},
#include "calibrant/bindings.def"
};
const char *const BOUND_TRAINING_ARGS[][2] = {
#define CAL_TRAINING_ARG(type, name, of, value) {#name, #of},
#include "calibrant/bindings.def"
};

const char *const STEPS[][3] = {
    {"forward", "any", "none"},
#define CAL_STEP(kind, of, least, input0, input1, output, trains) {#kind, #of, #trains},
#include "calibrant/training.def"
};

template <size_t N>
nb::tuple tuple_of(const Field (&fields)[N]) {
    nb::list out;
    for (const Field &field : fields) out.append(nb::make_tuple(field.type, field.name, field.count));
    return nb::tuple(out);
}

template <size_t N>
nb::tuple tuple_of(const char *const (&pairs)[N][2]) {
    nb::list out;
    for (const auto &pair : pairs) out.append(nb::make_tuple(pair[0], pair[1]));
    return nb::tuple(out);
}

} // namespace

void bind_records(nb::module_ &m) {
    nb::dict records, bindings, steps;
    records["cal_tensor"] = tuple_of(TENSOR);
    records["cal_layer"] = tuple_of(LAYER);
    records["cal_op"] = tuple_of(OP);
    records["cal_program"] = tuple_of(PROGRAM);
    records["cal_constants"] = tuple_of(CONSTANTS);
    records["cal_part"] = tuple_of(PART);
    records["cal_versions"] = tuple_of(VERSIONS);
    records["cal_flip_settings"] = tuple_of(FLIP_SETTINGS);
    records["cal_calibrator"] = tuple_of(CALIBRATOR);
    records["cal_corrector"] = tuple_of(CORRECTOR);
    records["calibrant_learner"] = tuple_of(LEARNER);
    records["cal_args"] = tuple_of(ARGS);
    records["cal_training_args"] = tuple_of(TRAINING_ARGS);
    m.attr("RECORDS") = records;
    bindings["cal_args"] = tuple_of(BOUND_ARGS);
    bindings["cal_training_args"] = tuple_of(BOUND_TRAINING_ARGS);
    m.attr("BINDINGS") = bindings;
    for (const auto &step : STEPS) steps[step[0]] = nb::make_tuple(step[1], step[2]);
    m.attr("STEPS") = steps;
}

} // namespace calibrant

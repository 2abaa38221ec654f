// SPDX-License-Identifier: Apache-2.0
// The Python door to c/. Everything the library keeps is copied and owned by the classes of engine.h and training.cpp.
#include "engine.h"

using namespace calibrant;

namespace {

const char *const KERNEL_NAMES[] = {
#define CAL_KERNEL(kernel) #kernel,
#include "calibrant/ops.def"
};

const char *const OP_KERNEL_NAMES[] = {
#define CAL_OP(kind, kernel, ...) #kernel,
#include "calibrant/ops.def"
};

nb::tuple variants() {
    nb::list out;
    for (int32_t i = 0; const cal_kernels *kernels = cal_variant(i); i++)
        if (cal_variant_usable(kernels)) out.append(kernels->name);
    return nb::tuple(out);
}

// Runs the variant's own multiply-add instruction on registers alone; the multiply-accumulates done, 0 if it has none.
int64_t peak(const std::string &variant, int32_t bits, int64_t rounds) {
    const cal_kernels *kernels = best_kernels(variant);
    int32_t sink = 1;
    return kernels->peak ? kernels->peak(bits, rounds, &sink) : 0;
}

std::string instructions(const std::string &variant) { return best_kernels(variant)->instructions; }

int64_t scratch_bytes(Array<const int32_t, 1> op, Array<const int32_t, 1> input, Array<const int32_t, 1> output) {
    if (op.size() * 4 != sizeof(cal_op) || input.size() * 4 != sizeof(cal_tensor) || output.size() != input.size())
        fail("scratch_bytes: expected one op and two tensor records");
    cal_op o;
    cal_tensor in, out;
    std::memcpy(&o, op.data(), sizeof o);
    std::memcpy(&in, input.data(), sizeof in);
    std::memcpy(&out, output.data(), sizeof out);
    return cal_scratch_bytes(&o, &in, &out);
}

} // namespace

NB_MODULE(_engine, m) {
    m.attr("TENSOR_FIELDS") = names(TENSOR_NAMES);
    m.attr("LAYER_FIELDS") = names(LAYER_NAMES);
    m.attr("OP_FIELDS") = names(OP_NAMES);
    m.attr("KINDS") = names(KIND_NAMES);
    m.attr("KERNELS") = names(KERNEL_NAMES);
    m.attr("OP_KERNELS") = names(OP_KERNEL_NAMES);
    m.attr("MAX_INPUTS") = static_cast<int>(CAL_MAX_INPUTS);
    m.def("variants", &variants);
    m.def("instructions", &instructions, nb::arg("variant"));
    m.def("peak", &peak, nb::arg("variant"), nb::arg("bits"), nb::arg("rounds"));
    m.def("scratch_bytes", &scratch_bytes, nb::arg("op"), nb::arg("input"), nb::arg("output"));
    nb::class_<Engine>(m, "Engine")
        .def(nb::init<Array<const int32_t, 2>, Array<const int32_t, 2>, Array<const int32_t, 2>, int32_t, int32_t,
                      int64_t, int64_t, Array<const int8_t, 1>, Array<const int32_t, 1>, Array<const int32_t, 1>,
                      Array<const int32_t, 1>, std::optional<std::string>>(),
             nb::arg("tensors"), nb::arg("layers"), nb::arg("ops"), nb::arg("input"), nb::arg("output"),
             nb::arg("arena_bytes"), nb::arg("pooled_count"), nb::arg("weights"), nb::arg("bias"),
             nb::arg("multiplier"), nb::arg("shift"), nb::arg("variant").none())
        .def("load", &Engine::load, nb::arg("weights").noconvert().none() = nb::none(),
             nb::arg("bias").noconvert().none() = nb::none(), nb::arg("multiplier").noconvert().none() = nb::none(),
             nb::arg("shift").noconvert().none() = nb::none())
        .def("read", &Engine::read, nb::arg("weights").noconvert().none() = nb::none(),
             nb::arg("bias").noconvert().none() = nb::none(), nb::arg("multiplier").noconvert().none() = nb::none(),
             nb::arg("shift").noconvert().none() = nb::none())
        .def("run", &Engine::run, nb::arg("x").noconvert(), nb::arg("outputs").noconvert(),
             nb::arg("active").noconvert().none(), nb::arg("pooled").noconvert().none(),
             nb::arg("signal").noconvert().none(), nb::arg("taps").noconvert().none())
        .def("moments", &Engine::moments, nb::arg("x").noconvert(), nb::arg("layers").noconvert(),
             nb::arg("total").noconvert(), nb::arg("square").noconvert())
        .def_prop_ro("variant", &Engine::variant)
        .def_prop_ro("memory_bytes", &Engine::memory_bytes);
    bind_records(m);
    bind_training(m);
}

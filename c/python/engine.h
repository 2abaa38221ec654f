// SPDX-License-Identifier: Apache-2.0
// What the Python module's sources share: buffers in, status out, and the engine with what it owns.
#ifndef CALIBRANT_PYTHON_ENGINE_H
#define CALIBRANT_PYTHON_ENGINE_H

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "calibrant/calibrant.h"

namespace nb = nanobind;

namespace calibrant {

template <typename T, int Dims>
using Array = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;

inline const char *const TENSOR_NAMES[] = {
#define CAL_NAME_OF(name) #name,
    CAL_TENSOR_FIELDS(CAL_NAME_OF)};
inline const char *const LAYER_NAMES[] = {CAL_LAYER_FIELDS(CAL_NAME_OF)};
inline const char *const OP_NAMES[] = {CAL_OP_FIELDS(CAL_NAME_OF)};
inline const char *const KIND_NAMES[] = {
#define CAL_OP(kind, ...) #kind,
#include "calibrant/ops.def"
};
template <size_t N>
nb::tuple names(const char *const (&list)[N]) {
    nb::list out;
    for (const char *name : list) out.append(name);
    return nb::tuple(out);
}

[[noreturn]] inline void fail(const std::string &message) {
    nb::object error = nb::module_::import_("calibrant.core.errors").attr("PlanError");
    PyErr_SetString(error.ptr(), message.c_str());
    throw nb::python_error();
}

inline const char *text_of(cal_status status) {
    switch (status) {
#define CAL_TEXT(name, code, text) \
    case name: return text;
        CAL_STATUSES(CAL_TEXT)
    }
    return "unknown status";
}

inline void require(cal_status status, int32_t index, const cal_op *ops) {
    if (status == CAL_OK) return;
    static const char *const SUBJECTS[] = {"program", "tensor ", "layer ", "op ", "constants: channel "};
    std::string subject = SUBJECTS[(status >> 4) - 1];
    if (status == CAL_CONSTANT_WEIGHT) subject = "constants: weight ";
    if (status >> 4 != 1) subject += std::to_string(index);
    if (status >> 4 == 4 && ops[index].kind >= 0 && ops[index].kind < CAL_KIND_COUNT)
        subject += std::string(" ") + KIND_NAMES[ops[index].kind];
    fail(subject + ": " + text_of(status));
}

inline const cal_kernels *best_kernels(const std::optional<std::string> &wanted) {
    const cal_kernels *best = nullptr;
    std::string known;
    for (int32_t i = 0; const cal_kernels *kernels = cal_variant(i); i++) {
        known += (i ? ", " : "") + std::string(kernels->name);
        if (wanted && *wanted != kernels->name) continue;
        if (cal_variant_usable(kernels)) best = kernels;
        else if (wanted) fail("variant '" + *wanted + "': this processor or system does not support it");
    }
    if (!best) fail("variant '" + *wanted + "': expected one of " + known);
    return best;
}

// Zeroed memory aligned for every kernel. calloc leaves pages that are never touched to the system.
struct Aligned {
    explicit Aligned(size_t bytes) : size((bytes + 63) / 64 * 64), data(std::calloc(size + 64, 1)) {
        if (!data) throw std::bad_alloc();
    }
    uint8_t *get() const {
        return reinterpret_cast<uint8_t *>((reinterpret_cast<uintptr_t>(data.get()) + 63) & ~uintptr_t{63});
    }
    struct Free {
        void operator()(void *p) const { std::free(p); }
    };
    size_t size;
    std::unique_ptr<void, Free> data;
};

template <typename Record, size_t Fields>
std::vector<Record> records(const Array<const int32_t, 2> &rows, const char *const (&names)[Fields], const char *what) {
    static_assert(sizeof(Record) == Fields * sizeof(int32_t));
    (void)names;
    if (rows.shape(1) != Fields)
        fail(std::string(what) + ": expected " + std::to_string(Fields) + " fields a record, got " +
             std::to_string(rows.shape(1)));
    std::vector<Record> out(rows.shape(0));
    if (!out.empty()) std::memcpy(out.data(), rows.data(), out.size() * sizeof(Record));
    return out;
}

template <typename T>
std::vector<T> copy(const Array<const T, 1> &array) {
    return std::vector<T>(array.data(), array.data() + array.size());
}

class Engine {
  public:
    Engine(Array<const int32_t, 2> tensors, Array<const int32_t, 2> layers, Array<const int32_t, 2> ops, int32_t input,
           int32_t output, int64_t arena_bytes, int64_t pooled_count, Array<const int8_t, 1> weights,
           Array<const int32_t, 1> bias, Array<const int32_t, 1> multiplier, Array<const int32_t, 1> shift,
           std::optional<std::string> variant)
        : kernels_(best_kernels(variant)), tensors_(records<cal_tensor>(tensors, TENSOR_NAMES, "tensors")),
          layers_(records<cal_layer>(layers, LAYER_NAMES, "layers")), ops_(records<cal_op>(ops, OP_NAMES, "ops")),
          weights_(copy(weights)), bias_(copy(bias)), multiplier_(copy(multiplier)), shift_(copy(shift)) {
        if (multiplier_.size() != bias_.size() || shift_.size() != bias_.size())
            fail("constants: expected bias, multiplier and shift of one length, got " + std::to_string(bias_.size()) +
                 ", " + std::to_string(multiplier_.size()) + ", " + std::to_string(shift_.size()));
        program_ = {tensors_.data(), layers_.data(), ops_.data(), static_cast<int32_t>(tensors_.size()),
                    static_cast<int32_t>(layers_.size()), static_cast<int32_t>(ops_.size()), input, output,
                    arena_bytes, static_cast<int64_t>(weights_.size()), static_cast<int64_t>(bias_.size()),
                    pooled_count};
        constants_ = {weights_.data(), bias_.data(), multiplier_.data(), shift_.data()};
        int32_t index = 0;
        cal_status status = cal_check(&program_, &index);
        require(status, index, ops_.data());
        status = cal_check_constants(&program_, &constants_, &index);
        require(status, index, ops_.data());
        arena_.emplace(static_cast<size_t>(arena_bytes));
        packed_.emplace(static_cast<size_t>(cal_packed_bytes(&program_, kernels_)));
        cal_pack(&program_, &constants_, kernels_, packed_->get());
        calls_.resize(ops_.size());
        engine_ = {&program_, &constants_, kernels_, packed_->get(), arena_->get(), calls_.data()};
        cal_bind(&engine_, calls_.data());
    }
    Engine(const Engine &) = delete;
    Engine &operator=(const Engine &) = delete;

    // Constants by name: those given replace what there is, all of them or, where they are refused, none.
    void load(std::optional<Array<const int8_t, 1>> weights, std::optional<Array<const int32_t, 1>> bias,
              std::optional<Array<const int32_t, 1>> multiplier, std::optional<Array<const int32_t, 1>> shift) {
        expect("weights", weights, weights_);
        expect("bias", bias, bias_);
        expect("multiplier", multiplier, multiplier_);
        expect("shift", shift, shift_);
        int32_t index = 0;
        cal_status status;
        {
            nb::gil_scoped_release release;
            std::lock_guard<std::mutex> lock(mutex_);
            const cal_constants wanted = {chosen(weights, weights_), chosen(bias, bias_),
                                          chosen(multiplier, multiplier_), chosen(shift, shift_)};
            status = cal_check_constants(&program_, &wanted, &index);
            if (status == CAL_OK) {
                put(weights, weights_);
                put(bias, bias_);
                put(multiplier, multiplier_);
                put(shift, shift_);
                cal_pack(&program_, &constants_, kernels_, packed_->get());
            }
        }
        require(status, index, ops_.data());
    }

    void run(Array<const int8_t, 2> x, Array<int32_t, 2> outputs, std::optional<Array<int32_t, 2>> active,
             std::optional<Array<int32_t, 2>> pooled, std::optional<Array<const int32_t, 2>> signal,
             std::optional<Array<int64_t, 1>> taps) {
        const size_t samples = x.shape(0), channels = bias_.size();
        const auto fits = [&](const auto &array, size_t width) {
            return !array || (array->shape(0) == samples && array->shape(1) == width);
        };
        if (x.shape(1) != elements(program_.input) || outputs.shape(0) != samples ||
            outputs.shape(1) != elements(program_.output) || !fits(active, static_cast<size_t>(cal_active_count(&program_))) ||
            !fits(pooled, static_cast<size_t>(program_.pooled_count)) || !fits(signal, channels) ||
            (taps && taps->shape(0) != weights_.size()) || taps.has_value() != signal.has_value())
            fail("run: a buffer does not fit the program");
        const cal_stats stats = {active ? active->data() : nullptr, pooled ? pooled->data() : nullptr,
                                 signal ? signal->data() : nullptr, taps ? taps->data() : nullptr};
        const int8_t *from = x.data();
        int32_t *to = outputs.data();
        nb::gil_scoped_release release;
        std::lock_guard<std::mutex> lock(mutex_);
        cal_run(&engine_, from, static_cast<int64_t>(samples), to, &stats);
    }

    void moments(Array<const int8_t, 2> x, Array<const uint8_t, 1> layers, Array<int64_t, 2> total,
                 Array<int64_t, 2> square) {
        const size_t samples = x.shape(0), channels = bias_.size();
        const auto fits = [&](const auto &array) { return array.shape(0) == samples && array.shape(1) == channels; };
        if (x.shape(1) != elements(program_.input) || layers.shape(0) != layers_.size() || !fits(total) || !fits(square))
            fail("moments: a buffer does not fit the program");
        for (const cal_op &op : ops_)
            if (op.layer >= 0 && layers.data()[op.layer] && tensors_[op.output].bits != 8)
                fail("moments: layer " + std::to_string(op.layer) + ": expected an output of 8 bits");
        const int8_t *from = x.data();
        const uint8_t *wanted = layers.data();
        int64_t *totals = total.data(), *squares = square.data();
        nb::gil_scoped_release release;
        std::lock_guard<std::mutex> lock(mutex_);
        const Aligned sums(static_cast<size_t>(cal_moments_bytes(&program_, wanted)));
        const cal_moments moments = {wanted, reinterpret_cast<int32_t *>(sums.get()), totals, squares};
        cal_measure_moments(&engine_, from, static_cast<int64_t>(samples), &moments);
    }

    // Constants by name into buffers, those that are wanted.
    void read(std::optional<Array<int8_t, 1>> weights, std::optional<Array<int32_t, 1>> bias,
              std::optional<Array<int32_t, 1>> multiplier, std::optional<Array<int32_t, 1>> shift) {
        expect("weights", weights, weights_);
        expect("bias", bias, bias_);
        expect("multiplier", multiplier, multiplier_);
        expect("shift", shift, shift_);
        std::lock_guard<std::mutex> lock(mutex_);
        get(weights_, weights);
        get(bias_, bias);
        get(multiplier_, multiplier);
        get(shift_, shift);
    }

    const char *variant() const { return kernels_->name; }
    int64_t memory_bytes() const {
        return static_cast<int64_t>(arena_->size + packed_->size + weights_.size() + 3 * 4 * bias_.size());
    }

  private:
    friend class Trainer;

    template <typename Given, typename T>
    static void expect(const char *name, const std::optional<Given> &given, const std::vector<T> &own) {
        if (given && given->size() != own.size())
            fail(std::string(name) + ": expected " + std::to_string(own.size()) + " values, got " +
                 std::to_string(given->size()));
    }
    template <typename T>
    static const T *chosen(const std::optional<Array<const T, 1>> &given, const std::vector<T> &own) {
        return given ? given->data() : own.data();
    }
    template <typename T>
    static void put(const std::optional<Array<const T, 1>> &from, std::vector<T> &to) {
        if (from) std::copy(from->data(), from->data() + from->size(), to.begin());
    }
    template <typename T>
    static void get(const std::vector<T> &from, const std::optional<Array<T, 1>> &to) {
        if (to) std::copy(from.begin(), from.end(), to->data());
    }

    size_t elements(int32_t id) const {
        const cal_tensor &t = tensors_[id];
        return static_cast<size_t>(t.height) * t.width * t.channels;
    }

    const cal_kernels *kernels_;
    std::vector<cal_tensor> tensors_;
    std::vector<cal_layer> layers_;
    std::vector<cal_op> ops_;
    std::vector<int8_t> weights_;
    std::vector<int32_t> bias_, multiplier_, shift_;
    cal_program program_{};
    cal_constants constants_{};
    std::optional<Aligned> arena_, packed_;
    std::vector<cal_call> calls_;
    cal_engine engine_{};
    std::mutex mutex_;
};

void bind_records(nb::module_ &m);
void bind_training(nb::module_ &m);

} // namespace calibrant

#endif

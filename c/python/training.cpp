// SPDX-License-Identifier: Apache-2.0
// Training for Python: an engine's weights, one more arena, the trained head and the accumulators.
#include "calibrant/training.h"
#include "engine.h"

namespace calibrant {

#define CAL_NAME_OF_TRAINING(name) #name,
const char *const BUFFER_NAMES[] = {CAL_BUFFER_FIELDS(CAL_NAME_OF_TRAINING)};
const char *const SLICE_NAMES[] = {CAL_SLICE_FIELDS(CAL_NAME_OF_TRAINING)};
const char *const STEP_NAMES[] = {CAL_STEP_FIELDS(CAL_NAME_OF_TRAINING)};
const char *const DTYPE_NAMES[] = {CAL_DTYPES(CAL_NAME_OF_TRAINING)};
const char *const SLICE_KIND_NAMES[] = {CAL_SLICE_KINDS(CAL_NAME_OF_TRAINING)};
const char *const HEAD_NAMES[] = {CAL_HEADS(CAL_NAME_OF_TRAINING)};
const char *const STEP_KIND_NAMES[] = {
    "forward",
#define CAL_STEP(kind, ...) #kind,
#include "calibrant/training.def"
};
const char *const TRAINING_KERNEL_NAMES[] = {
#define CAL_TRAINING_KERNEL(name) #name,
#include "calibrant/training.def"
};

static const char *text_of(cal_training_status status) {
    switch (status) {
        CAL_TRAINING_STATUSES(CAL_TEXT)
    }
    return "unknown status";
}

class Trainer {
  public:
    Trainer(Engine &engine, Array<const int32_t, 2> buffers, Array<const int32_t, 2> slices,
            Array<const int32_t, 2> steps, Array<const int32_t, 1> channels, Array<const float, 1> factor,
            Array<const float, 1> effective, Array<const float, 1> weight_scaling,
            Array<const float, 1> bias_scaling, Array<const float, 1> head_scale, int32_t input, int32_t logits,
            int32_t head, int32_t classes, int32_t features, int64_t arena_bytes, int64_t accumulator_count,
            bool accumulate, std::optional<std::string> variant)
        : engine_(engine), kernels_(variant ? best_kernels(variant) : engine.kernels_),
          buffers_(records<cal_buffer>(buffers, BUFFER_NAMES, "buffers")),
          slices_(records<cal_slice>(slices, SLICE_NAMES, "slices")),
          steps_(records<cal_step>(steps, STEP_NAMES, "steps")), channels_(copy(channels)), factor_(copy(factor)), effective_(copy(effective)), weight_scaling_(copy(weight_scaling)),
          bias_scaling_(copy(bias_scaling)), head_scale_(copy(head_scale)) {
        expect("factor", factor_.size(), steps_.size());
        expect("effective", effective_.size(), engine.bias_.size());
        expect("weight_scaling", weight_scaling_.size(), engine.bias_.size());
        expect("bias_scaling", bias_scaling_.size(), engine.bias_.size());
        expect("head_scale", head_scale_.size(), static_cast<size_t>(classes));
        training_ = {buffers_.data(), slices_.data(), steps_.data(), channels_.data(), factor_.data(),
                     effective_.data(), weight_scaling_.data(), bias_scaling_.data(), head_scale_.data(),
                     static_cast<int32_t>(buffers_.size()), static_cast<int32_t>(slices_.size()),
                     static_cast<int32_t>(steps_.size()), static_cast<int32_t>(channels_.size()), input, logits, head,
                     classes, features, arena_bytes, accumulator_count};
        int32_t index = 0;
        const cal_training_status status = cal_check_training(&engine.program_, &training_, &index);
        require(status, index);
        arena_.emplace(static_cast<size_t>(arena_bytes));
        if (accumulate) accumulators_.resize(static_cast<size_t>(accumulator_count));
        if (head == CAL_HEAD_float32) {
            head_weight_.resize(static_cast<size_t>(classes) * features);
            head_bias_.resize(static_cast<size_t>(classes));
        }
        calls_.resize(steps_.size() + slices_.size());
        trainer_ = {&engine.program_, &training_, engine.kernels_, cal_training_variant(kernels_), engine.weights_.data(),
                    engine.bias_.data(), engine.multiplier_.data(), engine.shift_.data(), engine.packed_->get(),
                    arena_->get(), head_weight_.data(), head_bias_.data(), accumulate ? accumulators_.data() : nullptr,
                    calls_.data()};
        cal_bind_training(&trainer_, calls_.data());
    }
    Trainer(const Trainer &) = delete;
    Trainer &operator=(const Trainer &) = delete;

    void train(Array<const int8_t, 2> x, Array<const int32_t, 1> labels, float rate, float bias_rate, bool carry,
               Array<float, 1> losses) {
        check_samples(x, labels.data(), labels.size(), losses.size());
        const int8_t *from = x.data();
        const int32_t *wanted = labels.data();
        float *to = losses.data();
        const int64_t samples = static_cast<int64_t>(x.shape(0));
        nb::gil_scoped_release release;
        std::lock_guard<std::mutex> lock(engine_.mutex_);
        cal_train(&trainer_, from, wanted, samples, rate, bias_rate, to, nullptr);
        cal_commit(&trainer_, carry);
    }

    void evaluate(Array<const int8_t, 2> x, std::optional<Array<const int32_t, 1>> labels,
                  std::optional<Array<float, 1>> losses, std::optional<Array<float, 2>> logits) {
        const size_t samples = x.shape(0);
        check_samples(x, labels ? labels->data() : nullptr, labels ? labels->size() : samples,
                      losses ? losses->size() : samples);
        if (losses.has_value() && !labels.has_value()) fail("evaluate: losses need labels");
        if (logits && (logits->shape(0) != samples || logits->shape(1) != static_cast<size_t>(training_.classes)))
            fail("evaluate: a buffer does not fit");
        const int8_t *from = x.data();
        const int32_t *wanted = labels ? labels->data() : nullptr;
        float *loss = losses ? losses->data() : nullptr, *scores = logits ? logits->data() : nullptr;
        nb::gil_scoped_release release;
        std::lock_guard<std::mutex> lock(engine_.mutex_);
        cal_evaluate(&trainer_, from, wanted, static_cast<int64_t>(samples), loss, scores);
    }

    void read(const std::string &what, Array<float, 1> to) {
        const std::vector<float> &from = named(what);
        expect(what.c_str(), to.size(), from.size());
        std::lock_guard<std::mutex> lock(engine_.mutex_);
        if (!from.empty()) std::memcpy(to.data(), from.data(), from.size() * sizeof(float));
    }

    void write(const std::string &what, Array<const float, 1> from) {
        std::vector<float> &to = named(what);
        expect(what.c_str(), from.size(), to.size());
        std::lock_guard<std::mutex> lock(engine_.mutex_);
        std::copy(from.data(), from.data() + from.size(), to.begin());
    }

    void read_arena(Array<uint8_t, 1> to) {
        expect("arena", to.size(), static_cast<size_t>(training_.arena_bytes));
        std::lock_guard<std::mutex> lock(engine_.mutex_);
        if (to.size()) std::memcpy(to.data(), arena_->get(), to.size());
    }

    int64_t memory_bytes() const {
        const size_t floats = factor_.size() + effective_.size() + weight_scaling_.size() +
                              bias_scaling_.size() + head_scale_.size() + accumulators_.size() + head_weight_.size() +
                              head_bias_.size();
        return static_cast<int64_t>(arena_->size + floats * sizeof(float));
    }

  private:
    static void expect(const char *what, size_t got, size_t wanted) {
        if (got != wanted)
            fail(std::string(what) + ": expected " + std::to_string(wanted) + " values, got " + std::to_string(got));
    }

    void require(cal_training_status status, int32_t index) const {
        if (status == CAL_TRAINING_OK) return;
        static const char *const SUBJECTS[] = {"training", "buffer ", "slice ", "step "};
        std::string subject = SUBJECTS[(status >> 4) - 1];
        if (status >> 4 != 1) subject += std::to_string(index);
        if (status >> 4 == 4 && steps_[index].kind >= 0 && steps_[index].kind < CAL_STEP_COUNT)
            subject += std::string(" ") + STEP_KIND_NAMES[steps_[index].kind];
        fail(subject + ": " + text_of(status));
    }

    void check_samples(const Array<const int8_t, 2> &x, const int32_t *labels, size_t label_count,
                       size_t loss_count) const {
        const cal_buffer &in = buffers_[training_.input];
        const size_t values = static_cast<size_t>(in.height) * in.width * in.channels;
        if (x.shape(1) != values || label_count != x.shape(0) || loss_count != x.shape(0))
            fail("train: a buffer does not fit the program");
        for (size_t i = 0; labels && i < label_count; i++)
            if (labels[i] < 0 || labels[i] >= training_.classes)
                fail("label " + std::to_string(i) + ": expected 0 to " + std::to_string(training_.classes - 1) +
                     ", got " + std::to_string(labels[i]));
    }

    std::vector<float> &named(const std::string &what) {
        if (what == "accumulators") return accumulators_;
        if (what == "head_weight") return head_weight_;
        if (what == "head_bias") return head_bias_;
        fail("'" + what + "': expected accumulators, head_weight or head_bias");
    }

    Engine &engine_;
    const cal_kernels *kernels_;
    std::vector<cal_buffer> buffers_;
    std::vector<cal_slice> slices_;
    std::vector<cal_step> steps_;
    std::vector<int32_t> channels_;
    std::vector<float> factor_, effective_, weight_scaling_, bias_scaling_, head_scale_;
    std::vector<float> accumulators_, head_weight_, head_bias_;
    cal_training training_{};
    std::optional<Aligned> arena_;
    std::vector<cal_step_call> calls_;
    cal_trainer trainer_{};
};

void bind_training(nb::module_ &m) {
    m.attr("BUFFER_FIELDS") = names(BUFFER_NAMES);
    m.attr("SLICE_FIELDS") = names(SLICE_NAMES);
    m.attr("STEP_FIELDS") = names(STEP_NAMES);
    m.attr("DTYPES") = names(DTYPE_NAMES);
    m.attr("SLICE_KINDS") = names(SLICE_KIND_NAMES);
    m.attr("HEADS") = names(HEAD_NAMES);
    m.attr("STEP_KINDS") = names(STEP_KIND_NAMES);
    m.attr("TRAINING_KERNELS") = names(TRAINING_KERNEL_NAMES);
    nb::class_<Trainer>(m, "Trainer")
        .def(nb::init<Engine &, Array<const int32_t, 2>, Array<const int32_t, 2>, Array<const int32_t, 2>,
                      Array<const int32_t, 1>, Array<const float, 1>, Array<const float, 1>, Array<const float, 1>,
                      Array<const float, 1>, Array<const float, 1>, int32_t, int32_t, int32_t,
                      int32_t, int32_t, int64_t, int64_t, bool, std::optional<std::string>>(),
             nb::arg("engine"), nb::arg("buffers"), nb::arg("slices"), nb::arg("steps"), nb::arg("channels"),
             nb::arg("factor"), nb::arg("effective"), nb::arg("weight_scaling"),
             nb::arg("bias_scaling"), nb::arg("head_scale"), nb::arg("input"), nb::arg("logits"), nb::arg("head"),
             nb::arg("classes"), nb::arg("features"), nb::arg("arena_bytes"), nb::arg("accumulator_count"),
             nb::arg("accumulate"), nb::arg("variant").none(), nb::keep_alive<1, 2>())
        .def("train", &Trainer::train, nb::arg("x").noconvert(), nb::arg("labels").noconvert(), nb::arg("rate"),
             nb::arg("bias_rate"), nb::arg("carry"), nb::arg("losses").noconvert())
        .def("evaluate", &Trainer::evaluate, nb::arg("x").noconvert(), nb::arg("labels").noconvert().none(),
             nb::arg("losses").noconvert().none(), nb::arg("logits").noconvert().none())
        .def("read", &Trainer::read, nb::arg("what"), nb::arg("to").noconvert())
        .def("write", &Trainer::write, nb::arg("what"), nb::arg("values").noconvert())
        .def("read_arena", &Trainer::read_arena, nb::arg("to").noconvert())
        .def_prop_ro("memory_bytes", &Trainer::memory_bytes);
}

} // namespace calibrant

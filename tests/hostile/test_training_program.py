"""A training whose records are wrong is refused with a sentence, or runs, and never touches what it must not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_program import CONSTANTS, EXTREMES
from test_program import PROGRAM as BARE

from calibrant.autodiff import Scheme, differentiate
from calibrant.core.errors import PlanError
from calibrant.core.program import Constants
from calibrant.core.training import BUFFER_DTYPES, STEP_KINDS, Buffer, Step, Training
from calibrant.engine import Engine, Trainer, variants
from calibrant.plan import schedule
from programs import Conv
from trainings import Draft, in_place

HEADER = Path(__file__).parents[2] / "c/include/calibrant/training.h"
PADS = {"pad_top": 0, "pad_left": 0, "adaptive": 0}
PROGRAM = replace(BARE, ops=tuple(replace(op, attrs={**PADS, **op.attrs}) for op in BARE.ops))
SCHEME = Scheme(biases=2, weights={0: (1, 3), 1: (0, 2, 5)})


def trainings() -> tuple[Training, Training]:
    """Every kind of step in two planned trainings: with the int8 head, and with a float32 one."""
    int8, real = (
        schedule(differentiate(PROGRAM, CONSTANTS, SCHEME, head=head), PROGRAM) for head in ("int8", "float32")
    )
    return int8, real


INT8, REAL = trainings()
SHARED = schedule(differentiate(PROGRAM, CONSTANTS, Scheme(biases=2, weights={0: (1, 3)})), PROGRAM, in_place=True)
SLICE_FIELDS = ("layer", "offset", "count", "kind")
STEP_FIELDS = ("kind", "output", "op", "slice")
ATTRIBUTES = ("accumulate", "in_place", "operand", "scratch_offset", "scratch_bytes")
SLICE_KINDS = ("weight", "bias", "head")


def places(training: Training) -> list[tuple[str, int, str]]:
    """Every integer of a training."""
    found = [("training", 0, name) for name in ("input", "logits", "arena_bytes")]
    for i, _ in enumerate(training.buffers):
        found += [("buffers", i, name) for name in ("height", "width", "channels", "zero_point", "dtype")]
        found.append(("offsets", i, ""))
    for i, part in enumerate(training.slices):
        found += [("slices", i, name) for name in SLICE_FIELDS]
        found += [("channels", i, str(n)) for n in range(len(part.channels))]
    for i, step in enumerate(training.steps):
        found += [("steps", i, name) for name in STEP_FIELDS]
        found += [("attrs", i, name) for name in ATTRIBUTES]
        found += [("inputs", i, str(n)) for n in range(len(step.inputs))]
    return found


def put(values, n, value):
    return (*values[:n], value, *values[n + 1 :])


def mutated(training: Training, place: tuple[str, int, str], value: int) -> Training:
    part, i, name = place
    if part == "training":
        return replace(training, **{name: min(value, 2**20) if name == "arena_bytes" else value})
    if part == "offsets":
        return replace(training, offsets=put(training.offsets, i, value))
    if part == "buffers":
        if name == "dtype":
            value = BUFFER_DTYPES[value % len(BUFFER_DTYPES)]
        return replace(training, buffers=put(training.buffers, i, replace(training.buffers[i], **{name: value})))
    if part in ("slices", "channels"):
        own = training.slices[i]
        if part == "channels":
            own = replace(own, channels=put(own.channels, int(name), value))
        else:
            own = replace(own, **{name: SLICE_KINDS[value % 3] if name == "kind" else value})
        return replace(training, slices=put(training.slices, i, own))
    step = training.steps[i]
    if part == "attrs":
        step = replace(step, attrs={**step.attrs, name: value})
    elif part == "inputs":
        step = replace(step, inputs=put(step.inputs, int(name), value))
    else:
        step = replace(step, **{name: STEP_KINDS[value % len(STEP_KINDS)] if name == "kind" else value})
    return replace(training, steps=put(training.steps, i, step))


def run(training: Training, variant: str):
    engine = Engine(PROGRAM, CONSTANTS, variant)
    trainer = Trainer(engine, training)
    x = (np.arange(2 * 60) * 37 % 256 - 128).astype(np.int8).reshape(2, 1, 12, 5)
    y = np.arange(2) % len(training.head_scale)
    losses = trainer.step(x, y, 0.01)
    return losses, trainer.logits(x), engine.parameters.weights, engine.parameters.bias, trainer.accumulators


PLACED = [(training, run(training, variants()[-1])) for training in (INT8, SHARED)]


def survive(training: Training) -> bool:
    """Whether the training was accepted; then it must run, and alike in all variants."""
    results, sentences = [], []
    for variant in (variants()[0], variants()[-1]):
        try:
            results.append(run(training, variant))
        except PlanError as error:
            sentences.append(str(error))
    assert len(results) in (0, 2)
    assert all(len(sentence) > 10 and "\n" not in sentence for sentence in sentences)
    for one, other in zip(results[0], results[1], strict=True) if results else ():
        np.testing.assert_array_equal(one, other)
    return bool(results)


def test_the_trainings_themselves_are_valid():
    assert survive(INT8)
    assert survive(REAL)
    assert survive(SHARED)
    assert any(step.attrs.get("in_place") for step in SHARED.steps)
    assert {step.kind for step in (*INT8.steps, *REAL.steps)} == set(STEP_KINDS)


@pytest.mark.parametrize("training", [INT8, REAL, SHARED], ids=["int8", "float32", "in place"])
def test_one_extreme_number(training):
    for place in places(training):
        for value in EXTREMES[::2]:
            survive(mutated(training, place, value))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(PLACED), st.lists(st.tuples(st.integers(0, 99), st.integers(0, 50)), min_size=1, max_size=4))
def test_an_accepted_place_changes_no_number(placed, moves):
    """A buffer or scratch put elsewhere is refused, or does no harm: nothing that is read was overwritten."""
    training, wanted = placed
    movable = [place for place in places(training) if place[0] == "offsets" or place[2] == "scratch_offset"]
    training = replace(training, arena_bytes=2 * training.arena_bytes)
    for which, at in moves:
        training = mutated(training, movable[which % len(movable)], at * 64)
    try:
        seen = run(training, variants()[-1])
    except PlanError:
        return
    for one, other in zip(seen, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_several_numbers(data):
    training = data.draw(st.sampled_from([INT8, REAL, SHARED]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places(training)))
        training = mutated(training, place, data.draw(st.one_of(st.integers(-2, 40), st.sampled_from(EXTREMES))))
    survive(training)


def step_of(training: Training, kind: str, nth: int = 0) -> int:
    return [i for i, step in enumerate(training.steps) if step.kind == kind][nth]


def first_conv(training: Training) -> int:
    return next(i for i, step in enumerate(training.steps) if step.kind == "forward" and step.op == 0)


def changed(training, kind, /, **fields):
    """The first step of a kind with other fields."""
    i = step_of(training, kind)
    return replace(training, steps=put(training.steps, i, replace(training.steps[i], **fields)))


def with_attr(training, kind, /, **attrs):
    step = training.steps[step_of(training, kind)]
    return changed(training, kind, attrs={**step.attrs, **attrs})


def with_slice(training, i, /, **fields):
    return replace(training, slices=put(training.slices, i, replace(training.slices[i], **fields)))


def moved(training, i, /, **fields):
    return replace(training, buffers=put(training.buffers, i, replace(training.buffers[i], **fields)))


def overlapping(kind):
    """A step's output on top of its first input."""
    step = INT8.steps[step_of(INT8, kind)]
    return replace(INT8, offsets=put(INT8.offsets, step.output, INT8.offsets[step.inputs[0]]))


def stale(training):
    """The mask comes last: what it reads is long gone, and the gate reads what was never written."""
    at = step_of(training, "mask")
    return replace(training, steps=(*training.steps[:at], *training.steps[at + 1 :]))


def buried(training):
    """The scratch of a convolution on top of what was gathered before it."""
    steps = list(enumerate(training.steps))
    kept = next(step.output for _, step in steps if step.kind == "gather")
    i, step = next((i, step) for i, step in steps if step.kind == "forward" and step.op == 1)
    end = training.arena_bytes
    whole = replace(training, arena_bytes=2 * end)
    return replace(whole, steps=put(training.steps, i, replace(step, attrs={**step.attrs, "scratch_offset": end})),
                   offsets=put(training.offsets, kept, end))  # fmt: skip


def late_loss(training):
    at = step_of(training, "loss")
    steps = list(training.steps)
    steps.insert(at + 1, steps.pop(at))
    return replace(training, steps=tuple(steps))


GATE = INT8.steps[step_of(INT8, "gate")]
GRADIENT = INT8.steps[step_of(INT8, "loss")].output
MASK = next(i for i, buffer in enumerate(INT8.buffers) if buffer.dtype == "mask")
REFUSALS = [  # a training, and the sentence that refuses it
    (replace(INT8, buffers=INT8.buffers[:5], offsets=INT8.offsets[:5]), "training: needs a buffer for every tensor"),
    (replace(INT8, arena_bytes=-1), "training: arena_bytes must be"),
    (replace(INT8, input=1), "training: input must be"),
    (replace(INT8, head_scale=INT8.head_scale[:0]), "training: head must be"),
    (replace(INT8, logits=99), "training: logits must be"),
    (replace(INT8, logits=3), "training: logits must be"),
    (replace(REAL, logits=8), "training: logits must be"),
    (replace(INT8, head="float32"), "training: logits must be"),
    (replace(INT8, steps=INT8.steps[: step_of(INT8, "loss")]), "training: needs exactly one loss"),
    (changed(INT8, "gate", kind="loss", inputs=(8,), output=GRADIENT), "training: needs exactly one loss"),
    (moved(INT8, GRADIENT, channels=0), f"buffer {GRADIENT}: sizes must be"),
    (moved(INT8, GRADIENT, height=2**15, width=2**15), f"buffer {GRADIENT}: sizes must be"),
    (moved(INT8, 2, zero_point=128), "buffer 2: zero_point must be"),
    (moved(INT8, 2, zero_point=4), "buffer 2: must have the sizes"),
    (moved(INT8, 2, width=13), "buffer 2: must have the sizes"),
    (moved(INT8, 2, dtype="int32"), "buffer 2: must have the sizes"),
    (replace(INT8, offsets=put(INT8.offsets, 3, INT8.arena_bytes - 1)), "buffer 3: must lie inside the arena"),
    (replace(INT8, offsets=put(INT8.offsets, 0, -64)), "buffer 0: must lie inside the arena"),
    (replace(INT8, offsets=put(INT8.offsets, GRADIENT, 2)), f"buffer {GRADIENT}: must lie inside the arena"),
    (with_slice(INT8, 1, kind="head"), "slice 1: kind must be"),
    (with_slice(INT8, 1, layer=3), "slice 1: layer must be"),
    (with_slice(INT8, 0, channels=(1, 5)), "slice 0: channels must ascend"),
    (with_slice(INT8, 0, channels=(3, 1)), "slice 0: channels must ascend"),
    (with_slice(INT8, 1, channels=(0,)), "slice 1: channels must ascend"),
    (with_slice(INT8, 0, count=INT8.slices[0].count + 1), "slice 0: count must be"),
    (with_slice(INT8, 0, offset=-1), "slice 0: must lie inside the accumulators"),
    (with_slice(INT8, 0, offset=INT8.accumulator_count), "slice 0: must lie inside the accumulators"),
    (with_slice(INT8, 1, offset=INT8.slices[0].offset), "slice 1: shares accumulators"),
    (
        replace(INT8, slices=(*INT8.slices, replace(INT8.slices[-1], offset=INT8.accumulator_count))),
        f"slice {len(INT8.slices)}: shares accumulators",
    ),
    (changed(INT8, "conv2d_grad", kind="dense_grad"), f"step {step_of(INT8, 'conv2d_grad')} dense_grad: kind is not"),
    (changed(INT8, "conv2d_grad", op=3), f"step {step_of(INT8, 'conv2d_grad')} conv2d_grad: op is not"),
    (changed(INT8, "gate", op=-1), f"step {step_of(INT8, 'gate')} gate: op is not"),
    (changed(INT8, "mask", op=7), f"step {step_of(INT8, 'mask')} mask: op is not"),
    (changed(INT8, "weight_update", slice=1), f"step {step_of(INT8, 'weight_update')} weight_update: slice is not"),
    (changed(INT8, "bias_update", slice=99), f"step {step_of(INT8, 'bias_update')} bias_update: slice is not"),
    (changed(INT8, "mask", inputs=()), f"step {step_of(INT8, 'mask')} mask: wrong number of inputs"),
    (changed(INT8, "mask", inputs=(GRADIENT,)), f"step {step_of(INT8, 'mask')} mask: wrong number of inputs"),
    (changed(INT8, "loss", inputs=(99,)), f"step {step_of(INT8, 'loss')} loss: wrong number of inputs"),
    (changed(INT8, "forward", inputs=(2,)), f"step {step_of(INT8, 'forward')} forward: wrong number of inputs"),
    (changed(INT8, "loss", output=MASK), f"step {step_of(INT8, 'loss')} loss: output must be"),
    (changed(INT8, "bias_update", output=GRADIENT), f"step {step_of(INT8, 'bias_update')} bias_update: output must be"),
    (changed(INT8, "gate", output=GRADIENT), f"step {step_of(INT8, 'gate')} gate: output must be"),
    (changed(INT8, "forward", output=5), f"step {step_of(INT8, 'forward')} forward: output must be"),
    (moved(INT8, GATE.output, height=2), f"step {step_of(INT8, 'gate') - 1} "),
    (with_attr(INT8, "add_grad", operand=2), f"step {step_of(INT8, 'add_grad')} add_grad: accumulate must be"),
    (with_attr(INT8, "add_grad", accumulate=2), f"step {step_of(INT8, 'add_grad')} add_grad: accumulate must be"),
    (with_attr(INT8, "gate", accumulate=1), f"step {step_of(INT8, 'gate')} gate: accumulate must be"),
    (with_attr(INT8, "forward", scratch_bytes=100), f"step {first_conv(INT8)} forward: scratch must"),
    (with_attr(INT8, "forward", scratch_offset=2**30), f"step {first_conv(INT8)} forward: scratch must"),
    (with_attr(INT8, "forward", scratch_offset=INT8.offsets[0]), f"step {first_conv(INT8)} forward: output or scratch"),
    (with_attr(INT8, "gate", in_place=1), f"step {step_of(INT8, 'gate')} gate: in_place must be"),
    (with_attr(INT8, "add_grad", in_place=1), f"step {step_of(INT8, 'add_grad')} add_grad: in_place must be"),
    (with_attr(INT8, "forward", in_place=1), f"step {step_of(INT8, 'forward')} forward: in_place must be"),
    (with_attr(INT8, "gate", scratch_bytes=4), f"step {step_of(INT8, 'gate')} gate: scratch must"),
    (overlapping("mean_grad"), f"step {step_of(INT8, 'mean_grad')} mean_grad: output or scratch overlaps"),
    (stale(INT8), "step "),
    (buried(INT8), "step "),
    (late_loss(INT8), f"step {step_of(INT8, 'loss')} "),
]


def spoken(training):
    with pytest.raises(PlanError) as refused:
        Trainer(Engine(PROGRAM, CONSTANTS), training)
    return str(refused.value)


@pytest.mark.parametrize(("training", "sentence"), REFUSALS, ids=[sentence for _, sentence in REFUSALS])
def test_refusal_says_what_and_where(training, sentence):
    assert spoken(training).startswith(sentence)


def test_every_status_is_met():
    """Each sentence of the header, from at least one wrong training; the host names what has no number."""
    rows = re.findall(r'X\((CAL_\w+), 0x\w+, "(.*)"\)', HEADER.read_text(encoding="utf-8"))
    met = {spoken(training).split(": ", 1)[1] for training, _ in REFUSALS}
    unmet = {name for name, text in rows if text not in met}
    assert unmet == {"CAL_TRAINING_OK", "CAL_BUFFER_DTYPE"}  # the host cannot encode an unknown dtype
    assert len(rows) > 25


SAME = Conv((9, 9), (4, 5), (3, 3), pad=(1, 1, 1, 1), groups=9, output_bits=32)
IN_PLACE, SCRATCH = "in_place must be", "scratch must lie"


def lone(conv: Conv, **attrs: int) -> Training:
    """The gradient of a convolution's input in place, and then its codes are gathered."""
    draft = Draft(conv.program())
    draft.forward()
    g = draft.add("loss", (1,), draft.like("g", 1))
    taps = conv.kernel[0] * conv.kernel[1]
    depthwise = conv.groups == conv.channels[0] == conv.channels[1]
    part = draft.train(0, "weight", taps * (1 if depthwise else conv.channels[1]), (0,))
    draft.add("conv2d_grad", (g,), draft.like("dx", 0), op=0)
    shared = in_place(draft.training("int8"), **attrs)
    kept = Buffer("kept", *conv.size, 1 if depthwise else conv.groups, "int8")
    gather = Step("gather", (0,), len(shared.buffers), 0, part)
    end = shared.arena_bytes
    return replace(shared, buffers=(*shared.buffers, kept), offsets=(*shared.offsets, end),
                   steps=(*shared.steps, gather), arena_bytes=end + 4096)  # fmt: skip


def dislodged(training: Training) -> Training:
    """The output half on top of the input."""
    return replace(training, offsets=put(training.offsets, 3, training.offsets[2] + 4))


@pytest.mark.parametrize(
    ("training", "conv", "sentence"),
    [
        (lone(SAME), SAME, None),
        (lone(SAME, accumulate=1), SAME, IN_PLACE),
        (lone(SAME, in_place=2), SAME, IN_PLACE),
        (lone(SAME, in_place=0), SAME, SCRATCH),
        (lone(SAME, in_place=0, scratch_bytes=0), SAME, "output or scratch overlaps"),
        (dislodged(lone(SAME)), SAME, IN_PLACE),
        (lone(SAME, scratch_bytes=4 * 20 * 8 - 1), SAME, SCRATCH),
        (lone(SAME, scratch_offset=-64), SAME, SCRATCH),
        (lone(SAME, scratch_offset=lone(SAME).arena_bytes - 4 * 20 * 8 + 4), SAME, SCRATCH),
        (lone(SAME, scratch_offset=lone(SAME).steps[-2].attrs["scratch_offset"] + 2), SAME, SCRATCH),
        (lone(SAME, scratch_offset=lone(SAME).offsets[2] + 64), SAME, "output or scratch overlaps"),
        (lone(SAME, scratch_offset=lone(SAME).offsets[0]), SAME, "reads a buffer that no step wrote"),
        *((lone(conv), conv, IN_PLACE) for conv in (
            Conv((6, 6), (1, 1), stride=(2, 1), groups=6, output_bits=32),
            Conv((6, 6), (9, 9), (3, 3), stride=(1, 2), pad=(1, 1, 1, 1), groups=6, output_bits=32),
            Conv((6, 6), (9, 9), (3, 3), groups=6, output_bits=32),
            Conv((6, 6), (3, 3), output_bits=32),
            Conv((6, 6), (3, 3), groups=3, output_bits=32),
            Conv((6, 12), (3, 3), groups=6, output_bits=32),
        )),
    ],
)  # fmt: skip
def test_only_a_depthwise_gradient_of_stride_1_is_in_place(training, conv, sentence):
    rng = np.random.default_rng(0)
    count, channels = int(np.prod(conv.weight_shape)), conv.channels[1]
    constants = Constants(rng.integers(-9, 9, count).astype(np.int8), np.zeros(channels, np.int32),
                          np.full(channels, 2**30, np.int32), np.full(channels, 36, np.int32),
                          np.ones(channels, np.float32))  # fmt: skip
    engine = Engine(conv.program(), constants)
    if sentence is None:
        x = np.zeros((1, *conv.size, conv.channels[0]), np.int8)
        assert np.isfinite(Trainer(engine, training).step(x, np.zeros(1, np.int64), 0.1)).all()
        return
    with pytest.raises(PlanError, match=rf"^step \d \w+: {sentence}"):
        Trainer(engine, training)


def test_unknown_words_are_refused():
    for training, sentence in (
        (moved(INT8, 3, dtype="float16"), "buffer 't3': expected one of int8, int32, float32, mask, got 'float16'"),
        (with_slice(INT8, 0, kind="scale"), "slice 0: expected one of weight, bias, head, got 'scale'"),
        (changed(INT8, "gate", kind="norm"), f"step {step_of(INT8, 'gate')} norm: expected one of forward, mask"),
        (with_attr(INT8, "gate", axis=1), f"step {step_of(INT8, 'gate')} gate: unknown attributes axis"),
        (changed(INT8, "gate", inputs=(1,) * 9), f"step {step_of(INT8, 'gate')} gate: expected at most 8 inputs"),
        (replace(INT8, head="int4"), "head: expected one of int8, float32, got 'int4'"),
        (replace(INT8, arena_bytes=2**31), "training: arena_bytes must be a 32-bit integer"),
        (replace(INT8, offsets=()), "training: expected"),
        (replace(INT8, effective=INT8.effective[:-1]), "effective: expected 16 values, got 15"),
        (replace(INT8, bias_scaling=INT8.bias_scaling.astype(np.float64)), "bias_scaling: expected float32[n]"),
    ):
        assert spoken(training).startswith(sentence)


def test_a_training_without_updates_or_slices_runs():
    steps = tuple(step for step in INT8.steps if not step.kind.endswith("_update") and step.kind != "gather")
    assert survive(replace(INT8, steps=steps, slices=()))

"""A program whose records are wrong is refused with a sentence, or runs; it never reads or writes where it must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.core.errors import PlanError
from calibrant.core.parameters import Parameters
from calibrant.core.program import Constants, Layer, Op, Program, Tensor
from calibrant.core.rng import generator
from calibrant.core.scratch import scratch_bytes
from calibrant.engine import Engine, variants
from programs import Conv, joined, one_op, planned

EXTREMES = [-(2**31), -(2**16), -129, -128, -1, 0, 1, 2, 3, 7, 127, 128, 255, 2**15 + 1, 2**23 + 1, 2**29, 2**31 - 1]
WINDOW = {"kernel_h": 1, "kernel_w": 3, "stride_h": 1, "stride_w": 1, "dilation_h": 1, "dilation_w": 1}


def network() -> tuple[Program, Constants]:
    """Every kind of op: convolution, depthwise convolution, pools, add, concat, mean, linear."""
    shapes = [(1, 12, 5), (1, 12, 6), (1, 12, 6), (1, 12, 6), (1, 12, 6), (1, 12, 12), (1, 6, 12), (1, 1, 12)]
    tensors = [Tensor(f"t{i}", *shape, 0.1, 3) for i, shape in enumerate(shapes)]
    tensors.append(Tensor("y", 1, 1, 4, 1.0, 0, bits=32))
    layers = (
        Layer("conv", 8, 6, 1, 3, 5, 1, 0, 0, 0),
        Layer("depthwise", 4, 6, 1, 3, 6, 6, 90, 6, 5),
        Layer("linear", 8, 4, 1, 1, 12, 1, 108, 12, 11),
    )
    rows = [
        ("conv2d", (0,), 1, {**WINDOW, "pad_left": 1, "groups": 1}, 0),
        ("conv2d", (1,), 2, {**WINDOW, "pad_left": 1, "groups": 6}, 1),
        ("max_pool2d", (2,), 3, {**WINDOW, "pad_left": 1}, -1),
        ("add", (3, 2), 4, {"multiplier0": 2**30, "multiplier1": 2**29, "shift0": 31}, -1),
        ("concat", (4, 3), 5, {"multiplier0": 2**30, "shift0": 31}, -1),
        ("avg_pool2d", (5,), 6, {**WINDOW, "kernel_w": 2, "stride_w": 2}, -1),
        ("mean", (6,), 7, {"multiplier0": 2**30, "shift0": 33}, -1),
        ("conv2d", (7,), 8, {**WINDOW, "kernel_w": 1, "groups": 1}, 2),
    ]
    ops = []
    for kind, inputs, output, attrs, layer in rows:
        full = {**attrs, "clamp_low": -100, "clamp_high": 100}
        full["scratch_bytes"] = scratch_bytes(kind, tensors[inputs[0]], tensors[output], full)
        ops.append(Op(kind, inputs, output, full, layer))
    rng = generator(0, "hostile")
    constants = Constants(
        rng.integers(-7, 8, 156).astype(np.int8),
        rng.integers(-99, 99, 16).astype(np.int32),
        np.full(16, 2**30, np.int32),
        np.full(16, 36, np.int32),
        np.ones(16, np.float32),
    )
    return planned(tuple(tensors), tuple(ops), layers), constants


PROGRAM, CONSTANTS = network()


def places(program: Program) -> list[tuple[str, int, str]]:
    """Every integer of a program."""
    found = [("program", 0, name) for name in ("input", "output", "arena_bytes")]
    for i, _ in enumerate(program.tensors):
        found += [("tensors", i, name) for name in ("height", "width", "channels", "zero_point", "bits")]
        found.append(("offsets", i, ""))
    for i, layer in enumerate(program.layers):
        found += [("layers", i, name) for name, value in vars(layer).items() if isinstance(value, int)]
    for i, op in enumerate(program.ops):
        found += [("attrs", i, name) for name in (*op.attrs, "rounding", "count_include_pad", "adaptive", "shift1")]
        found += [("ops", i, name) for name in ("kind", "output", "layer")]
        found += [("inputs", i, str(n)) for n in range(len(op.inputs))]
    return found


PLACES = places(PROGRAM)
KINDS = ["conv2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean", "add", "concat", "rescale"]


def mutated(program: Program, place: tuple[str, int, str], value: int) -> Program:
    part, i, name = place
    if part == "program":
        return replace(program, **{name: min(value, 2**20) if name == "arena_bytes" else value})
    rows = list(getattr(program, "ops" if part in ("attrs", "inputs") else part))
    if part == "offsets":
        rows[i] = value
    elif part == "attrs":
        rows[i] = replace(rows[i], attrs={**rows[i].attrs, name: value})
    elif part == "inputs":
        ids = list(rows[i].inputs)
        ids[int(name)] = value
        rows[i] = replace(rows[i], inputs=tuple(ids))
    elif name == "kind":
        rows[i] = replace(rows[i], kind=KINDS[value % len(KINDS)])
    else:
        rows[i] = replace(rows[i], **{name: value})
    return replace(program, **{"ops" if part in ("attrs", "inputs") else part: tuple(rows)})


def survive(program: Program, constants: Constants = CONSTANTS) -> bool:
    """Whether the program was accepted; then it must run, and alike in all variants."""
    results, sentences = [], []
    for variant in variants():
        try:
            engine = Engine(program, constants, variant)
        except PlanError as error:
            sentences.append(str(error))
            continue
        t = program.tensors[program.input]
        x = np.arange(2 * t.elements, dtype=np.int64).astype(np.int8).reshape(2, t.height, t.width, t.channels)
        seen = engine.observe(x)
        taps = engine.taps(x, np.ones((2, program.channel_count), np.int32))
        results.append((seen.outputs, seen.active, seen.pooled, taps))
    assert len(results) in (0, len(variants()))
    assert all(len(sentence) > 10 and "\n" not in sentence for sentence in sentences)
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)
    return bool(results)


def test_the_program_itself_is_valid():
    assert survive(PROGRAM)


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_one_extreme_number(place):
    for value in EXTREMES:
        survive(mutated(PROGRAM, place, value))


MUTATION = st.tuples(st.sampled_from(PLACES), st.one_of(st.integers(-3, 40), st.sampled_from(EXTREMES)))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(MUTATION, min_size=1, max_size=4))
def test_several_numbers(mutations):
    program = PROGRAM
    for place, value in mutations:
        program = mutated(program, place, value)
    survive(program)


REFUSALS = [  # place, value, part of the sentence
    (("program", 0, "input"), 99, "program: input"),
    (("program", 0, "output"), -1, "program: output"),
    (("program", 0, "arena_bytes"), -1, "program: arena_bytes"),
    (("tensors", 3, "channels"), 0, "tensor 3: sizes"),
    (("tensors", 3, "bits"), 4, "tensor 3: bits"),
    (("tensors", 3, "zero_point"), 128, "tensor 3: zero_point"),
    (("offsets", 3, ""), 2**20, "tensor 3: must lie inside the arena"),
    (("layers", 0, "bits"), 3, "layer 0: bits"),
    (("layers", 0, "weight_offset"), 100, "layer 0: weights"),
    (("layers", 0, "weight_offset"), -1, "layer 0: weights"),
    (("layers", 0, "channel_offset"), 11, "layer 0: channels"),
    (("layers", 0, "pooled_offset"), 19, "layer 0: pooled"),
    (("layers", 0, "groups"), 0, "layer 0: sizes"),
    (("attrs", 0, "stride_w"), 0, "op 0 conv2d: kernel, stride"),
    (("attrs", 0, "kernel_w"), 2, "op 0 conv2d: conv2d and binary_conv2d need the layer"),
    (("attrs", 0, "scratch_bytes"), 100, "op 0 conv2d: scratch"),
    (("attrs", 0, "scratch_offset"), -64, "op 0 conv2d: scratch"),
    (("attrs", 0, "rounding"), 1, "op 0 conv2d: rounding"),
    (("attrs", 0, "clamp_low"), 101, "op 0 conv2d: clamp"),
    (("attrs", 2, "pad_left"), 3, "op 2 max_pool2d: a pooling window"),
    (("attrs", 3, "shift0"), 63, "op 3 add: multiplier"),
    (("attrs", 3, "multiplier1"), -1, "op 3 add: multiplier"),
    (("inputs", 3, "0"), 8, "op 3 add: wrong number of inputs"),
    (("ops", 3, "output"), 0, "op 3 add: output"),
    (("ops", 3, "layer"), 0, "op 3 add: conv2d and binary_conv2d need"),
    (("tensors", 6, "zero_point"), 4, "op 5 avg_pool2d: input and output must share"),
    (("tensors", 7, "width"), 2, "op 6 mean: input and output shapes"),
]


@pytest.mark.parametrize(("place", "value", "sentence"), REFUSALS, ids=str)
def test_refusal_says_what_and_where(place, value, sentence):
    with pytest.raises(PlanError) as refused:
        Engine(mutated(PROGRAM, place, value), CONSTANTS)
    assert str(refused.value).startswith(sentence)


def test_overlapping_plans_are_refused():
    offsets = list(PROGRAM.offsets)
    offsets[4] = offsets[2] + 1  # 2 is still read when 4 is written
    with pytest.raises(PlanError, match="op 3 add: output or scratch overlaps"):
        Engine(replace(PROGRAM, offsets=tuple(offsets)), CONSTANTS)
    offsets = list(PROGRAM.offsets)
    offsets[5] = offsets[0]  # 0 is dead by then
    assert survive(replace(PROGRAM, offsets=tuple(offsets)))
    assert survive(mutated(PROGRAM, ("attrs", 3, "scratch_offset"), PROGRAM.offsets[2] + 1))  # of no bytes
    with pytest.raises(PlanError, match="op 0 conv2d: output or scratch overlaps"):
        Engine(mutated(PROGRAM, ("attrs", 0, "scratch_offset"), 0), CONSTANTS)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_outside_their_width_are_refused(bits):
    program = Conv((3, 2), (1, 4), bits=bits).program()
    limit = 2 ** (bits - 1) - 1
    ones = np.ones(2, np.int32)
    good = Constants(np.full(6, limit, np.int8), ones, ones, ones, np.ones(2, np.float32))
    engine = Engine(program, good)
    for code in (limit + 1, -limit - 1):
        bad = good.weights.copy()
        bad[4] = np.int64(code).astype(np.int8)
        with pytest.raises(PlanError, match="constants: weight 4"):
            Engine(program, replace(good, weights=bad))
        with pytest.raises(PlanError, match="constants: weight 4"):
            engine.load(Parameters.of(replace(good, weights=bad)))
    np.testing.assert_array_equal(engine.parameters.weights, good.weights)
    with pytest.raises(PlanError, match="constants: channel 1: multiplier"):
        Engine(program, replace(good, shift=np.array([1, 63], np.int32)))


def test_the_native_engine_takes_constants_by_name_and_refuses_what_it_refuses_at_first():
    """Which of them are parameters is for `core.parameters.KINDS` to say; the native engine takes any."""
    engine, x = Engine(PROGRAM, CONSTANTS), np.ones((1, 1, 12, 5), np.int8)
    before, count = engine.infer(x), len(CONSTANTS.bias)
    native = engine._native  # private: what Python checks must not be all
    for name, bad, sentence in (
        ("multiplier", np.full(count, -1, np.int32), "constants: channel 0: multiplier must be 0 or more and shift 1"),
        ("shift", np.full(count, 63, np.int32), "constants: channel 0: multiplier must be 0 or more and shift 1"),
        ("weights", np.full_like(CONSTANTS.weights, -128), "constants: weight 0: weight is outside"),
        ("multiplier", np.ones(count - 1, np.int32), f"multiplier: expected {count} values, got {count - 1}"),
        ("bias", np.ones(count + 1, np.int32), f"bias: expected {count} values, got {count + 1}"),
    ):
        with pytest.raises(PlanError, match=sentence):
            native.load(**({"bias": CONSTANTS.bias + 1} | {name: bad}))
        with pytest.raises(TypeError):
            native.load(**{name: bad.astype(np.int16)})
    np.testing.assert_array_equal(engine.infer(x), before)
    held, fewer = np.zeros(count, np.int32), CONSTANTS.multiplier // 2
    native.load(multiplier=fewer)
    native.read(multiplier=held)
    np.testing.assert_array_equal(held, fewer)
    np.testing.assert_array_equal(engine.infer(x), Engine(PROGRAM, replace(CONSTANTS, multiplier=fewer)).infer(x))
    assert (engine.infer(x) != before).any()


def test_a_sum_that_could_overflow_is_refused():
    with pytest.raises(PlanError, match="layer 0: a sum of products"):
        Engine(Conv((70000, 1), (1, 1)).program(), Constants(np.zeros(70000, np.int8), *[np.ones(1, np.int32)] * 3,  # type: ignore[call-arg]
                                                             np.ones(1, np.float32)))  # fmt: skip


def test_wrong_buffers_are_refused():
    engine = Engine(PROGRAM, CONSTANTS)
    x = np.zeros((2, 1, 12, 5), np.int8)
    for wrong in (x[0], x.astype(np.int16), x[:, :, :11], x.tolist()):
        with pytest.raises(PlanError, match=r"x: expected int8\["):
            engine.infer(wrong)
    with pytest.raises(PlanError, match="signal: expected"):
        engine.taps(x, np.zeros((2, 15), np.int32))
    with pytest.raises(PlanError, match="weights: expected"):
        engine.load(Parameters.of(replace(CONSTANTS, weights=CONSTANTS.weights[:-1])))
    with pytest.raises(PlanError, match="bias: expected"):
        Engine(PROGRAM, replace(CONSTANTS, bias=CONSTANTS.bias.astype(np.int64)))


def test_unknown_words_are_refused():
    with pytest.raises(PlanError, match="variant 'sse9': expected one of ref"):
        Engine(PROGRAM, CONSTANTS, variant="sse9")
    ops = list(PROGRAM.ops)
    ops[2] = replace(ops[2], kind="softmax")
    with pytest.raises(PlanError, match="op 2 softmax: expected a kind of"):
        Engine(replace(PROGRAM, ops=tuple(ops)), CONSTANTS)
    ops[2] = replace(PROGRAM.ops[2], attrs={**PROGRAM.ops[2].attrs, "kernel": 3})
    with pytest.raises(PlanError, match="op 2 max_pool2d: unknown attributes kernel"):
        Engine(replace(PROGRAM, ops=tuple(ops)), CONSTANTS)


def test_samples_that_are_not_contiguous_are_copied():
    engine = Engine(PROGRAM, CONSTANTS)
    x = generator(1, "hostile").integers(-128, 128, (4, 1, 12, 5)).astype(np.int8)
    np.testing.assert_array_equal(engine.infer(x[::2]), engine.infer(x)[::2])
    assert engine.infer(x[:0]).shape == (0, 4)
    assert survive(*joined("rescale", (Tensor("a", 2, 2, 3, 1.0, 0),), Tensor("y", 2, 2, 3, 1.0, 0), {}))
    assert survive(one_op("max_pool2d", Tensor("x", 2, 2, 3, 1.0, 0), Tensor("y", 1, 1, 3, 1.0, 0), {"kernel_h": 2}),
                   Constants(*(a[:0] for a in vars(CONSTANTS).values())))  # fmt: skip

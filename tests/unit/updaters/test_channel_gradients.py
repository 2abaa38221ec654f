"""Signals from channel sums: exact where the rules are, and block floating point that loses nothing it should keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.program import Constants, Layer, Op, Program, Tensor
from calibrant.core.statistics import Observation
from calibrant.updaters.channel_gradients import BlockFloat, propagate


def value(signal):
    return np.ldexp(signal.mantissa, signal.exponent)


@given(st.lists(st.integers(-(2**50), 2**50), min_size=1, max_size=8), st.integers(-40, 40))
def test_a_signal_keeps_15_bits(values, exponent):
    signal = BlockFloat.of(np.array([values], np.float64), exponent)
    peak = max(map(abs, values))
    assert np.abs(signal.mantissa).max() <= 2**15
    error = np.abs(value(signal) - np.ldexp(np.array([values], np.float64), exponent)).max()
    assert error <= np.ldexp(float(peak), exponent - 15)


@given(*[st.lists(st.integers(-(2**14), 2**14), min_size=3, max_size=3)] * 2, st.integers(-30, 30))
def test_sums_align_exponents(one, other, exponent):
    left, right = BlockFloat(np.array([one], float), 0), BlockFloat(np.array([other], float), exponent)
    total = left.plus(right)
    expected = value(left) + value(right)
    assert np.array_equal(value(total), value(right.plus(left)))
    assert (
        np.abs(value(total) - expected).max()
        <= np.abs(value(left)).max() * 2**-13 + np.abs(value(right)).max() * 2**-13
    )


def chain(kinds):
    """x [1, 4, 2] -> conv a (2 -> 3) -> the middle -> conv b -> 2 raw scores; kernels of one tap, so sums are exact."""
    tensors = [Tensor("x", 1, 4, 2, 1.0, 0), Tensor("a", 1, 4, 3, 1.0, 0)]
    ops = [Op("conv2d", (0,), 1, {}, 0)]
    for kind in kinds:
        last = len(tensors) - 1
        channels = tensors[last].channels * (2 if kind == "concat" else 1)
        inputs = (last, last) if kind in ("add", "concat") else (last,)
        width = 1 if kind == "mean" else tensors[last].width
        tensors.append(Tensor(f"{kind}{last}", 1, width, channels, 1.0, 0))
        ops.append(Op(kind, inputs, last + 1, {}))
    middle = tensors[-1]
    tensors.append(Tensor("y", 1, middle.width, 2, 1.0, 0, bits=32))
    ops.append(Op("conv2d", (len(tensors) - 2,), len(tensors) - 1, {}, 1))
    layers = (
        Layer("a", 8, 3, 1, 1, 2, 1, 0, 0, 0),
        Layer("b", 8, 2, 1, 1, middle.channels, 1, 6, 3, 2),
    )
    program = Program(tuple(tensors), tuple(ops), layers, 0, len(tensors) - 1, (0,) * len(tensors), 0)
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, program.weight_count).astype(np.int8)
    empty = np.zeros(5, np.int32)
    constants = Constants(weights, empty, empty, empty, np.array([1, 1, 1, 0.5, 0.25], np.float32))
    return program, constants, rng.integers(-1000, 1000, (6, 2))


@pytest.mark.parametrize(
    ("kinds", "gain"),
    [
        ((), [1.0]),
        (("mean",), [1.0]),
        (("max_pool2d", "rescale"), [1.0]),
        (("add",), [2.0]),
        (("concat",), [1.0, 1.0]),
        (("add", "concat"), [2.0, 2.0]),
    ],
)
def test_rules_of_the_ops(kinds, gain):
    program, constants, error = chain(kinds)
    active = np.full((6, program.active_count), 4, np.int32)
    observation = Observation(np.zeros((6, 2), np.int32), active, np.zeros((6, 2), np.int32))
    first, last = propagate(program, constants, constants.weights, observation, error)
    assert np.array_equal(value(last), error)
    kernel = constants.weights[6:].reshape(2, -1, 3) * constants.scale[3:, None, None]
    expected = error @ np.tensordot(kernel, gain, ([1], [0]))
    assert np.abs(value(first) - expected).max() <= 2.0**-12 * np.abs(expected).max()


def test_the_clamp_of_an_addition_passes_the_share_that_is_active():
    program, constants, error = chain(("add", "mean"))
    active = np.array([[4] * 5 + [4, 0, 1]] * 6, np.int32)
    observation = Observation(np.zeros((6, 2), np.int32), active, np.zeros((6, 2), np.int32))
    first, _ = propagate(program, constants, constants.weights, observation, error)
    kernel = constants.weights[6:].reshape(2, 3) * constants.scale[3:, None]
    expected = 2 * (error @ kernel) * [1, 0, 0.25]
    assert np.abs(value(first) - expected).max() <= 2.0**-12 * np.abs(expected).max()


def test_a_clamp_passes_the_share_that_is_active():
    program, constants, error = chain(("mean",))
    tensors = (*program.tensors, Tensor("z", 1, 1, 2, 1.0, 0, bits=32))
    ops = (*program.ops[:-1], Op("conv2d", (2,), 3, {}, 1), Op("conv2d", (3,), 4, {}, 2))
    layers = (*program.layers, Layer("c", 8, 2, 1, 1, 2, 1, 12, 5, 5))
    tensors = (*tensors[:3], Tensor("y", 1, 1, 2, 1.0, 0), tensors[4])
    program = Program(tensors, ops, layers, 0, 4, (0,) * 5, 0)
    weights = np.concatenate([constants.weights, np.array([1, 0, 0, 1], np.int8)])
    constants = Constants(weights, *[np.zeros(7, np.int32)] * 3, np.ones(7, np.float32))  # type: ignore[call-arg]
    active = np.array([[4, 4, 4, 0, 1, 1, 1]] * 6, np.int32)
    observation = Observation(np.zeros((6, 2), np.int32), active, np.zeros((6, 7), np.int32))
    first, second, third = propagate(program, constants, weights, observation, error)
    assert np.array_equal(value(third), error)
    assert np.abs(value(second) - error).max() <= 1
    expected = (error * [0, 1]) @ weights[6:12].reshape(2, 3).astype(float)
    assert np.abs(value(first) - expected).max() <= 2.0**-12 * np.abs(expected).max()

"""Roundings equal the integer arithmetic; gradients pass where they should."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.fixedpoint import divide_round
from calibrant.core.fixedpoint import quantize_multiplier as multiplier
from calibrant.core.fixedpoint import requantize as integer_requantize
from calibrant.core.qparams import QParams
from calibrant.quantize import straight_through


@given(st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=50), st.sampled_from([0.5, 0.25, 0.125, 3.0]))
def test_requantize_rounds_ties_as_integers_do(values: list[int], factor: float) -> None:
    got = straight_through.requantize(torch.tensor(values, dtype=torch.float32), factor, -1e9, 1e9)
    expected = integer_requantize(np.array(values), *multiplier(factor))
    np.testing.assert_array_equal(got.numpy(), expected)
    relu = straight_through.requantize(torch.tensor(values, dtype=torch.float32), factor, 0.0, 1e9)
    np.testing.assert_array_equal(relu.numpy(), np.maximum(expected, 0))


@given(st.lists(st.integers(-30_000, 30_000), min_size=1, max_size=50), st.integers(1, 64))
def test_divide_round_is_exact(values: list[int], count: int) -> None:
    got = straight_through.divide_round(torch.tensor(values, dtype=torch.float32), torch.tensor(float(count)))
    np.testing.assert_array_equal(got.numpy(), divide_round(np.array(values), count))


@given(st.floats(1e-4, 1e3), st.integers(-128, 127), st.integers(0, 2**31))
def test_round_input_gives_the_codes_of_qparams(scale: float, zero_point: int, seed: int) -> None:
    q = QParams(float(np.float32(scale)), zero_point)
    x = (np.random.default_rng(seed).normal(0, 60, 200) * scale).astype(np.float32)
    got = straight_through.round_input(torch.from_numpy(x), q.scale, -128 - zero_point, 127 - zero_point)
    np.testing.assert_array_equal(got.numpy() + zero_point, q.quantize(x))


def test_activation_gradient_passes_inside_the_clamp_only() -> None:
    x = torch.tensor([-5.0, -4.0, 0.3, 3.9, 4.1], requires_grad=True)
    straight_through.requantize(x, 0.5, -2.0, 2.0).backward(torch.ones(5))
    assert x.grad.tolist() == [0.0, 0.5, 0.5, 0.5, 0.0]


def test_weight_gradient_at_the_edge_passes_when_descent_moves_inward() -> None:
    v = torch.tensor([0.2, 7.4, 8.0, 8.0, -8.0, -8.0], requires_grad=True)
    straight_through.round_codes(v, 7.0).backward(torch.tensor([1.0, 1.0, 1.0, -1.0, 1.0, -1.0]))
    assert v.grad.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, -1.0]

"""Signs, thresholds and the references of binary layers, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from calibrant.core.qparams import QParams
from calibrant.core.rng import generator
from calibrant.ops import SCHEMAS
from calibrant.ops.binary import SIGNS, UNIT, sign, threshold_bias, thresholds


def check(depth, gain, offset):
    """Of every channel and every number of mismatches: the comparison says what the formula does."""
    flipped, threshold = thresholds(depth, gain, offset)
    m = np.arange(depth + 1)
    negative = gain[:, None] * (depth - 2 * m) + offset[:, None] < 0
    counted = np.where(flipped[:, None], depth - m, m)
    assert np.array_equal(counted > threshold[:, None], negative)
    sums = UNIT * (depth - 2 * counted) + threshold_bias(depth, threshold)[:, None]
    assert np.array_equal(sums < 0, negative)
    assert (np.abs(threshold_bias(depth, threshold)) <= UNIT * (depth + 1)).all()


def test_thresholds_of_20000_random_channels():
    rng = generator(0, "thresholds")
    for depth in rng.integers(1, 400, 200).tolist():
        gain = rng.normal(0, 1, 100)
        check(depth, gain, rng.normal(0, np.sqrt(depth), 100))


real = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(depth=st.integers(1, 300), gain=real, offset=real)
def test_thresholds_of_any_channel(depth, gain, offset):
    check(depth, np.array([gain]), np.array([offset]))


@given(depth=st.integers(1, 100), gain=real, half=st.integers(-101, 101))
def test_thresholds_where_sums_are_close_to_0(depth, gain, half):
    offset = np.array([-gain * half])
    for near in (offset, np.nextafter(offset, np.inf), np.nextafter(offset, -np.inf)):
        check(depth, np.array([gain]), near)


def test_thresholds_of_a_gain_of_0_are_always_or_never():
    flipped, threshold = thresholds(9, np.zeros(4), np.array([1.0, 0.0, -0.0, -1.0]))
    assert not flipped.any()
    assert threshold.tolist() == [9, 9, 9, -1]


def test_thresholds_of_statistics():
    """Batch normalization as torch has it, behind the sum: the sign of its output, bit for bit."""
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm1d(64).double().eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        torch.nn.init.normal_(tensor)
    norm.running_var.abs_()
    depth, m = 45, torch.arange(46)
    y = norm((depth - 2 * m).double()[:, None].expand(-1, 64)).detach().numpy()
    gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().numpy()
    offset = norm.bias.detach().numpy() - norm.running_mean.numpy() * gain
    flipped, threshold = thresholds(depth, gain, offset)
    counted = np.where(flipped, depth - m.numpy()[:, None], m.numpy()[:, None])
    assert np.array_equal(counted > threshold, y < 0)


def test_0_is_positive():
    x = np.array([[-1e-30, 0.0, -0.0, 1e-30]], np.float32)
    assert SCHEMAS["sign"].float_reference({}, {}, (x,)).tolist() == [[-1, 1, 1, 1]]
    codes = np.array([[-128, -8, -7, -6, 127]], np.int8)
    assert SCHEMAS["sign"].integer_reference({}, {}, (codes,), (QParams(0.1, -7),), SIGNS).tolist() == [
        [-1, -1, 1, 1, 1]
    ]


WINDOWS = [  # size, kernel, stride, padding before and after, dilation
    ((1, 13), (1, 5), (1, 3), (0, 2, 0, 2), (1, 2)),
    ((7, 5), (3, 2), (2, 1), (1, 1, 0, 1), (1, 1)),
    ((4, 4), (4, 4), (1, 1), (0, 0, 0, 0), (1, 1)),
]


@pytest.mark.parametrize("window", WINDOWS)
def test_convolutions_are_padded_with_one(window):
    size, kernel, stride, pad, dilation = window
    rng = generator(0, f"binary {window}")
    x, weight, bias = rng.normal(0, 1, (3, 5, *size)), rng.choice([-1, 1], (7, 5, *kernel)), rng.normal(0, 2, 7)
    attrs = SCHEMAS["binary_conv2d"].complete(
        stride_h=stride[0], stride_w=stride[1], dilation_h=dilation[0], dilation_w=dilation[1],
        pad_top=pad[0], pad_left=pad[1], pad_bottom=pad[2], pad_right=pad[3],
    )  # fmt: skip
    signs = sign(x)
    padded = F.pad(torch.from_numpy(signs), (pad[1], pad[3], pad[0], pad[2]), value=1.0)
    sums = F.conv2d(padded, torch.from_numpy(weight).double(), None, stride, 0, dilation).numpy()
    wanted = sums + bias.reshape(-1, 1, 1)
    params = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
    found = SCHEMAS["binary_conv2d"].float_reference(attrs, params, (signs.astype(np.float32),))
    assert np.abs(found - wanted).max() < 1e-4
    codes = np.rint(UNIT * bias).astype(np.int32)
    params = {"weight": weight.astype(np.int8), "bias": codes, "weight_scale": np.full(7, 1 / UNIT, np.float32)}
    for bits, expected in (
        (32, UNIT * sums + codes.reshape(-1, 1, 1)),
        (1, np.where(UNIT * sums + codes.reshape(-1, 1, 1) < 0, -1, 1)),
    ):
        node = {**attrs, "output_bits": bits}
        got = SCHEMAS["binary_conv2d"].integer_reference(node, params, (signs.astype(np.int8),), (SIGNS,), SIGNS)
        assert np.array_equal(got, expected)


def test_linear_layers():
    rng = generator(0, "binary linear")
    x, weight = rng.choice([-1, 1], (4, 70)), rng.choice([-1, 1], (5, 70))
    params = {"weight": weight.astype(np.int8), "bias": np.arange(5, dtype=np.int32)}
    got = SCHEMAS["binary_linear"].integer_reference({"output_bits": 32}, params, (x.astype(np.int8),), (SIGNS,), None)
    assert np.array_equal(got, UNIT * (x @ weight.T) + np.arange(5))

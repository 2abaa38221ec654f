"""Convolutions at awkward shapes, what numpy says of them, and the comparison with an engine."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from calibrant.core.fixedpoint import MAX_SHIFT, quantize_multiplier, requantize
from calibrant.core.program import Constants
from calibrant.core.rng import generator
from calibrant.core.statistics import moments_of
from calibrant.engine import Engine
from programs import Conv

SERIES = [Conv((i, o), (1, 13), (1, 3), pad=(0, 1, 0, 1)) for i in (1, 15, 16, 17, 45) for o in (1, 15, 16, 17, 45)]
LENGTHS = [Conv((3, 17), (1, n), (1, 5), pad=(0, 2, 0, 2)) for n in (1, 5, 6, 7, 11, 12, 13, 25)]
AWKWARD = [
    Conv((64, 20), (1, 1)),  # linear
    Conv((7, 3), (1, 1), output_bits=32),
    Conv((45, 33), (1, 125), (1, 7), stride=(1, 2), pad=(0, 3, 0, 3)),
    Conv((5, 19), (1, 40), (1, 5), dilation=(1, 3), pad=(0, 6, 0, 6)),
    Conv((4, 9), (1, 20), (1, 4), pad=(0, 1, 0, 2)),  # 'same' with an even kernel
    Conv((3, 4), (1, 2), (1, 5), pad=(0, 4, 0, 4)),  # kernel longer than the input
    Conv((2, 3), (1, 1), (1, 3), pad=(0, 5, 0, 5)),  # windows wholly in the padding
    Conv((3, 17), (9, 11), (3, 3), pad=(1, 1, 1, 1)),
    Conv((16, 16), (7, 5), (3, 3), stride=(2, 2), pad=(1, 0, 0, 1)),
    Conv((6, 10), (8, 8), (2, 3), dilation=(2, 2), pad=(0, 2, 1, 2), groups=2),
    Conv((6, 9), (5, 6), (1, 1), stride=(2, 3), groups=3),
    Conv((12, 24), (6, 6), (3, 3), pad=(1, 1, 1, 1), groups=12),  # two outputs a channel
    Conv((3, 5), (8, 8), (8, 8), output_bits=32),  # a linear layer on a flattened map
    *(Conv((c, c), (1, 13), (1, 3), pad=(0, 1, 0, 1), groups=c) for c in (2, 15, 16, 17, 45)),
    Conv((33, 33), (6, 7), (3, 3), stride=(2, 1), pad=(1, 1, 1, 1), groups=33),
    Conv((18, 18), (9, 9), (3, 2), dilation=(2, 3), pad=(2, 3, 2, 0), groups=18, output_bits=32),
    Conv((300, 16), (1, 20), (1, 9), pad=(0, 4, 0, 4)),  # a deep sum
    Conv((3, 2), (1, 300), (1, 3), pad=(0, 1, 0, 1)),  # more positions than one block of tap sums
    Conv((2, 9), (1, 1030), (1, 3), pad=(0, 1, 0, 1)),  # columns in two parts
    Conv((9, 5), (40, 30), (2, 3), pad=(1, 1, 0, 1)),  # rows in two parts
    Conv((21, 22), (1, 60), (1, 5), stride=(1, 3), dilation=(1, 2), pad=(0, 4, 0, 4)),  # taps in phases 0, 2, 1
    Conv((50, 24), (1, 60), (1, 39), pad=(0, 19, 0, 19)),  # runs of taps longer than what is summed at once
]
CASES = SERIES + LENGTHS + AWKWARD


def rng_of(*what):
    return generator(zlib.crc32(repr(what).encode()), "kernels")


def codes(rng, shape, extreme=False):
    values = rng.choice([-128, 127], shape) if extreme else rng.integers(-128, 128, shape)
    return values.astype(np.int8)


def constants_of(conv, rng, extreme):
    limit = 2 ** (conv.bits - 1) - 1
    shape, channels = conv.weight_shape, conv.channels[1]
    weights = rng.choice([-limit, limit], shape) if extreme else rng.integers(-limit, limit + 1, shape)
    spread = np.sqrt(np.prod(shape[1:])) * limit * 75
    pairs = np.array([quantize_multiplier(60 / spread * rng.uniform(0.3, 2)) for _ in range(channels)], np.int32)
    if extreme:  # any multiplier and shift that the engine accepts
        pairs = np.stack([rng.integers(0, 2**31, channels), rng.integers(1, MAX_SHIFT + 1, channels)], 1)
    bias = rng.integers(-(2**16), 2**16, channels) if extreme else rng.normal(0, spread / 5, channels)
    return Constants(
        weights.astype(np.int8).ravel(),
        bias.astype(np.int32),
        np.ascontiguousarray(pairs[:, 0], np.int32),
        np.ascontiguousarray(pairs[:, 1], np.int32),
        np.ones(channels, np.float32),
    )


def unfolded(conv, x):
    """What each output position sees, zero point taken off: int64[N, out_h, out_w, kernel_h, kernel_w, c_in]."""
    top, left, bottom, right = conv.pad
    padded = np.pad(x.astype(np.int64) - conv.zero_points[0], ((0, 0), (top, bottom), (left, right), (0, 0)))
    height, width = conv.output_size
    rows = np.arange(height)[:, None] * conv.stride[0] + np.arange(conv.kernel[0]) * conv.dilation[0]
    columns = np.arange(width)[:, None] * conv.stride[1] + np.arange(conv.kernel[1]) * conv.dilation[1]
    return padded[:, rows[:, None, :, None], columns[None, :, None, :]]


def expected(conv, constants, x, signal):
    """Outputs, active counts, pooled sums, tap sums and accumulators, straight from docs/numerics.md."""
    seen, groups = unfolded(conv, x), conv.groups
    n, height, width = seen.shape[:3]
    c_in, c_out = conv.channels
    seen = seen.reshape(n, height, width, *conv.kernel, groups, c_in // groups)
    weights = constants.weights.astype(np.int64).reshape(groups, c_out // groups, *conv.kernel, c_in // groups)
    acc = np.einsum("nhwyxgi,goyxi->nhwgo", seen, weights, optimize=True).reshape(n, height, width, c_out)
    acc += constants.bias
    if conv.output_bits == 32:
        y, active = acc, np.ones(acc.shape, bool)
    else:
        y = requantize(acc, constants.multiplier, constants.shift) + conv.zero_points[1]
        y = np.clip(y, *conv.clamp)
        active = (y > conv.clamp[0]) & (y < conv.clamp[1])
    weighted = (active * signal[:, None, None, :].astype(np.int64)).reshape(n, height, width, groups, -1)
    taps = np.einsum("nhwgo,nhwyxgi->goyxi", weighted, seen, optimize=True).ravel()
    pooled = (x.astype(np.int64) - conv.zero_points[0]).sum((1, 2))
    return y.reshape(n, -1), active.sum((1, 2)), pooled, taps, acc.reshape(n, -1, c_out)


def random_conv(seed):
    rng = rng_of(seed)

    def pick(low, high):
        return int(rng.integers(low, high + 1))

    groups = int(rng.choice([1, 1, 2, 3]))
    return Conv(
        channels=(groups * pick(1, 9), groups * pick(1, 24)),
        size=(pick(1, 9), pick(1, 20)),
        kernel=(pick(1, 3), pick(1, 4)),
        stride=(pick(1, 2), pick(1, 3)),
        dilation=(pick(1, 2), pick(1, 3)),
        pad=(pick(2, 3), pick(5, 6), pick(2, 3), pick(4, 6)),
        groups=groups,
        bits=int(rng.choice([2, 4, 8])),
        zero_points=(pick(-128, 127), pick(-128, 127)),
        clamp=(pick(-128, -20), pick(20, 127)),
    )


def check_conv(conv, variant, extreme):
    """Compare an engine with numpy at random codes, or at codes and weights that are all at a limit."""
    rng = rng_of(conv, extreme)
    compare(
        conv, variant, codes(rng, (2, *conv.size, conv.channels[0]), extreme), constants_of(conv, rng, extreme), rng
    )


def check_largest_sums(conv, variant, sign):
    """All products as large as they can be and of one sign, so that any intermediate that is too narrow overflows."""
    conv = replace(conv, zero_points=(-128, 0) if sign > 0 else (127, 0), output_bits=32)
    rng = rng_of(conv, sign)
    x = np.full((1, *conv.size, conv.channels[0]), 127 if sign > 0 else -128, np.int8)
    limit = 2 ** (conv.bits - 1) - 1
    for weight in (limit, -limit):
        constants = constants_of(conv, rng, True)
        compare(conv, variant, x, replace(constants, weights=np.full_like(constants.weights, weight)), rng)


def compare(conv, variant, x, constants, rng):
    signal = rng.integers(-127, 128, (len(x), conv.channels[1])).astype(np.int32)
    signal[rng.random(signal.shape) < 0.3] = 0
    y, active, pooled, taps, sums = expected(conv, constants, x, signal)
    engine = Engine(conv.program(), constants, variant)
    seen = engine.observe(x)
    assert engine.variant == variant
    np.testing.assert_array_equal(engine.infer(x), y)
    np.testing.assert_array_equal(seen.outputs, y)
    np.testing.assert_array_equal(seen.active, active)
    np.testing.assert_array_equal(seen.pooled, pooled)
    np.testing.assert_array_equal(engine.taps(x, signal), taps)
    if conv.output_bits == 8:
        moments = engine.moments(x, (0,))
        total, square = moments_of(sums, constants.multiplier, constants.shift)
        np.testing.assert_array_equal(moments.total, total)
        np.testing.assert_array_equal(moments.square, square)
        assert (moments.positions == sums.shape[1]).all()

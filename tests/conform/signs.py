"""Binary convolutions at awkward shapes, and what numpy says of them, straight from docs/numerics.md."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from convolution import codes, rng_of

from calibrant.core.fixedpoint import MAX_SHIFT, quantize_multiplier, requantize
from calibrant.core.program import Constants, Layer, Op, Tensor
from calibrant.core.scratch import scratch_bytes
from calibrant.engine import Engine
from programs import Conv, planned

DEPTHS = [Conv((i, o), (1, 9), (1, 3), pad=(0, 1, 0, 1)) for i in (1, 31, 32, 33, 64, 100) for o in (1, 15, 16, 17, 33)]
AWKWARD = [
    Conv((64, 20), (1, 1)),  # linear
    Conv((45, 33), (1, 125), (1, 7), stride=(1, 2), pad=(0, 3, 0, 3)),
    Conv((5, 19), (1, 40), (1, 5), dilation=(1, 3), pad=(0, 6, 0, 6)),
    Conv((4, 9), (1, 20), (1, 4), pad=(0, 1, 0, 2)),
    Conv((3, 4), (1, 2), (1, 5), pad=(0, 4, 0, 4)),  # kernel longer than the input
    Conv((2, 3), (1, 1), (1, 3), pad=(0, 5, 0, 5)),  # windows wholly in the padding
    Conv((3, 17), (9, 11), (3, 3), pad=(1, 1, 1, 1)),
    Conv((70, 16), (7, 5), (3, 3), stride=(2, 2), pad=(1, 0, 0, 1)),
    Conv((6, 10), (8, 8), (2, 3), dilation=(2, 2), pad=(0, 2, 1, 2)),
    Conv((40, 5), (8, 8), (8, 8)),  # a linear layer on a flattened map
    Conv((33, 18), (1, 300), (1, 1)),  # more positions than counters of active outputs hold
    Conv((300, 16), (1, 20), (1, 9), pad=(0, 4, 0, 4)),  # deeper than bytes can count
]
CASES = DEPTHS + AWKWARD
READERS = 40  # outputs of the layer that reads what a layer of 1-bit output gives


@dataclass(frozen=True)
class Outcome:
    """What an engine is to say of a window: outputs, and per layer the counts of active positions and pooled sums."""

    outputs: np.ndarray
    active: np.ndarray
    pooled: np.ndarray


def signs_of(x):
    return np.where(x < 0, -1, 1).astype(np.int64)


def convolved(conv, x, weights, bias):
    """256 times the sum of products of signs [N, height, width, c_in] with +1 around them, plus the bias."""
    top, left, bottom, right = conv.pad
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=1)
    height, width = conv.output_size
    rows = np.arange(height)[:, None] * conv.stride[0] + np.arange(conv.kernel[0]) * conv.dilation[0]
    columns = np.arange(width)[:, None] * conv.stride[1] + np.arange(conv.kernel[1]) * conv.dilation[1]
    seen = padded[:, rows[:, None, :, None], columns[None, :, None, :]]
    kernel = weights.astype(np.int64).reshape(conv.weight_shape)
    return 256 * np.einsum("nhwyxi,oyxi->nhwo", seen, kernel, optimize=True) + bias


def op(kind, tensors, source, output, attrs, layer):
    full = {"clamp_low": -128, "clamp_high": 127, **attrs}
    scratch = scratch_bytes(kind, tensors[source], tensors[output], full)
    return Op(kind, (source,), output, {**full, "scratch_bytes": scratch}, layer)


def attributes(conv):
    names = ("kernel", "stride", "dilation")
    sides = {f"{name}_{axis}": getattr(conv, name)[i] for name in names for i, axis in enumerate("hw")}
    clamp = {"clamp_low": conv.clamp[0], "clamp_high": conv.clamp[1]} if conv.output_bits == 8 else {}
    return {**sides, "pad_top": conv.pad[0], "pad_left": conv.pad[1], "groups": 1, **clamp}


def program_of(conv):
    """Signs of the input, the convolution and, where its outputs are signs, a 1x1 layer of raw sums behind it."""
    c_in, c_out = conv.channels
    x = Tensor("x", *conv.size, c_in, 0.1, conv.zero_points[0])
    tensors = [x, replace(x, name="s", scale=1.0, zero_point=0, bits=1)]
    tensors.append(Tensor("y", *conv.output_size, c_out, 0.1, conv.zero_points[1], conv.output_bits))
    layers = [Layer("conv", 1, c_out, *conv.kernel, c_in, 1, 0, 0, 0)]
    ops = [op("sign", tensors, 0, 1, {}, -1), op("binary_conv2d", tensors, 1, 2, attributes(conv), 0)]
    if conv.output_bits == 1:
        reader = Conv((c_out, READERS), conv.output_size, output_bits=32)
        tensors.append(Tensor("z", *conv.output_size, READERS, 0.1, 0, 32))
        layers.append(Layer("read", 1, READERS, 1, 1, c_out, 1, layers[0].weight_count, c_out, c_in))
        ops.append(op("binary_conv2d", tensors, 2, 3, attributes(reader), 1))
    return planned(tuple(tensors), tuple(ops), tuple(layers))


def constants_of(program, rng, extreme):
    channels, depth = program.channel_count, program.layers[0].weight_count // program.layers[0].c_out
    spread = 256 * np.sqrt(depth)
    pairs = np.array([quantize_multiplier(60 / spread * rng.uniform(0.3, 2)) for _ in range(channels)], np.int32)
    if extreme:
        pairs = np.stack([rng.integers(0, 2**31, channels), rng.integers(1, MAX_SHIFT + 1, channels)], 1)
    bias = rng.integers(-256 * depth - 600, 256 * depth + 600, channels) if extreme else rng.normal(0, spread, channels)
    return Constants(
        rng.choice([-1, 1], program.weight_count).astype(np.int8),
        np.rint(bias).astype(np.int32),
        np.ascontiguousarray(pairs[:, 0], np.int32),
        np.ascontiguousarray(pairs[:, 1], np.int32),
        np.ones(channels, np.float32),
    )


def expected(conv, program, constants, x):
    """From the definitions, on values -1 and 1."""
    signs = signs_of(x.astype(np.int64) - conv.zero_points[0])
    first, own = program.layers[0], constants.bias[: conv.channels[1]]
    acc = convolved(conv, signs, constants.weights[first.weight_slice], own)
    pooled, positions = [signs.sum((1, 2))], acc.shape[1] * acc.shape[2]
    active = [np.full((len(x), first.c_out), positions)]
    if conv.output_bits == 8:
        scaled = requantize(acc, constants.multiplier, constants.shift) + conv.zero_points[1]
        y = np.clip(scaled, *conv.clamp)
        active = [((y > conv.clamp[0]) & (y < conv.clamp[1])).sum((1, 2))]
    elif conv.output_bits == 1:
        second, bits = program.layers[1], signs_of(acc)
        reader = Conv((first.c_out, READERS), conv.output_size)
        y = convolved(reader, bits, constants.weights[second.weight_slice], constants.bias[second.channel_slice])
        active.append(np.full((len(x), READERS), positions))
        pooled.append(bits.sum((1, 2)))
    else:
        y = acc
    return Outcome(y.reshape(len(x), -1), np.concatenate(active, 1), np.concatenate(pooled, 1))


def check(conv, variant, extreme=False):
    """Compare an engine with numpy, at random codes or at codes and multipliers that are at a limit."""
    rng, program = rng_of("signs", conv, extreme), program_of(conv)
    constants = constants_of(program, rng, extreme)
    x = codes(rng, (2, *conv.size, conv.channels[0]), extreme)
    wanted, engine = expected(conv, program, constants, x), Engine(program, constants, variant)
    seen = engine.observe(x)
    assert engine.variant == variant
    assert np.array_equal(engine.infer(x), wanted.outputs)
    assert np.array_equal(seen.outputs, wanted.outputs)
    assert np.array_equal(seen.active, wanted.active)
    assert np.array_equal(seen.pooled, wanted.pooled)
    assert not engine.taps(x, np.ones((2, program.channel_count), np.int32)).any()  # nobody moves signs


def random_conv(rng, output_bits):
    def pick(low, high):
        return int(rng.integers(low, high + 1))

    return Conv(
        channels=(pick(1, 80), pick(1, 40)),
        size=(pick(1, 9), pick(1, 20)),
        kernel=(pick(1, 3), pick(1, 4)),
        stride=(pick(1, 2), pick(1, 3)),
        dilation=(pick(1, 2), pick(1, 3)),
        pad=(pick(2, 3), pick(5, 6), pick(2, 3), pick(4, 6)),
        zero_points=(pick(-128, 127), pick(-128, 127)),
        clamp=(pick(-128, -20), pick(20, 127)),
        output_bits=output_bits,
    )

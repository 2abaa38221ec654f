"""Forward steps in numpy, in codes as docs/numerics.md has them, or in reals without any rounding.

Tensors are [height, width, channels]. In reals a tensor still counts in steps of its scale from its zero point, and
clamps still hold; multipliers are the exact ratios of scales instead of fixed-point numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.fixedpoint import divide_round, requantize, round_shift
from calibrant.core.program import Constants, Layer, Op, Program, Tensor

Array = NDArray[Any]
Window = tuple[slice, slice]


@dataclass(frozen=True)
class Model:
    """A program with the weights and biases of the moment: int64 codes, or reals in units of codes."""

    program: Program
    constants: Constants
    weights: Array
    bias: Array
    effective: NDArray[np.float64]
    rounding: bool

    def weight_of(self, layer: Layer) -> Array:
        """[c_out, kernel_h, kernel_w, c_in / groups]."""
        weight: Array = self.weights[layer.weight_slice].reshape(layer.weight_shape)
        return weight


def run(model: Model, op: Op, inputs: tuple[Array, ...]) -> Array:
    """Output of one op: int64 codes or accumulators, or float64."""
    program = model.program
    output = program.tensors[op.output]
    y = KINDS[op.kind](model, op, inputs)
    if output.bits == 32:
        return y
    return np.asarray(np.clip(y + output.zero_point, op.attrs["clamp_low"], op.attrs["clamp_high"]))


def taps(op: Op, source: Tensor, output: Tensor) -> Iterator[tuple[tuple[int, int], Window, Window]]:
    """(kernel row, kernel column), output positions whose tap is no padding, the input positions there."""
    for ky in range(op.attrs["kernel_h"]):
        out_rows, in_rows = _reach(op, "h", "pad_top", ky, source.height, output.height)
        for kx in range(op.attrs["kernel_w"]):
            out_columns, in_columns = _reach(op, "w", "pad_left", kx, source.width, output.width)
            if out_rows.start < out_rows.stop and out_columns.start < out_columns.stop:
                yield (ky, kx), (out_rows, out_columns), (in_rows, in_columns)


def _reach(op: Op, axis: str, pad: str, tap: int, size_in: int, size_out: int) -> tuple[slice, slice]:
    stride, offset = op.attrs[f"stride_{axis}"], tap * op.attrs[f"dilation_{axis}"] - op.attrs[pad]
    first = max(0, -(offset // stride))  # ceil(-offset / stride): the first with first * stride + offset >= 0
    last = min(size_out - 1, (size_in - 1 - offset) // stride)
    return slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)


def spans(op: Op, source: Tensor, output: Tensor) -> Iterator[tuple[tuple[int, int], Window, int]]:
    """(output row, column), the input positions that are averaged there, and what their sum is divided by."""
    for row in range(output.height):
        rows = _span(op, row, "stride_h", "pad_top", "kernel_h", source.height, output.height)
        for column in range(output.width):
            columns = _span(op, column, "stride_w", "pad_left", "kernel_w", source.width, output.width)
            count = (rows.stop - rows.start) * (columns.stop - columns.start)
            if op.attrs["count_include_pad"] and not op.attrs["adaptive"]:
                count = op.attrs["kernel_h"] * op.attrs["kernel_w"]
            yield (row, column), (rows, columns), count


def _span(op: Op, i: int, stride: str, pad: str, kernel: str, size_in: int, size_out: int) -> slice:
    if op.attrs["adaptive"]:
        return slice(i * size_in // size_out, -(-(i + 1) * size_in // size_out))
    begin = i * op.attrs[stride] - op.attrs[pad]
    return slice(max(begin, 0), min(begin + op.attrs[kernel], size_in))


def _conv2d(model: Model, op: Op, inputs: tuple[Array, ...]) -> Array:
    source, output = model.program.tensors[op.inputs[0]], model.program.tensors[op.output]
    layer = model.program.layers[op.layer]
    x, weight, groups = inputs[0] - source.zero_point, model.weight_of(layer), layer.groups
    acc = np.zeros((output.height, output.width, groups, layer.c_out // groups), x.dtype)
    for (ky, kx), out, into in taps(op, source, output):
        columns = x[into].reshape(*x[into].shape[:2], groups, -1)
        acc[out] += np.einsum("yxgi,goi->yxgo", columns, weight[:, ky, kx].reshape(groups, layer.c_out // groups, -1))
    own = layer.channel_slice
    acc = acc.reshape(output.height, output.width, layer.c_out) + model.bias[own]
    if output.bits == 32:
        return acc
    if not model.rounding:
        return np.asarray(acc * model.effective[own])
    return requantize(acc, model.constants.multiplier[own], model.constants.shift[own])


def _max_pool2d(model: Model, op: Op, inputs: tuple[Array, ...]) -> Array:
    source, output = model.program.tensors[op.inputs[0]], model.program.tensors[op.output]
    y = np.full((output.height, output.width, output.channels), -1024, inputs[0].dtype)
    for _, out, into in taps(op, source, output):
        y[out] = np.maximum(y[out], inputs[0][into])
    return y - output.zero_point


def _avg_pool2d(model: Model, op: Op, inputs: tuple[Array, ...]) -> Array:
    source, output = model.program.tensors[op.inputs[0]], model.program.tensors[op.output]
    y = np.empty((output.height, output.width, output.channels), inputs[0].dtype)
    for at, into, count in spans(op, source, output):
        total = (inputs[0][into] - source.zero_point).sum(axis=(0, 1))
        y[at] = divide_round(total, count) if model.rounding else total / count
    return y


def _mean(model: Model, op: Op, inputs: tuple[Array, ...]) -> Array:
    source, output = model.program.tensors[op.inputs[0]], model.program.tensors[op.output]
    total = (inputs[0] - source.zero_point).sum(axis=(0, 1), keepdims=True)
    if model.rounding:
        return requantize(total, op.attrs["multiplier0"], op.attrs["shift0"])
    return np.asarray(total * (source.scale / (output.scale * source.height * source.width)))


def _add(model: Model, op: Op, inputs: tuple[Array, ...]) -> Array:
    output, sources = model.program.tensors[op.output], [model.program.tensors[i] for i in op.inputs]
    steps = [x - source.zero_point for x, source in zip(inputs, sources, strict=True)]
    if model.rounding:
        return round_shift(steps[0] * op.attrs["multiplier0"] + steps[1] * op.attrs["multiplier1"], op.attrs["shift0"])
    return np.asarray(steps[0] * (sources[0].scale / output.scale) + steps[1] * (sources[1].scale / output.scale))


def _concat(model: Model, op: Op, inputs: tuple[Array, ...]) -> Array:
    output, parts = model.program.tensors[op.output], []
    for i, x in enumerate(inputs):
        source = model.program.tensors[op.inputs[i]]
        steps, multiplier = x - source.zero_point, op.attrs[f"multiplier{i}"]
        if multiplier and model.rounding:  # 0: the codes are copied
            steps = requantize(steps, multiplier, op.attrs[f"shift{i}"])
        elif not model.rounding:
            steps = steps * (source.scale / output.scale)
        parts.append(steps)
    return np.concatenate(parts, axis=2)


KINDS: Mapping[str, Callable[[Model, Op, tuple[Array, ...]], Array]] = {
    "conv2d": _conv2d,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _avg_pool2d,
    "mean": _mean,
    "add": _add,
    "concat": _concat,
    "rescale": _concat,
}

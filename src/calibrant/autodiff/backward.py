"""Backward steps in numpy, each sum in the order that every implementation keeps.

Elements are vectorized, sums are not: each starts at 0 and adds its terms one after another, with a rounding after
every product and every addition. In float32 the results are therefore those of the C kernels, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.autodiff.forward import Array, Model
from calibrant.autodiff.selection import depthwise
from calibrant.core.program import Op
from calibrant.core.training import Slice, Step
from calibrant.ops.geometry import spans, taps

Real = NDArray[np.floating[Any]]


def _conv2d_grad(model: Model, step: Step, op: Op, inputs: tuple[Array, ...], base: Real) -> Real:
    """G_x[pos, i]: taps in order, and at each the outputs of the group in order."""
    g, layer = inputs[-1], model.program.layers[op.layer]
    source, output = model.program.tensors[op.inputs[0]], model.program.tensors[op.output]
    weight = model.weight_of(layer).astype(g.dtype)
    outputs, depth = layer.c_out // layer.groups, layer.c_in // layer.groups
    dx = np.zeros((source.height, source.width, layer.groups, depth), g.dtype)
    grouped = g.reshape(output.height, output.width, layer.groups, outputs)
    for (ky, kx), out, into in taps(op.attrs, source, output):
        rows = weight[:, ky, kx].reshape(layer.groups, outputs, depth)
        for o in range(outputs):
            dx[into] += grouped[out][..., o, None] * rows[:, o]
    return base + dx.reshape(base.shape)


def bias_gradient(g: Real) -> Real:
    """Sum over positions [c_out]."""
    total = np.zeros(g.shape[2], g.dtype)
    for row in g.reshape(-1, g.shape[2]):
        total += row
    return total


def weight_gradient(model: Model, op: Op, part: Slice, x: Array, g: Real) -> Real:
    """Sum over output positions of g times (x - zero point), flat in the order of the slice.

    `x` is the input, or the trained channels of it where the slice has channels.
    """
    layer, source = model.program.layers[op.layer], model.program.tensors[op.inputs[0]]
    output = model.program.tensors[op.output]
    steps = np.asarray(x - source.zero_point, g.dtype)
    single = depthwise(layer)
    if single:
        kept = list(part.channels) or list(range(layer.c_out))
        g, groups, outputs, depth = g[..., kept], len(kept), 1, 1
    else:
        groups, outputs = layer.groups, layer.c_out // layer.groups
        depth = x.shape[2] // groups
    total = np.zeros((groups, outputs, layer.kernel_h, layer.kernel_w, depth), g.dtype)
    columns = np.zeros((output.height, output.width, layer.kernel_h, layer.kernel_w, groups, depth), g.dtype)
    for (ky, kx), out, into in taps(op.attrs, source, output):
        columns[(*out, ky, kx)] = steps[into].reshape(*steps[into].shape[:2], groups, depth)
    for row in range(output.height):
        for column in range(output.width):  # a tap in the padding adds 0, which changes no sum
            signal = g[row, column].reshape(groups, outputs, 1, 1, 1)
            total += signal * columns[row, column].transpose(2, 0, 1, 3)[:, None]
    return total.reshape(-1)


def _scaled(model: Model, step: Step, op: Op, inputs: tuple[Array, ...], base: Real) -> Real:
    """add_grad, and mean_grad to every position."""
    return base + inputs[-1] * base.dtype.type(step.factor)


def _concat_grad(model: Model, step: Step, op: Op, inputs: tuple[Array, ...], base: Real) -> Real:
    operand, g = step.attrs["operand"], inputs[-1]
    first = sum(model.program.tensors[i].channels for i in op.inputs[:operand])
    return base + g[..., first : first + base.shape[2]] * base.dtype.type(step.factor)


def _avg_pool2d_grad(model: Model, step: Step, op: Op, inputs: tuple[Array, ...], base: Real) -> Real:
    source, output, g = model.program.tensors[op.inputs[0]], model.program.tensors[op.output], inputs[-1]
    dx = base.copy()
    for at, into, count in spans(op.attrs, source, output):
        dx[into] += g[at] / g.dtype.type(count)
    return dx


def _max_pool2d_grad(model: Model, step: Step, op: Op, inputs: tuple[Array, ...], base: Real) -> Real:
    source, output = model.program.tensors[op.inputs[0]], model.program.tensors[op.output]
    x, g = inputs
    largest = np.full(g.shape, -np.inf)
    position = np.zeros(g.shape, np.int64)
    numbers = np.arange(source.height * source.width).reshape(source.height, source.width, 1)
    for _, out, into in taps(op.attrs, source, output):
        larger = x[into] > largest[out]
        position[out] = np.where(larger, numbers[into], position[out])
        largest[out] = np.where(larger, x[into], largest[out])
    dx = base.reshape(-1, source.channels).copy()
    for row in range(output.height):
        for column in range(output.width):
            dx[position[row, column], np.arange(source.channels)] += g[row, column]
    return dx.reshape(base.shape)


# base, of the input's shape, is what the gradient is added to: 0, or what other readers of the tensor gave
GRADIENTS: Mapping[str, Callable[[Model, Step, Op, tuple[Array, ...], Real], Real]] = {
    "conv2d_grad": _conv2d_grad,
    "add_grad": _scaled,
    "mean_grad": _scaled,
    "concat_grad": _concat_grad,
    "avg_pool2d_grad": _avg_pool2d_grad,
    "max_pool2d_grad": _max_pool2d_grad,
}

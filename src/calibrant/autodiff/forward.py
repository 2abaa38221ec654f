"""Forward steps in numpy, in codes as docs/numerics.md has them, or in reals without any rounding.

Tensors are [height, width, channels]. In reals a tensor still counts in steps of its scale from its zero point, and
clamps still hold; multipliers are the exact ratios of scales instead of fixed-point numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.fixedpoint import requantize
from calibrant.core.program import Constants, Layer, Op, Program
from calibrant.ops import KINDS
from calibrant.ops.geometry import taps

Array = NDArray[Any]


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
    """Output of one op: int64 codes or accumulators, or float64; ModelError if its row has no forward rule."""
    program = model.program
    output = program.tensors[op.output]
    if op.layer >= 0:
        y = _layer(model, op, inputs)
    else:
        rule = KINDS[op.kind].forward if op.kind in KINDS else None
        if rule is None:
            raise ModelError(f"{op.kind} '{output.name}': expected an op with a forward rule in its row, got none")
        y = rule(op.attrs, inputs, tuple(program.tensors[i] for i in op.inputs), output, model.rounding)
    if output.bits == 32:
        return y
    return np.asarray(np.clip(y + output.zero_point, op.attrs["clamp_low"], op.attrs["clamp_high"]))


def _layer(model: Model, op: Op, inputs: tuple[Array, ...]) -> Array:
    source, output = model.program.tensors[op.inputs[0]], model.program.tensors[op.output]
    layer = model.program.layers[op.layer]
    x, weight, groups = inputs[0] - source.zero_point, model.weight_of(layer), layer.groups
    acc = np.zeros((output.height, output.width, groups, layer.c_out // groups), x.dtype)
    for (ky, kx), out, into in taps(op.attrs, source, output):
        columns = x[into].reshape(*x[into].shape[:2], groups, -1)
        acc[out] += np.einsum("yxgi,goi->yxgo", columns, weight[:, ky, kx].reshape(groups, layer.c_out // groups, -1))
    own = layer.channel_slice
    acc = acc.reshape(output.height, output.width, layer.c_out) + model.bias[own]
    if output.bits == 32:
        return acc
    if not model.rounding:
        return np.asarray(acc * model.effective[own])
    return requantize(acc, model.constants.multiplier[own], model.constants.shift[own])

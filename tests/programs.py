"""Programs of one op, so that a kernel can be asked about anything a record can say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.core.program import Constants, Layer, Op, Program, Tensor
from calibrant.core.scratch import scratch_bytes
from calibrant.engine import Engine

SIDES = ("kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w")
WINDOW = {**dict.fromkeys(SIDES, 1), "pad_top": 0, "pad_left": 0}


@dataclass(frozen=True)
class Conv:
    """A convolution's geometry and quantization; `pad` is top, left, bottom, right."""

    channels: tuple[int, int]
    size: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    bits: int = 8
    zero_points: tuple[int, int] = (3, -5)
    clamp: tuple[int, int] = (-100, 90)
    output_bits: int = 8

    @property
    def output_size(self) -> tuple[int, int]:
        extent = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        padded = self.size[0] + self.pad[0] + self.pad[2], self.size[1] + self.pad[1] + self.pad[3]
        height, width = ((p - e) // s + 1 for p, e, s in zip(padded, extent, self.stride, strict=True))
        return height, width

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.channels[1], *self.kernel, self.channels[0] // self.groups

    def program(self) -> Program:
        """The program: tensors x and y, one conv2d with layer 0."""
        attrs = {
            "kernel_h": self.kernel[0],
            "kernel_w": self.kernel[1],
            "stride_h": self.stride[0],
            "stride_w": self.stride[1],
            "dilation_h": self.dilation[0],
            "dilation_w": self.dilation[1],
            "pad_top": self.pad[0],
            "pad_left": self.pad[1],
            "groups": self.groups,
            "clamp_low": self.clamp[0],
            "clamp_high": self.clamp[1],
        }
        x = Tensor("x", *self.size, self.channels[0], 0.1, self.zero_points[0])
        y = Tensor("y", *self.output_size, self.channels[1], 0.1, self.zero_points[1], self.output_bits)
        layer = Layer("conv", self.bits, self.channels[1], *self.kernel, self.channels[0], self.groups, 0, 0, 0)
        return one_op("conv2d", x, y, attrs, layer)


def one_op(kind: str, source: Tensor, output: Tensor, attrs: Mapping[str, int], layer: Layer | None = None) -> Program:
    """A program of one op with one input."""
    return planned((source, output), (_op(kind, (source, output), (0,), 1, attrs, 0 if layer else -1),),
                   (layer,) if layer else ())  # fmt: skip


def joined(kind: str, parts: Sequence[Tensor], output: Tensor, attrs: Mapping[str, int]) -> tuple[Program, Constants]:
    """A program of one op with several inputs; its input is all of them side by side in the channels.

    A program has one input, so a 1x1 convolution with weights 0 and 1 picks each part out of it, unchanged.
    """
    depth = sum(part.channels for part in parts)
    source = Tensor("x", parts[0].height, parts[0].width, depth, 1.0, 0)
    tensors = (source, *parts, output)
    layers, ops, weights, bias, first = [], [], [], [], 0
    for i, part in enumerate(parts):
        layers.append(Layer(part.name, 2, part.channels, 1, 1, depth, 1, first * depth, first, i * depth))
        ops.append(_op("conv2d", tensors, (0,), i + 1, {"groups": 1}, i))
        weights.append(np.eye(depth, dtype=np.int8)[first : first + part.channels])
        bias.append(np.full(part.channels, -part.zero_point, np.int32))
        first += part.channels
    ops.append(_op(kind, tensors, tuple(range(1, len(parts) + 1)), len(parts) + 1, attrs, -1))
    same = np.full(depth, 2**30, np.int32), np.full(depth, 30, np.int32)
    constants = Constants(np.concatenate(weights).ravel(), np.concatenate(bias), *same, np.ones(depth, np.float32))
    return planned(tensors, tuple(ops), tuple(layers)), constants


def _op(
    kind: str, tensors: Sequence[Tensor], inputs: tuple[int, ...], output: int, attrs: Mapping[str, int], layer: int
) -> Op:
    window = WINDOW if kind in ("conv2d", "binary_conv2d", "max_pool2d", "avg_pool2d") else {}
    full = {**window, "clamp_low": -128, "clamp_high": 127, **attrs}
    scratch = scratch_bytes(kind, tensors[inputs[0]], tensors[output], full)
    return Op(kind, inputs, output, {**full, "scratch_bytes": scratch}, layer)


def planned(tensors: tuple[Tensor, ...], ops: tuple[Op, ...], layers: tuple[Layer, ...]) -> Program:
    """Tensors one after another in the arena, scratch behind them; input is tensor 0, output the last op's."""
    offsets, end = [], 0
    for tensor in tensors:
        offsets.append(end)
        end += -(-tensor.nbytes // 16) * 16
    placed = tuple(Op(o.kind, o.inputs, o.output, {**o.attrs, "scratch_offset": end}, o.layer) for o in ops)
    arena = end + max(o.attrs["scratch_bytes"] for o in ops)
    return Program(tensors, placed, layers, 0, ops[-1].output, tuple(offsets), arena)


def no_constants() -> Constants:
    """For programs without layers."""
    empty = np.empty(0, np.int32)
    return Constants(np.empty(0, np.int8), empty, empty, empty, np.empty(0, np.float32))


def run(program: Program, constants: Constants, x: NDArray[np.int8], variant: str) -> NDArray[np.int32]:
    """Codes of the program's output, [N, height, width, channels]."""
    output = program.tensors[program.output]
    result = Engine(program, constants, variant).infer(x)
    return result.reshape(len(x), output.height, output.width, output.channels)

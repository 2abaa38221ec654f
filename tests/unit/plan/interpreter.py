"""Runs a program in numpy on the bytes of its arena, views and all: a wrong plan gives wrong outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.fixedpoint import divide_round, requantize, round_shift
from calibrant.core.program import Constants, Op, Program

Codes = NDArray[np.int64]  # [height, width, channels]


class Interpreter:
    def __init__(self, program: Program, constants: Constants) -> None:
        self.program, self.constants = program, constants
        self.arena = np.full(program.arena_bytes, 0x55, np.uint8)

    def run(self, x: NDArray[np.int8]) -> Codes:
        """The output's values for one sample [height, width, channels], flat."""
        self.write(self.program.input, x.astype(np.int64))
        for op in self.program.ops:
            value = getattr(self, op.kind)(op)
            out = self.program.tensors[op.output]
            if out.bits == 8:
                value = np.clip(value, op.attrs["clamp_low"], op.attrs["clamp_high"])
            self.write(op.output, value.reshape(out.height, out.width, out.channels))
        return self.read(self.program.output).ravel()

    def read(self, i: int) -> Codes:
        t, at = self.program.tensors[i], self.program.offsets[i]
        codes = self.arena[at : at + t.nbytes].view(np.int8 if t.bits == 8 else np.int32)
        return codes.reshape(t.height, t.width, t.channels).astype(np.int64)

    def write(self, i: int, value: Codes) -> None:
        t, at = self.program.tensors[i], self.program.offsets[i]
        assert value.shape == (t.height, t.width, t.channels)
        self.arena[at : at + t.nbytes] = value.astype(np.int8 if t.bits == 8 else np.int32).ravel().view(np.uint8)

    def real(self, op: Op, operand: int = 0) -> Codes:
        return self.read(op.inputs[operand]) - self.program.tensors[op.inputs[operand]].zero_point

    def taps(self, op: Op, fill: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Inputs [out_h, out_w, kernel_h, kernel_w, channels] without zero point, and which of them are real."""
        a, out, x = op.attrs, self.program.tensors[op.output], self.real(op)
        rows, columns = (
            np.arange(size)[:, None] * a[f"stride_{axis}"]
            - a[f"pad_{side}"]
            + np.arange(a[f"kernel_{axis}"]) * a[f"dilation_{axis}"]
            for size, axis, side in ((out.height, "h", "top"), (out.width, "w", "left"))
        )
        inside = ((rows >= 0) & (rows < len(x)))[:, None, :, None] & ((columns >= 0) & (columns < x.shape[1]))[
            None, :, None
        ]
        picked = x[rows.clip(0, len(x) - 1)[:, None, :, None], columns.clip(0, x.shape[1] - 1)[None, :, None]]
        return np.where(inside[..., None], picked, fill), inside

    def conv2d(self, op: Op) -> Codes:
        layer, c = self.program.layers[op.layer], self.constants
        weight = c.weights[layer.weight_slice].reshape(layer.weight_shape).astype(np.int64)
        taps, _ = self.taps(op, 0)
        groups = np.split(taps, layer.groups, axis=-1)
        parts = [
            np.einsum("hwabi,oabi->hwo", x, w) for x, w in zip(groups, np.split(weight, layer.groups), strict=True)
        ]
        acc = np.concatenate(parts, axis=-1) + c.bias[layer.channel_slice]
        out = self.program.tensors[op.output]
        if out.bits == 32:
            return acc
        return requantize(acc, c.multiplier[layer.channel_slice], c.shift[layer.channel_slice]) + out.zero_point

    def max_pool2d(self, op: Op) -> Codes:
        taps, _ = self.taps(op, -1000)
        return taps.max(axis=(2, 3)) + self.program.tensors[op.output].zero_point

    def avg_pool2d(self, op: Op) -> Codes:
        taps, inside = self.taps(op, 0)
        total, count = taps.sum(axis=(2, 3)), inside.sum(axis=(2, 3))[..., None]
        if op.attrs["count_include_pad"]:
            count = np.full_like(count, op.attrs["kernel_h"] * op.attrs["kernel_w"])
        return divide_round(total, np.broadcast_to(count, total.shape)) + self.program.tensors[op.output].zero_point

    def mean(self, op: Op) -> Codes:
        total = self.real(op).sum(axis=(0, 1))
        return (
            requantize(total, op.attrs["multiplier0"], op.attrs["shift0"]) + self.program.tensors[op.output].zero_point
        )

    def add(self, op: Op) -> Codes:
        total = self.real(op, 0) * op.attrs["multiplier0"] + self.real(op, 1) * op.attrs["multiplier1"]
        return round_shift(total, op.attrs["shift0"]) + self.program.tensors[op.output].zero_point

    def concat(self, op: Op) -> Codes:
        zero, parts = self.program.tensors[op.output].zero_point, []
        for i in range(len(op.inputs)):
            multiplier, shift = op.attrs[f"multiplier{i}"], op.attrs[f"shift{i}"]
            x = self.real(op, i)
            parts.append((x if multiplier == 0 else requantize(x, multiplier, shift)) + zero)
        return np.concatenate(parts, axis=-1)

    rescale = concat

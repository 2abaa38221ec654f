"""The float32 network behind an integer program: the reference that training on integers is measured against."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from calibrant.core.errors import ModelError
from calibrant.core.program import Constants, Op, Program

RELU6 = 6.0


class Twin(nn.Module):
    """A program in real numbers, without rounding: weights are codes times scales, ReLU6 is a clamp to 0..6.

    Only activations whose lowest code stands for 0 are clamped; the saturation of linear outputs at the ends of their
    codes is an artifact of integers, and is left out. Fully connected layers on one position are convolutions.

    Parameters
    ----------
    program, constants
        Convolutions, additions and means, as the published networks are made of.

    Raises
    ------
    ModelError
        If there is another op.
    """

    def __init__(self, program: Program, constants: Constants) -> None:
        super().__init__()
        unknown = sorted({op.kind for op in program.ops} - {"conv2d", "add", "mean"})
        if unknown:
            raise ModelError(f"float network: expected conv2d, add and mean, got {', '.join(unknown)}")
        self.program = program
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        ops = {op.layer: op for op in program.ops if op.layer >= 0}
        for number, layer in enumerate(program.layers):
            scale = constants.scale[layer.channel_slice].astype(np.float64)
            codes = constants.weights[layer.weight_slice].reshape(layer.weight_shape).transpose(0, 3, 1, 2)
            bias = constants.bias[layer.channel_slice] * scale * program.tensors[ops[number].inputs[0]].scale
            self.weights.append(nn.Parameter(_float(codes * scale[:, None, None, None])))
            self.biases.append(nn.Parameter(_float(bias)))

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, height, width] of real values to the output tensor's, likewise."""
        values = {self.program.input: x}
        for op in self.program.ops:
            values[op.output] = self._run(op, [values[tensor] for tensor in op.inputs])
        return values[self.program.output]

    def _run(self, op: Op, inputs: list[Tensor]) -> Tensor:
        if op.kind == "add":
            return inputs[0] + inputs[1]
        if op.kind == "mean":
            return inputs[0].mean(dim=(2, 3), keepdim=True)
        x, a, layer = inputs[0], op.attrs, self.program.layers[op.layer]
        source, target = self.program.tensors[op.inputs[0]], self.program.tensors[op.output]
        reach_h = (target.height - 1) * a["stride_h"] + (layer.kernel_h - 1) * a["dilation_h"] + 1
        reach_w = (target.width - 1) * a["stride_w"] + (layer.kernel_w - 1) * a["dilation_w"] + 1
        bottom = max(reach_h - source.height - a["pad_top"], 0)
        right = max(reach_w - source.width - a["pad_left"], 0)
        padded = functional.pad(x, (a["pad_left"], right, a["pad_top"], bottom))
        y = functional.conv2d(
            padded,
            self.weights[op.layer],
            self.biases[op.layer],
            stride=(a["stride_h"], a["stride_w"]),
            dilation=(a["dilation_h"], a["dilation_w"]),
            groups=layer.groups,
        )
        rectified = target.bits == 8 and target.zero_point == -128
        return y.clamp(0.0, RELU6) if rectified else y


def real(codes: np.ndarray[tuple[int, ...], np.dtype[np.int8]], program: Program) -> Tensor:
    """Input codes int8[N, height, width, channels] as the real values they stand for, [N, channels, height, width]."""
    tensor = program.tensors[program.input]
    values = (codes.astype(np.float32) - np.float32(tensor.zero_point)) * np.float32(tensor.scale)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


def _float(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))

"""Scales of a training step: of gradients through a layer, and quantization-aware scaling of updates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.program import Constants, Program


def effective_scale(program: Program, constants: Constants) -> NDArray[np.float64]:
    """float64[channel_count]: s_x * s_w / s_y, output codes per unit of the accumulator; 1 where it is the output."""
    scales = np.ones(program.channel_count)
    for op in program.ops:
        if op.layer >= 0 and program.tensors[op.output].bits == 8:
            own = program.layers[op.layer].channel_slice
            ratio = program.tensors[op.inputs[0]].scale / program.tensors[op.output].scale
            scales[own] = ratio * constants.scale[own].astype(np.float64)
    return scales


def head_scale(program: Program, constants: Constants) -> NDArray[np.float32]:
    """float32[elements of the output]: logits per unit of the integer output, as `core.logits` computes them."""
    output = program.tensors[program.output]
    if output.bits == 8:
        return np.full(output.elements, output.scale, np.float32)
    last = next(op for op in program.ops if op.output == program.output)
    weight_scale = constants.scale[program.layers[last.layer].channel_slice].astype(np.float32)
    scale: NDArray[np.float32] = np.float32(program.tensors[last.inputs[0]].scale) * weight_scale
    return scale


def quantization_aware_scaling(
    program: Program, constants: Constants
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What gradients of weights and of biases are multiplied by, so that steps are as those of reals.

    A weight is s_w times its code, so a step on reals is 1 / s_w larger in codes, and the gradient with respect to
    codes is s_w times smaller: together 1 / s_w^2. A bias has scale s_w * s_x.

    Parameters
    ----------
    program : Program
    constants : Constants

    Returns
    -------
    weight_scaling, bias_scaling : float32[channel_count]
        1 / s_w^2 and 1 / (s_w * s_x)^2, computed in float64.

    Raises
    ------
    ModelError
        If a scale is so small that a multiplier is beyond float32.

    References
    ----------
    J. Lin et al., "On-Device Training Under 256KB Memory", NeurIPS 2022, equation 4.
    """
    weight_scaling, bias_scaling = np.ones(program.channel_count), np.ones(program.channel_count)
    for op in program.ops:
        if op.layer < 0:
            continue
        layer = program.layers[op.layer]
        scale, source = constants.scale[layer.channel_slice].astype(np.float64), program.tensors[op.inputs[0]].scale
        weight_scaling[layer.channel_slice] = 1 / scale**2
        bias_scaling[layer.channel_slice] = 1 / (scale * source) ** 2
        largest = max(weight_scaling[layer.channel_slice].max(), bias_scaling[layer.channel_slice].max())
        if not largest < np.finfo(np.float32).max:
            raise ModelError(f"layer '{layer.name}': scaling: expected below 3.4e38, got {largest:g} from its scales")
    return weight_scaling.astype(np.float32), bias_scaling.astype(np.float32)

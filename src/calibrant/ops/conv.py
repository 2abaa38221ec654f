"""Two-dimensional convolution with groups; a series is a map of height 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.fixedpoint import quantize_multiplier, requantize
from calibrant.core.qparams import QParams
from calibrant.ops.clamp import CLAMP_ATTRS, clamp_real, saturate
from calibrant.ops.geometry import DILATION_ATTRS, PAD_ATTRS, STRIDE_ATTRS, lowered_window, output_size, windows
from calibrant.ops.kind import Gradient, OpKind, Signal
from calibrant.ops.schema import Arrays, Attr, Attrs, Params, Schema, Shape, matrix_of, require

COLUMN_BYTES = 1 << 20  # samples are unfolded in slices of about this size: memory does not grow with the batch

WEIGHTED_ATTRS = {
    **CLAMP_ATTRS,
    "weight_bits": Attr(int, optional=True),
    "output_bits": Attr(int, 8, optional=True),
}


def multipliers(
    input_scale: float, weight_scale: NDArray[np.float32], output_scale: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Requantization of a weighted layer, s_x * s_w[o] / s_y per output channel, computed in float64.

    Returns
    -------
    multiplier, shift : int32[c_out]

    Examples
    --------
    >>> [a.tolist() for a in multipliers(0.5, np.array([1.0, 0.25], np.float32), 1.0)]
    [[1073741824, 1073741824], [31, 33]]
    """
    pairs = [quantize_multiplier(float(input_scale) * float(s) / float(output_scale)) for s in weight_scale]
    return np.array([p[0] for p in pairs], np.int32), np.array([p[1] for p in pairs], np.int32)


def finish(
    acc: NDArray[np.int64], attrs: Attrs, params: Params, input_scale: float, qparams: QParams | None
) -> NDArray[Any]:
    """Accumulators int64[N, c_out, ...] to output codes, or to raw int32 when the node has 32-bit output."""
    if attrs.get("output_bits", 8) == 32:
        return acc.astype(np.int32)
    output = require(qparams)
    broadcast = (-1, *[1] * (acc.ndim - 2))
    multiplier, shift = multipliers(input_scale, params["weight_scale"], output.scale)
    scaled = requantize(acc, multiplier.reshape(broadcast), shift.reshape(broadcast))
    return saturate(scaled + output.zero_point, attrs, output)


def convolve(x: NDArray[Any], weight: NDArray[Any], attrs: Attrs, fill: float = 0) -> NDArray[Any]:
    """Sums of products without bias, in the type of `x` (a float type: BLAS); `x` is padded with `fill`."""
    groups, (c_out, c_in, kernel_h, kernel_w) = attrs.get("groups", 1), weight.shape
    view = windows(x, (kernel_h, kernel_w), attrs, fill)
    n, _, out_h, out_w = view.shape[:4]
    taps = c_in * kernel_h * kernel_w
    rows = weight.reshape(groups, c_out // groups, taps).astype(x.dtype)
    out = np.empty((n, groups, c_out // groups, out_h * out_w), x.dtype)
    step = max(1, COLUMN_BYTES // (groups * taps * out_h * out_w * x.itemsize))
    for start in range(0, n, step):
        part = view[start : start + step]
        grouped = part.reshape(len(part), groups, c_in, out_h, out_w, kernel_h, kernel_w)
        columns = grouped.transpose(0, 1, 2, 5, 6, 3, 4).reshape(len(part), groups, taps, out_h * out_w)
        np.matmul(rows, columns, out=out[start : start + step])
    return out.reshape(n, c_out, out_h, out_w)


def convolved_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    """Shape rule of convolutions; ModelError if weight, bias and input do not fit."""
    channels, height, width = matrix_of(inputs[0])
    weight, bias, groups = params["weight"].shape, params["bias"].shape, attrs.get("groups", 1)
    if len(weight) != 4 or 0 in weight:
        raise ModelError(f"weight: expected [c_out, c_in/groups, kernel_h, kernel_w], got shape {list(weight)}")
    if weight[1] * groups != channels or weight[0] % groups:
        raise ModelError(f"weight {list(weight)} in {groups} groups does not fit an input of {channels} channels")
    if bias != weight[:1]:
        raise ModelError(f"bias: expected shape [{weight[0]}], got {list(bias)}")
    return weight[0], *output_size((height, width), weight[2:], attrs)


def _float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    acc = convolve(inputs[0].astype(np.float32, copy=False), params["weight"], attrs)
    return clamp_real(attrs, acc + params["bias"].reshape(-1, 1, 1))


def _integer(
    attrs: Attrs, params: Params, inputs: Arrays, input_qparams: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    x = inputs[0].astype(np.int64) - input_qparams[0].zero_point
    # Every partial sum is an integer below 2^53, so float64 BLAS is exact in any order, and far faster than int64.
    acc = convolve(x.astype(np.float64), params["weight"], attrs).astype(np.int64)
    acc += params["bias"].astype(np.int64).reshape(-1, 1, 1)
    return finish(acc, attrs, params, input_qparams[0].scale, qparams)


def _lowering(attrs: Attrs, shapes: tuple[Shape, ...], sources: tuple[QParams, ...], output: QParams) -> dict[str, int]:
    """`attrs` with the layer's kernel; multipliers stand with the layer's constants."""
    return lowered_window(attrs) | {"groups": int(attrs["groups"])}


def _propagation(signal: Signal, channels: tuple[int, ...], kernel: Signal | None) -> tuple[Signal, ...]:
    """sum_o signal[n, o] * kernel[o, i], exact but for borders."""
    if kernel is None:
        raise ModelError("conv2d: expected a kernel to propagate a signal, got none")
    if len(kernel) == 1:
        return (signal @ kernel[0],)
    grouped = signal.reshape(len(signal), len(kernel), -1)
    return (np.einsum("ngo,goi->ngi", grouped, kernel).reshape(len(signal), -1),)


CONV2D = OpKind("conv2d", _lowering, gradient=Gradient("conv2d_grad"), propagation=_propagation, rows="window")

SCHEMAS = (
    Schema(
        "conv2d",
        convolved_shape,
        _float,
        _integer,
        attrs={**STRIDE_ATTRS, **PAD_ATTRS, **DILATION_ATTRS, "groups": Attr(int, 1, 1), **WEIGHTED_ATTRS},
        params=("weight", "bias"),
        quantization="weighted",
        kind=CONV2D,
    ),
)

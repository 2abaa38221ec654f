"""Pooling: maximum, average, adaptive average, and the mean over the whole map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.fixedpoint import divide_round, quantize_multiplier, requantize
from calibrant.core.program import Tensor
from calibrant.core.qparams import QParams
from calibrant.ops.clamp import saturate
from calibrant.ops.geometry import (
    DILATION_ATTRS,
    KERNEL_ATTRS,
    PAD_ATTRS,
    STRIDE_ATTRS,
    lowered_window,
    output_size,
    real_positions,
    spans,
    taps,
    windows,
)
from calibrant.ops.kind import (
    Codes,
    Gradient,
    OpKind,
    passed_on,
    rescaled,
    within,
    within_or_zero_point,
    within_same_codes,
)
from calibrant.ops.schema import Arrays, Attr, Attrs, Params, Schema, Shape, matrix_of, require


def mean_multiplier(input_scale: float, output_scale: float, positions: int) -> tuple[int, int]:
    """Requantization of ``mean``: s_x / (s_y * height * width), so that the sum needs no division.

    Examples
    --------
    >>> mean_multiplier(1.0, 1.0, 4)
    (1073741824, 32)
    """
    return quantize_multiplier(float(input_scale) / (float(output_scale) * positions))


def _kernel(attrs: Attrs) -> tuple[int, int]:
    return attrs["kernel_h"], attrs["kernel_w"]


def _window_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    channels, height, width = matrix_of(inputs[0])
    out = output_size((height, width), _kernel(attrs), attrs)
    if not real_positions((height, width), _kernel(attrs), attrs).all():
        raise ModelError("a window lies in the padding alone: use less padding")
    return channels, *out


def _max_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    view = windows(inputs[0].astype(np.float32, copy=False), _kernel(attrs), attrs, -np.inf)
    largest: NDArray[np.float32] = view.max(axis=(4, 5))
    return largest


def _max_integer(
    attrs: Attrs, params: Params, inputs: Arrays, input_qparams: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    view = windows(inputs[0].astype(np.int64), _kernel(attrs), attrs, np.iinfo(np.int64).min)
    return saturate(view.max(axis=(4, 5)), attrs, require(qparams))


def _divisor(attrs: Attrs, shape: Shape) -> NDArray[np.int64]:
    if attrs["count_include_pad"]:
        return np.array(attrs["kernel_h"] * attrs["kernel_w"], np.int64)
    return real_positions((shape[-2], shape[-1]), _kernel(attrs), attrs)


def _avg_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    total = windows(inputs[0].astype(np.float32, copy=False), _kernel(attrs), attrs, 0).sum(axis=(4, 5))
    return np.asarray(total / _divisor(attrs, inputs[0].shape), np.float32)


def _avg_integer(
    attrs: Attrs, params: Params, inputs: Arrays, input_qparams: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    zero_point = input_qparams[0].zero_point
    total = windows(inputs[0].astype(np.int64) - zero_point, _kernel(attrs), attrs, 0).sum(axis=(4, 5))
    return saturate(divide_round(total, _divisor(attrs, inputs[0].shape)) + zero_point, attrs, require(qparams))


def adaptive_window(index: int, outputs: int, size: int) -> slice:
    """Input positions of one output of adaptive pooling: [floor(i*h/n), ceil((i+1)*h/n)).

    Examples
    --------
    >>> [adaptive_window(i, 3, 5) for i in range(3)]
    [slice(0, 2, None), slice(1, 4, None), slice(3, 5, None)]
    """
    return slice(index * size // outputs, -(-(index + 1) * size // outputs))


def _adaptive_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    return matrix_of(inputs[0])[0], attrs["output_h"], attrs["output_w"]


def _adaptive_parts(attrs: Attrs, x: NDArray[Any]) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """(output row, output column, input positions [N, C, h, w]) of every output."""
    for row in range(attrs["output_h"]):
        for column in range(attrs["output_w"]):
            across = adaptive_window(column, attrs["output_w"], x.shape[3])
            yield row, column, x[:, :, adaptive_window(row, attrs["output_h"], x.shape[2]), across]


def _adaptive_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    out = np.empty((*inputs[0].shape[:2], attrs["output_h"], attrs["output_w"]), np.float32)
    for row, column, part in _adaptive_parts(attrs, inputs[0]):
        out[:, :, row, column] = part.mean(axis=(2, 3))
    return out


def _adaptive_integer(
    attrs: Attrs, params: Params, inputs: Arrays, input_qparams: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    zero_point = input_qparams[0].zero_point
    out = np.empty((*inputs[0].shape[:2], attrs["output_h"], attrs["output_w"]), np.int64)
    for row, column, part in _adaptive_parts(attrs, inputs[0].astype(np.int64) - zero_point):
        out[:, :, row, column] = divide_round(part.sum(axis=(2, 3)), part.shape[2] * part.shape[3])
    return saturate(out + zero_point, attrs, require(qparams))


def _mean_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    return (matrix_of(inputs[0])[0],)


def _mean_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    return np.asarray(inputs[0].mean(axis=(2, 3)), np.float32)


def _mean_integer(
    attrs: Attrs, params: Params, inputs: Arrays, input_qparams: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    source, output = input_qparams[0], require(qparams)
    total = (inputs[0].astype(np.int64) - source.zero_point).sum(axis=(2, 3))
    positions = inputs[0].shape[2] * inputs[0].shape[3]
    scaled = requantize(total, *mean_multiplier(source.scale, output.scale, positions))
    return saturate(scaled + output.zero_point, attrs, output)


def _window_lowering(
    attrs: Attrs, shapes: tuple[Shape, ...], sources: tuple[QParams, ...], output: QParams
) -> dict[str, int]:
    return {**lowered_window(attrs), "count_include_pad": int(attrs.get("count_include_pad", 0)), "adaptive": 0}


def _adaptive_lowering(
    attrs: Attrs, shapes: tuple[Shape, ...], sources: tuple[QParams, ...], output: QParams
) -> dict[str, int]:
    return {**lowered_window({}), "count_include_pad": 0, "adaptive": 1}


def _mean_lowering(
    attrs: Attrs, shapes: tuple[Shape, ...], sources: tuple[QParams, ...], output: QParams
) -> dict[str, int]:
    _, height, width = shapes[0]
    multiplier, shift = mean_multiplier(sources[0].scale, output.scale, height * width)
    return {"multiplier0": multiplier, "shift0": shift}


def _max_forward(
    attrs: Mapping[str, int], inputs: tuple[Codes, ...], sources: tuple[Tensor, ...], output: Tensor, rounding: bool
) -> Codes:
    y = np.full((output.height, output.width, output.channels), -1024, inputs[0].dtype)  # below every code
    for _, out, into in taps(attrs, sources[0], output):
        y[out] = np.maximum(y[out], inputs[0][into])
    return y - output.zero_point


def _avg_forward(
    attrs: Mapping[str, int], inputs: tuple[Codes, ...], sources: tuple[Tensor, ...], output: Tensor, rounding: bool
) -> Codes:
    y = np.empty((output.height, output.width, output.channels), inputs[0].dtype)
    for at, into, count in spans(attrs, sources[0], output):
        total = (inputs[0][into] - sources[0].zero_point).sum(axis=(0, 1))
        y[at] = divide_round(total, count) if rounding else total / count
    return y


def _mean_forward(
    attrs: Mapping[str, int], inputs: tuple[Codes, ...], sources: tuple[Tensor, ...], output: Tensor, rounding: bool
) -> Codes:
    source = sources[0]
    total = (inputs[0] - source.zero_point).sum(axis=(0, 1), keepdims=True)
    if rounding:
        return requantize(total, attrs["multiplier0"], attrs["shift0"])
    return np.asarray(total * (source.scale / (output.scale * source.height * source.width)))


def _averaged(source: Tensor, output: Tensor) -> float:
    return rescaled(source, output) / (source.height * source.width)


MAX_POOL2D = OpKind(
    "max_pool2d",
    _window_lowering,
    _max_forward,
    gradient=Gradient("max_pool2d_grad", reads_input=True),
    propagation=passed_on,
    reach=within,
    rows="window",
)
AVG_POOL2D = OpKind(
    "avg_pool2d",
    _window_lowering,
    _avg_forward,
    gradient=Gradient("avg_pool2d_grad"),
    propagation=passed_on,
    reach=within_or_zero_point,
    rows="window",
)
ADAPTIVE_AVG_POOL2D = OpKind(
    "adaptive_avg_pool2d",
    _adaptive_lowering,
    _avg_forward,
    gradient=Gradient("avg_pool2d_grad"),
    propagation=passed_on,
    reach=within_same_codes,
)
MEAN = OpKind(
    "mean",
    _mean_lowering,
    _mean_forward,
    gradient=Gradient("mean_grad", _averaged),
    propagation=passed_on,
    reach=within_or_zero_point,
)

WINDOW_ATTRS = {**KERNEL_ATTRS, **STRIDE_ATTRS, **PAD_ATTRS}

SCHEMAS = (
    Schema(
        "max_pool2d",
        _window_shape,
        _max_float,
        _max_integer,
        attrs={**WINDOW_ATTRS, **DILATION_ATTRS},
        keeps_qparams=True,
        tolerance=0.0,
        quantization="max_pool2d",
        kind=MAX_POOL2D,
    ),
    Schema(
        "avg_pool2d",
        _window_shape,
        _avg_float,
        _avg_integer,
        attrs={**WINDOW_ATTRS, "count_include_pad": Attr(int, 0, 0)},
        keeps_qparams=True,
        quantization="avg_pool2d",
        kind=AVG_POOL2D,
    ),
    Schema(
        "adaptive_avg_pool2d",
        _adaptive_shape,
        _adaptive_float,
        _adaptive_integer,
        attrs={"output_h": Attr(int, None, 1), "output_w": Attr(int, None, 1)},
        keeps_qparams=True,
        quantization="adaptive_avg_pool2d",
        kind=ADAPTIVE_AVG_POOL2D,
    ),
    Schema("mean", _mean_shape, _mean_float, _mean_integer, quantization="mean", kind=MEAN),
)

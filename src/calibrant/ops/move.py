"""Ops that move values without mixing them: concat, flatten, dropout (identity when predicting)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.fixedpoint import quantize_multiplier, requantize
from calibrant.core.program import Tensor
from calibrant.core.qparams import QParams
from calibrant.ops.clamp import CLAMP_ATTRS, clamp_real, saturate
from calibrant.ops.kind import Codes, Gradient, OpKind, Signal, passed_on, rescaled, within_same_codes
from calibrant.ops.schema import Arrays, Attrs, Params, Schema, Shape, require

CONCAT_INPUTS = 8


def move_multiplier(source: QParams, output: QParams) -> tuple[int, int]:
    """Requantization of one input of ``concat`` (or of ``clamp``): s_i / s_y, or (0, 1) for 'copy the codes'.

    Examples
    --------
    >>> move_multiplier(QParams(0.5, 3), QParams(0.5, 3)), move_multiplier(QParams(0.5, 3), QParams(0.5, 0))
    ((0, 1), (1073741824, 30))
    """
    if source.scale == output.scale and source.zero_point == output.zero_point:
        return 0, 1
    return quantize_multiplier(float(source.scale) / float(output.scale))


def rescale(x: NDArray[Any], source: QParams, output: QParams) -> NDArray[np.int64]:
    """Codes of `source` as codes of `output`, int64 and not yet clamped."""
    multiplier, shift = move_multiplier(source, output)
    if multiplier == 0:
        return x.astype(np.int64)
    return requantize(x.astype(np.int64) - source.zero_point, multiplier, shift) + output.zero_point


def _concat_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    if any(shape[1:] != inputs[0][1:] for shape in inputs):
        raise ModelError(f"inputs differ in more than channels: {[list(shape) for shape in inputs]}")
    return sum(shape[0] for shape in inputs), *inputs[0][1:]


def _concat_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    return clamp_real(attrs, np.concatenate(inputs, axis=1))


def _concat_integer(
    attrs: Attrs, params: Params, inputs: Arrays, input_qparams: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    output = require(qparams)
    parts = [rescale(x, q, output) for x, q in zip(inputs, input_qparams, strict=True)]
    return saturate(np.concatenate(parts, axis=1), attrs, output)


def _flatten_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    return (math.prod(inputs[0]),)


def _flatten_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    return inputs[0].reshape(len(inputs[0]), -1)


def _flatten_integer(
    attrs: Attrs, params: Params, inputs: Arrays, input_qparams: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    return inputs[0].reshape(len(inputs[0]), -1)


def _same_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    return inputs[0]


def _identity(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    return inputs[0]


def _lowering(attrs: Attrs, shapes: tuple[Shape, ...], sources: tuple[QParams, ...], output: QParams) -> dict[str, int]:
    lowered: dict[str, int] = {}
    for i, source in enumerate(sources):
        lowered[f"multiplier{i}"], lowered[f"shift{i}"] = move_multiplier(source, output)
    return lowered


def _forward(
    attrs: Mapping[str, int], inputs: tuple[Codes, ...], sources: tuple[Tensor, ...], output: Tensor, rounding: bool
) -> Codes:
    parts = []
    for i, (x, source) in enumerate(zip(inputs, sources, strict=True)):
        steps, multiplier = x - source.zero_point, attrs[f"multiplier{i}"]
        if multiplier and rounding:  # 0: the codes are copied
            steps = requantize(steps, multiplier, attrs[f"shift{i}"])
        elif not rounding:
            steps = steps * (source.scale / output.scale)
        parts.append(steps)
    return np.concatenate(parts, axis=2)


def _split(signal: Signal, channels: tuple[int, ...], kernel: Signal | None) -> tuple[Signal, ...]:
    return tuple(np.split(signal, np.cumsum(channels)[:-1], axis=1))


CONCAT = OpKind(
    "concat",
    _lowering,
    _forward,
    gradient=Gradient("concat_grad", rescaled),
    propagation=_split,
    reach=within_same_codes,
    rows="same",
)
RESCALE = OpKind(
    "rescale",
    _lowering,
    _forward,
    gradient=Gradient("concat_grad", rescaled),
    propagation=passed_on,
    reach=within_same_codes,
    rows="same",
)

SCHEMAS = (
    Schema(
        "concat",
        _concat_shape,
        _concat_float,
        _concat_integer,
        attrs=CLAMP_ATTRS,
        inputs_max=CONCAT_INPUTS,
        tolerance=0.0,
        quantization="join",
        kind=CONCAT,
    ),
    Schema(
        "flatten",
        _flatten_shape,
        _flatten_float,
        _flatten_integer,
        keeps_qparams=True,
        tolerance=0.0,
        quantization="flatten",
    ),
    Schema("dropout", _same_shape, _identity, None, tolerance=0.0),
)

"""Ops that work position by position: batch_norm, relu, clamp, add."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.fixedpoint import quantize_multipliers_shared, round_shift
from calibrant.core.qparams import QParams
from calibrant.ops.clamp import CLAMP_ATTRS, clamp_real, saturate
from calibrant.ops.move import rescale
from calibrant.ops.schema import Arrays, Attr, Attrs, Params, Schema, Shape, require


def add_multipliers(first_scale: float, second_scale: float, output_scale: float) -> tuple[tuple[int, int], int]:
    """Requantization of ``add``: s_a / s_y and s_b / s_y with one shared shift, so that one rounding is enough.

    Examples
    --------
    >>> add_multipliers(0.5, 0.25, 1.0)
    ((1073741824, 536870912), 31)
    """
    ratios = (float(first_scale) / float(output_scale), float(second_scale) / float(output_scale))
    (first, second), shift = quantize_multipliers_shared(ratios)
    return (first, second), shift


def _same_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    return inputs[0]


def _batch_norm_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    for name in ("scale", "offset"):
        if params[name].shape != inputs[0][:1]:
            raise ModelError(f"{name}: expected shape [{inputs[0][0]}], got {list(params[name].shape)}")
    return inputs[0]


def _batch_norm_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    broadcast = (-1, *[1] * (inputs[0].ndim - 2))
    normed = inputs[0] * params["scale"].reshape(broadcast) + params["offset"].reshape(broadcast)
    return normed.astype(np.float32, copy=False)


def _relu_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    return np.maximum(inputs[0], np.float32(0))


def _clamp_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    if not attrs["low"] <= attrs["high"]:
        raise ModelError(f"expected low <= high, got {attrs['low']} and {attrs['high']}")
    return inputs[0]


def _clamp_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    return clamp_real(attrs, inputs[0])


def _clamp_integer(
    attrs: Attrs, params: Params, inputs: Arrays, input_qparams: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    output = require(qparams)
    return saturate(rescale(inputs[0], input_qparams[0], output), attrs, output)


def _add_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    if inputs[0] != inputs[1]:
        raise ModelError(f"expected two equal shapes, got {list(inputs[0])} and {list(inputs[1])} (no broadcasting)")
    return inputs[0]


def _add_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    return clamp_real(attrs, inputs[0] + inputs[1])


def _add_integer(
    attrs: Attrs, params: Params, inputs: Arrays, input_qparams: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    output = require(qparams)
    ratios, shift = add_multipliers(input_qparams[0].scale, input_qparams[1].scale, output.scale)
    terms = [(x.astype(np.int64) - q.zero_point) * m for x, q, m in zip(inputs, input_qparams, ratios, strict=True)]
    return saturate(round_shift(terms[0] + terms[1], shift) + output.zero_point, attrs, output)


SCHEMAS = (
    Schema("batch_norm", _batch_norm_shape, _batch_norm_float, None, params=("scale", "offset")),
    Schema("relu", _same_shape, _relu_float, None, tolerance=0.0),
    Schema(
        "clamp",
        _clamp_shape,
        _clamp_float,
        _clamp_integer,
        attrs={"low": Attr(float, -math.inf), "high": Attr(float, math.inf)},
        tolerance=0.0,
    ),
    Schema("add", _add_shape, _add_float, _add_integer, attrs=CLAMP_ATTRS, inputs_min=2, inputs_max=2),
)

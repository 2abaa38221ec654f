"""Ops that work position by position: batch_norm, relu, clamp, add."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.fixedpoint import quantize_multipliers_shared, round_shift
from calibrant.core.program import Tensor
from calibrant.core.qparams import QParams
from calibrant.ops.clamp import CLAMP_ATTRS, clamp_real, saturate
from calibrant.ops.kind import Codes, Gradient, OpKind, passed_on, rescaled
from calibrant.ops.move import RESCALE, rescale
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


def _add_lowering(
    attrs: Attrs, shapes: tuple[Shape, ...], sources: tuple[QParams, ...], output: QParams
) -> dict[str, int]:
    ratios, shift = add_multipliers(sources[0].scale, sources[1].scale, output.scale)
    return {"multiplier0": ratios[0], "multiplier1": ratios[1], "shift0": shift}


def _add_forward(
    attrs: Mapping[str, int], inputs: tuple[Codes, ...], sources: tuple[Tensor, ...], output: Tensor, rounding: bool
) -> Codes:
    steps = [x - source.zero_point for x, source in zip(inputs, sources, strict=True)]
    if rounding:
        return round_shift(steps[0] * attrs["multiplier0"] + steps[1] * attrs["multiplier1"], attrs["shift0"])
    return np.asarray(steps[0] * (sources[0].scale / output.scale) + steps[1] * (sources[1].scale / output.scale))


ADD = OpKind(
    "add", _add_lowering, _add_forward, gradient=Gradient("add_grad", rescaled), propagation=passed_on, rows="same"
)

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
        quantization="join",
        kind=RESCALE,
    ),
    Schema(
        "add",
        _add_shape,
        _add_float,
        _add_integer,
        attrs=CLAMP_ATTRS,
        inputs_min=2,
        inputs_max=2,
        quantization="sum",
        kind=ADD,
    ),
)

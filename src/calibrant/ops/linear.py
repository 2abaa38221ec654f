"""Fully connected layer on a vector: a 1x1 convolution on a 1x1 image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.qparams import QParams
from calibrant.ops.clamp import clamp_real
from calibrant.ops.conv import CONV2D, WEIGHTED_ATTRS, finish
from calibrant.ops.schema import Arrays, Attrs, Params, Schema, Shape


def linear_shape(attrs: Attrs, params: Params, inputs: tuple[Shape, ...]) -> Shape:
    """Shape rule of linear layers; ModelError if weight, bias and input do not fit."""
    if len(inputs[0]) != 1:
        raise ModelError(f"expected a vector [features], got shape {list(inputs[0])} (flatten or average it first)")
    weight, bias = params["weight"].shape, params["bias"].shape
    if len(weight) != 2 or weight[1] != inputs[0][0]:
        raise ModelError(f"weight: expected [c_out, {inputs[0][0]}], got shape {list(weight)}")
    if bias != weight[:1]:
        raise ModelError(f"bias: expected shape [{weight[0]}], got {list(bias)}")
    return (weight[0],)


def _float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    return clamp_real(attrs, inputs[0].astype(np.float32, copy=False) @ params["weight"].T + params["bias"])


def _integer(
    attrs: Attrs, params: Params, inputs: Arrays, input_qparams: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    x = inputs[0].astype(np.float64) - input_qparams[0].zero_point
    acc = (x @ params["weight"].T.astype(np.float64)).astype(np.int64)  # exact: integers below 2^53
    return finish(acc + params["bias"].astype(np.int64), attrs, params, input_qparams[0].scale, qparams)


SCHEMAS = (
    Schema(
        "linear",
        linear_shape,
        _float,
        _integer,
        attrs=WEIGHTED_ATTRS,
        params=("weight", "bias"),
        quantization="weighted",
        kind=CONV2D,
    ),
)

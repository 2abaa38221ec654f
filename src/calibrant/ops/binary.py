"""Layers whose inputs and weights are signs, -1 or 1, one bit each; sign(0) is +1, and the set bit stands for -1.

A sum of K products is K - 2m, with m the mismatches of the two, which a processor counts by XOR and population count.
In a program a product counts `UNIT`, so that a bias can be finer than a sum of signs. Where a layer's output goes only
to a sign, its bias is a threshold on m, and only the bit is written (M. Rastegari et al., "XNOR-Net", ECCV 2016; the
folding as in Larq Compute Engine). Outside of the input there is +1, bit 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.qparams import QParams
from calibrant.ops.clamp import clamp_real
from calibrant.ops.conv import WEIGHTED_ATTRS, convolve, convolved_shape, finish
from calibrant.ops.geometry import DILATION_ATTRS, PAD_ATTRS, STRIDE_ATTRS, lowered_window
from calibrant.ops.kind import OpKind, Signal
from calibrant.ops.linear import linear_shape
from calibrant.ops.schema import Arrays, Attr, Attrs, Params, Schema, Shape

UNIT = 256  # what a product of two signs counts in an accumulator
SIGNS = QParams(1.0, 0, -1, 1)  # of a value of signs
ONE = 1.0  # what is thought around an input


def sign(x: NDArray[Any]) -> NDArray[Any]:
    """-1 where `x` < 0, else 1, in the type of `x`.

    Examples
    --------
    >>> sign(np.array([-0.5, 0.0, -0.0, 3.0])).tolist()
    [-1.0, 1.0, 1.0, 1.0]
    """
    signs: NDArray[Any] = np.where(x < 0, -1, 1).astype(x.dtype)
    return signs


def thresholds(depth: int, gain: NDArray[Any], offset: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Batch normalization and sign as one comparison: of y = gain * (depth - 2m) + offset only whether y < 0.

    Parameters
    ----------
    depth : int
        Products in a sum.
    gain, offset : float[c_out]
        Per output channel; any sign, and a gain may be 0.

    Returns
    -------
    flipped : bool[c_out]
        Channels of negative gain, whose weights change their signs, so that m becomes depth - m.
    threshold : int64[c_out]
        y < 0 if and only if m > threshold, as float64 computes y; -1: always, `depth`: never.

    Examples
    --------
    >>> [a.tolist() for a in thresholds(9, np.array([1.0, -2.0, 0.0]), np.array([0.0, 3.0, -1.0]))]
    [[False, True, False], [4, 5, -1]]
    """
    gain, offset = np.asarray(gain, np.float64), np.asarray(offset, np.float64)
    flipped, slope = gain < 0, np.abs(gain)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = np.floor((offset / slope + depth) / 2)
    never = np.where(offset < 0, -1, depth)  # of a gain of 0
    threshold = np.where(slope > 0, np.clip(found, -1, depth), never).astype(np.int64)
    # the quotient rounds; what counts is the sign of the product and the sum themselves
    threshold -= (threshold >= 0) & (slope * (depth - 2 * threshold) + offset < 0)
    threshold += (threshold < depth) & (slope * (depth - 2 * (threshold + 1)) + offset >= 0)
    return flipped, threshold


def threshold_bias(depth: int, threshold: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bias with which UNIT * (depth - 2m) + bias < 0 if and only if m > threshold: between two sums.

    Examples
    --------
    >>> threshold_bias(9, np.array([4])).tolist()
    [0]
    """
    return UNIT * (2 * threshold + 1 - depth)


def _finish(acc: NDArray[np.int64], attrs: Attrs, params: Params, qparams: QParams | None) -> NDArray[Any]:
    """Accumulators as :func:`conv.finish`, or to signs when the node has 1-bit output."""
    if attrs.get("output_bits", 8) == 1:
        return sign(acc).astype(np.int8)
    return finish(acc, attrs, params, SIGNS.scale, qparams)


def _real(attrs: Attrs, y: NDArray[Any]) -> NDArray[np.float32]:
    clamped = clamp_real(attrs, y)
    return sign(clamped) if attrs.get("output_bits", 8) == 1 else clamped


def _conv_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    acc = convolve(inputs[0].astype(np.float32, copy=False), params["weight"], attrs, ONE)
    return _real(attrs, acc + params["bias"].reshape(-1, 1, 1))


def _conv_integer(
    attrs: Attrs, params: Params, inputs: Arrays, sources: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    acc = UNIT * convolve(inputs[0].astype(np.float64), params["weight"], attrs, ONE).astype(np.int64)
    return _finish(acc + params["bias"].astype(np.int64).reshape(-1, 1, 1), attrs, params, qparams)


def _linear_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    return _real(attrs, inputs[0].astype(np.float32, copy=False) @ params["weight"].T + params["bias"])


def _linear_integer(
    attrs: Attrs, params: Params, inputs: Arrays, sources: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    acc = UNIT * (inputs[0].astype(np.float64) @ params["weight"].T.astype(np.float64)).astype(np.int64)
    return _finish(acc + params["bias"].astype(np.int64), attrs, params, qparams)


def _sign_float(attrs: Attrs, params: Params, inputs: Arrays) -> NDArray[np.float32]:
    return sign(inputs[0].astype(np.float32, copy=False))


def _sign_integer(
    attrs: Attrs, params: Params, inputs: Arrays, sources: tuple[QParams, ...], qparams: QParams | None
) -> NDArray[Any]:
    return sign(inputs[0].astype(np.int16) - sources[0].zero_point).astype(np.int8)


def _window(attrs: Attrs, shapes: tuple[Shape, ...], sources: tuple[QParams, ...], output: QParams) -> dict[str, int]:
    return lowered_window(attrs) | {"groups": 1}


def _nothing(attrs: Attrs, shapes: tuple[Shape, ...], sources: tuple[QParams, ...], output: QParams) -> dict[str, int]:
    return {}


def _stopped(signal: Signal, channels: tuple[int, ...], kernel: Signal | None) -> tuple[Signal, ...]:
    """No signal passes a sign: what is before it, and the binary layer itself, stay as they are."""
    return tuple(np.zeros((len(signal), count)) for count in channels)


# Neither has a gradient: a training step refuses them by name where a gradient has to pass.
SIGN = OpKind("sign", _nothing, propagation=_stopped)
BINARY_CONV2D = OpKind("binary_conv2d", _window, propagation=_stopped)

SCHEMAS = (
    Schema(
        "sign",
        lambda attrs, params, inputs: inputs[0],
        _sign_float,
        _sign_integer,
        attrs={"output_bits": Attr(int, 1, 1)},
        quantization="sign",
        kind=SIGN,
    ),
    Schema(
        "binary_conv2d",
        convolved_shape,
        _conv_float,
        _conv_integer,
        attrs={**STRIDE_ATTRS, **PAD_ATTRS, **DILATION_ATTRS, **WEIGHTED_ATTRS},
        params=("weight", "bias"),
        quantization="binary",
        kind=BINARY_CONV2D,
    ),
    Schema(
        "binary_linear",
        linear_shape,
        _linear_float,
        _linear_integer,
        attrs=WEIGHTED_ATTRS,
        params=("weight", "bias"),
        quantization="binary",
        kind=BINARY_CONV2D,
    ),
)

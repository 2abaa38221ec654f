"""Rows of the binary layers of `calibrant.nn`: signs of the input, and a layer that reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx

from calibrant.frontend.aten import Handler, geometry, paddings, pair
from calibrant.frontend.builder import Builder


def _binary_params(b: Builder, node: fx.Node) -> dict[str, NDArray[np.float32]]:
    """Weight and bias of a binary layer, whose weights differ in their signs alone within an output channel."""
    weight = b.constant(node, node.args[1], "weight")
    bias = np.zeros(len(weight), np.float32) if node.args[2] is None else b.constant(node, node.args[2], "bias")
    size = np.abs(weight.reshape(len(weight), -1))
    if (size != size[:, :1]).any():
        raise b.refusal(node, "expected weights of one magnitude per output channel, got several")
    return {"weight": weight, "bias": bias}


def _signs(b: Builder, node: fx.Node) -> str:
    return b.emit(node, "sign", (b.activation(node, node.args[0]),), whole=False)


def _binary_conv(b: Builder, node: fx.Node) -> str:
    """binary_conv: input, weight, bias, stride, padding as of pad, dilation, slope."""
    params = _binary_params(b, node)
    if params["weight"].ndim == 3:
        params["weight"] = params["weight"][:, :, None, :]
    widths: Any = node.args[4]
    left, right, top, bottom = [*widths, 0, 0][:4]
    attrs = geometry(stride=pair(node, node.args[3], 1), dilation=pair(node, node.args[5], 1))
    attrs |= paddings((top, left), (bottom, right))
    return b.emit(node, "binary_conv2d", (_signs(b, node),), attrs, params)


def _binary_linear(b: Builder, node: fx.Node) -> str:
    """binary_linear: input, weight, bias, slope."""
    return b.emit(node, "binary_linear", (_signs(b, node),), {}, _binary_params(b, node))


HANDLERS: dict[str, Handler] = {
    "calibrant.binary_conv.default": _binary_conv,
    "calibrant.binary_linear.default": _binary_linear,
}

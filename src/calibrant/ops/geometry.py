"""Windows over padded feature maps, shared by convolution and pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.ops.schema import Attr, Attrs

PAD_ATTRS = {f"pad_{side}": Attr(int, 0, 0) for side in ("top", "bottom", "left", "right")}
STRIDE_ATTRS = {f"stride_{axis}": Attr(int, 1, 1) for axis in "hw"}
DILATION_ATTRS = {f"dilation_{axis}": Attr(int, 1, 1) for axis in "hw"}
KERNEL_ATTRS = {f"kernel_{axis}": Attr(int, None, 1) for axis in "hw"}


def pads(attrs: Attrs) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right))."""
    return (attrs["pad_top"], attrs["pad_bottom"]), (attrs["pad_left"], attrs["pad_right"])


def output_size(size: tuple[int, int], kernel: tuple[int, int], attrs: Attrs) -> tuple[int, int]:
    """Height and width of the map of windows.

    Raises
    ------
    ModelError
        If the kernel is larger than the padded input.

    Examples
    --------
    >>> a = dict(stride_h=1, stride_w=2, pad_top=0, pad_bottom=0, pad_left=1, pad_right=1, dilation_h=1, dilation_w=1)
    >>> output_size((1, 10), (1, 3), a)
    (1, 5)
    """
    out = []
    for axis, n, k, pad in zip("hw", size, kernel, pads(attrs), strict=True):
        reach = (k - 1) * attrs.get(f"dilation_{axis}", 1) + 1
        if n + sum(pad) < reach:
            name = {"h": "height", "w": "width"}[axis]
            raise ModelError(f"kernel reaches over {reach} positions, padded input {name} is {n + sum(pad)}")
        out.append((n + sum(pad) - reach) // attrs[f"stride_{axis}"] + 1)
    return out[0], out[1]


def windows(x: NDArray[Any], kernel: tuple[int, int], attrs: Attrs, fill: float) -> NDArray[Any]:
    """A read-only view [N, C, out_h, out_w, kernel_h, kernel_w] of `x` [N, C, H, W] padded with `fill`."""
    dilation = (attrs.get("dilation_h", 1), attrs.get("dilation_w", 1))
    reach = ((kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1)
    padded = np.pad(x, ((0, 0), (0, 0), *pads(attrs)), constant_values=fill)
    view = sliding_window_view(padded, reach, axis=(2, 3))
    return view[:, :, :: attrs["stride_h"], :: attrs["stride_w"], :: dilation[0], :: dilation[1]]


def real_positions(size: tuple[int, int], kernel: tuple[int, int], attrs: Attrs) -> NDArray[np.int64]:
    """int64[out_h, out_w]: how many positions of each window are not padding."""
    ones = np.ones((1, 1, *size), np.int64)
    count: NDArray[np.int64] = windows(ones, kernel, attrs, 0).sum(axis=(4, 5))[0, 0]
    return count

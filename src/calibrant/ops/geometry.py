"""Windows over padded feature maps, shared by convolution and pooling: of a graph [C, H, W], of a program [H, W, C]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.program import Tensor
from calibrant.ops.schema import Attr, Attrs

PAD_ATTRS = {f"pad_{side}": Attr(int, 0, 0) for side in ("top", "bottom", "left", "right")}
STRIDE_ATTRS = {f"stride_{axis}": Attr(int, 1, 1) for axis in "hw"}
DILATION_ATTRS = {f"dilation_{axis}": Attr(int, 1, 1) for axis in "hw"}
KERNEL_ATTRS = {f"kernel_{axis}": Attr(int, None, 1) for axis in "hw"}
WINDOW_ATTRS = ("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left", "dilation_h", "dilation_w")

Window = tuple[slice, slice]


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


def lowered_window(attrs: Attrs) -> dict[str, int]:
    """Geometry as an op of a program has it: what a node leaves out stands at its neutral value.

    Examples
    --------
    >>> lowered_window({"kernel_h": 1, "kernel_w": 3, "pad_left": 1})
    {'kernel_h': 1, 'kernel_w': 3, 'stride_h': 1, 'stride_w': 1, 'pad_top': 0, 'pad_left': 1, 'dilation_h': 1,
    'dilation_w': 1}
    """
    neutral = {name: 0 if name.startswith("pad") else 1 for name in WINDOW_ATTRS}
    return neutral | {name: int(attrs[name]) for name in WINDOW_ATTRS if name in attrs}


def taps(attrs: Mapping[str, int], source: Tensor, output: Tensor) -> Iterator[tuple[tuple[int, int], Window, Window]]:
    """(kernel row, kernel column), output positions whose tap is no padding, the input positions there."""
    for ky in range(attrs["kernel_h"]):
        out_rows, in_rows = _reach(attrs, "h", "pad_top", ky, source.height, output.height)
        for kx in range(attrs["kernel_w"]):
            out_columns, in_columns = _reach(attrs, "w", "pad_left", kx, source.width, output.width)
            if out_rows.start < out_rows.stop and out_columns.start < out_columns.stop:
                yield (ky, kx), (out_rows, out_columns), (in_rows, in_columns)


def _reach(attrs: Mapping[str, int], axis: str, pad: str, tap: int, size_in: int, size_out: int) -> tuple[slice, slice]:
    stride, offset = attrs[f"stride_{axis}"], tap * attrs[f"dilation_{axis}"] - attrs[pad]
    first = max(0, -(offset // stride))  # ceil(-offset / stride): the first with first * stride + offset >= 0
    last = min(size_out - 1, (size_in - 1 - offset) // stride)
    return slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)


def spans(attrs: Mapping[str, int], source: Tensor, output: Tensor) -> Iterator[tuple[tuple[int, int], Window, int]]:
    """(output row, column), the input positions that are averaged there, and what their sum is divided by."""
    for row in range(output.height):
        rows = _span(attrs, row, ("stride_h", "pad_top", "kernel_h"), source.height, output.height)
        for column in range(output.width):
            columns = _span(attrs, column, ("stride_w", "pad_left", "kernel_w"), source.width, output.width)
            count = (rows.stop - rows.start) * (columns.stop - columns.start)
            if attrs["count_include_pad"] and not attrs["adaptive"]:
                count = attrs["kernel_h"] * attrs["kernel_w"]
            yield (row, column), (rows, columns), count


def _span(attrs: Mapping[str, int], i: int, names: tuple[str, str, str], size_in: int, size_out: int) -> slice:
    if attrs["adaptive"]:
        return slice(i * size_in // size_out, -(-(i + 1) * size_in // size_out))
    stride, pad, kernel = names
    begin = i * attrs[stride] - attrs[pad]
    return slice(max(begin, 0), min(begin + attrs[kernel], size_in))

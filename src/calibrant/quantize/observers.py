"""Ranges of activations on real data."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.graph.graph import Graph
from calibrant.ops import SCHEMAS, clamp_bounds
from calibrant.quantize.fake import FakeQuantNet

FULL = 100.0


def percentile(activation_bits: int) -> float:
    """The percentile that suits a width: with few codes, rare large activations are better left to saturate.

    Examples
    --------
    >>> percentile(8), percentile(2)
    (100.0, 99.9)
    """
    return FULL if activation_bits == 8 else 99.9


def observe_ranges(
    graph: Graph, x: NDArray[np.float32], percentile: float = FULL, batch: int = 64
) -> dict[str, tuple[float, float]]:
    """Range (lo, hi) of every value of a folded graph on `x`.

    Parameters
    ----------
    graph : Graph of stage ``folded``
    x : float32[N, C, H, W], or [N, C, T] for an input of height 1, or [N, F]
    percentile : float
        100 for minimum and maximum; :func:`percentile` suggests one. Below 100, the mean over batches of the two-sided
        percentiles, which lets rare large activations saturate; the graph's input always keeps its full range.
    batch : int
        Samples per forward pass.

    Returns
    -------
    dict of (lo, hi) by value name
        Within a fused clamp. A pool's output has its input's range, as pools keep scale and zero point.

    Raises
    ------
    DataError
        If `x` holds no samples or values that are not finite, or `percentile` is not in (50, 100].
    """
    if len(x) == 0 or not np.isfinite(x).all():
        raise DataError(f"observe_ranges: expected at least one sample of finite values, got {len(x)} samples")
    if not 50.0 < percentile <= FULL:
        raise DataError(f"observe_ranges: expected a percentile above 50 and up to 100, got {percentile}")
    net = FakeQuantNet(graph)
    lows: dict[str, list[float]] = {name: [] for name in graph.values}
    highs: dict[str, list[float]] = {name: [] for name in graph.values}
    with torch.no_grad(), net.float_mode():
        for start in range(0, len(x), batch):
            for name, value in net.trace(torch.from_numpy(np.ascontiguousarray(x[start : start + batch]))).items():
                low, high = _range(value, FULL if name == graph.input else percentile)
                lows[name].append(low)
                highs[name].append(high)
    ranges: dict[str, tuple[float, float]] = {}
    for name in graph.values:
        if percentile == FULL or name == graph.input:
            ranges[name] = min(lows[name]), max(highs[name])
        else:
            ranges[name] = float(np.mean(lows[name])), float(np.mean(highs[name]))
    for node in graph.nodes:
        low, high = clamp_bounds(node.attrs)
        seen = ranges[node.inputs[0]] if SCHEMAS[node.op].keeps_qparams else ranges[node.output]
        ranges[node.output] = max(seen[0], low), min(seen[1], high)
    return ranges


def _range(value: torch.Tensor, percentile: float) -> tuple[float, float]:
    if percentile == FULL:
        low, high = torch.aminmax(value)
        return float(low), float(high)
    low, high = np.percentile(value.numpy(), (FULL - percentile, percentile))  # torch.quantile refuses large tensors
    return float(low), float(high)

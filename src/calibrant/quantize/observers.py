"""Ranges of activations on real data."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.qparams import QParams
from calibrant.graph.graph import Graph
from calibrant.ops import SCHEMAS, clamp_bounds
from calibrant.quantize.fake import FakeQuantNet

FULL = 100.0
# Percent of an input's values that may be left to saturate at each end, where they are beyond all measure.
TAILS = (0.003, 0.01, 0.03, 0.1)
EXTREME = 32.0  # times the range of all others: real signals have peaks eight times beyond all but a thousandth (DSA)
GAIN = 4.0  # times less error


def percentile(activation_bits: int) -> float:
    """The percentile that suits a width: with few codes, rare large activations are better left to saturate.

    Examples
    --------
    >>> percentile(8), percentile(2)
    (100.0, 99.9)
    """
    return FULL if activation_bits == 8 else 99.9


def input_range(x: NDArray[np.float32]) -> tuple[float, float]:
    """Range of a network's input: all of `x`, unless a few readings beyond all measure leave no codes for the rest.

    A corrupt reading counts once: candidates are compared by mean absolute error, and one is taken only where it leaves
    a quarter of the error or less and the full range is 32 times as wide. Squares would keep any range for its most
    extreme value's sake.

    Examples
    --------
    >>> x = np.sin(np.arange(51_200, dtype=np.float32))
    >>> [round(bound, 2) for bound in input_range(x)]
    [-1.0, 1.0]
    >>> x[7] = 1000
    >>> [round(bound, 2) for bound in input_range(x)]
    [-1.0, 1.0]
    """
    best = float(x.min()), float(x.max())
    width = max(best[1], 0.0) - min(best[0], 0.0)
    bounds = np.percentile(x, [*TAILS, *(FULL - tail for tail in TAILS)])
    least = None
    for low, high in zip(bounds[: len(TAILS)].tolist(), bounds[len(TAILS) :].tolist(), strict=True):
        if width > EXTREME * (max(high, 0.0) - min(low, 0.0)) > 0:
            least = _error(x, best) / GAIN if least is None else least
            error = _error(x, (low, high))
            if error < least:
                best, least = (low, high), error
    return best


def _error(x: NDArray[np.float32], bounds: tuple[float, float]) -> float:
    """Mean absolute error of 8-bit codes."""
    codes = QParams.from_range(*bounds)
    return float(np.abs(codes.dequantize(codes.quantize(x)) - x).mean(dtype=np.float64))


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
        percentiles, which lets rare large activations saturate; the graph's input has its own, see :func:`input_range`.
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
    net, entering = FakeQuantNet(graph), input_range(x)
    lows: dict[str, list[float]] = {name: [] for name in graph.values}
    highs: dict[str, list[float]] = {name: [] for name in graph.values}
    with torch.no_grad(), net.float_mode():
        for start in range(0, len(x), batch):
            saturated = np.clip(x[start : start + batch], *entering)  # as the device will see them
            for name, value in net.trace(torch.from_numpy(np.ascontiguousarray(saturated))).items():
                low, high = _range(value, percentile)
                lows[name].append(low)
                highs[name].append(high)
    ranges: dict[str, tuple[float, float]] = {}
    for name in graph.values:
        if name == graph.input:
            ranges[name] = entering
        elif percentile == FULL:
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

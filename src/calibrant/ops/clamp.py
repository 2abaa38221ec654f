"""The clamp that every op can carry on its output, in reals and in codes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.qparams import QParams
from calibrant.ops.schema import Attr, Attrs

CLAMP_ATTRS = {
    "clamp_low": Attr(float, -math.inf, optional=True),
    "clamp_high": Attr(float, math.inf, optional=True),
}


def clamp_bounds(attrs: Attrs) -> tuple[float, float]:
    """Real bounds of a node: fused (`clamp_low`, `clamp_high`) or a ``clamp`` node's (`low`, `high`), else infinite.

    Examples
    --------
    >>> clamp_bounds({"clamp_low": 0.0})
    (0.0, inf)
    """
    low = attrs.get("clamp_low", attrs.get("low", -math.inf))
    high = attrs.get("clamp_high", attrs.get("high", math.inf))
    return float(low), float(high)


def clamp_codes(attrs: Attrs, qparams: QParams) -> tuple[int, int]:
    """Inclusive bounds in output codes: the node's clamp within the range of the output.

    Examples
    --------
    >>> clamp_codes({"clamp_low": 0.0, "clamp_high": 6.0}, QParams(0.1, -28))
    (-28, 32)
    >>> clamp_codes({}, QParams(0.1, -28, -8, 7))
    (-8, 7)
    """
    low, high = clamp_bounds(attrs)
    return _code(low, qparams), _code(high, qparams)


def _code(bound: float, qparams: QParams) -> int:
    steps = bound / qparams.scale
    # Saturate before rounding: infinities have no integer.
    below, above = qparams.qmin - qparams.zero_point, qparams.qmax - qparams.zero_point
    return round(min(max(steps, below), above)) + qparams.zero_point


def clamp_real(attrs: Attrs, y: NDArray[Any]) -> NDArray[np.float32]:
    """float32 `y` inside the node's clamp."""
    low, high = clamp_bounds(attrs)
    bounded = y if math.isinf(low) and math.isinf(high) else np.clip(y, low, high)
    return bounded.astype(np.float32, copy=False)


def saturate(codes: NDArray[np.int64], attrs: Attrs, qparams: QParams) -> NDArray[np.int8]:
    """int64 codes inside the node's integer clamp, as int8."""
    return np.clip(codes, *clamp_codes(attrs, qparams)).astype(np.int8)

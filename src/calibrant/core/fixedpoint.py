"""Fixed-point arithmetic: int32 accumulator x Q31 multiplier in 64 bits, one rounding, half away from zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.core.errors import PlanError

MAX_REAL = 2**30 * (1 - 2.0**-32)  # above, rounding to 31 bits would need shift 0
MAX_SHIFT = 62  # 2^(shift-1) + |acc * multiplier| < 2^63 needs |acc * multiplier| < 2^62


def quantize_multiplier(real: float) -> tuple[int, int]:
    """The pair (multiplier, shift), 1 <= shift <= 62, with real = multiplier * 2^-shift, multiplier in [2^30, 2^31).

    Multipliers too small for shift 62 lose low bits; zero gives (0, 1).

    Raises
    ------
    PlanError
        If `real` is negative, not finite, or not below 2^30 after rounding.

    Examples
    --------
    >>> quantize_multiplier(0.5)
    (1073741824, 31)
    """
    if not math.isfinite(real) or real < 0 or real >= MAX_REAL:
        raise PlanError(f"requantization multiplier: expected a number in [0, 2^30), got {real!r}")
    if real == 0:
        return 0, 1
    mantissa, exponent = math.frexp(real)  # real = mantissa * 2^exponent, mantissa in [0.5, 1)
    multiplier, shift = round(mantissa * 2**31), 31 - exponent
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift - 1
    if shift > MAX_SHIFT:
        multiplier, shift = round(math.ldexp(real, MAX_SHIFT)), MAX_SHIFT
    return multiplier, shift


def quantize_multipliers_shared(reals: tuple[float, ...]) -> tuple[tuple[int, ...], int]:
    """Multipliers for several reals with one common shift, full precision for the largest (used by `add`)."""
    _, shift = quantize_multiplier(max(reals))
    return tuple(min(round(math.ldexp(r, shift)), 2**31 - 1) for r in reals), shift


def round_shift(product: NDArray[np.int64], shift: ArrayLike) -> NDArray[np.int64]:
    """product / 2^shift, rounded half away from zero; |product| < 2^62, 1 <= shift <= 62.

    Examples
    --------
    >>> round_shift(np.array([3, -3, 5, 1]), 1).tolist()
    [2, -2, 3, 1]
    """
    s = np.asarray(shift, np.int64)
    magnitude = (np.abs(product) + (np.int64(1) << (s - 1))) >> s
    rounded: NDArray[np.int64] = np.where(product < 0, -magnitude, magnitude)
    return rounded


def requantize(acc: NDArray[Any], multiplier: ArrayLike, shift: ArrayLike) -> NDArray[np.int64]:
    """round(acc * multiplier / 2^shift) on integers, |acc| < 2^31; `multiplier` and `shift` broadcast.

    Examples
    --------
    >>> requantize(np.array([100, -100, 3]), *quantize_multiplier(0.25)).tolist()
    [25, -25, 1]
    """
    return round_shift(acc.astype(np.int64) * np.asarray(multiplier, np.int64), shift)


def divide_round(total: NDArray[Any], count: ArrayLike) -> NDArray[np.int64]:
    """total / count on integers, rounded half away from zero; count > 0.

    Examples
    --------
    >>> divide_round(np.array([5, -5, 4]), 2).tolist()
    [3, -3, 2]
    """
    n = np.asarray(count, np.int64)
    magnitude = (2 * np.abs(total.astype(np.int64)) + n) // (2 * n)
    return np.where(total < 0, -magnitude, magnitude)

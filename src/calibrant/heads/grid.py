"""Weights as whole steps: how fine, how far, and what happens where that is not enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.fixedpoint import round_shift

WIDEST = 32
EXPONENTS = (0, 15)
NOISE_BITS = 31  # of the numbers that stochastic rounding draws


@dataclass(frozen=True)
class Grid:
    """Weights w = steps * 2^(exponent - bits + 1), so that |w| < 2^exponent; steps are below 2^(bits - 1).

    The step is a power of two: widening, doubling and the copy for the forward pass are shifts.

    Examples
    --------
    >>> Grid(8).step == 2**-7, Grid(8).limit
    (True, 127)
    >>> Grid(16).forward(np.array([255, 32767, -32768]), 8).tolist()
    [1, 127, -127]
    """

    bits: int
    exponent: int = 0

    @property
    def limit(self) -> int:
        """The largest whole number, either way."""
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        """What one is worth."""
        return float(2.0 ** (self.exponent - self.bits + 1))

    def forward(self, steps: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
        """Weights at the forward pass's width, at most as wide as the grid: shifted, rounded half up, saturated."""
        k, limit = self.bits - bits, (1 << (bits - 1)) - 1
        shifted = (steps + (1 << (k - 1))) >> k if k else steps
        return np.clip(shifted, -limit, limit)

    def doubled(self) -> Self:
        """Twice as far, half as fine."""
        return replace(self, exponent=self.exponent + 1)

    def widened(self) -> Self:
        """As far, with twice the bits, `WIDEST` at most."""
        return replace(self, bits=min(2 * self.bits, WIDEST))

    def carry(self, steps: NDArray[np.int64], to: Grid) -> NDArray[np.int64]:
        """The same weights on another grid; exact unless that is coarser."""
        left = (to.bits - to.exponent) - (self.bits - self.exponent)
        return steps << left if left >= 0 else round_shift(steps, -left)


def nearest(product: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    """product / 2^shift, half away from zero; |product| < 2^62, 1 <= shift <= 62."""
    return round_shift(product, shift)


def stochastic(product: NDArray[np.int64], shift: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """product / 2^shift rounded up or down by chance, right on average; |product| < 2^62, 1 <= shift <= 62.

    Examples
    --------
    >>> rounded = stochastic(np.full(10000, 1, np.int64), 2, np.random.default_rng(0))
    >>> sorted(set(rounded.tolist())), bool(0.23 < rounded.mean() < 0.27)
    ([0, 1], True)
    """
    raw = np.asarray(rng.bit_generator.random_raw(product.size), np.uint64)  # the generator's own words, for any twin
    noise = (raw >> np.uint64(64 - NOISE_BITS)).astype(np.int64).reshape(product.shape)
    scaled = noise >> (NOISE_BITS - shift) if shift <= NOISE_BITS else noise << (shift - NOISE_BITS)
    return (product + scaled) >> shift

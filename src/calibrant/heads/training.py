"""Softmax regression on whole numbers: a forward pass at few bits, error and update at more.

The gradient needs more precision than the answer, so weights are kept on a grid of q_b bits, are shifted to q_f for the
forward pass, and the error is quantized to q_b. The idea is of Vorabbi et al. 2023 and 2024 (arXiv 2308.15308,
2401.09916); their formulas are not public, these are our own.

With features A in steps of 2^-j, weights in steps s_m and errors in steps s_e, a batch of B moves the weights by
round(G M), G = E^T A, M = rate s_e 2^-j / (B s_m). Where |G| M < 1/2 rounding to the nearest loses the step: the dead
zone. It is counted; rounding by chance is right on average, a wider grid has a smaller one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from calibrant.core import fmath
from calibrant.core.errors import check_known
from calibrant.core.fixedpoint import quantize_multiplier, round_shift
from calibrant.core.rng import generator
from calibrant.heads.classifier import product
from calibrant.heads.grid import EXPONENTS, WIDEST, Grid, nearest, stochastic

ROUNDINGS = ("nearest", "stochastic", "widen")
ERROR_BITS = 16  # the softmax is Q15: a finer grid has no finer error
BATCH_LIMIT = 256  # G: 32767 * 255 * 256 < 2^31
LOST = 0.1  # share of what steps would have moved that the dead zone may swallow; at a quarter, widening came too late


@dataclass(frozen=True)
class DeadZone:
    """What rounding lost: of `steps` of single weights, `lost` were below half a step; in steps of weights they would
    have moved by `mass` together, `lost_mass` of it lost."""

    steps: int = 0
    lost: int = 0
    mass: float = 0.0
    lost_mass: float = 0.0

    @classmethod
    def of(cls, gradient: NDArray[np.int64], scale: float) -> DeadZone:
        """What one step that would move weights by gradient times scale loses where it is rounded to the nearest."""
        moves = np.abs(gradient) * scale
        lost = moves < 0.5
        return cls(
            int((moves > 0).sum()), int((lost & (moves > 0)).sum()), float(moves.sum()), float(moves[lost].sum())
        )

    def then(self, other: DeadZone) -> DeadZone:
        """Both together."""
        return DeadZone(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def share(self) -> float:
        """Of steps that were lost."""
        return self.lost / max(1, self.steps)

    @property
    def swallowed(self) -> bool:
        """Whether so much is lost that the grid is too coarse."""
        return self.lost_mass > LOST * self.mass


@dataclass(frozen=True)
class Weights:
    """Rows of a linear layer on a grid.

    `fresh` int64[K, D] are trained, `kept` int64[K, D] are not, but follow the grid. `doublings` counts how often
    weights reached the grid's end.
    """

    grid: Grid
    fresh: NDArray[np.int64]
    kept: NDArray[np.int64]
    doublings: int = 0
    zone: DeadZone = field(default_factory=DeadZone)

    def on(self, grid: Grid) -> Weights:
        """The same on another grid."""
        return replace(self, grid=grid, fresh=self.grid.carry(self.fresh, grid), kept=self.grid.carry(self.kept, grid))


@dataclass(frozen=True)
class Descent:
    """How weights are trained; `forward_bits` is q_f, `unit` the j of features in steps of 2^-j."""

    forward_bits: int
    unit: int
    rate: float
    epochs: int
    batch: int
    rounding: str

    def run(self, weights: Weights, x: NDArray[np.int32], y: NDArray[np.int64], seed: int, purpose: str) -> Weights:
        """Train `fresh` on features int32[N, D] of rows y int64[N]; draws are of `seed` and `purpose`.

        A grid that turns out too coarse is widened, where `rounding` says so, and training starts anew: what it gives
        is what the wider grid would have given at once.
        """
        check_known("rounding", self.rounding, ROUNDINGS)
        while True:
            end = self._descend(weights, x, y, seed, purpose)
            if not self._too_coarse(end):
                return end
            weights = weights.on(weights.grid.widened())

    def _too_coarse(self, weights: Weights) -> bool:
        return self.rounding == "widen" and weights.zone.swallowed and weights.grid.bits < WIDEST

    def _descend(
        self, weights: Weights, x: NDArray[np.int32], y: NDArray[np.int64], seed: int, purpose: str
    ) -> Weights:
        """All steps, or those until the grid is too coarse."""
        order, noise = generator(seed, f"{purpose} order"), generator(seed, f"{purpose} rounding")
        for rows in batches(len(y), self.batch, self.epochs, order):
            weights = self._step(weights, x[rows], y[rows], noise)
            if self._too_coarse(weights):
                break
        return weights

    def _step(
        self, weights: Weights, x: NDArray[np.int32], y: NDArray[np.int64], noise: np.random.Generator
    ) -> Weights:
        while True:
            grid = weights.grid
            bits = min(grid.bits, ERROR_BITS)
            gradient = product(self._error(weights, x, y, bits).T, x)
            scale = self.rate * 2.0 ** -(bits - 1) * 2.0**-self.unit / (len(y) * grid.step)
            zone = weights.zone.then(DeadZone.of(gradient, scale))
            multiplier, shift = quantize_multiplier(scale)
            moved = gradient * multiplier
            step = stochastic(moved, shift, noise) if self.rounding == "stochastic" else nearest(moved, shift)
            fresh = weights.fresh - step
            if int(np.abs(fresh).max(initial=0)) <= grid.limit or grid.exponent == EXPONENTS[1]:
                return replace(weights, fresh=np.clip(fresh, -grid.limit, grid.limit), zone=zone)
            weights = replace(weights.on(grid.doubled()), doublings=weights.doublings + 1)

    def _error(self, weights: Weights, x: NDArray[np.int32], y: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
        """Softmax less one-hot at `bits` bits, int64[N, K]."""
        grid = weights.grid
        z = product(x, grid.forward(weights.fresh, self.forward_bits).T)
        value = np.float32(2.0 ** (grid.exponent - self.forward_bits + 1 - self.unit))
        logits = (z - z.max(axis=1, keepdims=True)).astype(np.float32) * value
        _, error = fmath.cross_entropy(logits, y)
        limit = 2 ** (bits - 1) - 1
        return np.clip(round_shift(error, ERROR_BITS - bits) if bits < ERROR_BITS else error, -limit, limit)


def batches(count: int, batch: int, epochs: int, order: np.random.Generator) -> list[NDArray[np.int64]]:
    """Rows of each step: every epoch a new order, cut into equal batches of about `batch`, at most `BATCH_LIMIT`."""
    steps = max(1, round(count / batch), -(-count // BATCH_LIMIT))
    return [part for _ in range(epochs) for part in np.array_split(order.permutation(count), steps)]


def unit_of(x: NDArray[np.int32]) -> int:
    """The j that brings the mean squared length of features nearest to 1 in steps of 2^-j; a rate then means the same
    for every network.

    Examples
    --------
    >>> unit_of(np.array([[64, 0], [0, 64]], np.int32))
    6
    """
    square = int((x.astype(np.int64) ** 2).sum()) // len(x)
    return max(0, (square.bit_length()) // 2)

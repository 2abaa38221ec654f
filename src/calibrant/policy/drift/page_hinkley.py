"""The Page-Hinkley test: cumulative deviation from the running mean, against its own extreme."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.core.errors import check_known
from calibrant.policy.drift.stream import between, checked

DIRECTIONS = ("up", "down", "both")


class PageHinkley:
    """Detects a change of the mean in a few operations a value and five numbers of memory.

    Source: E. S. Page, "Continuous Inspection Schemes", Biometrika 41 (1954).

    Parameters
    ----------
    min_instances : int
        Values to see before anything is detected.
    delta : float
        Deviation per value that is tolerated.
    threshold : float
        Cumulative deviation that is a change.
    alpha : float
        How much of the sum is kept from value to value, 0 to 1.
    direction : {"up", "down", "both"}
        Which change of the mean to look for.

    Examples
    --------
    >>> PageHinkley(threshold=5).update([0.0] * 100 + [1.0] * 100).tolist()
    [105]
    """

    def __init__(
        self,
        min_instances: int = 30,
        delta: float = 0.005,
        threshold: float = 50.0,
        alpha: float = 0.9999,
        direction: str = "both",
    ) -> None:
        check_known("direction", direction, DIRECTIONS)
        between("alpha", alpha, 0, 1)
        self._min_instances, self._delta, self._threshold, self._alpha = min_instances, delta, threshold, alpha
        # a threshold that no sum can pass switches a side off
        self._up = threshold if direction in ("up", "both") else math.inf
        self._down = threshold if direction in ("down", "both") else math.inf
        self._start_over()

    def _start_over(self) -> None:
        self._count = 0
        self._mean: float = 0.0
        self._rise: float = 0.0
        self._fall: float = 0.0
        self._lowest: float = math.inf
        self._highest: float = -math.inf

    def memory(self) -> list[float | None]:
        """Plain numbers to :meth:`resume` from; None is an extreme that nothing has been seen of yet."""
        extremes = (None if math.isinf(value) else value for value in (self._lowest, self._highest))
        return [self._count, self._mean, self._rise, self._fall, *extremes]

    def resume(self, memory: Sequence[float | None]) -> None:
        """Go on as the test that gave this memory."""
        count, mean, rise, fall, lowest, highest = memory
        self._count, self._mean, self._rise, self._fall = int(count or 0), mean or 0.0, rise or 0.0, fall or 0.0
        self._lowest = math.inf if lowest is None else lowest
        self._highest = -math.inf if highest is None else highest

    def update(self, values: ArrayLike) -> NDArray[np.int64]:
        """Watch the next values, see :class:`DriftTest`."""
        found = []
        for i, x in enumerate(checked(values).tolist()):
            self._count += 1
            self._mean += (x - self._mean) / self._count
            deviation = x - self._mean
            self._rise = self._alpha * self._rise + deviation - self._delta
            self._fall = self._alpha * self._fall + deviation + self._delta
            self._lowest = min(self._lowest, self._rise)
            self._highest = max(self._highest, self._fall)
            changed = self._rise - self._lowest > self._up or self._highest - self._fall > self._down
            if changed and self._count >= self._min_instances:
                found.append(i)
                self._start_over()
        return np.array(found, np.int64)

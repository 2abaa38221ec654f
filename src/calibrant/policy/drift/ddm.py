"""DDM: an error rate may not rise significantly above the lowest it has been."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.policy.drift.stream import between, checked


class Ddm:
    """Drift Detection Method: watches a stream of errors, 1 for a wrong prediction and 0 for a right one.

    Where error rate p plus its standard deviation s = sqrt(p (1 - p) / n) was lowest, p and s are remembered; p + s
    above that p by a number of those s is a drift. Source: J. Gama, P. Medas, G. Castillo, P. Rodrigues, "Learning with
    Drift Detection", SBIA 2004.

    Parameters
    ----------
    warm_start : int
        Errors or successes to see before anything is detected.
    drift_threshold : float
        Standard deviations that are a drift.

    Examples
    --------
    >>> Ddm().update([1, 0, 0, 0, 0] * 40 + [1, 1, 1, 0] * 20).tolist()
    [221]
    """

    def __init__(self, warm_start: int = 30, drift_threshold: float = 3.0) -> None:
        between("drift_threshold", drift_threshold, 0, math.inf)
        self._warm_start, self._drift_threshold = warm_start, drift_threshold
        self._start_over()

    def _start_over(self) -> None:
        self._count = 0
        self._rate: float = 0.0
        self._lowest_rate: float = math.inf
        self._lowest_deviation: float = math.inf

    def update(self, values: ArrayLike) -> NDArray[np.int64]:
        """Watch the next errors, numbers from 0 to 1, see :class:`DriftTest`."""
        errors = checked(values)
        if errors.size:
            between("errors", float(errors.min()), 0, 1)
            between("errors", float(errors.max()), 0, 1)
        found = []
        for i, error in enumerate(errors.tolist()):
            self._count += 1
            self._rate += (error - self._rate) / self._count
            rate = self._rate
            deviation = math.sqrt(max(rate * (1 - rate), 0.0) / self._count)
            if self._count <= self._warm_start:
                continue
            if rate + deviation <= self._lowest_rate + self._lowest_deviation:
                self._lowest_rate, self._lowest_deviation = rate, deviation
            if rate + deviation > self._lowest_rate + self._drift_threshold * self._lowest_deviation:
                found.append(i)
                self._start_over()
        return np.array(found, np.int64)

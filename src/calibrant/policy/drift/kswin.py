"""KSWIN: are the latest values of a sliding window distributed like the older ones?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.policy.drift.stream import NOWHERE, between, checked

_SMALLEST_DISTANCE = 0.1  # of the two distributions: less is no drift, whatever its probability
_CHUNK = 512  # positions looked at together
_STRIDE = 4  # every so many positions first; the distance moves too little between to hide a drift


class Kswin:
    """Kolmogorov-Smirnov windowing: detects any change of a distribution within a window of fixed size.

    The paper compares the latest `stat_size` values with as many drawn at random from the older ones. Here they are
    compared with all the older ones, which is deterministic and sees more. The critical distance comes from the exact
    distribution of the two-sample statistic, computed once on integers, so that a value costs a share of a sort.

    Source: C. Raab, M. Heusinger, F.-M. Schleif, "Reactive Soft Prototype Computing for Concept Drift Streams",
    Neurocomputing 416 (2020).

    Parameters
    ----------
    alpha : float
        Probability of a false alarm in one comparison.
    window_size : int
        Values compared in all.
    stat_size : int
        The latest of them.

    Examples
    --------
    >>> Kswin().update([0.1, 0.2, 0.3, 0.4] * 50 + [0.5] * 100).tolist()
    [211]
    """

    def __init__(self, alpha: float = 0.005, window_size: int = 100, stat_size: int = 30) -> None:
        between("alpha", alpha, 0, 1)
        between("stat_size", stat_size, 1, window_size - 1)
        between("window_size", window_size, 2, 4096)
        self._size, self._latest = window_size, stat_size
        older = window_size - stat_size
        unit = math.lcm(older, stat_size)
        steps = np.full(window_size, unit // older)
        steps[older:] = -unit // stat_size
        self._steps: NDArray[np.int64] = steps
        self._critical = max(critical(older, stat_size, alpha), math.floor(_SMALLEST_DISTANCE * unit) + 1)
        self._most = unit // older + unit // stat_size  # how far one more value can move the distance
        self._window: NDArray[np.float64] = np.zeros(0)

    def update(self, values: ArrayLike) -> NDArray[np.int64]:
        """Watch the next values, see :class:`DriftTest`."""
        row = checked(values)
        kept = self._window.size
        row = np.concatenate([self._window, row])
        found, start, at = [], 0, max(kept, self._size - 1)
        while at < row.size:
            stop = min(at + _CHUNK, row.size)
            change = self._watch(row[at - self._size + 1 : stop])
            if change is None:
                at = stop
            else:
                start = at + change + 1
                found.append(start - 1 - kept)
                at = start + self._size - 1
        self._window = row[max(start, row.size - self._size + 1) :].copy()
        return np.array(found, np.int64) if found else NOWHERE

    def _watch(self, row: NDArray[np.float64]) -> int | None:
        """The first position whose window, of those that end in the row, shows a drift; 0 is the first full window."""
        windows = np.lib.stride_tricks.sliding_window_view(row, self._size)
        coarse = np.arange(0, len(windows), _STRIDE)
        near = coarse[self._distance(windows[coarse]) + self._most * (_STRIDE - 1) >= self._critical]
        fine = (near[:, None] + np.arange(_STRIDE)).ravel()
        fine = fine[fine < len(windows)]
        drifted = fine[self._distance(windows[fine]) >= self._critical]
        return int(drifted[0]) if drifted.size else None

    def _distance(self, windows: NDArray[np.float64]) -> NDArray[np.int64]:
        """The two-sample statistic of each window in whole units, int64[n]."""
        order = windows.argsort(axis=1)
        apart = np.abs(np.cumsum(self._steps[order], axis=1)[:, :-1])
        ranked = np.take_along_axis(windows, order, axis=1)
        apart[ranked[:, 1:] == ranked[:, :-1]] = 0  # between equal values there is nothing to compare
        return apart.max(axis=1) if len(windows) else NOWHERE


def critical(n: int, m: int, alpha: float) -> int:
    """The smallest two-sample distance, in units of 1 / lcm(n, m), that chance reaches with at most `alpha`.

    Counts the interleavings of n and m values whose distance stays below (Hodges, 1958): exact for values without ties.

    Examples
    --------
    >>> critical(30, 30, 0.005), critical(2, 2, 0.01)
    (14, 3)
    """
    unit = math.lcm(n, m)
    a, b = unit // n, unit // m
    total = math.comb(n + m, n)
    numerator, denominator = float(alpha).as_integer_ratio()
    low, high = 1, unit + 1  # nothing reaches unit + 1
    while low < high:
        distance = (low + high) // 2
        reached = total - _paths_below(n, m, a, b, distance)
        low, high = (low, distance) if reached * denominator <= numerator * total else (distance + 1, high)
    return low


def _paths_below(n: int, m: int, a: int, b: int, distance: int) -> int:
    """Lattice paths from (0, 0) to (n, m) on which |a i - b j| stays below `distance`."""
    paths = [int(b * j < distance) for j in range(m + 1)]
    for i in range(1, n + 1):
        paths[0] = paths[0] if a * i < distance else 0
        for j in range(1, m + 1):
            paths[j] = paths[j] + paths[j - 1] if abs(a * i - b * j) < distance else 0
    return paths[m]

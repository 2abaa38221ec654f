"""How well classes were predicted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def accuracy(predicted: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    """Share of samples int64[N] whose predicted class is the true one."""
    return float((predicted == y).mean())


def macro_f1(predicted: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    """Mean over the classes that occur, truly or predicted, of F1: rare classes count as much as common ones.

    Examples
    --------
    >>> round(macro_f1(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])), 3)
    0.733
    """
    scores = []
    for label in np.union1d(predicted, y):
        hits = int(((predicted == label) & (y == label)).sum())
        scores.append(2 * hits / int((predicted == label).sum() + (y == label).sum()))
    return float(np.mean(scores))

"""How much samples count: those that resemble each other because they were taken together count for fewer."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from calibrant.core.fixedpoint import divide_round

COUNT_ONE = 1 << 8  # counts are in 1/256 of a sample
WANDER_ONE = 1 << 16
COUNT_LIMIT = 1 << 31  # of a class, in 1/256: eight million samples; times 2^30 it is below 2^62


def effective(
    y: NDArray[np.int64], classes: int, blocks: NDArray[np.int64] | None = None, wander: int = 0
) -> NDArray[np.int64]:
    """Samples of each class, int64[classes] in 1/256.

    n samples of one class and stretch count as n / (1 + wander n): as many independent ones have a mean as far from the
    class's (`core.recognition.Recognition.wander`, what an artifact measured of its training samples).

    Parameters
    ----------
    y : int64[N]
    classes : int
    blocks : int64[N], optional
        Stretches; without, all samples are one.
    wander : int
        Q16; 0 counts samples as they are, whatever stretch they are of.

    Examples
    --------
    >>> effective(np.array([0, 0, 0, 0]), 2).tolist()
    [1024, 0]
    >>> half = WANDER_ONE // 2
    >>> effective(np.array([0, 0, 0, 0]), 1, np.array([7, 7, 9, 9]), half).tolist()
    [512]
    """
    stretch = np.zeros(len(y), np.int64) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    pairs, n = np.unique(np.stack([y, stretch]), axis=1, return_counts=True)
    each = divide_round(n.astype(np.int64) * COUNT_ONE * WANDER_ONE, WANDER_ONE + wander * n)
    counts = np.zeros(classes, np.int64)
    np.add.at(counts, pairs[0], np.maximum(each, 1))
    return np.minimum(counts, COUNT_LIMIT)


def past_share(past: int, current: int) -> int:
    """Weight of what was known, wp / (wp + 1) with wp = sqrt(past / current), Q15.

    Source: CWR*, Lomonaco et al. 2019, arXiv 1907.03799; on whole numbers. The square root is rounded down in Q15.

    Parameters
    ----------
    past, current : int
        In the same unit; past 0 to `COUNT_LIMIT`, current 1 to that.

    Examples
    --------
    >>> [round(past_share(past, 100) / 2**15, 3) for past in (0, 10, 100, 1000)]
    [0.0, 0.24, 0.5, 0.76]
    """
    wp = math.isqrt((past << 30) // current)
    return ((wp << 16) + wp + (1 << 15)) // (2 * (wp + (1 << 15)))

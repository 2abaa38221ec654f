"""Which samples of a window to ask labels of: those that the model doubts, far from each other and from what is known.

Greedy, one sample at a time: the next one is the sample whose doubt times its squared distance to the nearest sample
asked about or known is largest. Distances (k-center, Sener and Savarese, ICLR 2018) spread the questions over what the
window holds; doubt (the margin between the two likeliest classes) puts them where a label tells most. Integers
throughout, and ties go by content, so the choice does not depend on the order of the samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.fmath import ERROR_ONE

_CERTAIN = ERROR_ONE >> 4  # of doubt that the surest sample keeps: what looks sure and lies far off may be wrong


def margin_uncertainty(probabilities: NDArray[np.int64]) -> NDArray[np.int64]:
    """How unsure the model is, int64[N]: 2^15 less the margin between the two likeliest of Q15 [N, K], and a little.

    Examples
    --------
    >>> margin_uncertainty(np.array([[32768, 0], [16384, 16384]])).tolist()
    [2048, 34816]
    """
    mass = probabilities.copy()
    rows = np.arange(len(mass))
    likeliest = mass.argmax(axis=1)
    first = mass[rows, likeliest]
    mass[rows, likeliest] = -1
    doubt: NDArray[np.int64] = ERROR_ONE - (first - np.maximum(mass.max(axis=1), 0)) + _CERTAIN
    return doubt


def choose(
    features: NDArray[np.int64], doubt: NDArray[np.int64], known: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """Indices of the samples to ask about, int64[n], the most telling first.

    Parameters
    ----------
    features : int64[N, channels]
        Directions of the window's samples, see `pseudo_labels.directions`.
    doubt : int64[N]
        At most 2^16.
    known : int64[M, channels]
        Directions of samples whose labels are at hand.
    n : int
        At most N.

    Examples
    --------
    >>> features = np.array([[4096, 0], [4096, 1], [0, 4096], [2896, 2896]])
    >>> choose(features, np.array([1, 9, 9, 9]), features[2:3], 2).tolist()
    [1, 3]
    """
    content = np.lexsort((*features.T, doubt))  # equal samples are equal, whichever comes first
    rank = np.empty(len(content), np.int64)
    rank[content] = np.arange(len(content))
    nearest = np.full(len(features), 1 << 26, np.int64)  # directions are 2^12 long: no two lie further apart
    for sample in known:
        nearest = np.minimum(nearest, _distances(features, sample))
    chosen: list[int] = []
    open_ = np.ones(len(features), bool)
    while len(chosen) < n:
        worth = np.where(open_, doubt * nearest, -1)
        best = np.flatnonzero(worth == worth.max())
        pick = int(best[rank[best].argmax()])
        chosen.append(pick)
        open_[pick] = False
        nearest = np.minimum(nearest, _distances(features, features[pick]))
    return np.array(chosen, np.int64)


def _distances(features: NDArray[np.int64], sample: NDArray[np.int64]) -> NDArray[np.int64]:
    away: NDArray[np.int64] = ((features - sample) ** 2).sum(axis=1)
    return away

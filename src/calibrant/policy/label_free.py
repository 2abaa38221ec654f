"""When a window without labels says enough to learn from, and what keeps such learning in bounds.

A window's own guesses can never show that they are right, so everything here asks something else: do the predictions
show enough different classes for means over them to speak of the domain and not of its mix of classes; do samples with
true labels stay right; do the weights stay near those of the artifact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BROAD = 9, 20  # effective number of classes for a window to have labels of its own, from one as 0 to all as 1
MINIMUM, PER_CLASS = 24, 2  # samples that show how broad a window is: so many, and so many for each class
SETTLED = 23, 25  # of a window's own labels are what is predicted anyway: they would teach only their errors
LABELED = 2  # labels for each class, and a domain needs no guesses
COLLAPSE = 3, 4  # of the variety of predictions must be left
NARROW = 1, 8  # below it, in samples that were said to be of all classes, predictions have fallen together
REACH = 1, 10  # of the weights may differ from the artifact's


def covers_classes(predicted: NDArray[np.int64], share: tuple[int, int]) -> bool:
    """Whether enough samples of enough classes are there, by their predictions int64[K].

    `share` of the way from one class to all K must be reached by the effective number of classes: one over the chance
    that two samples are of one class.

    Examples
    --------
    >>> [covers_classes(np.array(counts), BROAD) for counts in ([20, 15, 5], [40, 0, 0], [7, 7, 7])]
    [True, False, False]
    """
    classes = predicted.size
    if int(predicted.sum()) < max(MINIMUM, PER_CLASS * classes):
        return False
    (pairs, same), (part, whole) = _pairs(predicted), share
    return pairs * whole >= same * (whole + (classes - 1) * part)


def effective_classes(predicted: NDArray[np.int64]) -> float:
    """Effective number of classes: one over the chance that two samples are of one class.

    Examples
    --------
    >>> effective_classes(np.array([3, 3])), effective_classes(np.array([6, 0]))
    (2.5, 1.0)
    """
    pairs, same = _pairs(predicted)
    return pairs / max(same, 1) if pairs else 1.0


def narrow_limit(classes: int) -> float:
    """Effective number of classes below which predictions are :func:`narrow`.

    Examples
    --------
    >>> narrow_limit(9)
    2.0
    """
    part, whole = NARROW
    return 1 + (classes - 1) * part / whole


def narrow(predicted: NDArray[np.int64]) -> bool:
    """Whether enough samples are there, by their predictions int64[K], and they are of next to no classes.

    Examples
    --------
    >>> [narrow(np.array(counts)) for counts in ([58, 2, 0, 0, 0, 0, 0, 0], [30, 20, 10, 0, 0, 0, 0, 0], [5, 0])]
    [True, False, False]
    """
    return int(predicted.sum()) >= max(MINIMUM, PER_CLASS * predicted.size) and not covers_classes(predicted, NARROW)


def prediction_collapse(before: NDArray[np.int64], after: NDArray[np.int64]) -> bool:
    """Whether the predictions int64[K] of the same samples lost much of their variety."""
    (pairs, same), (pairs_after, same_after) = _pairs(before), _pairs(after)
    return pairs_after * same * COLLAPSE[1] < pairs * same_after * COLLAPSE[0]


def rejection_reason(right: int, floor: int, samples: int, coreset_drop: float, moved: int, weights: int) -> str | None:
    """Why weights may not come into force, None if they may.

    Parameters
    ----------
    right, floor : int
        Of the coreset's `samples`, how many they get right, and how many the artifact's weights do. Its labels are
        true. The loss is counted from there, so that many small losses cannot add up.
    samples : int
    coreset_drop : float
        Share of the coreset that may be lost.
    moved, weights : int
        How many of the weights differ from the artifact's.

    Examples
    --------
    >>> rejection_reason(18, 20, 20, 0.1, 0, 1000) is None
    True
    >>> rejection_reason(17, 20, 20, 0.1, 0, 1000)
    'coreset accuracy fell from 1.000 to 0.850, allowed 0.1'
    """
    if floor - right > coreset_drop * samples + 1e-9:
        return f"coreset accuracy fell from {floor / samples:.3f} to {right / samples:.3f}, allowed {coreset_drop:g}"
    if moved * REACH[1] > weights * REACH[0]:
        return f"{moved} of {weights} weights differ from the artifact's, allowed {REACH[0]} in {REACH[1]}"
    return None


def _pairs(predicted: NDArray[np.int64]) -> tuple[int, int]:
    """Pairs of samples, and how many of them are of the same class."""
    count = int(predicted.sum())
    return count * (count - 1), int((predicted * (predicted - 1)).sum())

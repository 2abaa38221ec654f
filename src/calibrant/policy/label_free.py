"""When a window without labels says enough to learn from, and what keeps such learning in bounds.

A window's own guesses can never show that they are right, so everything here asks something else: do the predictions
show enough different classes for means over them to speak of the domain and not of its mix of classes; do samples with
true labels stay right; do the weights stay near those of the artifact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.policy.kept import fields_of, nonsense, whole

BROAD = 9, 20  # effective number of classes for a window to have labels of its own, from one as 0 to all as 1
PARTIAL = 3, 5  # of the stream's effective number of classes: a window of fewer does not stand for its domain
NARROW = 1, 4  # the same of all classes, for a first window
UNEVEN = 3, 2  # windows are not alike when two of a window are so much likelier of one class than any two
MINIMUM, PER_CLASS = 24, 2  # samples that show how broad a window is: so many, and so many for each class
SETTLED = 23, 25  # of a window's own labels are what is predicted anyway: they would teach only their errors
LABELED = 2  # labels for each class, and a domain needs no guesses
COLLAPSE = 3, 4  # of the variety of predictions must be left
REACH = 1, 10  # of the weights may differ from the artifact's
_MOST = 2**50  # pairs, more than there will be
_FORGETTING = 512  # samples of older evidence that weigh at full


@dataclass(frozen=True)
class Evidence:
    """What samples were predicted to be of, by the artifact's own parameters, sums over windows.

    predicted int64[K]: how many of each class; of `pairs` of samples of one window, `same` were predicted to be of the
    same class.
    """

    predicted: NDArray[np.int64]
    pairs: int
    same: int

    @classmethod
    def of(cls, classes: NDArray[np.int64], count: int) -> Self:
        """Of a window of predicted classes int64[N] of `count`."""
        predicted = np.bincount(classes, minlength=count)
        return cls(predicted, *_pairs(predicted))

    def memory(self) -> dict[str, Any]:
        """JSON for :meth:`kept`."""
        return {"predicted": self.predicted.tolist(), "pairs": self.pairs, "same": self.same}

    @classmethod
    def kept(cls, memory: Any, count: int) -> Self:
        """What gave this memory, of `count` classes.

        Raises
        ------
        StateError
            Nothing could have.
        """
        fields = fields_of(memory, ("predicted", "pairs", "same"), "evidence")
        predicted, pairs = fields["predicted"], whole(fields["pairs"], 0, _MOST, "evidence field 'pairs'")
        if not isinstance(predicted, list) or len(predicted) != count:
            raise nonsense("evidence field 'predicted'", f"{count} numbers", predicted)
        counts = [whole(value, 0, _MOST, "evidence field 'predicted'") for value in predicted]
        return cls(np.array(counts, np.int64), pairs, whole(fields["same"], 0, pairs, "evidence field 'same'"))

    @property
    def samples(self) -> int:
        """How many samples."""
        return int(self.predicted.sum())

    @property
    def several(self) -> bool:
        """Whether they are of more than one window."""
        return self.pairs < _pairs(self.predicted)[0]

    @property
    def mixed(self) -> bool:
        """Whether each window holds about what all of them do; not so where classes come one after the other."""
        pairs, same = _pairs(self.predicted)
        return self.pairs >= MINIMUM and self.same * pairs * UNEVEN[1] <= same * self.pairs * UNEVEN[0]

    def after(self, earlier: Self | None) -> Self:
        """With earlier evidence, which counts half once it is of many samples."""
        if earlier is None:
            return self
        halve = int(earlier.samples > _FORGETTING)
        return type(self)(
            self.predicted + (earlier.predicted >> halve),
            self.pairs + (earlier.pairs >> halve),
            self.same + (earlier.same >> halve),
        )

    def partial(self, stream: Self) -> bool:
        """Whether these samples show few of the classes of the stream that they are part of.

        Of a first window nobody knows; it is partial where it shows few of all classes.

        Examples
        --------
        >>> one, all = Evidence.of(np.zeros(40, np.int64), 4), Evidence.of(np.arange(40) % 4, 4)
        >>> one.partial(one.after(all)), all.partial(one.after(all)), one.partial(one.after(one))
        (True, False, False)
        """
        here = effective_classes(self.predicted)
        if not stream.several:
            return here * NARROW[1] < len(self.predicted) * NARROW[0]
        return here * PARTIAL[1] < effective_classes(stream.predicted) * PARTIAL[0]


def effective_classes(predicted: NDArray[np.int64]) -> float:
    """Effective number of classes: one over the chance that two samples are of one class.

    Examples
    --------
    >>> effective_classes(np.array([3, 3])), effective_classes(np.array([6, 0])), effective_classes(np.array([1, 0]))
    (2.5, 1.0, 1.0)
    """
    pairs, same = _pairs(predicted)
    return pairs / max(same, 1) if pairs else 1.0


def covers_classes(predicted: NDArray[np.int64], share: tuple[int, int]) -> bool:
    """Whether enough samples of enough classes are there, by their predictions int64[K].

    `share` of the way from one class to all K must be reached by the effective number of classes.

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

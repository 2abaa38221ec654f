"""When a window without labels says enough to learn from, and what keeps such learning in bounds.

A window's own guesses can never show that they are right, so everything here asks something else: do the predictions
show enough different classes for means over them to speak of the domain and not of its mix of classes; is this still
the domain that was adapted to; do samples with true labels stay right; do the weights stay near those that labels
vouch for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.program import Program
from calibrant.core.statistics import FeatureStatistics

BROAD = 1, 4  # effective number of classes that must be there to recenter, from one as 0 to all as 1
BROADER = 9, 20  # to take the window's own labels, or to recenter where windows are not alike
UNEVEN = 3, 2  # windows are not alike when two of a window are so much likelier of one class than any two
MINIMUM, PER_CLASS = 32, 2  # samples that show how broad a window is: so many, and so many for each class
SETTLED = 23, 25  # of a window's own labels are what is predicted anyway: they would teach only their errors
LABELED = 2  # labels for each class, and a domain needs no guesses
COLLAPSE = 3, 4  # of the variety of predictions must be left
CHANCE = 2  # times the variance that chance gives means is as usual
REACH = 1, 10  # of the weights may differ from those that labels vouch for
STRANGE = 16, 25  # of the squared distance to the training samples: from there on a window is of another domain
_FORGETTING = 512  # samples of older evidence that weigh at full
_PLACE_ONE, _FARTHEST, _QUIET = 256, 16.0, 16  # places in 1/256 standard deviation; quiet channels must not rule


@dataclass(frozen=True)
class Evidence:
    """What samples without labels said under one set of weights, sums over them.

    pooled int64[pooled_count]: `Observation.pooled`; predicted int64[K]: how many were predicted to be of each class;
    of `pairs` of samples of one window, `same` were predicted to be of the same class.
    """

    pooled: NDArray[np.int64]
    predicted: NDArray[np.int64]
    pairs: int
    same: int

    @classmethod
    def of(cls, pooled: NDArray[np.int32], classes: NDArray[np.int64], count: int) -> Evidence:
        """Of a window, from a forward pass: int32[N, pooled_count], predicted classes int64[N] of `count`."""
        predicted = np.bincount(classes, minlength=count)
        return cls(pooled.sum(axis=0, dtype=np.int64), predicted, *_pairs(predicted))

    def memory(self) -> list[Any]:
        """Plain numbers for :meth:`resumed`."""
        return [self.pooled.tolist(), self.predicted.tolist(), self.pairs, self.same]

    @classmethod
    def resumed(cls, memory: Sequence[Any]) -> Evidence:
        """What gave this memory."""
        pooled, predicted, pairs, same = memory
        return cls(np.array(pooled, np.int64), np.array(predicted, np.int64), int(pairs), int(same))

    @property
    def samples(self) -> int:
        """How many samples."""
        return int(self.predicted.sum())

    @property
    def mixed(self) -> bool:
        """Whether each window holds about what all of them do; not so where classes come one after the other."""
        pairs, same = _pairs(self.predicted)
        return self.pairs >= MINIMUM and self.same * pairs * UNEVEN[1] <= same * self.pairs * UNEVEN[0]

    def after(self, earlier: Evidence | None) -> Evidence:
        """With earlier evidence, which counts half once it is of many samples."""
        if earlier is None:
            return self
        halve = int(earlier.samples > _FORGETTING)
        return Evidence(
            self.pooled + (earlier.pooled >> halve),
            self.predicted + (earlier.predicted >> halve),
            self.pairs + (earlier.pairs >> halve),
            self.same + (earlier.same >> halve),
        )


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


def enough(evidence: Evidence) -> bool:
    """Whether evidence may move biases. Where windows are not alike, only their mix is broad, and must be more so."""
    return covers_classes(evidence.predicted, BROAD if evidence.mixed else BROADER)


def prediction_collapse(before: NDArray[np.int64], after: NDArray[np.int64]) -> bool:
    """Whether the predictions int64[K] of the same samples lost much of their variety."""
    (pairs, same), (pairs_after, same_after) = _pairs(before), _pairs(after)
    return pairs_after * same * COLLAPSE[1] < pairs * same_after * COLLAPSE[0]


class DomainDistance:
    """Where a window is, by its inputs alone, whatever the weights are: by the training samples or by a domain that was
    adapted to.

    Parameters
    ----------
    program : Program
    reference : FeatureStatistics
        From the artifact.

    Notes
    -----
    Mean inputs of the first layer, in standard deviations over the training samples. A window of another domain is
    about as far from the one adapted to as from the training samples; one of the same domain is much nearer to it.
    """

    def __init__(self, program: Program, reference: FeatureStatistics) -> None:
        part = program.layers[0].pooled_slice
        self._part, self._mean = part, reference.mean[part].astype(np.float64)
        std = reference.std[part].astype(np.float64)
        self._std = np.maximum(std, max(float(std.max()), 1e-6) / _QUIET)
        self._positions = program.pooled_positions[part]

    def usual(self, evidence: Evidence) -> bool:
        """Whether chance explains how far the mean inputs of so many samples are from the training samples'."""
        here = self._of(evidence)
        return int((here * here).sum()) * evidence.samples <= CHANCE * here.size * _PLACE_ONE**2

    def is_new_domain(self, evidence: Evidence, domain: Evidence) -> bool:
        """Whether `evidence` is of another domain than `domain`. What its mix of classes explains is taken off."""
        here, there = self._of(evidence), self._of(domain)
        mix = max(1 / effective_classes(evidence.predicted) - 1 / evidence.predicted.size, 1 / evidence.samples)
        chance = round(mix * here.size * _PLACE_ONE**2)
        apart, away = int(((here - there) ** 2).sum()) - chance, int((here * here).sum()) - chance
        return apart > 0 and apart * STRANGE[1] >= away * STRANGE[0]

    def _of(self, evidence: Evidence) -> NDArray[np.int64]:
        far = (evidence.pooled[self._part] / (self._positions * evidence.samples) - self._mean) / self._std
        place: NDArray[np.int64] = np.rint(np.clip(far, -_FARTHEST, _FARTHEST) * _PLACE_ONE).astype(np.int64)
        return place


def rejection_reason(right: int, floor: int, samples: int, coreset_drop: float, moved: int, weights: int) -> str | None:
    """Why weights may not come into force, None if they may.

    Parameters
    ----------
    right, floor : int
        Of the coreset's `samples`, how many they get right, and how many the last weights that labels vouch for do.
        Its labels are true. The loss is counted from there, so that many small losses cannot add up.
    samples : int
    coreset_drop : float
        Share of the coreset that may be lost.
    moved, weights : int
        How many of the weights differ from those that labels vouch for.

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
        return f"{moved} of {weights} weights differ from the last labeled version, allowed {REACH[0]} in {REACH[1]}"
    return None


def _pairs(predicted: NDArray[np.int64]) -> tuple[int, int]:
    """Pairs of samples, and how many of them are of the same class."""
    count = int(predicted.sum())
    return count * (count - 1), int((predicted * (predicted - 1)).sum())

"""Which classes the network has ever got right, and whether a window shows as many as it should.

A class that was never right, however often it came, is new: no count of errors over all classes would notice it soon.
A window of very few classes teaches little and unteaches much; until most classes are known it is only kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

KNOWN_TRIES, NEW_TRIES = (
    3,
    1,
)  # labels of a class without a hit that call for adapting: if the artifact has samples of it
FEW_LABELS = 10  # below, a window's classes say nothing
COVER = 0.75  # share of the classes that must be known before windows of few classes teach


@dataclass(frozen=True)
class ClassRecord:
    """Of K classes: labels seen since the last call, whether ever right, and labels without a hit that call, int64[K].

    Examples
    --------
    >>> record = ClassRecord.start(np.array([True, False]))
    >>> record, new = record.after(np.array([0, 1]), np.array([False, False]))
    >>> new.tolist(), record.needed.tolist()
    ([False, True], [3, 2])
    """

    tries: NDArray[np.int64]
    hits: NDArray[np.bool_]
    needed: NDArray[np.int64]

    @classmethod
    def start(cls, held: NDArray[np.bool_]) -> Self:
        """Nothing seen yet; `held` bool[K] says of which classes the artifact's coreset has samples."""
        count = len(held)
        return cls(np.zeros(count, np.int64), np.zeros(count, np.bool_), np.where(held, KNOWN_TRIES, NEW_TRIES))

    @classmethod
    def of(cls, kept: Any, held: NDArray[np.bool_]) -> Self:
        """What :meth:`memory` gave, if it is that; else a start."""
        try:
            tries, hits, needed = (np.array(kept[name], np.int64) for name in ("tries", "hits", "needed"))
        except (TypeError, KeyError, ValueError, OverflowError):
            return cls.start(held)
        whole = tries.shape == hits.shape == needed.shape == held.shape
        fits = whole and (tries >= 0).all() and (needed > 0).all()
        return cls(tries, hits != 0, needed) if fits else cls.start(held)

    def memory(self) -> Mapping[str, Any]:
        """JSON for :meth:`of`."""
        return {"tries": self.tries.tolist(), "hits": self.hits.astype(int).tolist(), "needed": self.needed.tolist()}

    def after(self, y: NDArray[np.int64], right: NDArray[np.bool_]) -> tuple[Self, NDArray[np.bool_]]:
        """With labels int64[n] of which `right` bool[n] were predicted; also which of them call for adapting, bool[n].

        A class that has called waits for twice as many labels before it calls again.
        """
        count = len(self.tries)
        tries = self.tries + np.bincount(y, minlength=count)
        hits = self.hits | (np.bincount(y[right], minlength=count) > 0)
        calls = ~hits & (tries >= self.needed) & np.isin(np.arange(count), y)
        record = type(self)(np.where(calls, 0, tries), hits, np.where(calls, 2 * self.needed, self.needed))
        return record, calls[y]


def narrow(y: NDArray[np.int64], classes: int) -> bool:
    """Whether labels int64[n] show at most a quarter of the classes that as many drawn evenly would.

    Examples
    --------
    >>> narrow(np.repeat([3, 5], 20), 19), narrow(np.arange(40) % 10, 19), narrow(np.zeros(40, int), 2)
    (True, False, False)
    """
    if classes <= 2 or y.size < FEW_LABELS:
        return False
    expected = classes * (1 - (1 - 1 / classes) ** y.size)
    return np.unique(y).size <= expected / 4


def quota(y: NDArray[np.int64], order: NDArray[np.int64], held: int, classes: int) -> NDArray[np.bool_]:
    """Which labels of a narrow window teach, bool[n]: of each class as many as the memory has of one, and two more.

    Parameters
    ----------
    y : int64[n]
    order : int64[n]
        In which samples are taken.
    held : int
        Samples of the stream in memory.
    classes : int
        Of which these are, together with the window's.
    """
    most = math.ceil(held / max(classes, 1)) + 2
    use = np.zeros(len(y), np.bool_)
    for label in np.unique(y):
        use[order[y[order] == label][:most]] = True
    return use

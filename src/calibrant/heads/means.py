"""Class means as sums and counts, exact and the same in any order of samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError, StateError
from calibrant.heads import roster
from calibrant.heads.lesson import FEATURE_LIMIT, Lesson
from calibrant.heads.state import State

SAMPLES_LIMIT = 2**20  # of a class
VALUES_LIMIT = 2**30  # samples of a class times features: `Classifier.nearest` says why


@dataclass(frozen=True)
class Means:
    """Of `classes`: counts int64[K] of samples, sums int64[K, D] of their features."""

    ARRAYS: ClassVar[tuple[str, ...]] = ("counts", "sums")
    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    sums: NDArray[np.int64]

    @classmethod
    def none(cls) -> Self:
        """Of no class."""
        return cls((), np.zeros(0, np.int64), np.zeros((0, 0), np.int64))

    @property
    def values(self) -> NDArray[np.float64]:
        """The means, float64[K, D]."""
        return self.sums / self.counts[:, None]

    def add(self, lesson: Lesson) -> Self:
        """With more samples, of classes known or new.

        Raises
        ------
        DataError
            Features are of another length than those before, or a class has more samples than sums are exact for.
        """
        width, known = lesson.x.shape[1], self.sums.shape[1]
        if known and width != known:
            raise DataError(f"lesson: expected features of length {known}, got {width}")
        classes = roster.grown(self.classes, tuple(lesson.names[i] for i in lesson.present))
        counts = roster.padded(self.counts, len(classes))
        sums = roster.padded(self.sums if known else np.zeros((0, width), np.int64), len(classes))
        for i in lesson.present:
            own, at = lesson.y == i, classes.index(lesson.names[i])
            counts[at] += int(own.sum())
            sums[at] += lesson.x[own].sum(axis=0, dtype=np.int64)
        most = min(SAMPLES_LIMIT, VALUES_LIMIT // width)
        if int(counts.max()) > most:
            raise DataError(f"lesson: expected at most {most} samples of a class, got {int(counts.max())}")
        return replace(self, classes=classes, counts=counts, sums=sums)

    def without(self, name: str) -> Self:
        """Of all other classes; DataError if this one is not known."""
        at = roster.row(self.classes, name)
        classes = roster.without(self.classes, name)
        return replace(self, classes=classes, counts=np.delete(self.counts, at), sums=np.delete(self.sums, at, 0))

    def renamed(self, old: str, new: str) -> Self:
        """With another name; DataError as `roster.renamed`."""
        return replace(self, classes=roster.renamed(self.classes, old, new))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """By the names of `ARRAYS`."""
        return {"counts": self.counts, "sums": self.sums}

    @classmethod
    def resume(cls, state: State) -> Self:
        """What :meth:`arrays` and the classes of a state say; StateError where they cannot have."""
        classes = state.classes()
        counts = state.array("counts", np.int64, (len(classes),))
        sums = state.array("sums", np.int64, (len(classes), -1))
        most = min(SAMPLES_LIMIT, VALUES_LIMIT // max(1, sums.shape[1]))
        if counts.size and not 0 < int(counts.min()) <= int(counts.max()) <= most:
            raise StateError(f"head {state.kind}: expected counts 1 to {most}, got {counts.tolist()!r:.80}")
        if (np.abs(sums) > FEATURE_LIMIT * counts[:, None]).any():
            raise StateError(
                f"head {state.kind}: expected sums of features within {FEATURE_LIMIT} each, got larger ones"
            )
        return cls(classes, counts, sums)

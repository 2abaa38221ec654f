"""Nearest class mean: a class is where its samples are on average. No gradient, no order, one sum a class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from calibrant.heads.classifier import Classifier
from calibrant.heads.lesson import Lesson
from calibrant.heads.means import Means
from calibrant.heads.state import State


@dataclass(frozen=True)
class Ncm:
    """The head; all it keeps are whole numbers, so samples give it in any order and in any lessons.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[200, 0], [180, 10], [0, 200], [5, 190]], np.int32)
    >>> head = Ncm.new().learn(Lesson(x, np.array([0, 0, 1, 1]), ("walk", "run")))
    >>> head.classifier.predict(x).tolist()
    [0, 0, 1, 1]
    """

    kind: ClassVar[str] = "ncm"
    means: Means

    @classmethod
    def new(cls) -> Self:
        """One that knows nothing."""
        return cls(Means.none())

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what it knows."""
        return self.means.classes

    @property
    def classifier(self) -> Classifier:
        """What answers: the nearest mean."""
        return Classifier.nearest(self.means.values, self.means.sums, self.means.counts)

    def learn(self, lesson: Lesson) -> Self:
        """Add samples; DataError if their features are of another length than those before."""
        return replace(self, means=self.means.add(lesson))

    def forget(self, name: str) -> Self:
        """Without a class; nothing else changes. DataError if it is not known."""
        return replace(self, means=self.means.without(name))

    def rename(self, old: str, new: str) -> Self:
        """With another name; DataError if `old` is not known or `new` another class's."""
        return replace(self, means=self.means.renamed(old, new))

    def state(self) -> State:
        """All that it goes on from."""
        return State(self.kind, self.means.arrays(), {"classes": list(self.classes)})

    @classmethod
    def resume(cls, state: State) -> Self:
        """The head that said this of itself; StateError if no head did."""
        state.check(cls.kind, Means.ARRAYS)
        return cls(Means.resume(state))

"""Samples kept from earlier experiences, equally many of each class, within some bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.rng import generator
from calibrant.heads import Lesson

REPLAYS = ("none", "raw", "latent")


@dataclass(frozen=True)
class Remembered:
    """At most `capacity` samples (None: all), as features: below a frozen backbone raw and latent ones teach the same,
    and differ in how many fit. Which go is drawn by `seed`."""

    capacity: int | None
    seed: int
    lesson: Lesson | None = None
    lessons: int = 0

    def before(self, new: Lesson) -> Lesson:
        """What is learned from: new samples and all that are remembered."""
        return new if self.lesson is None else joined(self.lesson, new)

    def after(self, new: Lesson) -> Self:
        """With samples of a lesson, and as many less of the others as it takes."""
        whole, count = self.before(new), self.lessons + 1
        if self.capacity is None:
            return replace(self, lesson=whole, lessons=count)
        rng = generator(self.seed, f"remembered {self.lessons}")
        quota = shares([int((whole.y == c).sum()) for c in whole.present], self.capacity)
        kept = [
            rng.permutation(np.flatnonzero(whole.y == c))[:share] for c, share in zip(whole.present, quota, strict=True)
        ]
        rows = np.sort(np.concatenate(kept))
        return replace(self, lesson=taken(whole, rows) if len(rows) else None, lessons=count)

    @property
    def count(self) -> int:
        """Samples held."""
        return 0 if self.lesson is None else len(self.lesson.y)


def shares(counts: list[int], capacity: int) -> list[int]:
    """How many of each class stay: as evenly as their counts allow, the first ones get what is left over.

    Examples
    --------
    >>> shares([10, 2, 10], 12), shares([5, 5], 3)
    ([5, 2, 5], [2, 1])
    """
    kept = [0] * len(counts)
    for _ in range(min(capacity, sum(counts))):
        open_ = [i for i, n in enumerate(counts) if kept[i] < n]
        kept[min(open_, key=lambda i: kept[i])] += 1
    return kept


def taken(lesson: Lesson, rows: NDArray[np.intp]) -> Lesson:
    """Some samples of a lesson."""
    blocks = None if lesson.blocks is None else lesson.blocks[rows]
    return Lesson(lesson.x[rows], lesson.y[rows], lesson.names, blocks)


def joined(first: Lesson, second: Lesson) -> Lesson:
    """Both, which have the same names."""
    blocks = None
    if first.blocks is not None and second.blocks is not None:
        blocks = np.concatenate([first.blocks, second.blocks])
    return Lesson(np.concatenate([first.x, second.x]), np.concatenate([first.y, second.y]), first.names, blocks)

"""What one case shows: training samples, windows in order with the labels that come with them, and home's test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibrant import data
from calibrant.bench.qcore.network import halves
from calibrant.bench.stream.cases import Case, Family, Leg
from calibrant.core.errors import DataError
from calibrant.core.rng import generator

RUN = 20  # samples of one class after the other, where classes come in runs
ORDERS = ("shuffled", "runs")
TIME = "in time order"  # of families that have no other

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Window:
    """Samples x float32[N, ...] of classes y int64[N]; `given` are the labels that come with them, right or wrong.

    `place` counts the legs.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    given: NDArray[np.int64]
    place: int


@dataclass(frozen=True)
class Scene:
    """`train` and `test` are the source's; `final`, where there is one, tests the last place of the stream."""

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    windows: list[Window]
    final: Samples | None = None


@dataclass(frozen=True)
class Source:
    """What a case's network is made of: `blocks` int64[N] are the stretches of time that `train` is of, where known.

    Subjects share the labels of blocks, so that parts that `prepare` leaves out do not differ by their subjects.
    """

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    blocks: NDArray[np.int64] | None = None


def training(root: Path, family: Family, case: Case) -> Source:
    """Training samples, test samples and classes of a case's sources.

    Raises
    ------
    DataError
        If the data is missing or damaged.
    """
    train, test, blocks = list[Samples](), list[Samples](), list[NDArray[np.int64]]()
    classes: tuple[str, ...] = ()
    for number in case.source:
        domain = data.load(family.dataset, root, number)
        rows, held = data.split(domain)
        rows = _earlier(domain, rows, family, case)[0] if case.home else rows
        rows = rows if case.known is None else rows[domain.y[rows] < case.known]
        held = held if case.known is None else held[domain.y[held] < case.known]
        train.append((domain.x[rows], domain.y[rows]))
        blocks.append(domain.segment[rows])
        test.append((domain.x[held], domain.y[held]))
        classes = domain.classes
    return Source(_joined(train), _joined(test), classes, np.concatenate(blocks) if family.blocks else None)


def load(root: Path, family: Family, case: Case, order: str, seed: int) -> Scene:
    """All of a case, its stream drawn by `seed`; raises like :func:`training`."""
    source = training(root, family, case)
    walks = dict[int, Walk]()
    for leg in case.legs:
        for number in {leg.subject, leg.until or leg.subject} - set(walks):
            domain = data.load(family.dataset, root, number)
            rows, _ = data.split(domain)
            if case.home and number in case.source:
                rows = _earlier(domain, rows, family, case)[1]
            walks[number] = Walk(domain, rows, family.ordered, order, seed)
    rng, windows = generator(seed, "stream labels"), list[Window]()
    for place, leg in enumerate(case.legs):
        for x, y in _leg(leg, walks, family.window, rng):
            windows.append(Window(x, y, _given(y, leg.wrong, len(source.classes), rng), place))
    return Scene(source.train, source.test, source.classes, windows)


class Walk:
    """A subject's samples one after the other; from their end it goes on at their start."""

    def __init__(self, domain: data.Domain, rows: NDArray[np.int64], ordered: bool, order: str, seed: int) -> None:
        if not len(rows):
            raise DataError(f"{domain.name}: expected samples to stream, got none")
        self.x, self.y, self.at = domain.x, domain.y, 0
        if not ordered:
            rng = generator(seed, f"stream {domain.name}")
            rows = rng.permutation(rows)
            if order == "runs":
                rows = in_runs(rows, domain.y, rng)
        self.rows = rows

    def take(self, count: int, classes: int | None) -> NDArray[np.int64]:
        """The next `count` rows, of the first `classes` only where that is given."""
        found = list[int]()
        while len(found) < count:
            row = int(self.rows[self.at % len(self.rows)])
            self.at += 1
            if classes is None or self.y[row] < classes:
                found.append(row)
        return np.array(found, np.int64)


def in_runs(rows: NDArray[np.int64], y: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows so ordered that classes come in runs of `RUN` samples, the runs shuffled.

    Examples
    --------
    >>> y = np.arange(80) % 2
    >>> int((np.diff(y[in_runs(np.arange(80), y, np.random.default_rng(0))]) != 0).sum()) < 4
    True
    """
    runs = list[NDArray[np.int64]]()
    for label in np.unique(y[rows]):
        own = rows[y[rows] == label]
        runs += [own[i : i + RUN] for i in range(0, len(own), RUN)]
    return np.concatenate([runs[i] for i in rng.permutation(len(runs))])


def _leg(leg: Leg, walks: dict[int, Walk], size: int, rng: np.random.Generator) -> Iterator[Samples]:
    walk = walks[leg.subject]
    count = max(1, len(walk.rows) // size) if leg.windows is None else leg.windows
    for i in range(count):
        rows = walk.take(size, leg.classes)
        x, y = walk.x[rows], walk.y[rows]
        if leg.until is not None:
            other = walks[leg.until]
            new = rng.random(size) < (i + 0.5) / count
            there = other.take(int(new.sum()), leg.classes)
            x, y = x.copy(), y.copy()
            x[new], y[new] = other.x[there], other.y[there]
        yield x, y


def _given(y: NDArray[np.int64], wrong: float, classes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels of which a share is another class."""
    false = rng.random(len(y)) < wrong
    other = (y + rng.integers(1, classes, len(y))) % classes
    return np.where(false, other, y)


def _earlier(
    domain: data.Domain, rows: NDArray[np.int64], family: Family, case: Case
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What trains and what is left to stream: halves of each class's segments; of ordered streams a quarter trains."""
    if family.ordered:
        cut = len(rows) // 4
        return rows[:cut], rows[cut:]
    return halves(domain, rows, "segment")


def _joined(parts: list[Samples]) -> Samples:
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])

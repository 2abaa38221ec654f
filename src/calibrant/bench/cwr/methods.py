"""The protocol's ways to learn classes, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from calibrant import heads
from calibrant.bench.cwr.float_head import PREDICTED, FloatHead
from calibrant.bench.cwr.jobs import Cell
from calibrant.bench.cwr.remembered import Remembered
from calibrant.heads import Head, Lesson
from calibrant.heads.cwr import Cwr


class Learner(Protocol):
    """A head, in floats or whole numbers; a record."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def nbytes(self) -> int: ...

    def learn(self, lesson: Lesson) -> Self: ...

    def predict(self, x: NDArray[np.int32]) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class Registered:
    """A head of `heads.HEADS` as a learner."""

    head: Head

    @property
    def classes(self) -> tuple[str, ...]:
        return self.head.classes

    @property
    def nbytes(self) -> int:
        return self.head.state().nbytes

    def learn(self, lesson: Lesson) -> Self:
        return replace(self, head=self.head.learn(lesson))

    def predict(self, x: NDArray[np.int32]) -> NDArray[np.int64]:
        return self.head.classifier.predict(x)


@dataclass(frozen=True)
class Method:
    """A row of `METHODS`. `descends`: by gradient, so rates and epochs are crossed with it; `replays`: also with
    remembered samples; `widths`: also at all widths and roundings. `coreset`: it knows the first classes by the
    artifact's coreset alone, as on a device."""

    make: Callable[[Cell], Learner]
    descends: bool = False
    replays: bool = False
    widths: bool = False
    coreset: bool = False


def _float(cell: Cell) -> Learner:
    assert cell.training is not None
    return FloatHead(cell.method.removesuffix("-float"), cell.training)


def _registered(cell: Cell) -> Learner:
    return Registered(heads.new(cell.method.removesuffix("-coreset"), cell.training))


METHODS: Mapping[str, Method] = {
    "cwr-float": Method(_float, descends=True, replays=True),
    "cwr": Method(_registered, descends=True, replays=True, widths=True),
    "naive": Method(_float, descends=True, replays=True),
    "joint": Method(_float, descends=True),
    "ncm": Method(_registered),
    "slda": Method(_registered),
    "slda-coreset": Method(_registered, coreset=True),
}


@dataclass(frozen=True)
class Subject:
    """A learner with the samples that it remembers."""

    learner: Learner
    remembered: Remembered

    @classmethod
    def of(cls, cell: Cell, sample_bytes: Mapping[str, int]) -> Self:
        """For a row; `sample_bytes` of a remembered sample by kind of replay."""
        capacity = 0 if cell.replay == "none" else cell.memory // sample_bytes[cell.replay]
        return cls(
            METHODS[cell.method].make(cell),
            Remembered(None if cell.method == "joint" else capacity, cell.preparation.seed),
        )

    def learn(self, lesson: Lesson) -> Self:
        """One experience."""
        learner = self.learner.learn(self.remembered.before(lesson))
        return replace(self, learner=learner, remembered=self.remembered.after(lesson))

    def facts(self) -> dict[str, Any]:
        """What the head says of its arithmetic after a lesson."""
        match self.learner:
            case FloatHead(zones=zones):
                predicted = {str(bits): zone.share for bits, zone in zip(PREDICTED, zones, strict=True)}
                return {"lost": None, "bits": None, "predicted_lost": predicted}
            case Registered(head=Cwr(lost=lost, grid=grid)):
                return {"lost": lost, "bits": grid.bits, "predicted_lost": None}
            case _:
                return {"lost": None, "bits": None, "predicted_lost": None}

"""What a stream consists of: where its network is from, and the legs of the way that its device goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Leg:
    """Part of a stream: `windows` of one subject (None: all there are, once).

    `until`: samples of this other subject take over, from none to all, evenly over the leg. `wrong`: share of the
    labels that are wrong, any other class. `classes`: only the first so many occur.
    """

    subject: int
    windows: int | None = None
    until: int | None = None
    wrong: float = 0.0
    classes: int | None = None


@dataclass(frozen=True)
class Case:
    """One stream: the `source` subjects that the network is trained on, and the `legs` that follow.

    `home`: legs come back to a source, so the network is trained on the earlier half of its samples. `known`: it is
    trained on the first so many classes (None: all). `chosen`: settings were chosen on it, so no bar counts it.
    """

    family: str
    name: str
    source: tuple[int, ...]
    legs: tuple[Leg, ...]
    home: bool = False
    known: int | None = None
    chosen: bool = False


@dataclass(frozen=True)
class Family:
    """Streams of one kind: data set, network, samples a window, and the cases.

    `ordered`: samples come in the order of the file, which is that of time; else shuffled, or in runs of one class.
    `blocks`: segments of the data set are stretches of time, which `prepare` is told: trials, takes, parts of a batch.
    """

    dataset: str
    network: str
    window: int
    cases: tuple[Case, ...]
    ordered: bool = False
    blocks: bool = False

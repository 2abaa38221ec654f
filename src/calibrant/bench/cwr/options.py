"""What the protocol is asked to run, checked, and the rows that it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path

from calibrant import data
from calibrant.bench.cwr import scene
from calibrant.bench.cwr.jobs import Cell, Preparation
from calibrant.bench.cwr.methods import METHODS, Method
from calibrant.bench.cwr.remembered import REPLAYS
from calibrant.bench.harness import workers
from calibrant.core.errors import DataError, check_known
from calibrant.heads import CwrSettings
from calibrant.heads.grid import WIDEST
from calibrant.heads.training import ROUNDINGS


@dataclass(frozen=True)
class Options:
    """What to run. Sequences are crossed where a method has them; rows that come to the same are run once.

    `first` classes train the backbone, the others come in `experiences`; None: as `scene.KINDS` has it. `qf` and `qb`
    are widths of `cwr`, `epochs` those of an experience. `memory` bytes are for replay. `jobs` at once (0: one per
    usable CPU) on `engine` "local" or "ray"; `resume` takes over what an earlier run left in `out`.
    """

    out: Path
    data: Path | None = None
    dataset: str = "dsa"
    first: int | None = None
    experiences: int | None = None
    methods: Sequence[str] = tuple(METHODS)
    qf: Sequence[int] = (8,)
    qb: Sequence[int] = (8, 16, 32)
    rounding: Sequence[str] = ROUNDINGS
    replay: Sequence[str] = ("none",)
    rates: Sequence[float] = (2.0,)
    epochs: Sequence[int] = (4,)
    memory: int = 40_000
    bits: int = 8
    seeds: Sequence[int] = (0,)
    jobs: int = 0
    engine: str = "local"
    resume: bool = True


def plan(options: Options, root: Path) -> list[Cell]:
    """The rows, in the order of the table.

    Raises
    ------
    DataError
        If an option is not available, or data is missing.
    """
    check(options)
    kind = scene.KINDS[options.dataset]
    first, experiences = options.first or kind.first, options.experiences or kind.experiences
    classes = len(data.load(options.dataset, root, kind.subjects[0]).classes)
    scene.sizes(classes, first, experiences)
    digest = "+".join(data.digest(options.dataset, root, n)[:16] for n in kind.subjects)
    cells = dict[Cell, None]()
    for seed in options.seeds:
        about = Preparation(
            options.dataset, kind.network, kind.subjects, first, experiences, digest, options.bits, seed
        )
        for name in options.methods:
            method = METHODS[name]
            for training, replay in product(
                _trainings(options, method, seed), options.replay if method.replays else ["none"]
            ):
                memory = options.memory if replay != "none" else 0
                cells[Cell(about, name, training, replay, memory)] = None
    return list(cells)


def _trainings(options: Options, method: Method, seed: int) -> list[CwrSettings | None]:
    """How a method is trained; backward is at least forward, and the widest cannot widen."""
    if not method.descends:
        return [None]
    plain = [
        CwrSettings(rate=rate, epochs=epochs, seed=seed) for rate, epochs in product(options.rates, options.epochs)
    ]
    if not method.widths:
        return [*plain]
    widths = product(options.qf, options.qb, options.rounding)
    wanted = [(f, b, r) for f, b, r in widths if b >= f and (r != "widen" or b < WIDEST)]
    return [
        replace(how, forward_bits=forward, backward_bits=backward, rounding=rounding)
        for how, (forward, backward, rounding) in product(plain, wanted)
    ]


def command(options: Options) -> str:
    """The command line that runs these options; folders, and what does not change rows, are left to the reader.

    Examples
    --------
    >>> command(Options(Path("x"), dataset="fsdd", qb=(16,)))
    'calibrant bench cwr --dataset fsdd --qb 16'
    """
    words = ["calibrant bench cwr"]
    for name in (f.name for f in fields(options)):
        value = getattr(options, name)
        if name in ("out", "data", "jobs", "engine", "resume") or value == getattr(Options(Path()), name):
            continue
        words += [f"--{name}", str(value) if isinstance(value, (str, int)) else ",".join(f"{v}" for v in value)]
    return " ".join(words)


def check(options: Options) -> None:
    """Raise DataError if an option is not available."""
    check_known("data set", options.dataset, scene.KINDS)
    check_known("engine", options.engine, workers.ENGINES)
    for what, given, allowed in (
        ("method", options.methods, METHODS),
        ("rounding", options.rounding, ROUNDINGS),
        ("replay", options.replay, REPLAYS),
    ):
        for value in given:
            check_known(what, value, allowed)
    for name in ("methods", "qf", "qb", "rounding", "replay", "rates", "epochs", "seeds"):
        if not getattr(options, name):
            raise DataError(f"{name}: expected at least one, got none")
    for rate, epochs in product(options.rates, options.epochs):
        CwrSettings(rate=rate, epochs=epochs)
    for forward, backward in product(options.qf, options.qb):
        CwrSettings(forward_bits=forward, backward_bits=max(forward, backward))
    if options.bits not in (2, 4, 8):
        raise DataError(f"bits: expected one of 2, 4, 8, got {options.bits}")
    for what, number in (("jobs", options.jobs), ("memory", options.memory), *(("seeds", n) for n in options.seeds)):
        if number < 0:
            raise DataError(f"{what}: expected no negative number, got {number}")

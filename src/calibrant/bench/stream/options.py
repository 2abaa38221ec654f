"""What the protocol is asked to run, checked, and the rows that it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path

from calibrant.bench import adaptation
from calibrant.bench.baselines import LEARNERS
from calibrant.bench.harness import workers
from calibrant.bench.qcore.labels import check_regime
from calibrant.bench.stream import network, synthetic
from calibrant.bench.stream.cases import Case
from calibrant.bench.stream.families import FAMILIES, SYNTHETIC
from calibrant.bench.stream.jobs import Cell, Preparation
from calibrant.bench.stream.row import GATED
from calibrant.bench.stream.scene import ORDERS, TIME
from calibrant.core.errors import DataError


@dataclass(frozen=True)
class Options:
    """What to run. Sequences are crossed; rows that come to the same are run once.

    `family` names of families, or "all" (without the synthetic one). `cases` keeps those whose name contains it.
    `sequences` of the synthetic family, numbered from the first of `seeds`. `jobs` at once (0: one per usable CPU) on
    `engine` "local" or "ray"; `resume` takes over what an earlier run left in `out`.
    """

    out: Path
    data: Path | None = None
    family: Sequence[str] = ("all",)
    methods: Sequence[str] = ("none", "bn", "bp", "bp-replay", "er", "derpp", "flip")
    labels: Sequence[str] = ("all", "9", "0")
    order: Sequence[str] = ("shuffled",)
    gate: Sequence[str] = ("on",)
    seeds: Sequence[int] = (0,)
    cases: str = ""
    sequences: int = 100
    bits: int = 4
    delay: int = 0
    jobs: int = 0
    engine: str = "local"
    resume: bool = True


def families(options: Options) -> tuple[str, ...]:
    """The families asked for."""
    return tuple(FAMILIES) if tuple(options.family) == ("all",) else tuple(dict.fromkeys(options.family))


def plan(options: Options, root: Path | None) -> list[Cell]:
    """The rows, in the order of the table; `root` holds the data, None is enough for the synthetic family.

    Raises
    ------
    DataError
        If an option is not available, or data is missing.
    """
    check(options)
    cells = dict[Cell, None]()
    for family in families(options):
        for case, seed in _streams(options, family):
            train_sha256, stream_sha256 = _digests(root, case)
            about = Preparation(
                family,
                () if family == SYNTHETIC else case.source,
                case.home,
                case.known,
                train_sha256,
                options.bits,
                seed if family != SYNTHETIC else 0,
            )
            orders = (TIME,) if family == SYNTHETIC or FAMILIES[family].ordered else options.order
            for method, labels, order, gate in product(options.methods, options.labels, orders, options.gate):
                regime = "0" if method in adaptation.LABEL_FREE else check_regime(labels)
                if regime == "0" and method in LEARNERS:  # without labels, the same as none
                    continue
                on = gate == "on" and method in GATED
                cells[Cell(about, case, stream_sha256, method, regime, order, on, options.delay)] = None
    if not cells:
        raise DataError(f"cases: expected part of a name of {', '.join(families(options))}, got {options.cases}")
    return list(cells)


def command(options: Options) -> str:
    """The command line that runs these options; folders, and what does not change rows, are left to the reader.

    Examples
    --------
    >>> command(Options(Path("x"), family=("dsa",), labels=("0",)))
    'calibrant bench stream --family dsa --labels 0'
    """
    words = ["calibrant bench stream"]
    for name in (f.name for f in fields(options)):
        value = getattr(options, name)
        if name in ("out", "data", "jobs", "engine", "resume") or value == getattr(Options(Path()), name):
            continue
        words += [f"--{name}", str(value) if isinstance(value, (str, int)) else ",".join(map(str, value))]
    return " ".join(words)


def _streams(options: Options, family: str) -> list[tuple[Case, int]]:
    if family == SYNTHETIC:
        return [
            (case, 0) for case in synthetic.cases(options.seeds[0], options.sequences) if options.cases in case.name
        ]
    found = [case for case in FAMILIES[family].cases if options.cases in case.name]
    return [(replace(case, family=family), seed) for case, seed in product(found, options.seeds)]


def _digests(root: Path | None, case: Case) -> tuple[str, str]:
    if case.family == SYNTHETIC:
        return "", ""
    assert root is not None
    return network.digest(root, case), network.stream_digest(root, case)


def check(options: Options) -> None:
    """Raise DataError if an option is not available."""
    choices: list[tuple[str, Sequence[object], Sequence[object]]] = [
        ("family", families(options), [*FAMILIES, SYNTHETIC]),
        ("method", options.methods, list(adaptation.UPDATERS)),
        ("order", options.order, ORDERS),
        ("gate", options.gate, ("on", "off")),
        ("engine", [options.engine], list(workers.ENGINES)),
        ("bits", [options.bits], (2, 4, 8)),
    ]
    for what, given, allowed in choices:
        if not given:
            raise DataError(f"{what}: expected at least one, got none")
        for value in given:
            if value not in allowed:
                raise DataError(f"{what}: expected one of {', '.join(map(str, allowed))}, got {value}")
    if not options.labels or not options.seeds:
        raise DataError("labels, seeds: expected at least one of each, got none")
    for labels in options.labels:
        check_regime(labels)
    if options.sequences < 1:
        raise DataError(f"sequences: expected at least 1, got {options.sequences}")
    for name, value in [("jobs", options.jobs), ("delay", options.delay), *(("seeds", n) for n in options.seeds)]:
        if value < 0:
            raise DataError(f"{name}: expected no negative number, got {value}")

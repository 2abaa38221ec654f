"""What the protocol is asked to run, checked, and the rows that it comes to."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import permutations, product
from pathlib import Path
from typing import Any

from calibrant import coreset, data, zoo
from calibrant.bench import adaptation
from calibrant.bench.harness import workers
from calibrant.bench.qcore.jobs import ALL, EARLIER, Cell, Quantization, Training
from calibrant.bench.qcore.labels import CHOICES, check_regime
from calibrant.bench.recipes import recipe
from calibrant.core.dtype import WEIGHT_BITS
from calibrant.core.errors import DataError
from calibrant.pipeline import torch_model

WINDOWS = 10
WITHOUT_GATE = adaptation.ON_SERVER | {"none", "flip-random", "flip-true"}
DEFAULT_RULE: str = inspect.signature(torch_model.prepare).parameters["coreset_rule"].default


@dataclass(frozen=True)
class Options:
    """What to run. `source` and `target` are paired in order, or `full`: every ordered pair of the subjects at hand.

    `data` None takes CALIBRANT_DATA. Sequences are crossed. `steps` a window, by default each updater's own;
    `training_steps` of the float networks, by default the data set's recipe; `labels`,
    `label_choice`, `delay`, `capacity`, `gate`, `windows` and `window` as in `Cell`, where `window` alone takes all
    windows of that size. `jobs` at once (0: one per usable CPU) on `engine` "local" or "ray"; `resume` takes over what
    an earlier run left in `out`.
    """

    out: Path
    data: Path | None = None
    dataset: str = "dsa"
    network: str = "cnn"
    source: Sequence[int] = (1,)
    target: Sequence[int] = (2,)
    full: bool = False
    bits: Sequence[int] = (2, 4, 8)
    coreset: Sequence[int] = (20,)
    coreset_rule: Sequence[str] = (DEFAULT_RULE,)
    coreset_bits: Sequence[int] = (8,)
    updaters: Sequence[str] = ("none", "flip", "flip-taps", "bp")
    split: str = "segment"
    seeds: Sequence[int] = (0,)
    labels: Sequence[str] = ("all",)
    label_choice: Sequence[str] = ("chance",)
    delay: int = 0
    capacity: int | None = None
    gate: Sequence[str] = ("on",)
    windows: int | None = None
    window: int | None = None
    steps: int | None = None
    training_steps: int | None = None
    jobs: int = 0
    engine: str = "local"
    resume: bool = True

    @property
    def window_count(self) -> int | None:
        """Windows of the stream; None for all that there are."""
        return self.windows if self.windows or self.window else WINDOWS


def plan(options: Options, root: Path) -> list[Cell]:
    """The rows, in the order of the table.

    Raises
    ------
    DataError
        If an option is not available, or a subject is missing.
    """
    _check(options)
    pairs = subject_pairs(options, root)
    sha256 = {n: data.digest(options.dataset, root, n) for n in sorted({n for pair in pairs for n in pair})}
    cells = []
    for (source, target), bits, size, rule, kept in product(
        pairs, options.bits, options.coreset, options.coreset_rule, options.coreset_bits
    ):
        for updater, labels, choice, gate, seed in product(
            options.updaters, options.labels, options.label_choice, options.gate, options.seeds
        ):
            part = EARLIER if source == target else ALL
            about = Training(
                options.dataset,
                options.network,
                source,
                sha256[source],
                options.split,
                seed,
                part,
                options.training_steps or recipe(options.dataset).steps,
            )
            cells.append(
                Cell(
                    Quantization(about, bits, size, rule, kept),
                    target,
                    sha256[target],
                    updater,
                    adaptation.steps_of(updater, options.steps),
                    **_regime(updater, check_regime(labels), choice, options.delay),
                    capacity=options.capacity,
                    gate=gate == "on" and updater not in WITHOUT_GATE,
                    windows=options.window_count,
                    window=options.window,
                )
            )
    return list(dict.fromkeys(cells))


def subject_pairs(options: Options, root: Path) -> list[tuple[int, int]]:
    """Sources and targets.

    Raises
    ------
    DataError
        If they do not pair, or one is not at hand.
    """
    held = data.subjects(options.dataset, root)
    if options.full:
        return list(permutations(held, 2))
    if len(options.source) != len(options.target):
        raise DataError(
            f"subject pairs: expected as many targets as sources, got {len(options.source)} and {len(options.target)}"
        )
    pairs = list(zip(options.source, options.target, strict=True))
    for subject in (n for pair in pairs for n in pair):
        if subject not in held:
            raise DataError(f"subject: expected one of {', '.join(map(str, held))} in {root}, got {subject}")
    return pairs


def command(options: Options) -> str:
    """The command line that runs these options; folders, and what does not change rows, are left to the reader.

    Examples
    --------
    >>> command(Options(Path("x"), full=True, bits=(4,), updaters=("none", "flip"), labels=("9",), gate=("off",)))
    'calibrant bench qcore --dataset dsa --network cnn --full --bits 4 --coreset 20 --updaters none,flip --seeds 0
    --labels 9 --gate off'
    """
    always = ("dataset", "network", "source", "target", "bits", "coreset", "updaters", "seeds")
    words = ["calibrant bench qcore"]
    for name in (f.name for f in fields(options)):
        value = getattr(options, name)
        if name in ("out", "data", "jobs", "engine", "resume") or (options.full and name in ("source", "target")):
            continue
        if name not in always and value == getattr(Options(Path()), name):
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(str(value) if isinstance(value, (str, int)) else ",".join(map(str, value)))
    return " ".join(words)


def _regime(updater: str, labels: str, choice: str, delay: int) -> dict[str, Any]:
    """The label regime, one for all regimes that come to the same. Who cannot ask gets what chance gives."""
    if updater in adaptation.LABEL_FREE:
        return {"labels": "0", "choice": "chance", "delay": 0}
    drawn = labels in ("all", "0") or updater in adaptation.ON_SERVER
    return {"labels": labels, "choice": "chance" if drawn else choice, "delay": delay}


def _check(options: Options) -> None:
    if options.dataset not in data.DATASETS:
        raise DataError(f"data set: expected one of {', '.join(data.DATASETS)}, got {options.dataset}")
    rank = data.DATASETS[options.dataset].rank
    if zoo.rank(options.network) != rank:
        fitting = ", ".join(name for name, row in zoo.NETWORKS.items() if row.rank == rank)
        raise DataError(f"network for {options.dataset}: expected one of {fitting}, got {options.network}")
    choices: list[tuple[str, Sequence[object], Sequence[object]]] = [
        ("updater", options.updaters, list(adaptation.UPDATERS)),
        ("bits", options.bits, WEIGHT_BITS),
        ("split", [options.split], data.SPLITS),
        ("coreset rule", options.coreset_rule, list(coreset.RULES)),
        ("coreset bits", options.coreset_bits, (8, 4)),
        ("label choice", options.label_choice, CHOICES),
        ("gate", options.gate, ("off", "on")),
        ("engine", [options.engine], list(workers.ENGINES)),
    ]
    for what, given, allowed in choices:
        for value in given:
            if value not in allowed:
                raise DataError(f"{what}: expected one of {', '.join(map(str, allowed))}, got {value}")
    for name in (f.name for f in fields(options)):
        value = getattr(options, name)
        if isinstance(value, tuple | list) and not value:
            raise DataError(f"{name}: expected at least one, got none")
    sizes = [(name, getattr(options, name)) for name in ("capacity", "windows", "window", "steps", "training_steps")]
    for name, value in [*sizes, *(("coreset", size) for size in options.coreset)]:
        if value is not None and value < 1:
            raise DataError(f"{name}: expected at least 1, got {value}")
    for name, value in [("jobs", options.jobs), ("delay", options.delay), *(("seeds", seed) for seed in options.seeds)]:
        if value < 0:
            raise DataError(f"{name}: expected no negative number, got {value}")

"""What the protocol is asked to run, checked, and the rows that it comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from calibrant import autodiff, data
from calibrant.bench.harness import workers
from calibrant.bench.sparse import rates, schemes
from calibrant.bench.sparse.fit import Recipe
from calibrant.bench.sparse.jobs import Cell, Subject
from calibrant.bench.sparse.row import FOLDER, network
from calibrant.core.errors import DataError, check_known

MODELS = tuple(dict.fromkeys(model for model, _ in autodiff.PUBLISHED))


@dataclass(frozen=True)
class Sizes:
    """How much is trained on and for how long; None takes all samples there are."""

    train: int | None
    test: int | None
    recipe: Recipe
    augmented: bool


QUICK = Sizes(2000, None, Recipe(epochs=9, warmup=1, batch=16, rate=0.0), augmented=False)
# Lin et al., NeurIPS 2022, appendix: 50 epochs beside 5 of warm-up; no momentum, as on a device.
FULL = Sizes(None, None, Recipe(epochs=50, warmup=5, batch=16, rate=0.0), augmented=True)


@dataclass(frozen=True)
class Options:
    """What to run. `schemes` and `methods` None take the rows of `schemes.DEFAULT`.

    `data` None takes CALIBRANT_DATA. `full` is the published recipe on all samples, otherwise few epochs on a subset;
    `train`, `test`, `epochs`, `batch` and `rate` replace parts of either. `budget` in bytes: `search` finds a scheme
    whose planned arena is within it, and the table says which rows are not. `jobs` at once (0: one per usable CPU) on
    `engine` "local" or "ray"; `resume` takes over what an earlier run left in `out`.
    """

    out: Path
    data: Path | None = None
    model: str = "mcunet-5fps"
    task: str = "cifar10"
    schemes: Sequence[str] | None = None
    methods: Sequence[str] | None = None
    seeds: Sequence[int] = (0, 1)
    full: bool = False
    train: int | None = None
    test: int | None = None
    epochs: int | None = None
    batch: int | None = None
    rate: float | None = None
    budget: int | None = None
    search: bool = False
    jobs: int = 0
    engine: str = "local"
    resume: bool = True


def plan(options: Options, root: Path, searched: Sequence[str] = ()) -> list[Cell]:
    """The rows, in the order of the table; `searched` schemes come last.

    Raises
    ------
    DataError
        If an option is not available, or a file is missing.
    """
    _check(options)
    sizes, task = FULL if options.full else QUICK, data.load_task(options.task, root)
    program, _ = network(root, options.model, len(task.classes))
    about = Subject(
        options.model,
        model_digest(options.model, root),
        options.task,
        data.task_digest(options.task, root),
        min(options.train or sizes.train or len(task.y), len(task.y)),
        min(options.test or sizes.test or len(task.test_y), len(task.test_y)),
        0,
    )
    found = schemes.rows(options.model, options.schemes, options.methods)
    found += [(name, method) for name in searched for method in options.methods or ("qas",)]
    cells = []
    for scheme, method in found:
        schemes.resolve(scheme, options.model, len(program.layers) - 1)
        recipe = replace(
            sizes.recipe,
            epochs=options.epochs or sizes.recipe.epochs,
            batch=1 if not schemes.METHODS[method].accumulate else options.batch or sizes.recipe.batch,
            rate=options.rate or rates.tuned(method, scheme),
        )
        cells += [Cell(replace(about, seed=seed), scheme, method, recipe, sizes.augmented) for seed in options.seeds]
    return list(dict.fromkeys(cells))


def model_digest(model: str, root: Path) -> str:
    """SHA-256 of the files of a network, which could be read."""
    sha256 = hashlib.sha256()
    for suffix in (".json", ".npz"):
        sha256.update((root / FOLDER / f"{model}{suffix}").read_bytes())
    return sha256.hexdigest()


def command(options: Options) -> str:
    """The command line that asks for this; without folders and what does not change results."""
    words = ["calibrant", "bench", "sparse"]
    for field in fields(Options):
        given, default = getattr(options, field.name), field.default
        if field.name not in ("out", "data", "jobs", "engine", "resume") and given != default:
            words.append(f"--{field.name}")
            words += [] if given is True else [_word(given)]
    return " ".join(words)


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _check(options: Options) -> None:
    for name, value, allowed in [
        ("model", options.model, MODELS),
        ("task", options.task, tuple(data.TASKS)),
        ("engine", options.engine, tuple(workers.ENGINES)),
    ]:
        check_known(name, value, allowed)
    for name in ("train", "test", "epochs", "batch", "budget"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise DataError(f"{name}: expected at least 1, got {value}")
    for name, values in (("jobs", [options.jobs]), ("seeds", options.seeds)):
        if any(value < 0 for value in values) or not values:
            raise DataError(f"{name}: expected no negative number, got {_word(values) or 'none'}")
    if options.rate is not None and not 0 < options.rate < float("inf"):
        raise DataError(f"rate: expected a number above 0, got {options.rate}")
    if options.search and options.budget is None:
        raise DataError("search: expected a budget to search under, got none")

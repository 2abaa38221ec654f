"""The continual-calibration protocol of QCore (PVLDB 17(11), 2024).

One subject, the source, trains a float network; it is quantized with its coreset and meets another subject, the
target, as a stream of ten labeled windows. After each window accuracy is taken on the target's and on the source's
test split. Channels are standardized with source statistics. Every table has a row that does not adapt.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calibrant import data, pipeline, zoo
from calibrant.bench import adaptation, report, training, workers
from calibrant.bench.workspace import Workspace
from calibrant.core.dtype import WEIGHT_BITS
from calibrant.core.errors import DataError
from calibrant.core.records import Preprocess
from calibrant.core.version import VERSION

Progress = Callable[[str, int, int], None]

TRAINING_STEPS = 250  # of 64 samples: all float networks here are at their plateau by then
TRAINING_BATCH = 64
WINDOWS = 10


@dataclass(frozen=True)
class Options:
    """What to run. `source` and `target` are paired in order; `data` None takes CALIBRANT_DATA.

    `steps` a window, by default each updater's own. `jobs` processes (0: one per usable CPU); `resume` takes over
    what an earlier run left in `out`.
    """

    out: Path
    data: Path | None = None
    dataset: str = "dsa"
    network: str = "cnn"
    source: Sequence[int] = (1,)
    target: Sequence[int] = (2,)
    bits: Sequence[int] = (2, 4, 8)
    coreset: int = 20
    updaters: Sequence[str] = ("none", "flip", "flip-taps", "bp")
    split: str = "segment"
    seeds: Sequence[int] = (0,)
    steps: int | None = None
    jobs: int = 0
    resume: bool = True


@dataclass(frozen=True)
class Training:
    """All that decides a float network. `source_sha256` is of the subject's file."""

    dataset: str
    network: str
    source: int
    source_sha256: str
    split: str
    seed: int
    version: str = VERSION


@dataclass(frozen=True)
class Quantization:
    """All that decides a prepared artifact."""

    training: Training
    bits: int
    coreset: int


@dataclass(frozen=True)
class Cell:
    """All that decides one row."""

    quantization: Quantization
    target: int
    target_sha256: str
    updater: str
    steps: int


def run(options: Options, progress: Progress | None = None) -> dict[str, Any]:
    """Run the protocol; every finished row is kept in `options.out` at once.

    Parameters
    ----------
    options : Options
    progress : callable, optional
        Called with (stage, done, total); stages are "train", "prepare" and "adapt".

    Returns
    -------
    dict
        ``{"protocol": {...}, "rows": [...]}``, also written to ``rows.json`` beside ``table.md`` and ``accuracy*.png``.

    Raises
    ------
    DataError
        If an option is not available, or the data is missing or damaged.
    """
    root = data.folder(options.data)
    cells = _cells(options, root)
    workspace = Workspace(Path(options.out))
    done = {cell: workspace.row(asdict(cell)) for cell in cells} if options.resume else {}
    rows = {cell: row for cell, row in done.items() if row is not None}
    open_cells = [cell for cell in cells if cell not in rows]

    quantizations = list(dict.fromkeys(cell.quantization for cell in open_cells))
    if options.resume:
        quantizations = [q for q in quantizations if not workspace.artifact_path(asdict(q)).is_file()]
    trainings = list(dict.fromkeys(q.training for q in quantizations))
    if options.resume:
        trainings = [t for t in trainings if not workspace.has_module(asdict(t))]

    for _ in _stage("train", partial(train, workspace, root), trainings, options.jobs, progress):
        pass
    for _ in _stage("prepare", partial(prepare, workspace, root), quantizations, options.jobs, progress):
        pass
    for cell, row in _stage("adapt", partial(adapt, workspace, root), open_cells, options.jobs, progress):
        rows[cell] = row
        _write(options, cells, rows)
    return _write(options, cells, rows)


def train(workspace: Workspace, root: Path, job: Training) -> None:
    """Train the source's float network into the workspace."""
    domain = data.load(job.dataset, root, job.source)
    rows, _ = data.split(domain, job.split, job.seed)
    x = domain.x[rows]
    batches = max(1, len(rows) // TRAINING_BATCH)
    net = training.train(
        _network(job, domain),
        Preprocess.of(x).apply(x),
        domain.y[rows],
        epochs=-(-TRAINING_STEPS // batches),
        batch=TRAINING_BATCH,
        seed=job.seed,
    )
    workspace.save_module(asdict(job), net)


def prepare(workspace: Workspace, root: Path, job: Quantization) -> None:
    """Quantize the source's network and put the artifact into the workspace."""
    domain = data.load(job.training.dataset, root, job.training.source)
    rows, held = data.split(domain, job.training.split, job.training.seed)
    prepared = pipeline.prepare(
        workspace.load_module(asdict(job.training), _network(job.training, domain)),
        domain.x[rows],
        domain.y[rows],
        bits=job.bits,
        coreset=job.coreset,
        classes=domain.classes,
        seed=job.training.seed,
        validation=(domain.x[held], domain.y[held]),
    )
    workspace.save_prepared(asdict(job), prepared.artifact, prepared.net)


def adapt(workspace: Workspace, root: Path, job: Cell) -> dict[str, Any]:
    """Stream the target through one way of adapting, and keep the row."""
    about = job.quantization.training
    source, target = data.load(about.dataset, root, about.source), data.load(about.dataset, root, job.target)
    source_train, source_held = data.split(source, about.split, about.seed)
    rows, held = data.split(target, about.split, about.seed)
    stream = data.windows(target.x[rows], target.y[rows], count=WINDOWS, seed=about.seed)
    target_test, source_test = (target.x[held], target.y[held]), (source.x[source_held], source.y[source_held])

    preprocess = Preprocess.of(source.x[source_train])
    float_net = workspace.load_module(asdict(about), _network(about, source))
    settings = asdict(job.quantization)
    deployed = adaptation.Deployed(
        workspace.artifact_path(settings),
        partial(workspace.load_net, settings),
        about.network,
        job.quantization.bits,
        job.steps,
    )
    with adaptation.UPDATERS[job.updater](deployed) as subject:
        source_before, target_before = _accuracy(subject, *source_test), _accuracy(subject, *target_test)
        added = subject.added_bytes(stream[0][0])
        on_target, seconds = [], []
        for x, y in stream:
            start = time.perf_counter()
            subject.observe(x, y)
            seconds.append(time.perf_counter() - start)
            on_target.append(_accuracy(subject, *target_test))
        source_after = _accuracy(subject, *source_test)
    row = {
        "dataset": about.dataset,
        "network": about.network,
        "source": about.source,
        "target": job.target,
        "bits": job.quantization.bits,
        "coreset": job.quantization.coreset,
        "updater": job.updater,
        "seed": about.seed,
        "split": about.split,
        "steps": job.steps,
        "window_samples": len(stream[0][1]),
        "accuracy_float_source": training.accuracy(float_net, preprocess.apply(source_test[0]), source_test[1]),
        "accuracy_float_target": training.accuracy(float_net, preprocess.apply(target_test[0]), target_test[1]),
        "accuracy_source_before": source_before,
        "accuracy_target_before": target_before,
        "accuracy_target": on_target,
        "accuracy_target_mean": float(np.mean(on_target)),
        "accuracy_source_final": source_after,
        "seconds_per_window": float(np.mean(seconds)),
        "bytes_added": added,
    }
    workspace.save_row(asdict(job), row)
    return row


def _cells(options: Options, root: Path) -> list[Cell]:
    _check(options)
    pairs = list(zip(options.source, options.target, strict=True))
    held = data.subjects(options.dataset, root)
    for subject in dict.fromkeys(n for pair in pairs for n in pair):
        if subject not in held:
            raise DataError(f"subject: expected one of {', '.join(map(str, held))} in {root}, got {subject}")
    digests = {n: file_digest(root, options.dataset, n) for n in {n for pair in pairs for n in pair}}
    return [
        Cell(
            Quantization(
                Training(options.dataset, options.network, source, digests[source], options.split, seed),
                bits,
                options.coreset,
            ),
            target,
            digests[target],
            updater,
            adaptation.steps_of(updater, options.steps),
        )
        for source, target in pairs
        for bits in options.bits
        for updater in options.updaters
        for seed in options.seeds
    ]


def _check(options: Options) -> None:
    if len(options.source) != len(options.target):
        raise DataError(
            f"subject pairs: expected as many targets as sources, got {len(options.source)} and {len(options.target)}"
        )
    choices: list[tuple[str, Sequence[object], Sequence[object]]] = [
        ("data set", [options.dataset], list(data.DATASETS)),
        ("network", [options.network], [name for name, (_, rank) in zoo.NETWORKS.items() if rank == 2]),
        ("updater", options.updaters, list(adaptation.UPDATERS)),
        ("bits", options.bits, WEIGHT_BITS),
        ("split", [options.split], data.SPLITS),
    ]
    for what, given, allowed in choices:
        for value in given:
            if value not in allowed:
                raise DataError(f"{what}: expected one of {', '.join(map(str, allowed))}, got {value}")
    empty = [name for name in ("source", "bits", "updaters", "seeds") if not getattr(options, name)]
    if empty:
        raise DataError(f"{empty[0]}: expected at least one, got none")
    smallest = min(options.coreset, 1 if options.steps is None else options.steps)
    if smallest < 1 or options.jobs < 0 or min(options.seeds) < 0:
        raise DataError(
            "coreset, steps, jobs, seeds: expected positive sizes and no negative jobs or seeds, "
            f"got {options.coreset}, {options.steps}, {options.jobs} and {list(options.seeds)}"
        )


def _stage(
    name: str, work: Callable[[Any], Any], jobs: Sequence[Any], processes: int, progress: Progress | None
) -> Any:
    if progress and jobs:
        progress(name, 0, len(jobs))
    for done, finished in enumerate(workers.run(work, jobs, processes), 1):
        if progress:
            progress(name, done, len(jobs))
        yield finished


def _write(options: Options, cells: Sequence[Cell], rows: dict[Cell, dict[str, Any]]) -> dict[str, Any]:
    protocol = {
        "name": "qcore",
        "version": VERSION,
        "dataset": options.dataset,
        "network": options.network,
        "split": options.split,
        "windows": WINDOWS,
        "coreset": options.coreset,
        "coreset_rule": "balanced",
        "seeds": list(options.seeds),
        "complete": len(rows) == len(cells),
    }
    result = {"protocol": protocol, "rows": [rows[cell] for cell in cells if cell in rows]}
    report.write(Path(options.out), result)
    return result


def _network(job: Training, domain: data.Domain) -> nn.Module:
    _, channels, length = domain.x.shape
    return zoo.build(job.network, channels, length, len(domain.classes), job.seed)


def _accuracy(subject: adaptation.Adaptation, x: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    return float((subject.predict(x) == y).mean())


def file_digest(root: Path, dataset: str, subject: int) -> str:
    """SHA-256 of a subject's file: other data, other rows."""
    return hashlib.sha256((root / dataset / f"subject{subject}.npz").read_bytes()).hexdigest()

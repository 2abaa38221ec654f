"""The protocol's run: train, prepare, adapt; each result is kept as it is finished, so that a second run resumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from calibrant import data
from calibrant.bench.harness import workers
from calibrant.bench.harness.sheet import Sheet
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.qcore.jobs import Cell, Counting, Quantization, Training
from calibrant.bench.qcore.network import train
from calibrant.bench.qcore.options import Options, command, plan
from calibrant.bench.qcore.preparation import needs_misses, prepare
from calibrant.bench.qcore.row import adapt
from calibrant.bench.reports import tables
from calibrant.core.progress import Progress

Job = TypeVar("Job", Training | Counting, Quantization, Cell)
Result = TypeVar("Result")


def run(options: Options, progress: Progress | None = None) -> dict[str, Any]:
    """Run the protocol; every finished row is kept in `options.out` at once, and the tables every few seconds.

    Parameters
    ----------
    options : Options
    progress : callable, optional
        Called with (stage, done, total); stages are "train", "prepare" and "adapt".

    Returns
    -------
    dict
        ``{"protocol": {...}, "rows": [...], "failures": [...]}``, also written to ``rows.json`` beside ``table.md`` and
        pictures. A job that raised is named, with one line of reason, among the failures, and its rows are missing; the
        traceback is in ``failures.txt``.

    Raises
    ------
    DataError
        If an option is not available, or the data is missing.
    """
    root = data.folder(options.data)
    sheet = _Sheet(options, plan(options, root))
    workspace = sheet.workspace
    with workers.crew(options.engine, options.jobs) as crew, sheet.kept(options.resume):
        for _ in sheet.stage(crew, "train", partial(train, workspace, root), sheet.trainings(), progress):
            pass
        for _ in sheet.stage(crew, "prepare", partial(prepare, workspace, root), sheet.quantizations(), progress):
            pass
        sheet.fill(crew, "adapt", partial(adapt, workspace, root), sheet.missing(), progress)
    return sheet.result()


class _Sheet(Sheet[Cell]):
    """The rows there are, and the jobs that the missing ones need."""

    def __init__(self, options: Options, cells: Sequence[Cell]) -> None:
        super().__init__("qcore", _about(options, cells), cells, Workspace(Path(options.out)), tables.write)
        self.afresh = not options.resume

    def missing(self) -> list[Cell]:
        """Rows to be made, without those whose artifact could not be."""
        lost = self.failures.keys()

        def needs(cell: Cell) -> set[object]:
            about = cell.quantization.training
            return {cell.quantization, about, Counting(about)}

        return [cell for cell in super().missing() if not needs(cell) & lost]

    def quantizations(self) -> list[Quantization]:
        """Artifacts to be made."""
        wanted = dict.fromkeys(cell.quantization for cell in self.missing())
        return [q for q in wanted if self.afresh or not self.workspace.has_prepared(asdict(q))]

    def trainings(self) -> list[Training | Counting]:
        """Float networks to be trained, with misses where a coreset rule asks for them."""
        jobs = dict[Training, Training | Counting]()
        for q in self.quantizations():
            counting = Counting(q.training)
            if needs_misses(q.rule) and (self.afresh or not self.workspace.has_misses(asdict(counting))):
                jobs[q.training] = counting
            elif self.afresh or not self.workspace.has_module(asdict(q.training)):
                jobs.setdefault(q.training, q.training)
        return list(jobs.values())


def _about(options: Options, cells: Sequence[Cell]) -> dict[str, Any]:
    """What the head of rows.json says of the run."""
    return {
        "command": command(options),
        "dataset": options.dataset,
        "network": options.network,
        "split": options.split,
        "windows": options.window_count,
        "coreset": list(options.coreset),
        "coreset_rule": list(dict.fromkeys(cell.quantization.rule for cell in cells)),
        "seeds": list(options.seeds),
    }

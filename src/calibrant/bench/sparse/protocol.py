"""The protocol's run: every row is kept as it is finished, so that a second run resumes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from calibrant import data
from calibrant.bench import workers
from calibrant.bench.job import Failure
from calibrant.bench.sparse import table
from calibrant.bench.sparse.jobs import Cell
from calibrant.bench.sparse.options import Options, command, plan
from calibrant.bench.sparse.row import train
from calibrant.bench.sparse.search import searched
from calibrant.bench.workspace import Workspace, write_text
from calibrant.core.version import VERSION

Progress = Callable[[str, int, int], None]

WRITE_SECONDS = 5.0  # between two versions of the tables while rows come in


def run(options: Options, progress: Progress | None = None) -> dict[str, Any]:
    """Run the protocol; every finished row is kept in `options.out` at once, and the tables every few seconds.

    Parameters
    ----------
    options : Options
    progress : callable, optional
        Called with (stage, done, total); stages are "contributions" (with `search`) and "train".

    Returns
    -------
    dict
        ``{"protocol": {...}, "rows": [...], "failures": [...]}``, also written to ``rows.json`` beside ``table.md`` and
        pictures. A job that raised is named, with one line of reason, among the failures, and its row is missing; the
        traceback is in ``failures.txt``.

    Raises
    ------
    DataError
        If an option is not available, or the data is missing.
    """
    root, workspace = data.folder(options.data), Workspace(Path(options.out))
    with workers.crew(options.engine, options.jobs) as crew:
        plan(options, root)  # what is wrong is said before the long work of a search
        extra = searched(options, root, workspace, crew, progress) if options.search else []
        sheet = _Sheet(options, plan(options, root, extra), workspace)
        if options.resume:
            sheet.resume()
        missing = sheet.missing()
        if progress and missing:
            progress("train", 0, len(missing))
        try:
            for done, (cell, outcome) in enumerate(crew(partial(train, workspace, root), missing), 1):
                sheet.take(cell, outcome)
                if progress:
                    progress("train", done, len(missing))
        finally:
            if options.resume:
                sheet.resume()  # an interrupt may come between a row and the word of it
            sheet.write()
    return sheet.result()


@dataclass
class _Sheet:
    """The rows there are, and those that are missing."""

    options: Options
    cells: list[Cell]
    workspace: Workspace
    rows: dict[Cell, dict[str, Any]] = field(default_factory=dict)
    failures: dict[Cell, Failure] = field(default_factory=dict)
    written: float = 0.0

    def resume(self) -> None:
        """Take over the rows that the folder has and this run has not."""
        found = ((cell, self.workspace.row(asdict(cell))) for cell in self.missing())
        self.rows |= {cell: row for cell, row in found if row is not None}

    def missing(self) -> list[Cell]:
        """Rows to be made."""
        return [cell for cell in self.cells if cell not in self.rows]

    def take(self, cell: Cell, outcome: dict[str, Any] | Failure) -> None:
        """A row or a failure; the tables follow unless they were written a moment ago."""
        if isinstance(outcome, Failure):
            self.failures[cell] = outcome
        else:
            self.rows[cell] = outcome
        if time.monotonic() > self.written + WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Replace rows.json, table.md, the pictures and failures.txt."""
        table.write(self.workspace.root, self.result())
        if self.failures:
            traces = [f"{cell.title}\n{failure.trace or failure.reason}" for cell, failure in self.failures.items()]
            write_text(self.workspace.root / "failures.txt", "\n".join(traces) + "\n")
        self.written = time.monotonic()

    def result(self) -> dict[str, Any]:
        """What rows.json holds."""
        options, about = self.options, self.cells[0].subject
        protocol = {
            "name": "sparse",
            "version": VERSION,
            "command": command(options),
            "model": options.model,
            "task": options.task,
            "train": about.train,
            "test": about.test,
            "augmented": self.cells[0].augmented,
            "budget": options.budget,
            "seeds": list(options.seeds),
            "rows": len(self.cells),
            "complete": len(self.rows) == len(self.cells),
        }
        failures = [{"job": cell.title, "reason": failure.reason} for cell, failure in self.failures.items()]
        return {
            "protocol": protocol,
            "rows": [self.rows[cell] for cell in self.cells if cell in self.rows],
            "failures": failures,
        }

"""The protocol's run: every row is kept as it is finished, so that a second run resumes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from calibrant import data
from calibrant.bench.harness import workers
from calibrant.bench.harness.sheet import Sheet
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.sparse import table
from calibrant.bench.sparse.jobs import Cell
from calibrant.bench.sparse.options import Options, command, plan
from calibrant.bench.sparse.row import train
from calibrant.bench.sparse.search import searched
from calibrant.core.progress import Progress


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
        cells = plan(options, root, extra)
        sheet = Sheet("sparse", _about(options, cells), cells, workspace, table.write)
        with sheet.kept(options.resume):
            sheet.fill(crew, "train", partial(train, workspace, root), sheet.missing(), progress)
    return sheet.result()


def _about(options: Options, cells: Sequence[Cell]) -> dict[str, Any]:
    """What the head of rows.json says of the run."""
    subject = cells[0].subject
    return {
        "command": command(options),
        "model": options.model,
        "task": options.task,
        "train": subject.train,
        "test": subject.test,
        "augmented": cells[0].augmented,
        "budget": options.budget,
        "seeds": list(options.seeds),
    }

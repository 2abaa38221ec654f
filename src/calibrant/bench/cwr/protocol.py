"""The protocol's run: prepare, learn; every row is kept as it is finished, so that a second run resumes."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from calibrant import data
from calibrant.bench.cwr import table
from calibrant.bench.cwr.jobs import Cell
from calibrant.bench.cwr.network import prepare
from calibrant.bench.cwr.options import Options, check, command, plan
from calibrant.bench.cwr.row import learn
from calibrant.bench.harness import workers
from calibrant.bench.harness.sheet import Sheet
from calibrant.bench.harness.workspace import Workspace
from calibrant.core.progress import Progress


def run(options: Options, progress: Progress | None = None) -> dict[str, Any]:
    """Run the protocol; every finished row is kept in `options.out` at once, and the tables every few seconds.

    Parameters
    ----------
    options : Options
    progress : callable, optional
        Called with (stage, done, total); stages are "prepare" and "learn".

    Returns
    -------
    dict
        ``{"protocol": {...}, "rows": [...], "failures": [...]}``, also written to ``rows.json`` beside ``table.md`` and
        ``accuracy.png``. A job that raised is named, with one line of reason, among the failures, and its rows are
        missing.

    Raises
    ------
    DataError
        If an option is not available, or the data is missing.
    """
    check(options)  # what is asked for before what is there
    root = data.folder(options.data)
    cells, workspace = plan(options, root), Workspace(Path(options.out))
    about = {"command": command(options), "dataset": options.dataset, "seeds": list(options.seeds)}
    sheet = Sheet[Cell]("cwr", about, cells, workspace, table.write)
    with workers.crew(options.engine, options.jobs) as crew, sheet.kept(options.resume):
        wanted = dict.fromkeys(cell.preparation for cell in sheet.missing())
        backbones = [p for p in wanted if not options.resume or not workspace.has_features(asdict(p))]
        for _ in sheet.stage(crew, "prepare", partial(prepare, workspace, root), backbones, progress):
            pass
        ready = [cell for cell in sheet.missing() if cell.preparation not in sheet.failures]
        sheet.fill(crew, "learn", partial(learn, workspace, root), ready, progress)
    return sheet.result()

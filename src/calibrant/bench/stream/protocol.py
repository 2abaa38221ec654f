"""The protocol's run: prepare, stream; every row is kept as it is finished, so that a second run resumes."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from calibrant import data
from calibrant.bench.harness import workers
from calibrant.bench.harness.sheet import Sheet
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.stream import table
from calibrant.bench.stream.families import SYNTHETIC
from calibrant.bench.stream.jobs import Cell
from calibrant.bench.stream.network import prepare
from calibrant.bench.stream.options import Options, check, command, families, plan
from calibrant.bench.stream.row import stream
from calibrant.core.progress import Progress


def run(options: Options, progress: Progress | None = None) -> dict[str, Any]:
    """Run the protocol; every finished row is kept in `options.out` at once, and the tables every few seconds.

    Parameters
    ----------
    options : Options
    progress : callable, optional
        Called with (stage, done, total); stages are "prepare" and "stream".

    Returns
    -------
    dict
        ``{"protocol": {...}, "rows": [...], "failures": [...]}``, also written to ``rows.json`` beside ``table.md``. A
        job that raised is named, with one line of reason, among the failures, and its rows are missing.

    Raises
    ------
    DataError
        If an option is not available, or the data is missing.
    """
    check(options)  # what is asked for before what is there
    root = None if families(options) == (SYNTHETIC,) else data.folder(options.data)
    cells, workspace = plan(options, root), Workspace(Path(options.out))
    about = {"command": command(options), "families": list(families(options)), "seeds": list(options.seeds)}
    sheet = Sheet[Cell]("stream", about, cells, workspace, table.write)
    with workers.crew(options.engine, options.jobs) as crew, sheet.kept(options.resume):
        wanted = dict.fromkeys(cell.preparation for cell in sheet.missing())
        artifacts = [p for p in wanted if not options.resume or not workspace.has_prepared(asdict(p))]
        for _ in sheet.stage(crew, "prepare", partial(prepare, workspace, root), artifacts, progress):
            pass
        ready = [cell for cell in sheet.missing() if cell.preparation not in sheet.failures]
        sheet.fill(crew, "stream", partial(stream, workspace, root), ready, progress)
    return sheet.result()

"""The protocol's run: prepare, stream; every row is kept as it is finished, so that a second run resumes."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from calibrant import data
from calibrant.bench.harness import workers
from calibrant.bench.harness.job import Failure
from calibrant.bench.harness.sheet import Progress, Sheet
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.stream import table
from calibrant.bench.stream.families import SYNTHETIC
from calibrant.bench.stream.jobs import Cell, Preparation
from calibrant.bench.stream.network import prepare
from calibrant.bench.stream.options import Options, check, command, families, plan
from calibrant.bench.stream.row import stream


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
    with workers.crew(options.engine, options.jobs) as crew:
        if options.resume:
            sheet.resume()
        wanted = dict.fromkeys(cell.preparation for cell in sheet.missing())
        artifacts = [p for p in wanted if not options.resume or not workspace.has_prepared(asdict(p))]
        lost = set[Preparation]()
        try:
            for done, (job, outcome) in enumerate(crew(partial(prepare, workspace, root), artifacts), 1):
                if isinstance(outcome, Failure):
                    sheet.failures[job] = outcome
                    lost.add(job)
                if progress:
                    progress("prepare", done, len(artifacts))
            missing = [cell for cell in sheet.missing() if cell.preparation not in lost]
            for done, (cell, made) in enumerate(crew(partial(stream, workspace, root), missing), 1):
                if isinstance(made, Failure):
                    sheet.failures[cell] = made
                else:
                    sheet.rows[cell] = made
                sheet.write(seldom=True)
                if progress:
                    progress("stream", done, len(missing))
        finally:
            if options.resume:
                sheet.resume()  # an interrupt may come between a row and the word of it
            sheet.write()
    return sheet.result()

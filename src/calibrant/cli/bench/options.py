"""What the protocols' commands share: options, spelled and explained once, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli.console import emit, out, progress
from calibrant.core.errors import DataError
from calibrant.core.progress import Progress

RUN = "Run"

Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where rows, table and plots go.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", metavar="FOLDER", help="Data sets.", show_default="$CALIBRANT_DATA")
]
Jobs = Annotated[int, typer.Option("--jobs", min=0, help="Jobs at once; 0: one per usable CPU.", rich_help_panel=RUN)]
Engine = Annotated[
    str,
    typer.Option("--engine", help="local, or ray: this machine or the cluster at RAY_ADDRESS.", rich_help_panel=RUN),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Do not take over what an earlier run left.", rich_help_panel=RUN)]


def conclude(
    run: Callable[[Progress], dict[str, Any]],
    page: Callable[[dict[str, Any]], str],
    json: bool,
    folder: Path,
) -> None:
    """Run a protocol, with its progress shown, and print its page, or its result as JSON.

    Raises
    ------
    DataError
        If jobs failed; names the first. What finished lies in `folder`, and is printed all the same.
    """
    with progress(lines=True) as show:
        result = run(show)
    if json:
        emit(result)
    else:
        for line in page(result).splitlines():
            out.print(line)
    if result["failures"]:
        first, missing = result["failures"][0], result["protocol"]["rows"] - len(result["rows"])
        raise DataError(
            f"{len(result['failures'])} jobs failed, {missing} rows are missing ({folder / 'failures.txt'}); "
            f"the first: {first['job']}: {first['reason']}"
        )

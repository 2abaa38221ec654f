"""Options that the protocols share, spelled and explained once, and how they say that jobs failed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.core.errors import DataError

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


def complain(result: Mapping[str, Any], folder: Path) -> None:
    """Raise DataError if jobs of a protocol failed, naming the first."""
    if result["failures"]:
        first, missing = result["failures"][0], result["protocol"]["rows"] - len(result["rows"])
        raise DataError(
            f"{len(result['failures'])} jobs failed, {missing} rows are missing ({folder / 'failures.txt'}); "
            f"the first: {first['job']}: {first['reason']}"
        )

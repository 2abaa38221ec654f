"""`calibrant bench report`: the results page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibrant.cli.console import out


def report(
    runs: Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="Where each run has its folder.")] = Path(
        "OUT"
    ),
    template: Annotated[Path, typer.Option("--template", metavar="FILE", help="Prose with places for tables.")] = Path(
        "docs/results.template.md"
    ),
    target: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page.")] = Path("docs/results.md"),
    partial: Annotated[bool, typer.Option("--partial", help="Leave a note where a run is not there yet.")] = False,
) -> None:
    """Write the results page from what `calibrant bench` has left, each table with the command that regenerates it.

    Example: calibrant bench report --runs OUT --out docs/results.md
    """
    from calibrant.bench.harness.workspace import write_text
    from calibrant.bench.reports import page

    text = page.page(template.read_text(encoding="utf-8"), runs, partial)
    write_text(target, page.NOTICE.format(template=template.name) + text)
    out.print(f"{target}: {len(text.splitlines())} lines")

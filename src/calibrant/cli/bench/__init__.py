"""`calibrant bench`: published protocols against baselines."""

from __future__ import annotations

import typer

from calibrant.cli.bench.cwr import cwr
from calibrant.cli.bench.qcore import qcore
from calibrant.cli.bench.report import report
from calibrant.cli.bench.sparse import sparse
from calibrant.cli.bench.stream import stream

__all__ = ["bench"]

bench = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Rerun published protocols against baselines.")


@bench.callback()
def _protocols() -> None:
    """Rerun published protocols against baselines; each writes rows.json, table.md and plots."""


for command in (qcore, sparse, stream, cwr, report):
    bench.command()(command)

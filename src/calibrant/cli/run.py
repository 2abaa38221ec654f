"""`calibrant run`: stream windows through a session that predicts, adapts, verifies and commits."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from calibrant.artifact import read
from calibrant.cli import windows
from calibrant.cli.console import emit, fraction, out
from calibrant.cli.options import ArtifactPath, Json, Ram, Storage, Verify
from calibrant.core.records import Budget, UpdateReport

COLUMNS = ("window", "version", "labels", "before", "after", "flips", "ms", "decision")
WIDTHS = (6, 7, 8, 6, 6, 6, 6, 0)


def run(
    artifact: ArtifactPath,
    state: Annotated[
        Path, typer.Option("--state", metavar="STATE", help="State file; made when missing, continued when there.")
    ],
    stream: Annotated[
        Path,
        typer.Option(
            "--stream", metavar="NPZ", help="x [N, ...] or windows x [W, N, ...]; y optional, -1 where unlabeled."
        ),
    ],
    window: Annotated[int, typer.Option("--window", min=1, help="Samples per window, for x [N, ...].")] = 91,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after this many windows.")] = None,
    ram: Ram = None,
    storage: Storage = None,
    variant: Annotated[
        str | None, typer.Option("--variant", help="Kernels to use; `calibrant doctor` lists them. Same results.")
    ] = None,
    verify: Verify = None,
    json: Json = False,
) -> None:
    """Run a stream of windows: predict, adapt, verify, commit. Ctrl-C stops between two versions.

    Accuracy `before` is measured on each window before anything is learned from it, `after` once it is learned.
    With --json, one line per window, flushed as it is done.

    Example: calibrant run har.cal --state har.db --stream windows.npz --window 91
    """
    from calibrant.session import Session

    parts = windows.stream(windows.read(stream), read(artifact, verify=verify), window)
    budget = Budget(ram=ram, storage=storage)
    with Session.open(artifact, state=state, budget=budget, variant=variant, verify=verify) as session:
        if not json:
            _row(*COLUMNS)
        for i, (x, y) in enumerate(itertools.islice(parts, limit)):
            report = session.observe(x, y)
            if json:
                emit({"window": i, "report": report}, indent=None)
            else:
                _row(*_cells(i, report))


def _cells(i: int, report: UpdateReport) -> tuple[str, ...]:
    return (
        str(i),
        str(report.version),
        f"{report.labels}/{report.samples}",
        fraction(report.accuracy_before),
        fraction(report.accuracy_after),
        str(report.flips),
        f"{report.milliseconds:.0f}",
        report.decision if report.decision == "committed" else f"{report.decision}: {report.reason}",
    )


def _row(*cells: str) -> None:
    out.print("  ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)), markup=False)

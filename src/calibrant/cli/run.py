"""`calibrant run`: stream windows through a session that predicts, adapts, verifies and commits."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from numpy.typing import NDArray
from rich.text import Text

from calibrant.artifact import read
from calibrant.cli import windows
from calibrant.cli.console import emit, fraction, out, visible
from calibrant.cli.options import ArtifactPath, Json, Ram, Seed, Storage, Verify
from calibrant.core import files
from calibrant.core.errors import DataError
from calibrant.core.reports import UpdateReport
from calibrant.core.settings import Budget
from calibrant.core.task import check_labels
from calibrant.core.window import keep_labels

if TYPE_CHECKING:
    from calibrant.session import Session

Windows = Iterable[tuple[NDArray[Any], NDArray[Any] | None]]

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
    labels: Annotated[
        float, typer.Option("--labels", min=0.0, max=1.0, help="Use only this fraction of the labels, drawn by --seed.")
    ] = 1.0,
    delay: Annotated[
        int, typer.Option("--delay", min=0, help="Labels come this many windows late; windows wait in the state.")
    ] = 0,
    capacity: Annotated[
        int | None, typer.Option("--capacity", min=1, help="Samples to keep; at least 200 without a budget.")
    ] = None,
    upkeep: Annotated[bool, typer.Option("--upkeep/--no-upkeep", help="Keep labeled samples in the coreset.")] = True,
    seed: Seed = 0,
    ram: Ram = None,
    storage: Storage = None,
    private: Annotated[
        bool,
        typer.Option("--private/--no-private", help="A new state is its owner's alone, or as umask says."),
    ] = True,
    variant: Annotated[
        str | None, typer.Option("--variant", help="Kernels to use; `calibrant doctor` lists them. Same results.")
    ] = None,
    verify: Verify = None,
    json: Json = False,
) -> None:
    """Run a stream of windows: predict, adapt, verify, commit. Ctrl-C stops between two versions.

    Accuracy `before` is measured on each window before anything is learned from it, `after` once it is learned.
    With --json, one line per window, flushed as it is done. With --delay a line says when its labels had come.

    Example: calibrant run har.cal --state har.db --stream windows.npz --window 91
    """
    from calibrant.memory.samples import MAX_DEFERRED
    from calibrant.session import Session

    if delay >= MAX_DEFERRED:
        raise DataError(f"--delay: expected fewer than {MAX_DEFERRED} windows, as a state lets wait, got {delay}")
    held = read(artifact, verify=verify)
    samples = windows.read(stream, ram)
    if labels < 1 or delay:
        samples = _labeled(samples, held.meaning.labels, labels, seed)
    parts = itertools.islice(windows.stream(samples, held, window), limit)
    if not private and state.parent.is_dir() and not state.exists() and not state.is_symlink():
        files.create(state, files.PUBLIC)
    with Session.open(
        artifact,
        state=state,
        budget=Budget(ram=ram, storage=storage),
        variant=variant,
        verify=verify,
        capacity=capacity,
        upkeep=upkeep,
    ) as session:
        if not json:
            _row(*COLUMNS)
        for i, report in enumerate(_late(session, parts, delay) if delay else _at_once(session, parts)):
            if json:
                emit({"window": i, "report": report}, indent=None)
            else:
                _row(*_cells(i, report))
                for alert in report.alerts:
                    out.print(Text(f"      {visible(alert.code)}: ", "bold yellow"), end="")
                    out.print(alert.text)


def _labeled(samples: windows.Samples, count: int, fraction: float, seed: int) -> windows.Samples:
    """The samples with a fraction of their labels."""
    if samples.y is None:
        raise DataError("--labels and --delay: expected labels 'y' in the stream, got none")
    y = check_labels(samples.y.reshape(-1), samples.y.size, count)
    return replace(samples, y=keep_labels(y, fraction, seed).reshape(samples.y.shape))


def _at_once(session: Session, parts: Windows) -> Iterator[UpdateReport]:
    return (session.observe(x, y) for x, y in parts)


def _late(session: Session, parts: Windows, delay: int) -> Iterator[UpdateReport]:
    """Label each window `delay` windows after it came; the last ones at the end."""
    waiting: deque[tuple[int, NDArray[Any] | None]] = deque()
    for x, y in parts:
        waiting.append((session.defer(x), y))
        if len(waiting) > delay:
            yield session.label(*waiting.popleft())
    while waiting:
        yield session.label(*waiting.popleft())


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
    out.print("  ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)))

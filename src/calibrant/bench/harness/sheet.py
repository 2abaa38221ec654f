"""The rows of a protocol: those there are, those that are missing, and the tables that are written as they come in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from calibrant.bench.harness.job import Failure, Result, Run
from calibrant.bench.harness.workspace import Workspace, write_text
from calibrant.core.progress import Progress
from calibrant.core.version import VERSION

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WRITE_SECONDS = 5.0  # between two versions of the tables while rows come in


class Titled(Protocol):
    """A job as reports have it."""

    @property
    def title(self) -> str:
        """A few words."""


if TYPE_CHECKING:

    class Settings(Titled, DataclassInstance, Protocol):
        """What a row is made of."""


T = TypeVar("T", bound=Titled)
C = TypeVar("C", bound="Settings")


@dataclass
class Sheet(Generic[C]):
    """Rows by their settings. Finished ones lie in the workspace, so that a second run takes them over.

    Parameters
    ----------
    name : str
        Of the protocol.
    about : Mapping
        What else the head of ``rows.json`` says, such as the command.
    cells : Sequence
        The settings of all rows, frozen dataclasses, in the order of the tables.
    workspace : Workspace
    render : callable
        Replaces the tables and pictures in a folder by those of :meth:`result`.
    """

    name: str
    about: Mapping[str, Any]
    cells: Sequence[C]
    workspace: Workspace
    render: Callable[[Path, Mapping[str, Any]], None]
    rows: dict[C, dict[str, Any]] = field(default_factory=dict)
    failures: dict[Titled, Failure] = field(default_factory=dict)
    written: float = 0.0

    def resume(self) -> None:
        """Take over the rows that the workspace has and this run has not."""
        found = ((cell, self.workspace.row(asdict(cell))) for cell in self.cells if cell not in self.rows)
        self.rows |= {cell: row for cell, row in found if row is not None}

    def missing(self) -> list[C]:
        """Rows to be made."""
        return [cell for cell in self.cells if cell not in self.rows]

    @contextmanager
    def kept(self, resume: bool) -> Iterator[None]:
        """While rows are made. With `resume` those that the workspace has are taken over first; however it ends, an
        interrupt included, what is finished is written."""
        if resume:
            self.resume()
        try:
            yield
        finally:
            if resume:
                self.resume()  # an interrupt may come between a row and the word of it
            self.write()

    def stage(
        self,
        crew: Run,
        name: str,
        work: Callable[[T], Result],
        jobs: Sequence[T],
        progress: Progress | None,
    ) -> Iterator[tuple[T, Result]]:
        """Do the jobs, yield those that gave a result, note those that failed."""
        if progress and jobs:
            progress(name, 0, len(jobs))
        for done, (job, outcome) in enumerate(crew(work, jobs), 1):
            if isinstance(outcome, Failure):
                self.failures[job] = outcome
            else:
                yield job, outcome
            if progress:
                progress(name, done, len(jobs))

    def fill(
        self, crew: Run, name: str, work: Callable[[C], dict[str, Any]], cells: Sequence[C], progress: Progress | None
    ) -> None:
        """Make rows; the tables follow every few seconds."""
        for cell, row in self.stage(crew, name, work, cells, progress):
            self.rows[cell] = row
            self.write(seldom=True)

    def write(self, seldom: bool = False) -> None:
        """Replace rows.json, table.md, the pictures and failures.txt; `seldom`: unless it was done a moment ago."""
        if seldom and time.monotonic() < self.written + WRITE_SECONDS:
            return
        self.render(self.workspace.root, self.result())
        if self.failures:
            traces = [f"{job.title}\n{failure.trace or failure.reason}" for job, failure in self.failures.items()]
            write_text(self.workspace.root / "failures.txt", "\n".join(traces) + "\n")
        self.written = time.monotonic()

    def result(self) -> dict[str, Any]:
        """What rows.json holds: ``{"protocol": {...}, "rows": [...], "failures": [...]}``."""
        counts = {"rows": len(self.cells), "complete": len(self.rows) == len(self.cells)}
        return {
            "protocol": {"name": self.name, "version": VERSION, **self.about, **counts},
            "rows": [self.rows[cell] for cell in self.cells if cell in self.rows],
            "failures": [{"job": job.title, "reason": failure.reason} for job, failure in self.failures.items()],
        }

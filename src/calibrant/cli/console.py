"""Output shared by the commands: results on stdout, progress and remarks on stderr, JSON for machines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Report = Callable[[str, int, int], None]


@contextmanager
def progress() -> Iterator[Report]:
    """Give a callback (stage, done, total) that draws one bar per stage on a terminal and nothing elsewhere."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def table(*columns: str, title: str | None = None, left: int = 1) -> Table:
    """A quiet table: the first `left` columns are text, the others are numbers set to the right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    made.show_header = any(columns)
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i < left else "right", overflow="fold")
    return made


def plain(value: object) -> Any:
    """A value as JSON has it: records become objects, arrays become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def emit(value: object, *, indent: int | None = 2) -> None:
    """Print one JSON value on stdout and flush, so that a reader at the other end of a pipe sees it now."""
    print(json.dumps(plain(value), indent=indent, allow_nan=False), flush=True)


def size(count: int) -> str:
    """Bytes for people.

    Examples
    --------
    >>> size(812), size(45_000), size(3_200_000)
    ('812 B', '45.0 kB', '3.2 MB')
    """
    for unit, factor in (("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def fraction(value: float | None) -> str:
    """An accuracy for people, a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"

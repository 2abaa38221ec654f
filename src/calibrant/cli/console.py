"""Output shared by the commands: results on stdout, progress and remarks on stderr, JSON for machines."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from calibrant.core.progress import Progress as Report


class Plain(Console):
    """A console to which every string is data: no markup, no emoji, no control characters, no links, nothing that the
    terminal cannot show. What is to have a style is a `rich.text.Text`.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def render_str(self, text: str, **options: Any) -> Text:
        """All strings that rich prints or puts into a table come through here."""
        return super().render_str(visible(text, self.encoding), **options)


def visible(text: str, encoding: str = "utf-8") -> str:
    """One line of text that means nothing to a terminal: what is not printable in its encoding is escaped.

    Examples
    --------
    >>> visible("Gehen\\x1b[2J\\u202e"), visible("größer", "ascii")
    ('Gehen\\\\x1b[2J\\\\u202e', 'gr\\\\xf6\\\\xdfer')
    """
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)


out, err = Plain(), Plain(stderr=True)


LINE_SECONDS = 30.0
RECENT_SECONDS = 1800.0  # what the time left is estimated from: one row of a benchmark may take minutes


@contextmanager
def progress(lines: bool = False) -> Iterator[Report]:
    """Give a callback (stage, done, total) that draws one bar per stage on a terminal, with the time that is left.

    Elsewhere it prints nothing, or with `lines` a line at the end of a stage and now and then before.
    """
    columns = (
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    on_terminal = err.is_terminal
    with Progress(*columns, console=err, disable=not on_terminal, speed_estimate_period=RECENT_SECONDS) as bars:
        tasks: dict[str, TaskID] = {}
        started: dict[str, float] = {}
        said = time.monotonic()

        def report(stage: str, done: int, total: int) -> None:
            nonlocal said
            now = time.monotonic()
            if stage not in tasks:
                tasks[stage], started[stage] = bars.add_task(stage, total=total), now
            bars.update(tasks[stage], completed=done, total=total)
            if lines and not on_terminal and done and (done == total or now - said > LINE_SECONDS):
                said, passed = now, now - started[stage]
                left = f", about {clock(passed * (total - done) / done)} left" if done < total else ""
                err.print(f"{stage} {done}/{total} in {clock(passed)}{left}")

        yield report


def clock(seconds: float) -> str:
    """A duration for people.

    Examples
    --------
    >>> clock(5), clock(3725)
    ('0:05', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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

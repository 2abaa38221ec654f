"""A session with its parts in hand, for tests that look at what the engine or the state really holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calibrant.session import Session
from calibrant.session.wiring import Options, Parts, assemble


@contextmanager
def opened(path: Path | str, state: Path | str | None = None, **options: Any) -> Iterator[tuple[Session, Parts]]:
    """As `Session.open`, which makes its session of these parts."""
    parts = assemble(path, Options(state=state, **options))
    with Session(parts) as session:
        yield session, parts

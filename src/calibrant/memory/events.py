"""Rows of the state that say what happened when. They are for people: nothing is decided by them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from calibrant.core.errors import StateError
from calibrant.core.limits import LIMITS

MAX_EVENTS = LIMITS["events"].most  # the newest are kept


@dataclass(frozen=True)
class Event:
    """Something that happened: a commit, a rejected, skipped or deferred window, a rollback, samples forgotten."""

    created: str
    kind: str
    version: int
    detail: Mapping[str, Any]


def read(connection: sqlite3.Connection, name: str) -> tuple[Event, ...]:
    """All, oldest first."""
    rows = connection.execute("SELECT created, kind, version, detail FROM event ORDER BY id").fetchall()
    return tuple(Event(created, kind, version, json_of(detail, name)) for created, kind, version, detail in rows)


def write(connection: sqlite3.Connection, kind: str, version: int, detail: Mapping[str, Any]) -> None:
    """One more; the oldest goes when there are too many. Call it in a transaction."""
    row = (now(), kind, version, json.dumps(detail, sort_keys=True))
    connection.execute("INSERT INTO event (created, kind, version, detail) VALUES (?, ?, ?, ?)", row)
    connection.execute("DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?", (MAX_EVENTS,))


def json_of(text: Any, name: str) -> dict[str, Any]:
    """A JSON object from a text column; StateError that begins with `name`, the file, for anything else."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (TypeError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise StateError(f"{name}: expected a JSON object, got {text!r:.40} (state is damaged)")
    return value


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def now() -> str:
    """The time as rows have it, UTC in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")

"""Records: JSON files of one key a line, and how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

Row = tuple[str, str]
ABSENT = "nothing"


class UnavailableError(Exception):
    """A part that cannot be run here, with the reason."""


def read(path: Path) -> dict[str, str]:
    """A record; empty where there is none yet."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def write(path: Path, rows: Mapping[str, str]) -> None:
    """Sorted, so that a change of the record reads as a change."""
    path.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def gathered(rows: Iterable[Row]) -> dict[str, str]:
    """Rows as a record; a key that comes twice would hide a difference."""
    held: dict[str, str] = {}
    for key, value in rows:
        if key in held:
            raise ValueError(f"key {key!r}: expected once, got it twice")
        held[key] = value
    return held


def under(recorded: Mapping[str, str], part: str) -> dict[str, str]:
    """The rows of one part."""
    return {key: value for key, value in recorded.items() if key.startswith(f"{part}/")}


def differences(recorded: Mapping[str, str], got: Mapping[str, str]) -> list[str]:
    """A line for each key that is not equal in both."""
    return [
        f"{key}: recorded {recorded.get(key, ABSENT)}, got {got.get(key, ABSENT)}"
        for key in sorted(recorded.keys() | got.keys())
        if recorded.get(key) != got.get(key)
    ]

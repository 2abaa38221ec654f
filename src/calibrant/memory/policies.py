"""Rows of the state that policies go on from: what decides, one row a policy, replaced with every window.

A row says under which version it was written. What a policy says of itself is plain JSON values; the row holds them
compressed, since counts and statistics repeat themselves.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calibrant.core.errors import StateError

_MAX_BYTES = 2**24  # no policy remembers so much; stops a damaged file from asking for all memory


@dataclass(frozen=True)
class Memory:
    """What a policy said of itself, and the version then in force."""

    version: int
    value: Any


def read(connection: sqlite3.Connection, name: str) -> dict[str, Memory]:
    """All rows by policy.

    Raises
    ------
    StateError
        A row is damaged; begins with `name`, the file.
    """
    rows = connection.execute("SELECT name, version, payload FROM policy").fetchall()
    return {
        policy: Memory(version, _unpack(payload, f"{name}: policy {policy!r:.40}")) for policy, version, payload in rows
    }


def write(connection: sqlite3.Connection, memories: Mapping[str, Any], version: int) -> None:
    """Replace rows, those that change; call it in a transaction."""
    for policy, value in sorted(memories.items()):
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
        row = (policy, version, zlib.compress(text.encode(), 6))
        held = connection.execute("SELECT name, version, payload FROM policy WHERE name = ?", row[:1]).fetchone()
        if held != row:
            connection.execute("INSERT OR REPLACE INTO policy VALUES (?, ?, ?)", row)


def clear(connection: sqlite3.Connection) -> None:
    """Delete all rows; call it in a transaction."""
    connection.execute("DELETE FROM policy")


def _unpack(payload: Any, where: str) -> Any:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(payload, _MAX_BYTES)
        whole = unpacker.eof and not unpacker.unused_data
        return json.loads(text) if whole else _refuse(where)
    except (TypeError, ValueError, RecursionError, zlib.error):
        return _refuse(where)


def _refuse(where: str) -> Any:
    raise StateError(f"{where}: expected what it said of itself, got other bytes (state is damaged)")

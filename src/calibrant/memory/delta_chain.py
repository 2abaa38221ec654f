"""Rows of the state that hold deltas: each version's, on top of its origin's. Read as untrusted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from calibrant.core.errors import StateError
from calibrant.memory import database
from calibrant.memory.delta import Delta, join, pack, unpack

MAX_CHAIN = 32  # deltas replayed at most to restore a version


def read(connection: sqlite3.Connection, name: str, number: int) -> list[Delta]:
    """Deltas to apply to version 0, in order, to get version `number`.

    Raises
    ------
    StateError
        A row is missing, is not a delta, or leads nowhere; begins with `name`, the file.
    """
    deltas: list[Delta] = []
    while number != 0:
        with database.failures(name):
            row = connection.execute("SELECT origin, payload FROM delta WHERE version = ?", (number,)).fetchone()
        where = f"{name}: delta of version {number}"
        if row is None or not isinstance(row[0], int) or not isinstance(row[1], bytes):
            raise StateError(f"{where}: expected a row, got none (state is damaged)")
        origin, payload = row
        if not 0 <= origin < number or len(deltas) > MAX_CHAIN:
            raise StateError(f"{where}: expected an earlier origin, got {origin} (state is damaged)")
        deltas.append(unpack(payload, where))
        number = origin
    return deltas[::-1]


def extend(connection: sqlite3.Connection, number: int, before: Sequence[Delta], delta: Delta) -> None:
    """Write the delta of version `number` to the one before it, which `before` leads to; a long chain starts anew."""
    if len(before) >= MAX_CHAIN:
        _write(connection, number, 0, pack(join([*before, delta])))
    else:
        _write(connection, number, number - 1, pack(delta))


def repeat(connection: sqlite3.Connection, number: int, to: int) -> None:
    """Give version `number` the origin and the delta of version `to`."""
    found = connection.execute("SELECT origin, payload FROM delta WHERE version = ?", (to,)).fetchone()
    origin, payload = (0, pack(join([]))) if found is None else found
    _write(connection, number, origin, payload)


def _write(connection: sqlite3.Connection, number: int, origin: int, payload: bytes) -> None:
    connection.execute("INSERT INTO delta VALUES (?, ?, ?)", (number, origin, payload))

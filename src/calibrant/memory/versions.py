"""Rows of the state that are versions: each is its origin plus a delta, named by the hash of its parameters."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from calibrant.core.errors import StateError
from calibrant.core.parameters import Parameters
from calibrant.core.reports import Version
from calibrant.memory import database, delta_chain
from calibrant.memory.delta import apply
from calibrant.memory.events import json_of

_COLUMNS = "number, parent, created, updater, decision, flips, weights_sha256, vouched, metrics"


def read(connection: sqlite3.Connection, name: str) -> list[Version]:
    """All, oldest first."""
    return _select(connection, name, "ORDER BY number")


def head(connection: sqlite3.Connection, name: str) -> Version:
    """The latest: the one in force."""
    found = _select(connection, name, "ORDER BY number DESC LIMIT 1")
    if not found:
        raise StateError(f"{name}: expected a version, got none (state is damaged)")
    return found[0]


def find(connection: sqlite3.Connection, name: str, number: int) -> Version:
    """One version; StateError with the range that exists if it is not there."""
    found = _select(connection, name, "WHERE number = ?", number) if 0 <= number < 2**63 else []
    if not found:
        raise StateError(f"{name}: expected a version from 0 to {head(connection, name).number}, got {number}")
    return found[0]


def vouched(connection: sqlite3.Connection, name: str) -> Version:
    """The latest version that labels, or someone who rolled back to it, vouch for; StateError if there is none."""
    found = _select(connection, name, "WHERE vouched = 1 ORDER BY number DESC LIMIT 1")
    if not found:
        raise StateError(f"{name}: expected a version that labels vouch for, got none (state is damaged)")
    return found[0]


def insert(connection: sqlite3.Connection, version: Version) -> None:
    """One more row; call it in a transaction."""
    values = (
        version.number,
        version.parent,
        version.created,
        version.updater,
        version.decision,
        version.flips,
        version.weights_sha256,
        int(version.vouched),
        json.dumps(version.metrics, sort_keys=True),
    )
    connection.execute(f"INSERT INTO version ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)


def parameters(connection: sqlite3.Connection, name: str, number: int, base: Parameters) -> Parameters:
    """Parameters of a version, replayed from the artifact's own and checked against the version's hash.

    Raises
    ------
    StateError
        No such version, or the state is damaged.
    """
    version = find(connection, name, number)
    result = base
    for delta in delta_chain.read(connection, name, number):
        result = apply(delta, result)
    if not result.named(version.weights_sha256):
        raise StateError(
            f"{name}: version {number}: expected parameters with SHA-256 {version.weights_sha256[:16]}..., "
            f"got {result.sha256[:16]}... (state is damaged)"
        )
    return result


def _select(connection: sqlite3.Connection, name: str, clause: str, *values: int) -> list[Version]:
    with database.failures(name):
        rows = connection.execute(f"SELECT {_COLUMNS} FROM version {clause}", values).fetchall()
    return [_version(row, name) for row in rows]


def _version(row: tuple[Any, ...], name: str) -> Version:
    number, parent, created, updater, decision, flips, sha256, trusted, metrics = row
    counts, texts = (number, 0 if parent is None else parent, flips, trusted), (created, updater, decision, sha256)
    if not all(type(n) is int and n >= 0 for n in counts) or not all(type(text) is str for text in texts):
        raise StateError(f"{name}: version {number!r:.40}: expected counts and texts, got others (state is damaged)")
    told = json_of(metrics, name)
    return Version(number, parent, created, updater, decision, flips, sha256, told, bool(trusted))

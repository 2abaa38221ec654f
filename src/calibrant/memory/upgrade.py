"""States of earlier releases become today's, in one transaction: killed in the middle, they are as they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from calibrant.memory import database, policies
from calibrant.memory.events import json_of


def upgrade(connection: sqlite3.Connection, name: str) -> None:
    """Give an older state what it lacks, release by release; call it in a transaction.

    Raises
    ------
    StateError
        The state is damaged; begins with `name`, the file.
    """
    for version in range(database.version_of(connection), database.SCHEMA_VERSION):
        _STEPS[version](connection, name)
    connection.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION}")


def _add_samples(connection: sqlite3.Connection, name: str) -> None:
    for statement in database.SAMPLES.split(";"):
        connection.execute(statement)


def _add_policies(connection: sqlite3.Connection, name: str) -> None:
    """The gate's memory stood in events and metrics, and who vouches for a version followed from its labels."""
    for statement in database.POLICIES.split(";"):
        connection.execute(statement)
    connection.execute("ALTER TABLE version ADD COLUMN vouched INTEGER NOT NULL DEFAULT 1")
    rows = connection.execute("SELECT number, decision, metrics FROM version ORDER BY number").fetchall()
    metrics = {number: json_of(text, name) for number, _, text in rows}
    guessed = [(n,) for n, decision, _ in rows if decision == "committed" and metrics[n].get("labels") == 0]
    connection.executemany("UPDATE version SET vouched = 0 WHERE number = ?", guessed)
    if not rows:
        return
    head = rows[-1][0]
    details = connection.execute("SELECT detail FROM event WHERE version = ? ORDER BY id DESC", (head,)).fetchall()
    told = (detail["gate"] for detail in (json_of(text, name) for (text,) in details) if "gate" in detail)
    memory = next(told, metrics[head].get("gate"))
    if isinstance(memory, Mapping):
        policies.write(connection, _gate_memory(memory), head)


def _gate_memory(memory: Mapping[str, Any]) -> dict[str, Any]:
    """What a gate said of itself, and apart from it the count of labels that speak for an earlier version, its home."""
    counts = {key: value for key, value in memory.items() if isinstance(value, Mapping) and "home" in value}
    gate = {key: value for key, value in memory.items() if key not in counts}
    return {"gate": gate, **({"regret": next(iter(counts.values()))} if counts else {})}


_STEPS: Mapping[int, Callable[[sqlite3.Connection, str], None]] = {1: _add_samples, 2: _add_policies}

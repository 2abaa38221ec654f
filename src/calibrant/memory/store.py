"""The device's mutable state: every version of the weights, what happened when, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import BudgetError, StateError
from calibrant.core.reports import Version
from calibrant.core.statistics import Coreset
from calibrant.memory import database, delta_chain, samples
from calibrant.memory.delta import Delta, apply, join, negative, weights_sha256
from calibrant.memory.replay import ReplayBuffer

MAX_EVENTS = 1000  # the newest are kept
_COLUMNS = "number, parent, created, updater, decision, flips, weights_sha256, metrics"


@dataclass(frozen=True)
class Event:
    """Something that happened: a commit, a rejected, skipped or deferred window, a rollback, samples forgotten."""

    created: str
    kind: str
    version: int
    detail: Mapping[str, Any]


class Store:
    """Versions of one artifact's weights, and the samples to learn from.

    Version 0 is the artifact itself; a version is its origin plus a delta. A delta is relative to the version before,
    because steps are small and flash wears; every 32 steps it is relative to version 0 instead, so restoring replays at
    most 32 deltas however long the history. A rollback is a new version with the same content as an old one: it repeats
    that one's origin and delta, and its `parent` is the version it points back to. The coreset has no versions: a label
    stays true whatever the weights are. One transaction writes version, delta, coreset and event; power loss leaves all
    of it or nothing.

    Parameters
    ----------
    connection : sqlite3.Connection
        From `database.connect`; use :meth:`open`.
    name : str
        The file, for messages.
    storage : int, optional
        Budget in bytes for the database file.
    """

    def __init__(self, connection: sqlite3.Connection, name: str, storage: int | None = None) -> None:
        self._connection, self._name, self._storage = connection, name, storage
        self._coreset = ""  # digest of the coreset that this store's user knows

    @classmethod
    def open(
        cls,
        path: Path | str | None,
        *,
        artifact: str | None = None,
        base_sha256: str | None = None,
        create: bool = False,
        storage: int | None = None,
    ) -> Self:
        """Open a state.

        Parameters
        ----------
        path : Path or str, optional
            None keeps the state in memory.
        artifact : str, optional
            Content hash of the artifact (`artifact.content_hash`): a state of another one is refused.
        base_sha256 : str, optional
            Hash of the artifact's weights, needed to create a state.
        create : bool
            Make the file if it is missing (never its folder).
        storage : int, optional
            Limit in bytes.

        Raises
        ------
        StateError
            Missing, foreign, newer, damaged, in use, or of another artifact.

        Examples
        --------
        >>> store = Store.open(None, artifact="a" * 64, base_sha256="b" * 64, create=True)
        >>> [(v.number, v.decision) for v in store.versions()]
        [(0, 'base')]
        >>> store.close()
        """
        place = None if path is None else Path(path)
        store = cls(database.connect(place, create), ":memory:" if place is None else str(place), storage)
        try:
            store._prepare(artifact, base_sha256 if create else None)
        except BaseException:
            store.close()
            raise
        return store

    def versions(self) -> tuple[Version, ...]:
        """All versions, oldest first."""
        with database.failures(self._name):
            rows = self._connection.execute(f"SELECT {_COLUMNS} FROM version ORDER BY number").fetchall()
        return tuple(self._version_of(row) for row in rows)

    def head(self) -> Version:
        """The latest version: the one in force."""
        return self._versions_where("ORDER BY number DESC LIMIT 1")[0]

    def version(self, number: int) -> Version:
        """One version; StateError with the range that exists if it is not there."""
        found = self._versions_where("WHERE number = ?", number) if 0 <= number < 2**63 else []
        if not found:
            raise StateError(f"{self._name}: expected a version from 0 to {self.head().number}, got {number}")
        return found[0]

    def events(self) -> tuple[Event, ...]:
        """What happened, oldest first; at most the newest 1000."""
        with database.failures(self._name):
            rows = self._connection.execute("SELECT created, kind, version, detail FROM event ORDER BY id").fetchall()
        return tuple(Event(created, kind, version, self._json(detail)) for created, kind, version, detail in rows)

    def commit(
        self,
        delta: Delta,
        *,
        parent: int,
        sha256: str,
        updater: str,
        decision: str = "committed",
        metrics: Mapping[str, Any] | None = None,
        coreset: ReplayBuffer | None = None,
        ticket: int | None = None,
    ) -> Version:
        """Write one version, its delta, an event and the coreset in one transaction.

        Parameters
        ----------
        delta : Delta
            Relative to `parent`.
        parent : int
            Must be the head: another process may have committed meanwhile.
        sha256 : str
            `delta.weights_sha256` of the new parameters.
        updater, decision : str
        metrics : mapping, optional
            JSON for people.
        coreset : ReplayBuffer, optional
            What to learn from from now on.
        ticket : int, optional
            Of the deferred window that taught this; it is deleted.

        Raises
        ------
        StateError
            Disk full, file in use, or `parent` or the coreset last read are no longer the latest. Nothing was written.
        BudgetError
            The state would exceed its storage budget. Nothing was written.
        """
        with database.transaction(self._connection, self._name):
            self._check_head(parent)
            digest = self._write_samples(coreset, ticket)
            before = delta_chain.read(self._connection, self._name, parent)
            version = Version(
                parent + 1, parent, _now(), updater, decision, int(delta.weight_index.size), sha256, dict(metrics or {})
            )
            self._insert(version)
            delta_chain.extend(self._connection, version.number, before, delta)
            self._write_event(decision, version.number, {"flips": version.flips})
            self._check_storage()
        self._coreset = digest
        return version

    def rollback(self, to: int, facts: Mapping[str, Any] | None = None, ticket: int | None = None) -> Version:
        """Write a new version with the content of version `to`; `flips` counts the weights it changes.

        `facts` join its metrics; a deferred window, by its `ticket`, is done.
        """
        with database.transaction(self._connection, self._name):
            self._write_samples(None, ticket)
            target, head = self.version(to), self.head()
            there, here = (delta_chain.read(self._connection, self._name, number) for number in (to, head.number))
            flips = int(join([*there, *map(negative, here)]).weight_index.size)
            version = Version(
                number=head.number + 1,
                parent=to,
                created=_now(),
                updater="rollback",
                decision="rolled back",
                flips=flips,
                weights_sha256=target.weights_sha256,
                metrics={"to": to, **(facts or {})},
            )
            self._insert(version)
            delta_chain.repeat(self._connection, version.number, to)
            self._write_event(version.decision, version.number, {"from": head.number, "to": to})
            self._check_storage()
        return version

    def record(
        self, kind: str, detail: Mapping[str, Any], coreset: ReplayBuffer | None = None, ticket: int | None = None
    ) -> None:
        """Write an event that makes no version: a rejected or skipped window; coreset and ticket as for `commit`."""
        with database.transaction(self._connection, self._name):
            digest = self._write_samples(coreset, ticket)
            self._write_event(kind, self.head().number, detail)
            self._check_storage()
        self._coreset = digest

    def coreset(self, base: Coreset, classes: int) -> ReplayBuffer:
        """The samples to learn from: those of `base`, the artifact's coreset, until they are redrawn.

        Raises
        ------
        StateError
            The state is damaged, or belongs to an artifact with another coreset.
        """
        with database.failures(self._name):
            digest = samples.stored_digest(self._connection)
            pool = samples.read(self._connection, self._name, base, classes)
        self._coreset = digest
        return pool

    def defer(self, codes: NDArray[np.int8]) -> int:
        """Keep a window int8[n, height, width, channels] until its labels come; the oldest goes when too many wait."""
        with database.transaction(self._connection, self._name):
            ticket, dropped = samples.defer(self._connection, codes, _now())
            detail = {"ticket": ticket, "samples": len(codes), "dropped": dropped}
            self._write_event("deferred", self.head().number, detail)
            self._check_storage()
        return ticket

    def deferred(self, ticket: int, shape: samples.Shape) -> NDArray[np.int8]:
        """The window of a ticket; StateError if it is unknown, was labeled, had to go, or is damaged."""
        with database.failures(self._name):
            return samples.deferred(self._connection, self._name, ticket, shape)

    def forget(self) -> int:
        """Delete all samples of the stream, and their bytes from the file; how many there were.

        Raises
        ------
        StateError
            The bytes could not be overwritten; the samples are deleted all the same.
        """
        with database.transaction(self._connection, self._name):
            count, windows = samples.clear(self._connection)
            self._write_event("forgot", self.head().number, {"samples": count, "windows": windows})
        self._coreset = ""
        database.overwrite_freed(self._connection, self._name)
        return count

    def weights_at(
        self, number: int, base_weights: NDArray[np.int8], base_bias: NDArray[np.int32]
    ) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
        """Parameters of a version, replayed from the artifact's own and checked against the version's hash.

        Raises
        ------
        StateError
            No such version, or the state is damaged.
        """
        version = self.version(number)
        weights, bias = base_weights.copy(), base_bias.copy()
        for delta in delta_chain.read(self._connection, self._name, number):
            weights, bias = apply(delta, weights, bias)
        got = weights_sha256(weights, bias)
        if got != version.weights_sha256:
            raise StateError(
                f"{self._name}: version {number}: expected weights with SHA-256 {version.weights_sha256[:16]}..., "
                f"got {got[:16]}... (state is damaged)"
            )
        return weights, bias

    def nbytes(self) -> int:
        """Size of the database in bytes."""
        with database.failures(self._name):
            (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
            (page,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int(pages * page)

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, artifact: str | None, base_sha256: str | None) -> None:
        with database.failures(self._name):
            empty = database.is_empty(self._connection)
        if empty:
            if artifact is None or base_sha256 is None:
                raise StateError(f"{self._name}: expected a Calibrant state, got an empty file")
            with database.transaction(self._connection, self._name):
                if database.is_empty(self._connection):  # another process may have been first
                    database.create_schema(self._connection)
                    self._connection.execute("INSERT INTO meta VALUES ('artifact', ?)", (artifact,))
                    self._insert(Version(0, None, _now(), "none", "base", 0, base_sha256))
                    self._check_storage()
        elif database.is_older(self._connection):
            with database.transaction(self._connection, self._name):
                if database.is_older(self._connection):
                    database.upgrade(self._connection)
        with database.failures(self._name):
            found = self._connection.execute("SELECT value FROM meta WHERE key = 'artifact'").fetchone()
        if found is None or not self._versions_where("WHERE number = 0"):
            raise StateError(f"{self._name}: state is damaged (its artifact or version 0 is missing)")
        if artifact is not None and found[0] != artifact:
            raise StateError(
                f"{self._name}: expected the state of artifact {artifact[:16]}..., got one of {str(found[0])[:16]}..."
            )

    def _check_head(self, expected: int) -> None:
        head = self.head()
        if head.number != expected:
            raise StateError(f"{self._name}: expected version {expected} to be the latest, got {head.number}")

    def _write_samples(self, coreset: ReplayBuffer | None, ticket: int | None) -> str:
        """Digest of the coreset then in force."""
        if ticket is not None:
            samples.settle(self._connection, ticket)
        if coreset is None:
            return self._coreset
        if samples.stored_digest(self._connection) != self._coreset:
            raise StateError(f"{self._name}: expected the coreset as last read, got a newer one (another process?)")
        return samples.write(self._connection, coreset)

    def _insert(self, version: Version) -> None:
        values = (
            version.number,
            version.parent,
            version.created,
            version.updater,
            version.decision,
            version.flips,
            version.weights_sha256,
            json.dumps(version.metrics, sort_keys=True),
        )
        self._connection.execute(f"INSERT INTO version ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _write_event(self, kind: str, version: int, detail: Mapping[str, Any]) -> None:
        row = (_now(), kind, version, json.dumps(detail, sort_keys=True))
        self._connection.execute("INSERT INTO event (created, kind, version, detail) VALUES (?, ?, ?, ?)", row)
        self._connection.execute("DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?", (MAX_EVENTS,))

    def _check_storage(self) -> None:
        if self._storage is not None and self.nbytes() > self._storage:
            raise BudgetError(
                f"{self._name}: storage budget is {self._storage:,} bytes, the state would take {self.nbytes():,} "
                f"({self.nbytes() - self._storage:,} over)"
            )

    def _versions_where(self, clause: str, *values: int) -> list[Version]:
        with database.failures(self._name):
            rows = self._connection.execute(f"SELECT {_COLUMNS} FROM version {clause}", values).fetchall()
        return [self._version_of(row) for row in rows]

    def _version_of(self, row: tuple[Any, ...]) -> Version:
        number, parent, created, updater, decision, flips, sha256, metrics = row
        return Version(number, parent, created, updater, decision, flips, sha256, self._json(metrics))

    def _json(self, text: Any) -> Mapping[str, Any]:
        try:
            value = json.loads(text)
        except (TypeError, ValueError):
            value = None
        if not isinstance(value, dict):
            raise StateError(f"{self._name}: expected a JSON object, got {text!r:.40} (state is damaged)")
        return value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")

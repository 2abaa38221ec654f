"""The device's mutable state: every version of the parameters, what happened when, in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import BudgetError, StateError
from calibrant.core.parameters import Parameters
from calibrant.core.reports import Version
from calibrant.core.statistics import Coreset
from calibrant.memory import database, delta_chain, events, policies, samples, versions
from calibrant.memory.delta import Delta, join, negative
from calibrant.memory.events import Event
from calibrant.memory.replay import ReplayBuffer
from calibrant.memory.upgrade import upgrade


@dataclass(frozen=True)
class Entry:
    """What one transaction writes beside a version or an event.

    `facts` are JSON for people. `coreset` is what to learn from from now on, None for no change; `ticket` names the
    deferred window that this was, which is done. `policies`: by name, what each goes on from, plain JSON values.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    coreset: ReplayBuffer | None = None
    ticket: int | None = None
    policies: Mapping[str, Any] = field(default_factory=dict)


class Store:
    """Versions of one artifact's parameters, the samples to learn from, and what policies go on from.

    Version 0 is the artifact itself; a version is its origin plus a delta. A delta is relative to the version before,
    because steps are small and flash wears; every 32 steps it is relative to version 0 instead, so restoring replays at
    most 32 deltas however long the history. A rollback is a new version with the same content as an old one: it repeats
    that one's origin and delta, and its `parent` is the version it points back to. The coreset has no versions: a label
    stays true whatever the weights are. One transaction writes version, delta, coreset, policies and event; power loss
    leaves all of it or nothing.

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
        return tuple(versions.read(self._connection, self._name))

    def head(self) -> Version:
        """The latest version: the one in force."""
        return versions.head(self._connection, self._name)

    def version(self, number: int) -> Version:
        """One version; StateError with the range that exists if it is not there."""
        return versions.find(self._connection, self._name, number)

    def vouched(self) -> Version:
        """The latest version that labels, or someone who rolled back to it, vouch for."""
        return versions.vouched(self._connection, self._name)

    def parameters_at(self, number: int, base: Parameters) -> Parameters:
        """Parameters of a version; `base` are the artifact's. StateError if there is none, or the state is damaged."""
        return versions.parameters(self._connection, self._name, number, base)

    def events(self) -> tuple[Event, ...]:
        """What happened, oldest first; at most the newest 1000."""
        with database.failures(self._name):
            return events.read(self._connection, self._name)

    def policies(self) -> dict[str, policies.Memory]:
        """What each policy said of itself last, and under which version."""
        with database.failures(self._name):
            return policies.read(self._connection, self._name)

    def commit(self, delta: Delta, entry: Entry, *, parent: int, sha256: str, updater: str, vouched: bool) -> Version:
        """Write one version, its delta, an event and an entry in one transaction.

        Parameters
        ----------
        delta : Delta
            Relative to `parent`.
        entry : Entry
            Its facts become the version's metrics.
        parent : int
            Must be the head: another process may have committed meanwhile.
        sha256 : str
            Of the new parameters.
        updater : str
        vouched : bool
            Whether labels vouch for it.

        Raises
        ------
        StateError
            Disk full, file in use, or `parent` or the coreset last read are no longer the latest. Nothing was written.
        BudgetError
            The state would exceed its storage budget. Nothing was written.
        """
        with database.transaction(self._connection, self._name):
            self._check_head(parent)
            digest = self._write_samples(entry)
            before = delta_chain.read(self._connection, self._name, parent)
            version = Version(
                number=parent + 1,
                parent=parent,
                created=events.now(),
                updater=updater,
                decision="committed",
                flips=delta.flips,
                weights_sha256=sha256,
                metrics=dict(entry.facts),
                vouched=vouched,
            )
            versions.insert(self._connection, version)
            delta_chain.extend(self._connection, version.number, before, delta)
            policies.write(self._connection, entry.policies, version.number)
            events.write(self._connection, version.decision, version.number, {"flips": version.flips})
            self._check_storage()
        self._coreset = digest
        return version

    def rollback(self, to: int, entry: Entry | None = None) -> Version:
        """Write a new version with the content of version `to`; `flips` counts the weights it changes.

        The facts of `entry` join its metrics; its coreset is not looked at.
        """
        entry = entry or Entry()
        with database.transaction(self._connection, self._name):
            self._settle(entry)
            target, head = self.version(to), self.head()
            there, here = (delta_chain.read(self._connection, self._name, number) for number in (to, head.number))
            version = Version(
                number=head.number + 1,
                parent=to,
                created=events.now(),
                updater="rollback",
                decision="rolled back",
                flips=join([*there, *map(negative, here)]).flips,
                weights_sha256=target.weights_sha256,
                metrics={"to": to, **entry.facts},
            )
            versions.insert(self._connection, version)
            delta_chain.repeat(self._connection, version.number, to)
            policies.write(self._connection, entry.policies, version.number)
            events.write(self._connection, version.decision, version.number, {"from": head.number, "to": to})
            self._check_storage()
        return version

    def record(self, kind: str, entry: Entry) -> None:
        """Write an event that makes no version, a rejected or skipped window, and its entry."""
        with database.transaction(self._connection, self._name):
            digest, head = self._write_samples(entry), self.head().number
            policies.write(self._connection, entry.policies, head)
            events.write(self._connection, kind, head, entry.facts)
            self._check_storage()
        self._coreset = digest

    def coreset(self, base: Coreset, labels: int, outputs: int = 0) -> ReplayBuffer:
        """The samples to learn from: those of `base`, the artifact's coreset, until they are drawn anew.

        Parameters
        ----------
        base : Coreset
        labels : int
            A label is below it.
        outputs : int
            Scores that are remembered of a sample.

        Raises
        ------
        StateError
            The state is damaged, or belongs to an artifact with another coreset.
        """
        with database.failures(self._name):
            digest = samples.stored_digest(self._connection)
            buffer = samples.read(self._connection, self._name, base, labels, outputs)
        self._coreset = digest
        return buffer

    def defer(self, codes: NDArray[np.int8]) -> int:
        """Keep a window int8[n, height, width, channels] until its labels come; the oldest goes when too many wait."""
        with database.transaction(self._connection, self._name):
            ticket, dropped = samples.defer(self._connection, codes, events.now())
            detail = {"ticket": ticket, "samples": len(codes), "dropped": dropped}
            events.write(self._connection, "deferred", self.head().number, detail)
            self._check_storage()
        return ticket

    def deferred(self, ticket: int, shape: samples.Shape) -> NDArray[np.int8]:
        """The window of a ticket; StateError if it is unknown, was labeled, had to go, or is damaged."""
        with database.failures(self._name):
            return samples.deferred(self._connection, self._name, ticket, shape)

    def forget(self) -> int:
        """Delete all samples of the stream, what policies remember of them, and the bytes of both from the file; how
        many samples there were.

        Raises
        ------
        StateError
            The bytes could not be overwritten; the samples are deleted all the same.
        """
        with database.transaction(self._connection, self._name):
            count, windows = samples.clear(self._connection)
            policies.clear(self._connection)
            events.write(self._connection, "forgot", self.head().number, {"samples": count, "windows": windows})
        self._coreset = ""
        database.overwrite_freed(self._connection, self._name)
        return count

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
            older = not empty and database.version_of(self._connection) < database.SCHEMA_VERSION
        if empty:
            if artifact is None or base_sha256 is None:
                raise StateError(f"{self._name}: expected a Calibrant state, got an empty file")
            with database.transaction(self._connection, self._name):
                if database.is_empty(self._connection):  # another process may have been first
                    database.create_schema(self._connection)
                    self._connection.execute("INSERT INTO meta VALUES ('artifact', ?)", (artifact,))
                    versions.insert(self._connection, Version(0, None, events.now(), "none", "base", 0, base_sha256))
                    self._check_storage()
        elif older:
            with database.transaction(self._connection, self._name):
                upgrade(self._connection, self._name)
        with database.failures(self._name):
            found = self._connection.execute("SELECT value FROM meta WHERE key = 'artifact'").fetchone()
            (bases,) = self._connection.execute("SELECT count(*) FROM version WHERE number = 0").fetchone()
        if found is None or not bases:
            raise StateError(f"{self._name}: state is damaged (its artifact or version 0 is missing)")
        if artifact is not None and found[0] != artifact:
            raise StateError(
                f"{self._name}: expected the state of artifact {artifact[:16]}..., got one of {str(found[0])[:16]}..."
            )

    def _check_head(self, expected: int) -> None:
        head = self.head()
        if head.number != expected:
            raise StateError(f"{self._name}: expected version {expected} to be the latest, got {head.number}")

    def _settle(self, entry: Entry) -> None:
        if entry.ticket is not None:
            samples.settle(self._connection, entry.ticket)

    def _write_samples(self, entry: Entry) -> str:
        """Digest of the coreset then in force."""
        self._settle(entry)
        if entry.coreset is None:
            return self._coreset
        if samples.stored_digest(self._connection) != self._coreset:
            raise StateError(f"{self._name}: expected the coreset as last read, got a newer one (another process?)")
        return samples.write(self._connection, entry.coreset)

    def _check_storage(self) -> None:
        if self._storage is not None and self.nbytes() > self._storage:
            raise BudgetError(
                f"{self._name}: storage budget is {self._storage:,} bytes, the state would take {self.nbytes():,} "
                f"({self.nbytes() - self._storage:,} over)"
            )

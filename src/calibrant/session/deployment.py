"""What is in force on the device: a version, its weights in the engine, and the coreset, in step with the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.reports import Version
from calibrant.engine import Engine
from calibrant.memory.delta import difference, weights_sha256
from calibrant.memory.replay import ReplayBuffer, resample
from calibrant.memory.samples import fingerprint
from calibrant.memory.store import Store
from calibrant.session.supervised import Attempt
from calibrant.session.unsupervised import Anchor


class Deployment:
    """Starts with what the state holds.

    Parameters
    ----------
    artifact : Artifact
    engine : Engine
        Holds the weights in force, except while something is tried.
    store : Store
        Opened for this artifact.
    capacity : int
        Samples that the coreset may hold.
    source_share : float
        Share of its places that belongs to the artifact's samples, see `memory.replay.resample`.
    upkeep : bool
        Whether attempts change the coreset.

    Attributes
    ----------
    head : Version
        The version in force.
    pool : ReplayBuffer
        The coreset in force.
    """

    def __init__(
        self, artifact: Artifact, engine: Engine, store: Store, capacity: int, source_share: float, upkeep: bool
    ) -> None:
        self._artifact, self._engine, self._store = artifact, engine, store
        self._capacity, self._source_share, self._upkeep = capacity, source_share, upkeep
        self.head: Version
        self.pool: ReplayBuffer
        self._weights: NDArray[np.int8]
        self._bias: NDArray[np.int32]
        self._anchor: int  # number of the version that `anchor` gives
        self._load()

    def recover(self) -> None:
        """After an error or interrupt: the last weights that we know to be good, then what the state holds, which is
        newer if a commit had just been written."""
        self._engine.load(self._weights, self._bias)
        self._load()

    @property
    def pseudo_labeled(self) -> bool:
        """Whether the version in force was learned without labels."""
        return self._anchor != self.head.number

    def gate(self) -> Any:
        """The latest that the drift gate said of itself under the version in force, None if nothing."""
        told = (
            e.detail["gate"]
            for e in reversed(self._store.events())
            if e.version == self.head.number and "gate" in e.detail
        )
        return next(told, self.head.metrics.get("gate"))

    def at(self, number: int) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
        """Weights and biases of a version; StateError if there is none, or the state is damaged."""
        if number == self.head.number:
            return self._weights, self._bias
        return self._store.weights_at(number, self._artifact.constants.weights, self._artifact.constants.bias)

    def anchor(self) -> Anchor:
        """The last version that was not learned without labels."""
        return Anchor(self._anchor, *self.at(self._anchor))

    def commit_or_restore(
        self,
        attempt: Attempt,
        x: NDArray[np.int8],
        y: NDArray[np.int64],
        facts: Mapping[str, Any],
        ticket: int | None = None,
    ) -> int:
        """Commit what a attempt taught, or undo it; keep its labels either way, they are true whatever the weights are.

        Parameters
        ----------
        attempt : Attempt
            The engine holds the weights it speaks of.
        x, y : int8[N, height, width, channels], int64[N]
            The labeled samples it was taught on.
        facts : mapping
            JSON for the state's history.
        ticket : int, optional
            Of the deferred window that these samples are, which then is done.

        Returns
        -------
        int
            Weights that it moved.

        Raises
        ------
        StateError, BudgetError
            The state cannot be written. Nothing is committed, and :meth:`recover` is due.
        """
        weights, bias = self._engine.weights, self._engine.bias
        delta = difference(self._weights, self._bias, weights, bias)
        pool = self._upkept(attempt, x, y)
        told = {**facts, **attempt.metrics(), "coreset": len(pool), "coreset_source": pool.of_source}
        told["coreset_sha256"] = fingerprint(pool)
        coreset = pool if self._upkeep else None
        if attempt.decision == "committed":
            self.head = self._store.commit(
                delta,
                parent=self.head.number,
                sha256=weights_sha256(weights, bias),
                updater=attempt.outcome.updater,
                metrics=told,
                coreset=coreset,
                ticket=ticket,
            )
            self._weights, self._bias = weights, bias
            self._anchor = self.head.number if _vouched(self.head) else self._anchor
        else:
            self._store.record(attempt.decision, {"reason": attempt.reason, **told}, coreset=coreset, ticket=ticket)
            self._engine.load(self._weights, self._bias)
        self.pool = pool
        return int(delta.weight_index.size)

    def rollback(self, to: int, facts: Mapping[str, Any] | None = None, ticket: int | None = None) -> Version:
        """Restore the weights of a version; see `Session.rollback`, and `settle` for facts and ticket."""
        self.at(to)  # refuses what cannot be restored
        try:
            return self._store.rollback(to, facts, ticket)
        finally:
            self.recover()

    def forget(self) -> int:
        """Delete the stream's samples; see `Session.forget`."""
        try:
            return self._store.forget()
        finally:
            self.recover()

    def _load(self) -> None:
        constants, head = self._artifact.constants, self._store.head()
        self._weights, self._bias = self._store.weights_at(head.number, constants.weights, constants.bias)
        self.head = head
        while not _vouched(head):
            head = self._store.version(head.number - 1)
        self._anchor = head.number
        self._engine.load(self._weights, self._bias)
        pool = self._store.coreset(self._artifact.coreset, len(self._artifact.classes))
        nothing = pool.take(np.zeros(0, np.int64))
        self.pool = resample(pool, nothing, self._capacity, self._source_share) if len(pool) > self._capacity else pool

    def _upkept(self, attempt: Attempt, x: NDArray[np.int8], y: NDArray[np.int64]) -> ReplayBuffer:
        """The coreset after a attempt. A window that was learned already takes no one's place, so that steady operation
        does not wear the flash."""
        pool = self.pool
        if not self._upkeep or y.size == 0 or (attempt.outcome.steps == 0 and len(pool) >= self._capacity):
            return pool
        window = attempt.update_misses(pool.of_stream(x, y, self.head.number), slice(0, y.size))
        return resample(attempt.update_misses(pool, slice(y.size, None)), window, self._capacity, self._source_share)


def _vouched(version: Version) -> bool:
    """Whether labels, or someone who rolled back to it, vouch for a version."""
    return version.decision != "committed" or version.metrics.get("labels") != 0

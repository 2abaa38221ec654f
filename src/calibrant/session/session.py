"""The one loop on the device: predict -> observe -> decide -> update -> verify -> commit, or roll back."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant import updaters
from calibrant.artifact import THRESHOLDS, Artifact, content_hash, read
from calibrant.core.errors import DataError
from calibrant.core.logits import logits
from calibrant.core.reports import UpdateReport, Version
from calibrant.core.settings import Budget, FlipSettings
from calibrant.core.window import UNLABELED, Window, check_labels, encode
from calibrant.engine import Engine
from calibrant.memory.delta import weights_sha256
from calibrant.memory.store import Store
from calibrant.session import footprint, label_query
from calibrant.session.deployment import Deployment
from calibrant.session.drift_monitor import Assessment, DriftMonitor, Reversion
from calibrant.session.supervised import Adapter
from calibrant.session.unsupervised import TestTimeAdapter
from calibrant.updaters.base import Updater


class Session:
    """A calibrated model at work. Made by :meth:`open`, preferably in a ``with`` statement."""

    def __init__(
        self,
        artifact: Artifact,
        engine: Engine,
        updater: Updater,
        store: Store,
        budget: Budget,
        capacity: int,
        upkeep: bool,
        unlabeled: bool,
        gate: bool,
    ) -> None:
        self._artifact, self._engine, self._updater = artifact, engine, updater
        self._store, self._budget, self._capacity, self._gated = store, budget, capacity, gate
        self._unlabeled = unlabeled
        self._check_ram(0)
        limits = {**THRESHOLDS, **artifact.thresholds}
        drop, holdout = limits["coreset_drop"], limits["holdout"]
        self._supervised = Adapter(artifact.program, artifact.constants, engine, updater, drop, holdout)
        self._unsupervised = TestTimeAdapter(artifact, engine, drop) if unlabeled else None
        self._deployed = deployed = Deployment(artifact, engine, store, capacity, limits["source_share"], upkeep)
        self._monitor = DriftMonitor(artifact, engine, deployed.head, deployed.at, deployed.gate()) if gate else None

    @classmethod
    def open(
        cls,
        path: Path | str,
        state: Path | str | None = None,
        budget: Budget | None = None,
        variant: str | None = None,
        settings: FlipSettings | None = None,
        verify: Path | str | None = None,
        updater: Updater | None = None,
        capacity: int | None = None,
        upkeep: bool = True,
        unlabeled: bool = True,
        gate: bool = True,
    ) -> Self:
        """Open an artifact and continue from the latest version of its state.

        Parameters
        ----------
        path : Path or str
            The artifact.
        state : Path or str, optional
            State file, created if missing (its folder is not). None: versions live in memory only.
        budget : Budget, optional
            Limits in bytes; unlimited without.
        variant : str, optional
            Kernels to use; the fastest this processor has without. All give the same results.
        settings : FlipSettings, optional
            Instead of the artifact's.
        verify : Path or str, optional
            Public key that must have signed the artifact.
        updater : Updater, optional
            Instead of one made of the artifact and `settings`.
        capacity : int, optional
            Samples to keep, at least 1; as many as the artifact brings without. What is more than that is room for
            samples of the stream; a full coreset is redrawn.
        upkeep : bool
            False: labeled samples are learned from but not kept.
        unlabeled : bool
            False: nothing is learned from windows without labels.
        gate : bool
            False: every window is learned from, not only those that show drift, and no version is gone back to.

        Raises
        ------
        ArtifactError
            The artifact is malformed or its signature is not good.
        DataError
            `capacity` or `settings` are out of range.
        StateError
            The state is missing its folder, foreign, damaged, or of another artifact.
        BudgetError
            RAM or storage would be exceeded; says by how much.
        """
        artifact = read(path, verify=verify)
        if capacity is not None and capacity < 1:
            raise DataError(f"coreset capacity: expected at least 1 sample, got {capacity}")
        room = len(artifact.coreset.y) if capacity is None else capacity
        constants, limits = artifact.constants, budget or Budget()
        footprint.check(limits.ram, artifact.program.arena_bytes, "the arena alone")  # before anything is allocated
        engine = Engine(artifact.program, constants, variant)
        if updater is None:
            updater = updaters.build(artifact, settings or artifact.settings)
        store = Store.open(
            state,
            artifact=content_hash(artifact),
            base_sha256=weights_sha256(constants.weights, constants.bias),
            create=True,
            storage=limits.storage,
        )
        try:
            return cls(artifact, engine, updater, store, limits, room, upkeep, unlabeled, gate)
        except BaseException:
            store.close()
            raise

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, by index."""
        return self._artifact.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self._artifact.input_shape

    @property
    def version(self) -> Version:
        """The version in force."""
        return self._deployed.head

    @property
    def variant(self) -> str:
        """Name of the kernels in use."""
        return self._engine.variant

    def predict(self, x: Any) -> NDArray[np.int64]:
        """Classes of a window.

        Parameters
        ----------
        x : array-like [N, *input_shape]

        Returns
        -------
        int64[N]
            Of equal scores the lowest class wins.

        Raises
        ------
        DataError
            The window is malformed.
        """
        classes: NDArray[np.int64] = self.scores(x).argmax(axis=1).astype(np.int64)
        return classes

    def scores(self, x: Any) -> NDArray[np.float32]:
        """Class scores (logits) of a window, float32[N, K]; raises like :meth:`predict`."""
        return self._logits(self._encode(x))

    def observe(self, x: Any, y: Any = None) -> UpdateReport:
        """Learn from a window; verify; commit one new version or restore the last.

        Labels teach most. Without any, the window's statistics and the classes it sees itself may teach a little, see
        `session.unsupervised`; losses and accuracies in the report are then of the coreset.

        Parameters
        ----------
        x : array-like [N, *input_shape]
        y : array-like of int [N], optional
            Classes, -1 where unlabeled.

        Returns
        -------
        UpdateReport
            `decision` is 'committed', 'rejected' (with the reason) or 'skipped'. Where new labels show that adapting
            did harm, the version from before it is restored as a new one; that window is 'rejected', too.

        Raises
        ------
        DataError
            Window or labels are malformed.
        BudgetError
            The window does not fit the RAM budget, or the new version does not fit the storage budget.
        StateError
            The version could not be written (disk full). In every case, an interrupt included, the weights in force
            are those of the last committed version.
        """
        arrived = time.perf_counter()
        codes = self._encode(x)
        return self._learn(Window(codes, self._labels(y, codes), arrived))

    def ask(self, x: Any, n: int) -> NDArray[np.int64]:
        """Choose the samples of a window whose labels would teach most; give those labels to :meth:`observe`.

        Parameters
        ----------
        x : array-like [N, *input_shape]
        n : int
            At most N.

        Returns
        -------
        int64[n]
            Indices into the window, the most telling first. Raises as :meth:`observe`.
        """
        return label_query.ask(self._artifact, self._engine, self._encode(x), self._deployed.pool, n)

    def defer(self, x: Any) -> int:
        """Keep a window whose labels come later; a few wait at most, the oldest goes first.

        Parameters
        ----------
        x : array-like [N, *input_shape]

        Returns
        -------
        int
            The ticket for :meth:`label`. It stays good when the session is closed and its state opened again.

        Raises
        ------
        DataError, BudgetError, StateError
            As :meth:`observe`.
        """
        return self._store.defer(self._encode(x))

    def label(self, ticket: int, y: Any) -> UpdateReport:
        """Learn from a window that was deferred, as :meth:`observe` would; the ticket is then used up.

        Parameters
        ----------
        ticket : int
            From :meth:`defer`.
        y : array-like of int [N]
            Classes, -1 where unlabeled.

        Raises
        ------
        StateError
            The ticket is unknown, used up or expired; else as :meth:`observe`. After an error the window still waits.
        """
        arrived = time.perf_counter()
        entry = self._artifact.program.tensors[self._artifact.program.input]
        codes = self._store.deferred(int(ticket), (entry.height, entry.width, entry.channels))
        self._check_ram(len(codes))
        return self._learn(Window(codes, self._labels(y, codes), arrived, int(ticket)))

    def forget(self) -> int:
        """Delete every sample of the stream from the state, coreset and deferred windows, and overwrite their bytes.

        The coreset is the artifact's again. The weights keep what they learned: roll back to undo that as well.

        Returns
        -------
        int
            How many samples of the coreset are gone.

        Raises
        ------
        StateError
            The state cannot be written, or the bytes not overwritten.
        """
        return self._deployed.forget()

    def versions(self) -> tuple[Version, ...]:
        """The state's history, oldest first."""
        return self._store.versions()

    def rollback(self, to: int) -> Version:
        """Restore the weights of version `to` bit for bit, as a new version that points back; nothing is erased.

        The coreset stays as it is: the labels in it are true whatever the weights are. :meth:`forget` resets it.

        Raises
        ------
        StateError
            No such version (names the range), or the state is damaged or cannot be written.
        """
        return self._deployed.rollback(to)

    def close(self) -> None:
        """Close the state; every committed version is already safe."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _encode(self, x: Any) -> NDArray[np.int8]:
        artifact = self._artifact
        codes = encode(x, artifact.program.tensors[artifact.program.input], artifact.preprocess, artifact.input_shape)
        self._check_ram(len(codes))
        return codes

    def _logits(self, codes: NDArray[np.int8]) -> NDArray[np.float32]:
        return logits(self._engine.infer(codes), self._artifact.program, self._artifact.constants)

    def _labels(self, y: Any, codes: NDArray[np.int8]) -> NDArray[np.int64]:
        return np.full(len(codes), UNLABELED) if y is None else check_labels(y, len(codes), len(self.classes))

    def _learn(self, window: Window) -> UpdateReport:
        """Decide what can be learned from a window, learn it, and settle it."""
        deployed, labels = self._deployed, len(window.known)
        if not labels and self._unsupervised is None:
            return self._stay(window, "no labels")
        x, y = window.codes[window.known], window.labels[window.known]
        facts = window.facts()
        try:
            assessment = self._assess(window)
            if assessment is not None:
                decision = assessment.decision
                if isinstance(decision, Reversion):
                    return self._revert(window, assessment, decision)
                if not decision.adapt:
                    return self._stay(window, f"gate: {decision.reason}", assessment)
            if self._unsupervised is None or labels:
                attempt = self._supervised.teach(x, y, deployed.pool)
            else:
                studied = self._unsupervised.study(window.codes, deployed.pool, deployed.anchor(), deployed.head.number)
                if isinstance(studied, str):
                    return self._stay(window, studied)
                attempt = studied
            if self._monitor is not None and assessment is not None:
                self._monitor.learned()
                facts |= assessment.facts() | {"gate": self._monitor.memory()}
            flips = deployed.commit_or_restore(attempt, x, y, facts, window.ticket)
            if self._unsupervised is not None and labels and attempt.decision == "committed":
                self._unsupervised.labeled(window.codes, labels, self.version.number)
        except BaseException:  # an interrupt must not leave half-learned weights in force either
            deployed.recover()
            raise
        return window.report(self.version.number, attempt.decision, attempt.reason, flips=flips, **attempt.measured())

    def _assess(self, window: Window) -> Assessment | None:
        """What the gate makes of a window. It is not asked about one without labels while guesses are in force: whether
        those still hold is for the study to say."""
        deployed = self._deployed
        if self._monitor is None or (not len(window.known) and deployed.pseudo_labeled):
            return None
        return self._monitor.look(window.codes, window.labels, deployed.pool, deployed.head)

    def _revert(self, window: Window, assessment: Assessment, to: Reversion) -> UpdateReport:
        """Put a version in force again that does better."""
        facts = window.facts() | assessment.facts() | {"reason": to.reason, "gate": to.memory}
        version = self._deployed.rollback(to.version, facts, window.ticket)
        return window.report(
            version.number,
            "rejected",
            to.reason,
            updater=version.updater,
            flips=version.flips,
            accuracy_before=assessment.accuracy,
            accuracy_after=to.accuracy,
        )

    def _stay(self, window: Window, reason: str, assessment: Assessment | None = None) -> UpdateReport:
        """Report a window that nothing was tried on."""
        detail = window.facts() | {"reason": reason}
        accuracy = None
        if self._monitor is not None and assessment is not None:
            detail |= assessment.facts() | {"gate": self._monitor.memory()}
            accuracy = assessment.accuracy
        self._store.record("skipped", detail, ticket=window.ticket)
        return window.report(self.version.number, "skipped", reason, accuracy_before=accuracy, accuracy_after=accuracy)

    def _check_ram(self, samples: int) -> None:
        """Refuse a window of `samples` that does not fit beside what is held anyway."""
        needed = footprint.resident(
            self._artifact, self._engine.memory_bytes, self._capacity, self._updater.settings.form
        )
        needed += footprint.gate(self._artifact, self._capacity) if self._gated else 0
        needed += footprint.unsupervised(self._artifact) if self._unlabeled else 0
        what = "the model"
        if samples:
            needed += footprint.window(self._artifact, samples, self._capacity, self._updater.settings.form)
            what = f"the model with a window of {samples} samples"
        footprint.check(self._budget.ram, needed, what)

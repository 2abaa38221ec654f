"""The one loop on the device: predict -> observe -> decide -> update -> verify -> commit, or roll back."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import THRESHOLDS, Artifact, content_hash, read
from calibrant.core.errors import BudgetError
from calibrant.core.fmath import LOSS_ONE, cross_entropy
from calibrant.core.logits import logits
from calibrant.core.records import Budget, FlipSettings, UpdateOutcome, UpdateReport, Version
from calibrant.core.window import UNLABELED, check_labels, encode
from calibrant.memory.delta import difference, weights_sha256
from calibrant.memory.store import Store
from calibrant.policy.verification import Measured, importance, split, verdict
from calibrant.runtime.engine import Engine
from calibrant.runtime.flip import FlipUpdater


class Session:
    """A calibrated model at work. Use :meth:`open`, preferably in a ``with`` statement.

    Parameters
    ----------
    artifact : Artifact
    engine : Engine
        Holds the weights in force.
    updater : FlipUpdater
    store : Store
        Opened for this artifact; its latest version is loaded.
    budget : Budget
    """

    def __init__(self, artifact: Artifact, engine: Engine, updater: FlipUpdater, store: Store, budget: Budget) -> None:
        self._artifact, self._engine, self._updater = artifact, engine, updater
        self._store, self._budget = store, budget
        self._thresholds = {**THRESHOLDS, **artifact.thresholds}
        self._check_ram()
        self._head: Version = store.head()
        constants = artifact.constants
        self._weights: NDArray[np.int8]
        self._bias: NDArray[np.int32]
        self._weights, self._bias = store.weights_at(self._head.number, constants.weights, constants.bias)
        engine.load(self._weights, self._bias)

    @classmethod
    def open(
        cls,
        path: Path | str,
        state: Path | str | None = None,
        budget: Budget | None = None,
        variant: str | None = None,
        settings: FlipSettings | None = None,
        verify: Path | str | None = None,
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

        Raises
        ------
        ArtifactError
            The artifact is malformed or its signature is not good.
        StateError
            The state is missing its folder, foreign, damaged, or of another artifact.
        BudgetError
            RAM or storage would be exceeded; says by how much.
        """
        artifact = read(path, verify=verify)
        constants, limits = artifact.constants, budget or Budget()
        _check_budget(limits.ram, artifact.program.arena_bytes, "the arena alone")  # before anything is allocated
        engine = Engine(artifact.program, constants, variant)
        updater = FlipUpdater(artifact.program, constants, artifact.feedback, settings or artifact.settings)
        store = Store.open(
            state,
            artifact=content_hash(artifact),
            base_sha256=weights_sha256(constants.weights, constants.bias),
            create=True,
            storage=limits.storage,
        )
        try:
            return cls(artifact, engine, updater, store, limits)
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
        return self._head

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
        """Learn from a window if it has labels; verify; commit one new version or restore the last.

        Parameters
        ----------
        x : array-like [N, *input_shape]
        y : array-like of int [N], optional
            Classes, -1 where unlabeled.

        Returns
        -------
        UpdateReport
            `decision` is 'committed', 'rejected' (with the reason) or 'skipped'.

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
        started = time.perf_counter()
        codes = self._encode(x)
        labels = np.full(len(codes), UNLABELED) if y is None else check_labels(y, len(codes), len(self.classes))
        labeled = np.flatnonzero(labels != UNLABELED)
        if labeled.size == 0:
            return self._stay("skipped", "no labels", len(codes), 0, started)
        known = codes[labeled], labels[labeled]
        train, held = split(labeled.size, self._thresholds["holdout"])
        before = self._measure(*known, held)
        settled = False
        try:
            outcome, after = self._learn(*known, train, held, before)
            report = self._settle(outcome, before, after, held.size, len(codes), labeled.size, started)
            settled = report.decision == "committed"
        finally:
            if not settled:
                self._restore()
        return report

    def versions(self) -> tuple[Version, ...]:
        """The state's history, oldest first."""
        return self._store.versions()

    def rollback(self, to: int) -> Version:
        """Restore version `to` bit for bit, as a new version that points back; nothing is erased.

        Raises
        ------
        StateError
            No such version (names the range), or the state is damaged or cannot be written.
        """
        constants = self._artifact.constants
        weights, bias = self._store.weights_at(to, constants.weights, constants.bias)
        try:
            version = self._store.rollback(to)
            self._adopt(version, weights, bias)
        finally:
            self._restore()
        return version

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
        self._check_ram(codes)
        return codes

    def _logits(self, codes: NDArray[np.int8]) -> NDArray[np.float32]:
        return logits(self._engine.infer(codes), self._artifact.program, self._artifact.constants)

    def _learn(
        self,
        codes: NDArray[np.int8],
        labels: NDArray[np.int64],
        train: NDArray[np.int64],
        held: NDArray[np.int64],
        before: Measured,
    ) -> tuple[UpdateOutcome, Measured]:
        """Adapt to what is not held back. If that passes verification, the held-back samples may teach too, in the last
        third of the steps; what they teach must pass as well."""
        total = self._updater.settings.steps
        later = total // 3 if held.size else 0
        outcome = self._update(codes[train], labels[train], total - later)
        after = self._measure(codes, labels, held)
        drop = self._thresholds["coreset_drop"]
        if outcome.flips and later and verdict(before, after, drop) is None:
            verified = self._engine.weights, self._engine.bias
            second = self._update(codes, labels, later)
            refined = self._measure(codes, labels, held)
            if verdict(before, refined, drop) is None:
                steps, accepted = outcome.steps + second.steps, outcome.accepted + second.accepted
                return replace(outcome, steps=steps, accepted=accepted), refined
            self._engine.load(*verified)
        return outcome, after

    def _update(self, codes: NDArray[np.int8], labels: NDArray[np.int64], steps: int) -> UpdateOutcome:
        coreset = self._artifact.coreset
        return self._updater.update(
            self._engine,
            np.concatenate([codes, coreset.x]),
            np.concatenate([labels, coreset.y]),
            importance(labels.size, coreset.y.size),
            steps,
        )

    def _measure(self, codes: NDArray[np.int8], labels: NDArray[np.int64], held: NDArray[np.int64]) -> Measured:
        coreset = self._artifact.coreset
        scores = self._logits(np.concatenate([codes, coreset.x]))
        truth = np.concatenate([labels, coreset.y])
        correct, (loss, _) = scores.argmax(axis=1) == truth, cross_entropy(scores, truth)
        return Measured(
            accuracy=float(correct[: labels.size].mean()),
            coreset_accuracy=float(correct[labels.size :].mean()) if coreset.y.size else None,
            held_loss=loss[held],
            loss=float(loss.mean()) / LOSS_ONE,
        )

    def _settle(
        self,
        outcome: UpdateOutcome,
        before: Measured,
        after: Measured,
        held: int,
        samples: int,
        labels: int,
        started: float,
    ) -> UpdateReport:
        """Commit what passes verification; the caller restores the last version otherwise."""
        weights, bias = self._engine.weights, self._engine.bias
        delta = difference(self._weights, self._bias, weights, bias)
        fault = verdict(before, after, self._thresholds["coreset_drop"])
        metrics = before.as_metrics("before") | after.as_metrics("after")
        if delta.weight_index.size == 0 and delta.bias_index.size == 0:
            decision, reason = "skipped", "no step lowered the loss" if outcome.steps else "already learned"
        elif fault is not None:
            decision, reason = "rejected", fault
        else:
            decision, reason = (
                "committed",
                "verified on coreset and held-back samples" if held else "verified on coreset",
            )
            facts = {"labels": labels, "samples": samples, "steps": outcome.steps, "accepted": outcome.accepted}
            sha256 = weights_sha256(weights, bias)
            version = self._store.commit(
                delta, parent=self._head.number, sha256=sha256, updater=outcome.updater, metrics=metrics | facts
            )
            self._head, self._weights, self._bias = version, weights, bias
        if decision != "committed":
            self._store.record(decision, {"reason": reason, "labels": labels, "samples": samples} | metrics)
        return UpdateReport(
            version=self._head.number,
            decision=decision,
            reason=reason,
            updater=outcome.updater,
            samples=samples,
            labels=labels,
            flips=int(delta.weight_index.size),
            steps=outcome.steps,
            accepted=outcome.accepted,
            loss_before=before.loss,
            loss_after=after.loss,
            accuracy_before=before.accuracy,
            accuracy_after=after.accuracy,
            coreset_accuracy_before=before.coreset_accuracy,
            coreset_accuracy_after=after.coreset_accuracy,
            milliseconds=_since(started),
        )

    def _stay(self, decision: str, reason: str, samples: int, labels: int, started: float) -> UpdateReport:
        """Report a window that nothing was tried on."""
        self._store.record(decision, {"reason": reason, "labels": labels, "samples": samples})
        nothing = (None,) * 6
        return UpdateReport(
            self._head.number, decision, reason, "none", samples, labels, 0, 0, 0, *nothing, _since(started)
        )

    def _adopt(self, version: Version, weights: NDArray[np.int8], bias: NDArray[np.int32]) -> None:
        self._engine.load(weights, bias)
        self._head, self._weights, self._bias = version, weights, bias

    def _restore(self) -> None:
        """Put the latest committed version in force. It is newer than ours if an interrupt came just after a commit."""
        self._engine.load(self._weights, self._bias)
        head = self._store.head()
        if head.number != self._head.number:
            constants = self._artifact.constants
            self._adopt(head, *self._store.weights_at(head.number, constants.weights, constants.bias))

    def _check_ram(self, codes: NDArray[np.int8] | None = None) -> None:
        """Arena and weights, the artifact's own weights and the last version's, coreset, feedback; and the window."""
        artifact, program = self._artifact, self._artifact.program
        constants, coreset = artifact.constants, artifact.coreset
        needed = self._engine.memory_bytes + 2 * (constants.weights.nbytes + constants.bias.nbytes)
        needed += coreset.x.nbytes + coreset.y.nbytes + artifact.feedback.matrix.nbytes
        what = "the model"
        if codes is not None:
            outputs = program.tensors[program.output].elements
            statistics = 4 * (program.channel_count + program.pooled_count + outputs)
            needed += codes.nbytes + statistics * (len(codes) + len(coreset.y))
            what = f"the model with a window of {len(codes)} samples"
        _check_budget(self._budget.ram, needed, what)


def _check_budget(ram: int | None, needed: int, what: str) -> None:
    if ram is not None and needed > ram:
        raise BudgetError(f"RAM budget is {ram:,} bytes, {what} needs {needed:,} ({needed - ram:,} over)")


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000

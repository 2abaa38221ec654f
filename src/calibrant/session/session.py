"""The one loop on the device: predict -> observe -> decide -> update -> verify -> commit, or roll back."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.reports import KnownContext, UpdateReport, Version
from calibrant.core.settings import Budget, FlipSettings
from calibrant.core.task import UNLABELED, check_labels
from calibrant.core.window import Window, encode
from calibrant.session import label_query
from calibrant.session.wiring import Options, Parts, assemble
from calibrant.updaters.base import Updater


class Session:
    """A calibrated model at work. Made by :meth:`open`, preferably in a ``with`` statement."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

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
            Samples to keep, at least 1. Without, as many as the artifact brings, and at least 200 where there is no
            budget. What is more than the artifact brings is room for the stream's; a full coreset is redrawn.
        upkeep : bool
            False: labeled samples are learned from but not kept.
        unlabeled : bool
            False: nothing is learned from windows without labels.
        gate : bool
            False: every window is learned from, not only those that show drift, every label is believed, and no
            version is gone back to.

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
        options = Options(
            state=state,
            budget=budget,
            variant=variant,
            settings=settings,
            verify=verify,
            updater=updater,
            capacity=capacity,
            upkeep=upkeep,
            unlabeled=unlabeled,
            gate=gate,
        )
        return cls(assemble(path, options))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, by index."""
        return self._parts.artifact.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self._parts.artifact.input_shape

    @property
    def version(self) -> Version:
        """The version in force."""
        return self._parts.deployed.head

    @property
    def capacity(self) -> int:
        """Samples that are kept at most to learn beside."""
        return self._parts.footprint.capacity

    @property
    def variant(self) -> str:
        """Name of the kernels in use."""
        return self._parts.engine.variant

    def predict(self, x: Any) -> NDArray[np.int64]:
        """Classes of a window, by what its own context has learned, if it is recognized; nothing is remembered of it.

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
        return self._parts.artifact.meaning.task.decode(self.scores(x))

    def scores(self, x: Any) -> NDArray[np.float32]:
        """Class scores (logits) of a window, float32[N, K]; raises like :meth:`predict`."""
        codes, engine = self._encode(x), self._parts.engine
        with self._parts.deployed.trial():
            if self._parts.unsupervised is not None:
                engine.load(self._parts.unsupervised.parameters(codes))
            return self._parts.artifact.meaning.scores(engine.infer(codes))

    def observe(self, x: Any, y: Any = None) -> UpdateReport:
        """Learn from a window; verify; commit one new version or restore the last.

        Labels teach most. Without any, the window's context is recognized, and its statistics and the classes it sees
        itself may teach a little, see `session.unsupervised`.

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
        return self._parts.loop.learn(Window(codes, self._labels(y, codes), arrived))

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
        return label_query.ask(self._parts.deployed, self._encode(x), n)

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
        return self._parts.store.defer(self._encode(x))

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
        program = self._parts.artifact.program
        entry = program.tensors[program.input]
        codes = self._parts.store.deferred(int(ticket), (entry.height, entry.width, entry.channels))
        self._parts.footprint.check(self._parts.budget.ram, len(codes))
        return self._parts.loop.learn(Window(codes, self._labels(y, codes), arrived, int(ticket)))

    def forget(self) -> int:
        """Delete every sample of the stream from the state, coreset and deferred windows, and what policies remember of
        them, and overwrite their bytes.

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
        try:
            return self._parts.deployed.forget()
        finally:
            self._parts.loop.resume()

    def contexts(self) -> tuple[KnownContext, ...]:
        """The domains told apart so far, home first; none where the artifact does not say how, or without a gate.

        See docs/concepts/adaptation.md.
        """
        unsupervised = self._parts.unsupervised
        return () if unsupervised is None else unsupervised.contexts()

    def name_context(self, number: int, name: str) -> None:
        """Call a context of :meth:`contexts` something, for reports and the log.

        Parameters
        ----------
        number : int
        name : str
            At most 64 printable characters, and no other context's.

        Raises
        ------
        DataError
            There is no such context, or it cannot have that name.
        StateError
            The state cannot be written.
        """
        self._parts.loop.name(number, name)

    def versions(self) -> tuple[Version, ...]:
        """The state's history, oldest first."""
        return self._parts.store.versions()

    def rollback(self, to: int) -> Version:
        """Restore the weights of version `to` bit for bit, as a new version that points back; nothing is erased.

        The coreset stays as it is: the labels in it are true whatever the weights are. :meth:`forget` resets it.

        Raises
        ------
        StateError
            No such version (names the range), or the state is damaged or cannot be written.
        """
        version = self._parts.deployed.rollback(to)
        self._parts.loop.resume()
        return version

    def close(self) -> None:
        """Close the state; every committed version is already safe."""
        self._parts.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _encode(self, x: Any) -> NDArray[np.int8]:
        artifact = self._parts.artifact
        codes = encode(x, artifact.program.tensors[artifact.program.input], artifact.preprocess, artifact.input_shape)
        self._parts.footprint.check(self._parts.budget.ram, len(codes))
        return codes

    def _labels(self, y: Any, codes: NDArray[np.int8]) -> NDArray[np.int64]:
        labels = self._parts.artifact.meaning.labels
        return np.full(len(codes), UNLABELED) if y is None else check_labels(y, len(codes), labels)

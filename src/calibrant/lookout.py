"""Looks at each window before anything is learned from it: one forward pass, and the gate's judgment. While the gate
calls for adapting, a second one of the labeled samples says whether the weights from before did better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.logits import logits
from calibrant.core.records import Version
from calibrant.core.window import UNLABELED
from calibrant.memory.coreset import Pool
from calibrant.policy.gate import Evidence, Gate, Judgment
from calibrant.policy.hindsight import Hindsight
from calibrant.policy.nearness import Features, nearest
from calibrant.runtime.engine import Engine

Parameters = tuple[NDArray[np.int8], NDArray[np.int32]]


@dataclass(frozen=True)
class Retreat:
    """A version that does better than the one in force, by hindsight; its `accuracy` on the labels of the window, and
    what the gate is to go on from once it is in force again."""

    version: int
    accuracy: float
    reason: str
    memory: Mapping[str, Any]


@dataclass(frozen=True)
class Sighting:
    """What a window looks like, and what the gate makes of it, or hindsight."""

    evidence: Evidence
    judgment: Judgment | Retreat

    @property
    def accuracy(self) -> float | None:
        """Of the labeled samples, None without any."""
        return 1 - self.evidence.errors / self.evidence.labels if self.evidence.labels else None

    def facts(self) -> dict[str, Any]:
        """JSON for the state's history."""
        return {"errors": self.evidence.errors, "distance": self.evidence.distance}


class Lookout:
    """Keeps the gate in step with the version in force, and what it remembers with the coreset.

    Parameters
    ----------
    artifact : Artifact
    engine : Engine
        Holds the weights in force when a window is looked at.
    version : Version
        The one in force.
    at : callable
        Weights and biases of a version, by its number.
    memory : JSON, optional
        What :meth:`memory` said last under this version.
    """

    def __init__(
        self,
        artifact: Artifact,
        engine: Engine,
        version: Version,
        at: Callable[[int], Parameters],
        memory: Any = None,
    ) -> None:
        self._artifact, self._engine, self._at = artifact, engine, at
        self._features = Features.of(artifact.program, artifact.reference)
        self._gate: Gate
        self._version: int
        self._hindsight: Hindsight | None
        self._remember(version, memory)
        self._pool: Pool | None = None
        self._remembered: NDArray[np.int16]  # features of the artifact's coreset and of the one in force

    def look(self, x: NDArray[np.int8], y: NDArray[np.int64], pool: Pool, version: Version) -> Sighting:
        """Judge a window.

        Parameters
        ----------
        x : int8[N, height, width, channels]
        y : int64[N]
            Classes, -1 where unlabeled.
        pool : Pool
            The coreset in force.
        version : Version
            The one in force. A gate new to it goes on from what its metrics say under ``gate``.

        Returns
        -------
        Sighting
            With a `Retreat` the caller puts that version in force, with its memory as ``gate`` in the metrics.
        """
        if version.number != self._version:
            self._remember(version, version.metrics.get("gate"))
            self._pool = None
        if pool is not self._pool:
            own = np.concatenate([self._artifact.coreset.x, pool.x])
            self._remembered = self._features.observed(self._engine.observe(own))
            self._pool = pool
        seen = self._engine.observe(x)
        known = y != UNLABELED
        wrong = self._wrong(seen.outputs[known], y[known])
        nothing = np.zeros(0, np.int64)
        distance, which = nothing, nothing
        if len(self._remembered):
            distance, which = nearest(self._features.observed(seen), self._remembered)
        evidence = Evidence.of(wrong, distance, which, self._artifact.usual)
        told = self._hindsight
        if told is not None and told.home != version.number and known.any():
            home = self._wrong_at(told.home, x[known], y[known])
            self._hindsight = told = told.after(home, wrong)
            if told.regretted:
                return Sighting(evidence, self._retreat(told, 1 - float(home.mean()), evidence.distance))
        judgment = self._gate.judge(evidence)
        if not (judgment.adapt or self._gate.open):
            self._hindsight = None
        return Sighting(evidence, judgment)

    def learned(self) -> None:
        """Take note that the window looked at last is learned from."""
        self._gate.adapted()
        self._hindsight = self._hindsight or Hindsight(self._version)

    def memory(self) -> dict[str, Any]:
        """JSON to go on from, for the state's history."""
        told = self._hindsight
        return self._gate.memory() | ({} if told is None else {"hindsight": told.memory()})

    def _remember(self, version: Version, memory: Any) -> None:
        kept = memory if isinstance(memory, Mapping) else {}
        self._gate, self._version = Gate(self._artifact.usual, kept), version.number
        self._hindsight = Hindsight.of(kept.get("hindsight"), version.number)

    def _retreat(self, told: Hindsight, accuracy: float, distance: float | None) -> Retreat:
        """Of a copy of the gate: nothing is forgotten here before the version is in force."""
        gate = Gate(self._artifact.usual, self._gate.memory())
        gate.resigned(told.error, distance)
        reason = f"version {told.home} does better, {told.lost} labels to {told.won} that only one gets right"
        return Retreat(told.home, accuracy, reason, gate.memory())

    def _wrong(self, outputs: NDArray[np.int32], y: NDArray[np.int64]) -> NDArray[np.bool_]:
        scores = logits(outputs, self._artifact.program, self._artifact.constants)
        wrong: NDArray[np.bool_] = scores.argmax(axis=1) != y
        return wrong

    def _wrong_at(self, number: int, x: NDArray[np.int8], y: NDArray[np.int64]) -> NDArray[np.bool_]:
        """What another version gets wrong; the engine keeps its weights."""
        weights, bias = self._engine.weights, self._engine.bias
        self._engine.load(*self._at(number))
        wrong = self._wrong(self._engine.infer(x), y)
        self._engine.load(weights, bias)
        return wrong

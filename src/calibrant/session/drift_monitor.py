"""Looks at each window before anything is learned from it: one forward pass, and the gate's decision. While the gate
calls for adapting, a second one of the labeled samples says whether the weights from before did better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.logits import logits
from calibrant.core.reports import Version
from calibrant.core.window import UNLABELED
from calibrant.engine import Engine
from calibrant.memory.replay import ReplayBuffer
from calibrant.policy.drift_gate import DriftGate, Evidence, GateDecision
from calibrant.policy.feature_distance import Features, nearest
from calibrant.policy.regret import Regret

Parameters = tuple[NDArray[np.int8], NDArray[np.int32]]


@dataclass(frozen=True)
class Reversion:
    """A version that does better than the one in force, by regret; its `accuracy` on the labels of the window, and
    what the gate is to go on from once it is in force again."""

    version: int
    accuracy: float
    reason: str
    memory: Mapping[str, Any]


@dataclass(frozen=True)
class Assessment:
    """What a window looks like, and what the gate makes of it, or regret."""

    evidence: Evidence
    decision: GateDecision | Reversion

    @property
    def accuracy(self) -> float | None:
        """Of the labeled samples, None without any."""
        return 1 - self.evidence.errors / self.evidence.labels if self.evidence.labels else None

    def facts(self) -> dict[str, Any]:
        """JSON for the state's history."""
        return {"errors": self.evidence.errors, "distance": self.evidence.distance}


class DriftMonitor:
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
        self._gate: DriftGate
        self._version: int
        self._regret: Regret | None
        self._remember(version, memory)
        self._pool: ReplayBuffer | None = None
        self._remembered: NDArray[np.int16]  # features of the artifact's coreset and of the one in force

    def look(self, x: NDArray[np.int8], y: NDArray[np.int64], pool: ReplayBuffer, version: Version) -> Assessment:
        """Judge a window.

        Parameters
        ----------
        x : int8[N, height, width, channels]
        y : int64[N]
            Classes, -1 where unlabeled.
        pool : ReplayBuffer
            The coreset in force.
        version : Version
            The one in force. A gate new to it goes on from what its metrics say under ``gate``.

        Returns
        -------
        Assessment
            With a `Reversion` the caller puts that version in force, with its memory as ``gate`` in the metrics.
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
        told = self._regret
        if told is not None and told.home != version.number and known.any():
            home = self._wrong_at(told.home, x[known], y[known])
            self._regret = told = told.after(home, wrong)
            if told.regretted:
                return Assessment(evidence, self._revert(told, 1 - float(home.mean()), evidence.distance))
        decision = self._gate.judge(evidence)
        if not (decision.adapt or self._gate.open):
            self._regret = None
        return Assessment(evidence, decision)

    def learned(self) -> None:
        """Take note that the window looked at last is learned from."""
        self._gate.adapted()
        self._regret = self._regret or Regret(self._version)

    def memory(self) -> dict[str, Any]:
        """JSON to go on from, for the state's history."""
        told = self._regret
        return self._gate.memory() | ({} if told is None else {"regret": told.memory()})

    def _remember(self, version: Version, memory: Any) -> None:
        kept = memory if isinstance(memory, Mapping) else {}
        self._gate, self._version = DriftGate(self._artifact.usual, kept), version.number
        self._regret = Regret.of(kept.get("regret"), version.number)

    def _revert(self, told: Regret, accuracy: float, distance: float | None) -> Reversion:
        """Of a copy of the gate: nothing is forgotten here before the version is in force."""
        gate = DriftGate(self._artifact.usual, self._gate.memory())
        gate.resigned(told.error, distance)
        reason = f"version {told.home} does better, {told.lost} labels to {told.won} that only one gets right"
        return Reversion(told.home, accuracy, reason, gate.memory())

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

"""Looks at each window before anything is learned from it: one forward pass, and the gate's judgment."""

from __future__ import annotations

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
from calibrant.policy.nearness import Features, nearest
from calibrant.runtime.engine import Engine


@dataclass(frozen=True)
class Sighting:
    """What a window looks like, and what the gate makes of it."""

    evidence: Evidence
    judgment: Judgment

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
    memory : JSON, optional
        What :meth:`memory` said last under this version.
    """

    def __init__(self, artifact: Artifact, engine: Engine, version: Version, memory: Any = None) -> None:
        self._artifact, self._engine = artifact, engine
        self._features = Features.of(artifact.program, artifact.reference)
        self._gate = Gate(artifact.usual, memory)
        self._version = version.number
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
        """
        if version.number != self._version:
            self._gate = Gate(self._artifact.usual, version.metrics.get("gate"))
            self._version, self._pool = version.number, None
        if pool is not self._pool:
            own = np.concatenate([self._artifact.coreset.x, pool.x])
            self._remembered = self._features.observed(self._engine.observe(own))
            self._pool = pool
        seen = self._engine.observe(x)
        known = y != UNLABELED
        scores = logits(seen.outputs[known], self._artifact.program, self._artifact.constants)
        wrong = scores.argmax(axis=1) != y[known]
        nothing = np.zeros(0, np.int64)
        distance, which = nothing, nothing
        if len(self._remembered):
            distance, which = nearest(self._features.observed(seen), self._remembered)
        evidence = Evidence.of(wrong, distance, which, self._artifact.usual)
        return Sighting(evidence, self._gate.judge(evidence))

    def learned(self) -> None:
        """Take note that the window looked at last is learned from."""
        self._gate.adapted()

    def memory(self) -> dict[str, Any]:
        """JSON to go on from, for the state's history."""
        return self._gate.memory()

"""Looks at each window before anything is learned from it: one forward pass, and what the gate decides. While the gate
calls for adapting, a second one of the labeled samples says whether the parameters from before did better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calibrant.artifact import Artifact
from calibrant.core.decision import Action, Decision
from calibrant.core.evaluation import Evaluation
from calibrant.core.window import Window
from calibrant.engine import Engine
from calibrant.memory.policies import Memory
from calibrant.policy.drift_gate import DriftGate, Evidence
from calibrant.policy.feature_distance import Features, nearest
from calibrant.policy.regret import Regret
from calibrant.session.deployment import Deployment


@dataclass(frozen=True)
class Assessment:
    """What a window looks like, and what to do about it.

    To adapt, to skip it, or to revert: the version that the decision names does better than the one in force. `home` is
    then the accuracy of that one on the labels of the window, and `policies` what the gate is to go on from.
    """

    evidence: Evidence
    decision: Decision
    home: float | None = None
    policies: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> float | None:
        """Of the labeled samples, None without any."""
        return 1 - self.evidence.errors / self.evidence.labels if self.evidence.labels else None

    def facts(self) -> dict[str, Any]:
        """JSON for the state's history."""
        return {"errors": self.evidence.errors, "distance": self.evidence.distance}


class DriftMonitor:
    """Keeps the gate in step with the version in force.

    Parameters
    ----------
    artifact : Artifact
    engine : Engine
        Holds the parameters in force when a window is looked at.
    deployed : Deployment
    """

    def __init__(self, artifact: Artifact, engine: Engine, deployed: Deployment) -> None:
        self._artifact, self._engine, self._deployed = artifact, engine, deployed
        self._features = Features.of(artifact.program, artifact.reference)
        self._gate: DriftGate
        self._regret: Regret | None
        self.resume({})

    def memory(self) -> dict[str, Any]:
        """What to go on from, by policy."""
        return {"gate": self._gate.memory(), "regret": self._regret.memory() if self._regret else None}

    def resume(self, memories: Mapping[str, Memory]) -> None:
        """Go on from what :meth:`memory` said under the version in force; what it said under another one is void."""
        head = self._deployed.head.number
        kept = {name: memory.value for name, memory in memories.items() if memory.version == head}
        gate = kept.get("gate")
        self._gate = DriftGate(self._artifact.usual, gate if isinstance(gate, Mapping) else None)
        self._regret = Regret.of(kept.get("regret"), head)

    def look(self, window: Window) -> Assessment:
        """Decide about a window; nothing is forgotten before what was decided is written down."""
        deployed, x, y, known = self._deployed, window.codes, window.labels, window.known
        own = np.concatenate([self._artifact.coreset.x, deployed.buffer.x])
        seen = deployed.evaluator.of(x, y)
        distance = which = np.zeros(0, np.int64)
        if len(own):
            remembered = self._features.observed(deployed.evaluator.of(own).observation)
            distance, which = nearest(self._features.observed(seen.observation), remembered)
        wrong = ~seen.right[known]
        evidence = Evidence.of(wrong, distance, which, self._artifact.usual)
        told = self._regret
        if told is not None and told.home != deployed.head.number and known.size:
            home = ~self._at(told.home, window).right
            self._regret = told = told.after(home, wrong)
            if told.regretted:
                return self._revert(told, evidence, 1 - float(home.mean()))
        decision = self._gate.judge(evidence)
        if not (decision.adapt or self._gate.open):
            self._regret = None
        return Assessment(evidence, decision)

    def learned(self) -> None:
        """Take note that the window looked at last is learned from."""
        self._gate.adapted()
        self._regret = self._regret or Regret(self._deployed.head.number)

    def _revert(self, told: Regret, evidence: Evidence, accuracy: float) -> Assessment:
        """What the gate will go on from is said by a copy of it: nothing is forgotten before the version is in
        force."""
        gate = DriftGate(self._artifact.usual, self._gate.memory())
        gate.resigned(told.error, evidence.distance)
        reason = f"version {told.home} does better, {told.lost} labels to {told.won} that only one gets right"
        policies = {"gate": gate.memory(), "regret": None}
        return Assessment(evidence, Decision(Action.REVERT, reason, told.home), accuracy, policies)

    def _at(self, number: int, window: Window) -> Evaluation:
        """The labeled samples under another version; the engine keeps its parameters."""
        self._engine.load(self._deployed.at(number))
        evaluation = self._deployed.evaluator.of(window.codes[window.known], window.labels[window.known])
        self._engine.load(self._deployed.parameters)
        return evaluation

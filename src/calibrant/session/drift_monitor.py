"""Looks at each window before anything is learned from it: one forward pass, and what the gate decides. While the gate
calls for adapting, a second one of the labeled samples says whether the parameters from before did better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.decision import Action, Decision
from calibrant.core.evaluation import Evaluation
from calibrant.core.window import Window
from calibrant.engine import Engine
from calibrant.memory.policies import Memory
from calibrant.policy.class_record import COVER, ClassRecord, narrow
from calibrant.policy.contexts import FEW
from calibrant.policy.drift_gate import DriftGate, Evidence
from calibrant.policy.feature_distance import Features, nearest
from calibrant.policy.patience import Patience
from calibrant.policy.regret import Regret
from calibrant.policy.slow_errors import SlowErrors
from calibrant.session.deployment import Deployment


@dataclass(frozen=True)
class Assessment:
    """What a window looks like, and what to do about it.

    To adapt, to skip it, or to revert: the version that the decision names does better than the one in force. `home` is
    then the accuracy of that one on the labels of the window, `lost` and `won` the labels that only one of the two gets
    right, and `policies` what they are to go on from. `right` bool[labels] says which labels the parameters in force
    predict, `keeps` that they are worth keeping if the window is skipped, `redraws` even for others.
    """

    evidence: Evidence
    decision: Decision
    right: NDArray[np.bool_]
    keeps: bool = False
    redraws: bool = False
    home: float | None = None
    lost: int = 0
    won: int = 0
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
        self._held = np.isin(np.arange(len(artifact.classes)), artifact.coreset.y)
        self._gate: DriftGate
        self._regret: Regret | None
        self._patience: Patience
        self._classes: ClassRecord
        self._slow: SlowErrors
        self._called = False  # by errors pooled over windows, and nothing else
        self.resume({})

    def memory(self) -> dict[str, Any]:
        """What to go on from, by policy."""
        return {
            "gate": self._gate.memory(),
            "regret": self._regret.memory() if self._regret else None,
            "patience": self._patience.memory(),
            "classes": self._classes.memory(),
            "slow_errors": self._slow.memory(),
        }

    def resume(self, memories: Mapping[str, Memory]) -> None:
        """Go on from what :meth:`memory` said; of gate and regret, what they said under another version is void."""
        head, about = self._deployed.head.number, {name: memory.value for name, memory in memories.items()}
        self._patience = Patience.of(about.get("patience"), self._features.count)
        self._classes = ClassRecord.of(about.get("classes"), self._held)
        self._slow = SlowErrors.of(about.get("slow_errors"))
        kept = {name: memory.value for name, memory in memories.items() if memory.version == head}
        gate = kept.get("gate")
        self._gate = DriftGate(self._artifact.usual, gate if isinstance(gate, Mapping) else None)
        self._regret = Regret.of(kept.get("regret"), head)

    def replaced(self) -> None:
        """Take note that other parameters come into force than a lesson's: errors so far say nothing of them."""
        self._regret, self._slow = None, self._slow.learned(called=False)

    def look(self, window: Window, place: int | None = None) -> Assessment:
        """Decide about a window of a context, None where contexts are not told apart; nothing is forgotten before what
        was decided is written down."""
        deployed, x, y, known = self._deployed, window.codes, window.labels, window.known
        own = np.concatenate([self._artifact.coreset.x, deployed.buffer.x])
        seen = deployed.evaluator.of(x, y)
        distance = which = np.zeros(0, np.int64)
        if len(own):
            remembered = self._features.observed(deployed.evaluator.of(own).observation)
            distance, which = nearest(self._features.observed(seen.observation), remembered)
        right = seen.right[known]
        wrong, mean = ~right, self._features.mean(seen.observation)
        evidence = Evidence.of(wrong, distance, which, self._artifact.usual)
        told = self._regret
        if told is not None and told.home != deployed.head.number and known.size:
            home = ~self._at(told.home, window).right
            self._regret = told = told.after(home, wrong)
            if told.regretted:
                return self._revert(told, evidence, mean, right, 1 - float(home.mean()))
            if told.labels == 0:  # adapting has paid: what went wrong elsewhere says nothing of it
                self._patience = Patience()
        decision = self._gate.judge(evidence, place if len(x) >= FEW else None)  # fewer samples tell of no place
        if known.size:
            decision = self._by_labels(decision, y[known], right)
        if decision.adapt and self._patience.wait:
            self._patience = self._patience.waited()
            return Assessment(evidence, Decision(Action.SKIP, "waits, adapting here did harm"), right)
        if not (decision.adapt or self._gate.open or self._slow.errors):
            self._regret = None
        if decision.adapt and self._too_narrow(y[known]):
            few = Decision(Action.SKIP, "few classes, kept until more are known")
            return Assessment(evidence, few, right, keeps=True, redraws=True)
        return Assessment(evidence, decision, right, keeps=True)

    def _by_labels(self, decision: Decision, y: NDArray[np.int64], right: NDArray[np.bool_]) -> Decision:
        """What the gate decided, unless a class is new or errors have added up over windows."""
        new = np.zeros(y.size, np.bool_)
        if self._artifact.meaning.task.guesses:  # labels are classes
            self._classes, new = self._classes.after(y, right)
        self._slow, self._called = self._slow.after(y.size, int((~right).sum())), False
        if decision.adapt:
            return decision
        if new.any():
            names = ", ".join(self._artifact.classes[label] for label in np.unique(y[new]))
            return Decision(Action.ADAPT, f"never right of {names}")
        if self._slow.call(self._gate.usual_error):
            self._called = True
            return Decision(
                Action.ADAPT, f"{self._slow.errors} of {self._slow.labels} wrong since the last lesson, slowly more"
            )
        return decision

    def _too_narrow(self, y: NDArray[np.int64]) -> bool:
        """Whether a window shows few classes, and few are known altogether."""
        count = len(self._held)
        if not (self._artifact.meaning.task.guesses and narrow(y, count)):
            return False
        buffer = self._deployed.buffer
        return np.unique(np.concatenate([buffer.y[~buffer.source], y])).size < COVER * count

    def learned(self) -> None:
        """Take note that the window looked at last is learned from."""
        self._gate.adapted()
        self._slow = self._slow.learned(self._called)
        self._regret = self._regret or Regret(self._deployed.head.number)

    def _revert(
        self,
        told: Regret,
        evidence: Evidence,
        mean: NDArray[np.float64],
        right: NDArray[np.bool_],
        accuracy: float,
    ) -> Assessment:
        """What the gate will go on from is said by a copy of it: nothing is forgotten before the version is in
        force."""
        gate = DriftGate(self._artifact.usual, self._gate.memory())
        gate.went_back()
        reason = f"version {told.home} does better, {told.lost} labels to {told.won} that only one gets right"
        patience = self._patience.went_back(mean)
        policies = {"gate": gate.memory(), "regret": None, "patience": patience.memory()}
        return Assessment(
            evidence,
            Decision(Action.REVERT, reason, told.home),
            right,
            home=accuracy,
            lost=told.lost,
            won=told.won,
            policies=policies,
        )

    def _at(self, number: int, window: Window) -> Evaluation:
        """The labeled samples under another version; the engine keeps its parameters."""
        self._engine.load(self._deployed.at(number))
        evaluation = self._deployed.evaluator.of(window.codes[window.known], window.labels[window.known])
        self._engine.load(self._deployed.parameters)
        return evaluation

"""What a window without labels teaches: recenter, take the window's own labels with care, verify on true ones.

Nothing is learned from guesses alone. Biases follow the window's statistics (`updaters.bias_correction`); flips follow
labels that the window's prototypes give (`policy.pseudo_labels`) together with the coreset's true ones; the result must
keep the coreset right and stay near the last version that labels vouch for, the anchor. What was learned from one
domain without labels is dropped when another comes, and a domain with labels enough is left alone
(`policy.label_free`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.decision import Action, Decision
from calibrant.core.evaluation import Evaluation
from calibrant.core.parameters import FLIPPED
from calibrant.core.settings import FlipSettings
from calibrant.core.task import UNLABELED
from calibrant.engine import Engine
from calibrant.memory.policies import Memory
from calibrant.policy import pseudo_labels
from calibrant.policy.label_free import (
    BROADER,
    LABELED,
    MINIMUM,
    SETTLED,
    DomainDistance,
    Evidence,
    covers_classes,
    effective_classes,
    enough,
    prediction_collapse,
    rejection_reason,
)
from calibrant.policy.verification import IMPORTANCE_LIMIT, Measured
from calibrant.session.deployment import Anchor, Deployment
from calibrant.session.supervised import Attempt
from calibrant.updaters.base import Samples, UpdateOutcome
from calibrant.updaters.bias_correction import BiasCorrection
from calibrant.updaters.guarded_flips import GuardedFlips

# Guarded flips, and few: guesses are worth fewer steps than labels, and each must lower the loss.
SETTINGS = FlipSettings(form="pooled", steps=8, loss_goal=0.03)
TRUE = 2  # the coreset's labels count so much, together, for each time that the window's own do


@dataclass(frozen=True)
class _Candidate:
    """Parameters that may come into force, how they came about, and what they give on window and coreset."""

    outcome: UpdateOutcome
    what: str

    @property
    def seen(self) -> Evaluation:
        return self.outcome.last


@dataclass(frozen=True)
class _Window:
    """A window without labels, int8[N, height, width, channels], and the coreset behind it, with its labels alone."""

    x: NDArray[np.int8]
    count: int
    y: NDArray[np.int64]

    @property
    def coreset(self) -> slice:
        return slice(self.count, None)


class TestTimeAdapter:
    """Learns from windows without labels, or abstains.

    It remembers what small or narrow windows said, until together they say enough, and what the domain looks like that
    it has adapted to.

    Parameters
    ----------
    artifact : Artifact
    engine : Engine
        Its parameters change; whoever does not commit them restores the old.
    deployed : Deployment
    coreset_drop : float
        See `artifact.THRESHOLDS`; counted from the anchor.
    """

    __test__ = False  # not a test case, whatever its name begins with

    def __init__(self, artifact: Artifact, engine: Engine, deployed: Deployment, coreset_drop: float) -> None:
        self._meaning, self._program = artifact.meaning, artifact.program
        self._engine, self._deployed, self._coreset_drop = engine, deployed, coreset_drop
        self._updater = GuardedFlips(artifact.meaning, artifact.feedback, SETTINGS)
        self._bias_correction = BiasCorrection(artifact.program, artifact.constants, artifact.reference)
        self._place = DomainDistance(artifact.program, artifact.reference)
        self.resume({})

    def memory(self) -> dict[str, Any]:
        """What to go on from, by policy."""
        pending, domain = (None if e is None else e.memory() for e in (self._pending, self._domain))
        about = {"head": self._head, "labels": self._labels, "labeled": self._labeled}
        return {"label_free": {"pending": pending, "domain": domain, **about}}

    def resume(self, memories: Mapping[str, Memory]) -> None:
        """Go on from what :meth:`memory` said, under whatever version: what it is good for, it says itself."""
        kept = memories["label_free"].value if "label_free" in memories else {}
        pending, domain = kept.get("pending"), kept.get("domain")
        # not used yet, all of it from the parameters of version `_head`
        self._pending = None if pending is None else Evidence.resumed(pending)
        self._head = int(kept.get("head", -1))
        self._domain = None if domain is None else Evidence.resumed(domain)  # what was used, and what was labeled
        # how many labels the domain had, and the last version they taught
        self._labels, self._labeled = int(kept.get("labels", 0)), int(kept.get("labeled", -1))

    def adapt(self, x: NDArray[np.int8]) -> Attempt | Decision:
        """Learn what a window teaches.

        Parameters
        ----------
        x : int8[N, height, width, channels]

        Returns
        -------
        Attempt or Decision
            `before` and `after` speak of the coreset alone; the engine holds the parameters that the attempt speaks of.
            A decision says why it abstained; the engine's parameters are then as they were.
        """
        deployed, buffer = self._deployed, self._deployed.buffer
        if not len(buffer):
            return _abstain("no coreset to verify on")
        labels = np.concatenate([np.full(len(x), UNLABELED), buffer.y])
        both = _Window(np.concatenate([x, buffer.x]), len(x), labels)
        now = deployed.evaluator.of(x)
        window, head, anchor = self._evidence(now), deployed.head.number, deployed.anchor()
        pending = self._pending if self._head == head else None
        if pending is not None and window.samples >= MINIMUM and self._place.is_new_domain(window, pending):
            pending = None
        evidence = window.after(pending)
        self._pending, self._head = evidence, head
        learned, why = deployed.pseudo_labeled and deployed.parameters != anchor.parameters, None
        if not enough(evidence):
            home = self._seen(both, anchor) if learned else None
            if home is None or not covers_classes(self._evidence(home.take(slice(len(x)))).predicted, BROADER):
                classes = effective_classes(evidence.predicted)
                return _abstain(f"{evidence.samples} samples, predicted to be of {classes:.1f} effective classes")
            new_domain, usual, why = True, False, "it tells more classes apart"
        else:
            new_domain = self._domain is None or self._place.is_new_domain(evidence, self._domain)
            usual = new_domain and self._place.usual(evidence)
        self._pending = None
        taught = self._labeled == anchor.version and self._labels >= LABELED * evidence.predicted.size
        if not new_domain and taught:
            return _abstain("labels have taught this domain")
        if usual and not learned:
            return _abstain("nothing has shifted")
        start = deployed.evaluator.of(both.x, both.y)
        home = self._seen(both, anchor) if learned else start
        if usual:
            why = "nothing has shifted"
        elif new_domain and self._domain is not None:
            why = why or "another domain"
        why = why or self._fault(start, both, home, anchor)
        candidates, told = [], ""
        if learned and why is not None:
            reset = f"reset to version {anchor.version}, {why}"
            candidates, told = [_Candidate(_nothing("reset", both, home), reset)], f"{reset}, "
            evidence = window = self._evidence(home.take(slice(len(x))))  # what was pending is of other parameters
        if not usual and enough(evidence):
            candidates = [*self._taught(both, home if told else start, evidence, told), *candidates]
        attempt = self._choose(candidates, both, window, start, home, anchor)
        if attempt.decision.action is Action.SKIP and not told:
            self._pending = evidence  # more of it will go further
        if attempt.commits:
            self._domain = None if usual else evidence.after(None if new_domain else self._domain)
            self._labels = 0 if new_domain else self._labels
        return attempt

    def labeled(self, seen: Evaluation, labels: int, version: int) -> None:
        """Take note that `labels` of a window teach a version that comes into force; `seen` is all of the window under
        its parameters."""
        evidence = self._evidence(seen)
        new_domain = self._domain is None or self._place.is_new_domain(evidence, self._domain)
        self._domain = evidence.after(None if new_domain else self._domain)
        self._labels = labels + (0 if new_domain else self._labels)
        self._labeled = version

    def _seen(self, both: _Window, anchor: Anchor) -> Evaluation:
        """Window and coreset under the anchor's parameters; the engine keeps those in force."""
        self._engine.load(anchor.parameters)
        seen = self._deployed.evaluator.of(both.x, both.y)
        self._engine.load(self._deployed.parameters)
        return seen

    def _taught(self, both: _Window, start: Evaluation, evidence: Evidence, told: str) -> list[_Candidate]:
        """What the window asks for from some parameters on, boldest first."""
        old = start.parameters
        bias = self._bias_correction.bias(old.weights, old.bias, evidence.pooled, evidence.samples)
        self._engine.load(old.replaced(bias=bias))
        seen = self._deployed.evaluator.of(both.x, both.y)
        centered = _Candidate(_nothing("recenter", both, seen), f"{told}re-centered")
        outcome = self._flip(both, seen)
        if outcome is None or outcome.accepted == 0:
            return [centered]
        return [_Candidate(outcome, f"{centered.what} and learned from its own labels"), centered]

    def _flip(self, both: _Window, seen: Evaluation) -> UpdateOutcome | None:
        """Learn the labels that the window gives itself, if it is broad enough to give any and they say something new.

        They say nothing new where they are what the last layer says; then only its errors would be learned. Where some
        labels are known they do.
        """
        count, part, buffer = both.count, self._program.layers[-1].pooled_slice, self._deployed.buffer
        scores = seen.scores[:count]
        predicted = self._meaning.task.decode(scores)
        if not covers_classes(np.bincount(predicted, minlength=scores.shape[1]), BROADER):
            return None
        mass = self._meaning.task.probabilities(scores)
        pooled = seen.observation.pooled[:, part]
        features = pseudo_labels.directions(pooled, self._program.pooled_positions[part])
        known = ~buffer.source
        own = pseudo_labels.pseudo_labels(features[:count], mass, features[count:][known], buffer.y[known])
        agreed = own == predicted
        if not known.any() and int(np.count_nonzero(agreed)) * SETTLED[1] >= count * SETTLED[0]:
            return None
        weight = np.where(agreed, pseudo_labels.AGREED, 1)
        true = min(max(1, round(TRUE * int(weight.sum()) / len(buffer))), IMPORTANCE_LIMIT)
        importance = np.concatenate([weight, np.full(len(buffer), true)]).astype(np.int64)
        samples = Samples(both.x, np.concatenate([own, buffer.y]), importance)
        start = Evaluation.of(seen.parameters, seen.observation, samples.y, self._meaning)
        outcome = self._updater.update(self._engine, samples, start, SETTINGS.steps)
        return replace(outcome, updater=f"recenter+{outcome.updater}", misses=outcome.misses[count:])

    def _choose(
        self,
        candidates: list[_Candidate],
        both: _Window,
        window: Evidence,
        start: Evaluation,
        home: Evaluation,
        anchor: Anchor,
    ) -> Attempt:
        """The first candidate that nothing speaks against; without one, the parameters stay.

        Biases that change no prediction of the window are not worth a version.
        """
        first: str | None = None
        before = _measured(start, both)
        for candidate in candidates:
            wrong = self._fault(candidate.seen, both, home, anchor)
            predicted = self._evidence(candidate.seen.take(slice(both.count))).predicted
            back = candidate.seen.parameters == anchor.parameters
            telling = window.samples >= MINIMUM and not back
            if wrong is None and telling and prediction_collapse(window.predicted, predicted):
                wrong = "the window's predictions fell together"
            idle = candidate.outcome.steps == 0 and telling and np.array_equal(predicted, window.predicted)
            if back or (wrong is None and not idle):
                self._engine.load(candidate.seen.parameters)
                decision = Decision(Action.COMMIT, f"no labels: {candidate.what}")
                return Attempt(candidate.outcome, before, _measured(candidate.seen, both), decision, both.x)
            first = first or wrong
        self._engine.load(start.parameters)
        action, what = (Action.SKIP, "no prediction would change") if first is None else (Action.REJECT, first)
        decision = Decision(action, f"no labels: {what}")
        return Attempt(_nothing("recenter", both, start), before, before, decision, both.x)

    def _fault(self, seen: Evaluation, both: _Window, home: Evaluation, anchor: Anchor) -> str | None:
        old, new = anchor.parameters[FLIPPED], seen.parameters[FLIPPED]
        right, least = (int(np.count_nonzero(e.right[both.coreset])) for e in (seen, home))
        samples = len(both.y) - both.count
        return rejection_reason(right, least, samples, self._coreset_drop, int(np.count_nonzero(new != old)), old.size)

    def _evidence(self, seen: Evaluation) -> Evidence:
        classes = self._meaning.task.decode(seen.scores)
        return Evidence.of(seen.observation.pooled, classes, seen.scores.shape[1])


def _measured(seen: Evaluation, both: _Window) -> Measured:
    """How the coreset fares."""
    return Measured.of(seen.take(both.coreset), 0, np.zeros(0, np.int64))


def _abstain(reason: str) -> Decision:
    return Decision(Action.SKIP, f"abstained: {reason}")


def _nothing(updater: str, both: _Window, seen: Evaluation) -> UpdateOutcome:
    """No flips were tried; `seen` is what the parameters give."""
    return UpdateOutcome(updater, 0, 0, 0.0, 0.0, 0, np.zeros(len(both.y) - both.count, np.int64), seen)

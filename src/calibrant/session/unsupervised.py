"""What a window without labels teaches: recenter, take the window's own labels with care, verify on true ones.

Nothing is learned from guesses alone. Biases follow the window's statistics (`updaters.bias_correction`); flips follow
labels that the window's prototypes give (`policy.pseudo_labels`) together with the coreset's true ones; the result must
keep the coreset right and stay near the last version that labels vouch for, the anchor. What was learned from one
domain without labels is dropped when another comes, and a domain with labels enough is left alone
(`policy.label_free`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.fmath import ERROR_ONE, LOSS_ONE, cross_entropy
from calibrant.core.logits import logits
from calibrant.core.reports import UpdateOutcome
from calibrant.core.settings import FlipSettings
from calibrant.engine import Engine
from calibrant.memory.replay import ReplayBuffer
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
from calibrant.session.supervised import Attempt
from calibrant.updaters.bias_correction import BiasCorrection
from calibrant.updaters.guarded_flips import GuardedFlips

# Guarded flips, and few: guesses are worth fewer steps than labels, and each must lower the loss.
SETTINGS = FlipSettings(form="pooled", steps=8, loss_goal=0.03)
TRUE = 2  # the coreset's labels count so much, together, for each time that the window's own do

Parameters = tuple[NDArray[np.int8], NDArray[np.int32]]


@dataclass(frozen=True)
class Anchor:
    """The last version that labels vouch for: the artifact's, one learned from labels, or one rolled back to."""

    version: int
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]


@dataclass(frozen=True)
class _Candidate:
    """Parameters that may come into force, and how they came about."""

    parameters: Parameters
    outcome: UpdateOutcome
    what: str


class TestTimeAdapter:
    """Learns from windows without labels, or abstains.

    While it lives it remembers what small or narrow windows said, until together they say enough, and what the domain
    looks like that it has adapted to.

    Parameters
    ----------
    artifact : Artifact
    engine : Engine
        Its weights change; whoever does not commit them restores the old.
    coreset_drop : float
        See `artifact.THRESHOLDS`; counted from the anchor.
    """

    def __init__(self, artifact: Artifact, engine: Engine, coreset_drop: float) -> None:
        self._program, self._constants = artifact.program, artifact.constants
        self._engine, self._coreset_drop = engine, coreset_drop
        self._updater = GuardedFlips(artifact.program, artifact.constants, artifact.feedback, SETTINGS)
        self._bias_correction = BiasCorrection(artifact.program, artifact.constants, artifact.reference)
        self._place = DomainDistance(artifact.program, artifact.reference)
        self._pending: Evidence | None = None  # not used yet, all of it from the weights of version `_head`
        self._head = -1
        self._domain: Evidence | None = None  # what was used, and what was labeled
        self._labels, self._labeled = 0, -1  # how many labels the domain had, and the last version they taught

    def study(self, x: NDArray[np.int8], pool: ReplayBuffer, anchor: Anchor, head: int) -> Attempt | str:
        """Learn what a window teaches.

        Parameters
        ----------
        x : int8[N, height, width, channels]
        pool : ReplayBuffer
            The coreset in force.
        anchor : Anchor
        head : int
            The version in force, whose weights the engine holds.

        Returns
        -------
        Attempt or str
            `before` and `after` speak of the coreset alone; the engine holds the weights that the attempt speaks of. A
            text says why it abstained; the engine's weights are then as they were.
        """
        if not len(pool):
            return "abstained: no coreset to verify on"
        window = self._look(x)
        pending = self._pending if self._head == head else None
        if pending is not None and window.samples >= MINIMUM and self._place.is_new_domain(window, pending):
            pending = None
        evidence = window.after(pending)
        self._pending, self._head = evidence, head
        start, origin = (self._engine.weights, self._engine.bias), (anchor.weights, anchor.bias)
        learned, why = not _same(start, origin), None
        if not enough(evidence):
            if not learned or not covers_classes(self._look(x, origin).predicted, BROADER):
                self._engine.load(*start)
                classes = effective_classes(evidence.predicted)
                return f"abstained: {evidence.samples} samples, predicted to be of {classes:.1f} effective classes"
            elsewhere, usual, why = True, False, "it tells more classes apart"
        else:
            elsewhere = self._domain is None or self._place.is_new_domain(evidence, self._domain)
            usual = elsewhere and self._place.usual(evidence)
        self._pending = None
        if not elsewhere and self._labeled == anchor.version and self._labels >= LABELED * evidence.predicted.size:
            return "abstained: labels have taught this domain"
        if usual and not learned:
            return "abstained: nothing has shifted"
        before, floor = self._measure(pool, start), self._measure(pool, origin)
        self._engine.load(*start)
        if usual:
            why = "nothing has shifted"
        elif elsewhere and self._domain is not None:
            why = why or "another domain"
        why = why or self._fault(start, before, floor, anchor)
        candidates, told = [], ""
        if learned and why is not None:
            candidates = [_Candidate(origin, _nothing("reset", pool), f"reset to version {anchor.version}, {why}")]
            told = f"{candidates[0].what}, "
            evidence = window = self._look(x, origin)  # what was pending is of other weights
        if not usual and enough(evidence):
            candidates = [*self._taught(x, pool, evidence, told), *candidates]
        attempt = self._choose(candidates, x, window, start, before, floor, anchor, pool)
        if attempt.decision == "skipped" and not told:
            self._pending = evidence  # more of it will go further
        if attempt.decision == "committed":
            self._domain = None if usual else evidence.after(None if elsewhere else self._domain)
            self._labels = 0 if elsewhere else self._labels
        return attempt

    def labeled(self, x: NDArray[np.int8], labels: int, version: int) -> None:
        """Take note that `labels` of a window int8[N, height, width, channels] taught a version, the one in force."""
        evidence = self._look(x)
        elsewhere = self._domain is None or self._place.is_new_domain(evidence, self._domain)
        self._domain = evidence.after(None if elsewhere else self._domain)
        self._labels = labels + (0 if elsewhere else self._labels)
        self._labeled = version

    def _taught(self, x: NDArray[np.int8], pool: ReplayBuffer, evidence: Evidence, told: str) -> list[_Candidate]:
        """What the window asks for, boldest first, from the weights that the engine holds."""
        weights, bias = self._engine.weights, self._engine.bias
        bias = self._bias_correction.bias(weights, bias, evidence.pooled, evidence.samples)
        self._engine.load(weights, bias)
        centered = _Candidate((weights, bias), _nothing("recenter", pool), f"{told}re-centered")
        outcome = self._flip(x, pool)
        if outcome is None or outcome.accepted == 0:
            return [centered]
        flipped = _Candidate(
            (self._engine.weights, self._engine.bias), outcome, f"{centered.what} and learned from its own labels"
        )
        return [flipped, centered]

    def _flip(self, x: NDArray[np.int8], pool: ReplayBuffer) -> UpdateOutcome | None:
        """Learn the labels that the window gives itself, if it is broad enough to give any and they say something new.

        They say nothing new where they are what the last layer says; then only its errors would be learned. Where some
        labels are known they do.
        """
        count, part = len(x), self._program.layers[-1].pooled_slice
        observation = self._engine.observe(np.concatenate([x, pool.x]))
        scores = logits(observation.outputs[:count], self._program, self._constants)
        predicted = scores.argmax(axis=1)
        if not covers_classes(np.bincount(predicted, minlength=scores.shape[1]), BROADER):
            return None
        _, mass = cross_entropy(scores, predicted)
        mass[np.arange(count), predicted] += ERROR_ONE  # the error is the probability less one there
        features = pseudo_labels.directions(observation.pooled[:, part], self._program.pooled_positions[part])
        known = ~pool.source
        own = pseudo_labels.pseudo_labels(features[:count], mass, features[count:][known], pool.y[known])
        agreed = own == predicted
        if not known.any() and int(np.count_nonzero(agreed)) * SETTLED[1] >= count * SETTLED[0]:
            return None
        weight = np.where(agreed, pseudo_labels.AGREED, 1)
        true = min(max(1, round(TRUE * int(weight.sum()) / len(pool))), IMPORTANCE_LIMIT)
        outcome = self._updater.update(
            self._engine,
            np.concatenate([x, pool.x]),
            np.concatenate([own, pool.y]),
            np.concatenate([weight, np.full(len(pool), true)]).astype(np.int64),
            SETTINGS.steps,
        )
        return replace(outcome, updater=f"recenter+{outcome.updater}", misses=outcome.misses[count:])

    def _choose(
        self,
        candidates: list[_Candidate],
        x: NDArray[np.int8],
        window: Evidence,
        start: Parameters,
        before: Measured,
        floor: Measured,
        anchor: Anchor,
        pool: ReplayBuffer,
    ) -> Attempt:
        """The first candidate that nothing speaks against; without one, the weights stay.

        Biases that change no prediction of the window are not worth a version.
        """
        first: str | None = None
        for candidate in candidates:
            after = self._measure(pool, candidate.parameters)
            wrong = self._fault(candidate.parameters, after, floor, anchor)
            predicted = self._look(x).predicted
            home = _same(candidate.parameters, (anchor.weights, anchor.bias))
            telling = window.samples >= MINIMUM and not home
            if wrong is None and telling and prediction_collapse(window.predicted, predicted):
                wrong = "the window's predictions fell together"
            idle = candidate.outcome.steps == 0 and telling and np.array_equal(predicted, window.predicted)
            if home or (wrong is None and not idle):
                return Attempt(candidate.outcome, before, after, "committed", f"no labels: {candidate.what}")
            first = first or wrong
        self._engine.load(*start)
        decision, what = ("skipped", "no prediction would change") if first is None else ("rejected", first)
        return Attempt(_nothing("recenter", pool), before, before, decision, f"no labels: {what}")

    def _fault(self, parameters: Parameters, measured: Measured, floor: Measured, anchor: Anchor) -> str | None:
        moved = int(np.count_nonzero(parameters[0] != anchor.weights))
        right, least = (int(np.count_nonzero(m.right)) for m in (measured, floor))
        return rejection_reason(right, least, measured.right.size, self._coreset_drop, moved, anchor.weights.size)

    def _look(self, x: NDArray[np.int8], parameters: Parameters | None = None) -> Evidence:
        """What a window says; the engine keeps `parameters` where they are given."""
        if parameters is not None:
            self._engine.load(*parameters)
        observation = self._engine.observe(x)
        return Evidence.of(observation.pooled, logits(observation.outputs, self._program, self._constants))

    def _measure(self, pool: ReplayBuffer, parameters: Parameters) -> Measured:
        """How the coreset fares; the engine keeps the parameters."""
        self._engine.load(*parameters)
        scores = logits(self._engine.infer(pool.x), self._program, self._constants)
        right, (loss, _) = scores.argmax(axis=1) == pool.y, cross_entropy(scores, pool.y)
        return Measured(
            accuracy=None,
            coreset_accuracy=float(right.mean()),
            held_loss=np.zeros(0, np.int64),
            loss=float(loss.mean()) / LOSS_ONE,
            right=right,
        )


def _same(one: Parameters, other: Parameters) -> bool:
    return np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def _nothing(updater: str, pool: ReplayBuffer) -> UpdateOutcome:
    """No flips were tried."""
    return UpdateOutcome(updater, 0, 0, 0.0, 0.0, 0, np.zeros(len(pool), np.int64))

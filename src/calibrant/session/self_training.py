"""Flips that a window without labels asks for: by the labels that its samples give each other, and within bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.evaluation import Evaluation
from calibrant.core.parameters import FLIPPED, Parameters
from calibrant.core.settings import FlipSettings
from calibrant.engine import Engine
from calibrant.policy import pseudo_labels
from calibrant.policy.label_free import (
    BROAD,
    MINIMUM,
    SETTLED,
    covers_classes,
    prediction_collapse,
    rejection_reason,
)
from calibrant.policy.plausibility import plausibility
from calibrant.policy.verification import IMPORTANCE_LIMIT
from calibrant.updaters.base import Samples, UpdateOutcome
from calibrant.updaters.guarded_flips import GuardedFlips

# Guarded flips, and few: guesses are worth fewer steps than labels, and each must lower the loss. Biases are the
# affine's.
SETTINGS = FlipSettings(form="pooled", steps=8, loss_goal=0.03, bias=False)
TRUE = 2  # the coreset's labels count so much, together, for each time that the window's own do

Evaluate = Callable[[Parameters, NDArray[np.int8]], Evaluation]  # without labels; the engine then holds the parameters


class SelfTraining:
    """Has a network learn from its own guesses.

    Parameters
    ----------
    artifact : Artifact
    engine : Engine
    evaluate : callable
    coreset_drop : float
        See `artifact.THRESHOLDS`; counted from the artifact.
    """

    def __init__(self, artifact: Artifact, engine: Engine, evaluate: Evaluate, coreset_drop: float) -> None:
        self._meaning, self._program, self._coreset = artifact.meaning, artifact.program, artifact.coreset
        self._base = Parameters.of(artifact.constants)
        self._engine, self._evaluate, self._coreset_drop = engine, evaluate, coreset_drop
        self._updater = GuardedFlips(artifact.meaning, artifact.feedback, SETTINGS)

    def seen(self, parameters: Parameters, x: NDArray[np.int8]) -> Evaluation:
        """Of a window and the coreset behind it, for the other methods."""
        return self._evaluate(parameters, np.concatenate([x, self._coreset.x]))

    def plausibility(self, seen: Evaluation) -> float:
        """See `policy.plausibility`."""
        window, coreset = self._parts(seen)
        predicted, guesses = self._meaning.task.decode(window.scores), self._guesses(window)
        near = predicted
        if len(coreset):
            near = self._coreset.y[(self._directions(window) @ self._directions(coreset).T).argmax(axis=1)]
        return plausibility(self._meaning.task.probabilities(window.scores), predicted, guesses, near)

    def flip(self, x: NDArray[np.int8], parameters: Parameters) -> UpdateOutcome | None:
        """Have a window int8[N, height, width, channels] ask for flips; None where it does not.

        It does if it shows classes enough to give labels, and they say something new. They say nothing new where they
        are what the last layer says anyway; then only its errors would be learned.
        """
        seen, count = self.seen(parameters, x), len(x)
        window, _ = self._parts(seen)
        predicted = self._meaning.task.decode(window.scores)
        if not len(self._coreset.y) or not covers_classes(self._counts(predicted), BROAD):
            return None
        guesses = self._guesses(window)
        agreed = guesses == predicted
        if int(np.count_nonzero(agreed)) * SETTLED[1] >= count * SETTLED[0]:
            return None
        weight = np.where(agreed, pseudo_labels.AGREED, 1)
        true = min(max(1, round(TRUE * int(weight.sum()) / len(self._coreset.y))), IMPORTANCE_LIMIT)
        importance = np.concatenate([weight, np.full(len(self._coreset.y), true)]).astype(np.int64)
        labels = np.concatenate([guesses, self._coreset.y])
        samples = Samples(np.concatenate([x, self._coreset.x]), labels, importance)
        start = Evaluation.of(parameters, seen.observation, labels, self._meaning)
        self._engine.load(parameters)
        outcome = self._updater.update(self._engine, samples, start, SETTINGS.steps)
        return outcome if outcome.accepted else None

    def collapsed(self, x: NDArray[np.int8], before: Parameters, after: UpdateOutcome) -> bool:
        """Whether flips took much of the variety of a window's predictions."""
        if len(x) < MINIMUM:
            return False
        first, last = self._evaluate(before, x), self._parts(after.last)[0]
        counts = (self._counts(self._meaning.task.decode(each.scores)) for each in (first, last))
        return prediction_collapse(*counts)

    def harmful(self, weights: NDArray[np.int8]) -> bool:
        """Whether weights lose what home's coreset says, without the affine; its labels are true."""
        coreset, right = self._coreset, self._meaning.task.right
        now, own = (
            int(np.count_nonzero(right(self._evaluate(each, coreset.x).scores, coreset.y)))
            for each in (self._base.replaced(**{FLIPPED: weights}), self._base)
        )
        moved = int(np.count_nonzero(weights != self._base[FLIPPED]))
        reason = rejection_reason(now, own, len(coreset.y), self._coreset_drop, moved, weights.size)
        return reason is not None

    def _parts(self, seen: Evaluation) -> tuple[Evaluation, Evaluation]:
        count = len(seen) - len(self._coreset.y)
        return seen.take(slice(count)), seen.take(slice(count, None))

    def _counts(self, predicted: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(predicted, minlength=self._program.tensors[self._program.output].elements)

    def _guesses(self, seen: Evaluation) -> NDArray[np.int64]:
        """Labels that samples give each other."""
        features, mass = self._directions(seen), self._meaning.task.probabilities(seen.scores)
        return pseudo_labels.pseudo_labels(features, mass)

    def _directions(self, seen: Evaluation) -> NDArray[np.int64]:
        part = self._program.layers[-1].pooled_slice
        return pseudo_labels.directions(seen.observation.pooled[:, part], self._program.pooled_positions[part])

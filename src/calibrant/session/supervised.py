"""What a window with labels teaches: update, verify, before anything is committed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.decision import Action, Decision
from calibrant.core.evaluation import Evaluation
from calibrant.engine import Engine
from calibrant.memory.replay import ReplayBuffer, identities, update_misses
from calibrant.policy.verification import IMPORTANCE_LIMIT, Measured, home_lost, importance, split, verdict
from calibrant.session.lesson import Lesson
from calibrant.updaters.base import Samples, UpdateOutcome, Updater

RECALL = 4  # times as much the coreset counts in a second try, where the first one forgot


@dataclass(frozen=True)
class Attempt:
    """The outcome of learning; the engine holds the parameters of `outcome.last`.

    `decision` says what should become of them: commit, reject or skip. `outcome.misses` is int64[window + coreset], and
    so are `before.right` and `after.right`. `codes` int8[N, height, width, channels] are the samples of `outcome.last`.
    """

    outcome: UpdateOutcome
    before: Measured
    after: Measured
    decision: Decision
    codes: NDArray[np.int8]

    @property
    def commits(self) -> bool:
        """Whether its parameters should come into force."""
        return self.decision.action is Action.COMMIT

    def metrics(self) -> dict[str, Any]:
        """Figures for the state's history."""
        measured = self.before.as_metrics("before") | self.after.as_metrics("after")
        return measured | {"steps": self.outcome.steps, "accepted": self.outcome.accepted}

    def experienced(self, buffer: ReplayBuffer, place: slice) -> ReplayBuffer:
        """Some of the samples, with what happened to them here added to their misses and, where the parameters come
        into force, with the scores that these give; `place` in window + coreset."""
        before, after, lost = self.before.right[place], self.after.right[place], self.outcome.misses[place]
        counted = replace(buffer, misses=update_misses(buffer.misses, lost, before, after))
        return counted.learned(self.outcome.last.scores[place]) if self.commits else counted

    def measured(self) -> dict[str, Any]:
        """Fields of an `UpdateReport`."""
        before, after = self.before, self.after
        return {
            "updater": self.outcome.updater,
            "steps": self.outcome.steps,
            "accepted": self.outcome.accepted,
            "loss_before": before.loss,
            "loss_after": after.loss,
            "accuracy_before": before.accuracy,
            "accuracy_after": after.accuracy,
            "coreset_accuracy_before": before.coreset_accuracy,
            "coreset_accuracy_after": after.coreset_accuracy,
        }


class Adapter:
    """Adapts an engine to labeled samples, as far as that can be verified.

    Parameters
    ----------
    engine : Engine
        Its parameters change; whoever does not commit them restores the old.
    updater : Updater
    coreset_drop, holdout : float
        See `artifact.THRESHOLDS`.
    """

    def __init__(self, engine: Engine, updater: Updater, coreset_drop: float, holdout: float) -> None:
        self._engine, self._updater = engine, updater
        self._coreset_drop, self._holdout = coreset_drop, holdout

    def adapt(
        self, lesson: Lesson, samples: Samples, start: Evaluation, home: NDArray[np.bool_] | None = None
    ) -> Attempt:
        """Learn what is not held back, and judge the result. If it passes verification, the held-back samples may
        teach too, in the last third of the steps; what they teach must pass as well.

        Parameters
        ----------
        lesson : Lesson
        samples : Samples
            Of both together, window first; how often they count is said here.
        start : Evaluation
            Of these, under the parameters in force.
        home : bool[k], optional
            Which of the artifact's samples in the coreset the artifact itself has right. Then no more of them may be
            lost than from there, and a lesson that forgot is repeated; without, nothing is counted from the artifact.
        """
        x, y, buffer = lesson.x, lesson.y, lesson.buffer
        source = y.size + np.flatnonzero(buffer.source)

        def judged(now: Evaluation, measured: Measured) -> str | None:
            fault = verdict(before, measured, self._coreset_drop)
            if fault is None and home is not None:
                fault = home_lost(home, now.right[source], self._coreset_drop)
            return fault

        # in order of class and content: the held-back samples spread over the classes, in whatever order a window comes
        order = np.lexsort((identities(x, y), y))
        train, held = (np.sort(order[part]) for part in split(y.size, self._holdout))
        total = self._updater.settings.steps
        later = total // 3 if held.size else 0
        before = Measured.of(start, y.size, held)
        taught = self._without(held, samples, train.size, buffer)
        first = self._updater.update(self._engine, taught, start, total - later)
        outcome, after = first, Measured.of(first.last, y.size, held)
        fault = judged(first.last, after)
        if fault is not None and home is not None and first.flips:
            repaired = self._updater.update(self._engine, _recalling(taught, y.size), first.last, total, first.state)
            measured = Measured.of(repaired.last, y.size, held)
            if judged(repaired.last, measured) is None:
                steps, accepted = first.steps + repaired.steps, first.accepted + repaired.accepted
                first = outcome = replace(repaired, steps=steps, accepted=accepted, misses=first.misses)
                after, fault = measured, None
            else:
                self._engine.load(first.last.parameters)
        if first.flips and later and fault is None:
            everything = replace(
                samples,
                importance=importance(y.size, buffer.source, self._updater.balanced),
                remembered=_remembering(samples, first.last, held),
            )
            second = self._updater.update(self._engine, everything, first.last, later, first.state)
            refined = Measured.of(second.last, y.size, held)
            outcome = replace(first, misses=first.misses + second.misses)
            if judged(second.last, refined) is None:
                steps, accepted = first.steps + second.steps, first.accepted + second.accepted
                outcome = replace(outcome, steps=steps, accepted=accepted, last=second.last)
                after = refined
            else:
                self._engine.load(first.last.parameters)
        return Attempt(outcome, before, after, _decide(outcome, start, fault, bool(held.size)), samples.x)

    def _without(self, held: NDArray[np.int64], samples: Samples, train: int, buffer: ReplayBuffer) -> Samples:
        """The samples, those held back counting nothing."""
        counts = importance(train, buffer.source, self._updater.balanced)
        spread = np.zeros(len(samples.y), np.int64)
        spread[np.setdiff1d(np.arange(len(samples.y)), held)] = counts
        return replace(samples, importance=spread)


def _recalling(samples: Samples, window: int) -> Samples:
    """The samples, what is remembered counting several times as much: for a lesson that made the device forget."""
    counts = samples.importance.copy()
    counts[window:] = np.minimum(RECALL * counts[window:], IMPORTANCE_LIMIT)
    return replace(samples, importance=counts)


def _remembering(samples: Samples, evaluation: Evaluation, held: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """What is remembered of the samples, and of those just learned from what they gave then."""
    if samples.remembered is None:
        return None
    fresh = np.flatnonzero(np.isnan(samples.remembered).all(axis=1))
    learned = np.setdiff1d(fresh, held)
    remembered = samples.remembered.copy()
    remembered[learned] = evaluation.scores[learned]
    return remembered


def _decide(outcome: UpdateOutcome, start: Evaluation, fault: str | None, held: bool) -> Decision:
    if outcome.last.parameters == start.parameters:
        return Decision(Action.SKIP, "no step lowered the loss" if outcome.steps else "already learned")
    if fault is not None:
        return Decision(Action.REJECT, fault)
    return Decision(Action.COMMIT, "verified on coreset and held-back samples" if held else "verified on coreset")

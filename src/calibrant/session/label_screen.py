"""Tries a window's labels before they are believed: what a few steps make of them says which contradict the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.evaluation import Evaluation
from calibrant.core.reports import Alert
from calibrant.engine import Engine
from calibrant.memory.replay import NEVER, identities
from calibrant.policy import label_trust
from calibrant.policy.class_record import FEW_LABELS, narrow, quota
from calibrant.session.deployment import Deployment
from calibrant.session.lesson import Lesson
from calibrant.updaters.base import Updater


@dataclass(frozen=True)
class Screened:
    """What is left to learn; nothing where the labels are not credible, of which `alert` speaks. `said` is for people:
    what was found, empty if nothing was."""

    lesson: Lesson | None
    said: str = ""
    alert: Alert | None = None


class LabelScreen:
    """Decides which labels of a window teach.

    Parameters
    ----------
    artifact : Artifact
    engine : Engine
        Holds the parameters in force, before and after.
    deployed : Deployment
    updater : Updater
        The one that will learn.
    """

    def __init__(self, artifact: Artifact, engine: Engine, deployed: Deployment, updater: Updater) -> None:
        self._engine, self._deployed, self._updater = engine, deployed, updater
        self._classes = len(artifact.classes)
        self._limit = label_trust.tolerated(artifact.usual.error)

    def screen(self, lesson: Lesson, right: NDArray[np.bool_]) -> Screened:
        """Of a lesson whose labels `right` bool[n] agree with the parameters in force."""
        lesson, right = self._within_quota(lesson, right)
        if len(lesson.y) < FEW_LABELS or float((~right).mean()) <= self._limit:
            return Screened(lesson)
        last = self._trial(lesson, label_trust.TRIAL_STEPS)
        count, y, buffer = len(lesson.y), lesson.y, lesson.buffer
        given = label_trust.probabilities(last.scores)[np.arange(len(last)), np.concatenate([y, buffer.y])]
        agrees = last.right[count:] | (given[count:] >= label_trust.BAD)
        proven = np.bincount(buffer.y[agrees & (buffer.misses >= 0)], minlength=self._classes)
        bad, doubt = label_trust.suspicious(given[:count], last.right[:count], y, proven[y] < 1, self._limit)
        if float(last.right[:count].mean()) < label_trust.LOW:
            crossed = self._exam(lesson)
            passed, needed = label_trust.credible(float(right.mean()), crossed, self._classes)
            if not passed:
                text = f"labels not credible: halves of the window teach each other {crossed:.2f}, {needed:.2f} needed"
                return Screened(None, text, Alert("labels-doubted", crossed, needed, text))
        if not bad.any() and doubt <= self._limit:
            return Screened(lesson)
        return self._without(lesson, bad, agrees | buffer.source, doubt)

    def _without(self, lesson: Lesson, bad: NDArray[np.bool_], keep: NDArray[np.bool_], doubt: float) -> Screened:
        """The lesson without labels and samples that are doubted; these are set aside."""
        left_out, believed = np.flatnonzero(bad), np.flatnonzero(~bad)
        unproven = lesson.buffer.of_stream(lesson.x[left_out], lesson.y[left_out], self._deployed.head.number)
        aside = lesson.buffer.take(np.flatnonzero(~keep)).and_also(unproven)
        rest = replace(
            lesson.take(believed),
            buffer=lesson.buffer.take(np.flatnonzero(keep)),
            aside=replace(aside, misses=np.full(len(aside), NEVER)),
        )
        said = f"{left_out.size} of {bad.size} labels left out, {100 * doubt:.0f} % resist what the others teach"
        return Screened(rest, said, Alert("labels-doubted", doubt, self._limit, said))

    def _within_quota(self, lesson: Lesson, right: NDArray[np.bool_]) -> tuple[Lesson, NDArray[np.bool_]]:
        """A window of few classes teaches no more of each than the memory holds of one."""
        if not narrow(lesson.y, self._classes):
            return lesson, right
        stream = ~lesson.buffer.source
        known = np.unique(np.concatenate([lesson.buffer.y[stream], lesson.y])).size
        order = np.argsort(identities(lesson.x, lesson.y))
        use = quota(lesson.y, order, int(stream.sum()), known)
        return lesson.take(use), right[use]

    def _trial(self, lesson: Lesson, steps: int, held: NDArray[np.int64] | None = None) -> Evaluation:
        """What parameters give on window and coreset that were taught both for a while; `held` indices of the window
        are not taught."""
        samples, start = self._deployed.samples(lesson)
        if held is not None:
            counts = samples.importance.copy()
            counts[held] = 0
            samples = replace(samples, importance=counts)
        outcome = self._updater.update(self._engine, samples, start, steps)
        self._engine.load(self._deployed.parameters)
        return outcome.last

    def _exam(self, lesson: Lesson) -> float:
        """Share of each half of a window that parameters taught by the other half get right."""
        order = np.lexsort((identities(lesson.x, lesson.y), lesson.y))
        halves = order[::2], order[1::2]
        hits = [int(self._trial(lesson, label_trust.EXAM_STEPS, held).right[held].sum()) for held in halves]
        return sum(hits) / len(order)

"""What every updater is and does: it moves an engine's parameters, a step at a time, by what samples with labels
say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.evaluation import Evaluation, Meaning
from calibrant.core.fmath import LOSS_ONE
from calibrant.core.parameters import FLIPPED, Parameters
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import Observation


class AdaptableEngine(Protocol):
    """What an updater needs from the engine."""

    @property
    def parameters(self) -> Parameters: ...

    def load(self, parameters: Parameters) -> None: ...

    def observe(self, x: NDArray[np.int8]) -> Observation: ...

    def taps(self, x: NDArray[np.int8], signal: NDArray[np.int32]) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class Samples:
    """What an update sees: codes int8[N, height, width, channels], labels int64[N], all known, and how often each
    counts, int64[N] of 0 to 64. Those that count 0 are held back: they are evaluated with the others, and never
    learned from. `remembered`, for updaters that distill: scores float32[N, K] that earlier parameters gave, NaN where
    none are."""

    x: NDArray[np.int8]
    y: NDArray[np.int64]
    importance: NDArray[np.int64]
    remembered: NDArray[np.float32] | None = None

    @cached_property
    def learned(self) -> NDArray[np.intp]:
        """Indices of those that are learned from."""
        return np.flatnonzero(self.importance)

    @cached_property
    def lesson(self) -> Samples:
        """Those that are learned from."""
        if self.learned.size == len(self.y):
            return self
        scores = None if self.remembered is None else self.remembered[self.learned]
        return Samples(self.x[self.learned], self.y[self.learned], self.importance[self.learned], scores)

    @property
    def mass(self) -> int:
        """What a mean loss of one nat adds up to: the unit of :meth:`loss`."""
        return LOSS_ONE * int(self.importance.sum())

    def loss(self, evaluation: Evaluation) -> int:
        """Loss of an evaluation of these samples, in Q16 nats times importance."""
        return int(evaluation.loss @ self.importance)

    def lost(self, before: Evaluation, after: Evaluation) -> NDArray[np.int64]:
        """Which of those learned from a step got wrong that were right before it, int64[N] of 0 and 1."""
        return (before.right & ~after.right & (self.importance > 0)).astype(np.int64)

    def of(self, evaluation: Evaluation) -> Evaluation:
        """Of an evaluation of these samples, the part of those that are learned from."""
        return evaluation if self.learned.size == len(self.y) else evaluation.take(self.learned)


@dataclass(frozen=True)
class UpdateOutcome:
    """What an updater did to an engine's parameters, before verification.

    `steps` tried, `accepted` kept, mean loss in nats of what was learned from before and after, `flips` = weights that
    now differ. `misses` int64[N]: how often a step got a sample wrong that was right before it. `last` is what the
    parameters that the engine ends with give on all samples; `state` is for the next update of the same window.
    """

    updater: str
    steps: int
    accepted: int
    loss_before: float
    loss_after: float
    flips: int
    misses: NDArray[np.int64]
    last: Evaluation
    state: Any = None


class Updater(Protocol):
    """What adapts an engine's parameters to labeled samples. Nothing lasts in it from window to window."""

    @property
    def name(self) -> str:
        """As histories and reports have it."""

    @property
    def settings(self) -> FlipSettings:
        """As given."""

    @property
    def balanced(self) -> bool:
        """Whether the artifact's samples must weigh as much as the stream's, lest the origin be outvoted."""

    @property
    def distills(self) -> bool:
        """Whether it asks for `Samples.remembered`."""

    @classmethod
    def of(cls, artifact: Artifact, settings: FlipSettings) -> Self:
        """For an artifact.

        Raises
        ------
        DataError
            The artifact was not prepared for it.
        """

    @staticmethod
    def resident_bytes(artifact: Artifact, capacity: int) -> int:
        """Memory of its own that it holds all the time, beside a coreset of `capacity` samples."""

    @staticmethod
    def learning_bytes(artifact: Artifact) -> int:
        """Memory of its own that it holds while it learns."""

    def update(
        self, engine: AdaptableEngine, samples: Samples, start: Evaluation, steps: int, state: Any = None
    ) -> UpdateOutcome:
        """Run up to `steps` steps; the engine ends with the parameters that the outcome speaks of.

        Parameters
        ----------
        engine : AdaptableEngine
            Changed in place. An exception leaves it in an intermediate state: the caller restores it.
        samples : Samples
            Window and coreset together.
        start : Evaluation
            Of all these samples, under the engine's parameters.
        steps : int
            Steps to try.
        state : optional
            Of an earlier update of this window that ended where this one begins.
        """


def evaluate(engine: AdaptableEngine, samples: Samples, meaning: Meaning) -> Evaluation:
    """One forward pass of all samples under the engine's parameters."""
    return Evaluation.of(engine.parameters, engine.observe(samples.x), samples.y, meaning)


def descend(
    updater: str,
    engine: AdaptableEngine,
    samples: Samples,
    start: Evaluation,
    step: Callable[[Evaluation], None],
    meaning: Meaning,
    steps: int,
    goal: float,
) -> UpdateOutcome:
    """Step up to `steps` times, until the mean loss is at `goal` nats; where it did not fall, all is undone.

    Parameters
    ----------
    updater : str
        Name for the outcome.
    engine, samples, start, steps
        As for `Updater.update`.
    step : callable
        Changes the engine's parameters; is told what they give on the samples.
    meaning : Meaning
    goal : float

    Returns
    -------
    UpdateOutcome
        A step counts as accepted if the loss fell in it.
    """
    current = start
    tried = accepted = 0
    misses = np.zeros(len(samples.y), np.int64)
    while tried < steps and samples.loss(current) > goal * samples.mass:
        tried += 1
        step(current)
        unmoved = engine.parameters == current.parameters
        following = current if unmoved else evaluate(engine, samples, meaning)
        accepted += samples.loss(following) < samples.loss(current)
        misses += samples.lost(current, following)
        current = following
    if tried and samples.loss(current) >= samples.loss(start):
        engine.load(start.parameters)
        current, accepted = start, 0
    return outcome(updater, samples, (start, current), (tried, accepted), misses)


def outcome(
    updater: str,
    samples: Samples,
    ends: tuple[Evaluation, Evaluation],
    steps: tuple[int, int],
    misses: NDArray[np.int64],
) -> UpdateOutcome:
    """What an updater says of its work: `ends` are what was before and after, `steps` the tried and the accepted."""
    first, last = ends
    flips = int(np.count_nonzero(last.parameters[FLIPPED] != first.parameters[FLIPPED]))
    before, after = (samples.loss(end) / samples.mass for end in ends)
    return UpdateOutcome(updater, *steps, before, after, flips, misses, last)
